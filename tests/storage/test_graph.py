"""What an ending means for the steps behind it: release, forgiveness, cascade, and the workflow's counts."""

from __future__ import annotations

import asyncio

import pytest

from tenuto.graph import Head
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, EXECUTING, RETRYABLE, SCHEDULED, SUSPENDED
from tenuto.outcome import DONE, Cancel, Discard, Failed, Record, Snooze, settle
from tenuto.storage import aftermath, reading, steer, store, upkeep, upstream
from tests.storage.build import (
    MINUTE,
    NOON,
    SECOND,
    chain,
    complaints,
    diamond,
    fan_in,
    graph,
    is_stored,
    reason,
    states,
    stored,
    workflow_of,
)

BAD = {"cancelled": Cancel("no"), "discarded": Discard("no")}


@pytest.fixture(autouse=True)
async def nothing_is_wrong_in_the_end(database):
    """Whatever happened: the doctor finds nothing."""
    yield
    assert await complaints(database) == {}


# ── release ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_is_due_once_its_need_completed(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)

    settled = await claimer.end_steps(flow, top=DONE)

    assert settled.due == {"default"}
    assert await states(clock, flow) == {
        "top": COMPLETED,
        "left": AVAILABLE,
        "right": AVAILABLE,
        "bottom": SUSPENDED,
    }


async def test_a_join_waits_for_every_branch(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, top=DONE)

    await claimer.end_steps(flow, left=DONE)
    before = await stored(clock, flow["bottom"])
    await claimer.end_steps(flow, right=DONE)

    assert (before.state, before.waiting_on) == (SUSPENDED, 1)
    after = await stored(clock, flow["bottom"])
    assert (after.state, after.waiting_on) == (AVAILABLE, 0)


async def test_two_parents_in_one_batch_release_their_child(clock, claimer):
    flow = fan_in(2)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, p0=DONE, p1=DONE)

    assert await states(clock, flow) == {"p0": COMPLETED, "p1": COMPLETED, "join": AVAILABLE}


async def test_a_thousand_parents_release_their_child_once(clock, claimer):
    flow = fan_in(1000)
    await clock.run(flow.enqueue)
    jobs = await claimer.claim()

    *_, final = [
        await claimer.give_back(*[settle(job, DONE) for job in jobs[at : at + 250]]) for at in (0, 250, 500, 750)
    ]

    assert final.due == {"default"}
    assert [job.id for job in await claimer.claim()] == flow.ids("join")


