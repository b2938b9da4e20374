"""Check: whether args fit a worker, told as faults in place of an error."""

from collections.abc import Callable
from typing import Any

from tenuto.errors import InvalidArgs, TooLarge


def faults_of(make: Callable[..., Any], *args: Any, **named: Any) -> tuple[tuple[str, str], ...]:
    """Why `make` would refuse these args, as (path, reason) pairs, without their values; empty when it would not."""
    try:
        make(*args, **named)
    except InvalidArgs as refused:
        return refused.problems
    except TooLarge as refused:
        return (("", str(refused)),)
    return ()
