"""The benchmark scenarios on awa, whose engine is Rust and whose jobs are Python coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from awa import AsyncClient, Job
from protocol import Args, Peer, main, run_job

# awa.jobs would answer too, but as a view over all of its tables, after seconds.
LEFT = """
select (select count(*) from awa.ready_entries)
    - (select coalesce(sum(completed_count), 0) from awa.receipt_completion_batches)::bigint as number
"""


@dataclass
class Work:
    """The one kind of job."""

    args: dict


class AwaPeer(Peer):
    """One queue with `limit` workers on queue storage, the engine that new installations are meant for."""

    package = "awa-pg"
    setting = "queue storage, pool of 10, max_workers = limit, otherwise defaults; bulk by enqueue_many_copy"
    durability = "every claim and every batch of completions is a commit"
    semantics = "at least once, by leases with heartbeats; a finished job is kept for a while"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.client = AsyncClient(self.url, max_connections=10)
        await self.client.migrate()
        await self.client.install_queue_storage()

        @self.client.task(Work, queue="default")
        async def work(job: Job[Work]) -> None:
            await run_job(job.args.args)

        try:
            yield
        finally:
            await self.client.close()

    async def enqueue(self, args: Args) -> None:
        await self.client.insert(Work(args), queue="default")

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await self.client.enqueue_many_copy([Work(args) for args in many], queue="default")

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        await self.client.start([("default", self.limit)])
        try:
            yield
        finally:
            await self.client.shutdown()

    async def left(self) -> int:
        async with await self.client.transaction() as transaction:
            return (await transaction.fetch_one(LEFT))["number"]


if __name__ == "__main__":
    main(AwaPeer)
