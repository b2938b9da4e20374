"""What an attempt came to, and what that means for the job: settle(job, outcome) -> Ack."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from tenuto import codec
from tenuto.answer import FAULT, completed_text, snoozed_text, unkept_text
from tenuto.backoff import Backoff, backoff_after
from tenuto.errors import CodecError, JobTimedOut, ResultTooLarge, TooLarge, Unencodable, UnencodableResult
from tenuto.failure import PAST_DEADLINE, entry, name_of, said, trace_of, trimmed
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    Duration,
    Job,
    JobState,
    seconds,
)
from tenuto.sizes import RESULT_MOST, USUAL, Sizes
from tenuto.waits import Waits

T = TypeVar("T")


# ── what process may return or raise ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """Done, with this result. `Record(None)` is a result too: null."""

    value: T

    @property
    def recorded(self) -> str | None:
        """The text of it that its job keeps, where its worker is recorded."""
        return None


class Snooze(Exception):
    """Again after `delay` (a timedelta or seconds), with no attempt spent. Returned or raised. Raises InvalidJob."""

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay = seconds("Snooze", delay)


class Cancel(Exception):
    """Cancelled, for `reason`: no more attempts. Returned or raised."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Discard(Exception):
    """Discarded, for `reason`: failed, and no more attempts. Returned or raised."""

    name = "Discard"  # as it stands in the job's errors

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


# ── what else an attempt can come to ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Done:
    """It returned None: done, and nothing to keep."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Done before: an earlier attempt stored the result, so process is not called again."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised, or ran out of time."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Gated:
    """It was claimed before its needs were met, and goes back to wait for them."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Nobody here can run it (an unknown worker): later, on whichever node can."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Released:
    """The node stops: back to the queue, as if it had not been claimed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was told to stop because an operator cancelled it."""


DONE, KEPT, GATED, RELEASED, STOPPED = Done(), Kept(), Gated(), Released(), Stopped()

Outcome: TypeAlias = (
    Done | Kept | Record[Any] | Snooze | Cancel | Discard | Failed | Gated | PutBack | Released | Stopped | Waits
)


def outcome_of(returned: object) -> Outcome:
    """What a returned value means: None is done, an outcome is itself, anything else is the result."""
    if returned is None:
        return DONE
    if isinstance(returned, Snooze | Cancel | Discard):
        return returned
    if isinstance(returned, Record):
        return returned  # pyright: ignore[reportUnknownVariableType] - of whatever it holds
    return Record(returned)


# ── what it means for the job ─────────────────────────────────────────────────────────────────────


class Ack(NamedTuple):
    """One attempt given back: which one (id and epoch), and what becomes of the job.

    `error` is one entry for the job's errors, as text; the database puts its instant and attempt in front.
    `errors` replaces the entries before it, where they have become too many. `result` and `recorded` are stored text.
    `ended_by` is set where it discards the job though the attempt came to something else, and hooks are to hear of it.
    """

    id: str
    epoch: int
    state: JobState
    workflow_id: str | None = None
    has_dependents: bool = False
    has_hooks: bool = False  # whether hooks are to hear of it, if it ends cancelled
    chain_key: str | None = None
    error: str | None = None
    errors: str | None = None
    result: str | None = None
    delay: timedelta | None = None
    is_spent: bool = True  # whether the attempt counts
    recorded: str | None = None
    ended_by: str | None = None
    is_awaited: bool = False
    unkept: CodecError | None = None  # why an awaited job's value could not be kept
    waits: Mapping[str, timedelta | None] | None = None  # for which signals, and how long


