"""Unique: the job that may be there once. What counts as the same, for how long, and what a later one may change."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final, cast

from tenuto.errors import InvalidJob
from tenuto.features.feature import Feature
from tenuto.features.keyed import check_parts, hashing_of, key_for, listed
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    DISCARDED,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    TERMINAL,
    Duration,
    Job,
    JobState,
    seconds,
)

INCOMPLETE: Final = tuple(state for state in JobState if state not in TERMINAL)
SUCCESSFUL: Final = tuple(state for state in JobState if state not in (CANCELLED, DISCARDED))
GROUPS: Final[Mapping[str, tuple[JobState, ...]]] = {
    "incomplete": INCOMPLETE,
    "successful": SUCCESSFUL,
    "all": tuple(JobState),
}
REPLACEABLE: Final = (*("args", "meta", "tags", "queue", "priority", "max_attempts", "timeout", "scheduled_at"),)
_WAITING: Final = (SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE)
_AT_FIRST: Final = (SUSPENDED, SCHEDULED, AVAILABLE)
_LEAST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Unique:
    """One job at a time that is alike in `fields`: a second one is not stored, and enqueue gives back the first.

    `fields` are of worker, queue, args and meta; `args.account_id` is one key in it. With `keys` only these keys of
    args and meta count. A key that is not there counts as null. The first job keeps its place in `states` (names of
    them, or `incomplete`, `successful`: all but cancelled and discarded, `all`) and gives it up for good when it takes
    another. With a `period` it counts within that span of the database's clock alone: each hour, each day in UTC.

    `replace` names what a later job changes in the first, in every state in which that waits, or state by state:
    `{"scheduled": ["args", "scheduled_at"]}`. Raises InvalidJob for what cannot be.
    """

    fields: Iterable[str] = ("worker", "queue", "args")
    keys: Iterable[str] = ()
    period: Duration | None = None
    states: str | Iterable[str] = "successful"
    replace: Iterable[str] | Mapping[str, Iterable[str]] = ()
    parts: tuple[str, ...] = field(init=False, repr=False, compare=False)  # what counts, key by key
    replaced: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)  # by state

    def __post_init__(self) -> None:
        fields, keys = check_parts("fields", self.fields), _texts("keys", self.keys)
        replaced = _replaced(self.replace)
        parts = check_parts("keys", _narrowed(fields, keys)) if keys else fields
        if "worker" not in parts and any("args" in named for named in replaced.values()):
            raise InvalidJob("replace= of args needs 'worker' in fields=: args of one worker do not fit another")
        known = {"fields": fields, "keys": keys, "parts": parts, "states": _states(self.states), "replaced": replaced}
        for name, value in known.items():
            object.__setattr__(self, name, value)
        if self.period is not None:
            object.__setattr__(self, "period", _period(self.period))


class UniqueJobs(Feature):
    """Makes the keys of one worker's unique jobs, from args that are not sealed yet. `worker` is who they count for."""

    rank: ClassVar[int] = 30

    def __init__(self, worker: str, features: Iterable[Feature]) -> None:
        self._worker = worker
        self._features = tuple(features)

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with its key. Raises InvalidJob for what is no Unique, or would put sealed args into another job."""
        unique = unique_of(job.unique)
        if unique is None:
            return job
        if hashing_of(self._features) is not None and any("args" in named for named in unique.replaced.values()):
            raise InvalidJob(f"{job.worker} seals its args for one job each; leave args out of replace=")
        worker = self._worker if "worker" in unique.parts else None
        kept: dict[str, Any] = {
            "key": await key_for(job, worker, unique.parts, self._features),
            "states": " ".join(unique.states),
        }
        if unique.period is not None:
            kept["period"] = cast("timedelta", unique.period) // _MICROSECOND
        if unique.replaced:
            kept["replace"] = unique.replaced
        return job.replace(unique_key=json.dumps(kept, separators=(",", ":")))


def unique_of(asked: object) -> Unique | None:
    """What `unique=` asks for: a Unique, True for one as it comes, False for none. Raises InvalidJob."""
    if isinstance(asked, bool):
        return Unique() if asked else None
    if not isinstance(asked, Unique):
        raise InvalidJob(f"unique= is a Unique, True or False, and nothing of type {type(asked).__name__}")
    return asked


def _narrowed(fields: Iterable[str], keys: Iterable[str]) -> list[str]:
    """The fields, with these keys in place of args and meta."""
    whole = [field for field in fields if field in ("args", "meta")]
    if not whole:
        raise InvalidJob("keys= are keys of args or meta, and fields= names neither of them")
    return [field for field in fields if field not in whole] + [f"{field}.{key}" for field in whole for key in keys]


def _texts(option: str, given: Iterable[str]) -> tuple[str, ...]:
    names = listed(given)
    for one in names:
        if not isinstance(one, str) or not one:
            raise InvalidJob(f"{option}= holds {one!r:.80}; it takes names, like ['account_id']")
    return tuple(dict.fromkeys(names))


def _states(given: str | Iterable[str]) -> tuple[str, ...]:
    """States in the order of the table, as texts."""
    named = GROUPS[given] if isinstance(given, str) and given in GROUPS else _texts("states", given)
    for state in named:
        if state not in tuple(JobState):
            told = f"{', '.join(JobState)}, or one of {', '.join(GROUPS)}"
            raise InvalidJob(f"states= names {state!r:.80}, which is no state of a job; there are {told}")
    if not set(named) & set(_AT_FIRST):
        raise InvalidJob(f"states= holds none in which a job begins, so it would never count: {', '.join(_AT_FIRST)}")
    return tuple(str(state) for state in JobState if state in named)


def _replaced(given: Iterable[str] | Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    by_state = (
        cast("Mapping[str, Iterable[str]]", given) if isinstance(given, Mapping) else dict.fromkeys(_WAITING, given)
    )
    found: dict[str, tuple[str, ...]] = {}
    for state, named in by_state.items():
        if state not in _WAITING:
            told = "what runs or has ended is not changed"
            raise InvalidJob(f"replace= names {state!r:.80}; it takes {', '.join(_WAITING)}: {told}")
        fields = _texts("replace", named)
        for each in fields:
            if each not in REPLACEABLE:
                raise InvalidJob(f"replace= names {each!r:.80}; there are {', '.join(REPLACEABLE)}")
        if fields:
            found[str(state)] = fields
    return found


def _period(given: Duration) -> timedelta:
    period = seconds("period", given)
    if period < _LEAST:
        raise InvalidJob(f"period={given!r} is out of range: a second at least")
    return period


_MICROSECOND: Final = timedelta(microseconds=1)
