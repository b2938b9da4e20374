"""Poller: once a second, all that a lost hint could have said: what is due, what operators asked, who is cancelled."""

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from tenuto import telemetry
from tenuto.limits import Limits
from tenuto.runtime.limited import cursor_for
from tenuto.runtime.node import Node
from tenuto.runtime.producer import Producer
from tenuto.runtime.services.service import Service
from tenuto.storage import upkeep
from tenuto.storage.database import Hint

SOON: Final = 0.1  # seconds: another process wrote something, of which nothing more is known


class Poller(Service):
    """Keeps a node's producers in step with the database: two reads for all of its queues.

    `on_start` and `on_stop` are called with queues that an operator wants started or stopped here.
    """

    interval: ClassVar[float] = 0.9  # a second at most, with what the service adds to it

    def __init__(
        self,
        node: Node,
        producers: Mapping[str, Producer],
        on_start: Callable[[str, int], None],
        on_stop: Callable[[str], None],
    ) -> None:
        super().__init__(node)
        self._producers = producers
        self._on_start = on_start
        self._on_stop = on_stop
        self._soon: asyncio.TimerHandle | None = None

    def hear(self, hint: Hint) -> None:
        """Take up a hint: wake the producers it concerns, and look at once at what operators asked."""
        if hint.channel == "insert":
            self._wake(hint.subject)
        elif hint.channel == "suspects":
            for producer in self._producers.values():
                producer.wake(suspects=True)
        elif hint.channel == "signal":
            self.poke()
        elif not hint.channel:
            self._wake("")
            self._poke_soon()

    def _wake(self, queue: str) -> None:
        for name, producer in self._producers.items():
            if not queue or name == queue:
                producer.wake()

    def _poke_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SOON, self._poke_now)

    def _poke_now(self) -> None:
        self._soon = None
        self.poke()

    async def tick(self) -> None:
        """Obey, wake, cancel."""
        polled = await self.database.read(upkeep.poll, self.node.name, list(self._producers))
        for queue in polled:
            self._obey(queue)
        for id, epoch, is_cancelled in await self.database.read(upkeep.poll_signals, self.node.producers):
            for producer in self._producers.values():
                producer.signal(id, epoch, is_cancelled=is_cancelled)

    def _obey(self, queue: upkeep.QueuePoll) -> None:
        producer = self._producers.get(queue.name)
        if producer is None:
            if queue.running and queue.slots:
                self._on_start(queue.name, queue.slots)
            return
        if queue.running is False:
            self._on_stop(queue.name)
            return
        self._limit(producer, Limits.decode(queue.limits))
        producer.obey(paused=queue.paused, limit=queue.slots)
        if queue.due or queue.suspect:
            producer.wake(suspects=queue.suspect)

    @staticmethod
    def _limit(producer: Producer, limits: Limits) -> None:
        """Let a producer claim as the limits of its queue say."""
        cursor = cursor_for(limits, producer.cursor, producer.wake)
        if cursor is not producer.cursor:
            producer.cursor = cursor
            telemetry.emit("queue.limits", queue=producer.queue, limits=str(limits))
            producer.wake(suspects=True)