def settle(job: Job[Any, Any], outcome: Outcome, *, backoff: Backoff | None = None, sizes: Sizes = USUAL) -> Ack:
    """What becomes of `job` after an attempt that came to `outcome`. Pure; never raises."""
    match outcome:
        case Done() | Kept():
            return _ack(job, COMPLETED)
        case Record():
            return _completed(job, outcome, sizes)
        case Failed(error):
            return _failed(job, error, backoff, sizes.error)
        case Snooze():
            return _ack(job, SCHEDULED, delay=outcome.delay, is_spent=False)
        case Cancel():  # hooks have heard what process said, and not what came before it
            is_news = job.has_hooks and outcome.reason == PAST_DEADLINE
            return _ended(job, CANCELLED, "cancel", "Cancel", outcome.reason, sizes.error)._replace(has_hooks=is_news)
        case Discard():
            return _ended(job, DISCARDED, "discard", outcome.name, outcome.reason, sizes.error)
        case PutBack(delay):
            return _ack(job, SCHEDULED, delay=delay, is_spent=False)._replace(is_awaited=False)
        case Waits(names=names):
            return _ack(job, SCHEDULED, is_spent=False, waits=names)._replace(is_awaited=False)
        case Gated():
            return _ack(job, SUSPENDED, is_spent=False)
        case Released():
            return _ack(job, AVAILABLE, is_spent=False)
        case Stopped():
            return _ended(job, CANCELLED, "cancel", "Cancel", "cancelled by an operator")


def _ack(job: Job[Any, Any], state: JobState, **rest: Any) -> Ack:
    ids = (job.id, job.epoch, state, job.workflow_id, job.has_dependents, job.has_hooks, job.chain_key)
    return Ack(*ids, is_awaited=is_awaited(job), **rest)


def is_awaited(job: Job[Any, Any]) -> bool:
    """Whether somebody awaits what a running job comes to: since before it was claimed, or by now."""
    return job.awaited or (job.signal is not None and job.signal.awaited)


def _completed(job: Job[Any, Any], record: Record[Any], sizes: Sizes) -> Ack:
    """Completed with its result, where there is a place for it. What cannot be stored discards a step, and of another
    job is missing from its answer alone."""
    is_step = job.workflow_id is not None
    try:
        result = encode_result(record.value, sizes.result) if is_step or is_awaited(job) else None
        return _ack(job, COMPLETED, result=result, recorded=record.recorded)
    except CodecError as error:
        if not is_step:
            return _ack(job, COMPLETED, recorded=record.recorded, unkept=error)
        return _ended(job, DISCARDED, "discard", type(error).__name__, str(error))


def answer_of(ack: Ack) -> str | None:
    """What an awaited job keeps of this ack, as text; None where other rows say it all."""
    match ack.state:
        case JobState.COMPLETED if ack.workflow_id is None:
            return completed_text(ack.result) if ack.unkept is None else unkept_text(ack.unkept)
        case JobState.RETRYABLE:
            return FAULT
        case JobState.SCHEDULED if ack.delay is not None:
            return snoozed_text(ack.delay)
        case _:
            return None


def encode_result(value: object, limit: int = RESULT_MOST) -> str:
    """A result as stored text. Raises ResultTooLarge, or UnencodableResult with the path of the fault."""
    if isinstance(value, CodecError):  # the process in which the job ran could not encode it
        raise value
    try:
        return codec.encode(value, limit=limit, what="result")
    except Unencodable as fault:
        raise UnencodableResult(fault.path, fault.reason) from None
    except TooLarge as fault:
        raise ResultTooLarge("the result", fault.size, fault.limit) from None


def _failed(job: Job[Any, Any], error: BaseException, backoff: Backoff | None, limit: int) -> Ack:
    kind = "timeout" if isinstance(error, JobTimedOut) else "exception"
    told = entry(kind, name_of(error), said(error), trace_of(error), limit)
    errors = trimmed(job)
    if job.attempt >= job.max_attempts:
        return _ack(job, DISCARDED, error=told, errors=errors)
    delay = backoff_after(job.attempt, job.max_attempts, backoff)
    return _ack(job, RETRYABLE, error=told, errors=errors, delay=delay)


def _ended(job: Job[Any, Any], state: JobState, kind: str, name: str, reason: object, limit: int = USUAL.error) -> Ack:
    return _ack(job, state, error=entry(kind, name, said(reason), "", limit), errors=trimmed(job))
