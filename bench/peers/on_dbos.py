"""The benchmark scenarios on DBOS, with PostgreSQL or SQLite beneath as the URL says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, run_dbos_database_migrations
from protocol import Args, Peer, main, run_job, tally

QUEUE = "default"


class DbosPeer(Peer):
    """One queue of workflows. A job is a workflow without steps; a diamond is one with four."""

    package = "dbos"
    setting = "worker_concurrency = limit, polling_interval_sec = 0.01 (default 1), asynchronous workflows, pool of 20"
    durability = "every claim, step and completion is a commit of its own"
    semantics = "at least once, steps recorded; a finished workflow is kept; an executor recovers its own at its start"
    refused: ClassVar = {}

    @classmethod
    def database_of(cls, url: str | None) -> str:
        return "sqlite" if url is not None and url.startswith("sqlite") else "postgresql"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        url = self.url.replace("postgresql://", "postgresql+psycopg://")
        await asyncio.to_thread(run_dbos_database_migrations, self.url)
        self.client = DBOSClient(system_database_url=self.url)
        await self.client.register_queue_async(QUEUE, worker_concurrency=self.limit, polling_interval_sec=0.01)
        self.engine = sa.create_engine(url)
        try:
            yield
        finally:
            self.engine.dispose()
            self.client.destroy()

    async def enqueue(self, args: Args) -> None:
        await self.client.enqueue_async({"queue_name": QUEUE, "workflow_name": "job"}, args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await asyncio.to_thread(self._enqueue, "job", many)

    async def enqueue_diamonds(self, numbers: Sequence[int]) -> None:
        await asyncio.to_thread(self._enqueue, "diamond", [{"n": number} for number in numbers])

    def _enqueue(self, workflow: str, many: Sequence[Args]) -> None:
        """All in one transaction."""
        with self.engine.begin() as conn:
            for args in many:
                self.client.enqueue_in_transaction(conn, {"queue_name": QUEUE, "workflow_name": workflow}, args)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        config: DBOSConfig = {"name": "bench", "system_database_url": self.url, "log_level": "ERROR"}
        DBOS(config=config)
        await asyncio.to_thread(DBOS.launch)
        try:
            yield
        finally:
            await asyncio.to_thread(DBOS.destroy)

    async def left(self) -> int:
        return await asyncio.to_thread(self._count)

    def _count(self) -> int:
        schema = "" if self.database_of(self.url) == "sqlite" else "dbos."
        sql = f"select count(*) from {schema}workflow_status where status in ('ENQUEUED', 'PENDING')"
        with self.engine.connect() as conn:
            return conn.execute(sa.text(sql)).scalar_one()


@DBOS.workflow(name="job")
async def job(args: Args) -> None:
    await run_job(args)


@DBOS.step()
async def source(args: Args) -> int:
    return args["n"]


@DBOS.step()
async def plus(number: int) -> int:
    return number + 1


@DBOS.step()
async def join(args: Args, left: int, right: int) -> int:
    tally.begin(args)
    return left + right


@DBOS.workflow(name="diamond")
async def diamond(args: Args) -> int:
    """a → (b, c) → d."""
    a = await source(args)
    b, c = await asyncio.gather(plus(a), plus(a))
    return await join(args, b, c)


if __name__ == "__main__":
    main(DbosPeer)
