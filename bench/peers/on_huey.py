"""The benchmark scenarios on huey with its SQLite storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from huey import SqliteHuey
from huey.consumer import Consumer
from protocol import Args, Peer, main, run_blocking_job


class QuietConsumer(Consumer):
    """One that leaves the process's signals alone."""

    def _set_signal_handlers(self) -> None:
        pass


class HueyPeer(Peer):
    """Threads in one consumer; more of them than a few only wait for the same lock."""

    package = "huey"
    database = "sqlite"
    setting = "min(limit, 4) threads, polling from 1 ms to 10 ms, no results, WAL, fsync on"
    durability = "every enqueue and every dequeue is a commit, synchronous = full"
    semantics = "at most once: a task is deleted when it is dequeued; no bulk enqueue"
    refused: ClassVar = {"diamonds": "its pipelines and chords do not hand results from one step to two"}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.huey = SqliteHuey(filename=self.url.removeprefix("sqlite:///"), fsync=True, results=False)
        self.job = self.huey.task(name="job")(run_blocking_job)
        yield
        self.huey.storage.close()

    async def enqueue(self, args: Args) -> None:
        self.job(args)

    async def enqueue_many(self, many: Sequence[Args]) -> None:
        for args in many:
            self.job(args)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        threads = min(self.limit, 4)
        consumer = QuietConsumer(self.huey, workers=threads, periodic=False, initial_delay=0.001, max_delay=0.01)
        consumer.start()
        try:
            yield
        finally:
            await asyncio.to_thread(consumer.stop, graceful=True)

    async def left(self) -> int:
        return len(self.huey)


if __name__ == "__main__":
    main(HueyPeer)
