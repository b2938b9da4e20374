"""Ack: an attempt is given back once, and only by whom the job belongs to."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tenuto.failure import ERRORS_KEPT
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, RETRYABLE, SCHEDULED
from tenuto.outcome import (
    DONE,
    KEPT,
    RELEASED,
    STOPPED,
    Cancel,
    Discard,
    Failed,
    PutBack,
    Record,
    Snooze,
    settle,
)
from tenuto.storage import aftermath, reading, steer, store, upkeep
from tests.storage.build import DAY, MINUTE, NOON, SECOND, Claimer, graph, plain, reason, stored

ENDINGS = {
    "done": (DONE, COMPLETED),
    "cancelled by itself": (Cancel("no"), CANCELLED),
    "discarded by itself": (Discard("no"), DISCARDED),
}
EVERY_WAY = {
    **ENDINGS,
    "snoozed": (Snooze(60), SCHEDULED),
    "failed": (Failed(ValueError("oops")), RETRYABLE),
    "put back": (PutBack(MINUTE), SCHEDULED),
    "released": (RELEASED, AVAILABLE),
    "stopped": (STOPPED, CANCELLED),
}

each_way = pytest.mark.parametrize("outcome", [pytest.param(way[0], id=name) for name, way in EVERY_WAY.items()])


@pytest.fixture
async def job(clock, claimer):
    """One job, claimed."""
    await clock.run(store.enqueue, plain(max_attempts=3))
    (claimed,) = await claimer.claim()
    return claimed


@pytest.mark.parametrize(("outcome", "state"), [pytest.param(*way, id=name) for name, way in EVERY_WAY.items()])
async def test_a_job_becomes_what_its_attempt_came_to(clock, claimer, job, outcome, state):
    settled = await claimer.end(job, outcome)

    assert settled.ids == [job.id]
    assert (await stored(clock, job)).state is state


@pytest.mark.parametrize(("outcome", "state"), [pytest.param(*way, id=name) for name, way in ENDINGS.items()])
async def test_an_ending_has_its_instant(clock, claimer, job, outcome, state):
    clock.now = NOON + SECOND

    await claimer.end(job, outcome)

    assert (await stored(clock, job)).finished_at == NOON + SECOND


# ── the fence ─────────────────────────────────────────────────────────────────────────────────────


@each_way
async def test_an_attempt_that_was_taken_back_settles_nothing(clock, claimer, tables, job, outcome):
    await clock.run(upkeep.disown, [claimer.id], [])
    before = tables.all()

    settled = await claimer.give_back(settle(job, outcome))

    assert settled == aftermath.Settled([], set(), [])
    assert tables.all() == before


@each_way
async def test_an_attempt_that_was_taken_back_does_not_settle_the_next_one(clock, claimer, tables, job, outcome):
    await clock.run(upkeep.disown, [claimer.id], [])
    await claimer.claim()
    before = tables.all()

    settled = await claimer.give_back(settle(job, outcome))

    assert settled == aftermath.Settled([], set(), [])
    assert tables.all() == before


async def test_an_attempt_settles_once(clock, claimer, tables, job):
    await claimer.give_back(settle(job, Failed(ValueError("first"))))
    before = tables.all()

    again = await claimer.give_back(settle(job, DONE))

    assert again.ids == []
    assert tables.all() == before


async def test_an_attempt_given_back_twice_in_one_batch_settles_once(clock, claimer, job):
    ack = settle(job, Failed(ValueError("oops")))

    settled = await claimer.give_back(ack, ack._replace(error=None))

    assert settled.ids == [job.id]
    assert (await stored(clock, job)).state is RETRYABLE


async def test_a_stale_result_beside_the_true_one_is_not_stored(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (stale,) = await claimer.claim()
    await clock.run(upkeep.disown, [claimer.id], [])
    (current,) = await claimer.claim()

    await claimer.give_back(settle(stale, Record("stale")), settle(current, KEPT))

    step = await clock.read(reading.step, flow.id, "only")
    assert step.result is None


async def test_the_good_acks_of_a_batch_are_not_held_up_by_a_stale_one(clock, claimer):
    await clock.run(store.enqueue, plain(3))
    lost, *kept = await claimer.claim()
    await clock.run(upkeep.disown, [claimer.id], [job.id for job in kept])

    settled = await claimer.give_back(*[settle(job, DONE) for job in (lost, *kept)])

    assert sorted(settled.ids) == sorted(job.id for job in kept)


# ── attempts, delays, errors ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outcome", [Snooze(60), PutBack(MINUTE), RELEASED], ids=["snooze", "put back", "release"])
async def test_what_is_no_failure_costs_no_attempt(clock, claimer, job, outcome):
    await claimer.end(job, outcome)

    assert (await stored(clock, job)).attempt == 0


async def test_a_failure_costs_an_attempt(clock, claimer, job):
    await claimer.end(job, Failed(ValueError("oops")))

    assert (await stored(clock, job)).attempt == 1


async def test_a_snooze_is_counted_and_due_after_its_delay(clock, claimer, job):
    clock.now = NOON + SECOND

    await claimer.end(job, Snooze(60))

    after = await stored(clock, job)
    assert (after.snoozes, after.scheduled_at, after.finished_at) == (1, NOON + SECOND + MINUTE, None)


async def test_a_failed_attempt_is_due_again_after_its_backoff(clock, claimer, job):
    await claimer.end(job, Failed(ValueError("oops")), backoff=90)

    assert (await stored(clock, job)).scheduled_at == NOON + timedelta(seconds=90)


async def test_a_released_job_can_be_claimed_at_once(clock, claimer, job):
    settled = await claimer.end(job, RELEASED)

    (again,) = await claimer.claim()
    assert settled.due == {job.queue}
    assert (again.id, again.attempt) == (job.id, 1)
    assert again.epoch > job.epoch + 1  # the forced release counts too


async def test_the_last_failure_discards(clock, claimer, job):
    for _ in range(job.max_attempts):
        await claimer.end(job, Failed(ValueError("oops")), backoff=0)
        await clock.run(upkeep.stage)

    assert (await stored(clock, job)).state is DISCARDED


async def test_each_failure_is_kept_with_its_attempt_and_instant(clock, claimer, job):
    for nth in range(2):
        clock.now = NOON + nth * SECOND
        await claimer.end(job, Failed(ValueError(f"number {nth}")), backoff=0)
        await clock.run(upkeep.stage)

    first, second = (await stored(clock, job)).errors
    assert (first.attempt, first.at, first.kind, first.type) == (1, NOON, "exception", "ValueError")
    assert (second.attempt, second.at, second.message) == (2, NOON + SECOND, "number 1")
    assert "ValueError: number 1" in second.traceback


async def test_only_the_newest_failures_are_kept(clock, claimer):
    await clock.run(store.enqueue, plain(max_attempts=100))
    (job,) = await claimer.claim()

    for nth in range(ERRORS_KEPT + 5):
        await claimer.end(job, Failed(ValueError(f"number {nth}")), backoff=0)
        await clock.run(upkeep.stage)

    errors = (await stored(clock, job)).errors
    assert [error.message for error in errors] == [f"number {nth}" for nth in range(5, ERRORS_KEPT + 5)]


async def test_what_an_error_says_comes_back_as_it_was(clock, claimer, job):
    told = 'quotes " \' \\ and [brackets], ünï → 🎵, \x00 NUL, {"json": 1}'

    await claimer.end(job, Cancel(told))

    assert await reason(clock, job) == told.replace("\x00", r"\x00")


# ── cancel came first ─────────────────────────────────────────────────────────────────────────────


@each_way
async def test_a_cancel_turns_every_ending_into_cancelled(clock, claimer, job, outcome):
    await clock.run(steer.cancel, [job.id])

    settled = await claimer.end(job, outcome)

    after = await stored(clock, job)
    assert settled.ids == [job.id]
    assert settled.due == set()
    assert (after.state, after.finished_at) == (CANCELLED, NOON)


@each_way
async def test_what_a_cancel_cut_short_says_so_in_one_error(clock, claimer, job, outcome):
    await clock.run(steer.cancel, [job.id])

    await claimer.end(job, outcome)

    assert len((await stored(clock, job)).errors) == 1


async def test_completed_wins_when_it_was_committed_first(clock, claimer, job):
    await claimer.end(job, DONE)

    steered = await clock.run(steer.cancel, [job.id])

    assert steered.ids == []
    assert (await stored(clock, job)).state is COMPLETED


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_large_batch_is_settled_whole(clock, claimer):
    await clock.run(store.enqueue, plain(1000))
    jobs = await claimer.claim()

    settled = await claimer.give_back(*[settle(job, DONE) for job in jobs])

    assert len(settled.ids) == 1000


async def test_batches_from_several_tasks_are_all_settled(clock, claimer):
    await clock.run(store.enqueue, plain(100))
    jobs = await claimer.claim()

    answers = await asyncio.gather(*[claimer.give_back(settle(job, DONE)) for job in jobs])

    assert sorted(id for answer in answers for id in answer.ids) == sorted(job.id for job in jobs)


async def test_no_acks_are_no_work(clock):
    assert await clock.run(store.ack, []) == aftermath.Settled([], set(), [])


async def test_a_scheduled_instant_is_kept_by_an_ending(clock, claimer):
    await clock.run(store.enqueue, plain(scheduled_at=NOON - DAY))
    (job,) = await claimer.claim()

    await claimer.end(job, DONE)

    assert (await stored(clock, job)).scheduled_at == NOON - DAY


async def test_suspicion_is_cleared_by_any_settling_but_a_release(clock, claimer):
    await clock.run(store.enqueue, plain())
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    survivor = await Claimer(clock, "node-2").start()
    (suspect,) = await survivor.claim_suspect()

    await survivor.end(suspect, RELEASED)
    released = await stored(clock, suspect)
    (again,) = await survivor.claim_suspect()
    await survivor.end(again, Snooze(60))

    assert released.suspicions == 1
    assert (await stored(clock, suspect)).suspicions == 0


async def test_a_suspect_that_is_released_after_a_cancel_is_suspected_no_more(clock, claimer):
    await clock.run(store.enqueue, plain())
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    survivor = await Claimer(clock, "node-2").start()
    (suspect,) = await survivor.claim_suspect()
    await clock.run(steer.cancel, [suspect.id])

    await survivor.end(suspect, RELEASED)

    after = await stored(clock, suspect)
    assert (after.state, after.suspicions) == (CANCELLED, 0)
