"""The benchmark scenarios on Absurd, with its asynchronous SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import psycopg
from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from absurdctl import BUNDLED_SCHEMA_SQL
from protocol import Args, Peer, background, main, run_job, tally


class AbsurdPeer(Peer):
    """One asynchronous worker, on one connection as the SDK has it; another connection enqueues."""

    package = "absurd-sdk"
    setting = "asynchronous worker, concurrency = batch_size = limit, poll_interval = 0.01 s (there is no LISTEN)"
    durability = "every claim, step and completion is a commit of its own"
    semantics = "at least once, by leases of 120 s; a finished task is kept"
    refused: ClassVar = {}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as self.conn:
            self.turn = asyncio.Lock()
            await self.conn.execute(BUNDLED_SCHEMA_SQL)
            self.producer, self.worker = AsyncAbsurd(self.conn), AsyncAbsurd(self.url)
            for app in (self.producer, self.worker):
                app.register_task("job")(job)
                app.register_task("diamond")(diamond)
            await self.producer.create_queue()
            try:
                yield
            finally:
                await self.worker.close()

    async def enqueue(self, args: Args) -> None:
        await self.producer.spawn("job", args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        await self._spawn_many("job", many)

    async def enqueue_diamonds(self, numbers: Sequence[int]) -> None:
        await self._spawn_many("diamond", [{"n": number} for number in numbers])

    async def _spawn_many(self, task: str, many: Sequence[Args]) -> None:
        """By the SQL function beneath `spawn`, in one transaction and one pipeline."""
        sql = "select absurd.spawn_task('default', %s, %s)"
        async with self.turn, self.conn.transaction(), self.conn.cursor() as cursor:
            await cursor.executemany(sql, [(task, json.dumps(args)) for args in many])

    def working(self) -> AbstractAsyncContextManager[None]:
        work = self.worker.start_worker(concurrency=self.limit, batch_size=self.limit, poll_interval=0.01)
        return background(work, self.worker.stop_worker)

    async def left(self) -> int:
        found = await self.conn.execute("select count(*) from absurd.t_default where state <> 'completed'")
        (count,) = await found.fetchone()
        return count


async def job(args: Args, context: AsyncTaskContext) -> None:
    await run_job(args)


async def diamond(args: Args, context: AsyncTaskContext) -> int:
    """a → (b, c) → d, each a checkpointed step of one task."""

    async def source() -> int:
        return args["n"]

    async def plus(number: int) -> int:
        return number + 1

    async def join(left: int, right: int) -> int:
        tally.begin(args)
        return left + right

    a = await context.step("a", source)
    b, c = await asyncio.gather(context.step("b", lambda: plus(a)), context.step("c", lambda: plus(a)))
    return await context.step("d", lambda: join(b, c))


if __name__ == "__main__":
    main(AbsurdPeer)
