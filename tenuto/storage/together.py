"""Together: enqueues that are asked for at the same time, stored as one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from tenuto.errors import StorageUnavailable
from tenuto.storage import store
from tenuto.storage.database import Database
from tenuto.storage.store import AnyJob

FEW: Final = 500  # jobs; whoever stores more at once has a batch already


class _Asked(NamedTuple):
    """One caller's jobs, and where the answer goes."""

    jobs: Sequence[AnyJob]
    answer: "asyncio.Future[list[AnyJob]]"


class Together:
    """Enqueues for one app. A lone one goes out at once; those asked for while it is under way share the next.

    Each caller's jobs are stored all or none, whatever becomes of the others'.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Asked] = deque()
        self._is_under_way = False
        self._task: asyncio.Task[None] | None = None

    async def enqueue(self, jobs: Sequence[AnyJob]) -> list[AnyJob]:
        """What the verb `enqueue` does. Raises as `Database.run` does."""
        if len(jobs) > FEW:
            return await self._database.run(store.enqueue, jobs)
        if self._is_under_way:
            asked = _Asked(jobs, asyncio.get_running_loop().create_future())
            self._waiting.append(asked)
            return await asked.answer
        self._is_under_way = True
        try:
            return await self._database.run(store.enqueue, jobs)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        self._is_under_way = bool(self._waiting)
        if self._waiting:
            self._task = asyncio.create_task(self._store(self._take()))

    def _take(self) -> list[_Asked]:
        """The next that can be stored as one: few enough, and no job twice, since the second has another answer."""
        taken: list[_Asked] = []
        ids: set[str] = set()
        while self._waiting:
            new = {job.id for job in self._waiting[0].jobs}
            if taken and (len(ids) + len(new) > store.CHUNK or not ids.isdisjoint(new)):
                break
            ids |= new
            taken.append(self._waiting.popleft())
        return taken

    async def _store(self, batch: Sequence[_Asked]) -> None:
        try:
            stored = await self._database.run(store.enqueue, [job for asked in batch for job in asked.jobs])
        except StorageUnavailable as error:
            for asked in batch:
                _answer(asked, error)
        except Exception:  # noqa: BLE001 - it is one caller's, who gets it below
            for asked in batch:
                await self._store_alone(asked)
        else:
            rest = iter(stored)
            for asked in batch:
                _answer(asked, [next(rest) for _ in asked.jobs])
        finally:
            self._go_on()

    async def _store_alone(self, asked: _Asked) -> None:
        try:
            _answer(asked, await self._database.run(store.enqueue, asked.jobs))
        except Exception as error:  # noqa: BLE001 - the caller's
            _answer(asked, error)


def _answer(asked: _Asked, answer: list[AnyJob] | Exception) -> None:
    if asked.answer.done():  # its caller was cancelled
        return
    if isinstance(answer, Exception):
        asked.answer.set_exception(answer)
    else:
        asked.answer.set_result(answer)
