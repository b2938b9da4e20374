"""What may be read, as verbs that change nothing: jobs, workflows and their steps, counts, and the doctor's checks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from tenuto import codec
from tenuto.errors import CodecError, InvalidRequest
from tenuto.failure import failures
from tenuto.graph import GROUP, Head
from tenuto.job import check_name
from tenuto.storage.database import Row, Verb, call, last
from tenuto.storage.steer import Filter, check_limit
from tenuto.storage.store import AnyJob, to_job

PAGE: Final = 5000  # steps in one answer


def fetch(ids: Sequence[str]) -> Verb[dict[str, AnyJob]]:
    """Jobs by id; one that is not stored is not in the answer."""
    rows = yield last("fetch", ids=list(ids))
    return {row[0]: to_job(row) for row in rows}


def find(which: Filter, limit: int, before: str | None = None) -> Verb[list[AnyJob]]:
    """The jobs that the filter names, newest first, at most `limit`, older than the one named by `before`."""
    rows = yield last("find", **which.inputs(), before=before, max=check_limit(limit))
    return [to_job(row) for row in rows]


def recorded(id: str) -> Verb[tuple[str | None, str] | None]:
    """What one job recorded, as (stored text or None for nothing, its worker); None for no such job."""
    rows = yield last("recorded", id=id)
    return (rows[0][0], rows[0][1]) if rows else None


class Count(NamedTuple):
    """How many jobs of one queue stand in one state, and when the oldest of them was due."""

    queue: str
    state: str
    jobs: int
    oldest: datetime


def counts() -> Verb[list[Count]]:
    """Every queue's jobs by state. It looks at every row: for people, not for loops."""
    return [Count(*row) for row in (yield last("counts"))]


class QueueSettings(NamedTuple):
    """What operators asked of one queue, on one node, or on all of them (an empty node)."""

    name: str
    node: str
    paused: bool | None
    running: bool | None
    slots: int | None


def queues() -> Verb[list[QueueSettings]]:
    """The settings of every queue that anybody paused or scaled."""
    return [QueueSettings(*row) for row in (yield last("queues"))]


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


class WorkflowRow(NamedTuple):
    """A workflow's own row: its state, and its steps counted by fate."""

    id: str
    name: str | None
    state: str
    outcome: str | None
    runs: int
    steps: int
    unfinished: int
    completed: int
    cancelled: int
    discarded: int
    deleted: int
    inserted_at: datetime
    finished_at: datetime | None


def head(id: str) -> Verb[Head | None]:
    """What steps need to know that are added to a workflow, or None."""
    rows = yield last("head", id=id)
    return Head(id, rows[0][0], is_logged=bool(rows[0][1])) if rows else None


def workflow(id: str) -> Verb[WorkflowRow | None]:
    """One workflow's own row, or None."""
    rows = yield last("workflow", id=id)
    return WorkflowRow(*rows[0]) if rows else None


def context(workflow_id: str) -> Verb[str | None]:
    """What a workflow tells all of its steps, as stored text; None where it tells nothing."""
    rows = yield last("context", id=workflow_id)
    return rows[0][0] if rows else None


def find_workflows(
    state: str | None, name: str | None, limit: int, before: str | None = None
) -> Verb[list[WorkflowRow]]:
    """Workflows by state and name, newest first. Raises InvalidRequest for a word that is no state, or the limit."""
    if state not in (None, "running", "finished"):
        raise InvalidRequest(f"{state!r:.80} is no state of a workflow; there are running, finished")
    if name is not None:
        check_name("workflow", name)
    rows = yield last("find_workflows", state=state, name=name, before=before, max=check_limit(limit))
    return [WorkflowRow(*row) for row in rows]


def steps(workflow_id: str) -> Verb[list[dict[str, Any]]]:
    """Every step of a workflow in the order they were added, as fields of a StepStatus."""
    found: list[dict[str, Any]] = []
    after = -1
    while True:
        rows = yield call("steps", workflow_id=workflow_id, after=after, max=PAGE)
        found += [_step(row) for row in rows]
        if len(rows) < PAGE:
            return found
        after = rows[-1][2]


def _step(row: Row) -> dict[str, Any]:
    (
        name,
        job_id,
        _,
        worker,
        deps,
        fate,
        has_result,
        result,
        state,
        attempt,
        errors,
        attempted_at,
        finished_at,
        *ignored,
        parent,
        waits_for,
    ) = row
    told = failures(errors) if errors else ()
    return {
        "name": name,
        "job_id": job_id,
        "worker": worker,
        "deps": () if deps == "[]" else tuple(codec.decode(deps)),
        "fate": fate,
        "state": state or fate,
        "attempt": attempt or 0,
        "has_result": has_result,
        "result": _shown(result),
        "error": told[-1] if told else None,
        "attempted_at": attempted_at,
        "finished_at": finished_at,
        "parent": parent,
        "is_group": worker == GROUP,
        "waits_for": tuple(codec.decode(waits_for)) if waits_for else (),
        **dict(zip(("ignore_cancelled", "ignore_discarded", "ignore_deleted"), map(bool, ignored), strict=True)),
    }


def _shown(result: str | None) -> Any:
    if result is None:
        return None
    try:
        return codec.decode(result)
    except CodecError as fault:
        return fault


class StepRow(NamedTuple):
    """One step of a workflow: its job, its fate, its result as stored text, and its worker."""

    job_id: str
    fate: str | None
    result: str | None
    worker: str


def step(workflow_id: str, name: str) -> Verb[StepRow | None]:
    """One step by name, or None."""
    rows = yield last("step", workflow_id=workflow_id, name=name)
    return StepRow(*rows[0]) if rows else None


def store_result(job: AnyJob, result: str) -> Verb[bool]:
    """Keep a running step's result before it settles; False when the attempt is no longer the job's."""
    rows = yield last("store_result", id=job.id, epoch=job.epoch, result=result)
    return bool(rows)


# ── the doctor ────────────────────────────────────────────────────────────────────────────────────

CHECKS: Final = {
    "doctor_waiting": "a suspended job waits for the needs it says, or for its turn in a chain",
    "doctor_needs": "a suspended step is held only by needs that have not ended",
    "doctor_keys": "a job holds its unique key in those states alone that it is unique in",
    "doctor_executing": "a running job is held by a live node",
    "doctor_fates": "a step's fate is how its job ended",
    "doctor_chains": "a chain is held by a link that has not ended, or was asked to hold it; no other one may run",
    "doctor_workflows": "a workflow's counts are its steps' fates, and it is finished when they are",
    "doctor_limits": "no more of a queue's jobs run at once than its limit allows",
}
"""The invariants that can be checked on a live database, by the statement that finds what breaks them."""


def check(statement: str) -> Verb[list[tuple[str, str]]]:
    """What breaks one of `CHECKS`, as (id, detail), the first hundred."""
    return [(id, detail) for id, detail in (yield last(statement))]


def waiting_workers() -> Verb[dict[str, int]]:
    """How many unfinished jobs name each worker."""
    return {name: int(jobs) for name, jobs in (yield last("doctor_workers"))}
