"""Worker processes for the stories in which processes and databases die; each job writes what it does into a log.

`python -m tests.stories.workers work URL` works until it is told to stop, as `tenuto work` does;
`python -m tests.stories.workers enqueue URL` stores jobs one by one. The log is the file TENUTO_STORY_LOG names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tenuto import Snooze, Tenuto, current_job, job, results
from tenuto.runtime import node
from tests.kit import ROOT, eventually, kill

LOG = "TENUTO_STORY_LOG"
NEVER = 3600.0  # seconds


# ── the jobs ──────────────────────────────────────────────────────────────────────────────────────


@job(name="story.note")
async def note(nth: int) -> None:
    """Leave a line."""
    _write("end", nth)


@job(name="story.linger", max_attempts=3)
async def linger(nth: int, seconds: float) -> None:
    """Leave a line, stay a while on the event loop, leave another."""
    _write("begin", nth)
    await asyncio.sleep(seconds)
    _write("end", nth)


@job(name="story.share", max_attempts=3, partition="args.account")
async def share(nth: int, account: int, seconds: float) -> None:
    """Like linger, of an account's share of its queue."""
    _write("begin", nth)
    await asyncio.sleep(seconds)
    _write("end", nth)


DEEDS = {"end": 70, "fail": 12, "snooze": 12, "stay": 6}
"""What a restless job does, and how many of a hundred do it."""


@job(name="story.restless", max_attempts=3, backoff=0, partition="args.account")
async def restless(nth: int, account: int, deed: str, seconds: float) -> Snooze | None:
    """Like share; some fail once, some snooze once, and some stay for half a second if they are not cancelled."""
    _write("begin", nth)
    try:
        await asyncio.sleep(0.5 if deed == "stay" else seconds)
        running = current_job()
        if deed == "fail" and not running.errors:
            raise RuntimeError(f"{nth} was told to fail once")
        return Snooze(0) if deed == "snooze" and not running.snoozes else None
    finally:
        _write("end", nth)


@job(name="story.dwell", max_attempts=3)
def dwell(nth: int, seconds: float) -> None:
    """Leave a line, stay a while in a thread, leave another."""
    _write("begin", nth)
    time.sleep(seconds)
    _write("end", nth)


@job(name="story.keep")
async def keep(nth: int, seconds: float) -> None:
    """Stay a while, and store a result before the end."""
    _write("begin", nth)
    await asyncio.sleep(seconds)
    await results.store_result(nth)
    _write("end", nth)


@job(name="story.deadly")
async def deadly(nth: int) -> None:
    """Kill the process it runs in."""
    _write("begin", nth)
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # nothing else happens here until the signal arrives


_log: int | None = None


def _write(event: str, nth: int) -> None:
    """Append one line, whole; it outlives the process."""
    global _log  # noqa: PLW0603 - one process, one log
    if _log is None:
        _log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    running = current_job()
    line = {"event": event, "nth": nth, "pid": os.getpid(), "at": time.time(), "epoch": running.epoch}
    os.write(_log, json.dumps(line).encode() + b"\n")


# ── seen from a test ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Line:
    """One event of one job."""

    event: str
    nth: int
    pid: int
    at: float  # seconds since the epoch
    epoch: int


class Log:
    """What the jobs of every process wrote, in that order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, event: str | None = None) -> list[Line]:
        """The lines so far, of one kind or all."""
        if not self.path.exists():
            return []
        whole = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in (Line(**json.loads(text)) for text in whole) if event in (None, line.event)]

    def ends(self) -> Counter[int]:
        """How often each job came to its end."""
        return Counter(line.nth for line in self.lines("end"))

    def running(self, pid: int) -> set[int]:
        """The jobs that began in that process and have not ended there."""
        seen: set[int] = set()
        for line in self.lines():
            if line.pid == pid:
                (seen.add if line.event == "begin" else seen.discard)(line.nth)
        return seen


class Crew:
    """Processes started by one test, all of which are gone when it ends; what they say is kept."""

    def __init__(self, url: str, folder: Path) -> None:
        self.log = Log(folder / "log")
        self._url = url
        self._said = folder / "said"
        self._processes: list[subprocess.Popen[bytes]] = []

    def work(self, **options: Any) -> subprocess.Popen[bytes]:
        """A process that works; options are those of the command line."""
        return self._start("work", **options)

    def enqueue(self, **options: Any) -> subprocess.Popen[bytes]:
        """A process that stores jobs one by one and ends."""
        return self._start("enqueue", **options)

    async def halt(self, process: subprocess.Popen[bytes], *, holding: int) -> None:
        """Stop a process where it is, once it runs so many jobs: as on a machine that was put to sleep."""

        def is_caught() -> bool:
            process.send_signal(signal.SIGSTOP)
            if len(self.log.running(process.pid)) >= holding:
                return True
            process.send_signal(signal.SIGCONT)
            return False

        await eventually(is_caught, within=60)

    @staticmethod
    def now() -> float:
        """The clock of the log."""
        return time.time()

    @property
    def said(self) -> str:
        """What all of them wrote to their standard error."""
        return self._said.read_text() if self._said.exists() else ""

    def _start(self, verb: str, **options: Any) -> subprocess.Popen[bytes]:
        flags = [f"--{name}={value}" for name, value in options.items()]
        with self._said.open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.stories.workers", verb, self._url, *flags],
                cwd=ROOT,
                env={**os.environ, LOG: str(self.log.path)},
                stderr=said,
            )
        self._processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            kill(process)


# ── the processes ─────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Do what the command line says."""
    asked = _arguments()
    if asked.unknown:
        node.identity = lambda: node.Identity(None, None, None)  # as on another machine
    if asked.verb == "work":
        app = Tenuto(
            asked.url,
            queues={"default": asked.slots, **({asked.own: asked.slots} if asked.own else {})},
            lease=asked.lease,
            grace=asked.grace,
            node=asked.node,
        )
        asyncio.run(app.work())
        os._exit(0)  # as the command line does: a thread that never ends keeps nothing alive
    else:
        asyncio.run(_enqueue(asked.url, range(asked.first, asked.first + asked.jobs)))


async def _enqueue(url: str, numbers: range) -> None:
    async with Tenuto(url) as app:
        for nth in numbers:
            await app.enqueue(note.new(nth))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stories.workers")
    parser.add_argument("verb", choices=["work", "enqueue"])
    parser.add_argument("url")
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--lease", type=float, default=2.0)
    parser.add_argument("--grace", type=float, default=15.0)
    parser.add_argument("--node")
    parser.add_argument("--own", help="a queue beside the default one")
    parser.add_argument("--unknown", type=bool, default=False)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
