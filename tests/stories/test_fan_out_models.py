"""A fan-out over models: each step is told its own, and the one behind reads all, or those that there are."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import Workflow, job, results
from tests.kit import Obey, finish, states_of


@job(name="fan_out.assess", max_attempts=1)
async def assess(bad: list[str], workflow_model: str = "") -> str:
    """Some models fail."""
    if workflow_model in bad:
        raise ValueError(workflow_model)
    return f"by {workflow_model}"


@job(name="fan_out.gather", max_attempts=1)
async def gather(at_least: int = 1) -> dict[str, Any]:
    """What there is, by model."""
    return results.get_model_results("assess", at_least=at_least)


def review(*bad: str, partial: bool, at_least: int = 1) -> Workflow:
    flow = Workflow()
    flow.add("paper", Obey.ok())
    models = ["maker/owl", "wren", "50%"]
    job = assess.new(list(bad))
    flow.fan_out_models("assess", job, models, "paper", synthesize=gather.new(at_least), partial=partial)
    return flow


@pytest.mark.parametrize("partial", [True, False])
async def test_the_step_behind_reads_what_all_models_gave_by_their_names(app, partial):
    flow = review(partial=partial)

    await finish(app, flow)

    assert await app.workflow(flow.id).result("assess_synthesis") == {
        "maker/owl": "by maker/owl",
        "wren": "by wren",
        "50%": "by 50%",
    }


async def test_one_model_that_fails_cancels_the_step_behind(app):
    flow = review("wren", partial=False)

    status = await finish(app, flow)

    assert set(status.failed) == {"assess", "assess/wren", "assess_synthesis"}


async def test_with_partial_the_step_behind_reads_what_the_others_gave(app):
    flow = review("wren", "maker/owl", partial=True)

    await finish(app, flow)

    assert await app.workflow(flow.id).result("assess_synthesis") == {"50%": "by 50%"}


@pytest.mark.parametrize(("bad", "at_least"), [(["wren", "maker/owl", "50%"], 1), (["wren"], 3)])
async def test_where_too_few_gave_anything_the_step_behind_is_cancelled(app, bad, at_least):
    flow = review(*bad, partial=True, at_least=at_least)

    await finish(app, flow)

    assert (await states_of(app, flow))["assess_synthesis"] == "cancelled"


@pytest.mark.parametrize("name", ["own", "own/deeper"])
async def test_a_step_that_depends_on_the_group_reads_the_same(app, name):
    inner, flow = Workflow(), Workflow()
    inner.fan_out_models("assess", assess.new(["wren"]), ["maker/owl", "wren"], ignore_discarded=True)
    inner.add("gather", gather.new(), deps="assess")
    flow.add_workflow(name, inner)

    await finish(app, flow)

    assert await app.workflow(flow.id).result(f"{name}/gather") == {"maker/owl": "by maker/owl"}
