"""The benchmark scenarios on pgqueuer, with asyncpg and uvloop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from protocol import Args, Peer, background, main, run_job


class PgQueuerPeer(Peer):
    """One worker that claims batches, with the pool driver: claims, acks and the listener overlap."""

    package = "pgqueuer"
    setting = "asyncpg pool of 10, uvloop, batch_size = limit, tasks at once uncapped"
    durability = "durable: all tables logged; acks buffered up to 0.1 s"
    semantics = "at least once; a finished job is deleted and logged"
    loop_factory = uvloop.new_event_loop

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with asyncpg.create_pool(self.url, min_size=3, max_size=10) as self.pool:
            self.queries = Queries(AsyncpgPoolDriver(self.pool))
            await self.queries.install()
            yield

    async def enqueue(self, args: Args) -> None:
        await self.queries.enqueue("job", json.dumps(args).encode())

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        payloads: list[bytes | None] = [json.dumps(args).encode() for args in many]
        await self.queries.enqueue(["job"] * len(many), payloads, [0] * len(many))

    def working(self) -> AbstractAsyncContextManager[None]:
        worker = PgQueuer(AsyncpgPoolDriver(self.pool))

        @worker.entrypoint("job")
        async def job(job: Job) -> None:
            assert job.payload is not None
            await run_job(json.loads(job.payload))

        return background(worker.run(**self.options()), worker.shutdown.set)

    def options(self) -> dict[str, int]:
        """How much the worker takes at once."""
        return {"batch_size": self.limit}

    async def left(self) -> int:
        return await self.pool.fetchval("select count(*) from pgqueuer")


if __name__ == "__main__":
    main(PgQueuerPeer)
