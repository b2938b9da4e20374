"""Service: start, stop, and a tick on an interval, at once when poked; a lease where only one node should tick."""

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import ClassVar

from tenuto import telemetry
from tenuto.errors import StorageUnavailable
from tenuto.runtime.node import Node
from tenuto.storage import upkeep


class Service:
    """A loop that a node runs: `tick` every `interval` seconds (10 % either way, so that nodes drift apart).

    A tick that fails is told and the next one comes as usual. It is never cut off in the middle: stopping
    waits for it, so that no connection is left inside a transaction.
    """

    interval: ClassVar[float] = 1.0  # seconds
    singleton: ClassVar[bool] = False

    def __init__(self, node: Node) -> None:
        self.node = node
        self.database = node.database
        self._poked = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The service's name in events and leases: its class, in lower case."""
        return type(self).__name__.lower()

    async def tick(self) -> None:
        """Do the work once."""
        raise NotImplementedError

    def start(self) -> None:
        """Tick from now on, the first time at once."""
        self._task = asyncio.create_task(self._run(), name=f"tenuto-{self.name}")

    async def stop(self) -> None:
        """Let the tick under way end, and make no other."""
        self._stopping = True
        self._poked.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    def poke(self) -> None:
        """Tick as soon as the one under way has ended."""
        self._poked.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._poked.clear()
            await self._guarded_tick()
            if not self._stopping:
                await self._pause()

    async def _guarded_tick(self) -> None:
        try:
            if await self._is_mine():
                await self.tick()
        except StorageUnavailable as error:
            self.node.away(error)
        except Exception as error:  # noqa: BLE001 - the next tick comes as usual; it is told
            telemetry.emit("service.exception", service=self.name, error=error)
        else:
            self.node.back()

    async def _is_mine(self) -> bool:
        if not self.singleton:
            return True
        ttl = timedelta(seconds=self.interval * 2 + 5)
        return await self.database.run(upkeep.lease, self.name, self.node.id, ttl)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.interval * random.uniform(0.9, 1.1)):
                await self._poked.wait()
