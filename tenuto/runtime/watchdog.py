"""Watchdog: asks an event loop for a sign from another thread, and tells which job blocks it, and at which line."""

import asyncio
import os
import sys
import sysconfig
import threading
import time
from types import FrameType
from typing import Any, Final, NamedTuple

from tenuto import telemetry
from tenuto.job import Job
from tenuto.runtime.places.children import job_of

LAG_TOLD: Final = 1.0  # seconds the event loop may be blocked before it is told


class Culprit(NamedTuple):
    """What runs on a loop that gives no sign: the job, if it is one, and the line."""

    job: Job[Any, Any] | None
    where: str  # "file:line in function"; empty where nothing can be seen


NOBODY: Final = Culprit(None, "")


class Watchdog:
    """Watches the loop in which it is made. Somebody looks with `look`, from a thread of their own."""

    def __init__(self, node: str) -> None:
        self.lag = 0.0  # seconds, the longest the loop was blocked
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked: float | None = None  # monotonic: when the loop was asked for a sign it has not given yet
        self._told = 0.0  # seconds of lag that were told of the sign under way
        self._culprit = NOBODY

    def look(self, held: float = 0.0) -> None:
        """Ask for a sign, and tell how late it comes: while there is none at one second, two, four …

        `held` is for how many seconds who looks could not run: something kept Python's lock from all threads, and the
        loop is one of them. That is told at once, with the job that is still at work there then.
        """
        if held > LAG_TOLD:
            self.lag = max(self.lag, held)
            self._culprit = culprit(self._loop, self._thread)
            self._tell(held)
            self._asked = None  # a sign that is still to come would tell it again
        asked = self._asked
        if asked is None:
            self._ask()
            return
        late = time.monotonic() - asked
        self.lag = max(self.lag, late)
        if late > max(LAG_TOLD, self._told * 2):
            self._culprit = culprit(self._loop, self._thread)
            self._tell(late)

    def _ask(self) -> None:
        if not self._loop.is_closed():
            self._told, self._culprit = 0.0, NOBODY
            self._asked = time.monotonic()
            self._loop.call_soon_threadsafe(self._answered)

    def _answered(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            late = time.monotonic() - asked
            self.lag = max(self.lag, late)
            if late > LAG_TOLD:
                self._tell(late)

    def _tell(self, late: float) -> None:
        self._told = late
        told = self._culprit
        telemetry.emit("node.lag", node=self._node, seconds=late, job=told.job, where=told.where)


def culprit(loop: asyncio.AbstractEventLoop, thread: int) -> Culprit:
    """What runs now on a loop, which is that thread's; to be called from another."""
    task = asyncio.current_task(loop)
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, with this name
    return Culprit(None if task is None else job_of(task), _where(frames.get(thread)))


# ── the line ──────────────────────────────────────────────────────────────────────────────────────

_paths: Final = sysconfig.get_paths()
_SITE: Final = tuple(_paths[key] + os.sep for key in ("purelib", "platlib"))
_LIBRARY: Final = (
    *(_paths[key] + os.sep for key in ("stdlib", "platstdlib")),
    *(os.path.dirname(os.path.dirname(__file__)) + os.sep, "<"),
)


def _where(frame: FrameType | None) -> str:
    """The innermost line of the program's own; of an installed package's if it has none; else the innermost."""
    best, rank = frame, 3
    while frame is not None:
        mine = _rank(frame.f_code.co_filename)
        if mine < rank:
            best, rank = frame, mine
        frame = frame.f_back
    if best is None:
        return ""
    return f"{best.f_code.co_filename}:{best.f_lineno} in {best.f_code.co_qualname}"


def _rank(file: str) -> int:
    """0 for a program's own file, 1 for an installed one, 2 for Python's and ours."""
    if file.startswith(_SITE):
        return 1
    return 2 if file.startswith(_LIBRARY) else 0
