"""Signals: a job waits durably for something outside, and takes no slot meanwhile."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, TypeAlias

from tenuto import codec, telemetry
from tenuto.answer import TIMED_OUT, TimedOut
from tenuto.context import Running, current
from tenuto.errors import InvalidRequest, NotHere, StorageUnavailable
from tenuto.job import Duration, check_name, seconds
from tenuto.sizes import Sizes
from tenuto.storage import signals
from tenuto.waits import Waits

MOST: Final = 100  # signals of one call


@dataclass(frozen=True, slots=True)
class Received:
    """A signal came in time: its value, and which it was."""

    value: Any
    name: str


Answer: TypeAlias = Received | TimedOut
"""Every way in which the wait for a signal can end."""


async def wait_for_signal(*names: str | Enum, timeout: Duration | None = None) -> Received | TimedOut:
    """Wait for the first of the signals of these names, at most `timeout`, for ever without one: Received or TimedOut.

    What is there already is returned at once. Else the attempt ends here, unspent; the job is run again from its
    beginning once a signal has come or the time is over, and this call then returns. The time counts from the first
    call for a name, whatever later ones say. `timeout=0` only looks, and leaves nothing behind.

    Raises NotInJob, NotHere where the job does not run on its node, InvalidRequest and InvalidJob for a name or a
    timeout that cannot be. Plain functions call tenuto.blocking.wait_for_signal.
    """
    answer = await answered(current("wait_for_signal()"), names, timeout)
    if isinstance(answer, Waits):
        raise answer
    return answer


async def answered(mine: Running, names: Iterable[str | Enum], timeout: Duration | None) -> Answer | Waits:
    """What has come of these signals, or how the attempt is to end."""
    if mine.completions is None:
        raise NotHere("wait_for_signal()")
    asked = _names(names)
    length = None if timeout is None else seconds("timeout", timeout)
    only_looks = length == timedelta(0)
    if not only_looks:
        mine.waits |= dict.fromkeys(asked, length)
    found = await _look(mine, asked)
    if found.value is None and not found.open and not only_looks:
        found = await _look(mine, asked, is_over=True)
    for name in asked if found.value is not None or only_looks else set(asked) - set(found.open):
        mine.waits.pop(name, None)
    if found.name is not None and found.value is not None:
        return Received(codec.decode(found.value), found.name)
    if only_looks or not found.open:
        return TIMED_OUT
    waits = dict.fromkeys(found.open, length) | await _others(mine, asked)
    telemetry.emit("job.wait", job=mine.job, names=list(waits))
    return Waits(waits)


async def _others(mine: Running, asked: Iterable[str]) -> dict[str, timedelta | None]:
    """The signals that other tasks of this attempt wait for: only those that have not come. Theirs have begun, too."""
    waits: dict[str, timedelta | None] = {}
    known = set(asked)
    while others := [name for name in mine.waits if name not in known]:
        known.update(others)
        waits |= {name: mine.waits.get(name) for name in (await _look(mine, others)).open}
    return waits


async def _look(mine: Running, names: list[str], *, is_over: bool = False) -> signals.Found:
    """Ask the database, however long it is away: a lease that ends stops the attempt."""
    database, job = mine.app.database, mine.job
    while True:
        try:
            if is_over:
                found: signals.Found = await database.run(signals.time_out, job.id, job.workflow_id or job.id, names)
            else:
                found = await database.read(signals.look, job.id, job.workflow_id or job.id, names)
            return found
        except StorageUnavailable:
            await asyncio.sleep(random.uniform(0.05, 0.3))  # before the next try


def _names(names: Iterable[str | Enum]) -> list[str]:
    checked = list(dict.fromkeys(map(name_of, names)))
    if not 1 <= len(checked) <= MOST:
        raise InvalidRequest(f"wait_for_signal() takes the name of a signal, or several up to {MOST}: {len(checked)}")
    return checked


def name_of(name: str | Enum) -> str:
    """The name of a signal, checked. Raises InvalidJob."""
    return check_name("signal", name.value if isinstance(name, Enum) else name)


def text_of(value: object, sizes: Sizes) -> str:
    """A signal's value as it is stored. Raises TooLarge, Unencodable."""
    return codec.encode(value, limit=sizes.args, what="the value of a signal")
