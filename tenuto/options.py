"""Options: what may be said of workers and of single jobs, and how it is checked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, cast
from uuid import UUID

from tenuto import codec
from tenuto.backoff import Backoff
from tenuto.errors import InvalidJob, TooLarge
from tenuto.features.chain import Chain
from tenuto.features.deadline import Deadline, checked_deadline, fields_of, longer_than_zero
from tenuto.features.encrypted import Encrypted
from tenuto.features.keys import KeyProvider, KeyRing
from tenuto.features.recorded import Recorded
from tenuto.features.unique import Unique, unique_of
from tenuto.graph import GROUP
from tenuto.job import AVAILABLE, Duration, Job, check_name, id_of, seconds
from tenuto.reference import references
from tenuto.sizes import META_MOST, Sizes
from tenuto.tagged import Sealed
from tenuto.text import size


class WorkerOptions(TypedDict, total=False):
    """What a worker says of all its jobs, and of how it is run: keywords of @job and of a class statement."""

    name: str  # in place of module.qualname
    aliases: Iterable[str]  # names that once meant it, the oldest first
    queue: str
    max_attempts: int
    priority: int  # 0 runs first, 9 last
    tags: Iterable[str]
    meta: Mapping[str, Any]
    timeout: Duration | None  # of one attempt
    deadline: Duration | Deadline | None  # counted from when it is due: from then on it is cancelled instead of run
    backoff: Backoff | None  # in place of the usual wait after a failure
    runs_in: str  # "process", or the name of one of the app's executors; else on the event loop or in a thread
    reuse_result: bool  # False: a step with a stored result runs again all the same
    cron: str | None  # when its jobs are enqueued by themselves: five fields, or a word like @daily
    timezone: str  # whose clocks the cron means
    catch_up: Duration  # how old a minute of the cron may be that is made up for
    hooks: Iterable[object]  # each with some of before_new, before_process, after_process, on_cancelled, on_discarded
    unique: Unique | bool | None  # one at a time of those that are alike; True: a Unique as it comes
    partition: str | Iterable[str] | None  # what jobs have in common that share a part of their queue's limits
    recorded: bool | Recorded  # what process returns is kept on the job
    encrypted: Encrypted | KeyRing | KeyProvider | None  # what its jobs hold is sealed at rest
    chain: Chain | None  # one at a time of those that are alike, in the order they were stored


class JobOptions(TypedDict, total=False):
    """What is said of single jobs: keywords of `options`. What is given replaces what the worker says."""

    id: UUID | str  # a UUID: the same id again is the same job
    queue: str
    max_attempts: int
    priority: int
    tags: Iterable[str]
    timeout: Duration | None
    deadline: Duration | Deadline | None  # only where the worker has one
    meta: Mapping[str, Any]
    schedule_in: Duration | None
    scheduled_at: datetime | None
    unique: Unique | bool | None


def checked(options: Mapping[str, Any], known: frozenset[str], template: Job[Any, Any] | None = None) -> dict[str, Any]:
    """The options as a Job takes them, which checks the rest; for single jobs with the `template` of their worker.

    Raises InvalidJob, also for a name not `known`, and for a deadline where the worker has none.
    """
    for name in options.keys() - known:
        raise InvalidJob(f"no option is named {name!r}; there are {', '.join(sorted(known))}")
    given = {
        name: _CHECKS[name](value) if name in _CHECKS and (value is not None or name in _NEVER_NONE) else value
        for name, value in options.items()
    }
    deadline: Any = given.get("deadline")
    if deadline is not None:
        worker, has_one = ("", True) if template is None else (template.worker, template.deadline is not None)
        given |= fields_of(deadline, worker, has_one=has_one)
    return given


def as_jobs(work: Any) -> list[Job[Any, Any]]:
    """The jobs in `work`, one or several, as a plain enqueue stores them. Raises InvalidJob for anything else.

    A fresh job begins available. One that was stored before keeps what it was made of, and begins anew if it is gone.
    """
    is_several = isinstance(work, Iterable) and not isinstance(work, str | bytes | Mapping)
    several: Iterable[Any] = cast("Any", work) if is_several else [work]
    return [_storable(job) for job in several]


def fitting(jobs: Sequence[Job[Any, Any]], sizes: Sizes) -> list[Job[Any, Any]]:
    """The same jobs, none of which carries more than the sizes allow. Raises TooLarge."""
    for meta in {id(job.meta): job.meta for job in jobs if job.meta}.values():  # many steps share theirs
        codec.encode(meta, limit=sizes.meta, what="meta")
    return [_fitting(job, sizes) for job in jobs]


def _fitting(job: Job[Any, Any], sizes: Sizes) -> Job[Any, Any]:
    if job.encoded is None:  # made by hand, fetched, or without args
        has_args = job.args and not isinstance(job.args, Sealed)
        return job.replace(encoded=codec.encode(job.args, limit=sizes.args, what="args")) if has_args else job
    if size(job.encoded) > sizes.args and not isinstance(job.args, Sealed):
        raise TooLarge("args", size(job.encoded), sizes.args)
    return job


def check_changes(changes: Mapping[str, Any], sizes: Sizes) -> None:
    """Raise TooLarge for args or meta that a job is to have, where they are more than the sizes allow.

    And InvalidJob for the result of another step in them.
    """
    if (reference := next(references(changes.get("args")), None)) is not None:
        raise InvalidJob(f"args= holds {reference!r}, and a step that is stored takes no results but those it has")
    for what, most in (("args", sizes.args), ("meta", sizes.meta)):
        if isinstance(changes.get(what), Mapping):
            codec.encode(dict(changes[what]), limit=most, what=what)


def _storable(job: Job[Any, Any]) -> Job[Any, Any]:
    if not isinstance(job, Job):
        raise InvalidJob(  # what was given may hold args, which no error shows
            "enqueue takes one Workflow, or a Job or several, and not something of "
            f"type {type(job).__name__}; make a Job with new()"
        )
    if job.inserted_at is not None or job.existing:
        return Job.of({name: getattr(job, name) for name in _CONTENT})
    if job.worker == GROUP:
        raise InvalidJob(f"{GROUP!r} is the worker of groups, whose jobs nobody runs; add one to a Workflow")
    if job.workflow_id is not None or job.waiting_on:
        raise InvalidJob(f"job {job.id} is a step, and is stored with its workflow; enqueue the Workflow")
    if job.state is not AVAILABLE:
        _refuse_references(job)
        told = "a new job begins available; schedule_in= makes it wait, and so do deps in a Workflow"
        raise InvalidJob(f"job {job.id} was never stored and says that it is {job.state}; {told}")
    return job


def _refuse_references(job: Job[Any, Any]) -> None:
    if (reference := next(references(job.args), None)) is not None:
        told = "add() it there, and enqueue the Workflow"
        raise InvalidJob(f"job {job.id} takes {reference!r} as an arg, which only a step of its workflow can; {told}")


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The meta as it will be read again. Raises TooLarge over 1,000,000 bytes, and Unencodable."""
    if not isinstance(meta, Mapping):
        raise InvalidJob("meta= is no mapping; give a dict")
    text = codec.encode(dict(meta), limit=META_MOST, what="meta")
    return cast("dict[str, Any]", codec.decode(text))


