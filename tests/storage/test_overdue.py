"""Deadlines as they are stored: counted from when a job is due, never moved, and swept while it waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, EXECUTING, RETRYABLE, SCHEDULED, SUSPENDED
from tenuto.options import as_jobs
from tenuto.outcome import DONE, Failed, Snooze
from tenuto.storage import overdue, steer, store, upkeep
from tenuto.storage.database import Database
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    AnyJob,
    Claimer,
    complaints,
    graph,
    plain,
    reason,
    states,
    stored,
    workflow_of,
)

HOUR = 60 * MINUTE
TICK = SECOND / 1_000_000


async def sweep(database: Database) -> list[str]:
    """What the stager does: look, and cancel what it found; the ids that were cancelled."""
    late = await database.read(overdue.overdue)
    return (await database.run(overdue.cancel_overdue, late)).ids if late else []


# ── where it stands ───────────────────────────────────────────────────────────────────────────────


async def test_a_deadline_counts_from_the_instant_of_the_insert(clock):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))

    assert job.deadline_at == NOON + HOUR
    assert (await stored(clock, job)).deadline_at == NOON + HOUR


async def test_a_deadline_of_a_scheduled_job_counts_from_when_it_is_due(clock):
    later, at = await clock.run(
        store.enqueue, [*plain(schedule_in=HOUR, deadline=HOUR), *plain(scheduled_at=NOON + DAY, deadline=HOUR)]
    )

    assert (later.deadline_at, at.deadline_at) == (NOON + 2 * HOUR, NOON + DAY + HOUR)
    assert (await stored(clock, later)).deadline_at == NOON + 2 * HOUR
    assert (await stored(clock, at)).deadline_at == NOON + DAY + HOUR


async def test_a_job_without_a_deadline_has_none(clock):
    (job,) = await clock.run(store.enqueue, plain())

    found = await stored(clock, job)
    assert (found.deadline_at, found.deadline_force) == (None, False)


async def test_a_claim_brings_the_deadline_and_whether_it_is_forced(clock, claimer):
    await clock.run(store.enqueue, [*plain(deadline=HOUR), *plain(deadline=HOUR, deadline_force=True), *plain()])

    claimed = await claimer.claim()

    assert [(job.deadline_at, job.deadline_force) for job in claimed] == [
        (NOON + HOUR, False),
        (NOON + HOUR, True),
        (None, False),
    ]


@pytest.mark.parametrize("outcome", [Snooze(60), Failed(ValueError("oops"))], ids=["snooze", "failure"])
async def test_neither_a_retry_nor_a_snooze_moves_it(clock, claimer, outcome):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    clock.now = NOON + SECOND

    await claimer.end(job, outcome, backoff=60)

    assert (await stored(clock, job)).deadline_at == NOON + HOUR


async def test_an_operator_moves_no_deadline(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    clock.now = NOON + MINUTE
    await clock.run(steer.update, [job.id], {"schedule_in": MINUTE})
    await clock.run(steer.cancel, [job.id])

    await clock.run(steer.retry, [job.id])

    assert (await stored(clock, job)).deadline_at == NOON + HOUR


async def test_a_job_that_is_gone_and_stored_anew_keeps_its_deadline(clock):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR, deadline_force=True))
    fetched = await stored(clock, job)
    await clock.run(steer.delete, [job.id])
    clock.now = NOON + MINUTE

    (again,) = await clock.run(store.enqueue, as_jobs(fetched))

    found = await stored(clock, again)
    assert (found.deadline_at, found.deadline_force) == (NOON + HOUR, True)


# ── the sweep ─────────────────────────────────────────────────────────────────────────────────────


async def waiting_job(clock: Database, claimer: Claimer, state: str) -> AnyJob:
    """One job with a deadline in an hour that waits in the state asked for."""
    options: dict[str, Any] = {"deadline": HOUR, **({"schedule_in": TICK} if state == SCHEDULED else {})}
    if state == SUSPENDED:
        flow = graph({"a": "", "b": "a"}, **options)
        await clock.run(flow.enqueue)
        return flow["b"]
    (job,) = await clock.run(store.enqueue, plain(**options))
    if state == RETRYABLE:
        await claimer.end(job, Failed(ValueError("oops")), backoff=DAY)
    assert (await stored(clock, job)).state == state
    return job


@pytest.mark.parametrize("state", [SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE])
async def test_a_job_that_waits_past_its_deadline_is_cancelled(clock, claimer, state):
    job = await waiting_job(clock, claimer, state)

    clock.now = NOON + HOUR - TICK
    early = await sweep(clock)
    clock.now = NOON + HOUR + TICK
    late = await sweep(clock)

    found = await stored(clock, job)
    assert (early, job.id in late) == ([], True)
    assert (found.state, found.finished_at) == (CANCELLED, clock.now)
    assert await reason(clock, job) == "its deadline has passed"
    assert await complaints(clock) == {}


async def test_a_job_is_overdue_at_the_very_instant(clock):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    clock.now = NOON + HOUR

    assert await sweep(clock) == [job.id]


async def test_a_running_job_is_not_swept(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR, deadline_force=True))
    await claimer.claim()
    clock.now = NOON + DAY

    assert await sweep(clock) == []
    assert (await stored(clock, job)).state is EXECUTING


async def test_what_ended_before_its_deadline_is_left_alone(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    await claimer.end(job, DONE)
    clock.now = NOON + DAY

    assert await sweep(clock) == []
    assert (await stored(clock, job)).state is COMPLETED


async def test_a_job_that_was_claimed_after_the_look_is_not_cancelled(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    clock.now = NOON + HOUR
    late = await clock.read(overdue.overdue)
    await clock.run(upkeep.register, [claimer.producer._replace(id=job.id)], HOUR)
    await clock.run(store.claim, "default", 1, job.id, "node-1")

    settled = await clock.run(overdue.cancel_overdue, late)

    assert (late, settled.ids) == ([job.id], [])
    assert (await stored(clock, job)).state is EXECUTING


async def test_a_retry_past_the_deadline_is_cancelled_again(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=HOUR))
    clock.now = NOON + HOUR
    await sweep(clock)

    await clock.run(steer.retry, [job.id])

    assert await sweep(clock) == [job.id]


async def test_the_oldest_deadlines_are_swept_first_and_no_more_than_a_batch(clock, monkeypatch):
    monkeypatch.setattr(overdue, "SWEPT_AT_ONCE", 2)
    third, first, second = [plain(deadline=nth * MINUTE)[0] for nth in (3, 1, 2)]
    await clock.run(store.enqueue, [third, first, second])
    clock.now = NOON + HOUR

    assert sorted(await sweep(clock)) == sorted([first.id, second.id])
    assert await sweep(clock) == [third.id]


async def test_a_step_that_is_overdue_takes_along_the_steps_behind_it_and_ends_its_workflow(clock, claimer):
    flow = graph({"a": "", "b": "a", "c": "b", "d": "b"}, forgive={"d": "cancelled"})
    late = flow["b"].replace(deadline=HOUR)
    flow = replace(flow, jobs={**flow.jobs, "b": late})
    await clock.run(flow.enqueue)
    clock.now = NOON + HOUR

    swept = await sweep(clock)

    assert sorted(swept) == sorted(flow.ids("b", "c"))
    assert await states(clock, flow) == {"a": AVAILABLE, "b": CANCELLED, "c": CANCELLED, "d": AVAILABLE}
    assert await reason(clock, flow["c"]) == "it needs step b, which was cancelled"
    later = await Claimer(clock).start()
    await later.end_steps(flow, a=DONE, d=DONE)
    row = await workflow_of(clock, flow)
    assert (row.state, row.outcome) == ("finished", "failed")
    assert await complaints(clock) == {}
