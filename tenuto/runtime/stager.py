"""Stager: jobs that are scheduled or wait for a retry become available when they are due."""

from collections import Counter

from tenuto import telemetry
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.service import Service
from tenuto.storage import upkeep
from tenuto.storage.database import Hint


class Stager(Service):
    """Every second, on every node; rows another node is staging are skipped."""

    def __init__(self, node: Node, notifier: Notifier) -> None:
        super().__init__(node)
        self._notifier = notifier

    async def tick(self) -> None:
        """Stage what is due, and wake the queues it belongs to."""
        staged = Counter(await self.database.run(upkeep.stage))
        if not staged:
            return
        telemetry.emit("stager.stage", count=staged.total(), queues=sorted(staged))
        self._notifier.tell(Hint("insert", queue) for queue in staged)
        if staged.total() >= upkeep.STAGED_AT_ONCE:
            self.poke()
