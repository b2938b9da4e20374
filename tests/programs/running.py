"""One run of a random program: a worker that is killed, and a driver that does to the workflow what it says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tenuto import Job, Tenuto, WorkflowStatus
from tenuto.errors import JobNotFound, NotRetried, StepNotFound, WaitTimedOut, WorkflowFinished
from tests.kit import eventually
from tests.programs.program import Act, Append, Kill, Program, Signal, Spec, Steer, Watch
from tests.programs.steps import finished, flow_of, work
from tests.soaking.audit import history, watch
from tests.soaking.checker import read_log
from tests.soaking.killing import Victim
from tests.soaking.places import Place
from tests.storage.tables import Row

BOUND = 60.0  # seconds until what is not finished is stuck
LOOK = 1.0  # seconds: how long a program waits for attempts that may never begin


@dataclass
class Run:
    """Everything there is to know of one run."""

    program: Program
    accepted: dict[str, Spec] = field(default_factory=dict)  # top-level steps that were stored
    first: WorkflowStatus | None = None  # when it had finished for the first time after the acts
    last: WorkflowStatus | None = None  # when all had been retried
    audit: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    told: list[Job[Any, Any]] = field(default_factory=list)  # the callbacks
    complaints: list[str] = field(default_factory=list)


async def run(program: Program, place: Place) -> Run:
    """Run it in a fresh database to its end, and then retry what failed until all is completed."""
    await asyncio.to_thread(place.clear)
    await Tenuto(place.url).migrate()
    await asyncio.to_thread(watch, place.url)
    async with Tenuto(place.url) as app:
        driver = Driver(app, place, program)
        await driver.drive()
        return driver.seen


class Driver:
    """Does what a program says, and keeps what it saw."""

    def __init__(self, app: Tenuto, place: Place, program: Program) -> None:
        self.app, self.place = app, place
        self.flow = flow_of(list(program.first), name="program", on_finished=finished.options(queue="nobody").new())
        self.handle = app.workflow(self.flow.id)
        self.seen = Run(program, {spec.name: spec for spec in program.first})

    async def drive(self) -> None:
        """All of it; the worker is gone when this returns."""
        await self.app.enqueue(self.flow)
        self.victim = await asyncio.to_thread(Victim, self.place.url, self.place.folder, work)
        try:
            for act in self.seen.program.acts:
                await self._do(act)
            await self._signal_all()
            self.seen.first = await self._finished()
            self.seen.last = await self._healed()
            await self._look_at_all()
        finally:
            await asyncio.to_thread(self.victim.kill)

    async def _do(self, act: Act) -> None:
        match act:
            case Append(spec):
                with suppress(WorkflowFinished):
                    await self.handle.append(flow_of([spec]))
                    self.seen.accepted[spec.name] = spec
            case Steer("cancel", names):
                with suppress(StepNotFound):  # it would have been grafted
                    await self.handle.cancel(*names)
            case Steer(_, names):
                with suppress(StepNotFound, NotRetried):
                    await self.handle.retry(*names)
            case Signal(name):
                await self._signal(name)
            case Kill():
                await asyncio.to_thread(self.victim.kill)
                await asyncio.to_thread(self.victim.restart)
            case Watch(count):
                await self._attempts(count)

    async def _signal(self, name: str) -> None:
        with suppress(WorkflowFinished, JobNotFound):
            await self.app.signal(self.flow.id, name.rpartition("/")[2], "go")

    async def _signal_all(self) -> None:
        for name, spec in self.seen.program.all_steps().items():
            if spec.deed == "waits":
                await self._signal(name)

    async def _attempts(self, count: int) -> None:
        """Until so many more have begun, or nothing more seems to begin."""
        log = self.place.folder / "log"
        before = len(read_log(log))
        with suppress(AssertionError):
            await eventually(lambda: len(read_log(log)) >= before + count, within=LOOK)

    async def _finished(self) -> WorkflowStatus:
        with suppress(WaitTimedOut):
            await self.handle.wait(timeout=BOUND)
        return await self.handle.status()

    async def _healed(self) -> WorkflowStatus:
        """Each step fails at its first attempt at most, so that a few retries bring all to a good end."""
        for _ in range(12):
            status = await self.handle.status()
            if not status.is_finished or status.outcome == "completed":
                break
            await self.handle.retry()
            await self._signal_all()
            await self._finished()
        return await self.handle.status()

    async def _look_at_all(self) -> None:
        self.seen.audit = history(self.place.url)
        self.seen.faults = [line["what"] for line in read_log(self.place.folder / "log") if line["event"] == "fault"]
        self.seen.told = [await self.app.fetch(job) for job in await self.app.find(queue="nobody", limit=1000)]
        self.seen.complaints = [f"{one.rule}: {broken}" for one in await self.app.check() for broken in one.broken]
