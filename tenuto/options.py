"""Options: what may be said of workers and of single jobs, and how it is checked."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypedDict, cast
from uuid import UUID

from tenuto import codec
from tenuto.errors import InvalidJob
from tenuto.job import META_LIMIT, Duration, check_tags, id_of, seconds
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
    """The options as a Job takes them. Raises InvalidJob, also for a name that is not `known`."""
    for name in options.keys() - known:
        raise InvalidJob(f"no option is named {name!r}; there are {', '.join(sorted(known))}")
    return {
        name: _CHECKS[name](value) if name in _CHECKS and value is not None else value
        for name, value in options.items()
    }


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The meta as it will be read again. Raises TooLarge over 64,000 bytes, and Unencodable."""
    if not isinstance(meta, Mapping):
        raise InvalidJob("meta= is no mapping; give a dict")
    text = codec.encode(dict(meta), limit=META_LIMIT, what="meta")
    return cast("dict[str, Any]", codec.decode(text))


def _backoff(backoff: Backoff) -> Backoff:
    return backoff if callable(backoff) else seconds("backoff", backoff)


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "id": id_of,
    "tags": check_tags,
    "timeout": partial(seconds, "timeout"),
    "schedule_in": partial(seconds, "schedule_in"),
    "backoff": _backoff,
    "meta": _meta,
}
