"""Backoff: how long a failed attempt is followed by nothing."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from tenuto.job import Duration, seconds

Backoff: TypeAlias = Callable[[int], Duration] | Duration
"""How long to wait after a failed attempt: a function of its number, or the same time always."""


def backoff_after(attempt: int, max_attempts: int, backoff: Backoff | None = None) -> timedelta:
    """How long until the attempt after `attempt`.

    15 s + 2^attempt, up to 10 % more (after Oban.Backoff); over 20 attempts the curve is stretched, so that
    it always ends at about twelve days. A `backoff` that raises or gives no duration counts as none.
    """
    if backoff is not None:
        try:
            return seconds("backoff", backoff(attempt) if callable(backoff) else backoff)
        except BaseException:  # noqa: BLE001 - user code, as below
            backoff = None
    step = attempt if max_attempts <= 20 else round(attempt / max_attempts * 20)
    wait = 15 + 2 ** min(step, 20)
    return timedelta(seconds=wait * (1 + random.random() / 10))
