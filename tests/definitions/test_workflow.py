"""Workflows: every refusal by its name, the order of steps, and what goes into the database."""

from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import (
    CycleFound,
    DuplicateJob,
    DuplicateStep,
    EmptyWorkflow,
    ForeignStep,
    InvalidJob,
    InvalidWorkflow,
    UnknownDependency,
)
from tenuto.graph import Edge, Node
from tenuto.job import AVAILABLE, COMPLETED, SUSPENDED, Job
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.workflow import Workflow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def new(**fields: Any) -> Job[Any, Any]:
    return Job("w", **fields)


def diamond() -> Workflow:
    flow = Workflow("diamond")
    flow.add("a", new())
    flow.add("b", new(), "a")
    flow.add("c", new(), "a")
    flow.add("d", new(), ["b", "c"])
    return flow


class Stage(Enum):
    FETCH = "fetch"
    PARSE = "parse"


class Text(StrEnum):
    LOAD = "load"


# ── names and ids ─────────────────────────────────────────────────────────────────────────────────


def test_a_workflow_has_an_id_of_its_own_before_it_is_stored():
    assert UUID(Workflow().id).version == 7
    assert Workflow().id != Workflow().id


def test_a_given_id_is_kept_in_its_canonical_form():
    given = uuid4()

    assert Workflow(id=given).id == Workflow(id=str(given).upper()).id == Workflow(id=given.hex).id == str(given)


def test_a_workflow_is_called_by_its_name_or_by_its_id():
    unnamed = Workflow()

    assert Workflow("sync").label == "sync"
    assert unnamed.label == unnamed.id


@pytest.mark.parametrize(("name", "id"), [("", None), ("a\0b", None), (None, "42"), (None, "")])
def test_a_name_or_id_that_cannot_be_stored_is_refused(name, id):
    with pytest.raises(InvalidJob):
        Workflow(name, id=id)


def test_steps_keep_the_order_of_adding():
    flow = diamond()

    assert flow.step_names == ["a", "b", "c", "d"]
    assert list(flow.jobs) == list(flow.steps) == flow.step_names
    assert flow.jobs["b"] is flow.steps["b"].job


# ── add ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_may_be_named_by_an_enum_member_with_the_name_as_its_value():
    flow = Workflow()

    fetch = flow.add(Stage.FETCH, new())
    parse = flow.add(Stage.PARSE, new(), deps=Stage.FETCH)
    load = flow.add(Text.LOAD, new(), deps=[Stage.PARSE, "fetch"])

    assert [step.name for step in (fetch, parse, load)] == ["fetch", "parse", "load"]
    assert load.deps == ("parse", "fetch")


def test_deps_are_one_name_or_one_step_or_several_of_them_once_each():
    flow = Workflow()
    a = flow.add("a", new())
    flow.add("b", new(), "a")
    flow.add("c", new(), a)

    assert flow.add("d", new(), ["a", a, "b", "a"]).deps == ("a", "b")
    assert flow.add("e", new(), (name for name in ("c", "b"))).deps == ("c", "b")
    assert flow.add("f", new()).deps == ()


def test_a_dep_may_be_added_later():
    flow = Workflow()
    flow.add("last", new(), "first")
    flow.add("first", new())

    assert flow.validate() == ["first", "last"]


def test_a_flag_of_a_step_overrides_that_of_its_workflow_both_ways():
    flow = Workflow(ignore_cancelled=True, ignore_deleted=True)

    plain = flow.add("plain", new())
    strict = flow.add("strict", new(), ignore_cancelled=False)
    lenient = flow.add("lenient", new(), ignore_discarded=True)

    assert plain.flags == (True, False, True)
    assert strict.flags == (False, False, True)
    assert lenient.flags == (True, True, True)


def test_a_step_never_changes():
    step = Workflow().add("a", new())

    with pytest.raises(AttributeError):
        step.name = "b"  # type: ignore[misc]


