"""Unique jobs, through the app: one at a time however many ask at once, and whoever asks again gets that one."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tenuto import Job, Tenuto, Unique, Workflow, job
from tenuto.errors import UniqueConflict
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, SCHEDULED
from tests.conftest import OpenApp
from tests.kit import Obey, drain, eventually, runs_of
from tests.storage.build import NOON
from tests.storage.conftest import only_on_postgres
from tests.stories import inserters

INSERTERS = 64

ran: list[tuple[int, str]] = []


@job(name="import-account", unique=Unique(keys=["account"]))
async def import_account(account: int, why: str = "") -> None:
    ran.append((account, why))


@job(name="remind", unique=Unique(keys=["account"], replace=["args", "scheduled_at"]))
async def remind(account: int, text: str) -> None: ...


@pytest.fixture
async def door(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing."""
    return await open_app()


async def test_whoever_asks_again_gets_the_job_that_is_there_and_it_runs_once(app: Tenuto) -> None:
    ran.clear()
    await app.queue("default").pause()
    first = await app.enqueue(import_account.new(7, "first"))

    again, other = await app.enqueue([import_account.new(7, "again"), import_account.new(8)])
    await app.queue("default").resume()
    await drain(app)

    assert (first.existing, again.existing, other.existing) == (False, True, False)
    assert again.id == first.id
    assert sorted(ran) == [(7, "first"), (8, "")]


async def test_a_completed_job_counts_unless_its_states_say_otherwise(app: Tenuto) -> None:
    done, live = import_account.new(1), import_account.options(unique=Unique(states="incomplete")).new(2)
    await app.enqueue([done, live])
    await drain(app)

    again, anew = await app.enqueue([import_account.new(1), import_account.new(2)])

    assert (again.id, again.state) == (done.id, COMPLETED)
    assert not anew.existing


async def test_one_job_may_be_unique_of_a_worker_that_is_not_and_the_other_way_round(door: Tenuto) -> None:
    unique = Unique(fields=["worker", "args.value"])
    first, second = Obey.value("a", unique=unique), Obey.value("a", unique=unique, priority=3)

    stored = await door.enqueue([first, second, Obey.value("a"), import_account.new(1)])
    more = await door.enqueue(import_account.options(unique=False).new(1))

    assert [one.existing for one in stored] == [False, True, False, False]
    assert not more.existing


@pytest.mark.timeout(120)
async def test_of_64_callers_in_four_processes_worth_of_apps_one_stores(open_app: OpenApp) -> None:
    apps = [await open_app() for _ in range(4)]

    answers = await asyncio.gather(*(apps[n % 4].enqueue(import_account.new(1)) for n in range(INSERTERS)))

    assert len({one.id for one in answers}) == 1
    assert [one.existing for one in answers].count(False) == 1
    assert len(await apps[0].find()) == 1


@pytest.mark.timeout(120)
async def test_of_64_callers_with_the_same_batch_each_gets_the_jobs_that_are_there(open_app: OpenApp) -> None:
    apps = [await open_app() for _ in range(4)]

    def batch() -> list[Job[Any, Any]]:
        return [import_account.new(n) for n in range(20)]

    answers = await asyncio.gather(*(apps[n % 4].enqueue(batch()) for n in range(INSERTERS)))

    assert len({tuple(one.id for one in answer) for answer in answers}) == 1
    assert [one.args["account"] for one in answers[0]] == list(range(20))
    assert len(await apps[0].find()) == 20


@pytest.mark.timeout(120)
async def test_of_64_apps_in_four_processes_one_stores_each_job(open_app: OpenApp, database_url: str) -> None:
    app = await open_app()

    answers = await asyncio.to_thread(inserters.asked, database_url)

    asked = {(round, nth): 1 for round, size in enumerate(inserters.ROUNDS) for nth in range(size)}
    assert len(answers) == INSERTERS * len(inserters.ROUNDS)
    assert inserters.stored_anew(answers) == asked
    assert len({(answer.round, *(id for id, _ in answer.jobs)) for answer in answers}) == len(inserters.ROUNDS)
    assert len(await app.find()) == len(asked)


async def test_a_conflict_of_one_caller_disturbs_no_other(door: Tenuto) -> None:
    await door.enqueue(import_account.new(0))
    callers = [import_account.new(n % 3) if n % 2 else Obey.ok() for n in range(60)]

    answers = await asyncio.gather(*(door.enqueue(one) for one in callers))

    for asked, answer in zip(callers, answers, strict=True):
        assert answer.worker == asked.worker
        assert answer.args == asked.args
    assert len(await door.find(worker="import-account")) == 3
    assert len(await door.find(worker="obey")) == 30


