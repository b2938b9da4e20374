"""Jobs that never end by themselves, one for each way of not ending; children import this module, and no tests.

Each writes into its folder when it began, and the loop and the threads also when they heard that they are to end.
`python -m tests.stories.endless URL ID` is another process that cancels one, and prints when that was done.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tenuto import Tenuto, current_job, job

QUEUE = "endless"
endless = job(queue=QUEUE, deadline=600, max_attempts=1)
may_end = threading.Event()  # for those that hear and go on


def tell(folder: str, what: str, text: str) -> None:
    """Write a file that others wait for, whole."""
    path = Path(folder, what)
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").replace(path)


def begun(folder: str, *pids: int) -> None:
    tell(folder, "began", " ".join(map(str, (time.time(), *pids))))


def ended(folder: str) -> None:
    tell(folder, "ended", str(time.time()))


# ── in the process of their node ──────────────────────────────────────────────────────────────────


@endless
async def on_loop(folder: str) -> None:
    begun(folder)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ended(folder)
        raise


@endless
def in_thread(folder: str) -> None:
    begun(folder)
    mine = current_job()
    while not mine.cancelled:
        time.sleep(0.005)
    ended(folder)


@endless
def in_deaf_thread(folder: str) -> None:
    """Is told, says so, and goes on."""
    begun(folder)
    mine = current_job()
    while not mine.cancelled:
        time.sleep(0.005)
    ended(folder)
    may_end.wait()


@endless(runs_in="somebody's")
def on_executor(folder: str) -> None:
    in_thread(folder)


# ── in a process of their own ─────────────────────────────────────────────────────────────────────


@endless(runs_in="process")
async def in_process_async(folder: str) -> None:
    begun(folder, os.getpid())
    await asyncio.Event().wait()


@endless(runs_in="process")
def in_one_call(folder: str) -> None:
    """Sleeps in one call, and signals that could end it do not."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    begun(folder, os.getpid())
    time.sleep(600)


@endless(runs_in="process")
def in_a_loop_of_c(folder: str) -> None:
    """Holds Python's lock in one call of C for ever: no other thread of its process runs again."""
    begun(folder, os.getpid())
    collections.deque(itertools.repeat(0), maxlen=0)


@endless(runs_in="process")
def with_children(folder: str) -> None:
    """Has a process below it, and one below that; they ignore signals as well."""
    script = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    below = "import subprocess; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, "
    below += "flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script + below], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    begun(folder, os.getpid(), child.pid, int(child.stdout.readline()))
    child.wait()


@endless(runs_in="process")
def at_hand() -> None:
    """Lets a node have a child that waits for the next job."""


# ── another process ───────────────────────────────────────────────────────────────────────────────


async def cancel(url: str, id: str) -> None:
    """Cancel it, and say when that was done."""
    async with Tenuto(url) as app:
        await app.cancel(id)
        print(time.time(), flush=True)  # noqa: T201 - it is asked for


if __name__ == "__main__":
    asyncio.run(cancel(*sys.argv[1:]))
