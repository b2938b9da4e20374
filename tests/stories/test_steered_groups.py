"""Groups steered: the name of one names its members, and what waits for it waits once more."""

from __future__ import annotations

from tenuto import Tenuto, Workflow
from tests.kit import Obey, finish, states_of, times_run


def pages(*, last: str = "fail") -> Workflow:
    """first → pages (three members in two groups, one of which fails once) → join."""
    inner = Workflow()
    inner.add("x", Obey.fail_times(1, max_attempts=1) if last == "fail" else Obey.ok(schedule_in=3600))
    inner.add("y", Obey.ok(), "x")
    outer = Workflow()
    outer.add("one", Obey.ok())
    outer.add_workflow("inner", inner, deps="one")
    flow = Workflow()
    flow.add("first", Obey.ok())
    flow.add_workflow("pages", outer, deps="first")
    flow.add("join", Obey.ok(), "pages")
    return flow


async def test_a_workflow_with_groups_is_retried_with_the_groups_that_failed(app: Tenuto) -> None:
    flow = pages()
    await finish(app, flow)

    changed = await app.workflow(flow.id).retry()
    status = await app.workflow(flow.id).wait(timeout=10)

    assert set(changed) == {"pages", "pages/inner", "pages/inner/x", "pages/inner/y", "join"}
    assert (status.outcome, status.runs) == ("completed", 2)
    ran = times_run(flow)
    assert {name: times for name, times in ran.items() if times != 1 and times} == {"pages/inner/x": 2}
    assert [found for found in await app.check() if found.broken] == []


async def test_a_group_is_retried_by_its_name_with_all_in_it(app: Tenuto) -> None:
    flow = pages()
    await finish(app, flow)

    changed = await app.workflow(flow.id).retry("pages")
    status = await app.workflow(flow.id).wait(timeout=10)

    assert set(changed) == {"pages", "pages/inner", "pages/inner/x", "pages/inner/y"}
    assert {step.name: step.state for step in status.steps}["join"] == "cancelled"


async def test_a_group_that_completed_is_not_retried_by_its_name(app: Tenuto) -> None:
    inner = Workflow()
    inner.add("a", Obey.ok())
    flow = Workflow()
    flow.add_workflow("group", inner)
    flow.add_many("none", [])
    await finish(app, flow)

    assert await app.workflow(flow.id).retry("group", "none") == []
    assert await app.workflow(flow.id).retry("group/a") == ["group/a"]
    assert (await app.workflow(flow.id).wait(timeout=10)).outcome == "completed"


async def test_a_group_is_cancelled_by_its_name_with_all_in_it_and_behind_it(app: Tenuto) -> None:
    flow = pages(last="wait")
    await app.enqueue(flow)

    changed = await app.workflow(flow.id).cancel("pages/inner")
    status = await app.workflow(flow.id).wait(timeout=10)

    assert set(changed) == {"pages/inner", "pages/inner/x", "pages/inner/y"}
    states = await states_of(app, flow)
    assert {name for name, state in states.items() if state == "completed"} == {"first", "pages/one"}
    assert status.outcome == "failed"
