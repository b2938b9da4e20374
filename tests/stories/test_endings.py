"""Cancels, timeouts and deadlines end a job wherever it runs, each within a second."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

from tenuto import Deadline, Job, Tenuto, Workflow, job, telemetry
from tenuto.job import CANCELLED, COMPLETED, DISCARDED, EXECUTING
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, reason_of, state_of, until_paused
from tests.stories import afar_workers as afar

AnyJob = Job[Any, Any]

SECOND = timedelta(seconds=1)
EVERYWHERE = {
    "on the loop": afar.endless_on_loop,
    "in a thread": afar.endless_in_thread,
    "in a process": afar.endless_in_process,
    "in a process, async": afar.endless_in_process_async,
}
each_place = pytest.mark.parametrize("worker", EVERYWHERE.values(), ids=EVERYWHERE)


@pytest.fixture
async def there(open_app: OpenApp) -> Tenuto:
    """An app that has a child process at hand."""
    app = await open_app(queues={afar.QUEUE: 4, "default": 4})
    await app.enqueue(afar.whose_process.new())
    await drain(app)
    return app


async def ended(app: Tenuto, made: AnyJob) -> AnyJob:
    """The job as it is once it has ended."""

    async def has_ended() -> bool:
        return (await app.fetch(made)).state.is_terminal

    await eventually(has_ended)
    return await app.fetch(made)


async def runs(app: Tenuto, made: AnyJob) -> None:
    async def is_executing() -> bool:
        return (await app.fetch(made)).state is EXECUTING

    await eventually(is_executing)


def between(one: datetime | None, other: datetime | None) -> timedelta:
    """The time from one instant to the other, both by the database's clock."""
    assert one is not None
    assert other is not None
    return other - one


# ── everywhere ────────────────────────────────────────────────────────────────────────────────────


@each_place
async def test_a_cancel_ends_it(there: Tenuto, worker: Any):
    made = await there.enqueue(worker.new())
    await runs(there, made)

    await there.cancel(made)
    found = await ended(there, made)

    assert found.state is CANCELLED
    assert between(found.cancel_requested_at, found.finished_at) < 1.2 * SECOND  # it is told of within one
    await eventually(lambda: _running(there) == 0)


@each_place
async def test_a_timeout_ends_it(there: Tenuto, worker: Any):
    made = await there.enqueue(worker.options(timeout=0.3).new())

    found = await ended(there, made)

    assert (found.state, found.errors[-1].kind) == (DISCARDED, "timeout")
    assert between(found.attempted_at, found.finished_at) < 1.3 * SECOND
    await eventually(lambda: _running(there) == 0)


@each_place
async def test_a_forced_deadline_ends_it(there: Tenuto, worker: Any):
    made = await there.enqueue(worker.options(deadline=Deadline(1, force=True)).new())

    found = await ended(there, made)

    assert (found.state, found.errors[-1].message) == (CANCELLED, "its deadline has passed")
    assert timedelta(0) <= between(found.deadline_at, found.finished_at) < SECOND
    await eventually(lambda: _running(there) == 0)


@each_place
async def test_a_deadline_that_is_not_forced_lets_it_run(there: Tenuto, worker: Any):
    made = await there.enqueue(worker.options(deadline=0.5).new())
    await runs(there, made)

    later = await ended_by_its_deadline(there)

    found = await there.fetch(made)
    assert between(found.deadline_at, later.deadline_at) > timedelta(0)
    assert found.state is EXECUTING
    await there.cancel(made)


async def ended_by_its_deadline(app: Tenuto) -> AnyJob:
    """A job of a queue that nobody works on, once it was cancelled by its deadline a second from now."""
    made = await app.enqueue(afar.endless_on_loop.options(queue="nobody's", deadline=1).new())
    return await ended(app, made)


def _running(app: Tenuto) -> int:
    assert app._crew is not None
    return sum(app._crew.running.values())


# ── a thread that hears nothing ───────────────────────────────────────────────────────────────────

may_end = threading.Event()


@job(name="endings.stubborn", deadline=Deadline(1, force=True))
def stubborn() -> str:
    may_end.wait(30)
    return "done all the same"


async def test_a_thread_that_goes_on_past_its_forced_deadline_is_settled_without_it(there: Tenuto):
    may_end.clear()
    made = await there.enqueue(stubborn.new())

    found = await ended(there, made)

    assert (found.state, found.errors[-1].message) == (CANCELLED, "its deadline has passed")
    assert between(found.deadline_at, found.finished_at) < SECOND
    assert _running(there) == 1, "its slot is the thread's"
    may_end.set()
    await eventually(lambda: _running(there) == 0)
    assert (await there.fetch(made)).state is CANCELLED


# ── that do not run ───────────────────────────────────────────────────────────────────────────────


@job(name="endings.timely", deadline=1)
async def timely() -> None: ...


@job(name="endings.at_leisure", deadline=3600)
async def at_leisure() -> None: ...


async def test_a_job_that_no_queue_ever_takes_is_cancelled_by_its_deadline(there: Tenuto):
    counted: list[int] = []
    telemetry.attach(hear := lambda _, payload: counted.append(payload["count"]), "stager.overdue")
    made = await there.enqueue(timely.options(queue="nobody's").new())

    found = await ended(there, made)
    telemetry.detach(hear)

    assert (found.state, found.attempt, found.errors[-1].message) == (CANCELLED, 0, "its deadline has passed")
    assert between(found.deadline_at, found.finished_at) < 2.5 * SECOND
    assert counted == [1]


async def test_a_job_that_was_claimed_too_late_does_not_run(open_app: OpenApp):
    app = await open_app(queues={"default": 1})
    gate = Gate()
    await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)
    made = await app.enqueue(timely.options(deadline=0.2).new())

    found = await ended(app, made)
    gate.open()

    assert (found.state, found.attempted_at) == (CANCELLED, None)


async def test_in_time_it_runs_and_nothing_happens_at_its_deadline(there: Tenuto):
    made = await there.enqueue(timely.new())
    forced = await there.enqueue(timely.options(deadline=Deadline(1, force=True)).new())

    await ended_by_its_deadline(there)

    assert [(await there.fetch(each)).state for each in (made, forced)] == [COMPLETED, COMPLETED]


async def test_a_step_that_waits_too_long_for_its_dep_is_cancelled_with_the_steps_behind_it(there: Tenuto):
    gate = Gate()
    flow = Workflow()
    flow.add("slow", Obey.wait_at(gate))
    flow.add("late", timely.new(), deps=["slow"])
    flow.add("behind", at_leisure.new(), deps=["late"])
    flow.add("forgiving", at_leisure.new(), deps=["late"], ignore_cancelled=True)
    await there.enqueue(flow)

    late = await ended(there, flow.jobs["late"])

    assert late.state is CANCELLED
    assert await state_of(there, flow, "behind") == CANCELLED
    assert await reason_of(there, flow.jobs["behind"]) == "it needs step late, which was cancelled"
    gate.open()
    status = await there.workflow(flow.id).wait(timeout=20)
    assert (status.outcome, status.failed) == ("failed", ("late", "behind"))
    assert await state_of(there, flow, "forgiving") == COMPLETED


async def test_a_retry_by_an_operator_does_not_move_the_deadline(there: Tenuto):
    await there.queue("default").pause()
    await until_paused(there)
    made = await there.enqueue(timely.options(deadline=0.2).new())
    before = await ended(there, made)

    assert await there.retry(made) == [made.id]
    after = await ended(there, made)

    assert (after.state, after.deadline_at) == (CANCELLED, before.deadline_at)
