"""Signals: a job begins to wait for one, and no order of things leaves it waiting when that has come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import pytest

from tenuto.errors import JobEnded, JobNotFound, StorageBusy, WorkflowFinished, WorkflowNotFound
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, EXECUTING, SCHEDULED
from tenuto.outcome import DONE, Ack, Failed, Outcome, Snooze, settle
from tenuto.storage import overdue, signals, steer, store, upkeep
from tenuto.storage.database import Database
from tenuto.waits import Waits
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    AnyJob,
    Claimer,
    Flow,
    complaints,
    graph,
    is_stored,
    new_id,
    plain,
    reason,
    states,
    stored,
    workflow_of,
)
from tests.storage.conftest import only_on_postgres

RACES = int(os.environ.get("TENUTO_SIGNAL_RACES", "200"))
AT_ONCE = 10

GO = Waits({"go": None})
A_MINUTE = Waits({"go": MINUTE})


@pytest.fixture
async def job(clock) -> AnyJob:
    """One job that is due."""
    (one,) = await clock.run(store.enqueue, plain())
    return one


async def look(database: Database, job: AnyJob, *names: str) -> signals.Found:
    return await database.read(signals.look, job.id, job.workflow_id or job.id, names or ["go"])


# ── it begins to wait ─────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_waits_for_ever_is_scheduled_far_away_and_has_spent_nothing(clock, claimer, job):
    settled = await claimer.end(job, GO)

    after = await stored(clock, job)
    assert settled.ids == [job.id]
    assert (after.state, after.attempt, after.snoozes, after.errors) == (SCHEDULED, 0, 0, ())
    assert after.scheduled_at is not None
    assert after.scheduled_at.year == 2999
    assert await clock.read(signals.waits, job.id) == [("go", None)]


async def test_it_is_due_when_the_first_of_its_times_is_over(clock, claimer, job):
    await claimer.end(job, Waits({"go": 2 * MINUTE, "stop": MINUTE, "other": None}))

    assert (await stored(clock, job)).scheduled_at == NOON + MINUTE


async def test_the_first_time_counts_however_often_it_begins_to_wait(clock, claimer, job):
    await claimer.end(job, A_MINUTE)
    await clock.run(steer.retry, [job.id])
    clock.now = NOON + 10 * SECOND

    await claimer.end(job, Waits({"go": DAY}))

    assert (await stored(clock, job)).scheduled_at == NOON + MINUTE


async def test_a_signal_that_is_there_already_makes_it_due_at_once(clock, claimer, job):
    await claimer.claim()
    await clock.run(signals.send, job.id, "go", "1")

    settled = await claimer.end(job, GO)

    assert settled.due == {"default"}
    assert (await stored(clock, job)).state is AVAILABLE


async def test_an_attempt_that_was_taken_back_does_not_wait(clock, claimer, job):
    stale = await claimer.claimed(job)
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    heir = await Claimer(clock, "heir").start()
    (held,) = await heir.claim_suspect()

    settled = await claimer.give_back(settle(stale, GO))

    assert settled.ids == []
    assert (held.epoch, (await stored(clock, job)).state) == (stale.epoch + 2, EXECUTING)
    assert await clock.read(signals.waits, job.id) == []


async def test_an_operator_who_cancelled_it_meanwhile_is_heard(clock, claimer, job):
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])

    await claimer.end(job, GO)

    assert (await stored(clock, job)).state is CANCELLED
    assert await reason(clock, job) == "cancelled by an operator"


async def test_a_step_that_waits_beside_steps_that_end_is_one_batch(clock, claimer):
    flow = graph({"a": "", "b": "", "c": "a b"})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=GO, b=DONE)

    assert await states(clock, flow) == {"a": SCHEDULED, "b": COMPLETED, "c": "suspended"}
    assert (await workflow_of(clock, flow)).unfinished == 2
    assert await complaints(clock) == {}


async def test_a_link_that_waits_keeps_its_place_in_its_chain(clock, claimer):
    first, second = await clock.run(store.enqueue, plain(2, chain_key="chain"))

    await claimer.end(first, GO)
    assert await claimer.claim() == []
    await clock.run(signals.send, first.id, "go", "1")

    assert [job.id for job in await claimer.claim()] == [first.id]
    await claimer.end(first, DONE)
    assert (await stored(clock, second)).state is AVAILABLE


# ── a signal comes ────────────────────────────────────────────────────────────────────────────────


async def test_a_signal_wakes_who_waits_for_it_and_nobody_else(clock, claimer):
    waiting, other, snoozing = await clock.run(store.enqueue, plain(3))
    await claimer.end(waiting, GO)
    await claimer.end(other, Waits({"stop": None}))
    await claimer.end(snoozing, Snooze(60))
    clock.now = NOON + SECOND

    sent = [await clock.run(signals.send, job.id, "go", "1") for job in (waiting, other, snoozing)]

    assert [each.settled.ids for each in sent] == [[waiting.id], [], []]
    assert sent[0].settled.due == {"default"}
    after = await stored(clock, waiting)
    assert (after.state, after.scheduled_at) == (AVAILABLE, clock.now)


async def test_a_job_that_snoozes_after_a_wait_is_not_woken_by_what_it_waited_for(clock, claimer, job):
    await claimer.end(job, GO)
    await clock.run(steer.retry, [job.id])
    await claimer.end(job, Snooze(60))

    await clock.run(signals.send, job.id, "go", "1")

    assert (await stored(clock, job)).state is SCHEDULED


async def test_the_first_signal_of_a_name_counts(clock, job):
    first = await clock.run(signals.send, job.id, "go", "1")
    second = await clock.run(signals.send, job.id, "go", "2")

    assert (first.is_first, second.is_first) == (True, False)
    assert await look(clock, job) == ("go", "1", [])


async def test_a_signal_of_a_workflow_is_for_all_of_its_steps(clock, claimer):
    flow = graph({"a": "", "b": "", "c": "a"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=GO, b=GO)

    sent = await clock.run(signals.send, flow["b"].id, "go", "1")  # a step's is its workflow's

    assert sorted(sent.settled.ids) == flow.ids("a", "b")
    assert (await look(clock, flow["c"])).value == "1"


async def test_names_are_told_apart_to_the_last_letter(clock, job):
    await clock.run(signals.send, job.id, "go", "1")

    assert (await look(clock, job, "Go", "go ", "gó")).value is None


async def test_of_several_that_came_the_first_is_received(clock, job):
    for nth, name in enumerate(("stop", "go")):
        clock.now = NOON + nth * SECOND
        await clock.run(signals.send, job.id, name, f'"{name}"')

    assert await look(clock, job, "go", "stop") == ("stop", '"stop"', [])


async def test_who_is_not_there_or_has_ended_hears_nothing(clock, claimer, job):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=DONE)
    await claimer.end(job, DONE)
    nobody = new_id()

    for target, refusal in (
        (nobody, WorkflowNotFound),
        (flow.id, WorkflowFinished),
        (flow["a"].id, WorkflowFinished),
        (job.id, JobEnded),
    ):
        with pytest.raises(refusal, match=f"{target if target != flow['a'].id else flow.id}"):
            await clock.run(signals.send, target, "go", "1")
    with pytest.raises(JobNotFound):
        await clock.run(signals.send, nobody, "go", "1", is_job=True)


# ── in time, or not ───────────────────────────────────────────────────────────────────────────────


async def test_a_signal_after_the_time_is_late_for_ever(clock, claimer, job):
    await claimer.end(job, A_MINUTE)
    clock.now = NOON + MINUTE + SECOND
    await clock.run(signals.send, job.id, "go", "1")

    assert await look(clock, job) == (None, None, [])
    assert await clock.run(signals.time_out, job.id, job.id, ["go"]) == (None, None, [])
    clock.now = NOON
    assert await look(clock, job) == (None, None, [])


async def test_one_that_came_in_time_is_received_however_late_it_is_looked_for(clock, claimer, job):
    await claimer.end(job, A_MINUTE)
    clock.now = NOON + MINUTE
    await clock.run(signals.send, job.id, "go", "1")
    clock.now = NOON + DAY

    assert await look(clock, job) == ("go", "1", [])
    assert await clock.run(signals.time_out, job.id, job.id, ["go"]) == ("go", "1", [])


async def test_what_timed_out_is_not_taken_back_by_a_signal_that_was_on_its_way(clock, claimer, job, tables):
    """Its instant may be before the end of the time, and its commit after it."""
    await claimer.end(job, A_MINUTE)
    clock.now = NOON + MINUTE
    assert await clock.run(signals.time_out, job.id, job.id, ["go"]) == (None, None, [])

    await clock.run(signals.send, job.id, "go", "1")  # at the last instant of it

    assert await look(clock, job) == (None, None, [])


async def test_a_wait_whose_time_is_over_is_staged_as_any_job(clock, claimer, job):
    await claimer.end(job, A_MINUTE)
    clock.now = NOON + MINUTE

    assert await clock.run(upkeep.stage) == ["default"]

    assert (await stored(clock, job)).state is AVAILABLE


# ── what else may become of who waits ─────────────────────────────────────────────────────────────


async def test_who_waits_is_cancelled_at_once(clock, claimer, job):
    await claimer.end(job, GO)

    await clock.run(steer.cancel, [job.id])

    assert (await stored(clock, job)).state is CANCELLED
    with pytest.raises(JobEnded):
        await clock.run(signals.send, job.id, "go", "1")


async def test_who_waits_past_its_deadline_is_cancelled(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain(deadline=MINUTE))
    await claimer.end(job, GO)
    clock.now = NOON + 2 * MINUTE

    await clock.run(overdue.cancel_overdue, await clock.read(overdue.overdue))

    assert (await stored(clock, job)).state is CANCELLED


async def test_what_a_job_was_told_goes_with_it(clock, claimer, tables):
    deleted, pruned, stays = await clock.run(store.enqueue, plain(3))
    for job in (deleted, pruned, stays):
        await claimer.end(job, GO)
        await clock.run(signals.send, job.id, "go", "1")

    await clock.run(steer.delete, [deleted.id])
    await claimer.end(pruned, DONE)
    clock.now = NOON + DAY
    await clock.run(upkeep.prune_jobs, MINUTE)

    assert not await is_stored(clock, pruned)
    assert [row["owner_id"] for row in tables.rows("select owner_id from signals")] == [stays.id]
    assert [row["job_id"] for row in tables.rows("select job_id from signal_waits")] == [stays.id]


async def test_what_a_workflow_was_told_is_kept_until_it_is_pruned(clock, claimer, tables):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=GO)
    await clock.run(signals.send, flow.id, "go", "1")
    await claimer.end_steps(flow, a=DONE)
    clock.now = NOON + DAY

    await clock.run(upkeep.prune_jobs, MINUTE)
    assert (await look(clock, flow["a"])).value == "1"
    await clock.run(upkeep.prune_workflows, MINUTE)

    assert tables.rows("select owner_id from signals") == []
    assert tables.rows("select job_id from signal_waits") == []


async def test_a_retry_hears_the_same_again(clock, claimer):
    flow = graph({"a": "", "b": ""})
    await clock.run(flow.enqueue)
    await clock.run(signals.send, flow.id, "go", "1")
    await claimer.end(flow["a"], Failed(ValueError()))
    await clock.run(steer.retry, flow.ids("a"))

    assert (await look(clock, flow["a"])).value == "1"


# ── no signal is missed ───────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(300)
async def test_a_job_that_begins_to_wait_while_the_signal_comes_is_woken(database: Database, open_database):
    jobs = await database.run(store.enqueue, plain(RACES))
    await _race(database, await open_database(), [(job, job.id) for job in jobs])


@pytest.mark.timeout(300)
async def test_a_step_that_begins_to_wait_while_the_signal_comes_is_woken(database: Database, open_database):
    flows = [graph({"a": "", "b": ""}) for _ in range(RACES // 2)]
    for flow in flows:
        await database.run(flow.enqueue)
    await _race(database, await open_database(), [(flow[step], flow.id) for flow in flows for step in ("a", "b")])


async def _race(ours: Database, theirs: Database, pairs: list[tuple[AnyJob, str]]) -> None:
    """On one connection each job begins to wait, on another one its signal is sent."""
    claimer = await Claimer(ours).start(10 * MINUTE)
    await claimer.claim(len(pairs))

    async def race(job: AnyJob, owner: str) -> None:
        acks = [settle(claimer.held[job.id], GO)]
        await asyncio.gather(ours.run(store.ack, acks, "10s"), theirs.run(signals.send, owner, "go", "1"))

    races = (race(*pair) for pair in pairs)
    while some := list(islice(races, AT_ONCE)):
        await asyncio.gather(*some)

    asleep = [job for job, _ in pairs if (await stored(ours, job)).state is not AVAILABLE]
    assert asleep == []


@only_on_postgres
async def test_a_signal_is_not_sent_past_a_job_that_another_session_holds(database: Database, tables):
    """It is refused as a whole, and may be sent again."""
    flow = graph({"a": ""})
    await database.run(flow.enqueue)
    claimer = await Claimer(database).start()
    await claimer.end_steps(flow, a=GO)

    tables.execute("begin")
    tables.execute("select id from jobs where id = ? for update", flow["a"].id)
    with pytest.raises(StorageBusy):
        await database.run(signals.send, flow.id, "go", "1")
    tables.execute("rollback")
    sent = await database.run(signals.send, flow.id, "go", "1")

    assert (sent.is_first, sent.settled.ids) == (True, flow.ids("a"))


async def test_batches_that_wait_and_end_across_the_same_workflows_take_turns(database: Database, open_database):
    """Each locks its workflows at once: in whatever order it comes to them, nobody waits in a circle."""
    theirs = await open_database()
    flows = [graph({"a": "", "b": "", "c": "", "d": ""}) for _ in range(10)]
    for flow in flows:
        await database.run(flow.enqueue)
    claimer = await Claimer(database).start(10 * MINUTE)
    await claimer.claim()

    def batch(waiting: str, ending: str, order: Iterable[Flow]) -> list[Ack]:
        steps: list[tuple[str, Outcome]] = [(waiting, GO), (ending, DONE)]
        return [
            settle(claimer.held[flow[step].id], outcome)
            for nth, flow in enumerate(order)
            for step, outcome in [steps[nth % 2]]
        ]

    one, other = batch("a", "b", flows), batch("c", "d", flows[::-1])
    both: list[tuple[Callable[..., Awaitable[object]], list[Ack]]] = [(database.run, one), (theirs.run, other)]
    await asyncio.gather(*(run(store.ack, acks, "10s") for run, acks in both))

    waiting = [state for flow in flows for state in (await states(database, flow)).values()].count(SCHEDULED)
    assert waiting == 10
    assert await complaints(database) == {}
