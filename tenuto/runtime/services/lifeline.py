"""Lifeline: jobs of nodes that died become available again, or are discarded when they are what kills."""

from typing import ClassVar

from tenuto import telemetry
from tenuto.runtime.node import Node, is_gone
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.runtime.services.service import Service
from tenuto.storage import upkeep
from tenuto.storage.database import Hint


class Lifeline(Service):
    """Every five seconds (or a sixth of a shorter lease), on every node.

    A node is dead when its lease has ended, or at once when it ran on this machine and its process is gone;
    the age of a job says nothing.
    """

    interval: ClassVar[float] = 5.0

    def __init__(self, node: Node, notifier: Notifier) -> None:
        super().__init__(node)
        self._notifier = notifier
        self.interval = min(5.0, node.lease.total_seconds() / 6)  # type: ignore[misc]

    async def tick(self) -> None:
        """Take back what dead nodes held."""
        await self._expire_gone()
        rescued = await self.database.run(upkeep.rescue, judge=self.node.may_judge, node=self.node.id)
        if not rescued.nodes and not rescued.ids:
            return
        self.node.counters["rescued"] += len(rescued.ids)
        telemetry.emit(
            "lifeline.rescue",
            count=len(rescued.ids),
            discarded=len(rescued.discarded),
            nodes=sorted(rescued.nodes),
        )
        tell_settled(self._notifier, rescued.settled)
        self._notifier.tell([Hint("suspects")])

    async def _expire_gone(self) -> None:
        seen = await self.database.read(upkeep.nodes)
        gone = [one.id for one in seen if one.alive and is_gone(one.boot, one.pid, one.pid_started)]
        if gone:
            await self.database.run(upkeep.expire, gone)
