"""The benchmark scenarios on Oban for Python, with uvloop as its own command line has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import uvloop
from oban import Oban, worker
from oban.job import Job
from oban.schema import install
from protocol import Args, Peer, main, run_job


@worker(queue="default")
class Work:
    """The one kind of job."""

    async def process(self, job: Job) -> None:
        await run_job(job.args)


class ObanPeer(Peer):
    """One queue of `limit`; all that bulk inserts and bulk acks of Oban Pro would change is not here."""

    package = "oban"
    setting = "psycopg pool of 10, uvloop, one queue with limit = limit"
    durability = "every claim and every batch of acks is a commit"
    semantics = "at least once; a finished job is kept as completed"
    refused: ClassVar = {"diamonds": "workflows are in Oban Pro alone"}
    loop_factory = uvloop.new_event_loop

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.pool = await Oban.create_pool(self.url)
        try:
            await install(self.pool)
            async with Oban(pool=self.pool, name="producer") as self.producer:
                yield
        finally:
            await self.pool.close()

    async def enqueue(self, args: Args) -> None:
        await self.producer.enqueue(Work.new(args))

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await self.producer.enqueue_many(Work.new(args) for args in many)

    def working(self) -> AbstractAsyncContextManager[Oban]:
        return Oban(pool=self.pool, queues={"default": self.limit})

    async def left(self) -> int:
        async with self.pool.connection() as conn:
            found = await conn.execute("select count(*) from oban_jobs where state <> 'completed'")
            (count,) = await found.fetchone()
            return count


if __name__ == "__main__":
    main(ObanPeer)