@only_on_postgres
async def test_whoever_waits_for_a_key_keeps_no_plain_job_waiting(door: Tenuto, database_url: str) -> None:
    first = await door.enqueue(import_account.new(1))
    with psycopg.connect(database_url) as stranger:
        stranger.execute("update tenuto.jobs set unique_held = false")
        stranger.execute(
            "insert into tenuto.jobs (id, state, queue, worker, args, meta, tags, max_attempts, priority, inserted_at,"
            " scheduled_at, unique_key, unique_states, unique_held)"
            " select gen_random_uuid(), state, queue, worker, args, meta, tags, 1, 0, inserted_at, scheduled_at,"
            " unique_key, unique_states, true from tenuto.jobs"
        )
        waiting = [asyncio.create_task(door.enqueue(import_account.new(1))) for _ in range(4)]
        await eventually(lambda: _waits(database_url))

        began = time.monotonic()
        await asyncio.gather(*(door.enqueue(Obey.ok()) for _ in range(50)))
        took = time.monotonic() - began
        stranger.rollback()

    answers = await asyncio.gather(*waiting)
    assert took < 1.0
    assert {one.id for one in answers} == {first.id}


def _waits(url: str) -> bool:
    """Whether a session waits for another's transaction."""
    with psycopg.connect(url) as connection:
        found = connection.execute("select 1 from pg_stat_activity where wait_event = 'transactionid'").fetchone()
    return found is not None


# ── what ended, and comes again ───────────────────────────────────────────────────────────────────


async def test_a_retry_takes_its_key_again_or_is_told_who_has_it(door: Tenuto) -> None:
    first = await door.enqueue(import_account.new(1))
    await door.cancel(first)
    second = await door.enqueue(import_account.new(1))
    assert not second.existing

    with pytest.raises(UniqueConflict, match=f"job {first.id} is unique, and job {second.id} is there already"):
        await door.retry(first)
    assert await door.retry(state="cancelled") == []
    await door.cancel(second)

    assert await door.retry(first) == [first.id]
    assert (await door.enqueue(import_account.new(1))).id == first.id


async def test_a_fetched_job_that_is_gone_is_stored_anew_with_its_key(door: Tenuto) -> None:
    fetched = await door.fetch(await door.enqueue(import_account.new(1)))
    await door.delete(fetched)

    anew = await door.enqueue(fetched)

    assert (anew.id, anew.existing) == (fetched.id, False)
    assert (await door.enqueue(import_account.new(1))).id == fetched.id


async def test_a_deleted_job_leaves_its_key(door: Tenuto) -> None:
    first = await door.enqueue(import_account.new(1))
    await door.delete(first)

    assert not (await door.enqueue(import_account.new(1))).existing


async def test_a_period_is_a_span_of_the_clock_of_the_database(door: Tenuto) -> None:
    hourly = import_account.options(unique=Unique(keys=["account"], period=timedelta(hours=1)))
    spans: list[str] = []
    for minutes in (0, 30, 59, 60, 119, 120):
        door.database.now = NOON + timedelta(minutes=minutes)
        spans.append((await door.enqueue(hourly.new(1))).id)

    assert [spans.index(id) for id in spans] == [0, 0, 0, 3, 3, 5]


# ── steps, and what a later one changes ───────────────────────────────────────────────────────────


async def test_a_workflow_with_a_step_that_is_there_already_is_not_stored(door: Tenuto) -> None:
    there = await door.enqueue(import_account.new(1))
    flow = Workflow()
    flow.add("a", Obey.ok())
    step = flow.add("import", import_account.new(1), deps=["a"])

    with pytest.raises(UniqueConflict) as refused:
        await door.enqueue(flow)

    assert (refused.value.job_id, refused.value.existing_id) == (step.job.id, there.id)
    assert [one.id for one in await door.find()] == [there.id]
    assert await door.workflows() == []


async def test_a_step_that_runs_is_unique_all_the_while(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("import", import_account.new(3), deps=["a"])
    await app.enqueue(flow)
    first = await app.enqueue(import_account.new(3))

    await app.workflow(flow.id).wait(timeout=20)

    assert first.id == flow.jobs["import"].id
    assert (await app.enqueue(import_account.new(3))).id == first.id
    assert len(runs_of(flow.jobs["a"])) == 1


async def test_a_later_job_may_put_off_the_one_that_is_there(door: Tenuto) -> None:
    first = await door.enqueue(remind.options(schedule_in=60).new(1, "soon"))

    later = await door.enqueue(remind.options(schedule_in=3600).new(1, "later"))
    now = await door.enqueue(remind.new(1, "now"))

    assert (later.id, later.state, later.args["text"]) == (first.id, SCHEDULED, "later")
    assert (now.id, now.state, now.args["text"]) == (first.id, AVAILABLE, "now")
    assert len(await door.find()) == 1


async def test_a_running_job_is_not_changed_by_a_later_one(app: Tenuto) -> None:
    unique = Unique(fields=["worker", "args.does"], replace=["args"])
    await app.enqueue(Obey.value(1, unique=unique))
    await drain(app)

    later = await app.enqueue(Obey.value(2, unique=unique))

    assert (later.state, later.args["value"]) == (COMPLETED, 1)


async def test_updates_leave_the_key_as_it_is(door: Tenuto) -> None:
    first = await door.enqueue(import_account.options(schedule_in=60).new(1))
    await door.update(first, {"args": {"account": 2, "why": ""}})

    assert (await door.enqueue(import_account.new(1))).id == first.id
    assert not (await door.enqueue(import_account.new(2))).existing
    await door.cancel(first)
    assert (await door.fetch(first)).state is CANCELLED