async def test_a_step_with_a_later_time_of_its_own_is_scheduled_by_its_release(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    later = flow["b"].replace(scheduled_at=NOON + MINUTE)
    await clock.run(store.enqueue_workflow, Head(flow.id), [flow["a"], later], flow.nodes, flow.edges)

    settled = await claimer.end_steps(flow, a=DONE)

    assert settled.due == set()
    assert (await stored(clock, later)).state is SCHEDULED


async def test_a_time_that_passed_while_it_waited_holds_nothing_up(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    later = flow["b"].replace(scheduled_at=NOON + SECOND)
    await clock.run(store.enqueue_workflow, Head(flow.id), [flow["a"], later], flow.nodes, flow.edges)
    clock.now = NOON + SECOND

    await claimer.end_steps(flow, a=DONE)

    assert (await stored(clock, later)).state is AVAILABLE


@pytest.mark.parametrize("outcome", [Snooze(60), Failed(ValueError("oops"))], ids=["snooze", "failure"])
async def test_nothing_is_released_before_the_need_has_ended(clock, claimer, outcome):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=outcome)

    assert (await stored(clock, flow["b"])).state is SUSPENDED


async def test_acks_sent_again_change_nothing(clock, claimer, tables):
    flow = diamond()
    await clock.run(flow.enqueue)
    acks = [settle(job, Record(1)) for job in await claimer.claim()]
    await claimer.give_back(*acks)
    before = tables.all()

    again = await claimer.give_back(*acks)

    assert again == aftermath.Settled([], set(), [])
    assert tables.all() == before


async def test_a_pruned_need_still_counts(clock, claimer):
    flow = fan_in(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, p0=Record("kept"))
    clock.now = NOON + SECOND
    await clock.run(upkeep.prune_jobs, SECOND)
    gone = not await is_stored(clock, flow["p0"])

    await claimer.end_steps(flow, p1=DONE)

    (join,) = await claimer.claim()
    assert gone
    assert (await clock.read(upstream.needs, [join]))[join.id].results == {"p0": '"kept"', "p1": None}


# ── cascade ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", BAD)
async def test_a_need_that_ended_badly_cancels_the_step(clock, claimer, ending):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    clock.now = NOON + SECOND

    await claimer.end_steps(flow, a=BAD[ending])

    after = await stored(clock, flow["b"])
    assert (after.state, after.finished_at) == (CANCELLED, NOON + SECOND)


@pytest.mark.parametrize("ending", BAD)
async def test_the_reason_names_the_step_and_not_what_it_said(clock, claimer, ending):
    flow = graph({"fetch": "", "b": "fetch"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, fetch=BAD[ending])

    assert await reason(clock, flow["b"]) == f"it needs step fetch, which was {ending}"


async def test_a_step_name_with_quotes_is_spelled_in_the_reason(clock, claimer):
    name = 'say_"hi"\\→ünï'
    flow = graph({name: "", "b": name})
    await clock.run(flow.enqueue)

    await claimer.end(flow[name], Discard("no"))

    assert await reason(clock, flow["b"]) == f"it needs step {name}, which was discarded"


async def test_a_cascade_reaches_the_whole_way_down(clock, claimer):
    flow = chain(60)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, s0=Discard("no"))

    assert set((await states(clock, flow)).values()) == {"discarded", "cancelled"}
    assert await reason(clock, flow["s1"]) == "it needs step s0, which was discarded"
    assert await reason(clock, flow["s59"]) == "it needs step s58, which was cancelled"


async def test_a_cascade_goes_once_through_a_dense_graph(clock, claimer):
    names = [f"s{nth}" for nth in range(30)]
    flow = graph({name: " ".join(names[:nth]) for nth, name in enumerate(names)})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, s0=Cancel("no"))

    assert {len((await stored(clock, job)).errors) for job in flow.jobs.values()} == {1}
    assert (await workflow_of(clock, flow)).cancelled == 30


async def test_a_cascade_leaves_other_branches_alone(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, top=DONE)

    await claimer.end_steps(flow, left=Discard("no"))

    assert await states(clock, flow) == {
        "top": COMPLETED,
        "left": "discarded",
        "right": EXECUTING,
        "bottom": CANCELLED,
    }


async def test_of_two_bad_endings_in_one_batch_one_is_the_reason(clock, claimer):
    flow = fan_in(2)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, p0=Discard("no"), p1=Cancel("no"))

    assert len((await stored(clock, flow["join"])).errors) == 1
    assert (await workflow_of(clock, flow)).finished_at == NOON


async def test_a_good_and_a_bad_ending_in_one_batch_cancel(clock, claimer):
    flow = fan_in(2)
    await clock.run(flow.enqueue)

    settled = await claimer.end_steps(flow, p0=DONE, p1=Discard("no"))

    assert settled.due == set()
    assert (await stored(clock, flow["join"])).state is CANCELLED


async def test_what_an_operator_cancelled_while_it_ran_cascades_when_it_ends(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.claim()
    await clock.run(steer.cancel, flow.ids("top"))
    before = await states(clock, flow)

    await claimer.end_steps(flow, top=DONE)

    assert before["left"] == SUSPENDED
    assert set((await states(clock, flow)).values()) == {"cancelled"}


# ── forgiveness ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", BAD)
async def test_an_edge_forgives_the_ending_it_names(clock, claimer, ending):
    flow = graph({"a": "", "b": "a"}, forgive={"b": ending})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=BAD[ending])

    assert (await stored(clock, flow["b"])).state is AVAILABLE


