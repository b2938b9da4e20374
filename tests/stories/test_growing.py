"""Workflows that grow: steps appended from outside, and grafts that a running step fills."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tenuto import Discard, Tenuto, Workflow, graft, job
from tenuto.errors import (
    CycleFound,
    DuplicateStep,
    EmptyWorkflow,
    InvalidWorkflow,
    NotInGraft,
    NotInJob,
    StaleAttempt,
    UnknownDependency,
    WorkflowFinished,
    WorkflowMismatch,
    WorkflowNotFound,
)
from tenuto.graph import Head
from tenuto.outcome import DONE, settle
from tenuto.storage import append, steer, store
from tenuto.storage.reading import CHECKS
from tests.kit import ROOT, Obey, drain, eventually, finish, kill, states_of
from tests.storage.build import NOON, Claimer
from tests.stories import growers

RACES = int(os.environ.get("TENUTO_RACES", "60"))


async def is_sound(app: Tenuto) -> bool:
    """Whether the doctor finds nothing; an app that does not work knows of no node that knows Obey."""
    return [each for each in await app.check() if not each.is_well and each.rule in CHECKS.values()] == []


def one(name: str = "a", **options: Any) -> Workflow:
    flow = Workflow("one")
    flow.add(name, Obey.value(name, **options))
    return flow


# ── append ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_behind_one_that_has_ended_runs_at_once(app):
    flow = one()
    flow.add("open", Obey.snooze(3600))
    await app.enqueue(flow)
    await drain(app)

    step = await app.workflow(flow.id).add("b", Obey.value("b"), deps="a")
    await drain(app)

    assert await states_of(app, flow) == {"a": "completed", "open": "scheduled", "b": "completed"}
    assert step.job.meta["workflow_name"] == "one"
    assert await is_sound(app)


async def test_a_step_behind_one_that_runs_waits_for_it_and_keeps_the_workflow_alive(open_app):
    asleep, flow = await open_app(), one()
    await asleep.enqueue(flow)

    await asleep.workflow(flow.id).add("b", Obey.value("b"), deps="a")
    before = await states_of(asleep, flow)
    app = await open_app(queues={"default": 10})
    status = await app.workflow(flow.id).wait(20)

    assert before == {"a": "available", "b": "suspended"}
    assert (status.outcome, status.total, status.completed) == ("completed", 2, 2)
    assert await is_sound(app)


async def test_a_step_behind_a_bad_end_is_cancelled_as_it_would_have_been(app):
    flow = Workflow()
    flow.add("bad", Obey.fail())
    flow.add("open", Obey.snooze(3600))
    await app.enqueue(flow)
    await drain(app)

    step = await app.workflow(flow.id).add("b", Obey.ok(), deps="bad")
    forgiving = await app.workflow(flow.id).add("c", Obey.ok(), deps="bad", ignore_discarded=True)
    await drain(app)

    states = await states_of(app, flow)
    assert (step.job.state, forgiving.job.state) == ("cancelled", "available")
    assert (states["b"], states["c"]) == ("cancelled", "completed")
    assert (await app.fetch(step.job)).errors[-1].message == "it needs step bad, which was discarded"
    assert await is_sound(app)


async def test_a_step_behind_a_deleted_one_is_cancelled(open_app):
    app, flow = await open_app(), one()
    flow.add("open", Obey.ok())
    await app.enqueue(flow)
    await app.delete(flow.jobs["a"])

    step = await app.workflow(flow.id).add("b", Obey.ok(), deps="a")

    assert step.job.state == "cancelled"
    assert await is_sound(app)


async def test_a_whole_workflow_with_groups_is_appended(app):
    flow = one()
    flow.add("open", Obey.snooze(3600))
    await app.enqueue(flow)
    more = Workflow()
    fan = more.add_many("fan", [Obey.value(1), Obey.value(2)], deps="a")
    more.add("none", Obey.ok(), deps=more.add_many("empty", []))
    more.add("join", Obey.ok(), deps=fan)

    stored = await app.workflow(flow.id).append(more)
    await drain(app)

    states = await states_of(app, flow)
    assert {name: states[name] for name in stored.steps} == dict.fromkeys(more.step_names, "completed")
    assert (await app.workflow(flow.id).status()).group("fan").completed == 2
    assert await is_sound(app)


async def test_results_of_stored_steps_can_be_args_of_new_ones(app):
    flow = one()
    flow.add("open", Obey.snooze(3600))
    stored = await app.enqueue(flow)
    await drain(app)

    await app.workflow(flow.id).add("b", Obey.new(does="value", value=stored.steps["a"].result))
    await drain(app)

    assert await app.workflow(flow.id).result("b") == "a"


async def test_nothing_is_added_to_a_workflow_that_has_finished(app):
    flow = one()
    await finish(app, flow)

    with pytest.raises(WorkflowFinished):
        await app.workflow(flow.id).add("b", Obey.ok(), deps="a")

    assert await states_of(app, flow) == {"a": "completed"}


async def test_what_cannot_be_appended_is_refused_and_nothing_is_stored(open_app):
    app, flow = await open_app(), one()
    flow.add_many("group", [])
    flow.add("open", Obey.ok())
    await app.enqueue(flow)
    handle = app.workflow(flow.id)
    ring = Workflow()
    ring.add("x", Obey.ok(), deps="y")
    ring.add("y", Obey.ok(), deps="x")
    refused: list[tuple[type[Exception], Any]] = [
        (DuplicateStep, lambda: handle.add("a", Obey.ok())),
        (UnknownDependency, lambda: handle.add("b", Obey.ok(), deps="nowhere")),
        (InvalidWorkflow, lambda: handle.add("group/x", Obey.ok())),
        (CycleFound, lambda: handle.append(ring)),
        (EmptyWorkflow, lambda: handle.append(Workflow())),
        (InvalidWorkflow, lambda: handle.append([Obey.ok()])),
        (WorkflowNotFound, lambda: app.workflow(Workflow().id).add("b", Obey.ok())),
    ]

    for error, act in refused:
        with pytest.raises(error):
            await act()

    assert list(await states_of(app, flow)) == ["a", "group", "open"]
    assert await is_sound(app)


async def test_a_workflow_that_has_grown_is_still_the_one_that_was_enqueued(open_app):
    app, flow = await open_app(), one()
    await app.enqueue(flow)
    await app.workflow(flow.id).add("b", Obey.ok())

    again = await app.enqueue(flow)

    assert again.jobs["a"].existing
    smaller = one()
    larger = Workflow(id=smaller.id)
    larger.add("a", smaller.jobs["a"])
    larger.add("b", Obey.ok())
    await app.enqueue(larger)
    with pytest.raises(WorkflowMismatch):
        await app.enqueue(smaller)


@pytest.mark.timeout(600)
async def test_an_append_that_races_the_finish_joins_or_is_refused(app):
    """By none of them a step is left behind, or a workflow finished with one that is not."""
    joined = 0
    for nth in range(RACES):
        flow = one()
        await app.enqueue(flow)
        await asyncio.sleep(nth % 7 / 1000)
        try:
            await app.workflow(flow.id).add("b", Obey.value("b"), deps="a" if nth % 2 else ())
            joined += 1
            expected = {"a": "completed", "b": "completed"}
        except WorkflowFinished:
            expected = {"a": "completed"}
        status = await app.workflow(flow.id).wait(20)
        assert {step.name: step.state for step in status.steps} == expected
        assert status.completed == status.total == len(expected)
    assert await is_sound(app)
    assert 0 < joined < RACES


# ── graft ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("worker", [growers.fan, growers.plain])
async def test_what_is_behind_a_graft_waits_for_all_that_it_adds(app, worker):
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", worker.new(width=30), deps=flow.add("first", Obey.ok())))

    status = await finish(app, flow)

    assert (status.outcome, status.total) == ("completed", 34)
    assert status.group("fan").completed == 31
    ended = {step.name: step.finished_at or NOON for step in status.steps}
    began = {step.name: step.attempted_at or NOON for step in status.steps}
    assert max(at for name, at in ended.items() if name.startswith("fan/")) <= began["join"]
    assert await is_sound(app)


async def test_a_graft_that_adds_nothing_completes_with_its_step(app):
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", growers.fan.new(width=0)))

    assert (await finish(app, flow)).outcome == "completed"


async def test_a_second_attempt_adds_only_what_is_new(app):
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", growers.twice.new()))

    status = await finish(app, flow)

    assert [step.name for step in status.steps] == ["fan", "fan/graft", "join", "fan/n0", "fan/n1", "fan/n2"]
    results = [await app.workflow(flow.id).result(f"fan/n{nth}") for nth in range(3)]
    assert results == [[1, 0], [1, 1], [2, 2]]
    assert await is_sound(app)


async def test_a_graft_in_a_graft_in_a_graft(app):
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("top", growers.nested.new(depth=2)))

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert list(status.groups) == ["top", "top/deeper", "top/deeper/deeper"]
    assert await is_sound(app)
    began = {step.name: step.attempted_at or NOON for step in status.steps}
    ended = {step.name: step.finished_at or NOON for step in status.steps}
    innermost = [at for name, at in ended.items() if name.startswith("top/deeper/deeper/")]
    assert began["top/deeper/after"] >= max(innermost)
    assert began["join"] >= ended["top"]


async def test_a_member_that_fails_cancels_what_is_behind_unless_the_graft_forgives(app):
    strict, patient = Workflow(), Workflow()
    strict.add("join", Obey.ok(), deps=strict.add_graft("fan", growers.failing.new()))
    patient.add("join", Obey.ok(), deps=patient.add_graft("fan", growers.failing.new(), ignore_discarded=True))

    await finish(app, strict)
    await finish(app, patient)

    assert (await states_of(app, strict))["join"] == "cancelled"
    assert (await states_of(app, patient))["join"] == "completed"
    assert await is_sound(app)


async def test_a_process_that_dies_between_graft_and_ack_loses_nothing_and_adds_nothing_twice(open_app, database_url):
    asker = await open_app()
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", growers.dying.new(width=5)))
    await asker.enqueue(flow)
    command = [sys.executable, "-m", "tests.stories.growers", database_url]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"GROWERS_DIE": "1"})  # noqa: ASYNC220
    try:
        assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL
    finally:
        kill(process)
    between = await asker.workflow(flow.id).status(steps=False)

    app = await open_app(queues={"default": 10})
    status = await app.workflow(flow.id).wait(30)

    assert (between.total, status.total, status.outcome) == (8, 8, "completed")
    assert await is_sound(app)


async def test_only_the_step_of_a_graft_can_fill_it():
    with pytest.raises(NotInJob):
        await graft([])


async def test_another_step_or_job_that_grafts_is_refused(app):
    flow = Workflow()
    flow.add("alone", growers.fan.options(max_attempts=1).new(width=1))
    flow.add_many("fan", [growers.fan.options(max_attempts=1).new(width=1)])
    (job,) = await app.enqueue([growers.fan.options(max_attempts=1).new(width=1)])

    await finish(app, flow)
    await eventually(lambda: runs_over(app, job.id))

    kinds = {(await app.fetch(each)).errors[-1].type for each in (job, flow.jobs["alone"], flow.jobs["fan/0"])}
    assert kinds == {NotInGraft.__name__}


async def runs_over(app: Tenuto, id: str) -> bool:
    return (await app.fetch(id)).finished_at is not None


# ── the verb ──────────────────────────────────────────────────────────────────────────────────────


async def claimed_graft(app: Tenuto) -> tuple[Workflow, Any, Any]:
    """A workflow whose graft runs, by hand: with the job as it was claimed, and what it would add."""
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", Obey.ok()))
    await app.enqueue(flow)
    claimer = await Claimer(app.database).start()
    (job,) = await claimer.claim()
    return flow, job, one().growth(Head(flow.id), "fan")


async def test_an_attempt_that_lost_its_job_adds_nothing(open_app):
    app = await open_app()
    flow, job, growth = await claimed_graft(app)

    with pytest.raises(StaleAttempt):
        await app.database.run(append.graft, job.replace(epoch=0), "fan", growth)
    await app.database.run(store.ack, [settle(job, DONE)])
    with pytest.raises(StaleAttempt):
        await app.database.run(append.graft, job, "fan", growth)

    assert "fan/a" not in await states_of(app, flow)


@pytest.mark.parametrize("verb", [steer.cancel, steer.delete])
async def test_nothing_is_added_to_a_group_that_was_cancelled_or_deleted_meanwhile(open_app, verb):
    app = await open_app()
    flow, job, growth = await claimed_graft(app)
    await app.database.run(verb, [flow.jobs["fan"].id])

    with pytest.raises(WorkflowFinished, match="group 'fan'"):
        await app.database.run(append.graft, job, "fan", growth)


async def test_a_graft_is_all_or_nothing(open_app):
    app = await open_app()
    flow, job, growth = await claimed_graft(app)
    lame = Workflow()
    lame.add("b", Obey.ok())
    lame.add("c", Obey.ok(), deps="nowhere")

    with pytest.raises(UnknownDependency):
        await app.database.run(append.graft, job, "fan", lame.growth(Head(flow.id), "fan"))

    assert list(await states_of(app, flow)) == ["fan", "fan/graft", "join"]
    await app.database.run(append.graft, job, "fan", growth)
    await app.database.run(store.ack, [settle(job, Discard("no"))])
    assert (await states_of(app, flow))["fan/a"] == "available"
    assert await is_sound(app)


async def test_a_graft_that_is_retried_after_all_is_over_may_add_more(app):
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=flow.add_graft("fan", growers.twice.new()))
    await finish(app, flow)

    await app.retry(flow.jobs["fan/graft"])
    status = await app.workflow(flow.id).wait(20)

    assert (status.outcome, status.runs, status.group("fan").total) == ("completed", 2, 5)
    assert await is_sound(app)


@job(name="growing.own-name", max_attempts=1)
async def own_name() -> None:
    """Adds one named as it is itself."""
    await graft({"graft": Obey.value(1), "other": Obey.value(2)})


@job(name="growing.whole", max_attempts=1)
async def whole() -> None:
    """Adds a workflow that says something of a whole one."""
    flow = Workflow("inner", on_finished=Obey.ok())
    flow.add("a", Obey.ok())
    await graft(flow)


@pytest.mark.parametrize(("filler", "reason"), [(own_name, "a step is named 'graft'"), (whole, "on_finished=")])
async def test_what_a_graft_would_lose_is_refused(app, filler, reason):
    flow = Workflow()
    flow.add_graft("g", filler.new())

    status = await finish(app, flow)

    assert [step.name for step in status.steps] == ["g", "g/graft"]
    assert status.steps[1].fate == "discarded"
    assert reason in str(status.steps[1].error)


async def test_what_a_workflow_that_is_appended_would_lose_is_refused(app):
    flow, more = one(schedule_in=3600), Workflow(context={"a": 1})
    more.add("b", Obey.ok())
    await app.enqueue(flow)

    with pytest.raises(InvalidWorkflow, match="context="):
        await app.workflow(flow.id).append(more)

    assert (await app.workflow(flow.id).status()).total == 1
