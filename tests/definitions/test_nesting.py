"""Groups as they are built: whose names, needs and flags their members have."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.errors import (
    CycleFound,
    DefinitionError,
    DuplicateJob,
    DuplicateStep,
    InvalidJob,
    InvalidTemplate,
    InvalidWorkflow,
    UnknownDependency,
)
from tenuto.function import job
from tenuto.graph import GROUP
from tenuto.job import Job
from tenuto.options import as_jobs
from tenuto.reference import references
from tenuto.workflow import Step, Workflow


@job(name="nesting.take")
def take(value: Any = None, more: Any = None) -> dict[str, Any]:
    return {}


def pair(**flags: Any) -> Workflow:
    """Two steps, one behind the other: a, b."""
    flow = Workflow(**flags)
    flow.add("b", take.new(), deps=flow.add("a", take.new()))
    return flow


def needs(flow: Workflow) -> dict[str, dict[str, tuple[bool, bool, bool]]]:
    """What each step waits for, with what it forgives there."""
    rows = flow.rows()
    names = {node.job_id: node.name for node in rows.nodes}
    found: dict[str, dict[str, tuple[bool, bool, bool]]] = {node.name: {} for node in rows.nodes}
    for edge in rows.edges:
        flags = (edge.ignore_cancelled, edge.ignore_discarded, edge.ignore_deleted)
        found[names[edge.job_id]][names[edge.needs_id]] = flags
    return found


NONE = (False, False, False)
ALL = (True, True, True)


def test_a_group_waits_for_its_last_members_and_for_the_end_of_the_others():
    flow = Workflow()
    flow.add("z", take.new(), deps=flow.add_workflow("g", pair(), ignore_discarded=True))

    assert needs(flow) == {
        "g": {"g/a": ALL, "g/b": (False, True, False)},
        "g/a": {},
        "g/b": {"g/a": NONE},
        "z": {"g": NONE},
    }


def test_the_first_members_wait_for_the_deps_of_their_group_as_it_forgives_them():
    flow = Workflow()
    flow.add("first", take.new())
    flow.add_workflow("g", pair(ignore_deleted=True), deps="first", ignore_cancelled=True)

    assert needs(flow)["g/a"] == {"first": (True, False, False)}
    assert needs(flow)["g/b"] == {"g/a": (False, False, True)}


def test_the_first_members_of_a_first_group_wait_for_the_deps_of_the_one_around_it():
    middle, flow = Workflow(), Workflow()
    middle.add_workflow("in", pair())
    flow.add("first", take.new())
    flow.add_workflow("out", middle, deps="first")

    assert needs(flow)["out/in/a"] == {"first": NONE}
    assert needs(flow)["out/in/b"] == {"out/in/a": NONE}


def test_many_are_named_by_their_numbers_or_their_keys():
    flow = Workflow()
    flow.add_many("page", [take.new(), take.new()])
    flow.add_many("city", {"Rome": take.new()})

    assert flow.step_names == ["page", "page/0", "page/1", "city", "city/Rome"]
    assert [(step.parent, step.is_group) for step in flow.steps.values()] == [
        (None, True),
        ("page", False),
        ("page", False),
        (None, True),
        ("city", False),
    ]
    assert flow.steps["page"].job.worker == GROUP


def test_references_inside_a_group_name_its_members():
    inner, flow = Workflow(), Workflow()
    fetched = inner.add("fetch", take.new())
    inner.add("use", take.new(value=[fetched.result["token"]]))

    flow.add_workflow("g", inner)

    (reference,) = references(flow.jobs["g/use"].args)
    assert (reference.step, reference.path, reference.workflow_id) == ("g/fetch", ("token",), flow.id)
    assert [each.step for each in references(inner.jobs["use"].args)] == ["fetch"]
    assert flow.steps["g/use"].deps == ("g/fetch",)


def test_many_may_take_results_of_steps_around_them():
    flow = Workflow()
    listed = flow.add("list", take.new())
    flow.add("first", take.new())
    flow.add_many("page", [take.new(value=listed.result["at"])], deps="first")

    assert needs(flow)["page/0"] == {"first": NONE, "list": NONE}


def test_the_workflow_that_was_nested_stays_as_it_was():
    inner, flow = pair(), Workflow()

    flow.add_workflow("g", inner)

    assert inner.step_names == ["a", "b"]
    assert {step.workflow_id for step in inner.steps.values()} == {inner.id}


def test_a_member_can_be_a_dep_by_its_full_name():
    flow = Workflow()
    flow.add_workflow("g", pair())
    flow.add("z", take.new(), deps="g/a")

    assert needs(flow)["z"] == {"g/a": NONE}


def test_a_circle_through_a_group_is_found():
    flow = Workflow()
    flow.add_many("g", [take.new()], deps="z")
    flow.add("z", take.new(), deps="g")

    with pytest.raises(CycleFound):
        flow.validate()


def test_an_unknown_dep_inside_of_a_group_is_told_by_its_full_name():
    inner, flow = Workflow(), Workflow()
    inner.add("a", take.new(), deps="nowhere")
    flow.add_workflow("g", inner)

    with pytest.raises(UnknownDependency, match="'g/a' depends on 'g/nowhere'"):
        flow.validate()


def test_the_same_workflow_twice_is_refused_since_its_jobs_are_there_already():
    inner, flow = pair(), Workflow()
    flow.add_workflow("g", inner)

    with pytest.raises(DuplicateJob):
        flow.add_workflow("h", inner)

    assert flow.step_names == ["g", "g/a", "g/b"]


@pytest.mark.parametrize("add", [lambda flow: flow.add_many("a", []), lambda flow: flow.add_workflow("a", pair())])
def test_the_name_of_a_step_is_no_name_for_a_group(add):
    with pytest.raises(DuplicateStep):
        add(pair())


def test_no_step_is_named_like_a_member_that_it_is_not():
    flow = Workflow()
    flow.add_many("g", [take.new()])

    with pytest.raises(InvalidWorkflow, match="as a member of group 'g'"):
        flow.add("g/x", take.new())


def test_no_group_is_named_so_that_other_steps_look_like_its_members():
    flow = Workflow()
    flow.add("g/x", take.new())

    with pytest.raises(InvalidWorkflow, match="cannot be told from"):
        flow.add_many("g", [])


@pytest.mark.parametrize("jobs", [3, take.new()])
def test_what_is_no_list_of_jobs_is_refused(jobs):
    with pytest.raises(InvalidWorkflow, match="a list of them, or a dict by name"):
        Workflow().add_many("g", jobs)


def test_what_is_no_workflow_is_refused():
    with pytest.raises(InvalidWorkflow, match="which is no Workflow"):
        Workflow().add_workflow("g", [take.new()])  # type: ignore[arg-type]


# ── as data ───────────────────────────────────────────────────────────────────────────────────────


def shape(flow: Workflow) -> dict[str, Any]:
    return {name: _shape(step) for name, step in flow.steps.items()}


def _shape(step: Step[Any]) -> Any:
    taken = [(each.step, each.path) for each in references(step.job.args)]
    return step.deps, step.flags, step.parent, step.is_group, step.job.worker, taken


def test_groups_come_out_of_data_as_they_went_in():
    inner, middle, flow = pair(ignore_discarded=True), Workflow(), Workflow("whole", ignore_deleted=True)
    inner.add("c", take.new(value=inner.steps["b"].result["x"]))
    middle.add("last", take.new(), deps=middle.add_workflow("in", inner))
    first = flow.add("first", take.new())
    group = flow.add_workflow("out", middle, deps="first", ignore_cancelled=True)
    flow.add_many("fan", [take.new(value=first.result["t"], more=group.result["last"])])
    flow.add("z", take.new(), deps=["fan", "out/in/b"])

    again = Workflow.from_json(flow.to_json())

    assert shape(again) == shape(flow)
    assert needs(again) == needs(flow)


def test_a_fault_in_a_group_is_told_with_its_path():
    steps = {"g": {"steps": {"a": {"worker": "nesting.take", "deps": ["b"]}, "c": {"worker": "nobody"}}}}

    with pytest.raises(InvalidTemplate) as refused:
        Workflow.from_dict({"steps": steps})

    assert [path for path, _ in refused.value.problems] == ["steps.g.steps.a.deps[0]", "steps.g.steps.c.worker"]


# ── what only a whole workflow can say ──


@pytest.mark.parametrize(
    "said", [{"unique": True}, {"context": {"a": 1}}, {"on_finished": take.new()}, {"models": {"typo": "owl"}}]
)
def test_what_a_group_would_lose_is_refused(said):
    flow, inner = Workflow(), Workflow("inner", **said)
    inner.add("a", take.new())

    with pytest.raises(InvalidWorkflow, match=next(iter(said))):
        flow.add_workflow("g", inner)

    assert flow.step_names == []


def test_a_log_is_kept_of_whole_workflows_alone():
    inner = pair(debug=True)

    with pytest.raises(InvalidWorkflow, match="debug="):
        Workflow().add_workflow("g", inner)

    assert Workflow(debug=True).add_workflow("g", inner).is_group


def test_the_job_of_on_finished_is_no_member_either():
    told, inner = take.new(), Workflow()
    inner.add("a", told)

    with pytest.raises(InvalidWorkflow, match="on_finished="):
        Workflow(on_finished=told).add_workflow("g", inner)


# ── the worker of groups ──────────────────────────────────────────────────────────────────────────


def test_nobody_makes_a_job_of_the_worker_of_groups_by_hand():
    """No node would ever run it."""
    with pytest.raises(InvalidWorkflow, match="made like a group"):
        Workflow().add("group", Job(GROUP))
    with pytest.raises(InvalidJob, match="whose jobs nobody runs"):
        as_jobs(Job(GROUP))


@pytest.mark.parametrize("options", [{"name": GROUP}, {"name": "mine", "aliases": [GROUP]}])
def test_no_worker_takes_the_name_of_that_of_groups(options):
    with pytest.raises(DefinitionError, match="worker of groups"):
        job(**options)(lambda: None)
