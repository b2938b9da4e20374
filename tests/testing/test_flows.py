"""Running a workflow to its end: nothing is waited for, and what its steps came to is told."""

from __future__ import annotations

from enum import Enum

import pytest

from tenuto import Workflow
from tenuto.errors import InvalidJob, NoResult, NotCompleted, NotDrained, StepNotFound
from tenuto.testing import drain, run_workflow
from tests.kit import Obey, ToldTo


class Steps(Enum):
    SUM = "sum"


async def test_a_workflow_runs_to_its_end_and_gives_its_results(app):
    flow = Workflow("sync")
    first = flow.add("first", Obey.value(1))
    for name in ("a", "b"):
        flow.add(name, Obey.depth(), deps=first)
    flow.add(Steps.SUM, Obey.gather(), deps=["a", "b"])

    run = await run_workflow(app, flow)

    assert (run.outcome, run.status.completed) == ("completed", 4)
    assert run.results == {"first": 1, "a": 2, "b": 2, "sum": {"a": 2, "b": 2}}
    assert run[Steps.SUM] == run["sum"]
    assert [each.outcome for each in run.runs] == ["completed"] * 4


async def test_what_is_no_workflow_is_refused_before_it_is_stored(app):
    with pytest.raises(InvalidJob, match="takes a Workflow"):
        await run_workflow(app, Obey.ok())  # type: ignore[arg-type]
    assert await app.find() == []


async def test_nothing_in_it_is_waited_for(app):
    flow = Workflow()
    flow.add("later", Obey.value(1, schedule_in=3600))
    flow.add("flaky", Obey.fail_times(2, then=2), deps=["later"])
    flow.add("snoozing", Obey.snooze(86_400, 2), deps=["flaky"])

    run = await run_workflow(app, flow)

    assert run.outcome == "completed"
    assert [each.outcome for each in run.runs] == [
        *("completed", "failed", "failed", "completed", "snoozed", "snoozed", "completed")
    ]


async def test_one_that_fails_says_which_step_and_why(app):
    flow = Workflow()
    flow.add("broken", Obey.fail("no money"))
    flow.add("behind", Obey.ok(), deps=["broken"])
    flow.add("silent", Obey.ok())

    run = await run_workflow(app, flow)

    assert (run.outcome, run.status.failed) == ("failed", ("broken", "behind"))
    with pytest.raises(NotCompleted, match=r"step 'broken' has no value: it is discarded, since .*no money") as refused:
        run["broken"]
    assert isinstance(refused.value.__cause__, ToldTo)
    with pytest.raises(NotCompleted, match="'behind' has no value: it is cancelled"):
        run["behind"]
    with pytest.raises(NoResult):
        run["silent"]
    with pytest.raises(StepNotFound):
        run["nowhere"]


async def test_jobs_outside_of_it_keep_waiting(app):
    await app.enqueue([Obey.ok(schedule_in=3600), Obey.fail_times(1, max_attempts=5)])
    flow = Workflow()
    flow.add("later", Obey.ok(schedule_in=60))

    await run_workflow(app, flow)

    assert (await drain(app, keep_failures=True)).left == {"scheduled": 1}


async def test_one_that_cannot_go_on_says_how_its_steps_stand(app):
    flow = Workflow()
    flow.add("held", Obey.ok(queue="held"))
    flow.add("behind", Obey.ok(), deps=["held"])
    await app.queue("held").pause()

    with pytest.raises(NotDrained, match="has not ended: held is available, behind is suspended"):
        await run_workflow(app, flow)


async def test_one_that_is_stored_already_goes_on_where_it_is(app):
    flow = Workflow()
    flow.add("a", Obey.value(1))
    flow.add("b", Obey.depth(), deps=["a"])
    await app.enqueue(flow)
    await drain(app)

    run = await run_workflow(app, flow)

    assert (run["b"], run.runs) == (2, ())


async def test_the_result_of_a_group_is_given_as_of_any_step(app):
    flow = Workflow()
    flow.add_many("pages", [Obey.value(1), Obey.value(2)])
    flow.add_many("none", [])

    run = await run_workflow(app, flow)

    assert (run["pages"], run["none"], run["pages/1"]) == ({"0": 1, "1": 2}, {}, 2)
