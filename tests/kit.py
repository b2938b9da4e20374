"""What stories are told with: Obey, a worker that does what its args say, and ways to wait for what came of it.

`python -m tests.kit URL` is a worker process of its own, for stories in which one is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeVar

from tenuto import Cancel, Discard, Job, Record, Snooze, Tenuto, Worker, Workflow, WorkflowStatus, current_app, results
from tenuto.errors import TenutoError

T = TypeVar("T")
AnyJob = Job[Any, Any]

"""For stories in which several apps use one SQLite file."""

ROOT = Path(__file__).parent.parent
LEASE = 2.0  # seconds, of the nodes in stories


# ── what happened in this process ─────────────────────────────────────────────────────────────────


@dataclass
class Run:
    """One attempt that ran in this process; `began` and `ended` count all beginnings and endings there were."""

    attempt: int
    began: int
    ended: int | None = None


_ticks = itertools.count()
_runs: defaultdict[str, list[Run]] = defaultdict(list)
_gates: dict[str, Gate] = {}


def runs_of(job: AnyJob) -> list[Run]:
    """Every attempt of the job that ran in this process."""
    return _runs.get(job.id, [])


def times_run(flow: Workflow) -> dict[str, int]:
    """How often each step ran in this process."""
    return {name: len(runs_of(job)) for name, job in flow.jobs.items()}


def early_starts(flow: Workflow) -> list[tuple[str, str]]:
    """The steps that began before a dep of theirs had ended, with that dep."""
    first = {name: runs_of(job)[0].began for name, job in flow.jobs.items() if runs_of(job)}
    last = {name: max(run.ended or sys.maxsize for run in runs_of(flow.jobs[name])) for name in first}
    return [
        (name, dep)
        for name, step in flow.steps.items()
        for dep in step.deps
        if name in first and (dep not in last or first[name] < last[dep])
    ]


class Gate:
    """Holds the jobs of this process that were told to wait at it, until it is opened."""

    def __init__(self) -> None:
        self.name = f"gate-{next(_ticks)}"
        self.waiting = 0
        self._opened = asyncio.Event()
        _gates[self.name] = self

    async def pass_through(self) -> None:
        """Wait here until it is open."""
        self.waiting += 1
        await self._opened.wait()

    def open(self) -> None:
        """Let them go."""
        self._opened.set()


# ── the worker that obeys ─────────────────────────────────────────────────────────────────────────


@dataclass
class Orders:
    """What one Obey job is to do, and for how many of its attempts or snoozes."""

    does: str
    value: Any = None
    times: int | None = None
    names: list[str] = field(default_factory=list)


class ToldTo(Exception):
    """The failure of a job that was told to fail."""


class Obey(Worker[Orders, Any], name="obey", backoff=0):
    """Does what its args say; `Obey.fail_times(2, then="done")` is a job that does it. Options go to the job."""

    async def process(self, job: Job[Orders, Any]) -> Any:
        run = Run(job.attempt, next(_ticks))
        _runs[job.id].append(run)
        try:
            return await _DEEDS[job.args.does](job)
        finally:
            run.ended = next(_ticks)

    @classmethod
    def ok(cls, **options: Any) -> AnyJob:
        """Ends well, without a result."""
        return cls.options(**options).new(Orders("nothing"))

    @classmethod
    def value(cls, value: Any, **options: Any) -> AnyJob:
        """Ends well with this result, also with None."""
        return cls.options(**options).new(Orders("value", value))

    @classmethod
    def gather(cls, **options: Any) -> AnyJob:
        """Its result is what `get_all_results` gives it."""
        return cls.options(**options).new(Orders("gather"))

    @classmethod
    def depth(cls, **options: Any) -> AnyJob:
        """Its result is one more than the greatest of its deps'."""
        return cls.options(**options).new(Orders("depth"))

    @classmethod
    def count(cls, **options: Any) -> AnyJob:
        """Its result is how many results its deps have."""
        return cls.options(**options).new(Orders("count"))

    @classmethod
    def app(cls, **options: Any) -> AnyJob:
        """Its result is the name of the app that runs it."""
        return cls.options(**options).new(Orders("app"))

    @classmethod
    def read(cls, *steps: str, **options: Any) -> AnyJob:
        """Its result says of each of these steps what `get_result` gives, or the name of the refusal."""
        return cls.options(**options).new(Orders("read", names=list(steps)))

    @classmethod
    def fail(cls, message: str = "told to fail", **options: Any) -> AnyJob:
        """Raises at every attempt; has one, unless options give it more."""
        return cls.options(**{"max_attempts": 1, **options}).new(Orders("fail", message))

    @classmethod
    def fail_times(cls, times: int, then: Any = None, **options: Any) -> AnyJob:
        """Raises so many times, then ends well with `then`."""
        return cls.options(**options).new(Orders("fail", then, times))

    @classmethod
    def snooze(cls, seconds: float, times: int | None = None, **options: Any) -> AnyJob:
        """Snoozes, so many times or always, and then ends well."""
        return cls.options(**options).new(Orders("snooze", seconds, times))

    @classmethod
    def cancel(cls, reason: str = "told to", **options: Any) -> AnyJob:
        """Cancels itself."""
        return cls.options(**options).new(Orders("cancel", reason))

    @classmethod
    def discard(cls, reason: str = "told to", **options: Any) -> AnyJob:
        """Discards itself."""
        return cls.options(**options).new(Orders("discard", reason))

    @classmethod
    def wait_at(cls, gate: Gate, **options: Any) -> AnyJob:
        """Runs until the gate is opened."""
        return cls.options(**options).new(Orders("wait", gate.name))

    @classmethod
    def store(cls, value: Any, then: str = "nothing", **options: Any) -> AnyJob:
        """Stores this result early, and then: `nothing` (ends without another), `fail`, `hang` or `return`."""
        return cls.options(**options).new(Orders("store", value, names=[then]))


