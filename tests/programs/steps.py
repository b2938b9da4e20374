"""The steps of random programs, and the worker that runs them and is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tenuto import Workflow, current_job, graft, job, wait_for_signal
from tests.programs.program import Spec, spec_of
from tests.soaking import worker


class ToldTo(Exception):
    """The failure of a step that fails at its first attempt."""


@job(name="programs.step", max_attempts=1)
async def step(deed: str) -> str:
    """One step that ends, fails or waits."""
    worker.tell("begin", "")
    if deed == "fails" and current_job().attempt == 1:
        raise ToldTo
    if deed == "waits":
        await wait_for_signal(str(current_job().meta["signal"]))
    return "done"


@job(name="programs.graft", max_attempts=1)
async def grafting(members: list[dict[str, Any]]) -> None:
    """One step that grafts what it is told to."""
    worker.tell("begin", "")
    await graft(flow_of([spec_of(member) for member in members]))


@job(name="programs.finished")
async def finished() -> None:
    """What is to run whenever the workflow finishes."""


def flow_of(specs: list[Spec], parent: str = "", **options: Any) -> Workflow:
    """A workflow of these steps and groups."""
    flow = Workflow(**options)
    for spec in specs:
        name = spec.known_as(parent)
        flags = dict.fromkeys(("ignore_cancelled", "ignore_discarded"), spec.forgives)
        if spec.deed == "holds":
            flow.add_workflow(spec.name, flow_of(list(spec.members), name), deps=spec.deps, **flags)
        elif spec.deed == "grafts":
            members = [member.as_data() for member in spec.members]
            flow.add_graft(spec.name, grafting.new(members), deps=spec.deps, **flags)
        else:
            flow.add(spec.name, step.options(meta={"signal": spec.name}).new(spec.deed), deps=spec.deps, **flags)
    return flow


def work(url: str, folder: Path) -> None:
    """Work on the database until killed."""
    worker.work(url, folder)
