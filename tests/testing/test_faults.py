"""Faults: what goes wrong is met by all that is real, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from tenuto import Cancel, Job, Worker, Workflow, current_job, job
from tenuto.errors import InvalidRequest, NotDrained, StorageUnavailable, UnknownWorker
from tenuto.features.hooks import HookState
from tenuto.testing import Faults, database_away, drain, perform, run_workflow
from tenuto.testing.faults import InjectedFault
from tests.conftest import OpenApp
from tests.kit import Obey, eventually
from tests.testing.workers import pid

done: list[str] = []
"""The effects of the jobs here, by their ids."""


@pytest.fixture(autouse=True)
def _no_effects() -> None:
    done.clear()


@job(name="faults.charge", max_attempts=3, backoff=0)
async def charge(account: int = 1) -> int:
    done.append(current_job().id)
    return account


@job(name="faults.plain", max_attempts=3, backoff=0, timeout=0.2)
def plain() -> str:
    done.append(current_job().id)
    return "plain"


class CardDeclined(Exception):
    pass


# ── fail ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("worker", [charge, plain, "faults.charge"])
async def test_the_first_attempt_fails_and_the_next_is_the_workers_own(app, worker):
    stored = await app.enqueue((plain if worker is plain else charge).new())
    with Faults() as faults:
        faults.fail(worker, CardDeclined("no"))

        drained = await drain(app, retries=True)

    assert (drained.failed, drained.completed, done) == (1, 1, [stored.id])
    assert (await app.fetch(stored)).errors[0].type.endswith("CardDeclined")


async def test_the_nth_attempts_fail_or_all_of_them(app):
    stored = await app.enqueue([charge.new(1), charge.new(2)])
    with Faults() as faults:
        faults.fail(charge, nth=[1, 2], where=lambda job: job.args["account"] == 1)
        faults.fail(charge, nth=None, where=lambda job: job.args["account"] == 2)

        drained = await drain(app, retries=True, keep_failures=True)

    assert (drained.failed, drained.completed) == (5, 1)
    assert [(await app.fetch(each)).state for each in stored] == ["completed", "discarded"]
    assert (await app.fetch(stored[1])).errors[0].type.endswith(InjectedFault.__name__)


async def test_a_failure_after_the_work_has_had_its_effect(app):
    stored = await app.enqueue(charge.new())
    with Faults() as faults:
        faults.fail(charge, after=True)

        await drain(app, retries=True)

    assert done == [stored.id] * 2


async def test_hooks_and_features_meet_it_as_they_would_a_real_one(app):
    heard: list[str] = []

    class Hooked(Worker[None, str], name="faults.hooked", recorded=True):
        async def process(self, job: Job[None, str]) -> str:
            return "value"

        def after_process(self, state: HookState, job: Job[None, str], result: Any) -> None:
            heard.append(f"{state} {type(job.error).__name__}")

    with Faults() as faults:
        faults.fail(Hooked, CardDeclined())
        assert (await perform(Hooked.new(), app=app)).outcome == "failed"
        faults.fail(Hooked, Cancel("told to"), nth=1)
        assert (await perform(Hooked.new(), app=app)).outcome == "failed"  # the first fault that is due

    assert heard == ["error CardDeclined"] * 2


async def test_a_snooze_happens_once_and_spends_no_attempt(app):
    stored = await app.enqueue(charge.new())
    with Faults() as faults:
        faults.snooze(charge, 60)

        drained = await drain(app, scheduled=True)

    assert drained.counts == {"snoozed": 1, "completed": 1}
    assert (await app.fetch(stored)).attempt == 1


async def test_nothing_stays_behind(app):
    before, acting = charge.definition.features, charge.definition.acting
    with Faults() as faults:
        faults.fail(charge, nth=None)
        faults.kill(charge, nth=None)

    assert (charge.definition.features, charge.definition.acting) == (before, acting)
    assert (await perform(charge.new(), app=app)).value == 1


async def test_faults_are_for_the_block_alone_and_for_workers_they_reach():
    faults = Faults()
    with pytest.raises(InvalidRequest, match="is not open"):
        faults.fail(charge)
    with faults:
        with pytest.raises(InvalidRequest, match="which no fault of this process reaches"):
            faults.fail(pid)
        with pytest.raises(UnknownWorker):
            faults.fail("faults.nobody")
        with pytest.raises(InvalidRequest, match="None is no worker"):
            faults.fail(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("nth", [0, -1, [1, 0], [], "1", 1.5, True])
async def test_a_fault_that_would_never_come_is_refused(nth: Any):
    with Faults() as faults, pytest.raises(InvalidRequest, match="nth="):
        faults.fail(charge, nth=nth)


async def test_what_nobody_can_raise_is_refused():
    with Faults() as faults, pytest.raises(InvalidRequest, match="cannot be raised"):
        faults.fail(charge, "the bank is away")  # type: ignore[arg-type]


async def test_a_node_meets_them_too(open_app: OpenApp):
    node = await open_app(queues={"default": 1})
    with Faults() as faults:
        faults.fail(charge)
        stored = await node.enqueue(charge.new())

        async def is_completed() -> bool:
            return (await node.fetch(stored)).state == "completed"

        await eventually(is_completed)

    assert len((await node.fetch(stored)).errors) == 1


# ── slow ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("worker", [charge.options(), plain])
async def test_a_slow_one_runs_into_its_timeout(app, worker):
    with Faults() as faults:
        faults.slow(plain)
        faults.slow(charge, 0.01)

        outcome = await perform(worker.new(), app=app)

    assert outcome.outcome == ("failed" if worker is plain else "completed")


async def test_a_slow_one_can_be_cancelled(app):
    @job(name="faults.operator", queue="z")
    async def operator(id: str) -> None:
        await app.cancel(id)

    stored = await app.enqueue(charge.new())
    await app.enqueue(operator.new(stored.id))
    with Faults() as faults:
        faults.slow(charge)

        await drain(app, at_once=2)

    assert ((await app.fetch(stored)).state, done) == ("cancelled", [])


# ── kill ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("after", "effects"), [(False, 1), (True, 2)])
async def test_a_job_whose_process_dies_runs_again(app, after, effects):
    stored = await app.enqueue(charge.new())
    with Faults() as faults:
        faults.kill(charge, after=after)

        drained = await drain(app)

    now = await app.fetch(stored)
    assert drained.counts == {"killed": 1, "completed": 1}
    assert (now.state, now.attempt, now.rescues) == ("completed", 1, 1)
    assert done == [stored.id] * effects


async def test_one_that_always_kills_is_discarded(app):
    stored = await app.enqueue([charge.new(1), *(charge.new(2) for _ in range(3))])
    with Faults() as faults:
        faults.kill(charge, nth=None, where=lambda job: job.args["account"] == 1)

        drained = await drain(app, at_once=2)

    assert drained.counts == {"killed": 3, "completed": 3}
    assert (await app.fetch(stored[0])).errors[-1].type == "Poisoned"


async def test_no_hook_hears_of_a_death_by_itself(app):
    heard: list[str] = []

    @job(name="faults.heard")
    async def heard_of() -> None: ...

    @heard_of.after_process
    def hear(state: HookState, job: Job[Any, Any]) -> None:
        heard.append(state)

    with Faults() as faults:
        faults.kill(heard_of, after=True)
        await app.enqueue(heard_of.new())
        await drain(app)

    assert heard == ["complete"]


async def test_a_step_that_stored_its_result_before_it_died_does_not_run_again(app):
    flow = Workflow()
    flow.add("kept", Obey.store("early"))
    with Faults() as faults:
        faults.kill(Obey, after=True)

        run = await run_workflow(app, flow)

    assert ([each.outcome for each in run.runs], run["kept"]) == (["killed", "completed"], "early")


async def test_a_killed_one_is_performed_as_killed(app):
    with Faults() as faults:
        faults.kill(charge)
        killed = await perform(charge.new(), app=app)
        again = await perform(killed.job, app=app)

    assert (killed.outcome, killed.state, again.value) == ("killed", "available", 1)


async def test_a_node_of_this_process_does_not_die(open_app: OpenApp):
    node = await open_app(queues={"default": 1})
    with Faults() as faults:
        faults.kill(charge)
        stored = await node.enqueue(charge.new())

        async def has_failed() -> bool:
            return bool((await node.fetch(stored)).errors)

        await eventually(has_failed)

    assert "not for a node" in (await node.fetch(stored)).errors[0].message


# ── a database that is away ───────────────────────────────────────────────────────────────────────


async def test_what_is_asked_meanwhile_is_not_done(app):
    wanted = charge.new()
    with database_away(app), pytest.raises(StorageUnavailable):
        await app.enqueue(wanted)

    assert await app.find() == []
    assert not (await app.enqueue(wanted)).existing


async def test_what_was_asked_is_done_where_only_the_answer_was_lost(app):
    wanted = charge.new()
    with database_away(app, calls=1, lost="answers"):
        with pytest.raises(StorageUnavailable):
            await app.enqueue(wanted)
        assert (await app.enqueue(wanted)).existing


@pytest.mark.parametrize("lost", ["calls", "answers"])
@pytest.mark.parametrize("after", range(25))
async def test_an_outage_at_any_moment_of_a_drain_loses_nothing_and_repeats_nothing(app, after, lost):
    flow = Workflow()
    flow.add("first", charge.new(1))
    flow.add("second", charge.new(2), deps=["first"])
    await app.enqueue(flow)

    @job(name="faults.outage", priority=0)
    async def outage() -> None:
        away.enter_context(database_away(app, calls=2, after=after, lost=lost))

    with ExitStack() as away:
        await app.enqueue(outage.options(queue="a").new())
        await drain(app)

    assert sorted(done) == sorted(each.id for each in flow.jobs.values())
    assert (await app.workflow(flow.id).status()).outcome == "completed"


async def test_one_that_does_not_come_back_is_told(app):
    await app.enqueue(charge.new())
    with database_away(app), pytest.raises(StorageUnavailable):
        await drain(app)

    assert (await drain(app)).completed == 1


async def test_a_node_goes_on_when_it_is_back(open_app: OpenApp):
    node = await open_app(queues={"default": 1})
    with database_away(node):
        await asyncio.sleep(0)
        with pytest.raises(StorageUnavailable):
            await node.find()
    stored = await node.enqueue(charge.new())

    await eventually(lambda: done)

    assert done == [stored.id]


async def test_a_word_that_is_neither_is_refused(app):
    with pytest.raises(InvalidRequest, match="neither"), database_away(app, lost="both"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("never", [{"calls": 0}, {"calls": True}, {"after": -1}])
async def test_an_outage_that_would_never_come_is_refused(app, never: dict[str, Any]):
    with pytest.raises(InvalidRequest, match="out of range"), database_away(app, **never):
        pass


async def test_what_hangs_in_a_drain_is_named(app):
    await app.enqueue(charge.new())
    with Faults() as faults:
        faults.slow(charge)
        with pytest.raises(NotDrained, match=r"faults\.charge"):
            await drain(app, within=0.1)
