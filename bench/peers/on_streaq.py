"""The benchmark scenarios on streaQ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import uvloop
from protocol import Args, Peer, background, main, run_job
from streaq import Worker


class StreaqPeer(Peer):
    """One worker that reads a Redis stream, and a client of its own to enqueue."""

    package = "streaq"
    database = "redis"
    loop_factory = uvloop.new_event_loop
    setting = "uvloop, concurrency = limit, prefetch = limit, no results kept; bulk by enqueue_many, a pipeline"
    durability = "that of the Redis server; with appendfsync everysec a crash loses up to a second"
    semantics = "at least once: a task idle for 60 s is taken again; a finished task is deleted"
    refused: ClassVar = {"diamonds": "dependents start after their dependencies, without being handed their results"}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.client, self.worker = (
            Worker(redis_url=self.url, concurrency=self.limit, handle_signals=False) for _ in range(2)
        )
        self.job = self.client.task(name="job", ttl=0, silent=True)(run_job)
        self.worker.task(name="job", ttl=0, silent=True)(run_job)
        async with self.client:
            yield

    async def enqueue(self, args: Args) -> None:
        await self.job.enqueue(args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await self.client.enqueue_many([self.job.enqueue(args) for args in many])

    def working(self) -> AbstractAsyncContextManager[None]:
        return background(self.worker.run_async())

    async def left(self) -> int:
        return await self.client.queue_size()


if __name__ == "__main__":
    main(StreaqPeer)
