"""Together: enqueues that are asked for at the same time, stored as one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tenuto.errors import StorageUnavailable
from tenuto.storage import store
from tenuto.storage.database import Database
from tenuto.storage.nodes import CHUNK

FEW: Final = 500  # jobs; whoever stores more at once has a batch already
LANES: Final = 2  # stores under way at once: while one hangs, the other goes on


class _Asked(NamedTuple):
    """One caller's jobs, and where the answer goes; who was cancelled waits for none, and there it is done."""

    jobs: Sequence[store.AnyJob]
    answer: "asyncio.Future[list[store.AnyJob]]"


class Together:
    """Enqueues for one opening of an app. While as many are under way as there are lanes, the others share the next.

    Each caller's jobs are stored all or none, whatever becomes of the others'. Unique ones go `apart`: they may have to
    wait until another session has stored the same, or not.
    """

    def __init__(self, database: Database, apart: "Together | None" = None) -> None:
        self._database = database
        self._apart = apart
        self._waiting: deque[_Asked] = deque()
        self._lanes: set[asyncio.Task[Any] | None] = set()  # who stores: a caller that met a free lane, or a batch

    async def enqueue(self, jobs: Sequence[store.AnyJob]) -> list[store.AnyJob]:
        """What the verb `enqueue` does. Raises as `Database.run` does."""
        if len(jobs) > FEW:
            return await self._database.run(store.enqueue, jobs)
        if self._apart is not None and any(job.unique_key for job in jobs):
            return await self._apart.enqueue(jobs)
        if len(self._lanes) == LANES:
            self._waiting.append(asked := _Asked(jobs, asyncio.get_running_loop().create_future()))
            return await asked.answer
        self._lanes.add(lane := asyncio.current_task())
        try:
            return await self._database.run(store.enqueue, jobs)
        finally:
            self._go_on(lane)

    def _go_on(self, lane: asyncio.Task[Any] | None) -> None:
        self._lanes.discard(lane)
        self._waiting = deque(asked for asked in self._waiting if not asked.answer.done())
        if self._waiting:
            self._lanes.add(batch := asyncio.create_task(self._store()))
            batch.add_done_callback(self._go_on)  # also when it is cancelled before it began

    def _take(self) -> list[_Asked]:
        """The next that can be stored as one: few enough, and no job twice, since the second has another answer."""
        taken: list[_Asked] = []
        ids: set[str] = set()
        while self._waiting:
            new = {job.id for job in self._waiting[0].jobs}
            if taken and (len(ids) + len(new) > CHUNK or not ids.isdisjoint(new)):
                break
            ids |= new
            taken.append(self._waiting.popleft())
        return taken

    async def _store(self) -> None:
        batch = self._take()
        try:
            for part in (batch, *([asked] for asked in batch)):  # first as one, then each that is still unanswered
                if asking := [asked for asked in part if not asked.answer.done()]:
                    await self._store_as_one(asking, batch)
        finally:
            for asked in batch:
                asked.answer.cancel()  # when this was cancelled: nobody is left waiting

    async def _store_as_one(self, asking: Sequence[_Asked], batch: Sequence[_Asked]) -> None:
        """Answer those who ask, unless one of several is refused; an outage is told to the whole batch."""
        try:
            stored = iter(await self._database.run(store.enqueue, [job for asked in asking for job in asked.jobs]))
        except StorageUnavailable as error:
            for asked in batch:  # an error of its own for each: threads that raise one and the same mix its tracebacks
                _answer(asked, StorageUnavailable(*error.args).with_traceback(error.__traceback__))
        except Exception as error:  # noqa: BLE001 - the caller's
            if len(asking) == 1:
                _answer(asking[0], error)
        else:
            for asked in asking:
                _answer(asked, [next(stored) for _ in asked.jobs])


def _answer(asked: _Asked, answer: list[store.AnyJob] | Exception) -> None:
    if not asked.answer.done():
        if isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)