def _backoff(backoff: Backoff) -> Backoff:
    return backoff if callable(backoff) else seconds("backoff", backoff)


def _aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidJob(f"aliases={aliases!r:.80} is no list of names; give one like ['app.old_name']")
    return tuple(dict.fromkeys(check_name("alias", name) for name in aliases))


def _timeout(timeout: Duration) -> timedelta:
    return longer_than_zero("timeout", timeout)


def check_place(name: str) -> str:
    """The same `name` of where jobs run, which is no word of our own. Raises InvalidJob."""
    if name in ("loop", "thread"):
        told = "an async def runs on the event loop and a def in a thread by themselves; leave it out"
        raise InvalidJob(f"runs_in={name!r} is no place to choose: {told}")
    return check_name("runs_in", name)


def _reuse(reuse: bool) -> bool:
    if not isinstance(reuse, bool):
        raise InvalidJob(f"reuse_result={reuse!r:.80} is neither True nor False")
    return reuse


_CONTENT: Final = (
    *("worker", "args", "encoded", "id", "queue", "meta", "tags", "max_attempts", "priority", "timeout"),
    *(
        "schedule_in",
        "scheduled_at",
        "deadline",
        "deadline_force",
        "deadline_at",
        "workflow_id",
        "unique",
        "unique_key",
        "chain_key",
    ),
)
_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "id": id_of,
    "aliases": _aliases,
    "backoff": _backoff,
    "runs_in": check_place,
    "reuse_result": _reuse,
    "meta": _meta,
    "unique": unique_of,
    "deadline": checked_deadline,
    "timeout": _timeout,
}
_NEVER_NONE: Final = frozenset({"aliases", "reuse_result"})
