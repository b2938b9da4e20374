"""Enqueue: jobs and workflows go in whole or not at all, and once however often they are sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenuto.errors import JobMismatch, StorageRejected
from tenuto.graph import Head
from tenuto.job import AVAILABLE, SCHEDULED, SUSPENDED, Job
from tenuto.storage import reading, steer, store
from tenuto.storage.nodes import CHUNK
from tests.storage.build import MINUTE, NOON, SECOND, diamond, graph, is_stored, plain, stored, workflow_of


async def test_enqueue_gives_the_jobs_back_in_their_order(clock):
    jobs = plain(50)

    answer = await clock.run(store.enqueue, list(reversed(jobs)))

    assert [job.id for job in answer] == [job.id for job in reversed(jobs)]


async def test_an_order_is_kept_when_some_are_stored_already(clock):
    jobs = plain(9)
    await clock.run(store.enqueue, jobs[3:6])

    answer = await clock.run(store.enqueue, jobs)

    assert [job.id for job in answer] == [job.id for job in jobs]
    assert [job.existing for job in answer] == [False] * 3 + [True] * 3 + [False] * 3


async def test_more_jobs_than_one_document_holds_are_stored(clock):
    jobs = plain(CHUNK + 1)

    answer = await clock.run(store.enqueue, jobs)

    assert [job.id for job in answer] == [job.id for job in jobs]
    assert await is_stored(clock, jobs[-1])


async def test_a_stored_job_is_due_at_once_by_the_clock_of_the_database(clock):
    (job,) = await clock.run(store.enqueue, plain())

    assert (job.state, job.inserted_at, job.scheduled_at) == (AVAILABLE, NOON, NOON)


async def test_a_job_is_read_back_as_it_was_stored(clock):
    job = Job(
        "mail",
        {"to": "ö", "n": [1, None, {"x": 1.5}]},
        queue="slow",
        meta={"trace": "abc"},
        tags=("a", "b"),
        priority=7,
        max_attempts=3,
        timeout=MINUTE,
    )

    (answer,) = await clock.run(store.enqueue, [job])

    assert await stored(clock, job) == answer
    assert answer == job.replace(inserted_at=NOON, scheduled_at=NOON)


async def test_a_delay_counts_from_the_clock_of_the_database(clock):
    (job,) = await clock.run(store.enqueue, [Job("worker", schedule_in=MINUTE)])

    assert (job.state, job.scheduled_at, job.schedule_in) == (SCHEDULED, NOON + MINUTE, None)


async def test_a_job_for_later_is_scheduled(clock):
    (job,) = await clock.run(store.enqueue, [Job("worker", scheduled_at=NOON + timedelta(microseconds=1))])

    assert (job.state, job.scheduled_at) == (SCHEDULED, NOON + timedelta(microseconds=1))


async def test_a_job_for_an_instant_in_the_past_is_due(clock):
    (job,) = await clock.run(store.enqueue, [Job("worker", scheduled_at=NOON - MINUTE)])

    assert (job.state, job.scheduled_at) == (AVAILABLE, NOON - MINUTE)


async def test_the_same_job_again_is_the_stored_one(clock):
    (job,) = plain(priority=3)
    await clock.run(store.enqueue, [job])
    clock.now = NOON + SECOND

    (again,) = await clock.run(store.enqueue, [job.replace(priority=5)])

    assert again == (await stored(clock, job)).replace(existing=True)
    assert (again.priority, again.inserted_at) == (3, NOON)


async def test_the_same_job_twice_in_one_batch_is_stored_once(clock, tables):
    (job,) = plain()

    answer = await clock.run(store.enqueue, [job, job])

    assert [job.id for job in answer] == [job.id, job.id]
    assert len(tables.rows("select id from jobs")) == 1


@pytest.mark.parametrize("other", [{"args": {"other": 1}}, {"worker": "other"}])
async def test_the_same_id_with_another_content_is_refused(clock, other):
    (job,) = plain()
    await clock.run(store.enqueue, [job])

    with pytest.raises(JobMismatch, match=job.id):
        await clock.run(store.enqueue, [job.replace(**other)])


async def test_the_same_id_with_another_content_is_refused_within_one_batch(clock):
    (job,) = plain()

    with pytest.raises(JobMismatch, match=job.id):
        await clock.run(store.enqueue, [job, job.replace(args={"other": 1})])

    assert not await is_stored(clock, job)


async def test_a_mismatch_leaves_nothing_of_its_batch(clock):
    taken, *others = plain(3)
    await clock.run(store.enqueue, [taken])

    with pytest.raises(JobMismatch):
        await clock.run(store.enqueue, [*others, taken.replace(args={"other": 1})])

    assert await clock.read(reading.fetch, [job.id for job in others]) == {}


async def test_a_job_that_the_database_refuses_leaves_nothing_of_its_batch(clock):
    good, bad = plain(2)

    with pytest.raises(StorageRejected):
        await clock.run(store.enqueue, [good, bad.replace(max_attempts=0)])

    assert not await is_stored(clock, good)


async def test_a_stored_job_is_stored_again_with_the_args_it_has_then(clock):
    made = plain(1)[0].replace(args={"n": 1}, encoded='{"n":1}')  # as a worker makes it
    (job,) = await clock.run(store.enqueue, [made])
    job.args["n"] = 2
    await clock.run(steer.delete, [job.id])

    (again,) = await clock.run(store.enqueue, [job])

    assert (await clock.read(reading.fetch, [job.id]))[job.id].args == again.args == {"n": 2}


async def test_no_jobs_are_no_work(clock):
    assert await clock.run(store.enqueue, []) == []


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_workflow_is_stored_with_its_steps_waiting(clock):
    flow = diamond(name="sync")

    answer = await clock.run(flow.enqueue)

    assert [job.state for job in answer] == [AVAILABLE, SUSPENDED, SUSPENDED, SUSPENDED]
    row = await workflow_of(clock, flow)
    assert (row.name, row.state, row.steps, row.unfinished, row.runs) == ("sync", "running", 4, 4, 1)


async def test_steps_are_read_in_the_order_of_adding(clock):
    flow = graph({"z": "", "a": "z", "m": "z a"})
    await clock.run(flow.enqueue)

    steps = await clock.read(reading.steps, flow.id)

    assert [(step["name"], step["deps"]) for step in steps] == [("z", ()), ("a", ("z",)), ("m", ("z", "a"))]


async def test_the_same_workflow_again_is_the_stored_one(clock, tables):
    flow = diamond()
    await clock.run(flow.enqueue)
    before = tables.all()

    again = await clock.run(flow.enqueue)

    assert [job.id for job in again] == flow.ids()
    assert all(job.existing for job in again)
    assert tables.all() == before


async def test_a_step_whose_job_is_stored_already_leaves_nothing_of_its_workflow(clock, tables):
    flow = diamond()
    await clock.run(store.enqueue, [flow["left"].replace(workflow_id=None)])

    with pytest.raises(JobMismatch):
        await clock.run(flow.enqueue)

    assert [row["id"] for row in tables.rows("select id from jobs")] == flow.ids("left")
    assert [tables.rows(f"select * from {table}") for table in ("workflows", "workflow_nodes", "edges")] == [[]] * 3


async def test_a_step_for_later_is_scheduled_though_its_workflow_begins_now(clock):
    flow = graph({"now": "", "later": ""})
    later = flow["later"].replace(schedule_in=MINUTE)

    await clock.run(store.enqueue_workflow, Head(flow.id), [flow["now"], later], flow.nodes, flow.edges)

    assert (await stored(clock, later)).state is SCHEDULED


async def test_jobs_that_are_too_much_for_one_document_are_stored_all_the_same(clock, tables):
    jobs = plain(300)
    heavy = [job.replace(args="x" * 950_000) for job in jobs]

    await clock.run(store.enqueue, heavy)

    assert tables.rows("select count(*) as stored from jobs") == [{"stored": 300}]
