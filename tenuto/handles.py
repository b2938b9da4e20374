"""Handles: one workflow or one queue by name, and what can be asked of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from types import EllipsisType
from typing import Any, Final, NamedTuple, cast

from tenuto.errors import (
    InvalidRequest,
    InvalidWorkflow,
    NoResult,
    StepNotFound,
    StorageUnavailable,
    WaitTimedOut,
    WorkflowNotFound,
)
from tenuto.graph import GROUP
from tenuto.growing import appended
from tenuto.job import Duration, Job, Result, check_name, seconds
from tenuto.ledger import field_of
from tenuto.limits import Limits, Rate
from tenuto.llm.debugging import DebugEntry, Kind
from tenuto.opening import logged_value, result_value
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.sizes import Sizes
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.storage import limited, reading, steer, upstream, usage, workflows
from tenuto.storage.database import Database, Hint, Verb
from tenuto.storage.steer import Changes, Steered
from tenuto.storage.upstream import Member, tree_of
from tenuto.workflow import Dep, Step, Workflow

POLL_EVERY: Final = 1.0  # seconds: a wait never depends on a hint
_MOST_SLOTS: Final = 100_000


class Doors(NamedTuple):
    """What the handle of a workflow asks of its app."""

    check_open: Callable[[], None]  # raises NotStarted
    act: Callable[..., Awaitable[Steered]]
    fetch: Callable[[str], Awaitable[Job[Any, Any]]]
    update: Callable[[str, Changes], Awaitable[list[str]]]
    sizes: Sizes


class WorkflowHandle:
    """One stored workflow, by id. Every method reads it anew; steps are named, or given as `Workflow.add` gave them."""

    def __init__(self, id: str, database: Database, notifier: Notifier, doors: Doors) -> None:
        self.id = id
        self._database = database
        self._notifier = notifier
        self._doors = doors

    async def status(self, *, steps: bool = True) -> WorkflowStatus:
        """How it stands: state, outcome, steps counted by fate, and a row per step unless `steps` is False.

        Without steps it costs one row, however large the workflow is. Raises WorkflowNotFound.
        """
        row = await self._database.read(reading.workflow, self.id)
        if row is None:
            raise WorkflowNotFound(self.id)
        listed = await self._database.read(reading.steps, self.id) if steps else []
        return status_of(row, tuple(StepStatus(**fields) for fields in listed))

    async def wait(self, timeout: Duration | None = None) -> WorkflowStatus:
        """Wait until it is finished, well or not, and give its status. `timeout=None` waits for ever.

        Raises WaitTimedOut (the workflow goes on), WorkflowNotFound, and NotStarted once the app is closed. A
        database that is away meanwhile only makes it later.
        """
        changed = asyncio.Event()
        limit = None if timeout is None else seconds("timeout", timeout).total_seconds()
        ends_at = None if limit is None else time.monotonic() + limit
        leave = self._notifier.subscribe(lambda hint: changed.set() if _concerns(hint, self.id) else None)
        try:
            while (ended := await self._ended(changed)) is None:
                left = POLL_EVERY if ends_at is None else min(POLL_EVERY, ends_at - time.monotonic())
                if left <= 0:
                    raise WaitTimedOut(f"workflow {self.id}", limit or 0.0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await changed.wait()
        finally:
            leave()
        return ended

    async def _ended(self, changed: asyncio.Event) -> WorkflowStatus | None:
        """The whole status, once it is finished; None until then, and while the database is away."""
        self._doors.check_open()
        changed.clear()  # before the read: what is told from now on leads to another one
        with suppress(StorageUnavailable):
            if (await self.status(steps=False)).is_finished:
                return await self.status()
        return None

    # ── grow ──

    async def append(self, flow: Workflow) -> Workflow:
        """Add all steps of another workflow to this one, all or none; that one, as it is stored now.

        Their deps may be steps that are here. Behind one that has ended they begin at once, or are cancelled where it
        ended badly and they do not forgive it. Raises WorkflowFinished, WorkflowNotFound, DuplicateStep for a name that
        is taken, UnknownDependency, and what `enqueue` raises for a workflow.
        """
        if not isinstance(flow, Workflow):
            raise InvalidWorkflow(f"what is appended is a Workflow, and no {type(flow).__name__}; for one job, add()")
        self._doors.check_open()
        stored, grown = await appended(self._database, self._doors.sizes, self.id, flow)
        tell_settled(self._notifier, grown.settled)
        return stored

    async def add(
        self,
        name: str | Enum,
        job: Job[Any, Result],
        deps: Dep | Iterable[Dep] = (),
        *,
        ignore_cancelled: bool = False,
        ignore_discarded: bool = False,
        ignore_deleted: bool = False,
    ) -> Step[Result]:
        """Add one step; it, with its job as it is stored now. Deps and refusals are as those of `append`."""
        flow = Workflow(id=self.id)
        flags = {"cancelled": ignore_cancelled, "discarded": ignore_discarded, "deleted": ignore_deleted}
        step = flow.add(name, job, deps, **{f"ignore_{ending}": flag for ending, flag in flags.items()})
        return (await self.append(flow)).steps[step.name]

    async def result(self, step: Dep) -> Any:
        """What one step stored. Raises StepNotFound, NoResult, WorkflowNotFound.

        For what an encrypted step stored also a SealError, or what the provider of its keys raises.
        """
        found = await self._step(step)
        if found.worker == GROUP:
            members = await self._database.read(upstream.members, [found.job_id])
            return await _values(tree_of(self._name(step), members), {each.name: each for each in members})
        if found.result is None:
            raise NoResult(self._name(step))
        return await result_value(found.result, found.job_id, found.worker)

    async def _step(self, step: Dep) -> reading.StepRow:
        found = await self._database.read(reading.step, self.id, self._name(step))
        if found is None:
            await self.status(steps=False)
            raise StepNotFound(self._name(step))
        return found

    # ── steer ──

    async def cancel(self, *steps: Dep) -> list[str]:
        """Cancel it whole, or these steps, and what waits for them; the names of those it changed.

        One transaction ends all that does not run, and what runs is told, as `Tenuto.cancel` says. The name of a group
        is its members too. Raises StepNotFound, WorkflowNotFound.
        """
        return await self._act(workflows.cancel, steps)

    async def retry(self, *steps: Dep, keep_results: bool = False) -> list[str]:
        """Make what ended badly due again, in its order, with all that this cancelled; the names of those it changed.

        Of no steps it is the whole workflow, forgiven failures and what an operator cancelled included; what completed
        stays so, and so does what was deleted. A step that is named runs again also when it completed; of a group it is
        what ended badly in it. A finished workflow lives again: it is its next run, and its finish is announced
        again. All of it or nothing: raises NotRetried for steps whose job or whose needs are gone, UniqueConflict,
        WorkflowRunning, StepNotFound, WorkflowNotFound.
        """
        return await self._act(workflows.retry, steps, keep_results=keep_results)

    async def delete(self, *steps: Dep) -> list[str]:
        """Delete the jobs of these steps, unless they run; the names of those it deleted. As `Tenuto.delete`.

        Raises InvalidRequest where no step is named, StepNotFound, WorkflowNotFound.
        """
        if not steps:
            raise InvalidRequest("delete needs the names of steps; a workflow that finished is pruned by itself")
        return await self._act(workflows.delete, steps)

    async def update(self, step: Dep, changes: Changes) -> bool:
        """Change the job of a step that neither runs nor ended, as `Tenuto.update` does; whether it did.

        Raises as that does, and StepNotFound, WorkflowNotFound.
        """
        return bool(await self._doors.update((await self._step(step)).job_id, changes))

    async def job(self, step: Dep) -> Job[Any, Any]:
        """The job of a step as it is stored now. Raises JobNotFound, StepNotFound, WorkflowNotFound."""
        return await self._doors.fetch((await self._step(step)).job_id)

    async def _act(self, verb: Callable[..., Verb[Steered]], steps: Sequence[Dep], **options: Any) -> list[str]:
        steered = await self._doors.act(verb, self.id, list(dict.fromkeys(map(self._name, steps))), **options)
        done = set(steered.ids)
        return [name for id, name in steered.names.items() if id in done]

    # ── the models it asked ──

    async def debug(self, step: Dep | None = None, *, attempt: int | None = None) -> list[DebugEntry]:
        """What its steps asked models and were answered, in order; of one step, of one attempt.

        Empty for a workflow that was made without `debug`, or whose log is pruned. Raises SealBroken for an entry of an
        encrypted worker that was altered; one whose key is not here comes sealed. Where nothing is logged, it raises
        StepNotFound and WorkflowNotFound.
        """
        name = None if step is None else self._name(step)
        found = await self._database.read(usage.logged, self.id, name, attempt)
        if not found:
            await (self.status(steps=False) if step is None else self._step(step))
        return [await _entry(each) for each in found]

    def _name(self, step: Dep) -> str:
        """The name of a step, however it is named. Raises InvalidRequest for a Step of another workflow."""
        if not isinstance(step, Step):
            return check_name("step", step.value if isinstance(step, Enum) else step)
        if step.workflow_id != self.id:
            raise InvalidRequest(
                f"Step {step.name!r} was added to another workflow; give the name that it has in this one"
            )
        return step.name


async def _entry(row: usage.Entry) -> DebugEntry:
    content = None if row.content is None else await logged_value(row.content, field_of(row.id), row.job_id, row.worker)
    told = (row.step, row.attempt, cast("Kind", row.kind), row.at, content)
    return DebugEntry(*told, row.size, row.note, row.job_id, row.worker)


async def _values(tree: dict[str, Any], members: Mapping[str, Member]) -> dict[str, Any]:
    """The results in a group, by short names, opened where they are sealed."""
    found: dict[str, Any] = {}
    for name, at in tree.items():
        if not isinstance(at, str):
            found[name] = await _values(at, members)
        elif (text := members[at].result) is not None:
            found[name] = await result_value(text, members[at].job_id, members[at].worker)
    return found


def _concerns(hint: Hint, id: str) -> bool:
    return not hint.channel or (hint.channel == "settled" and hint.subject in ("", id))


def status_of(row: reading.WorkflowRow, steps: tuple[StepStatus, ...] = ()) -> WorkflowStatus:
    """A workflow's row as users see it."""
    fields = row._asdict()
    return WorkflowStatus(total=fields.pop("steps"), steps=steps, **fields)


