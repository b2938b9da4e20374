"""Parked: acks whose rows another session holds, tried again beside the others until it has let go."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from tenuto.outcome import Ack

AT_FIRST, AT_MOST = 1.0, 30.0  # seconds between two tries
PARTS: Final = 8  # into which a batch is cut in which somebody holds a row


class Parked:
    """Acks that wait for a row, and a task that gives them, one by one and ever more rarely, by `give`."""

    def __init__(self, give: Callable[[Sequence[Ack]], Awaitable[None]]) -> None:
        self._give = give
        self._acks: dict[tuple[str, int], Ack] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def ids(self) -> list[str]:
        """The jobs whose acks wait here."""
        return [id for id, _ in self._acks]

    async def cut(self, acks: Sequence[Ack]) -> None:
        """Give a batch in parts, so that those acks go on whose rows are free; a single one stays here."""
        if len(acks) > 1:
            part = -(-len(acks) // PARTS)
            for start in range(0, len(acks), part):
                await self._give(acks[start : start + part])
            return
        self._acks |= {(ack.id, ack.epoch): ack for ack in acks}
        if self._task is None:
            self._task = asyncio.create_task(self._try_again())

    def forget(self, acks: Iterable[Ack]) -> None:
        """These were given back."""
        for ack in acks if self._acks else ():
            self._acks.pop((ack.id, ack.epoch), None)

    def stop(self) -> None:
        """Try no more: their jobs are taken back when their rows are free."""
        if self._task is not None:
            self._task.cancel()

    async def _try_again(self) -> None:
        pause = AT_FIRST
        while self._acks:
            await asyncio.sleep(pause)
            for ack in tuple(self._acks.values()):
                await self._give([ack])
            pause = min(2 * pause, AT_MOST)
        self._task = None
