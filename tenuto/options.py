"""Options: what may be said of workers and of single jobs, and how it is checked."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, cast
from uuid import UUID

from tenuto import codec
from tenuto.errors import InvalidJob
from tenuto.features.encrypted import Encrypted
from tenuto.features.keys import KeyProvider, KeyRing
from tenuto.features.recorded import Recorded
from tenuto.job import AVAILABLE, META_LIMIT, Duration, Job, id_of, seconds
from tenuto.outcome import Backoff


class WorkerOptions(TypedDict, total=False):
    """What a worker says of all its jobs, and of how it is run: keywords of @job and of a class statement."""

    name: str  # in place of module.qualname
    queue: str
    max_attempts: int
    priority: int  # 0 runs first, 9 last
    tags: Iterable[str]
    timeout: Duration | None  # of one attempt
    backoff: Backoff | None  # in place of the usual wait after a failure
    reuse_result: bool  # False: a step with a stored result runs again all the same
    recorded: bool | Recorded  # what process returns is kept on the job
    encrypted: Encrypted | KeyRing | KeyProvider | None  # what its jobs hold is sealed at rest


class JobOptions(TypedDict, total=False):
    """What is said of single jobs: keywords of `options`. What is given replaces what the worker says."""

    id: UUID | str  # a UUID: the same id again is the same job
    queue: str
    max_attempts: int
    priority: int
    tags: Iterable[str]
    timeout: Duration | None
    meta: Mapping[str, Any]
    schedule_in: Duration | None
    scheduled_at: datetime | None


def checked(options: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The options as a Job takes them, which checks the rest. Raises InvalidJob, also for a name not `known`."""
    for name in options.keys() - known:
        raise InvalidJob(f"no option is named {name!r}; there are {', '.join(sorted(known))}")
    return {
        name: _CHECKS[name](value) if name in _CHECKS and value is not None else value
        for name, value in options.items()
    }


def as_jobs(work: Any) -> list[Job[Any, Any]]:
    """The jobs in `work`, one or several, as a plain enqueue stores them. Raises InvalidJob for anything else.

    A fresh job begins available. One that was stored before keeps what it was made of, and begins anew if it is gone.
    """
    is_several = isinstance(work, Iterable) and not isinstance(work, str | bytes | Mapping)
    several: Iterable[Any] = cast("Any", work) if is_several else [work]
    return [_storable(job) for job in several]


def _storable(job: Job[Any, Any]) -> Job[Any, Any]:
    if not isinstance(job, Job):
        raise InvalidJob(  # what was given may hold args, which no error shows
            "enqueue takes one Workflow, or a Job or several, and not something of "
            f"type {type(job).__name__}; make a Job with new()"
        )
    if job.inserted_at is not None or job.existing:
        return Job.of({name: getattr(job, name) for name in _CONTENT})
    if job.workflow_id is not None or job.waiting_on:
        raise InvalidJob(f"job {job.id} is a step, and is stored with its workflow; enqueue the Workflow")
    if job.state is not AVAILABLE:
        told = "a new job begins available; schedule_in= makes it wait, and so do deps in a Workflow"
        raise InvalidJob(f"job {job.id} was never stored and says that it is {job.state}; {told}")
    return job


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The meta as it will be read again. Raises TooLarge over 64,000 bytes, and Unencodable."""
    if not isinstance(meta, Mapping):
        raise InvalidJob("meta= is no mapping; give a dict")
    text = codec.encode(dict(meta), limit=META_LIMIT, what="meta")
    return cast("dict[str, Any]", codec.decode(text))


def _backoff(backoff: Backoff) -> Backoff:
    return backoff if callable(backoff) else seconds("backoff", backoff)


def _reuse(reuse: bool) -> bool:
    if not isinstance(reuse, bool):
        raise InvalidJob(f"reuse_result={reuse!r:.80} is neither True nor False")
    return reuse


_CONTENT: Final = (
    *("worker", "args", "encoded", "id", "queue", "meta", "tags", "max_attempts", "priority", "timeout"),
    *("schedule_in", "scheduled_at", "workflow_id"),
)
_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "id": id_of,
    "backoff": _backoff,
    "reuse_result": _reuse,
    "meta": _meta,
}
