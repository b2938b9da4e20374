"""Enqueued: what a test says of the jobs that wait, and what it is told of those that are there instead."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, Unpack, cast
from uuid import UUID

from pydantic import ValidationError

from tenuto import codec
from tenuto.app import Tenuto
from tenuto.definition import Definition, registered
from tenuto.errors import CodecError, InvalidArgs, InvalidRequest, SealError, TenutoError, UnknownWorker
from tenuto.features.args import StructuredArgs
from tenuto.job import AVAILABLE, RETRYABLE, SCHEDULED, SUSPENDED, Job, JobState, check_instant, check_tags
from tenuto.storage.steer import Filter
from tenuto.testing.faults import AnyWorker, definition_of

AnyJob = Job[Any, Any]

WAITING: Final = (SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE)
NEAR: Final = timedelta(seconds=1)  # between the instant said and the one stored
PAGE: Final = 1000
SHOWN: Final = 15


class Wanted(TypedDict, total=False):
    """What may be said of jobs. All that is said must fit."""

    worker: AnyWorker
    args: Any  # a mapping: those named fit, whatever else there is; an instance of a worker's Args: all of them
    queue: str
    state: JobState | str | Sequence[JobState | str]  # without it: suspended, scheduled, available, retryable
    priority: int
    tags: Iterable[str]  # it has all of these, and perhaps others
    meta: Mapping[str, Any]  # as a mapping of args
    scheduled_at: datetime  # within a second
    workflow: UUID | str
    where: Callable[[AnyJob], bool]


async def all_enqueued(app: Tenuto, **wanted: Unpack[Wanted]) -> list[AnyJob]:
    """The jobs that wait and fit, in the order in which they were enqueued, with the args of encrypted ones opened.

    Raises UnknownWorker, InvalidArgs for an arg that the worker does not have, InvalidRequest, InvalidJob.
    """
    look = _Look.of(wanted)
    return [job for job in await _found(app, look.states) if not look.faults(job)]


async def assert_enqueued(app: Tenuto, *, count: int | None = None, **wanted: Unpack[Wanted]) -> AnyJob:
    """Fail unless a job waits that fits, or just `count` of them; the first one.

    The failure shows what waits instead, and why it does not fit. Raises as `all_enqueued`.
    """
    __tracebackhide__ = True
    if count is not None and (type(count) is not int or count < 1):
        raise InvalidRequest(f"count={count!r:.80} is out of range: a whole number from 1 on; or use refute_enqueued")
    look = _Look.of(wanted)
    there = await _found(app, look.states)
    fitting = [job for job in there if not look.faults(job)]
    if fitting and count in (None, len(fitting)):
        return fitting[0]
    number = "no job is" if not fitting else f"{len(fitting)} jobs are" if len(fitting) > 1 else "1 job is"
    wished = "" if count is None else f", and not {count},"
    raise AssertionError(f"{number} enqueued{wished} with {look.said}\n{await _instead(app, look, there)}")


async def refute_enqueued(app: Tenuto, **wanted: Unpack[Wanted]) -> None:
    """Fail if a job waits that fits; the failure shows which. Raises as `all_enqueued`.

    Say as little as possible of it: a job that differs in one thing you name is not found.
    """
    __tracebackhide__ = True
    look = _Look.of(wanted)
    if fitting := [job for job in await _found(app, look.states) if not look.faults(job)]:
        several = "1 job is" if len(fitting) == 1 else f"{len(fitting)} jobs are"
        raise AssertionError(f"{several} enqueued with {look.said}\n{_shown(fitting, look)}")


# ── whether one fits ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Look:
    """What was wanted, checked, and ready to be held against jobs."""

    wanted: Wanted
    said: str
    states: tuple[str, ...]
    names: frozenset[str] | None  # of the worker: its own, and its aliases

    @classmethod
    def of(cls, wanted: Wanted) -> "_Look":
        for unknown in wanted.keys() - Wanted.__annotations__.keys():
            raise InvalidRequest(f"nothing is called {unknown!r}; there are {', '.join(Wanted.__annotations__)}")
        definition = definition_of(wanted["worker"]) if "worker" in wanted else None
        checked = wanted.copy()
        if "tags" in wanted:
            checked["tags"] = check_tags(wanted["tags"])
        if "scheduled_at" in wanted:
            check_instant("scheduled_at", wanted["scheduled_at"])
        if "args" in wanted:
            checked["args"] = _args(definition, wanted["args"])
        states = Filter.of(state=wanted.get("state", WAITING)).states
        names = (
            None
            if definition is None
            else frozenset(name for name, known in registered().items() if known is definition)
        )
        return cls(checked, _said(wanted, definition), tuple(states or ()), names)

    def faults(self, job: AnyJob) -> list[str]:
        """Why a job does not fit, in words; none where it does."""
        return [fault for name in self.wanted if (fault := self._fault(name, job))]

    def _fault(self, name: str, job: AnyJob) -> str:
        want: Any = cast("Mapping[str, Any]", self.wanted)[name]
        if name == "worker":
            return "" if self.names and job.worker in self.names else "another worker"
        if name in ("args", "meta"):
            return _difference(name, want, getattr(job, name))
        if name == "tags":
            return f"no tag {', '.join(missing)}" if (missing := [tag for tag in want if tag not in job.tags]) else ""
        if name == "scheduled_at":
            return _late(want, job.scheduled_at)
        if name == "where":
            return "" if want(job) else "where= says no"
        if name == "state":
            return "" if job.state in self.states else f"it is {job.state}"
        has = job.workflow_id if name == "workflow" else getattr(job, name)
        return "" if has == (str(want) if name == "workflow" else want) else f"{name} is {has!r}"


def _args(definition: Definition | None, args: Any) -> Any:
    """The args as a mapping of what is wanted. Raises InvalidArgs for one that the worker does not have."""
    if not isinstance(args, Mapping):
        if definition is None:
            raise InvalidRequest("args= is no mapping; name the worker, too, whose Args these are")
        return definition.new(args).args
    if definition is not None:
        for feature in definition.features:
            if isinstance(feature, StructuredArgs):
                _check_names(definition.name, feature, cast("Mapping[str, Any]", args))
    return cast("Mapping[str, Any]", args)


def _check_names(worker: str, feature: StructuredArgs, args: Mapping[str, Any]) -> None:
    """Refuse a name that no job of the worker can have: with it, nothing ever fits."""
    try:
        feature.shape.cast(dict(args))
    except ValidationError as fault:
        unknown = [part["loc"] for part in fault.errors(include_url=False) if part["type"] in _UNKNOWN]
    except Exception:  # noqa: BLE001 - a validator of the user's, which was not made for parts
        return
    else:
        return
    if names := [str(path[0]) for path in unknown if len(path) == 1 and path[0] in args]:
        raise InvalidArgs(worker, [(name, "it has no arg of this name") for name in names])


_UNKNOWN: Final = ("extra_forbidden", "unexpected_keyword_argument")


def _difference(path: str, want: Mapping[str, Any], has: Any) -> str:
    """The first thing in which a mapping differs from what is wanted of it."""
    if not isinstance(has, Mapping):
        return f"{path} cannot be read here: {has!r:.80}"
    for key, value in want.items():
        if key not in has:
            return f"{path}.{key} is not there"
        there = cast("Mapping[str, Any]", has)[key]
        if not _is_same(value, there):
            return f"{path}.{key} is {there!r:.80}"
    return ""


def _is_same(want: Any, has: Any) -> bool:
    """Whether a value is what was wanted, or is what that would be once stored."""
    if want == has:
        return True
    try:
        return bool(codec.decode(codec.encode(want)) == has)
    except CodecError:
        return False


def _late(want: datetime, has: datetime | None) -> str:
    return "" if has is not None and abs(has - want) <= NEAR else f"scheduled_at is {_at(has)}"


# ── what there is ─────────────────────────────────────────────────────────────────────────────────


async def _found(app: Tenuto, states: Sequence[str]) -> list[AnyJob]:
    """Every job in these states, the first one first."""
    found: list[AnyJob] = []
    while page := await app.find(state=states, limit=PAGE, before=found[-1] if found else None):
        found += page
    return [await _opened(app, job) for job in reversed(found)]


async def _opened(app: Tenuto, job: AnyJob) -> AnyJob:
    try:
        return await app.opened(job)
    except (SealError, TenutoError, UnknownWorker):  # nobody here can read it: it shows as it is
        return job


async def _instead(app: Tenuto, look: _Look, there: Sequence[AnyJob]) -> str:
    """What is there in place of what was wanted: first what waits, then what fits and waits no more."""
    parts = [_shown(there, look) if there else f"no job is {' or '.join(look.states)}"]
    if "state" not in look.wanted:
        others = await _found(app, [state for state in JobState if state not in look.states])
        if gone := [job for job in others if not look.faults(job)]:
            parts.append(f"these fit, and wait no more:\n{_shown(gone, look)}")
    return "\n".join(parts)


def _shown(jobs: Sequence[AnyJob], look: _Look) -> str:
    """Jobs line by line, those of the worker in question first, each with why it does not fit."""
    ordered = sorted(jobs, key=lambda job: look.names is not None and job.worker not in look.names)
    lines = [_line(job, look.faults(job)) for job in ordered[:SHOWN]]
    more = len(ordered) - SHOWN
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))


def _line(job: AnyJob, faults: Sequence[str]) -> str:
    when = f" for {_at(job.scheduled_at)}" if job.state in (SCHEDULED, RETRYABLE) else ""
    rest = "".join(f" {name}={value!r:.200}" for name, value in (("meta", job.meta), ("tags", job.tags)) if value)
    told = f"  <- {'; '.join(faults)}" if faults else ""
    return f"  {job.worker} is {job.state}{when}, queue={job.queue!r} args={job.args!r:.300}{rest}{told}"


def _said(wanted: Wanted, definition: Definition | None) -> str:
    words = {**wanted, "worker": definition.name} if definition else dict(wanted)
    return ", ".join(f"{name}={value!r:.200}" for name, value in words.items()) or "whatever it is"


def _at(instant: datetime | None) -> str:
    return "never" if instant is None else instant.isoformat(timespec="seconds")