class QueueHandle:
    """One queue, by name, on all nodes or on the one named by `node=`. What is asked here is kept in the database
    and obeyed within a second, by nodes that start later too. Raises InvalidRequest for slots that cannot be.
    """

    def __init__(self, name: str, database: Database, notifier: Notifier) -> None:
        self.name = check_name("queue", name)
        self._database = database
        self._notifier = notifier

    async def pause(self, *, node: str | None = None) -> None:
        """Claim nothing more from it; what runs goes on."""
        await self._ask(node, paused=True)

    async def resume(self, *, node: str | None = None) -> None:
        """Claim from it again."""
        await self._ask(node, paused=False)

    async def scale(self, slots: int | None, *, node: str | None = None) -> None:
        """Run at most `slots` of its jobs at once on each node; None forgets it, and each node's own limit counts."""
        await self._ask(node, scaled=True, slots=None if slots is None else _checked(slots))

    async def start(self, slots: int, *, node: str | None = None) -> None:
        """Work on it, with `slots` on each node, also where it was not configured."""
        await self._ask(node, running=True, scaled=True, slots=_checked(slots))

    async def stop(self, *, node: str | None = None) -> None:
        """Work on it no more, until `start`: running jobs get the grace, then go back unspent."""
        await self._ask(node, running=False)

    async def limit(
        self,
        limit: int | EllipsisType | None = ...,
        *,
        rate: Rate | EllipsisType | None = ...,
        partition_limit: int | EllipsisType | None = ...,
        partition_rate: Rate | EllipsisType | None = ...,
    ) -> Limits:
        """Limit it over all nodes, whatever programs say, until `forget_limits`; what holds from now on.

        `limit` is how many of its jobs run at once, `rate` how many start; the other two say the same of each
        partition. None lifts a limit, and what is left out stays as it is. Raises InvalidLimit.
        """
        given = {"limit": limit, "rate": rate, "partition_limit": partition_limit, "partition_rate": partition_rate}
        changes: dict[str, Any] = {key: one for key, one in given.items() if one is not ...}
        wished = await self._database.run(limited.ask, self.name, changes)
        self._notifier.tell([Hint("signal", self.name)])
        return wished

    async def forget_limits(self) -> None:
        """Take back what `limit` said: the limits are those of the programs again."""
        await self._database.run(limited.forget, self.name)
        self._notifier.tell([Hint("signal", self.name)])

    async def limits(self) -> Limits:
        """What holds for it over all nodes."""
        found = (await self._database.read(limited.limits)).get(self.name)
        return Limits() if found is None else found.limits

    async def _ask(self, node: str | None, **asked: Any) -> None:
        where = "" if node is None else check_name("node", node)
        await self._database.run(steer.set_queue, self.name, node=where, **asked)
        self._notifier.tell([Hint("signal", self.name)])


def _checked(slots: int) -> int:
    if type(slots) is not int or not 1 <= slots <= _MOST_SLOTS:
        told = f"a whole number, 1 to {_MOST_SLOTS:,}; to run nothing, pause the queue"
        raise InvalidRequest(f"slots={slots!r:.80} is out of range: {told}")
    return slots
