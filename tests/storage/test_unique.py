"""Unique keys: held by an index, one at a time, given up for good, and taken again by a retry alone."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest

from tenuto.errors import JobMismatch, StorageBusy, UniqueConflict
from tenuto.graph import Head
from tenuto.job import AVAILABLE, EXECUTING, SCHEDULED, SUSPENDED, Job
from tenuto.outcome import DONE, GATED, RELEASED, Cancel, Discard, Failed, PutBack, Snooze, settle
from tenuto.storage import reading, steer, store, upkeep
from tenuto.storage.database import Database
from tests.storage.boundaries import watched
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    AnyJob,
    Claimer,
    complaints,
    graph,
    is_stored,
    plain,
    stored,
)
from tests.storage.conftest import only_on_postgres, only_on_sqlite

ALWAYS = "suspended scheduled available executing retryable completed cancelled discarded"
USUAL = "suspended scheduled available executing retryable completed"
HOUR = timedelta(hours=1)
INSERTERS = 64


def alike(key: str = "key", *, states: str = USUAL, period: timedelta | None = None, **options: Any) -> AnyJob:
    """A job that is unique by this key, as the feature leaves it."""
    replace = options.pop("replace", None)
    asked: dict[str, Any] = {"key": key, "states": states}
    if period is not None:
        asked["period"] = period // timedelta(microseconds=1)
    if replace is not None:
        asked["replace"] = replace
    args = options.pop("args", {"from": "here"})
    job: AnyJob = Job(options.pop("worker", "worker"), args, **options)
    return job.replace(unique_key=json.dumps(asked))


def kept(key: str, states: str = "suspended scheduled available executing retryable completed") -> str:
    """What is stored of a unique job, as JSON."""
    return json.dumps({"key": key, "states": states})


def told(job: AnyJob) -> dict[str, Any] | None:
    """The same, as it is read."""
    return None if job.unique_key is None else json.loads(job.unique_key)


async def put(database: Database, *jobs: AnyJob) -> list[AnyJob]:
    return await database.run(store.enqueue, jobs)


async def is_held(database: Database, key: str = "key") -> bool:
    """Whether another job of the key would not be stored; nothing is left of the asking."""
    (answer,) = await put(database, asking := alike(key))
    if answer.id == asking.id:
        await database.run(steer.delete, [asking.id])
    return answer.id != asking.id


# ── one at a time ─────────────────────────────────────────────────────────────────────────────────


async def test_a_second_job_of_a_key_is_not_stored_and_the_first_comes_in_its_place(clock):
    (first,) = await put(clock, alike())
    second = alike(args={"from": "elsewhere"})

    (answer,) = await put(clock, second)

    assert (answer.id, answer.existing, answer.args) == (first.id, True, {"from": "here"})
    assert not await is_stored(clock, second)


async def test_jobs_of_other_keys_are_stored(clock):
    answers = await put(clock, alike("a"), alike("b"), *plain(2))

    assert [job.existing for job in answers] == [False] * 4


async def test_the_same_unique_job_again_is_the_same_job(clock):
    job = alike()
    await put(clock, job)

    (again,) = await put(clock, job)

    assert (again.id, again.existing) == (job.id, True)


async def test_the_same_id_with_another_content_is_refused_before_its_key_is_looked_at(clock):
    (job,) = await put(clock, alike())

    with pytest.raises(JobMismatch):
        await put(clock, alike().replace(id=job.id, args={"other": 1}))


async def test_of_jobs_in_one_call_that_are_alike_the_first_is_stored(clock, tables):
    first, other, again, twin = alike("a"), alike("b"), alike("a"), alike("a")

    answers = await put(clock, first, other, again, twin)

    assert [job.id for job in answers] == [first.id, other.id, first.id, first.id]
    assert [job.existing for job in answers] == [False, False, True, True]
    assert len(tables.rows("select id from jobs")) == 2


async def test_answers_stand_where_the_jobs_stood_in_a_large_batch(clock):
    await put(clock, *[alike(f"k{n}") for n in range(0, 300, 3)])
    jobs = [alike(f"k{n}") if n % 2 else plain()[0] for n in range(300)]

    answers = await put(clock, *jobs)

    taken = [n for n in range(300) if n % 2 and n % 3 == 0]
    assert [n for n, answer in enumerate(answers) if answer.existing] == taken
    assert [answer.id == job.id for answer, job in zip(answers, jobs, strict=True)] == [
        n not in taken for n in range(300)
    ]


async def test_more_jobs_than_one_document_holds_are_unique_too(clock, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 7)
    jobs = [alike(f"k{n % 20}") for n in range(60)]

    answers = await put(clock, *jobs)

    assert [job.id for job in answers] == [jobs[n % 20].id for n in range(60)]


async def test_what_was_asked_of_the_first_is_as_it_was(clock):
    (first,) = await put(clock, alike(priority=3, tags=["a"], queue="slow"))

    (answer,) = await put(clock, alike(priority=1, tags=["b"], queue="fast"))

    assert await stored(clock, first) == answer.replace(existing=False)
    assert (answer.priority, answer.tags, answer.queue) == (3, ("a",), "slow")


async def test_a_stored_job_tells_its_key_for_as_long_as_it_holds_it(clock):
    (job,) = await put(clock, alike())
    held = told(await stored(clock, job))
    await clock.run(steer.cancel, [job.id])

    assert held == {"key": "key", "states": USUAL}
    assert (await stored(clock, job)).unique_key is None
    (found,) = await clock.read(reading.find, steer.Filter(queue="default"), 10)
    assert found.unique_key is None


# ── for as long as it is in its states ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "outcome", [DONE, Snooze(20), Failed(ValueError()), PutBack(SECOND), RELEASED], ids=lambda one: type(one).__name__
)
async def test_a_key_is_held_through_every_state_that_counts(clock, claimer, outcome):
    (job,) = await put(clock, alike())
    assert await is_held(clock)
    await claimer.claim()
    assert await is_held(clock)

    await claimer.end(job, outcome)
    assert await is_held(clock)

    clock.now = NOON + MINUTE
    await clock.run(upkeep.stage)
    assert await is_held(clock)


async def test_a_scheduled_job_holds_its_key_before_and_after_it_is_due(clock):
    await put(clock, alike(schedule_in=MINUTE))
    assert await is_held(clock)

    clock.now = NOON + MINUTE
    await clock.run(upkeep.stage)
    assert await is_held(clock)


async def test_a_job_that_was_rescued_holds_its_key(clock, claimer):
    await put(clock, alike())
    await claimer.claim()
    await claimer.die()

    await clock.run(upkeep.rescue, judge=True)

    assert await is_held(clock)


@pytest.mark.parametrize("outcome", [Cancel("no"), Discard("no")], ids=lambda one: type(one).__name__)
async def test_a_job_that_ends_badly_gives_its_key_up(clock, claimer, outcome):
    (job,) = await put(clock, alike())

    await claimer.end(job, outcome)

    assert not await is_held(clock)


async def test_a_job_that_an_operator_cancels_or_deletes_gives_its_key_up(clock):
    cancelled, deleted = await put(clock, alike("a"), alike("b"))
    await clock.run(steer.cancel, [cancelled.id])
    await clock.run(steer.delete, [deleted.id])

    assert not await is_held(clock, "a")
    assert not await is_held(clock, "b")


async def test_a_job_that_is_told_to_stop_holds_its_key_until_it_has_ended(clock, claimer):
    (job,) = await put(clock, alike())
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])
    assert await is_held(clock)

    await claimer.end(job, Failed(ValueError()))

    assert not await is_held(clock)


async def test_a_job_that_kills_its_process_gives_its_key_up_when_it_is_discarded(clock, claimer, tables):
    (job,) = await put(clock, alike())
    await claimer.claim()
    tables.execute("update jobs set suspicions = 2")
    await claimer.die()

    await clock.run(upkeep.rescue, judge=True)

    assert (await stored(clock, job)).state == "discarded"
    assert not await is_held(clock)


async def test_steps_that_a_cascade_or_the_gate_cancels_give_their_keys_up(clock, claimer):
    flow = graph({"a": "", "b": "a", "c": "b"})
    jobs = {step: job.replace(unique_key=kept(step)) for step, job in flow.jobs.items()}
    await clock.run(store.enqueue_workflow, Head(flow.id), list(jobs.values()), flow.nodes, flow.edges)
    assert await is_held(clock, "c")

    await claimer.end(jobs["a"], Discard("no"))

    assert [await is_held(clock, key) for key in "abc"] == [False, False, False]


async def test_a_step_that_was_released_is_still_unique(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    jobs = [flow["a"], alike().replace(**{key: getattr(flow["b"], key) for key in STEP})]
    await clock.run(store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)
    assert await is_held(clock)

    await claimer.end(flow["a"], DONE)

    assert (await stored(clock, flow["b"])).state == AVAILABLE
    assert await is_held(clock)
    await claimer.end(flow["b"], DONE)
    assert await is_held(clock)


async def test_a_link_whose_turn_has_come_is_still_unique(clock, claimer):
    first, behind = await put(clock, *plain(1, chain_key="k"), alike().replace(chain_key="k"))
    assert (behind.state, await is_held(clock)) == (SUSPENDED, True)

    await claimer.end(first, DONE)

    assert (await stored(clock, behind)).state == AVAILABLE
    assert await is_held(clock)
    await claimer.claim()
    assert await is_held(clock)
    await claimer.give_back(settle(claimer.held[behind.id], DONE))
    assert await is_held(clock)


STEP = ("id", "state", "args", "waiting_on", "has_needs", "workflow_id")


@pytest.mark.parametrize("outcome", [Snooze(0), Failed(ValueError()), RELEASED], ids=lambda one: type(one).__name__)
async def test_a_key_that_was_given_up_once_is_not_taken_again_by_going_on(clock, claimer, outcome):
    (job,) = await put(clock, alike(states="scheduled available retryable"))
    await claimer.claim()
    assert not await is_held(clock)

    await claimer.end(job, outcome, backoff=0)

    clock.now = NOON + SECOND
    await clock.run(upkeep.stage)
    assert (await stored(clock, job)).state == AVAILABLE
    assert not await is_held(clock)


async def test_a_step_that_goes_back_to_wait_does_not_take_its_key_again(clock, claimer, tables):
    flow = graph({"a": "", "b": "a"})
    jobs = [flow["a"], alike(states="available").replace(**{key: getattr(flow["b"], key) for key in STEP})]
    await clock.run(store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)
    tables.execute("update jobs set state = 'available', waiting_on = 0 where id = ?", flow["b"].id)

    await claimer.end(flow["b"], GATED)

    assert not await is_held(clock)


async def test_a_job_stored_outside_its_states_holds_no_key(clock):
    (job,) = await put(clock, alike(states="scheduled"))

    assert (await stored(clock, job)).unique_key is None
    assert not await is_held(clock)


async def test_a_job_that_is_unique_in_all_states_gives_its_key_up_when_it_is_gone(clock, claimer):
    (job,) = await put(clock, alike(states=ALWAYS))
    await claimer.end(job, Discard("no"))
    assert await is_held(clock)

    await clock.run(steer.delete, [job.id])

    assert not await is_held(clock)


# ── an operator's retry ───────────────────────────────────────────────────────────────────────────


async def test_a_retry_takes_the_key_again(clock):
    (job,) = await put(clock, alike())
    await clock.run(steer.cancel, [job.id])

    await clock.run(steer.retry, [job.id])

    assert told(await stored(clock, job)) == {"key": "key", "states": USUAL}
    assert await is_held(clock)


async def test_a_retry_is_refused_when_another_has_the_key(clock):
    (job,) = await put(clock, alike())
    await clock.run(steer.cancel, [job.id])
    (another,) = await put(clock, alike())

    with pytest.raises(UniqueConflict, match=another.id) as refused:
        await clock.run(steer.retry, [job.id])

    assert (refused.value.job_id, refused.value.existing_id) == (job.id, another.id)
    assert (await stored(clock, job)).state == "cancelled"


async def test_a_retry_by_filter_passes_over_a_job_whose_key_another_has(clock):
    job, free = await put(clock, alike("a"), alike("b"))
    await clock.run(steer.cancel, [job.id, free.id])
    await put(clock, alike("a"))

    retried = await clock.run(steer.retry, [job.id, free.id], strict=False)

    assert retried.ids == [free.id]
    assert (await stored(clock, job)).state == "cancelled"


async def test_of_two_cancelled_jobs_of_one_key_one_is_retried(clock):
    (first,) = await put(clock, alike())
    await clock.run(steer.cancel, [first.id])
    (second,) = await put(clock, alike())
    await clock.run(steer.cancel, [second.id])

    with pytest.raises(UniqueConflict):
        await clock.run(steer.retry, [first.id, second.id])
    retried = await clock.run(steer.retry, [first.id, second.id], strict=False)

    assert retried.ids == [first.id]


async def test_a_running_job_without_its_key_is_no_conflict_for_a_retry_that_leaves_it_alone(clock, claimer):
    (job,) = await put(clock, alike(states="available"))
    await claimer.claim()
    await put(clock, alike())

    retried = await clock.run(steer.retry, [job.id])

    assert retried.ids == []
    assert (await stored(clock, job)).state == EXECUTING


async def test_a_retry_into_a_state_that_does_not_count_takes_no_key(clock):
    (job,) = await put(clock, alike(states="scheduled", schedule_in=MINUTE))

    await clock.run(steer.retry, [job.id])

    assert (await stored(clock, job)).state == AVAILABLE
    assert not await is_held(clock)


# ── periods ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_of_a_period_counts_until_the_period_ends(clock):
    clock.now = NOON + 59 * MINUTE
    (first,) = await put(clock, alike(period=HOUR))

    clock.now = NOON + HOUR - SECOND
    (late,) = await put(clock, alike(period=HOUR))
    clock.now = NOON + HOUR
    (after,) = await put(clock, alike(period=HOUR))
    (again,) = await put(clock, alike(period=HOUR))

    assert (late.id, late.existing) == (first.id, True)
    assert not after.existing
    assert (again.id, again.existing) == (after.id, True)


async def test_periods_of_other_lengths_do_not_meet(clock):
    answers = await put(clock, alike(period=HOUR), alike(period=MINUTE), alike())

    assert [job.existing for job in answers] == [False] * 3


async def test_who_asks_across_the_border_of_a_period_is_answered_for_the_new_one(clock):
    clock.now = NOON + HOUR - SECOND
    await put(clock, alike(period=HOUR))
    job = alike(period=HOUR)

    def cross(boundary: Any, name: str) -> None:
        if name == "enqueue" and boundary.has_rows:
            clock.now = NOON + HOUR

    (answer,) = await clock.run(lambda: watched(store.enqueue([job]), cross))

    assert (answer.id, answer.existing) == (job.id, False)


async def test_a_retry_takes_the_key_of_the_period_in_which_the_job_was_stored(clock):
    (job,) = await put(clock, alike(period=HOUR))
    await clock.run(steer.cancel, [job.id])
    clock.now = NOON + HOUR
    await put(clock, alike(period=HOUR))

    retried = await clock.run(steer.retry, [job.id])

    assert retried.ids == [job.id]


async def test_a_job_is_not_pruned_before_its_period_is_over(clock, claimer):
    job, other = await put(clock, alike(period=7 * DAY), *plain())
    await claimer.end(job, DONE)
    await claimer.end(other, DONE)

    clock.now = NOON + 2 * DAY
    assert await clock.run(upkeep.prune_jobs, DAY) == 1
    assert (await put(clock, alike(period=7 * DAY)))[0].id == job.id

    clock.now = NOON + 9 * DAY
    assert await clock.run(upkeep.prune_jobs, DAY) == 1
    assert not await is_stored(clock, job)


async def test_a_job_is_not_pruned_before_it_has_ended_long_enough_ago(clock):
    (job,) = await put(clock, alike(period=MINUTE))
    clock.now = NOON + 3 * DAY
    claimer = await Claimer(clock).start()
    assert await clock.run(upkeep.prune_jobs, DAY) == 0
    await claimer.end(job, DONE)

    assert await clock.run(upkeep.prune_jobs, DAY) == 0
    clock.now = NOON + 4 * DAY
    assert await clock.run(upkeep.prune_jobs, DAY) == 1


async def test_a_key_without_a_period_counts_for_as_long_as_the_job_is_kept(clock, claimer):
    (job,) = await put(clock, alike())
    await claimer.end(job, DONE)
    clock.now = NOON + DAY

    await clock.run(upkeep.prune_jobs, DAY)

    assert not await is_held(clock)


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_workflow_with_a_step_whose_key_is_held_is_not_stored_at_all(clock, tables):
    (holder,) = await put(clock, alike("b"))
    flow = graph({"a": "", "b": "a"})
    jobs = [flow["a"], flow["b"].replace(unique_key=kept("b"))]

    with pytest.raises(UniqueConflict) as refused:
        await clock.run(store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)

    assert (refused.value.job_id, refused.value.existing_id) == (flow["b"].id, holder.id)
    assert len(tables.rows("select id from jobs")) == 1
    assert tables.rows("select id from workflows") == tables.rows("select name from workflow_nodes") == []


async def test_a_workflow_with_two_steps_that_are_alike_is_not_stored(clock, tables):
    flow = graph({"a": "", "b": "a"})
    jobs = [job.replace(unique_key=kept("one")) for job in flow.jobs.values()]

    with pytest.raises(UniqueConflict):
        await clock.run(store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)

    assert tables.rows("select id from jobs") == []


async def test_the_same_workflow_again_is_the_same_one_with_unique_steps_too(clock):
    flow = graph({"a": "", "b": "a"})
    jobs = [job.replace(unique_key=kept(step)) for step, job in flow.jobs.items()]
    store_it = (store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)
    await clock.run(*store_it)

    again = await clock.run(*store_it)

    assert [job.existing for job in again] == [True, True]


# ── what a later one changes ──────────────────────────────────────────────────────────────────────


async def test_a_later_job_replaces_what_it_says_in_the_first(clock):
    (first,) = await put(clock, alike(args={"n": 1}, priority=3, tags=["a"], meta={"by": "me"}, queue="slow"))
    fields = ("args", "priority", "tags", "meta", "queue", "max_attempts", "timeout")
    later = alike(args={"n": 2}, meta={"by": "you"}, max_attempts=3, timeout=9, replace={"available": fields})

    (answer,) = await put(clock, later)

    assert (answer.id, answer.existing) == (first.id, True)
    assert (answer.args, answer.priority, answer.tags, answer.meta) == ({"n": 2}, 0, (), {"by": "you"})
    assert (answer.queue, answer.max_attempts, answer.timeout) == ("default", 3, 9 * SECOND)
    assert await stored(clock, first) == answer.replace(existing=False)


async def test_nothing_is_replaced_in_a_state_that_is_not_named(clock, claimer):
    (first,) = await put(clock, alike(args={"n": 1}))
    await claimer.claim()

    (answer,) = await put(clock, alike(args={"n": 2}, replace={"available": ["args"], "scheduled": ["args"]}))

    assert (answer.state, answer.args) == (EXECUTING, {"n": 1})
    assert (await stored(clock, first)).args == {"n": 1}


async def test_a_later_job_moves_the_first(clock):
    (first,) = await put(clock, alike(schedule_in=MINUTE))
    replace = {"scheduled": ["scheduled_at"]}

    (moved,) = await put(clock, alike(schedule_in=HOUR, replace=replace))
    (exact,) = await put(clock, alike(scheduled_at=NOON + DAY, replace=replace))
    (now,) = await put(clock, alike(replace=replace))

    assert {job.id for job in (moved, exact, now)} == {first.id}
    assert [(job.state, job.scheduled_at) for job in (moved, exact, now)] == [
        (SCHEDULED, NOON + HOUR),
        (SCHEDULED, NOON + DAY),
        (AVAILABLE, NOON),
    ]


async def test_the_last_of_several_in_one_call_is_what_is_replaced(clock):
    replace = {"available": ["args"], "scheduled": ["args"]}
    first, *others = (alike(args={"n": n}, replace=replace) for n in range(4))

    await put(clock, first, *others)

    assert (await stored(clock, first)).args == {"n": 3}


async def test_the_identifiers_of_a_workflow_stay_in_the_meta_of_its_step(clock):
    flow = graph({"a": ""})
    meta = {"workflow_id": flow.id, "by": "me"}
    jobs = [flow["a"].replace(unique_key=kept("key"), meta=meta)]
    await clock.run(store.enqueue_workflow, Head(flow.id), jobs, flow.nodes, flow.edges)

    (answer,) = await put(clock, alike(meta={"by": "you"}, replace={"available": ["meta"]}))

    assert answer.meta == {"by": "you", "workflow_id": flow.id}


@only_on_postgres
async def test_a_holder_that_left_before_it_was_changed_is_no_holder(clock):
    """On SQLite nobody can come between."""
    (first,) = await put(clock, alike(args={"n": 1}))
    later = alike(args={"n": 2}, replace={"available": ["args"]})
    line = clock.blocking()
    seen: list[str] = []

    def leave(boundary: Any, name: str) -> None:
        if boundary.has_rows:
            seen.append(name)
        if seen == ["enqueue", "fetch", "holders"]:
            line.run(steer.cancel, [first.id])
            line.close()

    (answer,) = await clock.run(lambda: watched(store.enqueue([later]), leave))

    assert (answer.id, answer.existing) == (later.id, False)
    assert seen == ["enqueue", "fetch", "holders", "reach", "holders", "enqueue"]
    assert (await stored(clock, first)).args == {"n": 1}


@only_on_sqlite
async def test_unique_jobs_lie_in_the_order_in_which_they_are_claimed(clock, tables):
    """In that of their keys every claim of ten would write ten pages."""
    jobs = [alike(f"{-nth}") for nth in range(50)]

    await put(clock, *jobs)

    found = [row["id"] for row in tables.rows("select id from jobs order by rowid")]
    assert found == sorted(found)


# ── at the same time ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def several(database: Database, open_database) -> list[Database]:
    """Four databases on the same tables."""
    return [database, *[await open_database() for _ in range(3)]]


@pytest.mark.timeout(120)
async def test_of_64_who_store_the_same_at_once_one_does(several: list[Database], tables):
    for round in range(5):
        asked = [(several[n % 4], alike(f"round {round}")) for n in range(INSERTERS)]

        answers = await asyncio.gather(*(put(database, job) for database, job in asked))

        jobs = [job for (job,) in answers]
        assert len({job.id for job in jobs}) == 1
        assert [job.existing for job in jobs].count(False) == 1
    assert len(tables.rows("select id from jobs")) == 5


@pytest.mark.timeout(120)
async def test_of_64_who_store_the_same_batch_at_once_each_job_is_stored_once(several: list[Database], tables):
    keys = [f"k{n}" for n in range(30)]

    def batch() -> list[AnyJob]:
        return [alike(key) for key in random.sample(keys, len(keys))] + plain(2)

    asked = [(several[n % 4], batch()) for n in range(INSERTERS)]

    answers = await asyncio.gather(*(put(database, *jobs) for database, jobs in asked))

    assert len(tables.rows("select id from jobs where unique_held")) == len(keys)
    assert len(tables.rows("select id from jobs")) == len(keys) + 2 * INSERTERS
    for (_, jobs), got in zip(asked, answers, strict=True):
        assert [told(job) for job in got[:30]] == [told(job) for job in jobs[:30]]


@pytest.mark.timeout(120)
async def test_across_the_border_of_a_period_each_period_has_one(several: list[Database], tables):
    for database, before in zip(several, (SECOND, SECOND, 0 * SECOND, -SECOND), strict=True):
        database.now = NOON + HOUR - before

    await asyncio.gather(*(put(several[n % 4], alike(period=HOUR)) for n in range(INSERTERS)))

    assert len(tables.rows("select id from jobs")) == 2


@pytest.mark.timeout(120)
async def test_a_retry_and_new_jobs_that_race_for_a_key_leave_one_with_it(several: list[Database], tables):
    for round in range(20):
        key = f"round {round}"
        (job,) = await put(several[0], alike(key))
        await several[0].run(steer.cancel, [job.id])

        got = await asyncio.gather(
            *(put(database, alike(key)) for database in several[1:]),
            several[0].run(steer.retry, [job.id]),
            return_exceptions=True,
        )

        assert all(isinstance(one, list | steer.Steered | UniqueConflict) for one in got), got
        assert len(tables.rows("select id from jobs where unique_held and unique_key = ?", key)) == 1
        alive = tables.rows("select id from jobs where state <> 'cancelled' and unique_key = ?", key)
        assert len(alive) == 1


@only_on_postgres
async def test_who_meets_a_key_in_a_transaction_that_does_not_end_is_told_that_it_is_busy(clock, database_url):
    import psycopg

    job, free = alike(), alike("another")
    with psycopg.connect(database_url) as stranger:
        stranger.execute(
            "insert into tenuto.jobs (id, state, queue, worker, args, meta, tags, max_attempts, priority, inserted_at,"
            " scheduled_at, unique_key, unique_states, unique_held)"
            " values (gen_random_uuid(), 'available', 'q', 'w', '{}', '{}', '[]', 1, 0, now(), now(), 'key', %s, true)",
            [USUAL],
        )

        with pytest.raises(StorageBusy):
            await put(clock, job)
        (answer,) = await put(clock, free)
        assert not answer.existing
        stranger.rollback()

    (answer,) = await put(clock, job)
    assert not answer.existing


# ── the doctor ────────────────────────────────────────────────────────────────────────────────────


async def test_the_doctor_finds_a_key_that_is_held_in_a_state_that_does_not_count(clock, claimer, tables):
    (job,) = await put(clock, alike())
    await claimer.end(job, DONE)
    assert await complaints(clock) == {}

    tables.execute("update jobs set unique_states = 'available'" if tables.is_sqlite else DISARMED)

    assert [id for id, _ in (await complaints(clock))["doctor_keys"]] == [job.id]


DISARMED = (
    "set session_replication_role = replica; update jobs set unique_states = 'available';"
    "set session_replication_role = default"
)


async def test_a_job_that_was_deleted_and_is_stored_anew_takes_its_key_again(clock):
    (job,) = await put(clock, alike())
    fetched = await stored(clock, job)
    await clock.run(steer.delete, [job.id])

    (anew,) = await put(clock, Job("worker", fetched.args, id=job.id).replace(unique_key=fetched.unique_key))

    assert not anew.existing
    assert await is_held(clock)


async def test_a_lease_is_not_needed_to_hold_a_key(clock, claimer):
    await put(clock, alike())
    await claimer.claim()
    clock.now = NOON + TTL + SECOND

    assert await is_held(clock)
