"""Workflows from the door in: what is refused, in what order steps run, and what becomes of those behind a bad end."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tenuto import Job, Tenuto, Worker, Workflow, telemetry
from tenuto.errors import (
    CycleFound,
    DuplicateJob,
    DuplicateStep,
    EmptyWorkflow,
    ForeignStep,
    InvalidJob,
    InvalidWorkflow,
    JobMismatch,
    JobNotFound,
    UnknownDependency,
    WaitTimedOut,
    WorkflowMismatch,
    WorkflowNotFound,
)
from tenuto.storage import upkeep
from tests.kit import (
    Gate,
    Obey,
    drain,
    early_starts,
    eventually,
    finish,
    kill,
    reason_of,
    result_of,
    runs_of,
    state_of,
    states_of,
    times_run,
    worker_process,
)


def diamond() -> Workflow:
    """The seed's own shape: a, then b and c, then d."""
    flow = Workflow("diamond")
    flow.add("a", Obey.depth())
    flow.add("b", Obey.depth(), deps=["a"])
    flow.add("c", Obey.depth(), deps=["a"])
    flow.add("d", Obey.gather(), deps=["b", "c"])
    return flow


# ── building ──────────────────────────────────────────────────────────────────────────────────────


class Stage(Enum):
    FETCH = "fetch"
    JOIN = "join"


def test_a_new_workflow_has_a_uuid7_of_its_own():
    one, other = Workflow(), Workflow()

    assert one.id != other.id
    assert UUID(one.id).version == 7
    assert (one.name, one.label) == (None, one.id)


def test_a_workflow_takes_the_id_and_the_name_it_is_given():
    flow = Workflow("sync", id="0192f0c1-2345-7000-8000-000000000001")

    assert (flow.id, flow.name, flow.label) == ("0192f0c1-2345-7000-8000-000000000001", "sync", "sync")


def test_what_is_no_uuid_is_no_id_of_a_workflow():
    with pytest.raises(InvalidJob):
        Workflow(id="my workflow")


def test_step_names_come_in_the_order_of_adding():
    flow = Workflow()
    for name in ("c", "a", "b"):
        flow.add(name, Obey.ok())

    assert flow.step_names == ["c", "a", "b"]


def test_a_name_may_be_an_enum_member_and_then_is_its_value():
    flow = Workflow()
    flow.add(Stage.FETCH, Obey.ok())
    join = flow.add(Stage.JOIN, Obey.ok(), deps=[Stage.FETCH])

    assert flow.step_names == ["fetch", "join"]
    assert join.deps == ("fetch",)


def test_deps_are_one_name_or_several_names_and_steps():
    flow = Workflow()
    a = flow.add("a", Obey.ok())
    b = flow.add("b", Obey.ok(), deps="a")
    c = flow.add("c", Obey.ok(), deps=a)
    d = flow.add("d", Obey.ok(), deps=(a, "b", c, "a"))

    assert [step.deps for step in (b, c, d)] == [("a",), ("a",), ("a", "b", "c")]


def test_a_second_step_of_the_same_name_is_refused_at_once():
    flow = Workflow()
    flow.add("a", Obey.ok())

    with pytest.raises(DuplicateStep) as refused:
        flow.add("a", Obey.ok())

    assert refused.value.step == "a"
    assert flow.step_names == ["a"]


def test_the_same_job_under_two_names_is_refused():
    flow, once = Workflow(), Obey.ok()
    flow.add("a", once)

    with pytest.raises(DuplicateJob):
        flow.add("b", once)


def test_a_step_of_another_workflow_is_no_dep():
    stranger = Workflow().add("a", Obey.ok())
    flow = Workflow()

    with pytest.raises(ForeignStep):
        flow.add("b", Obey.ok(), deps=[stranger])
    assert flow.step_names == []


def test_what_is_no_job_is_refused():
    with pytest.raises(InvalidWorkflow, match="no Job"):
        Workflow().add("a", Obey)  # type: ignore[arg-type]


