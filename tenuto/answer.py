"""Answer: what a job that somebody awaits came to, as its waiter gets it and as its row keeps it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from tenuto import codec, errors
from tenuto.errors import CodecError
from tenuto.failure import failures
from tenuto.graph import GROUP
from tenuto.job import CANCELLED, COMPLETED, EPOCH, Failure, JobState

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


# ── what a waiter gets ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Completed(Generic[T_co]):
    """It completed with this value. `kept=False`: it ended before anybody awaited it, and its value is gone."""

    value: T_co
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was cancelled: by itself, an operator, its deadline, or a need that ended badly."""

    reason: str
    error: Failure | None = field(default=None, repr=False, compare=False)  # the entry in its errors that says so


@dataclass(frozen=True, slots=True)
class Discarded:
    """It failed for good."""

    error: Failure


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt failed, and another one follows."""

    error: Failure


@dataclass(frozen=True, slots=True)
class Snoozed:
    """It asked to be run again after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class TooLarge:
    """It completed, and its value of `size` bytes is more than an answer may hold."""

    size: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The wait ended first; the job goes on."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The job was deleted, by somebody or by age, before its answer was read."""


Answer: TypeAlias = Completed[T] | Cancelled | Discarded | Failed | Snoozed | TooLarge | TimedOut | Gone
"""Every way in which the wait for one job can end."""

TIMED_OUT, GONE = TimedOut(), Gone()


# ── as its row keeps it ───────────────────────────────────────────────────────────────────────────

FAULT: Final = "error"  # in an ack: the entry that goes into the job's errors is its answer as well


def completed_text(value: str | None) -> str:
    """How a value, as stored text, is kept as an answer."""
    return f'{{"completed":{value or "null"}}}'


def unkept_text(fault: CodecError) -> str:
    """How it is kept that the value could not be: it is too large, or nothing that can be stored."""
    if isinstance(fault, errors.TooLarge):
        return codec.encode({"too_large": fault.size})
    return codec.encode({"unkept": [type(fault).__name__, str(fault)]})


def snoozed_text(delay: timedelta) -> str:
    """How a snooze is kept as an answer."""
    return codec.encode({"snoozed": delay // _MICROSECOND})


class Kept(NamedTuple):
    """What is stored of how one job stands, as far as it answers somebody."""

    id: str
    state: JobState
    worker: str
    errors: str
    answer: str | None  # what its first settle came to, from when it was awaited
    last_answer: str | None  # and its last one, where that is another
    recorded: str | None
    result: str | None  # of a step
    is_step: bool

    def is_answer(self, *, with_retries: bool) -> bool:
        """Whether this answers already; `with_retries`, only the last attempt does."""
        return self.state.is_terminal or (self.answer is not None and not with_retries)

    def read(self, *, with_retries: bool) -> Answer[Any]:
        """The answer, where it is one. What an encrypted worker sealed is sealed in it."""
        text = self.answer
        if with_retries or text is None:
            text = self.last_answer or self.answer
            if self.state is not COMPLETED or text is None or text.startswith(_FAULT):
                return self._by_state()
        return _read(text)

    def _by_state(self) -> Answer[Any]:
        """What the job's own row says, where no answer was kept beside it."""
        if self.state is COMPLETED:
            return Completed(None, kept=self.is_step and self.worker != GROUP)
        found = failures(self.errors)
        last = found[-1] if found else Failure(0, EPOCH, "exception", "Undecodable", "its errors are gone")
        return Cancelled(last.message, last) if self.state is CANCELLED else Discarded(last)


def _read(text: str) -> Answer[Any]:
    if text.startswith(_FAULT):
        return Failed(failures(f"[{text}]")[0])
    ((kind, told),) = codec.decode(text).items()
    match kind:
        case "snoozed":
            return Snoozed(told * _MICROSECOND)
        case "too_large":
            return TooLarge(told)
        case "unkept":
            return Failed(Failure(0, EPOCH, "exception", *told))
        case _:
            return Completed(told)


_FAULT: Final = '{"at":'  # how an entry of a job's errors begins
_MICROSECOND: Final = timedelta(microseconds=1)
