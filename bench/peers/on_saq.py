"""The benchmark scenarios on SAQ with Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from protocol import Args, Peer, background, main, run_job
from saq import Queue, Worker


class QuietWorker(Worker):
    """One that leaves the process's signals alone."""

    SIGNALS: ClassVar = []

    def leave(self) -> None:
        """Stop soon. `start` makes another event than the first."""
        self.event.set()


class SaqPeer(Peer):
    """One worker; enqueues in bulk are single ones side by side, for it has no other."""

    package = "saq"
    database = "redis"
    setting = "concurrency = limit, blocking dequeues, results kept for 1 s at most; bulk: 20 enqueues at once"
    durability = "that of the Redis server; with appendfsync everysec a crash loses up to a second"
    semantics = "at least once if a job has a heartbeat or timeout, swept every 60 s; a finished job expires"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.queue = Queue.from_url(self.url)
        await self.queue.connect()
        try:
            yield
        finally:
            await self.queue.disconnect()

    async def enqueue(self, args: Args) -> None:
        await self.queue.enqueue("job", args=args, ttl=1)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await asyncio.gather(*map(self.enqueue, many))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        worker = QuietWorker(self.queue, [("job", job)], concurrency=self.limit)
        async with background(worker.start(), worker.leave):
            yield

    async def left(self) -> int:
        return await self.queue.count("incomplete")


async def job(context: Any, *, args: Args) -> None:
    await run_job(args)


if __name__ == "__main__":
    main(SaqPeer)
