"""What is left for hooks: a word for each job that others end, in the same transaction, taken away by one node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tenuto.failure import PAST_DEADLINE
from tenuto.job import CANCELLED, DISCARDED
from tenuto.outcome import DONE, GATED, RELEASED, STOPPED, Cancel, Discard, Failed, Outcome, Snooze, settle
from tenuto.storage import overdue, steer, store, upkeep
from tenuto.storage.database import Database
from tests.storage.build import DAY, NOON, SECOND, AnyJob, Claimer, chain, graph, new_id, plain, stored
from tests.storage.tables import Tables

WORDS = "select job_id, state, reason from hook_outbox order by job_id"


def left(tables: Tables) -> dict[str, tuple[str, str]]:
    """Every word there is: the state and the reason by job."""
    return {row["job_id"]: (row["state"], row["reason"]) for row in tables.rows(WORDS)}


async def one(clock: Database, **options: Any) -> AnyJob:
    """A stored job whose worker has hooks."""
    (job,) = await clock.run(store.enqueue, plain(1, has_hooks=True, **options))
    return job


# ── who ends a job ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"schedule_in": 60}], ids=["due", "scheduled"])
async def test_an_operator_who_cancels_what_does_not_run_leaves_a_word(clock, tables, options):
    job = await one(clock, **options)

    await clock.run(steer.cancel, [job.id])

    assert left(tables) == {job.id: ("cancelled", "operator")}


async def test_no_word_is_left_for_a_job_without_hooks(clock, tables):
    jobs = await clock.run(store.enqueue, plain(2))

    await clock.run(steer.cancel, [job.id for job in jobs])

    assert left(tables) == {}


@pytest.mark.parametrize("outcome", [DONE, STOPPED, RELEASED, Snooze(3), Failed(ValueError()), Discard("no")], ids=repr)
async def test_a_running_job_that_an_operator_cancelled_leaves_a_word_whatever_it_came_to(
    clock, claimer, tables, outcome: Outcome
):
    job = await one(clock)
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])
    assert left(tables) == {}

    await claimer.end(job, outcome)

    assert (await stored(clock, job)).state == CANCELLED
    assert left(tables) == {job.id: ("cancelled", "operator")}


@pytest.mark.parametrize("outcome", [DONE, Snooze(3), Failed(ValueError()), Discard("no"), Cancel("no")], ids=repr)
async def test_what_process_itself_said_leaves_no_word(clock, claimer, tables, outcome: Outcome):
    job = await one(clock, max_attempts=1)

    await claimer.end(job, outcome)

    assert left(tables) == {}


async def test_what_process_said_before_an_operator_did_leaves_no_word(clock, claimer, tables):
    job = await one(clock)
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])

    await claimer.end(job, Cancel("of its own"))

    assert left(tables) == {}


async def test_a_deadline_that_passed_before_process_was_called_leaves_a_word(clock, claimer, tables):
    job = await one(clock)

    await claimer.end(job, Cancel(PAST_DEADLINE))

    assert left(tables) == {job.id: ("cancelled", "deadline")}


async def test_a_deadline_that_passes_while_a_job_waits_leaves_a_word(clock, tables):
    job = await one(clock, deadline=SECOND)
    clock.now = NOON + SECOND

    await clock.run(overdue.cancel_overdue, [job.id])

    assert left(tables) == {job.id: ("cancelled", "deadline")}


async def test_an_attempt_that_lost_its_job_leaves_no_word(clock, claimer, tables):
    job = await one(clock)
    (late,) = await claimer.claim()
    await claimer.give_back(settle(late, RELEASED))

    await claimer.give_back(settle(late, Cancel(PAST_DEADLINE)))

    assert (await stored(clock, job)).state == "available"
    assert left(tables) == {}


async def test_a_cascade_leaves_a_word_for_each_step_it_cancels(clock, claimer, tables):
    flow = chain(4, has_hooks=True)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, s0=Discard("no"))

    assert left(tables) == dict.fromkeys(flow.ids("s1", "s2", "s3"), ("cancelled", "dependency"))


async def test_what_waits_behind_a_deleted_step_leaves_a_word(clock, tables):
    flow = chain(2, has_hooks=True)
    await clock.run(flow.enqueue)

    await clock.run(steer.delete, flow.ids("s0"))

    assert left(tables) == {flow["s1"].id: ("cancelled", "dependency")}


async def test_a_step_that_was_claimed_too_early_and_whose_need_ended_badly_leaves_a_word(clock, claimer, tables):
    flow = graph({"a": "", "b": "a"}, has_hooks=True)
    await clock.run(flow.enqueue)
    tables.execute("update jobs set state = 'available', waiting_on = 0 where id = ?", flow["b"].id)
    await claimer.claim()
    await claimer.end_steps(flow, a=Cancel("no"))

    await claimer.end_steps(flow, b=GATED)

    assert left(tables) == {flow["b"].id: ("cancelled", "dependency")}


async def test_the_rule_of_poison_leaves_a_word(clock, tables):
    job = await one(clock)
    for _ in range(3):
        victim = await Claimer(clock, id=new_id()).start()
        await victim.claim_suspect() or await victim.claim()
        await victim.die()
        await clock.run(upkeep.rescue, judge=False)

    assert (await stored(clock, job)).state == DISCARDED
    assert left(tables) == {job.id: ("discarded", "rescue")}


async def test_a_cancelled_job_of_a_process_that_died_was_ended_by_the_operator(clock, claimer, tables):
    job = await one(clock)
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])
    await claimer.die()

    await clock.run(upkeep.rescue, judge=False)

    assert left(tables) == {job.id: ("cancelled", "operator")}


# ── who takes a word ──────────────────────────────────────────────────────────────────────────────


async def test_a_word_is_taken_with_its_job_and_is_gone(clock, tables):
    job = await one(clock)
    await clock.run(steer.cancel, [job.id])

    (told,) = await clock.run(upkeep.take_hooks, ["worker"], 10)

    assert (told.job.id, told.job.args, told.state, told.reason) == (job.id, {"nth": 0}, CANCELLED, "operator")
    assert left(tables) == {}
    assert await clock.run(upkeep.take_hooks, ["worker"], 10) == []


async def test_words_come_oldest_first_and_no_more_than_asked_for(clock):
    jobs = [await one(clock) for _ in range(3)]
    for job in reversed(jobs):
        await clock.run(steer.cancel, [job.id])
        clock.now += SECOND

    taken = await clock.run(upkeep.take_hooks, ["worker"], 2)

    assert [told.job.id for told in taken] == [jobs[2].id, jobs[1].id]


async def test_a_word_for_a_worker_that_a_node_does_not_know_stays(clock, tables):
    job = await one(clock)
    await clock.run(steer.cancel, [job.id])

    assert await clock.run(upkeep.take_hooks, ["another"], 10) == []
    assert left(tables).keys() == {job.id}


async def test_nodes_that_take_at_once_share_the_words(clock, open_database):
    jobs = await clock.run(store.enqueue, plain(200, has_hooks=True))
    await clock.run(steer.cancel, [job.id for job in jobs])
    nodes = [clock, *[await open_database() for _ in range(3)]]

    async def take(node: Database) -> list[str]:
        mine: list[str] = []
        while taken := await node.run(upkeep.take_hooks, ["worker"], 7):
            mine += [told.job.id for told in taken]
        return mine

    taken = await asyncio.gather(*map(take, nodes))

    assert sorted(id for ids in taken for id in ids) == sorted(job.id for job in jobs)


async def test_a_job_that_is_cancelled_twice_leaves_two_words(clock, tables):
    job = await one(clock)
    await clock.run(steer.cancel, [job.id])
    await clock.run(steer.retry, [job.id])
    clock.now += SECOND

    await clock.run(steer.cancel, [job.id])

    assert len(tables.rows(WORDS)) == 2
    assert len(await clock.run(upkeep.take_hooks, ["worker"], 10)) == 2


async def test_a_job_that_is_gone_is_told_of_to_nobody(clock, tables):
    job = await one(clock)
    await clock.run(steer.cancel, [job.id])
    await clock.run(steer.delete, [job.id])

    assert await clock.run(upkeep.take_hooks, ["worker"], 10) == []
    assert left(tables) == {}


async def test_a_word_that_nobody_took_is_pruned_with_its_job(clock, tables):
    old, new = await one(clock), await one(clock)
    await clock.run(steer.cancel, [old.id])
    clock.now = NOON + DAY
    await clock.run(steer.cancel, [new.id])

    assert await clock.run(upkeep.prune_jobs, DAY) == 1

    assert left(tables).keys() == {new.id}
