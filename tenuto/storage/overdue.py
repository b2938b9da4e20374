"""Deadlines as they are stored, and the sweep that cancels what still waits when its deadline has passed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from tenuto.failure import PAST_DEADLINE, entry
from tenuto.job import EPOCH, Job
from tenuto.storage.aftermath import Ended, Settled, aftermath, reach
from tenuto.storage.database import Verb, call, last
from tenuto.storage.outbox import tell_hooks

SWEPT_AT_ONCE: Final = 1000
CANCELLED_AS_LATE: Final = entry("cancel", "Cancel", PAST_DEADLINE, "")


def deadline_of(job: Job[Any, Any]) -> dict[str, Any]:
    """What the document of a new job says of its deadline: nothing where it has none."""
    if job.deadline is not None:
        return {"deadline": job.deadline // _MICROSECOND, "deadline_force": job.deadline_force}
    if job.deadline_at is not None:  # it was stored before, and is stored anew
        return {"deadline_at": (job.deadline_at - EPOCH) // _MICROSECOND, "deadline_force": job.deadline_force}
    return {}


def overdue() -> Verb[list[str]]:
    """The ids of jobs that wait and whose deadline has passed, the oldest deadline first; at most `SWEPT_AT_ONCE`."""
    return [row[0] for row in (yield last("overdue", max=SWEPT_AT_ONCE))]


def cancel_overdue(ids: Sequence[str]) -> Verb[Settled]:
    """Cancel those of `ids` that still wait and whose deadline has passed, with all that follows for others.

    What another session holds is left to the next sweep: somebody may just be claiming it.
    """
    locked = yield from reach(ids, ids, is_free=True)
    late = [id for id in ids if id in locked]
    rows = yield call("cancel_overdue", ids=late, error=CANCELLED_AS_LATE)
    ended = [Ended(*row) for row in rows]
    yield from tell_hooks([job.id for job in ended], "deadline")
    after = yield from aftermath(ended, {})
    return Settled([job.id for job in ended] + after.ids, after.due, after.finished)


_MICROSECOND: Final = timedelta(microseconds=1)
