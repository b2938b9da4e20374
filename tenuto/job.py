"""One job as a frozen value, its states, and the one table of the transitions between them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, Self, TypeAlias
from uuid import UUID

from typing_extensions import TypeVar
from uuid_utils import uuid7

from tenuto.errors import InvalidJob

Args = TypeVar("Args", default=Any)
Result = TypeVar("Result", default=Any)

Duration: TypeAlias = timedelta | float
"""A length of time: a timedelta, or a number of seconds."""


class JobState(StrEnum):
    """Where a job stands. Eight words, and `TRANSITIONS` says how one follows another."""

    SUSPENDED = "suspended"  # a step whose needs are not met, or a link whose turn has not come
    SCHEDULED = "scheduled"  # due later: asked for so, or snoozed
    AVAILABLE = "available"  # due: any node may claim it
    EXECUTING = "executing"  # one node's, until it settles or its lease ends
    RETRYABLE = "retryable"  # failed, due again after its backoff
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"  # failed for good

    @property
    def is_terminal(self) -> bool:
        """Whether nothing but an operator's retry leads out of it."""
        return self in TERMINAL


SUSPENDED, SCHEDULED, AVAILABLE, EXECUTING, RETRYABLE, COMPLETED, CANCELLED, DISCARDED = JobState

TERMINAL: Final = frozenset({COMPLETED, CANCELLED, DISCARDED})

TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    SUSPENDED: frozenset({AVAILABLE, SCHEDULED, CANCELLED}),  # released, or its turn; or a need ended badly
    SCHEDULED: frozenset({AVAILABLE, CANCELLED, SUSPENDED}),  # staged; suspended: retried together with its need
    AVAILABLE: frozenset({EXECUTING, SCHEDULED, CANCELLED}),  # claimed; or moved to a later time
    EXECUTING: frozenset({COMPLETED, RETRYABLE, SCHEDULED, AVAILABLE, SUSPENDED, CANCELLED, DISCARDED}),
    RETRYABLE: frozenset({AVAILABLE, CANCELLED, SUSPENDED}),  # as scheduled
    COMPLETED: frozenset({AVAILABLE, SUSPENDED}),  # the three last by an operator's retry, and by nothing else
    CANCELLED: frozenset({AVAILABLE, SUSPENDED}),
    DISCARDED: frozenset({AVAILABLE, SUSPENDED}),
}
"""Every change of state there is. A deleted or pruned job is gone, which is no state."""

IDENTIFIERS: Final = ("workflow_id", "workflow_name", "workflow_label", "workflow_group", "workflow_debug")
"""The keys of `meta` that a workflow writes once; a user's meta may not have them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One entry of a job's `errors`: what ended an attempt, and when by the database's clock."""

    attempt: int
    at: datetime
    kind: str  # exception | timeout | cancel | discard
    type: str
    message: str
    traceback: str = field(default="", repr=False)
    sealed: Any = field(default=None, repr=False)  # of an encrypted worker: message and traceback, to be opened


