"""Growing: steps added to a workflow that is stored already: by whoever has its handle, or by a step of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tenuto.context import current
from tenuto.errors import InvalidWorkflow, NotHere, NotInGraft, WorkflowNotFound
from tenuto.graph import Head
from tenuto.job import IDENTIFIERS, Job
from tenuto.llm.debugging import DEBUG
from tenuto.runtime.notifier import tell_settled
from tenuto.shaping import as_given, shaped
from tenuto.sizes import Sizes
from tenuto.storage import append, reading
from tenuto.storage.append import Grown
from tenuto.storage.database import Database
from tenuto.workflow import GRAFT, Workflow, named


async def appended(database: Database, sizes: Sizes, id: str, flow: Workflow) -> tuple[Workflow, Grown]:
    """Add the steps of `flow` to the stored workflow of that id: they as they are stored, and what became of it."""
    if not flow.steps:
        flow.validate()
    head = await database.read(reading.head, id)
    if head is None:
        raise WorkflowNotFound(id)
    growth = flow.growth(head)
    jobs = await shaped(growth.jobs, sizes)
    grown = await database.run(append.append, id, growth._replace(jobs=jobs))
    return flow.stored(dict(zip(flow.step_names, as_given(grown.jobs, growth.jobs), strict=True))), grown


async def graft(steps: Workflow | Sequence[Job[Any, Any]] | Mapping[str, Job[Any, Any]]) -> None:
    """Fill the group of the running step, one that was added by `Workflow.add_graft`, with a workflow or with jobs.

    They are stored at once, all or none, and begin at once; what depends on the group waits for all of them. A name
    that is there already stays as it is, so that a second attempt may compute them again. Raises NotInGraft for every
    other job, StaleAttempt when the job was taken from this attempt, WorkflowFinished for a group that was cancelled
    meanwhile, NotHere in another process, InvalidWorkflow for a step named `graft`, and what `Workflow.add_workflow`
    raises. Plain functions call tenuto.blocking.graft.
    """
    mine = current("graft()")
    group = mine.job.meta.get(_GROUP)
    if mine.job.workflow_id is None or group is None:
        raise NotInGraft(mine.job.id)
    if mine.completions is None:
        raise NotHere("graft()")
    flow = steps if isinstance(steps, Workflow) else _many(steps)
    if GRAFT in flow.steps:
        raise InvalidWorkflow(f"a step is named {GRAFT!r}, as the one that fills this group is; give it another name")
    head = Head(mine.job.workflow_id, mine.job.meta.get(_NAME), is_logged=mine.job.meta.get(DEBUG) is True)
    growth = flow.growth(head, group)
    growth = growth._replace(jobs=await shaped(growth.jobs, mine.sizes))
    grown = await mine.app.database.run(append.graft, mine.job, group, growth)
    tell_settled(mine.app._notifier, grown.settled)


def _many(jobs: Sequence[Job[Any, Any]] | Mapping[str, Job[Any, Any]]) -> Workflow:
    flow = Workflow()
    for name, job in named(jobs).items():
        flow.add(name, job)
    return flow


_NAME: Final = IDENTIFIERS[1]
_GROUP: Final = IDENTIFIERS[3]