def test_a_valid_workflow_tells_an_order_in_which_it_can_run():
    assert diamond().validate() == ["a", "b", "c", "d"]


def test_a_dep_may_be_added_after_the_step_that_names_it():
    flow = Workflow()
    flow.add("join", Obey.ok(), deps=["a"])
    flow.add("a", Obey.ok())

    assert flow.validate() == ["a", "join"]


def test_an_option_that_does_not_exist_is_refused_rather_than_ignored():
    with pytest.raises(TypeError):
        Workflow(ignore_all=True)  # type: ignore[call-arg]


async def test_a_workflow_is_stored_where_its_app_is_and_a_second_database_is_refused(open_app):
    app = await open_app()

    with pytest.raises(TypeError):
        await app.enqueue(diamond(), "another database")
    assert await app.workflows() == []


# ── refused, and nothing stored ───────────────────────────────────────────────────────────────────


def empty() -> Workflow:
    return Workflow()


def with_a_circle() -> Workflow:
    flow = Workflow()
    flow.add("start", Obey.ok())
    flow.add("a", Obey.ok(), deps=["start", "c"])
    flow.add("b", Obey.ok(), deps=["a"])
    flow.add("c", Obey.ok(), deps=["b"])
    return flow


def that_needs_itself() -> Workflow:
    flow = Workflow()
    flow.add("a", Obey.ok(), deps=["a"])
    return flow


def with_an_unknown_dep() -> Workflow:
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps=["a", "ghost"])
    return flow


REFUSED = {
    "an empty one": (empty, EmptyWorkflow, {}),
    "a circle": (with_a_circle, CycleFound, {"path": ("a", "c", "b", "a")}),
    "a step that needs itself": (that_needs_itself, CycleFound, {"path": ("a", "a")}),
    "an unknown dep": (with_an_unknown_dep, UnknownDependency, {"step": "b", "dep": "ghost"}),
}


@pytest.mark.parametrize(("make", "error", "data"), REFUSED.values(), ids=REFUSED)
def test_validate_names_what_is_wrong_without_a_database(make, error, data):
    with pytest.raises(error) as refused:
        make().validate()

    assert {name: getattr(refused.value, name) for name in data} == data


@pytest.mark.parametrize(("make", "error", "data"), REFUSED.values(), ids=REFUSED)
async def test_what_validate_refuses_is_not_stored(open_app, make, error, data):
    app = await open_app()
    flow = make()

    with pytest.raises(error):
        await app.enqueue(flow)

    assert await app.workflows() == []
    assert await app.find() == []


async def test_a_step_whose_job_is_stored_already_leaves_nothing_of_its_workflow(open_app):
    app = await open_app()
    taken = await app.enqueue(Obey.ok())
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.value(7, id=taken.id), deps=["a"])

    with pytest.raises(JobMismatch):
        await app.enqueue(flow)

    assert await app.workflows() == []
    assert [job.id for job in await app.find()] == [taken.id]


async def test_a_stored_workflow_comes_back_with_its_jobs_by_step(open_app):
    app = await open_app()
    flow = diamond()

    stored = await app.enqueue(flow)

    assert list(stored.jobs) == ["a", "b", "c", "d"]
    assert {name: job.state for name, job in stored.jobs.items()} == {
        "a": "available",
        "b": "suspended",
        "c": "suspended",
        "d": "suspended",
    }
    assert all(job.inserted_at is not None for job in stored.jobs.values())


async def test_the_same_workflow_again_is_the_same_workflow(app):
    flow = diamond()
    await finish(app, flow)

    again = await app.enqueue(flow)

    assert [job.existing for job in again.jobs.values()] == [True] * 4
    assert len(await app.workflows()) == 1
    assert set(times_run(flow).values()) == {1}


async def test_the_same_workflow_again_is_known_after_its_jobs_were_pruned(app):
    flow = diamond()
    await finish(app, flow)
    await app.database.run(upkeep.prune_jobs, timedelta(0))

    again = await app.enqueue(flow)

    assert [job.existing for job in again.jobs.values()] == [True] * 4
    assert {job.state for job in again.jobs.values()} == {"completed"}
    assert set(times_run(flow).values()) == {1}


