"""The table of endings: every way of running × every cause, from the cause to the row being final and the code gone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tenuto import Deadline, Job, Tenuto
from tenuto.job import CANCELLED, DISCARDED
from tests.conftest import OpenApp
from tests.kit import ROOT, drain, eventually
from tests.stories import endless

AnyJob = Job[Any, Any]

PLACES: dict[str, Any] = {
    "on the loop": endless.on_loop,
    "in a thread": endless.in_thread,
    "in a thread that goes on": endless.in_deaf_thread,
    "in a process, async": endless.in_process_async,
    "in a process, in one call that hears no signal": endless.in_one_call,
    "in a process, in C with the lock": endless.in_a_loop_of_c,
    "in a process, with children": endless.with_children,
    "on an executor": endless.on_executor,
}
DEADLINE, TIMEOUT = 2.0, 0.5  # seconds
GOES_ON = {"in a thread that goes on"}  # when it runs out of time: its row is final when its thread returns


leaving: list[asyncio.Future[int]] = []
"""Processes that have cancelled a job, and end."""

SLOWLY = 60.0  # seconds that another process may take to start on a busy machine


class Took(NamedTuple):
    """Seconds from a cause until the row was final, and until the code ran no more (a deaf thread: until it heard)."""

    row: float
    code: float


@pytest.fixture
async def there(open_app: OpenApp) -> AsyncIterator[Tenuto]:
    """An app that has a child process at hand, and somebody's threads."""
    endless.may_end.clear()
    with ThreadPoolExecutor(2) as threads:
        app = await open_app(queues={endless.QUEUE: 4}, executors={"somebody's": threads})
        await app.enqueue(endless.at_hand.new())
        await drain(app)
        yield app
        await asyncio.gather(*leaving)
        leaving.clear()
        endless.may_end.set()
        await app.stop()


# ── the causes ────────────────────────────────────────────────────────────────────────────────────


async def by_its_deadline(app: Tenuto, worker: Any, folder: Path, url: str) -> tuple[AnyJob, float]:
    """A job with a forced deadline, and when that is."""
    made = await app.enqueue(worker.options(deadline=Deadline(DEADLINE, force=True)).new(str(folder)))
    await eventually((folder / "began").exists)
    assert made.deadline_at is not None
    return made, made.deadline_at.timestamp()


async def by_its_timeout(app: Tenuto, worker: Any, folder: Path, url: str) -> tuple[AnyJob, float]:
    """A job that runs out of time, and when it does."""
    made = await app.enqueue(worker.options(timeout=TIMEOUT).new(str(folder)))
    await eventually((folder / "began").exists)
    return made, float((folder / "began").read_text().split()[0]) + TIMEOUT


async def by_another_process(app: Tenuto, worker: Any, folder: Path, url: str) -> tuple[AnyJob, float]:
    """A job that another process cancels, and when that is done."""
    made = await app.enqueue(worker.new(str(folder)))
    await eventually((folder / "began").exists)
    command = [sys.executable, "-m", "tests.stories.endless", url, made.id]
    other = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert other.stdout is not None
    at = float(await other.stdout.readline())
    leaving.append(asyncio.ensure_future(other.wait()))
    return made, at


async def by_the_command_line(app: Tenuto, worker: Any, folder: Path, url: str) -> tuple[AnyJob, float]:
    """A job that an operator cancels, and when the command has ended."""
    made = await app.enqueue(worker.new(str(folder)))
    await eventually((folder / "began").exists)
    command = [sys.executable, "-m", "tenuto", "--url", url, "jobs", "cancel", made.id]
    other = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    assert await other.wait() == 0
    return made, time.time()


CAUSES = {
    "deadline": by_its_deadline,
    "timeout": by_its_timeout,
    "cancel": by_another_process,
    "command line": by_the_command_line,
}
CELLS = [
    (place, cause)
    for place in PLACES
    for cause in CAUSES
    if (place, cause) not in {(each, "timeout") for each in GOES_ON}
]


# ── how long it takes ─────────────────────────────────────────────────────────────────────────────


async def took(app: Tenuto, place: str, cause: str, folder: Path, url: str) -> tuple[AnyJob, Took]:
    """One cell: the job as it ended, and how long that took."""
    watching = asyncio.ensure_future(code_ended(folder))
    made, at = await CAUSES[cause](app, PLACES[place], folder, url)
    found, row = await row_ended(app, made)
    return found, Took(row - at, await watching - at)


async def row_ended(app: Tenuto, made: AnyJob) -> tuple[AnyJob, float]:
    """The job as it ended, and when that was seen."""

    async def final() -> AnyJob | None:
        found = await app.fetch(made)
        return found if found.state.is_terminal else None

    return await eventually(final), time.time()


async def code_ended(folder: Path) -> float:
    """When it said so, or was seen to be gone with all that it started."""
    await eventually((folder / "began").exists)
    pids = [int(pid) for pid in (folder / "began").read_text().split()[1:]]
    if not pids:
        return float(await eventually(lambda: _text(folder / "ended"), within=SLOWLY))
    await eventually(lambda: all(map(is_gone, pids)), within=SLOWLY)
    return time.time()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_gone(pid: int) -> bool:
    """Whether it runs no more; a zombie does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("place", "cause"), CELLS)
async def test_it_ends_within_a_second(there: Tenuto, place: str, cause: str, tmp_path: Path, database_url: str):
    found, took_ = await took(there, place, cause, tmp_path, database_url)

    assert found.state is (DISCARDED if cause == "timeout" else CANCELLED)
    assert found.errors[-1].kind == ("timeout" if cause == "timeout" else "cancel")
    assert took_.row < 1, took_
    assert took_.code < 1, took_


async def test_a_thread_that_runs_out_of_time_is_told_and_is_the_jobs_until_it_ends(there: Tenuto, tmp_path: Path):
    made, at = await by_its_timeout(there, endless.in_deaf_thread, tmp_path, "")

    told = await code_ended(tmp_path)
    meanwhile = await there.fetch(made)
    endless.may_end.set()
    found, _ = await row_ended(there, made)

    assert told - at < 1
    assert meanwhile.state == "executing"
    assert (found.state, found.errors[-1].kind) == (DISCARDED, "timeout")
