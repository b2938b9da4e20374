"""Results from the door in: what a step may read and by which refusals, what it keeps, and the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from tenuto import Job, Record, Tenuto, Worker, Workflow, blocking, current_job, job, results
from tenuto.errors import (
    NoResult,
    NotInJob,
    NoWorkflow,
    ResultTooLarge,
    StaleAttempt,
    StepNotFound,
    TenutoError,
    UnencodableResult,
    WorkflowNotFound,
    WouldDeadlock,
)
from tests.kit import (
    Obey,
    drain,
    eventually,
    finish,
    kill,
    reason_of,
    result_of,
    runs_of,
    state_of,
    states_of,
    worker_process,
)
from tests.stories.test_workflow import Sulk, has_result


class Stage(Enum):
    FETCH = "fetch"


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_result_is_read_by_the_next_step(app):
    flow = Workflow()
    flow.add("fetch", Obey.value({"token": "t-xyz"}))
    flow.add("use", Obey.read("fetch"), deps=["fetch"])

    await finish(app, flow)

    assert await result_of(app, flow, "use") == {"fetch": {"token": "t-xyz"}}


async def test_a_step_is_refused_a_result_by_exactly_one_of_three_names(app):
    flow = Workflow()
    flow.add("quiet", Obey.ok())
    flow.add("other", Obey.value(1))
    flow.add("ask", Obey.read("ghost", "other", "quiet"), deps=["quiet"])

    await finish(app, flow)

    assert await result_of(app, flow, "ask") == {
        "ghost": "StepNotFound",
        "other": "NotADependency",
        "quiet": "NoResult",
    }


heard: dict[str, Any] = {}


def answer(ask: Callable[[], Any]) -> Any:
    """What it gives, or the kind of its refusal."""
    try:
        return ask()
    except TenutoError as refusal:
        return type(refusal)


@job(name="stories.ask_alone", max_attempts=1)
async def ask_alone() -> None:
    heard["one"] = answer(lambda: results.get_result("ghost"))
    heard["all"] = answer(results.get_all_results)
    heard["own"] = answer(results.get_own_result)
    try:
        await results.store_result(1)
    except NoWorkflow as refusal:
        heard["store"] = type(refusal)


async def test_a_job_that_is_no_step_has_no_results_to_read_or_keep(app):
    heard.clear()
    await app.enqueue(ask_alone.new())

    await drain(app)

    assert heard == {"one": NoWorkflow, "all": {}, "own": NoResult, "store": NoWorkflow}


async def test_a_step_that_does_not_exist_is_told_before_what_is_no_dep(app):
    flow = Workflow()
    flow.add("alone", Obey.read("ghost"))

    await finish(app, flow)

    assert await result_of(app, flow, "alone") == {"ghost": "StepNotFound"}


async def test_only_direct_deps_may_be_read(app):
    flow = Workflow()
    flow.add("a", Obey.value(1))
    flow.add("b", Obey.value(2), deps=["a"])
    flow.add("c", Obey.read("a", "b"), deps=["b"])

    await finish(app, flow)

    assert await result_of(app, flow, "c") == {"a": "NotADependency", "b": 2}


async def test_all_results_are_those_of_direct_deps_that_have_one(app):
    flow = Workflow(ignore_discarded=True)
    flow.add("early", Obey.value(0))
    flow.add("one", Obey.value(1), deps=["early"])
    flow.add("null", Obey.value(None))
    flow.add("quiet", Obey.ok())
    flow.add("bad", Obey.fail())
    flow.add("join", Obey.gather(), deps=["one", "null", "quiet", "bad"])

    await finish(app, flow)

    assert await result_of(app, flow, "join") == {"one": 1, "null": None}


@job(name="stories.read_each_way")
async def read_each_way() -> list[Any]:
    me = current_job()
    return [
        results.get_result("fetch"),
        results.get_result(me, "fetch"),
        results.get_result(Stage.FETCH),
        results.get_result(me, Stage.FETCH),
        results.get_all_results(),
        results.get_all_results(me),
    ]


@job(name="stories.read_in_a_thread")
def read_in_a_thread() -> list[Any]:
    refused = ""
    try:
        results.get_result("ghost")
    except StepNotFound as refusal:
        refused = refusal.step
    return [results.get_result("fetch"), results.get_all_results(), refused]


async def test_a_step_is_named_by_text_or_enum_and_the_job_is_implied(app):
    flow = Workflow()
    flow.add(Stage.FETCH, Obey.value(7))
    flow.add("read", read_each_way.new(), deps=[Stage.FETCH])

    await finish(app, flow)

    assert await result_of(app, flow, "read") == [7, 7, 7, 7, {"fetch": 7}, {"fetch": 7}]
    assert await app.workflow(flow.id).result(Stage.FETCH) == 7


async def test_a_plain_function_reads_results_as_an_async_one_does(app):
    flow = Workflow()
    flow.add("fetch", Obey.value(7))
    flow.add("read", read_in_a_thread.new(), deps=["fetch"])

    await finish(app, flow)

    assert await result_of(app, flow, "read") == [7, {"fetch": 7}, "ghost"]


def test_outside_a_job_there_is_no_job_to_imply():
    for ask in (lambda: results.get_result("a"), results.get_all_results, results.get_own_result):
        with pytest.raises(NotInJob, match=r"app\.workflow"):
            ask()
    with pytest.raises(NotInJob):
        results.get_result(Obey.ok(), "a")


async def test_results_are_read_from_outside_by_workflow_and_step(app):
    flow = Workflow()
    flow.add("a", Obey.value([1]))
    flow.add("quiet", Obey.ok())
    await finish(app, flow)
    handle = app.workflow(flow.id)

    assert await handle.result("a") == [1]
    with pytest.raises(NoResult):
        await handle.result("quiet")
    with pytest.raises(StepNotFound):
        await handle.result("ghost")
    with pytest.raises(WorkflowNotFound):
        await app.workflow(Workflow().id).result("a")


async def test_a_step_that_has_not_ended_has_no_result_yet(app):
    flow = Workflow()
    flow.add("later", Obey.value(1, schedule_in=3600))
    await app.enqueue(flow)

    with pytest.raises(NoResult):
        await app.workflow(flow.id).result("later")


# ── keeping ───────────────────────────────────────────────────────────────────────────────────────


async def test_null_is_a_result_and_returning_nothing_is_none(app):
    flow = Workflow()
    flow.add("null", Obey.value(None))
    flow.add("nothing", Obey.ok())
    flow.add("read", Obey.read("null", "nothing"), deps=["null", "nothing"])

    status = await finish(app, flow)

    assert [step.has_result for step in status.steps] == [True, False, True]
    assert await result_of(app, flow, "read") == {"null": None, "nothing": "NoResult"}


async def test_a_result_lies_beside_the_job_and_never_in_its_meta(app):
    flow = Workflow("sync")
    flow.add("a", Obey.value({"token": "t"}, meta={"mine": 1}))
    stored = await app.enqueue(flow)

    await app.workflow(flow.id).wait(timeout=10)

    assert (await app.fetch(flow.jobs["a"])).meta == stored.jobs["a"].meta
    assert await result_of(app, flow, "a") == {"token": "t"}


VALUES: dict[str, Any] = {
    "a dict": {"a": [1, 2.5, "x", True, None], "b": {}},
    "a datetime": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "a date and a time": [date(2026, 1, 2), time(3, 4)],
    "a timedelta": timedelta(days=1, microseconds=1),
    "a decimal": Decimal("1.10"),
    "a uuid": UUID("0192f0c1-2345-7000-8000-000000000001"),
    "bytes": b"\x00\xff",
    "a tuple": (1, (2, 3)),
    "sets": [{1, 2}, frozenset({"a"})],
    "a complex": 1 + 2j,
    "infinity": [float("inf"), float("-inf")],
    "minus zero": -0.0,
    "text with NUL": "a\x00b",
    "any alphabet": "ünï → 🎼",
    "a great integer": 10**300,
}


@job(name="stories.return_value")
async def return_value(name: str) -> Any:
    return Record(VALUES[name])


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_comes_back_as_it_was_type_by_type(app, name):
    flow = Workflow()
    flow.add("a", return_value.new(name))
    flow.add("b", Obey.gather(), deps=["a"])

    await finish(app, flow)
    outside, inside = await result_of(app, flow, "a"), (await result_of(app, flow, "b"))["a"]

    assert repr(outside) == repr(inside) == repr(VALUES[name])


@job(name="stories.return_keys")
async def return_keys() -> dict[Any, Any]:
    return {1: "one", None: "none", Stage.FETCH: "enum", False: "no"}


async def test_the_keys_of_a_dict_come_back_as_text(app):
    flow = Workflow()
    flow.add("a", return_keys.new())

    await finish(app, flow)

    assert await result_of(app, flow, "a") == {"1": "one", "null": "none", "fetch": "enum", "false": "no"}


@job(name="stories.return_bad", max_attempts=5)
async def return_bad(kind: str) -> Any:
    heard[kind] = heard.get(kind, 0) + 1
    return object() if kind == "UnencodableResult" else "x" * 16_000_001


@pytest.mark.parametrize("kind", ["UnencodableResult", "ResultTooLarge"])
async def test_what_cannot_be_stored_discards_the_step_and_is_not_tried_again(app, kind):
    heard.clear()
    flow = Workflow()
    flow.add("a", return_bad.new(kind))
    flow.add("b", Obey.ok(), deps=["a"])

    status = await finish(app, flow)

    assert {step.name: step.fate for step in status.steps} == {"a": "discarded", "b": "cancelled"}
    assert (await app.fetch(flow.jobs["a"])).errors[-1].type == kind
    assert heard == {kind: 1}


# ── keeping early, and the guard ──────────────────────────────────────────────────────────────────


async def test_a_result_that_was_stored_early_is_the_steps_result(app):
    flow = Workflow()
    flow.add("a", Obey.store({"paid": True}))
    flow.add("b", Obey.gather(), deps=["a"])

    await finish(app, flow)

    assert await result_of(app, flow, "b") == {"a": {"paid": True}}


async def test_what_is_returned_replaces_what_was_stored_early(app):
    flow = Workflow()
    flow.add("a", Obey.store(1, then="return"))

    await finish(app, flow)

    assert await result_of(app, flow, "a") == ["returned", 1]


async def test_a_step_that_failed_after_storing_settles_without_running_again(app):
    flow = Workflow()
    flow.add("a", Obey.store("paid", then="fail"))
    flow.add("b", Obey.gather(), deps=["a"])

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert len(runs_of(flow.jobs["a"])) == 1
    assert await result_of(app, flow, "b") == {"a": "paid"}
    assert (await app.fetch(flow.jobs["a"])).attempt == 2  # it was claimed again, and settled at once


async def test_a_step_whose_process_was_killed_after_storing_settles_without_running_again(open_app, database_url):
    flow = Workflow()
    flow.add("a", Obey.store("paid", then="hang"))
    flow.add("b", Obey.gather(), deps=["a"])
    watcher = await open_app()
    await watcher.enqueue(flow)

    with worker_process(database_url) as process:
        await eventually(lambda: has_result(watcher, flow, "a"))
        kill(process)
    app = await open_app(queues={"default": 10})
    status = await app.workflow(flow.id).wait(timeout=20)

    assert status.outcome == "completed"
    assert runs_of(flow.jobs["a"]) == []  # it never ran in this process
    assert await result_of(app, flow, "b") == {"a": "paid"}


async def test_a_step_that_ended_well_without_a_result_runs_again_when_retried(app):
    flow = Workflow()
    flow.add("a", Obey.ok())
    await finish(app, flow)

    await app.retry(flow.jobs["a"])
    await app.workflow(flow.id).wait(timeout=10)

    assert len(runs_of(flow.jobs["a"])) == 2


class Resume(Worker[None, list[Any]], name="stories.resume", backoff=0, reuse_result=False):
    """Adds one to what it stored before, and fails until it has three."""

    async def process(self, job: Job[None, list[Any]]) -> list[Any]:
        try:
            done = results.get_own_result()
        except NoResult:
            done = 0
        heard[job.id] = [*heard.get(job.id, []), done]
        await results.store_result(done + 1)
        assert results.get_own_result(job) == done + 1
        if done < 2:
            raise RuntimeError("not done yet")
        return ["done", done + 1]


async def test_without_the_guard_a_step_goes_on_from_its_own_result(app):
    flow = Workflow()
    flow.add("a", Resume.new())

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert heard[flow.jobs["a"].id] == [0, 1, 2]
    assert await result_of(app, flow, "a") == ["done", 3]


async def test_a_step_has_no_result_of_its_own_on_its_first_attempt(app):
    flow = Workflow()
    flow.add("a", ask_own.new())

    await finish(app, flow)

    assert await result_of(app, flow, "a") == "NoResult"


@job(name="stories.ask_own")
async def ask_own() -> str:
    try:
        return str(results.get_own_result())
    except NoResult as refusal:
        return type(refusal).__name__


async def test_an_operators_retry_clears_the_result_and_runs_again(app):
    flow = Workflow()
    flow.add("a", Obey.store("first", then="nothing"))
    await finish(app, flow)

    await app.retry(flow.jobs["a"])
    await app.workflow(flow.id).wait(timeout=10)

    assert len(runs_of(flow.jobs["a"])) == 2


async def test_an_operators_retry_may_keep_the_result_and_then_the_guard_holds(app):
    flow = Workflow()
    flow.add("a", Obey.value("first"))
    await finish(app, flow)

    await app.retry(flow.jobs["a"], keep_results=True)
    await app.workflow(flow.id).wait(timeout=10)

    assert len(runs_of(flow.jobs["a"])) == 1
    assert await result_of(app, flow, "a") == "first"


async def test_a_dep_that_runs_again_later_runs_nobody_behind_it(app):
    flow = Workflow(ignore_discarded=True)
    flow.add("a", Obey.fail_times(1, then="late", max_attempts=1))
    flow.add("b", Obey.gather(), deps=["a"])
    await finish(app, flow)

    await app.retry(flow.jobs["a"])
    status = await app.workflow(flow.id).wait(timeout=10)

    assert await result_of(app, flow, "a") == "late"
    assert await result_of(app, flow, "b") == {}
    assert (len(runs_of(flow.jobs["b"])), status.runs, status.outcome) == (1, 2, "completed")


@job(name="stories.store_in_a_thread", backoff=0)
def store_in_a_thread() -> None:
    blocking.store_result("from a thread")
    if current_job().attempt == 1:
        raise RuntimeError("after storing")
    heard["second attempt"] = True


async def test_a_plain_function_stores_its_result_early_too(app):
    heard.clear()
    flow = Workflow()
    flow.add("a", store_in_a_thread.new())

    status = await finish(app, flow)

    assert (status.outcome, heard) == ("completed", {})
    assert await result_of(app, flow, "a") == "from a thread"


@job(name="stories.store_bad", max_attempts=1)
async def store_bad() -> list[str]:
    told = []
    for value in (object(), "x" * 16_000_001):
        try:
            await results.store_result(value)
        except (UnencodableResult, ResultTooLarge) as refusal:
            told.append(type(refusal).__name__)
    return told


async def test_what_cannot_be_stored_early_is_refused_and_the_step_goes_on(app):
    flow = Workflow()
    flow.add("a", store_bad.new())

    await finish(app, flow)

    assert await result_of(app, flow, "a") == ["UnencodableResult", "ResultTooLarge"]


@job(name="stories.store_too_late", max_attempts=2)
async def store_too_late() -> None:
    app: Tenuto = heard["app"]
    await app.cancel(current_job())
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await eventually(lambda: _has_settled(app, current_job()))
        try:
            await results.store_result("too late")
        except StaleAttempt as refusal:
            heard["refused"] = refusal.job_id


async def _has_settled(app: Tenuto, job: Job[Any, Any]) -> bool:
    return (await app.fetch(job)).state == "cancelled"


async def test_an_attempt_that_lost_its_job_can_store_nothing(app):
    heard.clear()
    heard["app"] = app
    flow = Workflow()
    flow.add("a", store_too_late.new())
    await app.enqueue(flow)

    await eventually(lambda: "refused" in heard)

    assert heard["refused"] == flow.jobs["a"].id
    with pytest.raises(NoResult):
        await result_of(app, flow, "a")


async def test_a_dep_that_waits_for_its_retry_has_no_result_and_holds_the_reader(app):
    flow = Workflow()
    flow.add("a", Sulk.new())
    flow.add("b", Obey.gather(), deps=["a"])
    await app.enqueue(flow)

    await eventually(lambda: _is_retryable(app, flow, "a"))

    assert await states_of(app, flow) == {"a": "retryable", "b": "suspended"}
    with pytest.raises(NoResult):
        await result_of(app, flow, "a")


async def _is_retryable(app: Tenuto, flow: Workflow, step: str) -> bool:
    return await state_of(app, flow, step) == "retryable"


async def test_the_reason_of_a_refusal_is_kept_with_the_step(app):
    flow = Workflow()
    flow.add("other", Obey.value(1))
    flow.add("ask", ask_for_a_stranger.new())

    await finish(app, flow)

    assert "'other' is not a declared dep" in await reason_of(app, flow.jobs["ask"])


@job(name="stories.ask_for_a_stranger", max_attempts=1)
async def ask_for_a_stranger() -> Any:
    return results.get_result("other")


@job(name="results.blocks_the_loop")
async def blocks_the_loop() -> str:
    try:
        blocking.store_result("never")
    except WouldDeadlock:
        return "refused"
    return "stored"


async def test_the_blocking_form_is_refused_in_an_async_job_where_it_would_wait_for_ever(app):
    flow = Workflow()
    flow.add("step", blocks_the_loop.new())

    await finish(app, flow)

    assert await result_of(app, flow, "step") == "refused"
