"""Faults: what a test lets go wrong in the jobs of a worker, in just the run it wants, where process is called."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeAlias

from tenuto.definition import Definition, resolve
from tenuto.errors import InvalidRequest
from tenuto.features.feature import Feature, Process, ranked
from tenuto.function import FunctionWorker
from tenuto.job import Duration, Job, seconds
from tenuto.outcome import Outcome, Snooze
from tenuto.worker import Worker

AnyJob = Job[Any, Any]
AnyWorker: TypeAlias = FunctionWorker[..., Any, Any] | type[Worker[Any, Any]] | str
"""A worker, or the name of one."""

dying: Final[ContextVar[Callable[[], None]]] = ContextVar("tenuto_dying")
"""Lets the attempt this code runs in die with its process, where a test runs it."""


class InjectedFault(Exception):
    """What a job fails with where a test says nothing else."""


@dataclass(frozen=True)
class _Fault:
    """One thing that goes wrong: in which runs of which jobs, and how."""

    act: Callable[[Process, AnyJob], Awaitable[Outcome]]
    nth: Collection[int] | None  # None: in each
    where: Callable[[AnyJob], bool]

    def is_due(self, run: int, job: AnyJob) -> bool:
        return (self.nth is None or run in self.nth) and self.where(job)


class Faults:
    """Lets jobs go wrong for as long as its `with` block lasts. A fault meets the job where its process would be
    called: args are cast, hooks have run, and what follows is what follows in production.

    `nth` says in which runs of each job it happens: 1, several, or None for each. Runs are counted from the beginning
    of the block, also those that spend no attempt. `where` chooses jobs: `lambda job: job.args["to"] == "ada"`.
    Raises InvalidRequest for workers that run in another process, which no fault of this one reaches, and for runs that
    never come.
    """

    def __init__(self) -> None:
        self._before: dict[Definition, tuple[Feature, ...]] = {}
        self._features: dict[Definition, _Injected] = {}
        self._is_on = False

    def __enter__(self) -> Self:
        self._is_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False
        for definition, features in self._before.items():
            _give(definition, features)
        self._before.clear()
        self._features.clear()

    def fail(
        self,
        worker: AnyWorker,
        error: BaseException | None = None,
        *,
        nth: int | Collection[int] | None = 1,
        after: bool = False,
        where: Callable[[AnyJob], bool] | None = None,
    ) -> None:
        """Raise `error` in place of process, or with `after` when process has done its work. A Snooze, Cancel or
        Discard counts as it does when a job raises it."""
        if error is not None and not _is_error(error):
            raise InvalidRequest(f"{error!r:.80} cannot be raised; give an exception")

        async def act(call_next: Process, job: AnyJob) -> Outcome:
            if after:
                await call_next(job)
            raise error or InjectedFault(f"a test lets {job.worker} fail")

        self._add(worker, act, nth, where)

    def snooze(
        self,
        worker: AnyWorker,
        delay: Duration,
        *,
        nth: int | Collection[int] | None = 1,
        where: Callable[[AnyJob], bool] | None = None,
    ) -> None:
        """Snooze in place of process."""
        self.fail(worker, Snooze(delay), nth=nth, where=where)

    def slow(
        self,
        worker: AnyWorker,
        delay: Duration | None = None,
        *,
        nth: int | Collection[int] | None = 1,
        where: Callable[[AnyJob], bool] | None = None,
    ) -> None:
        """Wait before process is called, in real seconds; None for as long as nobody ends it: a timeout, a cancel."""
        wait = None if delay is None else seconds("slow", delay).total_seconds()

        async def act(call_next: Process, job: AnyJob) -> Outcome:
            if wait is None:
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(wait)
            return await call_next(job)

        self._add(worker, act, nth, where)

    def kill(
        self,
        worker: AnyWorker,
        *,
        nth: int | Collection[int] | None = 1,
        after: bool = False,
        where: Callable[[AnyJob], bool] | None = None,
    ) -> None:
        """Let the process of the job die before it is called, or with `after` when it has done its work and nothing
        of that is stored yet. The job is taken back from it, as from a node that is gone.

        For what `perform`, `drain` and `run_workflow` run: a job on a node in this process fails instead.
        """

        async def act(call_next: Process, job: AnyJob) -> Outcome:
            die = dying.get(None)
            if die is None:
                raise InvalidRequest("kill() is for jobs that perform(), drain() or run_workflow() run, not for a node")
            if after:
                await call_next(job)
            die()
            raise _Died

        self._add(worker, act, nth, where)

    def _add(
        self,
        worker: AnyWorker,
        act: Callable[[Process, AnyJob], Awaitable[Outcome]],
        nth: int | Collection[int] | None,
        where: Callable[[AnyJob], bool] | None,
    ) -> None:
        if not self._is_on:
            raise InvalidRequest("faults are for the block of their `with Faults() as faults:`, and it is not open")
        definition, runs = definition_of(worker), _runs(nth)
        if definition.runs_in is not None:
            told = f"its jobs run in {definition.runs_in!r}, which no fault of this process reaches"
            raise InvalidRequest(f"{definition.name} cannot have faults: {told}")
        if definition not in self._features:
            self._before[definition] = definition.features
            self._features[definition] = injected = _Injected()
            _give(definition, ranked([*definition.features, injected]))
        self._features[definition].faults.append(_Fault(act, runs, where or _always))


class _Injected(Feature):
    """Innermost: between all that a worker has and its process."""

    rank: ClassVar[int] = -100

    def __init__(self) -> None:
        self.faults: list[_Fault] = []
        self._runs: Counter[str] = Counter()

    async def around_process(self, job: AnyJob, call_next: Process) -> Outcome:
        """Do what is due in this run, the first of all that are."""
        self._runs[job.id] += 1
        for fault in self.faults:
            if fault.is_due(self._runs[job.id], job):
                return await fault.act(call_next, job)
        return await call_next(job)


class _Died(BaseException):
    """Ends an attempt whose process has died: nobody is told of it."""


def definition_of(worker: AnyWorker) -> Definition:
    """A worker's definition. Raises UnknownWorker for a name that this process does not know, and InvalidRequest for
    what is no worker."""
    if isinstance(worker, str):
        return resolve(worker)
    found: Any = getattr(worker, "definition", None)
    if not isinstance(found, Definition):
        raise InvalidRequest(f"{worker!r:.80} is no worker; give a function with @job, a Worker class, or its name")
    return found


def whole(what: str, number: Any, *, least: int = 1) -> int:
    """The same `number`, if it is a whole one from `least` on. Raises InvalidRequest."""
    if type(number) is not int or number < least:
        raise InvalidRequest(f"{what}={number!r:.80} is out of range: a whole number from {least} on")
    return number


def _runs(nth: Any) -> frozenset[int] | None:
    """The runs in which a fault is due; None: in each. Raises InvalidRequest for those that never come."""
    if nth is None:
        return None
    several: list[Any] = [nth] if isinstance(nth, str) or not isinstance(nth, Collection) else [*nth]
    runs = frozenset(whole("nth", run) for run in several)
    if not runs:
        raise InvalidRequest("nth= names no run; give 1, several, or None for each")
    return runs


def _give(definition: Definition, features: tuple[Feature, ...]) -> None:
    """Let a worker have these features from now on. It is frozen to all others."""
    vars(definition)["features"] = features
    definition.refresh()


def _is_error(error: object) -> bool:
    return isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))


def _always(job: AnyJob) -> bool:
    return True