async def test_another_workflow_under_a_taken_id_is_refused_and_stores_nothing(app):
    flow = diamond()
    await finish(app, flow)
    other = Workflow(id=flow.id)
    other.add("a", Obey.ok())

    with pytest.raises(WorkflowMismatch):
        await app.enqueue(other)
    flow.add("late", Obey.ok())
    with pytest.raises(WorkflowMismatch):
        await app.enqueue(flow)

    assert len(await app.find()) == 4


# ── in order ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_diamond_runs_in_order_and_joins_both_branches(app):
    flow = diamond()

    status = await finish(app, flow)

    assert (status.state, status.outcome) == ("finished", "completed")
    assert (status.total, status.completed, status.unfinished) == (4, 4, 0)
    assert await result_of(app, flow, "d") == {"b": 2, "c": 2}
    assert early_starts(flow) == []


async def test_branches_run_side_by_side(app):
    gate = Gate()
    flow = Workflow()
    flow.add("a", Obey.ok())
    for name in ("b", "c"):
        flow.add(name, Obey.wait_at(gate), deps=["a"])
    await app.enqueue(flow)

    await eventually(lambda: gate.waiting == 2)  # both are inside at the same time
    gate.open()

    assert (await app.workflow(flow.id).wait(timeout=10)).outcome == "completed"


async def test_a_join_waits_for_every_branch(app):
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.snooze(60))
    flow.add("join", Obey.ok(), deps=["a", "b"])
    await app.enqueue(flow)

    await drain(app)

    assert await states_of(app, flow) == {"a": "completed", "b": "scheduled", "join": "suspended"}


async def test_a_chain_of_two_hundred_steps_runs_in_order(app):
    flow = Workflow()
    for nth in range(200):
        flow.add(f"s{nth}", Obey.depth(), deps=[f"s{nth - 1}"] if nth else [])

    status = await finish(app, flow)

    assert (status.outcome, status.completed) == ("completed", 200)
    assert await result_of(app, flow, "s199") == 200


async def test_a_join_of_two_thousand_steps_gets_every_result(open_app):
    app = await open_app(queues={"default": 200})
    flow = Workflow()
    parents = [f"p{nth}" for nth in range(2000)]
    for name in parents:
        flow.add(name, Obey.depth())
    flow.add("join", Obey.count(), deps=parents)

    status = await finish(app, flow)

    assert (status.outcome, status.completed) == ("completed", 2001)
    assert await result_of(app, flow, "join") == 2000


def random_graph(seed: int, steps: int) -> Workflow:
    """Steps added in any order, each behind at most four others, near ones and far ones."""
    chance = random.Random(seed)
    deps = {
        f"s{nth}": [f"s{chance.randrange(max(0, nth - 50), nth)}" for _ in range(chance.randrange(5))] if nth else []
        for nth in range(steps)
    }
    names = list(deps)
    chance.shuffle(names)
    flow = Workflow()
    for name in names:
        flow.add(name, Obey.depth(), deps=deps[name])
    return flow


def depths(flow: Workflow) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in flow.validate():
        found[name] = 1 + max((found[dep] for dep in flow.steps[name].deps), default=0)
    return found


@settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
async def test_any_graph_of_five_hundred_steps_runs_in_the_order_of_its_deps(app, seed):
    flow = random_graph(seed, 500)

    status = await finish(app, flow)

    assert (status.outcome, status.completed) == ("completed", 500)
    assert {step.name: step.result for step in status.steps} == depths(flow)
    assert set(times_run(flow).values()) == {1}
    assert early_starts(flow) == []


async def test_a_step_keeps_the_queue_and_the_priority_of_its_job(open_app):
    app = await open_app(queues={"default": 5, "slow": 1})
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(queue="slow", priority=7), deps=["a"])

    await finish(app, flow)
    behind = await app.fetch(flow.jobs["b"])

    assert (behind.queue, behind.priority, behind.state) == ("slow", 7, "completed")


