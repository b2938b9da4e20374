"""Expiry: an attempt whose deadline is forced, told to stop when it comes."""

import asyncio
from collections.abc import Callable
from typing import Final

from tenuto.failure import PAST_DEADLINE
from tenuto.features.deadline import seconds_left
from tenuto.outcome import Cancel
from tenuto.runtime.executor import Attempt

EXPIRED: Final = Cancel(PAST_DEADLINE)


def expire(attempt: Attempt, tell: Callable[[Attempt, Cancel], None]) -> None:
    """Call `tell(attempt, Cancel(...))` at the deadline of an attempt that has just begun, unless it ends before."""
    left = seconds_left(attempt.job)
    if left is None or left <= 0 or attempt.task is None:  # too late to begin is the feature's to say
        return
    timer = asyncio.get_running_loop().call_later(left, _tell, attempt, tell)
    attempt.task.add_done_callback(lambda _: timer.cancel())


def _tell(attempt: Attempt, tell: Callable[[Attempt, Cancel], None]) -> None:
    if attempt.stopped is None:
        tell(attempt, EXPIRED)
