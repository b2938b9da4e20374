"""Deadlines: a job that would start too late is cancelled instead, and one with `force` ends when its time is over."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from tenuto.errors import InvalidJob
from tenuto.failure import PAST_DEADLINE
from tenuto.features.feature import Feature, Process
from tenuto.job import Duration, Job, seconds
from tenuto.outcome import Cancel, Outcome


@dataclass(frozen=True)
class Deadline:
    """So long after a job is due it is cancelled instead of run; with `force` it is cancelled then even if it runs.

    Raises InvalidJob for what is no duration longer than zero.
    """

    after: Duration
    force: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "after", longer_than_zero("deadline", self.after))
        if not isinstance(self.force, bool):
            raise InvalidJob(f"force={self.force!r:.80} is neither True nor False")


def checked_deadline(deadline: Duration | Deadline) -> timedelta | Deadline:
    """The same deadline, a plain duration as a timedelta. Raises InvalidJob."""
    return deadline if isinstance(deadline, Deadline) else longer_than_zero("deadline", deadline)


def fields_of(deadline: timedelta | Deadline, worker: str, *, has_one: bool) -> dict[str, Any]:
    """What a deadline makes of a job's fields; a plain one is as forceful as the one before.

    Raises InvalidJob where the worker has none: the code that runs its jobs was not written for that.
    """
    if not has_one:
        told = "so its jobs can have none; say @job(deadline=...) of the worker first"
        raise InvalidJob(f"worker {worker} has no deadline, {told}")
    if isinstance(deadline, Deadline):
        return {"deadline": deadline.after, "deadline_force": deadline.force}
    return {"deadline": deadline}


def longer_than_zero(what: str, length: Duration) -> timedelta:
    """The same duration as a timedelta. Raises InvalidJob for what is none, or is zero."""
    given = seconds(what, length)
    if not given:
        raise InvalidJob(f"a {what} of zero lets no job run; give a duration longer than that")
    return given


class Deadlines(Feature):
    """Cancels an attempt that begins past its job's deadline, by the database's clock at the claim.

    With `force`, what it comes to past the deadline is that it was cancelled. Who runs it tells it to stop then.
    """

    rank: ClassVar[int] = 60

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it while there is time left."""
        left = seconds_left(job)
        if left is None:
            return await call_next(job)
        if left <= 0:
            return Cancel(PAST_DEADLINE)
        began = time.monotonic()
        outcome = await call_next(job)
        is_over = job.deadline_force and time.monotonic() - began >= left
        return Cancel(PAST_DEADLINE) if is_over else outcome


def seconds_left(job: Job[Any, Any]) -> float | None:
    """How long a claimed job had until its deadline when it was claimed; None for one that has none."""
    if job.deadline_at is None or job.attempted_at is None:
        return None
    return (job.deadline_at - job.attempted_at).total_seconds()