async def test_a_chain_does_not_need_more_than_one_slot(open_app):
    app = await open_app(queues={"default": 1})
    flow = Workflow()
    flow.add("join", Obey.gather(), deps=["a", "b"])
    flow.add("a", Obey.value(1))
    flow.add("b", Obey.value(2), deps=["a"])

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert await result_of(app, flow, "join") == {"a": 1, "b": 2}


async def test_a_step_that_waits_takes_no_slot(open_app):
    app = await open_app(queues={"default": 1})
    gate, flow = Gate(), Workflow()
    flow.add("a", Obey.wait_at(gate, queue="elsewhere"))
    behind = [flow.add(f"b{nth}", Obey.ok(), deps=["a"]) for nth in range(5)]
    await app.enqueue(flow)
    await app.queue("elsewhere").start(1)
    await eventually(lambda: gate.waiting)

    done = await app.enqueue(Obey.ok())
    await eventually(lambda: runs_of(done))
    assert {(await app.fetch(flow.jobs[step.name])).epoch for step in behind} == {0}  # nobody ever claimed one

    gate.open()
    await app.workflow(flow.id).wait(timeout=30)
    assert {(await app.fetch(flow.jobs[step.name])).epoch for step in behind} == {1}


# ── time, retries and snoozes ─────────────────────────────────────────────────────────────────────


async def test_a_dep_that_fails_once_is_awaited_and_its_result_arrives(app):
    flow = Workflow()
    flow.add("a", Obey.fail_times(1, then="at last"))
    flow.add("b", Obey.gather(), deps=["a"])

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert [run.attempt for run in runs_of(flow.jobs["a"])] == [1, 2]
    assert await result_of(app, flow, "b") == {"a": "at last"}
    assert early_starts(flow) == []


async def test_a_dep_that_waits_for_its_retry_holds_its_dependents(app):
    flow = Workflow()
    flow.add("a", Sulk.new())
    flow.add("b", Obey.ok(), deps=["a"])
    await app.enqueue(flow)

    await eventually(lambda: is_in(app, flow, a="retryable"))

    assert await states_of(app, flow) == {"a": "retryable", "b": "suspended"}


class Sulk(Worker[None, None], name="stories.sulk", backoff=timedelta(hours=1)):
    """Fails, and does not try again for an hour."""

    async def process(self, job: Job[None, None]) -> None:
        raise RuntimeError("not now")


async def is_in(app: Tenuto, flow: Workflow, **states: str) -> bool:
    """Whether these steps are in these states now."""
    found = await states_of(app, flow)
    return all(found[step] == state for step, state in states.items())


async def test_a_dep_that_snoozes_is_awaited_and_spends_no_attempt(app):
    flow = Workflow()
    flow.add("a", Obey.snooze(0.1, times=2))
    flow.add("b", Obey.ok(), deps=["a"])

    status = await finish(app, flow)
    snoozed = await app.fetch(flow.jobs["a"])

    assert status.outcome == "completed"
    assert (snoozed.snoozes, snoozed.attempt) == (2, 1)
    assert early_starts(flow) == []


async def test_a_step_for_later_waits_for_its_time_after_its_deps(app):
    later = datetime.now(UTC) + timedelta(hours=1)
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(scheduled_at=later), deps=["a"])
    await app.enqueue(flow)

    await drain(app)
    behind = await app.fetch(flow.jobs["b"])

    assert (behind.state, behind.scheduled_at) == ("scheduled", later)


async def test_a_step_whose_time_comes_first_still_waits_for_its_deps(app):
    gate = Gate()
    flow = Workflow()
    flow.add("a", Obey.wait_at(gate))
    flow.add("b", Obey.ok(schedule_in=0.05), deps=["a"])
    await app.enqueue(flow)
    await eventually(lambda: gate.waiting)
    assert await state_of(app, flow, "b") == "suspended"

    gate.open()

    assert (await app.workflow(flow.id).wait(timeout=10)).outcome == "completed"
    assert early_starts(flow) == []


