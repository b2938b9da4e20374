"""One attempt, from a claimed job to its ack: whatever user code does becomes an outcome of that job alone."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tenuto import Cancel, Discard, Job, Record, Snooze, current_app, current_job, job, telemetry
from tenuto.context import Needs
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EXECUTING,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    JobState,
    Signal,
)
from tenuto.outcome import RELEASED, STOPPED, Ack
from tenuto.runtime.executor import Attempt, Executor
from tenuto.runtime.expiry import EXPIRED
from tenuto.runtime.places.pool import Threads

AnyJob = Job[Any, Any]


class Unspeakable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


RAISED: dict[str, BaseException] = {
    "an exception": ValueError("no"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "BaseException": BaseException("bare"),
    "StopIteration": StopIteration("done"),
    "StopAsyncIteration": StopAsyncIteration(),
    "one without a text": Unspeakable(),
    "TimeoutError": TimeoutError("its own"),
}


@job
async def raise_on_loop(what: str) -> None:
    raise RAISED[what]


@job
def raise_in_thread(what: str) -> None:
    raise RAISED[what]


@job
async def answer(what: str) -> Any:
    return {"none": None, "record": Record(7), "snooze": Snooze(30), "cancel": Cancel("c"), "discard": Discard("d")}[
        what
    ]


@job
async def raise_answer(what: str) -> None:
    raise {"snooze": Snooze(30), "cancel": Cancel("c"), "discard": Discard("d")}[what]


@job
async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


@job
async def refuse_to_stop() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "finished all the same"
    return "never"


_released = threading.Event()


@job
def look_for_a_signal() -> str:
    mine = current_job()
    while not mine.cancelled:
        _released.wait(0.01)
    return "saw it"


@job
async def who_am_i() -> str:
    return f"{current_job().id} {current_app()}"


@job(max_attempts=3, backoff=lambda attempt: attempt * 100)
async def fail_slowly() -> None:
    raise ValueError("again")


@job
def fail_in_thread() -> None:
    raise ValueError("here")


async def keep() -> str:
    return "kept"


@job
def promise() -> Any:
    return keep()


@pytest.fixture
async def executor() -> AsyncIterator[Executor]:
    threads = Threads()

    async def never(job: AnyJob, text: str) -> None:
        raise AssertionError("nothing is stored here")

    yield Executor("the app", threads, lambda job, step: False, never)
    threads.close()


def claimed(made: AnyJob, **fields: Any) -> AnyJob:
    """The job as a claim gives it."""
    return made.replace(**{"state": EXECUTING, "attempt": 1, "epoch": 1, "signal": Signal(), **fields})


async def run(executor: Executor, made: AnyJob, needs: Needs | None = None) -> Ack:
    return await executor.run(Attempt(made, needs or Needs()))


@pytest.mark.parametrize("what", RAISED)
@pytest.mark.parametrize("worker", [raise_on_loop, raise_in_thread], ids=["on the loop", "in a thread"])
async def test_whatever_is_raised_fails_that_attempt_and_nothing_else(
    executor: Executor, worker: Any, what: str
) -> None:
    ack = await run(executor, claimed(worker.new(what=what)))

    assert ack.state is RETRYABLE
    assert ack.error is not None
    assert ack.is_spent


@pytest.mark.parametrize("worker", [fail_slowly, fail_in_thread], ids=["on the loop", "in a thread"])
async def test_a_stored_traceback_begins_with_the_job_s_own_frames(executor: Executor, worker: Any) -> None:
    told = (await run(executor, claimed(worker.new()))).error or ""

    assert f"in {worker.__name__}" in told
    assert "runtime/executor.py" not in told


@pytest.mark.parametrize(
    ("what", "state", "is_spent"),
    [
        ("none", COMPLETED, True),
        ("record", COMPLETED, True),
        ("snooze", SCHEDULED, False),
        ("cancel", CANCELLED, True),
        ("discard", DISCARDED, True),
    ],
)
async def test_what_is_returned_decides_the_state(
    executor: Executor, what: str, state: JobState, is_spent: bool
) -> None:
    ack = await run(executor, claimed(answer.new(what=what)))

    assert (ack.state, ack.is_spent) == (state, is_spent)


@pytest.mark.parametrize(("what", "state"), [("snooze", SCHEDULED), ("cancel", CANCELLED), ("discard", DISCARDED)])
async def test_a_raised_outcome_counts_as_a_returned_one(executor: Executor, what: str, state: JobState) -> None:
    assert (await run(executor, claimed(raise_answer.new(what=what)))).state is state


async def test_a_job_of_an_unknown_worker_goes_back_unspent_and_later_each_time(executor: Executor) -> None:
    stranger: AnyJob = claimed(Job("nobody.knows", {}))

    delays = [(await run(executor, stranger.replace(snoozes=n))).delay for n in range(6)]

    assert delays == [timedelta(seconds=s) for s in (30, 60, 120, 240, 300, 300)]
    ack = await run(executor, stranger)
    assert (ack.state, ack.is_spent) == (SCHEDULED, False)


async def test_args_that_do_not_fit_any_more_fail_the_attempt_without_calling_process(executor: Executor) -> None:
    drifted = claimed(answer.new(what="none")).replace(args={"else": 1})

    ack = await run(executor, drifted)

    assert ack.state is RETRYABLE
    assert "InvalidArgs" in (ack.error or "")


async def test_a_step_with_unmet_needs_goes_back_without_running(executor: Executor) -> None:
    ack = await run(executor, claimed(raise_on_loop.new(what="an exception")), Needs(unmet=1))

    assert (ack.state, ack.is_spent) == (SUSPENDED, False)


async def test_a_step_with_a_stored_result_settles_without_running_again(executor: Executor) -> None:
    ack = await run(executor, claimed(raise_on_loop.new(what="an exception")), Needs(own='"kept"'))

    assert (ack.state, ack.result) == (COMPLETED, None)


async def test_a_timeout_fails_an_async_job(executor: Executor) -> None:
    ack = await run(executor, claimed(sleep_for_ever.new(), timeout=timedelta(milliseconds=20)))

    assert ack.state is RETRYABLE
    assert '"kind":"timeout"' in (ack.error or "")


async def test_a_job_that_swallows_its_timeout_is_timed_out_all_the_same(executor: Executor) -> None:
    ack = await run(executor, claimed(refuse_to_stop.new(), timeout=timedelta(milliseconds=20)))

    assert '"kind":"timeout"' in (ack.error or "")


async def test_a_timed_out_thread_is_told_and_waited_for(executor: Executor) -> None:
    attempt = Attempt(claimed(look_for_a_signal.new(), timeout=timedelta(milliseconds=20)), Needs())

    ack = await executor.run(attempt)

    assert attempt.job.cancelled
    assert '"kind":"timeout"' in (ack.error or "")


@pytest.mark.parametrize(("told", "state"), [(STOPPED, CANCELLED), (RELEASED, AVAILABLE)])
async def test_an_attempt_that_is_told_to_stop_comes_to_what_it_was_told(
    executor: Executor, told: Any, state: JobState
) -> None:
    attempt = Attempt(claimed(sleep_for_ever.new()), Needs())
    task = asyncio.create_task(executor.run(attempt))
    attempt.task = task  # type: ignore[assignment]  # the producer's tasks give nothing
    await asyncio.sleep(0)

    attempt.stop(told)

    assert (await task).state is state


async def test_a_plain_function_sees_that_it_was_told_to_stop(executor: Executor) -> None:
    attempt = Attempt(claimed(look_for_a_signal.new()), Needs())
    task = asyncio.create_task(executor.run(attempt))
    attempt.task = task  # type: ignore[assignment]  # the producer's tasks give nothing
    await asyncio.sleep(0)

    attempt.stop(STOPPED)

    assert (await task).state is COMPLETED


async def test_a_plain_function_that_returns_because_its_deadline_came_is_cancelled(executor: Executor) -> None:
    attempt = Attempt(claimed(look_for_a_signal.new(), deadline_force=True), Needs())
    task = asyncio.create_task(executor.run(attempt))
    attempt.task = task  # type: ignore[assignment]  # the producer's tasks give nothing
    await asyncio.sleep(0)

    attempt.stop(EXPIRED)

    assert (await task).state is CANCELLED


async def test_the_current_job_and_app_are_the_ones_that_run(executor: Executor) -> None:
    made = claimed(who_am_i.new(), workflow_id="w")

    ack = await run(executor, made)

    assert ack.result == f'"{made.id} the app"'


async def test_the_last_attempt_discards_the_job(executor: Executor) -> None:
    ack = await run(executor, claimed(fail_slowly.new(), attempt=3))

    assert ack.state is DISCARDED


async def test_an_awaitable_that_a_plain_function_returns_is_awaited(executor: Executor) -> None:
    ack = await run(executor, claimed(promise.new(), workflow_id="w"))

    assert ack.result == '"kept"'


async def test_an_attempt_that_was_told_to_stop_before_it_began_does_not_begin(executor: Executor) -> None:
    attempt = Attempt(claimed(raise_on_loop.new(what="an exception")), Needs())
    attempt.stop(RELEASED)

    assert (await executor.run(attempt)).state is AVAILABLE


async def test_the_worker_s_own_backoff_replaces_the_usual_one(executor: Executor) -> None:
    ack = await run(executor, claimed(fail_slowly.new(), attempt=2))

    assert ack.delay == timedelta(seconds=200)


async def test_events_tell_of_the_start_and_the_end_of_each_attempt(executor: Executor) -> None:
    heard: list[str] = []

    def hear(event: str, payload: Any) -> None:
        heard.append(event)

    telemetry.attach(hear, "job.start", "job.stop", "job.exception")
    try:
        await run(executor, claimed(answer.new(what="none")))
        await run(executor, claimed(raise_on_loop.new(what="an exception")))
    finally:
        telemetry.detach(hear)

    assert heard == ["job.start", "job.stop", "job.start", "job.exception"]


async def test_a_telemetry_handler_that_raises_harms_nothing(executor: Executor) -> None:
    def explode(event: str, payload: Any) -> None:
        raise asyncio.CancelledError("a handler's own fault")

    telemetry.attach(explode)
    try:
        ack = await run(executor, claimed(answer.new(what="none")))
    finally:
        telemetry.detach(explode)

    assert ack.state is COMPLETED
