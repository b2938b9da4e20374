"""Flows: a workflow run to its end for a test, with all that its steps came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from tenuto.app import Tenuto
from tenuto.errors import InvalidJob, NoResult, NotCompleted, NotDrained, StepNotFound
from tenuto.job import Duration, seconds
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.testing.draining import LIMIT, Rounds, Rules
from tenuto.testing.hand import Hand
from tenuto.testing.performing import WITHIN
from tenuto.testing.tried import Tried
from tenuto.workflow import Workflow


@dataclass(frozen=True)
class WorkflowRun:
    """How a workflow ended: its status, its steps' results by name, and every attempt. `run["step"]` is a result.

    That of a group is a dict of its members'.
    """

    status: WorkflowStatus
    results: Mapping[str, Any] = field(repr=False)
    runs: tuple[Tried[Any], ...] = field(default=(), repr=False)

    @property
    def outcome(self) -> str | None:
        """completed, or failed."""
        return self.status.outcome

    def __getitem__(self, step: str | Enum) -> Any:
        """What one step stored. Raises StepNotFound, NoResult, and NotCompleted with the reason for one that ended
        otherwise."""
        name = str(step.value if isinstance(step, Enum) else step)
        if name in self.results:
            return self.results[name]
        found = next((one for one in self.status.steps if one.name == name), None)
        if found is None:
            raise StepNotFound(name)
        if found.fate == "completed":
            raise NoResult(name)
        why = f"since {found.error.type}: {found.error.message}" if found.error else ""
        raised = next((run.error for run in reversed(self.runs) if run.job.id == found.job_id), None)
        raise NotCompleted(f"step {name!r}", found.state, why) from raised


async def run_workflow(
    app: Tenuto, flow: Workflow, *, at_once: int = 1, limit: int = LIMIT, within: Duration = WITHIN
) -> WorkflowRun:
    """Store a workflow and run it to its end, one step after the other; how it ended, well or not.

    Nothing is waited for: steps that are due later, snoozed or to be tried again are when nothing else is. Other jobs
    that are due run as well. Raises what `enqueue` does, and NotDrained, which says how its steps stand.
    """
    if not isinstance(flow, Workflow):
        raise InvalidJob(f"run_workflow takes a Workflow, and not something of type {type(flow).__name__}")
    stored = await app.enqueue(flow)
    handle = app.workflow(stored.id)

    hand = Hand(app)

    async def is_over() -> bool:
        return (await hand.patiently(partial(handle.status, steps=False))).is_finished

    rules = Rules(None, True, True, True, at_once, limit, stored.id, is_over)  # hurry all, and raise nothing
    async with hand:
        runs = await Rounds(hand, rules, seconds("within", within).total_seconds()).go()
        await hand.tend()  # hooks of steps that others ended
    status = await handle.status()
    if not status.is_finished:
        steps = ", ".join(map(_standing, (step for step in status.steps if step.fate is None)))
        raise NotDrained(f"nothing is due, and the workflow has not ended: {steps}")
    given = [step.name for step in status.steps if step.has_result or (step.is_group and step.fate == "completed")]
    return WorkflowRun(status, {name: await handle.result(name) for name in given}, tuple(runs))


def _standing(step: StepStatus) -> str:
    waits = f" (waits for the signal {', '.join(step.waits_for)})" if step.waits_for else ""
    return f"{step.name} is {step.state}{waits}"
