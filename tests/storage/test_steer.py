"""What an operator does: cancel, retry, delete, update, filters, and the settings of queues."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.errors import InvalidJob, NeedsUnmet
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, EXECUTING, RETRYABLE, SCHEDULED, SUSPENDED
from tenuto.outcome import DONE, Discard, Failed, Outcome, Record, Snooze
from tenuto.storage import aftermath, reading, steer, store, upkeep
from tenuto.storage.steer import Changes, Filter
from tests.storage.build import (
    MINUTE,
    NOON,
    SECOND,
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
    workflow_of,
)

OUTCOMES: dict[str, Outcome] = {RETRYABLE: Failed(ValueError("oops")), COMPLETED: DONE, DISCARDED: Discard("no")}


async def job_in(clock, claimer: Claimer, state: str) -> AnyJob:
    """One job in the state asked for."""
    options: dict[str, Any] = {"schedule_in": MINUTE} if state == SCHEDULED else {}
    flow = graph({"a": "", "b": "a"}, **options)
    if state == SUSPENDED:
        await clock.run(flow.enqueue)
        return flow["b"]
    (job,) = await clock.run(store.enqueue, plain(**options))
    if state in OUTCOMES:
        await claimer.end(job, OUTCOMES[state])
    elif state == EXECUTING:
        await claimer.claim()
    elif state == CANCELLED:
        await clock.run(steer.cancel, [job.id])
    assert (await stored(clock, job)).state == state
    return job


# ── cancel ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE])
async def test_a_job_that_waits_is_cancelled_at_once(clock, claimer, state):
    job = await job_in(clock, claimer, state)
    clock.now = NOON + SECOND

    steered = await clock.run(steer.cancel, [job.id])

    after = await stored(clock, job)
    assert (steered.ids, steered.told) == ([job.id], [])
    assert (after.state, after.finished_at) == (CANCELLED, NOON + SECOND)
    assert await reason(clock, job) == "cancelled by an operator"


async def test_a_running_job_is_told(clock, claimer):
    job = await job_in(clock, claimer, EXECUTING)

    steered = await clock.run(steer.cancel, [job.id])

    after = await stored(clock, job)
    assert (steered.ids, steered.told) == ([job.id], [job.id])
    assert (after.state, after.cancel_requested_at) == (EXECUTING, NOON)
    assert await clock.read(upkeep.poll_signals, [claimer.id]) == [(job.id, 1, True)]


async def test_a_running_job_is_told_once(clock, claimer):
    job = await job_in(clock, claimer, EXECUTING)
    await clock.run(steer.cancel, [job.id])

    assert (await clock.run(steer.cancel, [job.id])).ids == []


@pytest.mark.parametrize("state", [COMPLETED, CANCELLED, DISCARDED])
async def test_a_job_that_ended_is_not_cancelled(clock, claimer, tables, state):
    job = await job_in(clock, claimer, state)
    before = tables.all()

    steered = await clock.run(steer.cancel, [job.id])

    assert steered.ids == []
    assert tables.all() == before


async def test_a_cancelled_job_is_never_claimed(clock, claimer):
    job = await job_in(clock, claimer, AVAILABLE)
    await clock.run(steer.cancel, [job.id])

    assert await claimer.claim() == []


async def test_cancelling_a_step_cancels_those_behind_it_and_finishes_the_workflow(clock):
    flow = diamond(name="sync")
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.cancel, flow.ids("top"))

    assert set((await states(clock, flow)).values()) == {CANCELLED}
    assert sorted(steered.settled.ids) == sorted(flow.ids("left", "right", "bottom"))
    assert steered.settled.finished == [aftermath.Finished(flow.id, "sync", "failed", list(flow.jobs))]


async def test_cancelling_a_whole_workflow_at_once_counts_each_step_once(clock):
    flow = diamond()
    await clock.run(flow.enqueue)

    await clock.run(steer.cancel, flow.ids())

    assert (await workflow_of(clock, flow)).cancelled == 4
    assert await complaints(clock) == {}


async def test_cancelling_a_step_releases_one_that_forgives_it(clock):
    flow = graph({"a": "", "b": "a"}, forgive={"b": "cancelled"})
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.cancel, flow.ids("a"))

    assert steered.settled.due == {"default"}
    assert await states(clock, flow) == {"a": CANCELLED, "b": AVAILABLE}


async def test_unknown_ids_are_passed_over(clock):
    for verb in (steer.cancel, steer.retry, steer.delete):
        assert (await clock.run(verb, [new_id()])).ids == []


# ── retry ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [SCHEDULED, RETRYABLE, COMPLETED, CANCELLED, DISCARDED])
async def test_a_job_that_waits_or_ended_is_due_at_once(clock, claimer, state):
    job = await job_in(clock, claimer, state)

    steered = await clock.run(steer.retry, [job.id])

    after = await stored(clock, job)
    assert (steered.ids, steered.settled.due) == ([job.id], {"default"})
    assert (after.state, after.finished_at, after.scheduled_at) == (AVAILABLE, None, NOON)


@pytest.mark.parametrize("state", [SUSPENDED, AVAILABLE, EXECUTING])
async def test_a_job_that_is_due_running_or_waiting_is_left_alone(clock, claimer, tables, state):
    job = await job_in(clock, claimer, state)
    before = tables.all()

    steered = await clock.run(steer.retry, [job.id])

    assert steered.ids == []
    assert tables.all() == before


async def test_a_retried_job_has_room_for_one_more_attempt(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(max_attempts=1))
    await claimer.end(job, Failed(ValueError("oops")))

    await clock.run(steer.retry, [job.id])

    after = await stored(clock, job)
    assert (after.attempt, after.max_attempts) == (1, 2)


async def test_a_retried_job_keeps_its_errors(clock, claimer):
    job = await job_in(clock, claimer, DISCARDED)

    await clock.run(steer.retry, [job.id])

    assert await reason(clock, job) == "no"


async def test_a_job_that_was_told_to_stop_can_run_again(clock, claimer):
    job = await job_in(clock, claimer, EXECUTING)
    await clock.run(steer.cancel, [job.id])
    await claimer.end(job, DONE)

    await clock.run(steer.retry, [job.id])
    await claimer.end(job, DONE)

    assert (await stored(clock, job)).state is COMPLETED


async def test_a_retried_step_revives_its_workflow(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))

    await clock.run(steer.retry, flow.ids("a"))

    row = await workflow_of(clock, flow)
    assert (row.state, row.outcome, row.finished_at) == ("running", None, None)
    assert (row.runs, row.unfinished, row.discarded) == (2, 1, 0)


async def test_a_revived_workflow_finishes_again(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))
    await clock.run(steer.retry, flow.ids("a"))

    settled = await claimer.end_steps(flow, a=DONE)

    assert settled.finished == [aftermath.Finished(flow.id, None, "completed", [], run=2)]
    assert (await workflow_of(clock, flow)).runs == 2


async def test_retrying_several_steps_is_one_more_run(clock, claimer):
    flow = graph({"a": "", "b": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"), b=Discard("no"))

    await clock.run(steer.retry, flow.ids())

    assert (await workflow_of(clock, flow)).runs == 2


async def test_retrying_in_a_live_workflow_is_no_new_run(clock, claimer):
    flow = graph({"a": "", "b": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))

    await clock.run(steer.retry, flow.ids("a"))

    row = await workflow_of(clock, flow)
    assert (row.runs, row.unfinished) == (1, 2)


async def test_a_retry_clears_the_stored_result(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record(1))

    await clock.run(steer.retry, flow.ids("a"))

    assert await clock.read(reading.step, flow.id, "a") == (flow["a"].id, None, None, "worker")


async def test_a_retry_keeps_the_result_when_asked_to(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record(1))

    await clock.run(steer.retry, flow.ids("a"), keep_results=True)

    assert await clock.read(reading.step, flow.id, "a") == (flow["a"].id, None, "1", "worker")


async def test_a_step_whose_need_ended_badly_is_not_retried_alone(clock, claimer, tables):
    flow = graph({"a": "", "b": "a", "c": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"), c=Discard("no"))
    before = tables.all()

    with pytest.raises(NeedsUnmet, match=flow["b"].id):
        await clock.run(steer.retry, flow.ids("c", "b"))

    assert tables.all() == before


async def test_steps_that_cannot_be_retried_are_passed_over_on_wish(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))

    steered = await clock.run(steer.retry, flow.ids(), strict=False)

    assert steered.ids == flow.ids("a")
    assert await states(clock, flow) == {"a": AVAILABLE, "b": CANCELLED}


async def test_a_step_can_be_retried_once_its_need_has_completed(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))
    await clock.run(steer.retry, flow.ids("a"))
    await claimer.end_steps(flow, a=DONE)

    steered = await clock.run(steer.retry, flow.ids("b"))

    assert steered.ids == flow.ids("b")
    assert await states(clock, flow) == {"a": COMPLETED, "b": AVAILABLE}
    assert await complaints(clock) == {}


async def test_a_step_waits_once_more_for_a_need_that_is_run_again(clock, claimer):
    flow = graph({"a": "", "b": "", "c": "a b"})
    await clock.run(flow.enqueue)
    for _ in range(2):
        await claimer.end_steps(flow, a=DONE)
        await clock.run(steer.retry, flow.ids("a"))

    await claimer.end_steps(flow, b=DONE)
    after = await stored(clock, flow["c"])
    assert (after.state, after.waiting_on) == (SUSPENDED, 1)
    assert await complaints(clock) == {}

    await claimer.end_steps(flow, a=DONE)
    assert (await stored(clock, flow["c"])).state == AVAILABLE


async def test_a_step_that_is_retried_while_its_need_runs_again_waits_for_it(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=DONE)
    await claimer.end_steps(flow, b=Discard("no"))
    await clock.run(steer.retry, flow.ids("a"))

    await clock.run(steer.retry, flow.ids("b"))
    assert await states(clock, flow) == {"a": AVAILABLE, "b": SUSPENDED}
    assert await complaints(clock) == {}

    await claimer.end_steps(flow, a=DONE)
    assert await states(clock, flow) == {"a": COMPLETED, "b": AVAILABLE}


async def test_steps_that_are_retried_together_run_in_their_order(clock, claimer):
    flow = chain(3)
    await clock.run(flow.enqueue)
    for step in ("s0", "s1", "s2"):
        await claimer.end_steps(flow, **{step: DONE})

    await clock.run(steer.retry, flow.ids())

    for step in ("s0", "s1", "s2"):
        assert [name for name, state in (await states(clock, flow)).items() if state == AVAILABLE] == [step]
        assert await complaints(clock) == {}
        await claimer.end_steps(flow, **{step: DONE})
    assert (await workflow_of(clock, flow)).outcome == "completed"


async def test_a_step_that_runs_again_does_not_stop_those_behind_it(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=DONE)
    await clock.run(steer.retry, flow.ids("a"))

    await claimer.end_steps(flow, a=Discard("no"), b=DONE)

    assert await states(clock, flow) == {"a": DISCARDED, "b": COMPLETED}
    assert await complaints(clock) == {}


async def test_a_suspect_that_an_operator_retries_is_trusted_again(clock, claimer):
    job = await job_in(clock, claimer, EXECUTING)
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    await clock.run(steer.cancel, [job.id])

    await clock.run(steer.retry, [job.id])

    assert (await stored(clock, job)).suspicions == 0


# ── delete ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE, COMPLETED, CANCELLED, DISCARDED])
async def test_a_job_that_does_not_run_is_deleted(clock, claimer, state):
    job = await job_in(clock, claimer, state)

    steered = await clock.run(steer.delete, [job.id])

    assert steered.ids == [job.id]
    assert not await is_stored(clock, job)


async def test_a_running_job_is_not_deleted(clock, claimer):
    job = await job_in(clock, claimer, EXECUTING)

    assert (await clock.run(steer.delete, [job.id])).ids == []
    assert await is_stored(clock, job)


async def test_deleting_a_whole_workflow_finishes_it(clock):
    flow = diamond()
    await clock.run(flow.enqueue)

    steered = await clock.run(steer.delete, flow.ids())

    assert [finished.outcome for finished in steered.settled.finished] == ["failed"]
    assert set((await states(clock, flow)).values()) == {"deleted"}
    assert await complaints(clock) == {}


# ── update ────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_asked_of_a_job_can_be_changed(clock):
    (job,) = await clock.run(store.enqueue, plain())

    changes = Changes(
        queue="slow",
        args={"n": 2},
        tags=["Late "],
        meta={"by": "me"},
        max_attempts=7,
        priority=9,
        timeout=MINUTE,
    )
    steered = await clock.run(steer.update, [job.id], changes)

    after = await stored(clock, job)
    assert (steered.ids, steered.settled.due) == ([job.id], {"slow"})
    assert (after.queue, after.args, after.tags, after.meta) == ("slow", {"n": 2}, ("late",), {"by": "me"})
    assert (after.max_attempts, after.priority, after.timeout) == (7, 9, MINUTE)


async def test_what_is_not_named_stays_as_it_is(clock):
    (job,) = await clock.run(store.enqueue, plain(meta={"a": 1}, tags=("x",), timeout=MINUTE))

    await clock.run(steer.update, [job.id], {"priority": 1})

    assert await stored(clock, job) == job.replace(priority=1)


async def test_the_identifiers_of_a_workflow_stay_in_meta(clock):
    (job,) = plain()
    await clock.run(store.enqueue, [job.replace(meta={"workflow_id": "w", "old": 1})])

    await clock.run(steer.update, [job.id], {"meta": {"new": 2}})

    assert (await stored(clock, job)).meta == {"new": 2, "workflow_id": "w"}


async def test_a_due_job_can_be_put_off(clock, claimer):
    job = await job_in(clock, claimer, AVAILABLE)

    await clock.run(steer.update, [job.id], {"schedule_in": MINUTE})

    after = await stored(clock, job)
    assert (after.state, after.scheduled_at) == (SCHEDULED, NOON + MINUTE)


async def test_a_scheduled_job_can_be_made_due(clock, claimer):
    job = await job_in(clock, claimer, SCHEDULED)

    steered = await clock.run(steer.update, [job.id], {"scheduled_at": NOON})

    assert steered.settled.due == {"default"}
    assert (await stored(clock, job)).state is AVAILABLE


@pytest.mark.parametrize("state", [SUSPENDED, RETRYABLE])
async def test_a_new_time_leaves_a_job_waiting_for_what_it_waits_for(clock, claimer, state):
    job = await job_in(clock, claimer, state)

    await clock.run(steer.update, [job.id], {"schedule_in": 0})

    after = await stored(clock, job)
    assert (after.state, after.scheduled_at) == (state, NOON)


@pytest.mark.parametrize("state", [EXECUTING, COMPLETED, CANCELLED, DISCARDED])
async def test_a_job_that_runs_or_ended_is_not_changed(clock, claimer, tables, state):
    job = await job_in(clock, claimer, state)
    before = tables.all()

    steered = await clock.run(steer.update, [job.id], {"priority": 9})

    assert steered.ids == []
    assert tables.all() == before


@pytest.mark.parametrize(
    "changes", [{"priority": 10}, {"timeout": -1}, {"queue": ""}, {"max_attempts": 0}, {"colour": "red"}], ids=str
)
async def test_a_value_out_of_range_changes_nothing(clock, tables, changes):
    (job,) = await clock.run(store.enqueue, plain())
    before = tables.all()

    with pytest.raises(InvalidJob):
        await clock.run(steer.update, [job.id], changes)

    assert tables.all() == before


# ── filters ───────────────────────────────────────────────────────────────────────────────────────


async def matched(clock, which: Filter) -> list[str]:
    return [id async for id in _all(clock, which)]


async def _all(clock, which: Filter):
    after = None
    while batch := await clock.read(steer.match, which, after):
        for id in batch:
            yield id
        after = batch[-1]


@pytest.mark.parametrize(
    ("which", "options"),
    [
        (Filter(queue="mail"), {"queue": "mail"}),
        (Filter(tag="red"), {"tags": ("blue", "red")}),
        (Filter(states=["scheduled"]), {"schedule_in": MINUTE}),
        (
            Filter(states=["scheduled"], queue="mail", tag="red"),
            {"queue": "mail", "tags": ("red",), "schedule_in": MINUTE},
        ),
    ],
    ids=str,
)
async def test_a_filter_names_the_jobs_that_fit_it(clock, which, options):
    (wanted,) = plain(**options)
    await clock.run(store.enqueue, [wanted, *plain(3, tags=("infrared", "reds"))])

    assert await matched(clock, which) == [wanted.id]
    assert [job.id for job in await clock.read(reading.find, which, 10)] == [wanted.id]


async def test_a_filter_by_worker_and_by_workflow(clock):
    flow = diamond()
    await clock.run(flow.enqueue)
    await clock.run(store.enqueue, plain(2))

    assert await matched(clock, Filter(workflow_id=flow.id)) == sorted(flow.ids())
    assert await matched(clock, Filter(worker="nobody")) == []
    assert len(await matched(clock, Filter(worker="worker"))) == 6


async def test_a_tag_with_quotes_is_found(clock):
    (wanted, *_) = jobs = [*plain(tags=('say "x"',)), *plain(tags=("x",)), *plain(tags=("xy",))]
    await clock.run(store.enqueue, jobs)

    assert await matched(clock, Filter(tag='say "x"')) == [wanted.id]
    assert len(await matched(clock, Filter(tag="x"))) == 1


async def test_snoozed_jobs_are_found_by_their_state(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.end(job, Snooze(60))

    assert await matched(clock, Filter(states=[SCHEDULED])) == [job.id]


async def test_a_filter_names_its_jobs_in_batches(clock):
    jobs = plain(steer.BATCH + 1)
    await clock.run(store.enqueue, jobs)

    assert await matched(clock, Filter(queue="default")) == sorted(job.id for job in jobs)


async def test_jobs_are_found_newest_first_a_page_at_a_time(clock):
    jobs = sorted(job.id for job in await clock.run(store.enqueue, plain(5)))

    first = [job.id for job in await clock.read(reading.find, Filter(), 3)]
    second = [job.id for job in await clock.read(reading.find, Filter(), 3, first[-1])]

    assert first + second == jobs[::-1]


# ── queues ────────────────────────────────────────────────────────────────────────────────────────


async def settings_of(clock, queue: str = "mail", node: str = "node-1") -> tuple[bool, bool | None, int | None]:
    """What a node learns of a queue: whether it is paused, whether it shall run, its slots."""
    (poll,) = [poll for poll in await clock.read(upkeep.poll, node, [queue]) if poll.name == queue]
    return poll.paused, poll.running, poll.slots


async def test_a_queue_that_nobody_touched_has_no_settings(clock):
    assert await settings_of(clock) == (False, None, None)
    assert await clock.read(reading.queues) == []


async def test_a_pause_is_kept_and_taken_back(clock):
    await clock.run(steer.set_queue, "mail", paused=True)
    paused = await settings_of(clock)
    await clock.run(steer.set_queue, "mail", paused=False)

    assert paused == (True, None, None)
    assert await settings_of(clock) == (False, None, None)


async def test_a_scale_is_kept_and_forgotten(clock):
    await clock.run(steer.set_queue, "mail", scaled=True, slots=5)
    scaled = await settings_of(clock)
    await clock.run(steer.set_queue, "mail", scaled=True, slots=None)

    assert scaled == (False, None, 5)
    assert await settings_of(clock) == (False, None, None)


async def test_one_setting_leaves_the_others(clock):
    await clock.run(steer.set_queue, "mail", scaled=True, slots=5)
    await clock.run(steer.set_queue, "mail", paused=True)
    await clock.run(steer.set_queue, "mail", running=True)
    await clock.run(steer.set_queue, "mail", scaled=True, slots=0)

    assert await settings_of(clock) == (True, True, 0)


async def test_one_node_can_be_told_alone(clock):
    await clock.run(steer.set_queue, "mail", node="node-1", paused=True, scaled=True, slots=1)

    assert await settings_of(clock, node="node-1") == (True, None, 1)
    assert await settings_of(clock, node="node-2") == (False, None, None)


async def test_what_all_nodes_are_told_replaces_what_one_was_told(clock):
    await clock.run(steer.set_queue, "mail", node="node-1", paused=True, scaled=True, slots=1)

    await clock.run(steer.set_queue, "mail", paused=False)

    assert await settings_of(clock, node="node-1") == (False, None, 1)


async def test_a_node_learns_of_a_queue_it_was_told_to_start(clock):
    await clock.run(steer.set_queue, "extra", node="node-1", running=True)

    assert [poll.name for poll in await clock.read(upkeep.poll, "node-1", [])] == ["extra"]
    assert await clock.read(upkeep.poll, "node-2", []) == []


async def test_the_settings_of_every_queue_can_be_read(clock):
    await clock.run(steer.set_queue, "mail", paused=True)
    await clock.run(steer.set_queue, "mail", node="node-1", scaled=True, slots=2)

    assert await clock.read(reading.queues) == [
        reading.QueueSettings("mail", "", True, None, None),
        reading.QueueSettings("mail", "node-1", None, None, 2),
    ]
