"""Tests of jobs that wait: a test sends the signal, or moves the clock, and goes on."""

from __future__ import annotations

import pytest

from tenuto import Received, TimedOut, Workflow, job, wait_for_signal
from tenuto.errors import NotDrained
from tenuto.testing import Clock, drain, perform, run_workflow


@job(name="testing-approval")
async def approval() -> str:
    match await wait_for_signal("approved", timeout=3600):
        case Received(value):
            return f"by {value}"
        case TimedOut():
            return "nobody answered"


async def test_perform_says_that_it_waits_and_performs_it_again(app):
    tried = await perform(approval.new(), app=app)
    await app.signal(tried.job, "approved", "ada")

    again = await perform(tried.job, app=app)

    assert (tried.outcome, tried.state) == ("waiting", "scheduled")
    assert (again.outcome, again.value) == ("completed", "by ada")


async def test_a_drain_leaves_what_waits_and_goes_on_once_it_was_told(app):
    waiting = await app.enqueue(approval.new())

    first = await drain(app, scheduled=True)
    await app.signal(waiting, "approved", "ada")
    second = await drain(app)

    assert [run.outcome for run in first.runs] == ["waiting"]
    assert first.left == {"scheduled": 1}
    assert [run.value for run in second.runs] == ["by ada"]


async def test_a_wait_is_over_when_the_clock_of_the_test_says_so(app):
    async with Clock(app) as clock:
        await app.enqueue(approval.new())
        await drain(app)
        await clock.advance(3601)

        drained = await drain(app)

    assert [run.value for run in drained.runs] == ["nobody answered"]


async def test_a_workflow_that_was_told_beforehand_runs_to_its_end(app):
    flow = Workflow()
    flow.add("ask", approval.new())
    await app.enqueue(flow)
    await app.signal(flow, "approved", "ada")

    assert (await run_workflow(app, flow))["ask"] == "by ada"


async def test_one_that_nobody_tells_anything_does_not_end(app):
    flow = Workflow()
    flow.add("ask", approval.new())

    with pytest.raises(NotDrained, match=r"ask is scheduled \(waits for the signal approved\)"):
        await run_workflow(app, flow)
    await app.signal(flow, "approved", "ada")
    await drain(app)

    assert (await app.workflow(flow.id).status()).outcome == "completed"