# ── bad ends ──────────────────────────────────────────────────────────────────────────────────────

ENDINGS = ("cancelled", "discarded", "deleted")


def ending_in(ending: str) -> Job[Any, Any]:
    """A job that comes to this bad end; one to be deleted waits for that."""
    return {
        "cancelled": lambda: Obey.cancel("enough"),
        "discarded": lambda: Obey.fail("a secret in the exception"),
        "deleted": lambda: Obey.ok(schedule_in=3600),
    }[ending]()


async def end_badly(app: Tenuto, flow: Workflow, ending: str) -> None:
    """Store the workflow, and bring its step `a` to its end."""
    await app.enqueue(flow)
    if ending == "deleted":
        await app.delete(flow.jobs["a"])
    await drain(app)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_bad_end_cancels_all_that_is_behind_it_and_names_the_step(app, ending):
    flow = Workflow()
    flow.add("a", ending_in(ending))
    flow.add("b", Obey.ok(), deps=["a"])
    flow.add("c", Obey.ok(), deps=["b"])
    flow.add("aside", Obey.ok())

    await end_badly(app, flow, ending)
    status = await app.workflow(flow.id).status()

    assert {step.name: step.fate for step in status.steps} == {
        "a": ending,
        "b": "cancelled",
        "c": "cancelled",
        "aside": "completed",
    }
    assert (status.state, status.outcome) == ("finished", "failed")
    assert set(status.failed) == {"a", "b", "c"}
    assert times_run(flow)["b"] == times_run(flow)["c"] == 0
    assert (await app.fetch(flow.jobs["b"])).attempt == 0
    assert await reason_of(app, flow.jobs["b"]) == f"it needs step a, which was {ending}"
    assert await reason_of(app, flow.jobs["c"]) == "it needs step b, which was cancelled"


async def test_the_status_of_a_step_tells_which_bad_ends_it_forgives(app):
    flow = Workflow(ignore_cancelled=True)
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps="a", ignore_cancelled=False, ignore_deleted=True)
    await app.enqueue(flow)

    status = await app.workflow(flow.id).status()

    told = [(step.ignore_cancelled, step.ignore_discarded, step.ignore_deleted) for step in status.steps]
    assert told == [(True, False, False), (False, False, True)]


def flags(ending: str, value: bool) -> dict[str, Any]:
    return {f"ignore_{ending}": value}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_flag_of_the_workflow_forgives_that_ending_for_every_step(app, ending):
    flow = Workflow(**flags(ending, True))
    flow.add("a", ending_in(ending))
    flow.add("b", Obey.gather(), deps=["a"])

    await end_badly(app, flow, ending)

    assert await state_of(app, flow, "b") == "completed"
    assert await result_of(app, flow, "b") == {}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_flag_of_the_step_forgives_for_that_step_alone(app, ending):
    flow = Workflow()
    flow.add("a", ending_in(ending))
    flow.add("b", Obey.ok(), deps=["a"], **flags(ending, True))
    flow.add("c", Obey.ok(), deps=["a"])

    await end_badly(app, flow, ending)

    assert await is_in(app, flow, b="completed", c="cancelled")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_step_can_take_back_what_its_workflow_forgives(app, ending):
    flow = Workflow(**flags(ending, True))
    flow.add("a", ending_in(ending))
    flow.add("b", Obey.ok(), deps=["a"], **flags(ending, False))
    flow.add("c", Obey.ok(), deps=["a"])

    await end_badly(app, flow, ending)

    assert await is_in(app, flow, b="cancelled", c="completed")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_flag_forgives_nothing_but_what_it_names(app, ending):
    others: dict[str, Any] = {f"ignore_{other}": True for other in ENDINGS if other != ending}
    flow = Workflow(**others)
    flow.add("a", ending_in(ending))
    flow.add("b", Obey.ok(), deps=["a"])

    await end_badly(app, flow, ending)

    assert await state_of(app, flow, "b") == "cancelled"


