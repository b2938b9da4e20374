"""The benchmark scenarios on arq."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from protocol import Args, Peer, main, run_job


class ArqPeer(Peer):
    """One worker; enqueues in bulk are single ones side by side, for it has no other."""

    package = "arq"
    database = "redis"
    setting = "max_jobs = limit, poll_delay = 0.01 s (default 0.5), no results kept; bulk: 50 enqueues at once"
    durability = "that of the Redis server; with appendfsync everysec a crash loses up to a second"
    semantics = "at least once: a job of a lost worker is taken again after its timeout; a finished job is deleted"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.settings = RedisSettings.from_dsn(self.url)
        self.redis = await create_pool(self.settings)
        self.at_once = asyncio.Semaphore(50)
        try:
            yield
        finally:
            await self.redis.aclose()

    async def enqueue(self, args: Args) -> None:
        await self.redis.enqueue_job("job", args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        async def one(args: Args) -> None:
            async with self.at_once:
                await self.enqueue(args)

        await asyncio.gather(*map(one, many))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        worker = Worker(
            [job],
            redis_settings=self.settings,
            max_jobs=self.limit,
            poll_delay=0.01,
            keep_result=0,
            handle_signals=False,
        )
        task = asyncio.create_task(worker.async_run())
        try:
            yield
        finally:
            await asyncio.gather(*worker.tasks.values())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await worker.close()

    async def left(self) -> int:
        return await self.redis.zcard("arq:queue")


async def job(context: dict[Any, Any], args: Args) -> None:
    await run_job(args)


if __name__ == "__main__":
    main(ArqPeer)
