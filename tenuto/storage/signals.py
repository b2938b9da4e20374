"""Signals, as verbs: one is sent, and wakes who waits for it; what has come is looked for; waits time out."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tenuto.errors import JobEnded, JobNotFound, WorkflowFinished, WorkflowNotFound
from tenuto.job import TERMINAL
from tenuto.storage.aftermath import PATIENCE, Settled
from tenuto.storage.database import LostRace, Row, Verb, call, last


class Sent(NamedTuple):
    """What a signal did: whether it was the first of its name, and whom it woke."""

    is_first: bool
    settled: Settled


def send(target: str, name: str, value: str, *, is_job: bool | None = None) -> Verb[Sent]:
    """Keep a signal for a workflow, or a job that is no step (of a step: for its workflow), and wake who waits for it.

    The first of a name counts. With `is_job` it is known what `target` is. Raises WorkflowNotFound, JobNotFound;
    WorkflowFinished and JobEnded for what has ended. The owner stays locked, as `parking` tells.
    """
    owner = yield from _owner(target, is_job)
    is_first = bool((yield call("store_signal", owner_id=owner, name=name, value=value)))
    if not is_first:
        return Sent(False, Settled([], set(), []))
    rows = yield call("wake", owner_id=owner, name=name)
    if any(queue is None for _, queue in rows):
        raise LostRace("another session holds a job that waits for this signal")
    return Sent(True, Settled([id for id, _ in rows], {queue for _, queue in rows}, []))


def _owner(target: str, is_job: bool | None) -> Verb[str]:
    """Lock the one to whom a signal belongs, which has not ended; its id."""
    if not is_job and (yield from _is_live(target)):
        return target
    rows = [] if is_job is False else (yield call("lock_job", id=target, patience=PATIENCE))
    if not rows:
        raise JobNotFound(target) if is_job else WorkflowNotFound(target)
    ((_, state, workflow_id),) = rows
    if workflow_id is not None:
        if not (yield from _is_live(workflow_id)):
            raise WorkflowNotFound(workflow_id)
        owner: str = workflow_id
        return owner
    if state in TERMINAL:
        raise JobEnded(target, state)
    return target


def _is_live(workflow_id: str) -> Verb[bool]:
    """Whether there is such a workflow. Raises WorkflowFinished."""
    rows = yield call("lock_workflows", ids=[workflow_id], patience=PATIENCE)
    if rows and rows[0][1] == "finished":
        raise WorkflowFinished(workflow_id)
    return bool(rows)


# ── who waits ─────────────────────────────────────────────────────────────────────────────────────


class Found(NamedTuple):
    """What has come of signals: the first that came in time, by name and as stored text; which have time left."""

    name: str | None
    value: str | None
    open: list[str]


def look(job_id: str, owner_id: str, names: Sequence[str]) -> Verb[Found]:
    """What has come of these signals, for a job."""
    return _found((yield last("look", job_id=job_id, owner_id=owner_id, names=list(names))))


def time_out(job_id: str, owner_id: str, names: Sequence[str]) -> Verb[Found]:
    """End waits whose time is over, so that what comes later, or was on its way, is late; what has come till then."""
    yield call("time_out", job_id=job_id, names=list(names))
    return _found((yield call("look", job_id=job_id, owner_id=owner_id, names=list(names))))


def _found(rows: Sequence[Row]) -> Found:
    came: tuple[str | None, str | None] = next(((row[0], row[1]) for row in rows if row[1] is not None), (None, None))
    return Found(*came, [name for name, value, is_over in rows if value is None and not is_over])


class SignalWait(NamedTuple):
    """A signal that a job waits for now, and until when; None is for ever."""

    name: str
    until: datetime | None


def waits(job_id: str) -> Verb[list[SignalWait]]:
    """The signals that one job waits for now."""
    return [SignalWait(*row) for row in (yield last("waits", id=job_id))]


# ── what is gone ──────────────────────────────────────────────────────────────────────────────────


def forget(owners: Sequence[str]) -> Verb[None]:
    """Delete the signals and the waits of workflows and jobs that are gone."""
    if owners:
        yield call("prune_signals", owners=list(owners))
        yield call("prune_waits", owners=list(owners))
