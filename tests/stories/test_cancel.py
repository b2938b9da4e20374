"""Cancelling, told by those who are cancelled."""

import asyncio
import threading
import time
from typing import Any

from tenuto import Tenuto, current_job, job
from tenuto.job import CANCELLED, COMPLETED, EXECUTING, Job
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, eventually, until_paused

AnyJob = Job[Any, Any]

stubborn_may_end = threading.Event()
stubborn_runs = threading.Event()
told = threading.Event()


@job(name="cancel.stubborn")
def stubborn() -> None:
    """Sees that it is cancelled, and goes on."""
    stubborn_runs.set()
    mine = current_job()
    while not stubborn_may_end.wait(0.01):
        if mine.cancelled:
            told.set()


@job(name="cancel.deaf")
async def deaf() -> None:
    """An async job that swallows its cancellation."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if stubborn_may_end.is_set():
                raise


async def is_in(app: Tenuto, made: AnyJob, state: str) -> bool:
    return (await app.fetch(made)).state == state


async def test_a_waiting_job_that_is_cancelled_never_starts(app: Tenuto) -> None:
    await app.queue("default").pause()
    await until_paused(app)
    made = await app.enqueue(Obey.ok())

    changed = await app.cancel(made)

    assert changed == [made.id]
    assert await is_in(app, made, CANCELLED)
    assert (await app.fetch(made)).attempt == 0


async def test_a_running_async_job_is_cancelled_within_a_second(app: Tenuto) -> None:
    gate = Gate()
    made = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    began = time.monotonic()
    await app.cancel(made)
    await eventually(lambda: is_in(app, made, CANCELLED))

    assert time.monotonic() - began < 1.0


async def test_a_running_thread_is_told_and_its_job_settled_within_a_second(app: Tenuto) -> None:
    for event in (stubborn_may_end, stubborn_runs, told):
        event.clear()
    made = await app.enqueue(stubborn.new())
    await eventually(stubborn_runs.is_set)

    began = time.monotonic()
    await app.cancel(made)
    await eventually(lambda: is_in(app, made, CANCELLED))
    took = time.monotonic() - began

    assert took < 1.2
    assert told.is_set()
    stubborn_may_end.set()


async def test_an_async_job_that_ignores_its_cancellation_is_settled_all_the_same(app: Tenuto) -> None:
    stubborn_may_end.clear()
    made = await app.enqueue(deaf.new())
    await eventually(lambda: is_in(app, made, EXECUTING))

    await app.cancel(made)
    await eventually(lambda: is_in(app, made, CANCELLED))

    stubborn_may_end.set()


async def test_a_completion_that_was_committed_first_stays(app: Tenuto) -> None:
    made = await app.enqueue(Obey.ok())
    await eventually(lambda: is_in(app, made, COMPLETED))

    assert await app.cancel(made) == []
    assert await is_in(app, made, COMPLETED)


async def test_cancelling_by_a_filter_reaches_what_fits_and_nothing_else(app: Tenuto) -> None:
    await app.queue("mail").pause()
    mails = await app.enqueue([Obey.ok(queue="mail", tags=["bulk"]) for _ in range(3)])
    other = await app.enqueue(Obey.ok(queue="mail"))

    changed = await app.cancel(queue="mail", tag="bulk")

    assert sorted(changed) == sorted(made.id for made in mails)
    assert not await is_in(app, other, CANCELLED)


async def test_an_abandoned_attempt_keeps_its_slot_while_its_job_runs_again(open_app: OpenApp) -> None:
    stubborn_may_end.clear()
    stubborn_runs.clear()
    app = await open_app(queues={"default": 2})
    crew = app._crew
    assert crew is not None
    made = await app.enqueue(stubborn.new())
    await eventually(stubborn_runs.is_set)
    await app.cancel(made)
    await eventually(lambda: is_in(app, made, CANCELLED))
    assert crew.running == {"default": 1}

    stubborn_runs.clear()
    await app.retry(made)
    await eventually(stubborn_runs.is_set)
    assert crew.running == {"default": 2}

    stubborn_may_end.set()
    await eventually(lambda: is_in(app, made, COMPLETED))
    await eventually(lambda: crew.running == {"default": 0})
