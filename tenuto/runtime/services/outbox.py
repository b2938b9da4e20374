"""Outbox: hooks of jobs that others ended are told, at most once, on a node that knows the worker."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Final

from tenuto.context import Running, running
from tenuto.definition import Definition, registered
from tenuto.errors import Undecodable
from tenuto.features.feature import overriding
from tenuto.features.hooks import Endings
from tenuto.job import Job
from tenuto.runtime.node import Node
from tenuto.runtime.services.service import Service
from tenuto.storage import upkeep

AT_ONCE: Final = 20  # hooks that are told at the same time
GRACE: Final = 1.0  # seconds until hooks that still run are left to themselves, when the node stops


class Outbox(Service):
    """Every second, on every node that has such a worker. What was taken is gone: a node that dies tells nobody."""

    interval: ClassVar[float] = 1.0

    def __init__(self, node: Node, reach: Callable[[Job[Any, Any]], Running]) -> None:
        super().__init__(node)
        self._reach = reach
        self._telling: set[asyncio.Task[None]] = set()

    async def tick(self) -> None:
        """Take what was left for workers of this process, and tell their hooks beside the ticks to come."""
        listening = {name: ends for name, worker in registered().items() if (ends := _endings(worker)) is not None}
        room = AT_ONCE - len(self._telling)
        if not listening or room <= 0:
            return
        for told in await self.database.run(upkeep.take_hooks, list(listening), room):
            task = asyncio.create_task(self._tell(listening[told.job.worker], told))
            self._telling.add(task)
            task.add_done_callback(self._told)

    async def stop(self) -> None:
        """Take no more, and give what is being told a moment to end."""
        await super().stop()
        if self._telling:
            await asyncio.wait(self._telling, timeout=GRACE)
        for task in list(self._telling):
            task.cancel()

    def _told(self, task: "asyncio.Task[None]") -> None:
        self._telling.discard(task)
        if len(self._telling) == AT_ONCE - 1 and not self._stopping:  # there was no room, and there may be more
            self.poke()

    async def _tell(self, endings: Endings, told: upkeep.Told) -> None:
        job = await _opened(told.job)
        running.set(self._reach(job))
        await endings.tell(job, told.state, told.reason)


def _endings(worker: Definition) -> Endings | None:
    return next((feature for feature in worker.acting if isinstance(feature, Endings)), None)


async def _opened(job: Job[Any, Any]) -> Job[Any, Any]:
    """The job as its process would read it; where that cannot be, as it is stored."""
    opened = job
    if not isinstance(job.args, Undecodable):
        with suppress(Exception):  # a key may be missing, or args may no longer fit
            for feature in overriding(registered()[job.worker].acting, "opened_job"):
                opened = await feature.opened_job(opened)
    return opened
