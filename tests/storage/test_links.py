"""Links that are more than links: unique ones, ones with a deadline, ones of a queue with limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, EXECUTING, SUSPENDED
from tenuto.limits import Limits
from tenuto.outcome import DONE, Cancel, Discard, Snooze, settle
from tenuto.storage import limited, overdue, steer, store, upkeep
from tenuto.storage.database import Database
from tests.kit import eventually
from tests.storage.build import DAY, MINUTE, NOON, AnyJob, Claimer, complaints, is_stored, plain
from tests.storage.conftest import only_on_postgres
from tests.storage.test_chains import links, runs, states_of
from tests.storage.test_races import LONG, Pair, lost_races, pair, paused, somebody_waits

__all__ = ["pair"]  # the fixture

USUAL = "suspended scheduled available executing retryable completed"


def unique(
    job: AnyJob,
    key: str = "u",
    *,
    states: str = USUAL,
    period: int | None = None,
    replace: Mapping[str, Sequence[str]] | None = None,
) -> AnyJob:
    """The job with this unique key, as the feature leaves it."""
    asked: dict[str, Any] = {"key": key, "states": states} | ({} if period is None else {"period": period})
    asked |= {"replace": replace} if replace else {}
    return job.replace(unique_key=json.dumps(asked))


# ── unique ones ───────────────────────────────────────────────────────────────────────────────────


async def test_a_link_whose_unique_key_is_held_takes_no_chain(clock, claimer, tables):
    (holder,) = await clock.run(store.enqueue, [unique(job) for job in plain()])

    (answer,) = await clock.run(store.enqueue, [unique(job) for job in links(1)])

    assert (answer.id, answer.existing) == (holder.id, True)
    assert [row["held_by"] for row in tables.all()["chains"]] == [None]
    assert await complaints(clock) == {}
    (behind,) = await clock.run(store.enqueue, links(1))
    assert behind.state == AVAILABLE


async def test_the_next_link_of_the_same_call_takes_the_place_of_one_that_is_not_stored(clock, claimer):
    await clock.run(store.enqueue, [unique(job) for job in plain(queue="q")])
    first, second, third = links(3)

    answers = await clock.run(store.enqueue, [unique(first), second, third])

    assert [job.state for job in answers[1:]] == [AVAILABLE, SUSPENDED]
    assert await runs(claimer, DONE, DONE) == [second.id, third.id]
    assert await complaints(clock) == {}


async def test_a_link_that_is_not_stored_lets_nobody_pass_who_holds_its_chain(clock, claimer):
    first = unique(links(1)[0])
    await clock.run(store.enqueue, [first])

    again, behind = await clock.run(store.enqueue, [unique(links(1)[0]), *links(1)])

    assert (again.id, behind.state) == (first.id, SUSPENDED)
    assert await runs(claimer, DONE, DONE) == [first.id, behind.id]
    assert await complaints(clock) == {}


async def test_of_links_in_one_call_that_are_alike_one_is_stored_and_runs(clock, claimer):
    answers = await clock.run(store.enqueue, [unique(job) for job in links(3)])

    assert len({job.id for job in answers}) == 1
    assert await runs(claimer, DONE) == [answers[0].id]
    assert await complaints(clock) == {}


async def test_a_retry_of_a_link_takes_its_key_only_in_the_state_it_gets(clock, claimer):
    """Where it has to wait for its turn first, a key that counts when it is due alone is no longer its own."""
    first = unique(links(1)[0], states="available executing")
    await clock.run(store.enqueue, [first, *links(1)])
    await claimer.end(first, Discard("no"))
    rival = unique(plain()[0], states="available executing")
    await clock.run(store.enqueue, [rival])

    await clock.run(steer.retry, [first.id])

    assert await states_of(clock, [first, rival]) == [SUSPENDED, AVAILABLE]
    assert await complaints(clock) == {}


async def test_a_link_that_is_unique_for_a_period_and_keeps_its_chain_is_not_pruned(clock, claimer):
    held = unique(links(1, chain_holds="cancelled")[0], period=60_000_000)
    await clock.run(store.enqueue, [held, *links(1)])
    await claimer.end(held, Cancel("no"))
    clock.now = NOON + 3 * DAY

    assert await clock.run(upkeep.prune_jobs, DAY) == 0
    assert await is_stored(clock, held)
    assert await complaints(clock) == {}


Act = Callable[[Database], Coroutine[Any, Any, object]]


@only_on_postgres
@pytest.mark.parametrize("behind", ["reach", "lock_chains", "ack", "advance_chains"])
@pytest.mark.parametrize("replace", [{}, {"available": ["args"]}], ids=["plain", "replacing"])
async def test_a_link_that_gives_its_key_up_and_one_that_asks_for_it_do_not_lock_each_other_out(
    pair: Pair, tables, behind, replace
):
    """The one holds its job and wants the chain, the other holds the chain and wants to know who has the key."""
    ours, theirs = pair
    await ours.run(store.enqueue, [unique(links(1)[0])])
    (running,) = await (await Claimer(ours).start()).claim()
    later = unique(links(1)[0], replace=replace)

    with lost_races() as lost:
        async with paused(ours, behind, store.ack, [settle(running, Discard("no"))]):
            storing = asyncio.create_task(theirs.run(store.enqueue, [later]))
            await eventually(lambda: storing.done() or somebody_waits(tables))
        (stored,) = await storing

    is_early = behind == "reach" and not replace  # the key is not given up yet, and nobody has to wait to see it
    assert (lost, stored.id) == ([], running.id if is_early else later.id)
    assert await states_of(ours, [running]) == [DISCARDED]
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["holders", "reach", "enqueue_links", "enqueue"])
@pytest.mark.parametrize("verb", ["ack", "cancel", "retry", "delete"])
async def test_a_link_that_changes_the_holder_of_its_key_and_whoever_ends_that_one_do_not_lock_each_other_out(
    pair: Pair, tables, behind, verb
):
    ours, theirs = pair
    (first,) = await ours.run(store.enqueue, [unique(links(1)[0])])
    if verb == "ack":
        (first,) = await (await Claimer(ours).start()).claim()
    acts: dict[str, Act] = {
        "ack": lambda database: database.run(store.ack, [settle(first, Snooze(0))], LONG),
        "cancel": lambda database: database.run(steer.cancel, [first.id]),
        "retry": lambda database: database.run(steer.retry, [first.id]),
        "delete": lambda database: database.run(steer.delete, [first.id]),
    }
    later = unique(links(1)[0].replace(args={"n": 2}), replace={"available": ["args"]})

    with lost_races() as lost:
        async with paused(ours, behind, store.enqueue, [later]):
            acting = asyncio.create_task(acts[verb](theirs))
            await eventually(lambda: acting.done() or somebody_waits(tables))
        await acting

    assert lost == []
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["lock_chains", "retry", "open_chains"])
async def test_a_link_that_takes_its_key_again_and_one_that_asks_for_it_do_not_lock_each_other_out(
    pair: Pair, tables, behind
):
    ours, theirs = pair
    first = unique(links(1)[0])
    await ours.run(store.enqueue, [first])
    await (await Claimer(ours).start()).end(first, Discard("no"))
    later = unique(links(1)[0])

    with lost_races() as lost:
        async with paused(ours, behind, steer.retry, [first.id]):
            storing = asyncio.create_task(theirs.run(store.enqueue, [later]))
            await eventually(lambda: storing.done() or somebody_waits(tables))
        (stored,) = await storing

    assert (lost, stored.id) == ([], first.id)
    assert await complaints(ours) == {}


# ── ones with a deadline ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("late", [0, 1])
async def test_a_link_that_waits_past_its_deadline_leaves_its_chain(clock, claimer, late):
    jobs = links(3)
    jobs[late] = jobs[late].replace(deadline=MINUTE)
    await clock.run(store.enqueue, jobs)
    clock.now = NOON + MINUTE

    swept = await clock.run(overdue.cancel_overdue, await clock.read(overdue.overdue))

    assert swept.ids == [jobs[late].id]
    assert swept.due == ({"default"} if late == 0 else set())
    assert await runs(await Claimer(clock).start(), DONE, DONE) == [job.id for job in jobs if job is not jobs[late]]
    assert await complaints(clock) == {}


async def test_a_link_that_is_late_holds_its_chain_where_that_was_asked(clock):
    first, second = links(2, chain_holds="cancelled", deadline=MINUTE)
    await clock.run(store.enqueue, [first, second.replace(deadline=None)])
    clock.now = NOON + MINUTE

    await clock.run(overdue.cancel_overdue, await clock.read(overdue.overdue))

    assert await states_of(clock, [first, second]) == [CANCELLED, SUSPENDED]
    assert await complaints(clock) == {}


# ── ones of a queue with limits ───────────────────────────────────────────────────────────────────


async def test_a_link_that_was_claimed_under_limits_hands_its_chain_on(clock, claimer):
    await clock.run(limited.configure, {"default": Limits(limit=5)})
    jobs = await clock.run(store.enqueue, links(2, partition="p"))

    for job in jobs:
        (claimed,) = (await clock.run(limited.claim, "default", 9, claimer.id, claimer.node)).jobs
        assert (claimed.id, claimed.chain_key, claimed.state) == (job.id, "k", EXECUTING)
        await claimer.give_back(settle(claimed, DONE))
    assert await states_of(clock, jobs) == [COMPLETED, COMPLETED]
