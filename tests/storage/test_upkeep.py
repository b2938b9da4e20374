"""What nodes do for all jobs: leases and beats, stage, polls, singletons, pruning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenuto.job import AVAILABLE, CANCELLED, EXECUTING, SCHEDULED, Job
from tenuto.outcome import DONE, Failed, Snooze, settle
from tenuto.storage import reading, steer, store, upkeep
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    AnyJob,
    Claimer,
    chain,
    complaints,
    diamond,
    graph,
    is_stored,
    new_id,
    plain,
    reason,
    states,
    stored,
)

# ── stage ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_scheduled_job_is_due_at_its_instant_and_not_before(clock):
    (job,) = await clock.run(store.enqueue, plain(schedule_in=MINUTE))

    clock.now = NOON + MINUTE - timedelta(microseconds=1)
    early = await clock.run(upkeep.stage)
    clock.now = NOON + MINUTE
    due = await clock.run(upkeep.stage)

    assert (early, due) == ([], ["default"])
    assert (await stored(clock, job)).state is AVAILABLE


@pytest.mark.parametrize("outcome", [Snooze(60), Failed(ValueError("oops"))], ids=["snooze", "failure"])
async def test_what_waits_for_another_attempt_is_staged_too(clock, claimer, outcome):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.end(job, outcome, backoff=60)
    clock.now = NOON + MINUTE

    await clock.run(upkeep.stage)

    assert (await stored(clock, job)).state is AVAILABLE


async def test_the_oldest_are_staged_first_and_no_more_than_a_batch(clock, monkeypatch):
    monkeypatch.setattr(upkeep, "STAGED_AT_ONCE", 2)
    jobs: list[AnyJob] = [Job("worker", {}, schedule_in=nth * SECOND) for nth in (3, 1, 2)]
    third, first, second = await clock.run(store.enqueue, jobs)
    clock.now = NOON + MINUTE

    await clock.run(upkeep.stage)
    found = await clock.read(reading.fetch, [first.id, second.id, third.id])

    assert [found[job.id].state for job in (first, second, third)] == [AVAILABLE, AVAILABLE, SCHEDULED]


async def test_each_queue_is_told_what_became_due(clock):
    await clock.run(store.enqueue, [Job("worker", queue=queue, schedule_in=SECOND) for queue in ("a", "b", "b")])
    clock.now = NOON + SECOND

    assert sorted(await clock.run(upkeep.stage)) == ["a", "b", "b"]


# ── leases ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_beat_renews_a_lease_that_holds(clock, claimer):
    clock.now = NOON + TTL - SECOND

    renewed = await clock.run(upkeep.beat, [claimer.id], TTL, '{"lag":1}')

    (seen,) = await clock.read(upkeep.nodes)
    assert renewed == {claimer.id}
    assert (seen.expires_at, seen.health, seen.alive) == (clock.now + TTL, '{"lag":1}', True)


async def test_a_beat_does_not_revive_a_lease_that_ended(clock, claimer):
    clock.now = NOON + TTL

    renewed = await clock.run(upkeep.beat, [claimer.id], TTL, "{}")

    (seen,) = await clock.read(upkeep.nodes)
    assert renewed == set()
    assert (seen.expires_at, seen.alive) == (NOON + TTL, False)


async def test_a_beat_answers_for_each_producer_of_a_node(clock, claimer):
    other = await Claimer(clock, queue="mail").start()
    await claimer.die()

    assert await clock.run(upkeep.beat, [claimer.id, other.id, new_id()], TTL, "{}") == {other.id}


async def test_a_lease_of_a_dead_process_can_be_ended_at_once(clock, claimer):
    await clock.run(upkeep.expire, [claimer.id])

    assert not (await clock.read(upkeep.nodes))[0].alive
    assert await clock.run(upkeep.beat, [claimer.id], TTL, "{}") == set()


async def test_a_lease_is_opened_once(clock, claimer):
    clock.now = NOON + SECOND

    await claimer.start()

    (seen,) = await clock.read(upkeep.nodes)
    assert (seen.started_at, seen.expires_at) == (NOON, NOON + TTL)


async def test_a_producer_is_seen_as_it_registered(clock):
    mine = upkeep.Producer(new_id(), "node-9", "mail", 1, '["a","b"]', "boot", 42, "start")

    await clock.run(upkeep.register, [mine], TTL)

    (seen,) = await clock.read(upkeep.nodes)
    assert seen == upkeep.Seen(*mine[:5], "{}", "boot", 42, "start", NOON, NOON + TTL, True)
    assert upkeep.workers_of(seen) == ["a", "b"]


# ── giving back ───────────────────────────────────────────────────────────────────────────────────


async def test_a_claim_whose_answer_was_lost_is_given_back_unspent(clock, claimer):
    await clock.run(store.enqueue, plain(2))
    lost, running = await claimer.claim()

    settled = await clock.run(upkeep.disown, [claimer.id], [running.id])

    after = await stored(clock, lost)
    assert (settled.ids, settled.due) == ([lost.id], {"default"})
    assert (after.state, after.attempt, after.suspicions, after.rescues) == (AVAILABLE, 0, 0, 0)
    assert after.epoch > lost.epoch
    assert (await stored(clock, running)).state is EXECUTING


async def test_what_others_hold_is_not_given_back(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()
    other = await Claimer(clock, "node-2").start()

    settled = await clock.run(upkeep.disown, [other.id], [])

    assert settled.ids == []
    assert (await stored(clock, job)).state is EXECUTING


async def test_what_an_operator_cancelled_is_cancelled_when_it_is_given_back(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.claim()
    await clock.run(steer.cancel, flow.ids("top"))

    settled = await clock.run(upkeep.disown, [claimer.id], [])

    assert settled.due == set()
    assert set((await states(clock, flow)).values()) == {CANCELLED}
    assert await reason(clock, flow["top"]) == "cancelled by an operator"
    assert await complaints(clock) == {}


async def test_a_node_that_resigns_gives_back_all_it_holds(clock, claimer):
    await clock.run(store.enqueue, plain(3))
    await claimer.claim()

    settled = await clock.run(upkeep.resign, [claimer.id])

    assert len(settled.ids) == 3
    assert await clock.read(upkeep.nodes) == []
    assert len(await (await Claimer(clock, "node-2").start()).claim()) == 3


async def test_a_node_that_holds_nothing_resigns(clock, claimer):
    await clock.run(upkeep.resign, [claimer.id])

    assert await clock.read(upkeep.nodes) == []


# ── one node alone ────────────────────────────────────────────────────────────────────────────────


async def test_one_node_alone_has_a_lease(clock):
    assert await clock.run(upkeep.lease, "prune", "node-1", TTL)
    assert not await clock.run(upkeep.lease, "prune", "node-2", TTL)


async def test_leases_of_other_names_are_free(clock):
    await clock.run(upkeep.lease, "prune", "node-1", TTL)

    assert await clock.run(upkeep.lease, "cron", "node-2", TTL)


async def test_a_node_renews_its_own_lease(clock):
    await clock.run(upkeep.lease, "prune", "node-1", TTL)
    clock.now = NOON + TTL - SECOND

    assert await clock.run(upkeep.lease, "prune", "node-1", TTL)
    clock.now = NOON + TTL
    assert not await clock.run(upkeep.lease, "prune", "node-2", TTL)


async def test_a_lease_that_ended_is_anybodys(clock):
    await clock.run(upkeep.lease, "prune", "node-1", TTL)
    clock.now = NOON + TTL

    assert await clock.run(upkeep.lease, "prune", "node-2", TTL)
    assert not await clock.run(upkeep.lease, "prune", "node-1", TTL)


# ── polls ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_poll_says_whether_anything_is_due(clock, claimer):
    await clock.run(store.enqueue, [*plain(queue="busy"), *plain(queue="later", schedule_in=SECOND)])

    polls = await clock.read(upkeep.poll, claimer.node, ["busy", "later", "empty"])

    assert {poll.name: poll.due for poll in polls} == {"busy": True, "later": False, "empty": False}


async def test_a_poll_tells_suspects_apart(clock, claimer):
    await clock.run(store.enqueue, plain())
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)

    (poll,) = await clock.read(upkeep.poll, "node-2", ["default"])

    assert (poll.due, poll.suspect) == (False, True)


async def test_a_poll_of_cancels_names_only_running_jobs_of_the_producer(clock, claimer):
    other = await Claimer(clock, "node-2").start()
    await clock.run(store.enqueue, plain(4))
    mine, *_ = await claimer.claim(2)
    theirs, *_ = await other.claim(2)
    await clock.run(steer.cancel, [mine.id, theirs.id])

    assert await clock.read(upkeep.poll_signals, [claimer.id]) == [(mine.id, mine.epoch, True)]


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────


async def test_jobs_that_ended_long_enough_ago_are_pruned(clock, claimer):
    old, young, open_ = await clock.run(store.enqueue, plain(3))
    await claimer.end(old, DONE)
    clock.now = NOON + SECOND
    await claimer.give_back(settle(await claimer.claimed(young), DONE))
    clock.now = NOON + DAY

    pruned = await clock.run(upkeep.prune_jobs, DAY)

    assert pruned == 1
    assert [await is_stored(clock, job) for job in (old, young, open_)] == [False, True, True]


async def test_the_oldest_are_pruned_first_and_no_more_than_a_batch(clock, monkeypatch):
    monkeypatch.setattr(upkeep, "PRUNED_AT_ONCE", 1)
    first, second = await clock.run(store.enqueue, plain(2))
    for nth, job in enumerate((second, first)):
        clock.now = NOON + nth * SECOND
        await clock.run(steer.cancel, [job.id])
    clock.now = NOON + DAY

    await clock.run(upkeep.prune_jobs, SECOND)

    assert [await is_stored(clock, job) for job in (first, second)] == [True, False]


async def test_what_has_not_ended_is_never_pruned(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await clock.run(store.enqueue, [*plain(), *plain(schedule_in=MINUTE)])
    await claimer.claim(1)
    clock.now = NOON + 1000 * DAY

    assert await clock.run(upkeep.prune_jobs, timedelta(0)) == 0


async def test_a_workflow_outlives_the_pruning_of_its_jobs(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, s0=DONE)
    await claimer.end_steps(flow, s1=DONE)

    await clock.run(upkeep.prune_jobs, timedelta(0))

    assert await states(clock, flow) == {"s0": "completed", "s1": "completed"}
    assert await complaints(clock) == {}


async def test_a_workflow_that_finished_long_enough_ago_goes_with_all_its_rows(clock, claimer, tables):
    flow = diamond()
    await clock.run(flow.enqueue)
    await clock.run(steer.cancel, flow.ids())
    clock.now = NOON + DAY

    pruned = await clock.run(upkeep.prune_workflows, DAY)

    assert pruned == 1
    assert [tables.all()[table] for table in ("jobs", "workflows", "workflow_nodes", "edges")] == [[]] * 4


async def test_a_workflow_that_is_young_or_alive_is_kept(clock, claimer):
    finished, alive = graph({"only": ""}), graph({"only": ""})
    for flow in (finished, alive):
        await clock.run(flow.enqueue)
    await clock.run(steer.cancel, finished.ids())
    clock.now = NOON + DAY - SECOND

    assert await clock.run(upkeep.prune_workflows, DAY) == 0
    assert await states(clock, alive) == {"only": AVAILABLE}


async def test_a_workflow_that_lives_again_is_not_pruned(clock):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    await clock.run(steer.cancel, flow.ids())
    await clock.run(steer.retry, flow.ids())
    clock.now = NOON + 1000 * DAY

    assert await clock.run(upkeep.prune_workflows, DAY) == 0


# ── the doctor ────────────────────────────────────────────────────────────────────────────────────


async def test_the_doctor_finds_nothing_in_a_house_in_order(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, top=DONE)

    assert await complaints(clock) == {}


async def test_the_doctor_gives_the_lifeline_a_minute(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()

    clock.now = NOON + TTL + MINUTE
    patient = await complaints(clock)
    clock.now += SECOND

    assert patient == {}
    assert await complaints(clock) == {"doctor_executing": [(job.id, "runs on node-1, whose lease has ended")]}


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        ("update jobs set waiting_on = 2 where state = 'suspended'", "doctor_waiting"),
        ("update edges set met = (1 = 1)", "doctor_waiting"),
        ("update workflow_nodes set fate = 'completed' where name = 'a'", "doctor_fates"),
        ("update workflow_nodes set fate = 'discarded' where name = 'a'", "doctor_needs"),
        ("delete from jobs where state = 'available'", "doctor_needs"),
        ("delete from jobs where state = 'available'", "doctor_fates"),
        ("update workflows set unfinished = 1", "doctor_workflows"),
        ("update workflows set state = 'finished'", "doctor_workflows"),
    ],
)
async def test_the_doctor_finds_what_was_spoilt(clock, tables, spoil, check):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)

    tables.execute(spoil)

    assert check in await complaints(clock)


async def test_the_doctor_counts_unfinished_jobs_by_worker(clock, claimer):
    first, *_ = await clock.run(store.enqueue, [*plain(3), Job("other")])
    await claimer.end(first, DONE)

    assert await clock.read(reading.waiting_workers) == {"worker": 2, "other": 1}


async def test_jobs_are_counted_by_queue_and_state(clock, claimer):
    await clock.run(store.enqueue, [*plain(2), *plain(queue="mail", schedule_in=SECOND)])
    await claimer.claim(1)

    counts = [(count.queue, count.state, count.jobs) for count in await clock.read(reading.counts)]

    assert counts == [("default", "available", 1), ("default", "executing", 1), ("mail", "scheduled", 1)]


async def test_workflows_are_found_newest_first_by_state_and_name(clock):
    flows = [graph({"only": ""}, name=name) for name in ("a", "b", "a")]
    for flow in flows:
        await clock.run(flow.enqueue)
    await clock.run(steer.cancel, flows[0].ids())

    async def found(*which, limit=10, before=None):
        return [row.id for row in await clock.read(reading.find_workflows, *which, limit, before)]

    assert await found(None, None) == [flow.id for flow in reversed(flows)]
    assert await found("finished", None) == [flows[0].id]
    assert await found("running", "a") == [flows[2].id]
    assert await found(None, None, limit=1, before=flows[2].id) == [flows[1].id]