def test_without_a_flag_nothing_is_forgiven():
    step = Workflow().add("a", Obey.ok())

    assert step.flags == (False, False, False)


async def test_a_forgiven_failure_still_fails_the_workflow_and_is_named(app):
    flow = Workflow(ignore_discarded=True)
    flow.add("a", Obey.fail())
    flow.add("b", Obey.ok(), deps=["a"])

    status = await finish(app, flow)

    assert (status.outcome, status.failed) == ("failed", ("a",))
    assert (status.completed, status.discarded) == (1, 1)


async def test_an_operator_who_cancels_a_waiting_dep_cancels_its_dependents(app):
    flow = Workflow()
    flow.add("a", Obey.ok(schedule_in=3600))
    flow.add("b", Obey.ok(), deps=["a"])
    await app.enqueue(flow)

    changed = await app.cancel(flow.jobs["a"])
    status = await app.workflow(flow.id).wait(timeout=10)

    assert changed == [flow.jobs["a"].id]
    assert {step.name: step.fate for step in status.steps} == {"a": "cancelled", "b": "cancelled"}


@pytest.mark.parametrize("gone", ["pruned", "deleted by hand"])
async def test_a_completed_dep_whose_job_is_gone_still_counts(app, gone):
    flow = Workflow()
    flow.add("a", Obey.value("kept"))
    flow.add("b", Obey.gather(schedule_in=3600), deps=["a"])
    await app.enqueue(flow)
    await eventually(lambda: is_in(app, flow, a="completed", b="scheduled"))

    if gone == "pruned":
        await app.database.run(upkeep.prune_jobs, timedelta(0))
    else:
        await app.delete(flow.jobs["a"])
    with pytest.raises(JobNotFound):
        await app.fetch(flow.jobs["a"])
    await app.update(flow.jobs["b"], {"schedule_in": 0})
    status = await app.workflow(flow.id).wait(timeout=15)

    assert {step.name: step.fate for step in status.steps} == {"a": "completed", "b": "completed"}
    assert await result_of(app, flow, "b") == {"a": "kept"}


async def test_a_pruned_dep_still_counts_for_a_step_that_waits_for_another(app):
    gate = Gate()
    flow = Workflow()
    flow.add("a", Obey.value("kept"))
    flow.add("b", Obey.wait_at(gate))
    flow.add("join", Obey.gather(), deps=["a", "b"])
    await app.enqueue(flow)
    await eventually(lambda: is_in(app, flow, a="completed"))

    await app.database.run(upkeep.prune_jobs, timedelta(0))
    gate.open()

    assert (await app.workflow(flow.id).wait(timeout=15)).outcome == "completed"
    assert await result_of(app, flow, "join") == {"a": "kept"}


# ── what is stored, and told ──────────────────────────────────────────────────────────────────────


async def test_meta_has_the_users_keys_and_three_identifiers_and_nothing_is_added_by_running(app):
    flow = Workflow("sync")
    flow.add("a", Obey.value("a result", meta={"team": "blue"}))
    stored = await app.enqueue(flow)

    await app.workflow(flow.id).wait(timeout=10)
    ended = await app.fetch(flow.jobs["a"])

    assert ended.meta == {
        "team": "blue",
        "workflow_id": flow.id,
        "workflow_name": "sync",
        "workflow_label": "sync",
    }
    assert stored.jobs["a"].meta == ended.meta


async def test_the_label_of_a_workflow_without_a_name_is_its_id(open_app):
    app = await open_app()
    flow = Workflow()
    flow.add("a", Obey.ok())

    stored = await app.enqueue(flow)

    assert stored.jobs["a"].meta["workflow_name"] is None
    assert stored.jobs["a"].meta["workflow_label"] == flow.id


@pytest.mark.parametrize("key", ["workflow_id", "workflow_name", "workflow_label"])
def test_the_identifiers_of_a_workflow_are_no_keys_of_a_users_meta(key):
    with pytest.raises(InvalidJob, match=key):
        Obey.ok(meta={key: "mine"})