def refused(flow: Workflow, kind: type[Exception], *args: Any, **named: Any) -> Any:
    """The error of an `add` that leaves the workflow as it was."""
    before = (flow.step_names, dict(flow.jobs))
    with pytest.raises(kind) as caught:
        flow.add(*args, **named)
    assert (flow.step_names, dict(flow.jobs)) == before
    return caught.value


def test_a_name_can_be_added_once():
    assert refused(diamond(), DuplicateStep, "b", new()).step == "b"


def test_a_job_can_be_added_once():
    flow = Workflow()
    once = new()
    flow.add("a", once)

    for again in (once, once.replace(queue="other")):
        error = refused(flow, DuplicateJob, "b", again)
        assert (error.step, error.earlier) == ("b", "a")


def test_a_step_of_another_workflow_is_no_dep():
    foreign = Workflow().add("a", new())

    error = refused(diamond(), ForeignStep, "e", new(), ["a", foreign])

    assert (error.step, error.dep) == ("e", "a")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256, "\ud800", 7, None])
def test_a_step_needs_a_name_that_can_be_stored(name):
    refused(diamond(), InvalidJob, name, new())
    refused(diamond(), InvalidJob, "e", new(), [name])


@pytest.mark.parametrize("deps", [5, None, new(), {"a": 1}, b"a"], ids=lambda deps: type(deps).__name__)
def test_what_names_no_steps_is_no_deps(deps):
    error = refused(diamond(), InvalidWorkflow, "e", new(), deps)

    assert "step 'e' has deps that name no steps; give names" in str(error)


@pytest.mark.parametrize("flag", ["ignore_cancelled", "ignore_discarded", "ignore_deleted"])
def test_a_flag_is_true_or_false(flag):
    refused(diamond(), InvalidWorkflow, "e", new(), **{flag: "no"})
    with pytest.raises(InvalidWorkflow, match=f"{flag}='no' is neither True nor False"):
        Workflow(**{flag: "no"})  # type: ignore[arg-type]


def test_a_worker_in_place_of_its_job_is_refused():
    assert "new()" in str(refused(diamond(), InvalidWorkflow, "e", print))
    assert "hunter2" not in str(refused(diamond(), InvalidWorkflow, "e", {"password": "hunter2"}))


def test_a_job_that_is_stored_already_is_refused():
    refused(diamond(), InvalidWorkflow, "e", new().replace(inserted_at=NOON))
    refused(diamond(), InvalidWorkflow, "e", diamond().rows().jobs[0])


# ── validate ──────────────────────────────────────────────────────────────────────────────────────


def test_the_order_is_that_of_deps_and_else_of_adding():
    assert diamond().validate() == ["a", "b", "c", "d"]


def test_an_empty_workflow_is_refused():
    for check in (Workflow().validate, Workflow().rows):
        with pytest.raises(EmptyWorkflow):
            check()


def test_an_unknown_dep_is_refused_before_a_circle_is():
    flow = Workflow()
    flow.add("a", new(), "b")
    flow.add("b", new(), "a")
    flow.add("c", new(), "nowhere")

    with pytest.raises(UnknownDependency) as caught:
        flow.validate()

    assert (caught.value.step, caught.value.dep) == ("c", "nowhere")


@pytest.mark.parametrize(
    ("deps", "path"),
    [({"a": ["a"]}, ("a", "a")), ({"a": ["b"], "b": ["a"]}, ("a", "b", "a"))],
)
def test_a_circle_is_refused_with_its_closed_path(deps, path):
    flow = Workflow()
    for name, needs in deps.items():
        flow.add(name, new(), needs)

    with pytest.raises(CycleFound) as caught:
        flow.rows()

    assert caught.value.path == path


@st.composite
def workflows(draw):
    """Steps in any order of adding, each with deps among those of a lower number."""
    count = draw(st.integers(1, 20))
    flow = Workflow()
    for n in draw(st.permutations(range(count))):
        deps = draw(st.lists(st.integers(0, n - 1), max_size=5)) if n else []
        flow.add(f"s{n}", new(), [f"s{dep}" for dep in deps], ignore_discarded=draw(st.booleans()))
    return flow


