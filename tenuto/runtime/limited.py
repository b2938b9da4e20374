"""Limited: how to claim from a queue with limits, and when to come again for its next token."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from tenuto.errors import StorageBusy
from tenuto.limits import Limits
from tenuto.runtime.cursor import Cursor
from tenuto.storage import limited
from tenuto.storage.store import AnyJob

AGAIN: Final = 0.01  # seconds between two claims, where the first did not come to an end


class Limited(Cursor):
    """A cursor for a queue with limits. It calls `wake` when a token is there for a job that may be due."""

    claim_suspect: ClassVar[Callable[..., Any]] = staticmethod(limited.claim_suspect)

    def __init__(self, limits: Limits, wake: Callable[[], None]) -> None:
        super().__init__()
        self.limits = limits
        self.is_capped = limits.is_capped
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    async def claim(self, run: Callable[..., Any], queue: str, demand: int, producer: str, node: str) -> list[AnyJob]:
        """What the queue's limits allow, by `run`. Nothing where other nodes were first all the time."""
        try:
            taken: limited.Taken = await run(limited.claim, queue, demand, producer, node)
        except StorageBusy:
            taken = limited.Taken([], limited.AT_ONCE)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if taken.wait is not None:
            pause = max(AGAIN, taken.wait.total_seconds())
            self._timer = asyncio.get_running_loop().call_later(pause, self._wake)
        return taken.jobs


def cursor_for(limits: Limits, cursor: Cursor, wake: Callable[[], None]) -> Cursor:
    """The cursor for a queue with these limits: the one there is, or another where they changed."""
    if not any(limits):
        return Cursor() if isinstance(cursor, Limited) else cursor
    if isinstance(cursor, Limited) and cursor.limits == limits:
        return cursor
    return Limited(limits, wake)