async def test_each_step_has_a_job_and_a_node_that_holds_deps_flags_and_result(app):
    flow = Workflow()
    flow.add("a", Obey.value({"n": 1}))
    flow.add("b", Obey.ok(), deps=["a"], ignore_cancelled=True)

    status = await finish(app, flow)
    a, b = status.steps

    assert (a.job_id, b.job_id) == (flow.jobs["a"].id, flow.jobs["b"].id)
    assert (a.deps, b.deps) == ((), ("a",))
    assert (a.has_result, a.result, b.has_result, b.result) == (True, {"n": 1}, False, None)


async def test_the_end_of_a_workflow_is_told_once(app):
    told: list[Any] = []

    def hear(event: str, payload: Any) -> None:
        told.append((payload["workflow_id"], payload["outcome"], payload["failed"]))

    telemetry.attach(hear, "workflow.finished")
    try:
        flow = Workflow()
        for name in ("a", "b", "c"):
            flow.add(name, Obey.ok())
        flow.add("bad", Obey.discard("no"))
        await finish(app, flow)
    finally:
        telemetry.detach(hear)

    assert told == [(flow.id, "failed", ["bad"])]


async def test_a_wait_that_ends_first_leaves_the_workflow_alone(app):
    gate = Gate()
    flow = Workflow()
    flow.add("a", Obey.wait_at(gate))
    await app.enqueue(flow)

    with pytest.raises(WaitTimedOut):
        await app.workflow(flow.id).wait(timeout=0.1)
    gate.open()

    assert (await app.workflow(flow.id).wait(timeout=10)).outcome == "completed"


async def test_a_workflow_that_was_never_stored_is_not_found(open_app):
    app = await open_app()

    with pytest.raises(WorkflowNotFound):
        await app.workflow(Workflow().id).status()
    with pytest.raises(WorkflowNotFound):
        await app.workflow(Workflow().id).wait(timeout=1)


async def test_another_app_of_the_same_database_can_wait_for_the_end(app, open_app):
    flow = Workflow()
    flow.add("a", Obey.snooze(0.2, times=1))
    await app.enqueue(flow)

    other = await open_app()

    assert (await other.workflow(flow.id).wait(timeout=10)).outcome == "completed"


# ── several instances, several processes ──────────────────────────────────────────────────────────


async def test_two_apps_in_one_process_each_keep_to_their_own_tables(database_url, app, open_app, tmp_path):
    elsewhere = (
        {"schema": "other"} if database_url.startswith("postgres") else {"url": f"sqlite:///{tmp_path / 'other.db'}"}
    )
    other = await open_app(name="other", queues={"default": 2}, **elsewhere)
    here, there = Workflow(), Workflow()
    here.add("a", Obey.app())
    there.add("a", Obey.app())
    await finish(app, here)
    await finish(other, there)

    assert (await result_of(app, here, "a"), await result_of(other, there, "a")) == ("tenuto", "other")
    assert [status.id for status in await app.workflows()] == [here.id]
    assert [status.id for status in await other.workflows()] == [there.id]


async def test_steps_of_a_killed_process_run_again_and_the_workflow_ends(open_app, database_url):
    flow = Workflow()
    flow.add("a", Obey.value(1))
    flow.add("b", Obey.store(2, then="hang"), deps=["a"])
    flow.add("c", Obey.gather(), deps=["a", "b"])
    watcher = await open_app()
    await watcher.enqueue(flow)

    with worker_process(database_url) as process:
        await eventually(lambda: has_result(watcher, flow, "b"))
        kill(process)
    app = await open_app(queues={"default": 10})
    status = await app.workflow(flow.id).wait(timeout=20)

    assert status.outcome == "completed"
    assert await result_of(app, flow, "c") == {"a": 1, "b": 2}
    assert times_run(flow) == {"a": 0, "b": 0, "c": 1}  # in this process: what the other one did is not done again


async def has_result(app: Tenuto, flow: Workflow, step: str) -> bool:
    """Whether the step has stored something."""
    status = await app.workflow(flow.id).status()
    return any(each.name == step and each.has_result for each in status.steps)
