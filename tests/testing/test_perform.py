"""Performing one job: all of it runs, as it would on a node, and the answer says what it came to."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tenuto import (
    Cancel,
    Discard,
    Job,
    KeyRing,
    Queue,
    Rate,
    Snooze,
    Tenuto,
    Worker,
    Workflow,
    current_app,
    current_job,
    job,
    results,
)
from tenuto.errors import InvalidArgs, InvalidJob, InvalidRequest, NotCompleted, NotDrained, NotInJob, UnencodableResult
from tenuto.features.hooks import HookState
from tenuto.testing import perform
from tests.conftest import OpenApp
from tests.kit import Obey, ToldTo
from tests.storage.tables import Tables

RING = KeyRing("k1", {"k1": b64encode(b"a key of 32 bytes, for this test").decode()})
REQUEST: ContextVar[str] = ContextVar("request", default="none")


@job(name="perform.pair")
async def pair(count: int) -> tuple[int, dict[int, str]]:
    return count, {1: "one"}


@job(name="perform.plain")
def plain() -> str:
    return f"{current_job().attempt} {REQUEST.get()}"


# ── what it comes to ──────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_performed_without_an_app():
    done = await perform(pair.new(3))

    assert (done.outcome, done.state, done.job.attempt) == ("completed", "completed", 1)


async def test_its_value_is_what_a_reader_gets_and_not_what_was_returned():
    value: Any = (await perform(pair.new(3))).value

    assert value == (3, {"1": "one"})


async def test_its_args_are_those_that_a_node_reads():
    with pytest.raises(InvalidArgs):
        pair.new("three")  # type: ignore[arg-type]

    assert (await perform(pair.new("3"))).value[0] == 3  # type: ignore[arg-type]


async def test_what_it_raises_is_in_the_answer_with_its_traceback(app):
    done = await perform(Obey.fail("broken", max_attempts=2), app=app)

    assert (done.outcome, done.state) == ("failed", "retryable")
    assert isinstance(done.error, ToldTo)
    assert done.error.__traceback__ is not None
    assert done.job.errors[0].message == "broken"


async def test_asking_for_the_value_of_one_that_failed_raises_with_its_cause(app):
    done = await perform(Obey.fail("broken"), app=app)

    with pytest.raises(NotCompleted, match="it is failed, since it raised ToldTo: broken") as refused:
        _ = done.value
    assert refused.value.__cause__ is done.error


async def test_a_snooze_a_cancel_and_a_discard_are_told_apart(app):
    snoozed = await perform(Obey.snooze(30), app=app)
    cancelled = await perform(Obey.cancel("not now"), app=app)
    discarded = await perform(Obey.discard("never"), app=app)

    assert (snoozed.outcome, snoozed.state, snoozed.delay) == ("snoozed", "scheduled", timedelta(seconds=30))
    assert (cancelled.outcome, cancelled.reason) == ("cancelled", "not now")
    assert (discarded.outcome, discarded.reason) == ("discarded", "never")


async def test_a_timeout_is_a_failure(app):
    @job(name="perform.endless", timeout=0.05)
    async def endless() -> None:
        await asyncio.Event().wait()

    done = await perform(endless.new(), app=app)

    assert (done.outcome, type(done.error).__name__) == ("failed", "JobTimedOut")


async def test_a_value_that_nobody_can_read_is_refused_when_asked_for(app):
    @job(name="perform.opaque")
    async def opaque() -> Any:
        return object()

    done = await perform(opaque.new(), app=app)

    assert done.outcome == "completed"
    with pytest.raises(UnencodableResult):
        _ = done.value


async def test_a_job_whose_result_cannot_be_kept_says_why(app):
    @job(name="perform.kept", recorded=True)
    async def kept() -> Any:
        return object()

    done = await perform(kept.new(), app=app)

    assert (done.outcome, type(done.error)) == ("discarded", NotCompleted)
    assert "object" in str(done.error)


# ── how it runs ───────────────────────────────────────────────────────────────────────────────────


async def test_a_plain_function_runs_and_sees_nothing_of_the_test():
    REQUEST.set("of the test")

    assert (await perform(plain.new())).value == "1 none"
    with pytest.raises(NotInJob):
        current_job()


async def test_every_feature_of_its_worker_acts(app: Tenuto, database_url: str):
    heard: list[str] = []

    @dataclass
    class Args:
        secret: str

    class Everything(
        Worker[Args, str], name="perform.everything", recorded=True, encrypted=RING, deadline=3600, unique=True
    ):
        def before_process(self, job: Job[Args, str]) -> Job[Args, str]:
            heard.append("before")
            return job

        async def process(self, job: Job[Args, str]) -> str:
            return job.args.secret.upper()

        def after_process(self, state: HookState, job: Job[Args, str], result: Any) -> None:
            heard.append(f"{state} {result}")

    done = await perform(Everything.new(secret="marker"), app=app)

    assert done.value == await app.recorded(done.job) == "MARKER"
    assert heard == ["before", "complete MARKER"]
    with closing(Tables(database_url)) as tables:
        assert "marker" not in str(tables.rows("select args, recorded from jobs")).lower()


async def test_what_it_enqueues_is_in_its_apps_store(app):
    @job(name="perform.parent")
    async def parent() -> str:
        return (await current_app().enqueue(pair.new(1))).id

    done = await perform(parent.new(), app=app)

    assert (await app.fetch(done.value)).state == "available"


async def test_a_job_in_a_process_of_its_own_is_performed_there(app):
    import os

    from tests.testing.workers import pid

    assert (await perform(pid.new(), app=app)).value != os.getpid()


# ── which one runs ────────────────────────────────────────────────────────────────────────────────


async def test_just_this_job_runs_whatever_is_more_urgent(app):
    urgent = await app.enqueue([Obey.ok(priority=0) for _ in range(3)])

    @job(name="perform.last", priority=9)
    async def last() -> int:
        return len(await current_app().find(state="executing"))

    done = await perform(last.new(), app=app)

    assert done.value == 1  # the others are free while it runs
    left = [await app.fetch(each) for each in urgent]
    assert [(each.state, each.attempt) for each in left] == [("available", 0)] * 3


async def test_a_job_that_is_due_later_is_performed_now(app):
    assert (await perform(Obey.value(7, schedule_in=3600), app=app)).value == 7


async def test_a_failed_one_is_performed_again_as_its_next_attempt(app):
    first = await perform(Obey.fail_times(1, then="done"), app=app)
    second = await perform(first.job, app=app)

    assert (first.outcome, second.value, second.job.attempt) == ("failed", "done", 2)


async def test_limits_of_its_queue_are_no_hindrance(open_app: OpenApp, database_url: str):
    node = await open_app(queues={"slow": Queue(1, rate=Rate(1, per=3600))})
    await node.queue("slow").pause()
    app = await open_app()

    assert [(await perform(Obey.value(n, queue="slow"), app=app)).value for n in (1, 2)] == [1, 2]


async def test_a_step_is_performed_where_it_is_with_what_it_may_read(app):
    @job(name="perform.double")
    async def double() -> int:
        number: int = results.get_result("number")
        return 2 * number

    flow = Workflow()
    flow.add("number", Obey.value(21))
    flow.add("double", double.new(), deps=["number"])
    stored = await app.enqueue(flow)

    await perform(stored.jobs["number"], app=app)

    assert (await perform(stored.jobs["double"], app=app)).value == 42
    assert await app.workflow(flow.id).result("double") == 42


async def test_one_that_waits_for_others_or_has_ended_is_refused(app):
    flow = Workflow()
    flow.add("first", Obey.ok())
    flow.add("second", Obey.ok(), deps=["first"])
    stored = await app.enqueue(flow)
    ended = await perform(Obey.ok(), app=app)

    with pytest.raises(InvalidRequest, match="cannot run now: it is suspended"):
        await perform(stored.jobs["second"], app=app)
    with pytest.raises(InvalidRequest, match="it is completed"):
        await perform(ended.job, app=app)


async def test_what_is_not_one_job_is_refused_before_it_is_stored(app):
    given: Any
    for given in (None, [Obey.ok()], Workflow()):
        with pytest.raises(InvalidJob, match="one Job"):
            await perform(given, app=app)
    assert await app.find() == []


async def test_one_that_does_not_end_is_given_back_and_told_of(app):
    @job(name="perform.stuck")
    async def stuck() -> None:
        await asyncio.Event().wait()

    stored = await app.enqueue(stuck.new())

    with pytest.raises(NotDrained, match=r"perform\.stuck has not ended within 0.1 s"):
        await perform(stored, app=app, within=0.1)
    now = await app.fetch(stored)
    assert (now.state, now.attempt) == ("available", 0)


async def test_a_performed_one_that_snoozed_or_raised_it_counts_the_same(app):
    @job(name="perform.raises")
    async def raises(what: str) -> None:
        raise {"snooze": Snooze(5), "cancel": Cancel("c"), "discard": Discard("d")}[what]

    done = [await perform(raises.new(what), app=app) for what in ("snooze", "cancel", "discard")]

    assert [each.outcome for each in done] == ["snoozed", "cancelled", "discarded"]
