"""Stager: jobs become available when they are due, and are cancelled when their deadline passes while they wait."""

from collections import Counter

from tenuto import telemetry
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.runtime.services.service import Service
from tenuto.storage import overdue, upkeep
from tenuto.storage.database import Hint


class Stager(Service):
    """Every second, on every node; rows another node is staging are skipped."""

    def __init__(self, node: Node, notifier: Notifier) -> None:
        super().__init__(node)
        self._notifier = notifier

    async def tick(self) -> None:
        """Stage what is due and wake the queues it belongs to; cancel what waits past its deadline."""
        await self._stage()
        await self._cancel_overdue()

    async def _stage(self) -> None:
        staged = Counter(await self.database.run(upkeep.stage))
        if not staged:
            return
        telemetry.emit("stager.stage", count=staged.total(), queues=sorted(staged))
        self._notifier.tell(Hint("insert", queue) for queue in staged)
        if staged.total() >= upkeep.STAGED_AT_ONCE:
            self.poke()

    async def _cancel_overdue(self) -> None:
        late = await self.database.read(overdue.overdue)
        if not late:
            return
        settled = await self.database.run(overdue.cancel_overdue, late)
        telemetry.emit("stager.overdue", count=len(settled.ids))
        tell_settled(self._notifier, settled)
        if len(late) >= overdue.SWEPT_AT_ONCE:
            self.poke()
