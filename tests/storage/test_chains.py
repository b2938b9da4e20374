"""Chains: one link at a time, in the order of the commits, whatever becomes of any of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, EXECUTING, RETRYABLE, SCHEDULED, SUSPENDED
from tenuto.outcome import DONE, RELEASED, Cancel, Discard, Failed, Outcome, PutBack, Snooze, settle
from tenuto.storage import steer, store, upkeep
from tests.kit import eventually
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    AnyJob,
    Claimer,
    complaints,
    is_stored,
    plain,
    stored,
)
from tests.storage.conftest import only_on_postgres
from tests.storage.test_races import LONG, Pair, lost_races, meanwhile, pair, paused, somebody_waits

__all__ = ["pair"]  # the fixture

BAD: dict[str, Outcome] = {CANCELLED: Cancel("no"), DISCARDED: Discard("no")}
HOLDS = "cancelled discarded"


def links(count: int, key: str = "k", **options: Any) -> list[AnyJob]:
    """So many jobs of one chain."""
    return plain(count, chain_key=key, **options)


async def states_of(database, jobs: Sequence[AnyJob]) -> list[str]:
    """Where each of them stands, in their order."""
    return [str((await stored(database, job)).state) for job in jobs]


async def runs(claimer: Claimer, *outcomes: Outcome) -> list[str]:
    """End what can be claimed, one claim after the other; the ids in the order they came."""
    ran: list[str] = []
    for outcome in outcomes:
        (job,) = await claimer.claim()
        ran.append(job.id)
        await claimer.end(job, outcome)
    return ran


# ── stored in line ────────────────────────────────────────────────────────────────────────────────


async def test_the_first_link_is_due_and_those_behind_it_wait_for_their_turn(clock, claimer):
    jobs = await clock.run(store.enqueue, links(3))

    assert [job.state for job in jobs] == [AVAILABLE, SUSPENDED, SUSPENDED]
    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED, SUSPENDED]
    assert [job.id for job in await claimer.claim()] == [jobs[0].id]
    assert await complaints(clock) == {}


async def test_links_run_one_after_the_other_in_the_order_they_were_stored(clock, claimer):
    jobs = [(await clock.run(store.enqueue, [job]))[0] for job in links(4)]

    assert await runs(claimer, DONE, DONE, DONE, DONE) == [job.id for job in jobs]
    assert await complaints(clock) == {}


async def test_within_one_call_the_order_is_that_of_the_list(clock, claimer):
    jobs = links(20)
    random.shuffle(jobs)
    await clock.run(store.enqueue, jobs)

    assert await runs(claimer, *[DONE] * 20) == [job.id for job in jobs]


async def test_urgency_does_not_overtake_within_a_chain(clock, claimer):
    late, urgent = (await clock.run(store.enqueue, links(1, priority=9) + links(1, priority=0)))[:2]

    assert await runs(claimer, DONE, DONE) == [late.id, urgent.id]


async def test_the_links_of_one_call_may_be_more_than_one_statement_takes(clock, claimer, monkeypatch):
    monkeypatch.setattr("tenuto.storage.chains.AT_ONCE", 3)
    monkeypatch.setattr(store, "CHUNK", 4)
    jobs = [job for pair in zip(links(5, "a"), links(5, "b"), strict=True) for job in pair]
    await clock.run(store.enqueue, jobs)

    for first, second in zip(jobs[::2], jobs[1::2], strict=True):
        assert {job.id for job in await claimer.claim()} == {first.id, second.id}
        await claimer.give_back(*[settle(claimer.held[job.id], DONE) for job in (first, second)])


async def test_chains_of_other_keys_and_jobs_of_none_do_not_wait(clock, claimer):
    jobs = await clock.run(store.enqueue, [*links(2, "a"), *links(2, "b"), *plain(2)])

    assert {job.id for job in await claimer.claim()} == {jobs[place].id for place in (0, 2, 4, 5)}


async def test_links_of_several_queues_are_one_chain(clock, claimer):
    first, second = await clock.run(store.enqueue, links(1) + links(1, queue="other"))
    other = await Claimer(clock, "node-2", "other").start()

    assert await other.claim() == []
    settled = await claimer.end(first, DONE)

    assert settled.due == {"other"}
    assert [job.id for job in await other.claim()] == [second.id]


async def test_a_link_that_is_due_later_holds_those_behind_it(clock, claimer):
    first, second = await clock.run(store.enqueue, links(1, schedule_in=MINUTE) + links(1))
    assert (await states_of(clock, [first, second]), await claimer.claim()) == ([SCHEDULED, SUSPENDED], [])

    clock.now = NOON + MINUTE
    await claimer.start(MINUTE)
    await clock.run(upkeep.stage)

    assert await states_of(clock, [first, second]) == [AVAILABLE, SUSPENDED]


async def test_a_link_whose_turn_comes_before_its_time_waits_for_its_time(clock, claimer):
    first, second = await clock.run(store.enqueue, links(1) + links(1, schedule_in=MINUTE))

    settled = await claimer.end(first, DONE)

    assert settled.due == set()
    assert await states_of(clock, [first, second]) == [COMPLETED, SCHEDULED]


async def test_the_same_link_again_is_the_same_link(clock, claimer, tables):
    jobs = links(3)
    await clock.run(store.enqueue, jobs)
    before = tables.all()

    again = await clock.run(store.enqueue, jobs)

    assert [(job.existing, job.state) for job in again] == [(True, AVAILABLE), (True, SUSPENDED), (True, SUSPENDED)]
    assert tables.all() == before


async def test_a_link_that_ended_does_not_take_its_chain_when_it_is_stored_again(clock, claimer):
    (first,) = jobs = links(1)
    await clock.run(store.enqueue, jobs)
    await claimer.end(first, DONE)

    _, second = await clock.run(store.enqueue, [first, *links(1)])

    assert (second.state, second.waiting_on) == (AVAILABLE, 0)
    assert await complaints(clock) == {}


async def test_new_links_beside_known_ones_go_to_the_end_of_the_line(clock, claimer):
    known = links(2)
    await clock.run(store.enqueue, known)
    new = links(2)

    await clock.run(store.enqueue, [new[0], *known, new[1]])

    assert await runs(claimer, *[DONE] * 4) == [job.id for job in [*known, *new]]


async def test_a_job_that_is_in_the_list_twice_is_one_link(clock, claimer):
    first, second = links(2)
    await clock.run(store.enqueue, [first, second, first, second])

    assert sorted(await runs(claimer, DONE, DONE)) == sorted([first.id, second.id])
    assert await claimer.claim() == []
    assert await complaints(clock) == {}


# ── whatever becomes of a link ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Failed(ValueError("oops")), RETRYABLE),
        (Snooze(20), SCHEDULED),
        (PutBack(MINUTE), SCHEDULED),
        (RELEASED, AVAILABLE),
    ],
)
async def test_a_link_that_comes_again_keeps_its_turn(clock, claimer, outcome, state):
    jobs = await clock.run(store.enqueue, links(2))

    await claimer.end(jobs[0], outcome)

    assert await states_of(clock, jobs) == [state, SUSPENDED]


@pytest.mark.parametrize("outcome", [DONE, Cancel("no"), Discard("no"), Failed(ValueError("the last attempt"))])
async def test_the_end_of_a_link_lets_the_next_one_run(clock, claimer, outcome):
    jobs = await clock.run(store.enqueue, links(3, max_attempts=1))

    settled = await claimer.end(jobs[0], outcome)

    assert settled.due == {"default"}
    assert (await states_of(clock, jobs))[1:] == [AVAILABLE, SUSPENDED]
    assert await complaints(clock) == {}


@pytest.mark.parametrize("place", [0, 1, 2], ids=["head", "middle", "tail"])
@pytest.mark.parametrize("verb", [steer.cancel, steer.delete], ids=["cancel", "delete"])
async def test_any_link_may_be_taken_out_of_its_chain(clock, claimer, verb, place):
    jobs = await clock.run(store.enqueue, links(3))

    steered = await clock.run(verb, [jobs[place].id])

    rest = [job.id for job in jobs if job is not jobs[place]]
    assert steered.ids == [jobs[place].id]
    assert steered.settled.due == ({"default"} if place == 0 else set())
    assert await complaints(clock) == {}
    (last,) = await clock.run(store.enqueue, links(1))
    assert await runs(claimer, DONE, DONE, DONE) == [*rest, last.id]


async def test_a_middle_link_that_is_cancelled_while_the_head_runs_lets_nobody_pass(clock, claimer):
    first, second, third = await clock.run(store.enqueue, links(3))
    await claimer.claim()
    await clock.run(steer.cancel, [second.id])

    (new,) = await clock.run(store.enqueue, links(1))

    assert await states_of(clock, [first, third, new]) == [EXECUTING, SUSPENDED, SUSPENDED]
    assert await claimer.claim() == []


async def test_the_last_link_that_is_cancelled_while_the_head_runs_lets_nobody_pass(clock, claimer):
    first, second = await clock.run(store.enqueue, links(2))
    await claimer.claim()
    await clock.run(steer.cancel, [second.id])

    (new,) = await clock.run(store.enqueue, links(1))

    assert await states_of(clock, [first, new]) == [EXECUTING, SUSPENDED]
    await claimer.give_back(settle(claimer.held[first.id], DONE))
    assert (await stored(clock, new)).state is AVAILABLE


async def test_all_links_at_once_may_be_cancelled(clock, claimer):
    jobs = await clock.run(store.enqueue, links(4))
    await claimer.claim()

    steered = await clock.run(steer.cancel, [job.id for job in jobs])

    assert steered.told == [jobs[0].id]
    settled = await claimer.end(jobs[0], DONE)
    assert (await states_of(clock, jobs), settled.due) == ([CANCELLED] * 4, set())
    assert await complaints(clock) == {}


async def test_a_link_that_is_cancelled_while_it_runs_keeps_its_turn_until_it_ends(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    await claimer.claim()

    await clock.run(steer.cancel, [jobs[0].id])
    assert await states_of(clock, jobs) == [EXECUTING, SUSPENDED]
    await claimer.end(jobs[0], Failed(ValueError("oops")))

    assert await states_of(clock, jobs) == [CANCELLED, AVAILABLE]


async def test_a_link_whose_node_died_keeps_its_turn(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    await claimer.claim()
    await claimer.die()

    await clock.run(upkeep.rescue, judge=False)

    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED]


async def test_a_link_that_kills_its_process_three_times_ends_and_lets_the_next_one_run(clock):
    jobs = await clock.run(store.enqueue, links(2))
    for nth in range(3):
        victim = await Claimer(clock, f"victim {nth}").start()
        assert len([*await victim.claim(), *await victim.claim_suspect()]) == 1
        await victim.die()
        rescued = await clock.run(upkeep.rescue, judge=False)

    assert rescued.settled.due == {"default"}
    assert await states_of(clock, jobs) == [DISCARDED, AVAILABLE]
    assert await complaints(clock) == {}


async def test_a_cancelled_link_whose_node_died_ends_and_lets_the_next_one_run(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    await claimer.claim()
    await clock.run(steer.cancel, [jobs[0].id])
    await claimer.die()

    await clock.run(upkeep.rescue, judge=False)

    assert await states_of(clock, jobs) == [CANCELLED, AVAILABLE]


async def test_a_cancelled_link_that_its_node_disowns_lets_the_next_one_run(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    await claimer.claim()
    await clock.run(steer.cancel, [jobs[0].id])

    settled = await clock.run(upkeep.disown, [claimer.id], [])

    assert settled.due == {"default"}
    assert await states_of(clock, jobs) == [CANCELLED, AVAILABLE]


async def test_an_attempt_that_lost_its_link_lets_nobody_pass(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    (stale,) = await claimer.claim()
    await clock.run(upkeep.disown, [claimer.id], [])
    await claimer.claim()

    settled = await claimer.give_back(settle(stale, DONE))

    assert settled.ids == []
    assert await states_of(clock, jobs) == [EXECUTING, SUSPENDED]


async def test_ends_of_many_chains_and_plain_jobs_in_one_batch(clock, claimer):
    chains = [links(2, f"k{nth}") for nth in range(10)]
    alone = plain(3)
    await clock.run(store.enqueue, [*[job for chain in chains for job in chain], *alone])
    await claimer.claim()

    await claimer.give_back(*[settle(job, DONE) for job in list(claimer.held.values())])

    assert {job.id for job in await claimer.claim()} == {chain[1].id for chain in chains}
    assert await states_of(clock, alone) == [COMPLETED] * 3


async def test_a_link_that_is_postponed_keeps_its_place_and_its_chain(clock, claimer):
    jobs = await clock.run(store.enqueue, links(3))
    change: steer.Changes = {"schedule_in": MINUTE, "args": {"nth": 7}, "meta": {"other": 1}}
    await clock.run(steer.update, [jobs[0].id, jobs[1].id], change)

    assert await states_of(clock, jobs) == [SCHEDULED, SUSPENDED, SUSPENDED]
    await clock.run(steer.delete, [jobs[0].id])
    assert await states_of(clock, jobs[1:]) == [SCHEDULED, SUSPENDED]
    assert await complaints(clock) == {}


# ── hold ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", [CANCELLED, DISCARDED])
async def test_hold_holds_and_ignore_does_not(clock, claimer, ending):
    other = next(state for state in BAD if state != ending)
    holding, going_on = links(2, "a", chain_holds=str(ending)), links(2, "b", chain_holds=str(other))
    await clock.run(store.enqueue, [*holding, *going_on])

    await claimer.claim()
    await claimer.give_back(*[settle(claimer.held[job.id], BAD[ending]) for job in (holding[0], going_on[0])])

    assert await states_of(clock, [*holding, *going_on]) == [ending, SUSPENDED, ending, AVAILABLE]
    assert await complaints(clock) == {}


@pytest.mark.parametrize("ending", [CANCELLED, DISCARDED])
async def test_a_held_chain_goes_on_when_the_held_up_link_has_completed(clock, claimer, ending):
    jobs = await clock.run(store.enqueue, links(2, chain_holds=HOLDS))
    await claimer.end(jobs[0], BAD[ending])
    (new,) = await clock.run(store.enqueue, links(1))
    assert await claimer.claim() == []

    steered = await clock.run(steer.retry, [jobs[0].id])

    assert steered.settled.due == {"default"}
    assert await states_of(clock, [*jobs, new]) == [AVAILABLE, SUSPENDED, SUSPENDED]
    assert await runs(claimer, DONE, DONE, DONE) == [jobs[0].id, jobs[1].id, new.id]


@pytest.mark.parametrize("ending", [CANCELLED, DISCARDED])
async def test_a_held_chain_goes_on_when_the_held_up_link_is_deleted(clock, claimer, ending):
    jobs = await clock.run(store.enqueue, links(2, chain_holds=HOLDS))
    await claimer.end(jobs[0], BAD[ending])

    steered = await clock.run(steer.delete, [jobs[0].id])

    assert steered.settled.due == {"default"}
    assert (await stored(clock, jobs[1])).state is AVAILABLE
    assert await complaints(clock) == {}


async def test_an_operator_who_cancels_the_head_holds_the_chain_that_asks_for_it(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2, chain_holds="cancelled"))

    await clock.run(steer.cancel, [jobs[0].id])

    assert await states_of(clock, jobs) == [CANCELLED, SUSPENDED]
    assert await complaints(clock) == {}


async def test_a_link_that_is_cancelled_while_it_waits_holds_when_its_turn_comes(clock, claimer):
    first, second, third = jobs = await clock.run(store.enqueue, links(3, chain_holds="cancelled"))
    await clock.run(steer.cancel, [second.id])
    assert await states_of(clock, jobs) == [AVAILABLE, CANCELLED, SUSPENDED]

    settled = await claimer.end(first, DONE)

    assert settled.due == set()
    assert await states_of(clock, jobs) == [COMPLETED, CANCELLED, SUSPENDED]
    assert await complaints(clock) == {}
    await clock.run(steer.delete, [second.id])
    assert (await stored(clock, third)).state is AVAILABLE


async def test_a_waiting_link_that_was_cancelled_and_is_retried_waits_again(clock, claimer):
    jobs = await clock.run(store.enqueue, links(3, chain_holds="cancelled"))
    await clock.run(steer.cancel, [jobs[1].id])

    await clock.run(steer.retry, [jobs[1].id])

    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED, SUSPENDED]
    assert await runs(claimer, DONE, DONE, DONE) == [job.id for job in jobs]
    assert await complaints(clock) == {}


async def test_a_waiting_link_that_was_cancelled_and_deleted_holds_nobody(clock, claimer):
    first, second, third = await clock.run(store.enqueue, links(3, chain_holds="cancelled"))
    await clock.run(steer.cancel, [second.id])
    await clock.run(steer.delete, [second.id])

    assert await runs(claimer, DONE, DONE) == [first.id, third.id]


async def test_a_held_up_link_is_not_pruned_and_goes_on_holding(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2, chain_holds=HOLDS))
    await claimer.end(jobs[0], Discard("no"))
    clock.now = NOON + 30 * DAY

    assert await clock.run(upkeep.prune_jobs, DAY) == 0
    assert await clock.run(upkeep.prune_chains, DAY) == 0
    assert await states_of(clock, jobs) == [DISCARDED, SUSPENDED]


async def test_an_earlier_link_that_is_retried_does_not_pass_one_that_holds(clock, claimer):
    jobs = await clock.run(store.enqueue, [*links(1), *links(2, chain_holds=HOLDS)])
    await claimer.end(jobs[0], DONE)
    await claimer.end(jobs[1], Discard("no"))

    await clock.run(steer.retry, [jobs[0].id])
    assert await states_of(clock, jobs) == [SUSPENDED, DISCARDED, SUSPENDED]
    await clock.run(steer.delete, [jobs[1].id])

    assert await runs(claimer, DONE, DONE) == [jobs[0].id, jobs[2].id]


async def test_nothing_that_a_node_does_by_itself_lets_a_held_chain_go(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2, chain_holds=HOLDS))
    await claimer.end(jobs[0], Discard("no"))
    await claimer.die()
    clock.now = NOON + DAY

    await clock.run(upkeep.rescue, judge=True)
    await clock.run(upkeep.stage)
    await clock.run(upkeep.prune_jobs, MINUTE)
    await clock.run(upkeep.prune_chains, MINUTE)

    assert await states_of(clock, jobs) == [DISCARDED, SUSPENDED]


async def test_workers_of_one_chain_may_differ_in_what_holds(clock, claimer):
    jobs = await clock.run(store.enqueue, [*links(1), *links(1, chain_holds="discarded"), *links(1)])

    await claimer.end(jobs[0], Discard("no"))
    await claimer.end(jobs[1], Discard("no"))

    assert await states_of(clock, jobs) == [DISCARDED, DISCARDED, SUSPENDED]


# ── an operator's retry ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outcome", [DONE, Cancel("no"), Discard("no")])
async def test_a_link_that_ended_runs_again_at_once_where_nobody_holds_its_chain(clock, claimer, outcome):
    (job,) = await clock.run(store.enqueue, links(1))
    await claimer.end(job, outcome)

    steered = await clock.run(steer.retry, [job.id])

    assert steered.settled.due == {"default"}
    (behind,) = await clock.run(store.enqueue, links(1))
    assert await states_of(clock, [job, behind]) == [AVAILABLE, SUSPENDED]
    assert await complaints(clock) == {}


@pytest.mark.parametrize("outcome", [DONE, Cancel("no"), Discard("no")])
async def test_a_link_that_ended_is_the_next_one_where_another_holds_its_chain(clock, claimer, outcome):
    jobs = await clock.run(store.enqueue, links(4))
    await claimer.end(jobs[0], outcome)
    await claimer.claim()

    await clock.run(steer.retry, [jobs[0].id])

    assert await states_of(clock, jobs) == [SUSPENDED, EXECUTING, SUSPENDED, SUSPENDED]
    await claimer.end(jobs[1], DONE)
    assert await runs(claimer, DONE, DONE, DONE) == [jobs[0].id, jobs[2].id, jobs[3].id]
    assert await complaints(clock) == {}


async def test_a_link_that_outlived_its_chain_runs_again_and_others_go_behind_it(clock, claimer, tables):
    jobs = await clock.run(store.enqueue, links(2))
    await runs(claimer, DONE, DONE)
    tables.execute("delete from chains")

    await clock.run(steer.retry, [jobs[1].id, jobs[0].id])
    new = await clock.run(store.enqueue, links(1))

    assert await runs(claimer, DONE, DONE, DONE) == [job.id for job in [*jobs, *new]]
    assert await complaints(clock) == {}


async def test_links_that_are_retried_together_run_in_their_order(clock, claimer):
    jobs = await clock.run(store.enqueue, links(3))
    await runs(claimer, DONE, Discard("no"), DONE)

    await clock.run(steer.retry, [job.id for job in reversed(jobs)])

    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED, SUSPENDED]
    assert await runs(claimer, DONE, DONE, DONE) == [job.id for job in jobs]


@pytest.mark.parametrize("outcome", [Failed(ValueError("oops")), Snooze(MINUTE)])
async def test_a_retry_of_the_link_that_holds_its_chain_makes_it_due(clock, claimer, outcome):
    jobs = await clock.run(store.enqueue, links(2))
    await claimer.end(jobs[0], outcome)

    await clock.run(steer.retry, [jobs[0].id])

    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED]


async def test_no_retry_lets_a_waiting_link_pass(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))

    assert (await clock.run(steer.retry, [jobs[1].id])).ids == []
    assert await states_of(clock, jobs) == [AVAILABLE, SUSPENDED]


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_chain_is_kept_as_long_as_its_links_and_no_longer(clock, claimer, tables):
    jobs = await clock.run(store.enqueue, links(2))
    await runs(claimer, DONE, DONE)
    clock.now = NOON + DAY - SECOND
    assert (await clock.run(upkeep.prune_jobs, DAY), await clock.run(upkeep.prune_chains, DAY)) == (0, 0)

    clock.now = NOON + DAY
    assert (await clock.run(upkeep.prune_jobs, DAY), await clock.run(upkeep.prune_chains, DAY)) == (2, 1)

    assert tables.rows("select key from chains") == []
    assert [await is_stored(clock, job) for job in jobs] == [False, False]


async def test_a_chain_that_somebody_holds_is_not_pruned(clock, claimer, tables):
    jobs = await clock.run(store.enqueue, links(3))
    await claimer.end(jobs[0], DONE)
    clock.now = NOON + DAY

    assert (await clock.run(upkeep.prune_jobs, DAY), await clock.run(upkeep.prune_chains, DAY)) == (1, 0)
    assert await states_of(clock, jobs[1:]) == [AVAILABLE, SUSPENDED]


async def test_a_pruned_chain_begins_again(clock, claimer):
    jobs = await clock.run(store.enqueue, links(2))
    await runs(claimer, DONE, DONE)
    clock.now = NOON + DAY
    await clock.run(upkeep.prune_jobs, DAY)
    await clock.run(upkeep.prune_chains, DAY)
    await claimer.start(TTL)

    again = await clock.run(store.enqueue, links(2))

    assert [job.state for job in again] == [AVAILABLE, SUSPENDED]
    assert jobs[0].id != again[0].id


# ── the doctor ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update chains set held_by = null", ["held by nobody who could end", "held by nobody", "may run, and nobody"]),
        ("update chains set held_by = (select id from jobs where chain_seq = 3)", ["held by nobody who could end"]),
        ("update jobs set state = 'completed' where chain_seq = 1", ["it ended, and holds its chain"]),
        ("delete from jobs where chain_seq = 1", ["it ended, and holds its chain"]),
        ("update jobs set state = 'available', waiting_on = 0 where chain_seq = 2", ["it may run, and "]),
        ("delete from chains", ["held by nobody who could end", "it may run, and nobody"]),
    ],
)
async def test_the_doctor_sees_a_chain_that_is_not_in_order(clock, tables, change, told):
    await clock.run(store.enqueue, links(3))
    assert await complaints(clock) == {}

    tables.execute(change)

    details = [detail for _, detail in (await complaints(clock))["doctor_chains"]]
    assert [part for part in told if not any(part in detail for detail in details)] == []


async def test_the_doctor_sees_a_waiting_link_that_waits_for_nothing(clock, tables):
    await clock.run(store.enqueue, links(2))

    tables.execute("update jobs set waiting_on = 0 where chain_seq = 2")

    assert list(await complaints(clock)) == ["doctor_waiting"]


# ── several at once ───────────────────────────────────────────────────────────────────────────────


@only_on_postgres
async def test_a_link_is_stored_behind_those_whose_commit_is_on_its_way_and_other_chains_do_not_wait(
    pair: Pair, tables
):
    ours, theirs = pair
    (first,), (second,), (other,) = links(1), links(1), links(1, "other")

    async with paused(ours, "enqueue", store.enqueue, [first]):
        storing = asyncio.create_task(theirs.run(store.enqueue, [second]))
        await eventually(lambda: somebody_waits(tables))
        await theirs.run(store.enqueue, [other])
        assert not storing.done()
    await storing

    order = tables.rows("select id from jobs where chain_key = 'k' order by chain_seq")
    assert [row["id"] for row in order] == [first.id, second.id]
    assert await states_of(ours, [first, second, other]) == [AVAILABLE, SUSPENDED, AVAILABLE]


async def test_a_link_whose_storing_was_rolled_back_strands_nobody(clock, claimer):
    def rolled_back(jobs):
        yield from store.enqueue(jobs)
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError, match="rolled back"):
        await clock.run(rolled_back, links(2))
    jobs = await clock.run(store.enqueue, links(2))

    assert await runs(claimer, DONE, DONE) == [job.id for job in jobs]


@only_on_postgres
async def test_a_link_that_is_deleted_while_it_is_stored_again_is_stored_anew_in_line(pair: Pair, tables):
    ours, _ = pair
    known, behind = links(2)
    await ours.run(store.enqueue, [known, behind])
    deletions = iter([lambda: tables.execute("delete from jobs where id = ?", behind.id)])

    def deleted_once() -> None:
        next(deletions, lambda: None)()

    _, again = await ours.run(meanwhile(store.enqueue, "enqueue_links", deleted_once), [known, behind])

    assert (again.existing, again.state) == (False, SUSPENDED)
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["reach", "ack", "lock_chains", "advance_chains"])
async def test_a_link_that_is_stored_while_its_chain_is_handed_on_is_not_forgotten(pair: Pair, tables, behind):
    ours, theirs = pair
    (first,) = await ours.run(store.enqueue, links(1))
    (running,) = await (claimer := await Claimer(ours).start()).claim()
    second = links(1)

    async with paused(ours, behind, store.ack, [settle(running, DONE)]):
        storing = asyncio.create_task(theirs.run(store.enqueue, second))
        if behind == "reach":
            await storing
        else:
            await eventually(lambda: somebody_waits(tables))
    await storing

    assert [job.id for job in await claimer.claim()] == [second[0].id]
    assert first.id == running.id
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["reach", "ack", "lock_chains", "advance_chains", "release_links"])
@pytest.mark.parametrize("verb", [steer.cancel, steer.delete], ids=["cancel", "delete"])
async def test_a_chain_is_not_handed_to_a_link_that_leaves_at_the_same_moment(pair: Pair, tables, behind, verb):
    ours, theirs = pair
    _, second, third = await ours.run(store.enqueue, links(3))
    (running,) = await (claimer := await Claimer(ours).start()).claim()

    async with paused(ours, behind, store.ack, [settle(running, DONE)]):
        leaving = asyncio.create_task(theirs.run(verb, [second.id]))
        await eventually(lambda: somebody_waits(tables))
    await leaving

    assert [job.id for job in await claimer.claim()] == [third.id]
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("verb", [steer.cancel, steer.delete], ids=["cancel", "delete"])
async def test_a_link_that_leaves_when_its_turn_has_been_given_to_it_hands_it_on(pair: Pair, tables, verb):
    """It became the next one after the rows were locked: by a retry, and so it is not among them."""
    ours, theirs = pair
    ended, running = await ours.run(store.enqueue, links(2))
    claimer = await Claimer(ours).start()
    await claimer.end(ended, DONE)
    done = settle(await claimer.claimed(running), DONE)

    acking = paused(ours, "reach", store.ack, [done])
    await acking.__aenter__()
    await theirs.run(steer.retry, [ended.id])
    (last,) = await theirs.run(store.enqueue, links(1))
    async with paused(theirs, verb.__name__, verb, [ended.id]):
        going_on = asyncio.create_task(acking.__aexit__(None, None, None))
        await eventually(lambda: somebody_waits(tables))
    await going_on

    assert [job.id for job in await claimer.claim()] == [last.id]
    assert await complaints(ours) == {}


TURNS = 60
OUTCOMES: tuple[Outcome, ...] = (DONE, DONE, DONE, Discard("no"), Cancel("no"), Snooze(0), Failed(ValueError("oops")))


class Storm:
    """A few chains that several databases fill, work off, cancel, retry, delete and rescue at random, all at once."""

    def __init__(self, databases: Sequence[Any]) -> None:
        self.databases = databases
        self.ids: list[str] = []

    async def run(self) -> None:
        await asyncio.gather(
            *[self._fill(database) for database in self.databases],
            *[self._work(database, f"node-{nth}") for nth, database in enumerate(self.databases)],
            *[self._steer(database) for database in self.databases],
            self._sweep(self.databases[0]),
        )

    async def _fill(self, database: Any) -> None:
        for _ in range(TURNS):
            holds = random.choice([None, None, "cancelled", HOLDS])
            jobs = [job for key in random.sample("abcd", 2) for job in links(2, key, chain_holds=holds)]
            self.ids += [job.id for job in jobs]
            await database.run(store.enqueue, jobs)

    async def _work(self, database: Any, node: str) -> None:
        claimer = await Claimer(database, node).start(10 * MINUTE)
        for turn in range(TURNS):
            jobs = [*await claimer.claim(4), *await claimer.claim_suspect()]
            await database.run(upkeep.stage)
            if turn % 10 == 9:
                await claimer.die()
                claimer = await Claimer(database, node).start(10 * MINUTE)
            acks = [settle(job, random.choice(OUTCOMES), backoff=0) for job in jobs]
            await database.run(store.ack, acks, LONG)

    async def _steer(self, database: Any) -> None:
        verbs = [*[(steer.cancel, {})] * 3, *[(steer.retry, {"strict": False})] * 6, *[(steer.delete, {})] * 2]
        for _ in range(TURNS):
            verb, options = random.choice(verbs)
            if len(self.ids) >= 3:
                await database.run(verb, random.sample(self.ids, 3), **options)
            else:
                await asyncio.sleep(0)

    async def _sweep(self, database: Any) -> None:
        for _ in range(TURNS // 2):
            await database.run(upkeep.rescue, judge=True)


@pytest.mark.timeout(120)
async def test_whatever_is_done_to_chains_at_once_leaves_them_in_order(pair: Pair, open_database):
    storm = Storm([*pair, await open_database()])

    with lost_races() as lost:
        await storm.run()

    assert len(lost) <= 10, lost  # where another link became the next one after the rows had been locked
    assert await complaints(pair[0]) == {}


@pytest.mark.timeout(120)
async def test_a_storm_of_chains_can_be_worked_off_to_its_end(pair: Pair):
    storm = Storm(pair)
    await storm.run()
    ours, _ = pair
    await ours.run(upkeep.resign, [seen.id for seen in await ours.read(upkeep.nodes)])
    await ours.run(upkeep.rescue, judge=True)
    await ours.run(steer.delete, storm.ids)

    jobs = await ours.run(store.enqueue, [job for key in "abcd" for job in links(2, key)])

    assert [job.state for job in jobs] == [AVAILABLE, SUSPENDED] * 4
    assert await complaints(ours) == {}