async def _fail(job: Job[Orders, Any]) -> Any:
    if job.args.times is None or job.attempt <= job.args.times:
        raise ToldTo(job.args.value)
    return job.args.value


async def _snooze(job: Job[Orders, Any]) -> Any:
    return Snooze(job.args.value) if job.args.times is None or job.snoozes < job.args.times else None


async def _store(job: Job[Orders, Any]) -> Any:
    await results.store_result(job.args.value)
    then = job.args.names[0]
    if then == "fail":
        raise ToldTo("after storing")
    if then == "hang":
        await asyncio.Event().wait()
    return ["returned", job.args.value] if then == "return" else None


async def _read(job: Job[Orders, Any]) -> Any:
    return {step: _outcome_of(step) for step in job.args.names}


def _outcome_of(step: str) -> Any:
    try:
        return results.get_result(step)
    except TenutoError as refusal:
        return type(refusal).__name__


async def _wait(job: Job[Orders, Any]) -> None:
    await _gates[job.args.value].pass_through()


def _simply(give: Callable[[Job[Orders, Any]], Any]) -> Callable[[Job[Orders, Any]], Awaitable[Any]]:
    async def do(job: Job[Orders, Any]) -> Any:
        return give(job)

    return do


_DEEDS: dict[str, Callable[[Job[Orders, Any]], Awaitable[Any]]] = {
    "nothing": _simply(lambda job: None),
    "value": _simply(lambda job: Record(job.args.value)),
    "gather": _simply(lambda job: results.get_all_results()),
    "depth": _simply(lambda job: 1 + max(results.get_all_results().values(), default=0)),
    "count": _simply(lambda job: len(results.get_all_results())),
    "app": _simply(lambda job: current_app().name),
    "cancel": _simply(lambda job: Cancel(job.args.value)),
    "discard": _simply(lambda job: Discard(job.args.value)),
    "read": _read,
    "fail": _fail,
    "snooze": _snooze,
    "wait": _wait,
    "store": _store,
}


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


async def eventually(probe: Callable[[], Any], *, within: float = 20.0) -> Any:
    """Ask until the answer is true, and give it; an answer may be awaitable. Fails with the last one."""
    until = time.monotonic() + within
    while True:
        answer = probe()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < until, f"still {answer!r} after {within:g} seconds"
        await asyncio.sleep(0.02)


async def drain(app: Tenuto) -> None:
    """Wait until nothing runs, is due, or waits for another attempt; what is scheduled stays so."""

    async def is_idle() -> bool:
        return not await app.find(state=["available", "executing", "retryable"], limit=1)

    await eventually(is_idle)


async def until_paused(app: Tenuto, queue: str = "default") -> None:
    """Wait until this node has taken up that its queue is paused."""
    crew = app._crew
    assert crew is not None
    await eventually(lambda: crew.paused == {queue})


async def finish(app: Tenuto, flow: Workflow, *, within: float = 30.0) -> WorkflowStatus:
    """Store the workflow, wait for its end, and give its status."""
    await app.enqueue(flow)
    return await app.workflow(flow.id).wait(timeout=within)


async def states_of(app: Tenuto, flow: Workflow) -> dict[str, str]:
    """Each step's state by name."""
    status = await app.workflow(flow.id).status()
    return {step.name: step.state for step in status.steps}


async def state_of(app: Tenuto, flow: Workflow, step: str) -> str:
    """One step's state."""
    return (await states_of(app, flow))[step]


async def result_of(app: Tenuto, flow: Workflow, step: str) -> Any:
    """What one step stored."""
    return await app.workflow(flow.id).result(step)


async def reason_of(app: Tenuto, job: AnyJob) -> str:
    """What the newest of a job's errors says."""
    return (await app.fetch(job)).errors[-1].message


# ── another process ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def worker_process(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works on the database with Obey until it is killed, which is at the end at the latest."""
    process = subprocess.Popen([sys.executable, "-m", "tests.kit", url], cwd=ROOT)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, and wait until it is gone."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    asyncio.run(Tenuto(sys.argv[1], queues={"default": 10}, lease=LEASE).work())
