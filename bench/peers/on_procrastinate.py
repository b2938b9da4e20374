"""The benchmark scenarios on procrastinate, with its psycopg connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from procrastinate import App, PsycopgConnector
from protocol import Args, Peer, background, main, run_job


class ProcrastinatePeer(Peer):
    """One worker with LISTEN."""

    package = "procrastinate"
    setting = "psycopg pool of up to 20, concurrency = limit, LISTEN on, delete_jobs = never (the default)"
    durability = "every claim and every ack is a commit of its own"
    semantics = "at most once unless a task of one's own retries stalled jobs; a finished job is kept"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        app = App(connector=PsycopgConnector(conninfo=self.url, min_size=4, max_size=20))

        @app.task(name="job")
        async def job(**args: object) -> None:
            await run_job(args)

        async with app.open_async() as self.app:
            await app.schema_manager.apply_schema_async()
            self.job = job
            yield

    async def enqueue(self, args: Args) -> None:
        await self.job.defer_async(**args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await self.job.batch_defer_async(*many)

    def working(self) -> AbstractAsyncContextManager[None]:
        return background(self.app.run_worker_async(concurrency=self.limit, install_signal_handlers=False))

    async def left(self) -> int:
        sql = "select count(*) as number from procrastinate_jobs where status in ('todo', 'doing')"
        row = await self.app.connector.execute_query_one_async(sql)
        return row["number"]


if __name__ == "__main__":
    main(ProcrastinatePeer)
