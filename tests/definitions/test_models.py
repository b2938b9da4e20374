"""Models: which step calls which, told in its args; and the same step for several of them, with one behind."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import Job, Unique, Worker, Workflow, job
from tenuto.errors import DuplicateStep, InvalidJob, InvalidWorkflow, ModelNotTaken


@job(name="models.assess")
async def assess(text: str, workflow_model: str = "usual") -> str:
    """Takes a model."""
    return f"{workflow_model}: {text}"


@job(name="models.count")
async def count(text: str) -> int:
    """Takes none."""
    return len(text)


@job(name="models.gather")
async def gather() -> None:
    """Behind them."""


class Free(Worker[dict[str, Any], None], name="models.free"):
    """Takes any args."""

    async def process(self, job: Job[dict[str, Any], None]) -> None: ...


def test_a_step_is_told_its_model_in_its_args_and_no_other_is():
    flow = Workflow(models={"a": "owl"})
    flow.add("a", assess.options(priority=3, meta={"by": "me"}).new("x"))
    flow.add("b", assess.new("x"))

    a, b = flow.jobs.values()

    assert (a.args["workflow_model"], b.args["workflow_model"]) == ("owl", "usual")
    assert (a.priority, a.meta, a.queue) == (3, {"by": "me"}, "default")


def test_a_worker_of_any_args_takes_its_model():
    flow = Workflow(models={"a": "owl"})
    flow.add("a", Free.new({"x": 1}))

    assert flow.jobs["a"].args == {"x": 1, "workflow_model": "owl"}


def test_a_step_that_waits_for_results_takes_its_model():
    flow = Workflow(models={"b": "owl"})
    a = flow.add("a", assess.new("x"))
    b = flow.add("b", assess.new(a.result))

    assert b.deps == ("a",)
    assert dict(b.job.args)["workflow_model"] == "owl"


def test_a_worker_that_takes_no_model_is_refused_and_nothing_is_added():
    flow = Workflow(models={"a": "owl"})

    with pytest.raises(ModelNotTaken, match="workflow_model"):
        flow.add("a", count.new("x"))

    assert flow.step_names == []


def test_a_model_for_a_step_that_is_not_there_is_refused_when_the_workflow_is_checked():
    flow = Workflow(models={"other": "owl"})
    flow.add("a", assess.new("x"))

    with pytest.raises(InvalidWorkflow, match="other"):
        flow.validate()


def test_models_and_debug_survive_data():
    flow = Workflow(models={"a": "owl"}, debug=True)
    flow.add("a", assess.new("x"))

    again = Workflow.from_dict(flow.to_dict())

    assert (again.jobs["a"].args, again.debug) == ({"text": "x", "workflow_model": "owl"}, True)


@pytest.mark.parametrize("models", [["owl"], {"a": ""}, {"a": 7}, {"": "owl"}])
def test_models_that_cannot_be_are_refused(models):
    with pytest.raises((InvalidWorkflow, InvalidJob)):
        Workflow(models=models)


def test_debug_is_true_or_false():
    with pytest.raises(InvalidWorkflow, match="debug"):
        Workflow(debug=1)  # type: ignore[arg-type]


# ── fan out ───────────────────────────────────────────────────────────────────────────────────────


def test_one_job_becomes_a_step_for_each_model_with_one_behind_them():
    flow = Workflow()
    flow.add("paper", count.new("x"))
    made = flow.fan_out_models("assess", assess.new("x"), ["owl", "wren"], deps="paper", synthesize=gather.new())

    assert flow.step_names == ["paper", "assess", "assess/owl", "assess/wren", "assess_synthesis"]
    told = [(label, step.job.args["workflow_model"]) for label, step in made.models.items()]
    assert told == [("owl", "owl"), ("wren", "wren")]
    assert flow.steps["assess"].deps == ("paper",)
    assert made.synthesis is not None
    assert (made.synthesis.deps, made.synthesis.flags) == (("assess/owl", "assess/wren"), (False, False, False))
    assert len({one.id for one in flow.jobs.values()}) == 5


def test_with_partial_the_step_behind_forgives_those_that_end_badly():
    made = Workflow().fan_out_models("a", assess.new("x"), ["owl"], synthesize=gather.new(), partial=True)

    assert made.synthesis is not None
    assert made.synthesis.flags == (True, True, True)
    assert made.models["owl"].flags == (False, False, False)


def test_no_two_models_share_a_name():
    models = ["a/b", "a%2Fb", "a%252Fb", "a-b", "a/b/c", "a", "a:b", "A"]
    made = Workflow().fan_out_models("step", assess.new("x"), models)

    assert len({step.name for step in made.models.values()}) == len(models)
    assert all(step.name.count("/") == 1 for step in made.models.values())


def test_labels_let_one_model_be_asked_twice():
    flow = Workflow()
    made = flow.fan_out_models("a", assess.new("x"), {"first": "owl", "again": "owl"})

    assert flow.step_names == ["a", "a/first", "a/again"]
    assert [step.job.args["workflow_model"] for step in made.models.values()] == ["owl", "owl"]


@pytest.mark.parametrize("models", [[], {}, "owl", ["owl", "owl"], [""], 7])
def test_models_to_fan_out_to_that_cannot_be_are_refused(models):
    with pytest.raises((InvalidWorkflow, InvalidJob)):
        Workflow().fan_out_models("a", assess.new("x"), models)


def test_a_fan_out_that_is_refused_adds_nothing():
    flow = Workflow()
    flow.add("a_synthesis", gather.new())

    with pytest.raises(DuplicateStep):
        flow.fan_out_models("a", assess.new("x"), ["owl"], synthesize=gather.new())
    with pytest.raises(ModelNotTaken):
        flow.fan_out_models("b", count.new("x"), ["owl"])

    assert flow.step_names == ["a_synthesis"]


def test_a_unique_job_stays_unique_by_its_new_args():
    job = assess.options(unique=Unique()).new("x")
    made = Workflow().fan_out_models("a", job, ["owl", "wren"])

    assert all(step.job.unique == job.unique for step in made.models.values())
