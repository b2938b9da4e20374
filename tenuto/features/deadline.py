"""Deadlines: a job that would start too late is cancelled instead, and one with `force` ends when its time is over."""

import time
from typing import Any, ClassVar

from tenuto.failure import PAST_DEADLINE
from tenuto.features.feature import Feature, Process
from tenuto.job import Job
from tenuto.outcome import Cancel, Outcome


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
