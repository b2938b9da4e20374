"""Claim: due jobs go to a node with a live lease, most urgent first, each to one node only."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tenuto.job import EXECUTING, Job
from tenuto.outcome import DONE
from tenuto.storage import store, upkeep
from tests.storage.build import MINUTE, NOON, SECOND, TTL, Claimer, new_id, plain, stored
from tests.storage.conftest import only_on_postgres


async def test_a_claimed_job_is_executing_with_its_attempt_counted(clock, claimer):
    await clock.run(store.enqueue, plain())

    (job,) = await claimer.claim()

    assert (job.state, job.attempt, job.epoch, job.attempted_by, job.attempted_at) == (
        EXECUTING,
        1,
        1,
        claimer.node,
        NOON,
    )
    assert await stored(clock, job) == job


async def test_jobs_are_claimed_by_priority_then_instant_then_id(clock, claimer):
    late, early, second, first = (
        Job("worker", scheduled_at=NOON),
        Job("worker", scheduled_at=NOON - MINUTE),
        Job("worker", priority=1, scheduled_at=NOON - 2 * MINUTE),
        Job("worker", scheduled_at=NOON),
    )
    await clock.run(store.enqueue, [first, second, early, late])

    claimed = [await claimer.claim(1) for _ in range(4)]

    assert [job.id for (job,) in claimed] == [early.id, *sorted([late.id, first.id]), second.id]


async def test_one_batch_comes_in_the_same_order(clock, claimer):
    jobs = [Job("worker", priority=priority) for priority in (5, 0, 9, 0)]
    await clock.run(store.enqueue, jobs)

    claimed = await claimer.claim()

    assert [(job.priority, job.id) for job in claimed] == sorted((job.priority, job.id) for job in jobs)


async def test_no_more_are_claimed_than_asked_for(clock, claimer):
    await clock.run(store.enqueue, plain(5))

    assert len(await claimer.claim(3)) == 3
    assert len(await claimer.claim(3)) == 2
    assert await claimer.claim(3) == []


async def test_only_jobs_of_the_queue_are_claimed(clock, claimer):
    await clock.run(store.enqueue, plain(queue="other"))

    assert await claimer.claim() == []


async def test_nothing_is_claimed_before_it_is_due(clock, claimer):
    await clock.run(store.enqueue, plain(schedule_in=MINUTE))
    clock.now = NOON + timedelta(seconds=29)
    await clock.run(upkeep.stage)

    assert await claimer.claim() == []


async def test_nothing_is_claimed_without_a_lease(clock):
    await clock.run(store.enqueue, plain())

    assert await Claimer(clock, id=new_id()).claim() == []


async def test_nothing_is_claimed_after_the_lease_has_ended(clock, claimer):
    await clock.run(store.enqueue, plain())
    clock.now = NOON + TTL

    assert await claimer.claim() == []


async def test_a_job_is_claimed_in_the_last_moment_of_a_lease(clock, claimer):
    await clock.run(store.enqueue, plain())
    clock.now = NOON + TTL - timedelta(microseconds=1)

    assert len(await claimer.claim()) == 1


async def test_each_claim_grows_the_epoch(clock, claimer):
    await clock.run(store.enqueue, plain())
    (first,) = await claimer.claim()
    await clock.run(upkeep.disown, [claimer.id], [])

    (second,) = await claimer.claim()

    assert second.epoch > first.epoch


async def test_two_nodes_never_claim_the_same_job(clock, claimer, open_database):
    other = await open_database()
    other.now = NOON
    neighbour = await Claimer(other, "node-2").start()
    await clock.run(store.enqueue, plain(400))

    async def take(node: Claimer) -> list[str]:
        taken: list[str] = []
        while jobs := await node.claim(7):
            taken += [job.id for job in jobs]
        return taken

    ours, theirs = await asyncio.gather(take(claimer), take(neighbour))

    assert len(ours) + len(theirs) == len({*ours, *theirs}) == 400


async def test_a_plain_claim_passes_over_suspects(clock, claimer):
    await clock.run(store.enqueue, plain())
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    survivor = await Claimer(clock, "node-2").start()

    assert await survivor.claim() == []
    assert len(await survivor.claim_suspect()) == 1


async def test_suspects_are_claimed_one_at_a_time(clock, claimer):
    await clock.run(store.enqueue, plain(2))
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    survivor = await Claimer(clock, "node-2").start()

    (first,) = await survivor.claim_suspect()
    await survivor.end(first, DONE)
    (second,) = await survivor.claim_suspect()

    assert first.id != second.id


async def test_a_suspect_is_not_claimed_after_the_lease_has_ended(clock, claimer):
    await clock.run(store.enqueue, plain())
    await claimer.claim()
    clock.now = NOON + TTL
    await clock.run(upkeep.rescue, judge=True)
    survivor = await Claimer(clock, "node-2").start(SECOND)
    clock.now += SECOND

    assert await survivor.claim_suspect() == []


# ── behind a place ────────────────────────────────────────────────────────────────────────────────


def due(*seconds_ago: int, **options: Any) -> list[Job[Any, Any]]:
    """Jobs that became due so long before noon."""
    return [Job("w", {}, scheduled_at=NOON - ago * SECOND, **options) for ago in seconds_ago]


@only_on_postgres
async def test_behind_places_is_what_is_due_after_them_in_each_priority(clock, claimer):
    first, second = due(3, 2, 1, priority=1), due(3, 2, 1, priority=4)
    await clock.run(store.enqueue, [*second, *first])
    places = {1: (NOON - 2 * SECOND, first[1].id)}

    claimed = await clock.run(store.claim, "default", 10, claimer.id, "node-1", places)

    assert [job.id for job in claimed] == [job.id for job in (first[2], *second)]


@only_on_postgres
async def test_what_is_due_before_the_places_is_left(clock, claimer):
    early, late = due(2, 1)
    await clock.run(store.enqueue, [early, late])

    claimed = await clock.run(store.claim, "default", 10, claimer.id, "node-1", {0: (NOON - 2 * SECOND, early.id)})

    assert [job.id for job in claimed] == [late.id]