class Signal:
    """What a running attempt is told from outside: that it is cancelled (`Job.cancelled`), that it is awaited now."""

    __slots__ = ("awaited", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        self.awaited = False


def _nothing() -> Any:
    return {}


@dataclass(frozen=True)
class Job(Generic[Args, Result]):
    """One job: what to run, with which args, and everything its row says of it.

    Made by a worker's `new`, with an id of its own (a UUIDv7) before it is stored. It never changes: a verb
    gives back another Job. Args stay out of its repr. What is given is taken as a worker's options are: an id as
    a UUID or its text, durations also as seconds, tags lower case. Raises InvalidJob for a value out of range.
    """

    worker: str
    args: Args = field(default_factory=_nothing, repr=False)
    _: KW_ONLY
    id: str = field(default_factory=lambda: str(uuid7()))
    state: JobState = AVAILABLE
    queue: str = "default"
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    tags: tuple[str, ...] = ()
    errors: tuple[Failure, ...] = field(default=(), repr=False)
    attempt: int = 0
    max_attempts: int = 20
    priority: int = 0  # 0 runs first, 9 last
    epoch: int = 0  # grows at each claim and each forced release; every write of an attempt carries it
    timeout: timedelta | None = None  # of one attempt
    schedule_in: timedelta | None = None  # a delay until it is stored, then part of scheduled_at
    deadline: timedelta | None = None  # counted from scheduled_at when it is stored, then deadline_at
    deadline_force: bool = False  # whether it ends a running attempt, too
    inserted_at: datetime | None = None
    scheduled_at: datetime | None = None
    attempted_at: datetime | None = None
    attempted_by: str | None = None  # the node of the last attempt
    finished_at: datetime | None = None
    deadline_at: datetime | None = None  # from then on it is cancelled instead of run
    cancel_requested_at: datetime | None = None
    snoozes: int = 0
    rescues: int = 0
    suspicions: int = 0  # deaths of a process in which it was running
    waiting_on: int = field(default=0, repr=False)  # needs not met yet
    has_needs: bool = field(default=False, repr=False)
    has_dependents: bool = field(default=False, repr=False)
    has_hooks: bool = field(default=False, repr=False)  # on_cancelled or on_discarded, when it was stored
    workflow_id: str | None = None
    unique: object | None = field(default=None, repr=False, compare=False)  # a Unique: what may not be there twice
    unique_key: str | None = field(default=None, repr=False, compare=False)  # what it keeps others out by, as JSON
    partition: str | None = field(default=None, repr=False)  # the key of its share of its queue's limits
    chain_key: str | None = field(default=None, repr=False)  # of its chain, if it is a link of one
    chain_seq: int | None = field(default=None, repr=False)  # its number in it, while it is stored
    chain_holds: str | None = field(default=None, repr=False)  # the endings after which it keeps its chain
    awaited: bool = field(default=False, repr=False)  # whether it keeps its answer for who awaits it
    existing: bool = field(default=False, repr=False)  # enqueue found it already stored
    error: BaseException | None = field(default=None, repr=False, compare=False)  # for after_process: what was raised
    signal: Signal | None = field(default=None, repr=False, compare=False)
    encoded: str | None = field(default=None, repr=False, compare=False)  # `args` as stored text, once made

    def __post_init__(self) -> None:
        check_name("worker", self.worker)
        check_name("queue", self.queue)
        if type(self.priority) is not int or not 0 <= self.priority <= 9:
            raise InvalidJob(f"priority={self.priority!r:.80} is out of range: 0 (first) to 9")
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= 1000:
            raise InvalidJob(f"max_attempts={self.max_attempts!r:.80} is out of range: 1 to 1,000")
        if self.state not in tuple(JobState):
            raise InvalidJob(f"state={self.state!r:.80} is no state of a job; there are {', '.join(JobState)}")
        if self.scheduled_at is not None and self.schedule_in is not None:
            raise InvalidJob("schedule_in= and scheduled_at= say the same thing twice; give one of them")
        if self.scheduled_at is not None:
            check_instant("scheduled_at", self.scheduled_at)
        if not isinstance(self.meta, Mapping):
            raise InvalidJob("meta= is no mapping; give a dict")
        taken = [key for key in IDENTIFIERS if key in self.meta]
        if taken:
            raise InvalidJob(f"meta key {taken[0]!r} is written by workflows; choose another name")
        lengths = {key: seconds(key, vars(self)[key]) for key in _LENGTHS if vars(self)[key] is not None}
        tags, state = check_tags(self.tags), JobState(self.state)
        vars(self).update(lengths, id=id_of(self.id), state=state, tags=tags, encoded=None)  # a text of these args only

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def cancelled(self) -> bool:
        """Whether this running job was asked to stop; a plain function looks here between two pieces of work."""
        return self.state is CANCELLED or (self.signal is not None and self.signal.cancelled)

    def replace(self, **changes: Any) -> Self:
        """The same job with some fields changed. Values are taken as they are, unchecked."""
        if "args" in changes:
            changes.setdefault("encoded", None)  # it was the text of the args before
        job = object.__new__(type(self))
        object.__setattr__(job, "__dict__", self.__dict__ | changes)  # twice as fast as field by field
        return job

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """A Job of fields known to be right (a stored row), kept as they are: unchecked is four times as fast."""
        job = object.__new__(cls)
        object.__setattr__(job, "__dict__", fields)
        return job


def check_name(what: str, name: str) -> str:
    """The same `name`, if it can stand in every database: 1 to 255 bytes, no control characters or surrogates."""
    if not isinstance(name, str):
        raise InvalidJob(f"{what}={name!r:.80} is no text; give it a name")
    if not name.strip():
        raise InvalidJob(f"{what}={name!r:.80} is empty; give it a name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidJob(f"{what}={name!a} holds a lone surrogate, which no database stores") from None
    if size > 255:
        raise InvalidJob(f"{what}={name[:40]!r}… takes {size} bytes; 255 are allowed")
    if _CONTROL.search(name):
        raise InvalidJob(f"{what}={name!a} holds a control character")
    return name


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags trimmed, lower case and unique, in the order given. Raises InvalidJob for one that is no text."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidJob(f"tags={tags!r:.80} is no list of texts; give one like ['mail']")
    return tuple(dict.fromkeys(check_name("tag", tag).strip().lower() for tag in tags))


def check_instant(what: str, instant: datetime) -> datetime:
    """The same `instant`, if it is an aware datetime: a naive one means another time on every machine."""
    if not isinstance(instant, datetime):
        raise InvalidJob(f"{what}={instant!r:.80} is no datetime; give an aware one: datetime.now(UTC)")
    if instant.utcoffset() is None:
        raise InvalidJob(f"{what}= is a naive datetime; give it a timezone: datetime.now(UTC)")
    if not 1970 < instant.year < 3000:  # every database, driver and timezone can hold these
        raise InvalidJob(f"{what}={instant.isoformat()} is out of range: the years 1971 to 2999")
    return instant


def seconds(what: str, length: Duration) -> timedelta:
    """A duration as a timedelta. Raises InvalidJob for a negative one, or what is no duration."""
    if isinstance(length, bool) or not isinstance(length, timedelta | int | float):
        raise InvalidJob(f"{what}={length!r:.80} is no duration; give a timedelta or a number of seconds")
    try:
        given = length if isinstance(length, timedelta) else timedelta(seconds=length)
    except (OverflowError, ValueError):
        raise InvalidJob(f"{what}={length!r:.80} is no finite duration") from None
    if given < timedelta(0) or given > _CENTURY:
        raise InvalidJob(f"{what}={length!r:.80} is out of range: zero to a hundred years")
    return given


def id_of(job: "Job[Any, Any] | UUID | str") -> str:
    """The canonical id of a job or of anything that names one. Raises InvalidJob for a text that is no UUID."""
    if isinstance(job, Job):
        return job.id
    try:
        return str(UUID(str(job)))
    except ValueError:
        raise InvalidJob(f"{str(job)[:80]!r} is no id; ids are UUIDs") from None


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CENTURY = timedelta(days=36525)
_LENGTHS = ("timeout", "schedule_in", "deadline")
