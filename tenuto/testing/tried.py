"""Tried: what one attempt of a job came to, as a test looks at it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeAlias, cast

from typing_extensions import TypeVar

from tenuto import codec
from tenuto.errors import NotCompleted
from tenuto.features.recorded import Unstorable
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, SCHEDULED, SUSPENDED, Job, JobState
from tenuto.outcome import Cancel, Discard, Failed, Outcome, Record, Snooze, encode_result
from tenuto.waits import Waits

Result = TypeVar("Result", default=Any)

Word: TypeAlias = Literal[
    "completed", "failed", "snoozed", "cancelled", "discarded", "put back", "gated", "released", "killed", "waiting"
]
"""What an attempt can come to."""


@dataclass(frozen=True)
class Tried(Generic[Result]):
    """What one attempt of a job came to, and the job as it is stored after it.

    `outcome` is completed, failed (it raised, or ran out of time; `state` says whether it will be tried again),
    snoozed, waiting (for a signal), cancelled, discarded; or it could not run here: put back (nobody knows its worker),
    gated (a need is not met), released, killed (by a fault). `error` is what it raised, with its traceback.
    """

    job: Job[Any, Result]
    outcome: Word
    error: BaseException | None = field(default=None, repr=False)
    reason: str = ""  # of a Cancel or a Discard
    delay: timedelta | None = None  # until it is due again
    returned: Any = field(default=None, repr=False)  # what process returned, before it was stored

    @property
    def state(self) -> JobState:
        """The job's state after the attempt."""
        return self.job.state

    @property
    def value(self) -> Result:
        """What the job returned, as who reads it gets it: through the real encoding.

        Raises NotCompleted for a job that did not complete, from what it raised; UnencodableResult for a value that
        nobody could ever read.
        """
        if self.outcome != "completed":
            raise NotCompleted(f"job {self.job.worker}", self.outcome, self._why) from self.error
        return cast("Result", read_again(self.returned))

    @property
    def _why(self) -> str:
        if self.error is not None:
            return f"since it raised {type(self.error).__name__}: {self.error}"
        said = self.reason or (self.job.errors[-1].message if self.job.errors else "")
        return f"since {said}" if said else ""


def read_again(value: Any) -> Any:
    """A result as its reader gets it. Raises UnencodableResult, ResultTooLarge."""
    return codec.decode(encode_result(value))


def tried(job: Job[Any, Any], outcome: Outcome | None, *, is_killed: bool = False) -> Tried[Any]:
    """What an attempt came to, of the job as it is stored now; None for an outcome where process was not called."""
    word = "killed" if is_killed else _word(job.state, outcome)
    error = outcome.error if isinstance(outcome, Failed) else None
    if word == "discarded" and isinstance(outcome, Record | Unstorable) and job.errors:
        error = NotCompleted(f"job {job.worker}", "discarded", f"since {job.errors[-1].message}")
    reason = outcome.reason if isinstance(outcome, Cancel | Discard) else ""
    delay = outcome.delay if isinstance(outcome, Snooze) else None
    return Tried(job, word, error, reason, delay, outcome.value if isinstance(outcome, Record) else None)


def _word(state: JobState, outcome: Outcome | None) -> Word:
    if state is CANCELLED:
        return "cancelled"
    if isinstance(outcome, Failed):
        return "failed"
    if isinstance(outcome, Snooze):
        return "snoozed"
    if isinstance(outcome, Waits):
        return "waiting"
    return _WORDS.get(state, "released")


_WORDS: Final[dict[JobState, Word]] = {
    COMPLETED: "completed",
    DISCARDED: "discarded",
    SCHEDULED: "put back",
    SUSPENDED: "gated",
    AVAILABLE: "released",
}