async def test_an_edge_forgives_a_deletion_it_names(clock):
    flow = graph({"a": "", "b": "a"}, forgive={"b": "deleted"})
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.delete, flow.ids("a"))

    assert steered.settled.due == {"default"}
    assert await states(clock, flow) == {"a": "deleted", "b": AVAILABLE}


@pytest.mark.parametrize(("ending", "others"), [("cancelled", "discarded deleted"), ("discarded", "cancelled deleted")])
async def test_an_edge_forgives_no_other_ending(clock, claimer, ending, others):
    flow = graph({"a": "", "b": "a"}, forgive={"b": others})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=BAD[ending])

    assert (await stored(clock, flow["b"])).state is CANCELLED


async def test_a_deletion_that_is_not_forgiven_cancels(clock):
    flow = graph({"a": "", "b": "a", "c": "b"}, forgive={"b": "cancelled discarded"})
    await clock.run(flow.enqueue)

    await clock.run(steer.delete, flow.ids("a"))

    assert await states(clock, flow) == {"a": "deleted", "b": CANCELLED, "c": CANCELLED}
    assert await reason(clock, flow["b"]) == "it needs step a, which was deleted"


async def test_one_of_two_steps_may_forgive(clock, claimer):
    flow = graph({"a": "", "strict": "a", "mild": "a"}, forgive={"mild": "discarded"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=Discard("no"))

    assert await states(clock, flow) == {"a": "discarded", "strict": CANCELLED, "mild": AVAILABLE}


async def test_a_cascade_is_stopped_by_a_step_that_forgives(clock, claimer):
    flow = graph({"a": "", "b": "a", "c": "b", "cleanup": "c", "after": "cleanup"}, forgive={"cleanup": "cancelled"})
    await clock.run(flow.enqueue)

    settled = await claimer.end_steps(flow, a=Discard("no"))

    assert settled.due == {"default"}
    assert await states(clock, flow) == {
        "a": "discarded",
        "b": CANCELLED,
        "c": CANCELLED,
        "cleanup": AVAILABLE,
        "after": SUSPENDED,
    }


async def test_a_step_that_forgives_one_way_is_cancelled_by_another(clock, claimer):
    flow = graph({"a": "", "b": "a", "end": "a b"}, forgive={"end": "discarded"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=Discard("no"))

    assert await states(clock, flow) == {"a": "discarded", "b": CANCELLED, "end": CANCELLED}
    assert await reason(clock, flow["end"]) == "it needs step b, which was cancelled"


async def test_a_forgiving_join_waits_for_all_of_its_needs(clock, claimer):
    flow = graph({"a": "", "b": "", "end": "a b"}, forgive={"end": "cancelled discarded deleted"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=Discard("no"))
    before = await states(clock, flow)
    await claimer.end_steps(flow, b=DONE)

    assert before["end"] == SUSPENDED
    assert (await states(clock, flow))["end"] == AVAILABLE


async def test_a_deletion_in_the_middle_of_a_forgiving_chain_releases(clock, claimer):
    flow = graph({"a": "", "b": "a", "c": "b"}, forgive={"c": "deleted"})
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.delete, flow.ids("b"))

    assert steered.settled.due == {"default"}
    assert await states(clock, flow) == {"a": AVAILABLE, "b": "deleted", "c": AVAILABLE}


# ── the workflow ──────────────────────────────────────────────────────────────────────────────────


async def test_a_workflow_is_finished_by_its_last_step_and_told_once(clock, claimer):
    flow = diamond(name="sync")
    await clock.run(flow.enqueue)

    told = [
        await claimer.end_steps(flow, top=DONE),
        await claimer.end_steps(flow, left=DONE, right=DONE),
        await claimer.end_steps(flow, bottom=DONE),
        await clock.run(store.ack, [settle(flow["bottom"], DONE)]),
    ]

    assert [settled.finished for settled in told] == [
        [],
        [],
        [aftermath.Finished(flow.id, "sync", "completed", [])],
        [],
    ]
    row = await workflow_of(clock, flow)
    assert (row.state, row.outcome, row.completed, row.unfinished) == ("finished", "completed", 4, 0)


async def test_a_workflow_with_a_failed_step_has_failed_and_names_the_steps(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, top=DONE)

    settled = await claimer.end_steps(flow, left=DONE, right=Discard("no"))

    assert settled.finished == [aftermath.Finished(flow.id, None, "failed", ["right", "bottom"])]


async def test_a_failure_that_was_forgiven_still_fails_the_workflow(clock, claimer):
    flow = graph({"a": "", "b": "a"}, forgive={"b": "discarded"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))

    settled = await claimer.end_steps(flow, b=DONE)

    assert settled.finished == [aftermath.Finished(flow.id, None, "failed", ["a"])]


async def test_a_deleted_step_fails_the_workflow(clock, claimer):
    flow = graph({"a": "", "b": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=DONE)
    await claimer.end_steps(flow, b=Snooze(60))

    steered = await clock.run(steer.delete, flow.ids("b"))

    assert steered.settled.finished == [aftermath.Finished(flow.id, None, "failed", ["b"])]


async def test_deleting_a_step_that_ended_changes_no_fate(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=DONE)

    await clock.run(steer.delete, flow.ids("a"))

    assert await states(clock, flow) == {"a": COMPLETED, "b": AVAILABLE}


async def test_steps_are_counted_by_their_fates(clock, claimer):
    flow = graph({"done": "", "bad": "", "behind": "bad", "gone": "behind", "open": ""}, forgive={"gone": "cancelled"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, done=DONE, bad=Discard("no"))
    await clock.run(steer.delete, flow.ids("gone"))

    row = await workflow_of(clock, flow)
    assert (row.completed, row.discarded, row.cancelled, row.deleted, row.unfinished) == (1, 1, 1, 1, 1)


async def test_one_batch_may_finish_several_workflows(clock, claimer):
    flows = [graph({"only": ""}, name=f"flow {nth}") for nth in range(5)]
    for flow in flows:
        await clock.run(flow.enqueue)
    jobs = await claimer.claim()

    settled = await claimer.give_back(*[settle(job, DONE) for job in jobs])

    assert sorted(finished.id for finished in settled.finished) == sorted(flow.id for flow in flows)


async def test_the_names_of_failed_steps_stop_at_a_hundred(clock):
    flow = graph({f"s{nth}": "" for nth in range(120)})
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.cancel, flow.ids())

    (finished,) = steered.settled.finished
    assert finished.failed == [f"s{nth}" for nth in range(100)]


async def test_plain_jobs_and_steps_are_settled_in_one_batch(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    (alone,) = await clock.run(store.enqueue, [flow["a"].replace(id=flow.id, workflow_id=None, has_dependents=False)])

    await claimer.give_back(*[settle(job, DONE) for job in await claimer.claim()])

    assert (await stored(clock, alone)).state is COMPLETED
    assert (await states(clock, flow))["b"] == AVAILABLE


async def test_a_failed_attempt_on_the_way_is_no_ending(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end(flow["a"], Failed(ValueError("oops")), backoff=0)
    await clock.run(upkeep.stage)
    (again,) = await claimer.claim()

    await claimer.end(again, DONE)

    assert again.attempt == 2
    assert await states(clock, flow) == {"a": COMPLETED, "b": AVAILABLE}


async def test_many_branches_settled_at_the_same_time_release_their_join_once(clock, claimer):
    flow = fan_in(40)
    await clock.run(flow.enqueue)
    jobs = await claimer.claim()

    answers = await asyncio.gather(*[claimer.give_back(settle(job, DONE)) for job in jobs])

    assert [answer.due for answer in answers if answer.due] == [{"default"}]
    assert (await states(clock, flow))["join"] == AVAILABLE


async def test_a_step_waits_out_its_own_backoff(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=Failed(ValueError("oops")))

    assert await states(clock, flow) == {"a": RETRYABLE}
    assert (await clock.read(reading.steps, flow.id))[0]["fate"] is None
