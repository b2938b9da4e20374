"""The reference for workflows that grow, are steered as a whole, are unique, and wait for signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tenuto.errors import (
    DuplicateStep,
    JobEnded,
    NotRetried,
    StaleAttempt,
    StepNotFound,
    TenutoError,
    WorkflowFinished,
    WorkflowNotFound,
    WorkflowRunning,
)
from tenuto.graph import GROUP, Edge, Growth, Need
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, EXECUTING, SCHEDULED, SUSPENDED, TERMINAL
from tenuto.nesting import prefixes
from tenuto.outcome import Ack
from tests.storage.build import AnyJob, Flow
from tests.storage.model import Id, Model, ModelJob, ModelStep

FOR_EVER = datetime(2999, 12, 1, tzinfo=UTC)


@dataclass
class ModelWait:
    """One row of signal_waits."""

    owner: Id
    epoch: int
    deadline: datetime | None
    timed_out: bool = False


@dataclass
class FlowModel(Model):
    """The reference, with all that is done to whole workflows."""

    signals: dict[tuple[Id, str], datetime] = field(default_factory=dict)  # by owner and name, when it came
    waits: dict[tuple[Id, str], ModelWait] = field(default_factory=dict)  # by job and name
    calling: set[Id] = field(default_factory=set)  # workflows whose end enqueues a job, also those that are pruned

    def names(self, workflow: Id) -> dict[str, Id]:
        """The steps of a workflow."""
        return {step.node.name: id for id, step in self.steps.items() if step.workflow == workflow}

    # ── one at a time ──

    def enqueue_workflow(self, flow: Flow) -> None:
        rival = self._running(flow.head.name) if flow.head.is_unique else None
        if rival is not None:
            raise WorkflowRunning(flow.head.name or "", rival)
        super().enqueue_workflow(flow)
        if flow.head.on_finished is not None:
            self.calling.add(flow.id)

    def _running(self, name: str | None) -> Id | None:
        """The unique workflow of that name which is unfinished."""
        return next((id for id in self._unique(name) if self.workflows[id].finished_at is None), None)

    def _unique(self, name: str | None) -> list[Id]:
        return [id for id, workflow in self.workflows.items() if workflow.head.is_unique and workflow.head.name == name]

    def rivals(self, ids: Sequence[Id]) -> set[Id]:
        """Of some jobs those that cannot live again, for their workflow would be a second one of its name."""
        asking = {id: self.steps[id].workflow for id in ids if id in self.steps}
        reviving = {id for id in asking.values() if self._is_finished(id) and self.workflows[id].head.is_unique}
        return {id for id, workflow in asking.items() if workflow in reviving and self._rival(workflow, reviving)}

    def _rival(self, workflow: Id, reviving: set[Id]) -> bool:
        alike = self._unique(self.workflows[workflow].head.name)
        first = min(id for id in alike if id in reviving)
        return any(not self._is_finished(id) for id in alike) or first != workflow

    def _is_finished(self, workflow: Id) -> bool:
        return self.workflows[workflow].finished_at is not None

    def refusal(self, ids: Sequence[Id]) -> type[TenutoError] | None:
        return WorkflowRunning if self.rivals(ids) else super().refusal(ids)

    def retry(self, ids: Sequence[Id], *, keep_results: bool) -> list[Id]:
        rivals = self.rivals(ids)
        return super().retry([id for id in ids if id not in rivals], keep_results=keep_results)

    # ── by names, of none the whole ──

    def named(self, workflow: Id, names: Sequence[str]) -> dict[str, Id]:
        """The steps of these names, and the members of groups that are named."""
        known = self.names(workflow)
        if workflow not in self.workflows:
            raise WorkflowNotFound(workflow)
        for name in names:
            if name not in known:
                raise StepNotFound(name)
        return {
            name: id
            for name, id in known.items()
            if not names or any(part in names for part in [name, *prefixes(name)])
        }

    def cancel_steps(self, workflow: Id, names: Sequence[str]) -> list[Id]:
        return self.cancel(list(self.named(workflow, names).values()))

    def retry_steps(self, workflow: Id, names: Sequence[str], *, keep_results: bool) -> list[Id]:
        found = self.named(workflow, names)
        asked = [id for name, id in found.items() if name in names and not self.is_group(id)]
        ids = [id for id in found.values() if self.steps[id].fate in ("cancelled", "discarded") or id in asked]
        if any(id not in self.jobs for id in ids):
            raise NotRetried([])
        if self.rivals(ids):
            raise WorkflowRunning("", "")
        if any(self.is_refused(id, ids) for id in ids):
            raise NotRetried([])
        return self._revive([id for id in ids if self.may_retry(id, ids)], keep_results=keep_results)

    def is_group(self, id: Id) -> bool:
        return self.steps[id].node.worker == GROUP

    # ── grow ──

    def append(self, workflow: Id, growth: Growth) -> None:
        known = self.names(workflow)
        self._refuse_finished(workflow)
        for node in growth.nodes:
            if node.name in known:
                raise DuplicateStep(node.name)
        self._grow(workflow, growth, growth.needs)

    def graft(self, job: AnyJob, group: str, growth: Growth) -> None:
        """What is there already stays. The group waits for each new member; so does a group inside of it."""
        now, step = self.jobs.get(job.id), self.steps[job.id]
        if now is None or (now.state, now.epoch) != (EXECUTING, job.epoch):
            raise StaleAttempt(job.id)
        known = self.names(step.workflow)
        filled = self.jobs.get(known[group])
        if filled is None or filled.state != SUSPENDED:
            raise WorkflowFinished(step.workflow, group)
        new = [nth for nth, node in enumerate(growth.nodes) if node.name not in known]
        nodes = [growth.nodes[nth] for nth in new]
        names = {node.name for node in nodes}
        needs = [need for need in growth.needs if need.step in names]
        more = self._needs_of_groups(growth, self.steps[known[group]], names, known)
        for need in more:
            self._wait_for_one_more(self.jobs[known[need.step]])
        less = Growth([growth.jobs[nth] for nth in new], nodes, [], {})
        self._grow(step.workflow, less, needs + more)

    def _needs_of_groups(self, growth: Growth, filled: ModelStep, new: set[str], known: dict[str, Id]) -> list[Need]:
        """What stored groups need of new members: each what it would, the one that is filled whatever has no other."""
        flags = (filled.node.ignore_cancelled, filled.node.ignore_discarded, filled.node.ignore_deleted)
        inside = [need for need in growth.needs if need.step not in new and need.dep in new]
        lasting = [need for need in inside if self._may_wait(known[need.step])]
        late = {need.dep for need in inside} - {need.dep for need in lasting}
        own = {name: (True, True, True) if needed else flags for name, needed in growth.members.items() if name in new}
        return [
            *lasting,
            *(Need(filled.node.name, dep, each) for dep, each in {**dict.fromkeys(late, flags), **own}.items()),
        ]

    def _may_wait(self, id: Id) -> bool:
        job = self.jobs.get(id)
        return job is not None and job.is_group and job.state in {SUSPENDED, COMPLETED}

    def _grow(self, workflow: Id, growth: Growth, needs: Sequence[Need]) -> None:
        self.enqueue(growth.jobs)
        ids = self.names(workflow) | {node.name: node.job_id for node in growth.nodes}
        self._lay(workflow, growth.nodes, [Edge(ids[need.step], ids[need.dep], *need.flags) for need in needs])
        before = {ids[need.dep]: self.steps[ids[need.dep]].fate for need in needs}
        self._follow({id: fate for id, fate in before.items() if fate is not None}, {})

    def _refuse_finished(self, workflow: Id) -> None:
        if workflow not in self.workflows:
            raise WorkflowNotFound(workflow)
        if self._is_finished(workflow):
            raise WorkflowFinished(workflow)

    # ── signals ──

    def _settle(self, job: ModelJob, ack: Ack) -> None:
        if ack.waits is None:
            super()._settle(job, ack)
            return
        job.attempt -= 1
        job.suspicions = 0
        if job.told_at:
            job.state, job.finished_at = CANCELLED, self.now
            job.errors += 1
        else:
            self._park(job, ack.waits)

    def _park(self, job: ModelJob, names: Mapping[str, timedelta | None]) -> None:
        for name, length in names.items():
            deadline = None if length is None else self.now + length
            wait = self.waits.setdefault((job.id, name), ModelWait(job.workflow or job.id, job.epoch, deadline))
            wait.epoch = job.epoch
        waits = {name: self.waits[job.id, name] for name in names}
        until = min((wait.deadline for wait in waits.values() if wait.deadline is not None), default=FOR_EVER)
        is_ripe = until <= self.now or any((wait.owner, name) in self.signals for name, wait in waits.items())
        job.state, job.scheduled_at = (AVAILABLE, self.now) if is_ripe else (SCHEDULED, until)

    def send(self, target: Id, name: str) -> tuple[bool, list[Id]]:
        """Whether it was the first of its name, and whom it woke."""
        owner = self._owner(target)
        if (owner, name) in self.signals:
            return False, []
        self.signals[owner, name] = self.now
        woken = [
            id for (id, waited), wait in self.waits.items() if waited == name and self._is_waiting(id, wait, owner)
        ]
        for id in woken:
            self.jobs[id].state, self.jobs[id].scheduled_at = AVAILABLE, self.now
        return True, woken

    def _is_waiting(self, id: Id, wait: ModelWait, owner: Id) -> bool:
        job = self.jobs.get(id)
        is_now = job is not None and (job.state, job.epoch) == (SCHEDULED, wait.epoch)
        return is_now and wait.owner == owner and not wait.timed_out

    def _owner(self, target: Id) -> Id:
        """To whom a signal belongs: a step's to its workflow."""
        job = self.jobs.get(target)
        owner = job.workflow or target if job is not None else target
        if job is None or job.workflow is not None:
            self._refuse_finished(owner)
        elif job.state in TERMINAL:
            raise JobEnded(target, str(job.state))
        return owner

    def look(self, id: Id, owner: Id, name: str) -> tuple[bool, bool]:
        """Whether a signal came in time, and whether there is time left for it."""
        wait, came_at = self.waits.get((id, name)), self.signals.get((owner, name))
        if wait is None:
            return came_at is not None, came_at is None
        came = came_at is not None and not wait.timed_out and (wait.deadline is None or came_at <= wait.deadline)
        is_over = wait.timed_out or (wait.deadline is not None and wait.deadline <= self.now)
        return came, not came and not is_over

    def time_out(self, id: Id, owner: Id, name: str) -> tuple[bool, bool]:
        """End a wait whose time is over, for good; what `look` says then."""
        came, open_ = self.look(id, owner, name)
        if (id, name) in self.waits and not came and not open_:
            self.waits[id, name].timed_out = True
        return self.look(id, owner, name)

    # ── what is gone takes its signals with it ──

    def delete(self, ids: Sequence[Id]) -> list[Id]:
        gone = super().delete(ids)
        self._forget()
        return gone

    def prune_jobs(self, keep: timedelta) -> int:
        pruned = super().prune_jobs(keep)
        self._forget()
        return pruned

    def prune_workflows(self, keep: timedelta) -> int:
        pruned = super().prune_workflows(keep)
        self._forget()
        return pruned

    def _forget(self) -> None:
        there = {*self.jobs, *self.workflows}
        self.signals = {key: at for key, at in self.signals.items() if key[0] in there}
        self.waits = {key: wait for key, wait in self.waits.items() if wait.owner in there}