@given(workflows())
def test_any_workflow_without_a_circle_becomes_rows_that_agree_with_each_other(flow):
    order, (_, jobs, nodes, edges) = flow.validate(), flow.rows()

    place = {name: n for n, name in enumerate(order)}
    by_id = {job.id: job for job in jobs}
    needed = {edge.needs_id for edge in edges}
    assert [node.name for node in nodes] == flow.step_names
    assert [node.position for node in nodes] == list(range(len(jobs)))
    assert all(place[dep] < place[node.name] for node in nodes for dep in node.deps)
    for job, node in zip(jobs, nodes, strict=True):
        waits_for = [edge.needs_id for edge in edges if edge.job_id == job.id]
        assert (job.id, job.worker) == (node.job_id, node.worker)
        assert [flow.jobs[dep].id for dep in node.deps] == waits_for
        assert (job.waiting_on, job.has_needs) == (len(waits_for), bool(waits_for))
        assert job.has_dependents == (job.id in needed)
        assert job.state == (SUSPENDED if waits_for else AVAILABLE)
    assert {edge.job_id for edge in edges} <= set(by_id)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_of_a_workflow_names_it_in_its_meta_beside_the_users_own():
    flow = Workflow("sync")
    flow.add("a", new(meta={"trace": "x"}))

    (job,) = flow.rows().jobs

    identifiers = {"workflow_id": flow.id, "workflow_name": "sync", "workflow_label": "sync"}
    assert job.meta == {"trace": "x", **identifiers}
    assert job.workflow_id == flow.id
    assert flow.jobs["a"].meta == {"trace": "x"}


def test_an_unnamed_workflow_is_labelled_by_its_id():
    flow = Workflow()
    flow.add("a", new())

    meta = flow.rows().jobs[0].meta

    assert (meta["workflow_name"], meta["workflow_label"]) == (None, flow.id)


def test_nodes_and_edges_carry_the_flags_of_the_step_that_waits():
    flow = Workflow(ignore_deleted=True)
    a = flow.add("a", new())
    b = flow.add("b", new(), a, ignore_cancelled=True)

    rows = flow.rows()

    assert rows.nodes[1] == Node("b", b.job.id, ("a",), 1, "w", True, False, True)
    assert rows.edges == [Edge(b.job.id, a.job.id, True, False, True)]


def test_a_workflow_gives_the_same_rows_however_often_it_is_asked():
    flow = diamond()

    assert flow.rows() == flow.rows()


def test_a_stored_workflow_is_the_same_one_with_its_jobs_as_they_were_stored():
    flow = diamond()
    stored = flow.stored({name: job.replace(state=COMPLETED, inserted_at=NOON) for name, job in flow.jobs.items()})

    assert (stored.id, stored.name, stored.step_names) == (flow.id, flow.name, flow.step_names)
    assert {job.state for job in stored.jobs.values()} == {COMPLETED}
    assert {job.state for job in flow.jobs.values()} == {AVAILABLE}
    assert stored.rows().edges == flow.rows().edges


# ── status ────────────────────────────────────────────────────────────────────────────────────────


def status(**fields: Any) -> WorkflowStatus:
    counts = {"total": 2, "unfinished": 0, "completed": 1, "cancelled": 0, "discarded": 1, "deleted": 0}
    began = {"id": "f", "name": None, "state": "running", "outcome": None, "runs": 1, "inserted_at": NOON}
    return WorkflowStatus(**{**began, **counts, **fields})


def test_a_workflow_that_runs_has_no_duration_yet():
    assert status().duration is None
    assert not status().is_finished


def test_a_finished_workflow_says_how_long_it_took_and_which_steps_failed():
    steps = (
        StepStatus("a", "1", "w", (), state="completed", fate="completed"),
        StepStatus("b", "2", "w", ("a",), state="discarded", fate="discarded"),
        StepStatus("c", "3", "w", (), state="available", fate=None),
    )

    ended = status(state="finished", outcome="failed", finished_at=NOON + timedelta(seconds=9), steps=steps)

    assert (ended.is_finished, ended.duration, ended.failed) == (True, timedelta(seconds=9), ("b",))
