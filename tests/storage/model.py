"""What the verbs of storage should do, in plain Python: the reference that both databases are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tenuto.errors import NeedsUnmet, TenutoError
from tenuto.failure import ERRORS_KEPT
from tenuto.graph import GROUP, Edge, Head, Node
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EXECUTING,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    TERMINAL,
    Job,
)
from tenuto.outcome import Ack
from tests.storage.build import Flow

Id = str


@dataclass
class ModelJob:
    """One row of jobs, as far as it is foretold."""

    id: Id
    state: str
    scheduled_at: datetime
    max_attempts: int
    priority: int
    workflow: Id | None
    attempt: int = 0
    epoch: int = 0
    holder: Id | None = None
    waiting_on: int = 0
    snoozes: int = 0
    rescues: int = 0
    suspicions: int = 0
    errors: int = 0
    finished_at: datetime | None = None
    told_at: datetime | None = None  # when an operator cancelled it while it ran
    deadline_at: datetime | None = None
    is_group: bool = False


@dataclass
class ModelStep:
    """One row of workflow_nodes."""

    workflow: Id
    node: Node
    fate: str | None = None
    result: str | None = None


@dataclass
class ModelWorkflow:
    """One row of workflows; its counts follow from its steps."""

    head: Head
    runs: int = 1
    finished_at: datetime | None = None


@dataclass
class ModelProducer:
    """One lease."""

    node: str
    expires_at: datetime | None  # None: its process is known to be gone


@dataclass
class Model:
    """All tables, and the verbs as functions of them. What a verb answers, a verb here answers too."""

    now: datetime
    jobs: dict[Id, ModelJob] = field(default_factory=dict)
    steps: dict[Id, ModelStep] = field(default_factory=dict)
    workflows: dict[Id, ModelWorkflow] = field(default_factory=dict)
    edges: dict[tuple[Id, Id], Edge] = field(default_factory=dict)
    met: set[tuple[Id, Id]] = field(default_factory=set)
    producers: dict[Id, ModelProducer] = field(default_factory=dict)
    finished: list[Id] = field(default_factory=list)  # workflows that the last verb finished
    finishes: list[tuple[Id, int, str]] = field(default_factory=list)  # all there ever were: of which run, and how

    # ── in ──

    def enqueue(self, jobs: Iterable[Job[Any, Any]]) -> None:
        for job in jobs:
            due = job.scheduled_at or self.now + (job.schedule_in or timedelta(0))
            state = SUSPENDED if job.state is SUSPENDED else self._waits_until(due)
            self.jobs[job.id] = ModelJob(
                *(job.id, state, due, job.max_attempts, job.priority, job.workflow_id), waiting_on=job.waiting_on
            )
            self.jobs[job.id].deadline_at = None if job.deadline is None else due + job.deadline
            self.jobs[job.id].is_group = job.worker == GROUP

    def enqueue_workflow(self, flow: Flow) -> None:
        self.enqueue(flow.jobs.values())
        self.workflows[flow.id] = ModelWorkflow(flow.head)
        self._lay(flow.id, flow.nodes, flow.edges)

    def _lay(self, workflow: Id, nodes: Sequence[Node], edges: Iterable[Edge]) -> None:
        self.steps |= {node.job_id: ModelStep(workflow, node) for node in nodes}
        self.edges |= {(edge.job_id, edge.needs_id): edge for edge in edges}
        self._complete([node.job_id for node in nodes])

    # ── attempts ──

    def claim(self, producer: Id, demand: int, *, suspects: bool = False) -> list[Id]:
        if not self._is_alive(producer):
            return []
        due = [job for job in self.jobs.values() if job.state == AVAILABLE and (job.suspicions > 0) == suspects]
        taken = sorted(due, key=lambda job: (job.priority, job.scheduled_at, job.id))[:demand]
        for job in taken:
            job.state, job.holder = EXECUTING, producer
            job.attempt += 1
            job.epoch += 1
        return [job.id for job in taken]

    def ack(self, acks: Sequence[Ack]) -> list[Id]:
        taken = [ack for ack in acks if self._is_current(ack)]
        for ack in taken:
            (self._gate if ack.state is SUSPENDED else self._settle)(self.jobs[ack.id], ack)
        results = {ack.id: ack.result for ack in taken}
        self._aftermath([ack.id for ack in taken if self.jobs[ack.id].state in TERMINAL], results)
        return [ack.id for ack in taken]

    def store_result(self, id: Id, epoch: int, result: str) -> bool:
        job = self.jobs.get(id)
        if job is None or (job.state, job.epoch) != (EXECUTING, epoch) or id not in self.steps:
            return False
        self.steps[id].result = result
        return True

    def _is_current(self, ack: Ack) -> bool:
        job = self.jobs.get(ack.id)
        return job is not None and (job.state, job.epoch) == (EXECUTING, ack.epoch)

    def _gate(self, job: ModelJob, ack: Ack) -> None:
        job.state = CANCELLED if job.told_at else AVAILABLE  # needs are met, or it could not have been claimed
        job.attempt -= 1
        job.epoch += 1
        job.errors += bool(job.told_at)
        job.finished_at = self.now if job.told_at else None

    def _settle(self, job: ModelJob, ack: Ack) -> None:
        state = CANCELLED if job.told_at else ack.state
        if ack.error is not None or job.told_at:
            job.errors = (job.errors if ack.errors is None else ERRORS_KEPT - 1) + 1
        if ack.delay is not None and state != CANCELLED:
            job.scheduled_at = self.now + ack.delay
        job.attempt -= not ack.is_spent
        job.epoch += state == AVAILABLE
        job.snoozes += ack.state is SCHEDULED
        job.suspicions = job.suspicions if state == AVAILABLE else 0
        job.state = state
        job.finished_at = self.now if state in TERMINAL else None

    # ── what an ending means ──

    def _aftermath(self, ended: Sequence[Id], results: dict[Id, str | None], *, gone: bool = False) -> None:
        self._follow({id: "deleted" if gone else str(self.jobs[id].state) for id in ended if id in self.steps}, results)

    def _follow(self, fates: dict[Id, str], results: dict[Id, str | None]) -> None:
        """What fates mean for those behind."""
        doomed = self._doomed(fates)
        for id in doomed:
            job = self.jobs[id]
            job.state, job.finished_at = CANCELLED, self.now
            job.errors += 1
        fates |= dict.fromkeys(doomed, "cancelled")
        for id, fate in fates.items():
            step = self.steps[id]
            step.fate = fate
            if fate == "completed" and results.get(id) is not None:
                step.result = results[id]
        groups = self._release(fates)
        self._finish({self.steps[id].workflow for id in fates})
        self._complete(groups)

    def _complete(self, ids: Iterable[Id]) -> None:
        """Groups that wait for nothing more end."""
        ready = [self.jobs[id] for id in ids if self.jobs[id].is_group and self.jobs[id].state == SUSPENDED]
        for job in [job for job in ready if job.waiting_on == 0]:
            job.state, job.finished_at = COMPLETED, self.now
            self._follow({job.id: "completed"}, {})

    def _doomed(self, fates: dict[Id, str]) -> set[Id]:
        doomed: set[Id] = set()
        waves = {id: fate for id, fate in fates.items() if fate != "completed"}
        while waves:
            hit = {
                child
                for (child, need), edge in self.edges.items()
                if need in waves and (child, need) not in self.met and not _forgives(edge, waves[need])
            }
            new = {id for id in hit - doomed if id in self.jobs and self.jobs[id].state == SUSPENDED}
            doomed |= new
            waves = dict.fromkeys(new, "cancelled")
        return doomed

    def _release(self, fates: dict[Id, str]) -> list[Id]:
        """Meet edges; the groups that wait for nothing more."""
        groups: list[Id] = []
        for (child, need), edge in self.edges.items():
            fate = fates.get(need)
            if fate is None or (child, need) in self.met or not (fate == "completed" or _forgives(edge, fate)):
                continue
            self.met.add((child, need))
            job = self.jobs.get(child)
            if job is not None:
                job.waiting_on -= 1
                if job.state == SUSPENDED and job.waiting_on == 0:
                    job.state = SUSPENDED if job.is_group else self._waits_until(job.scheduled_at)
                    groups += [child] if job.is_group else []
        return groups

    def _finish(self, workflows: Iterable[Id]) -> None:
        for id in workflows:
            workflow = self.workflows[id]
            if workflow.finished_at is None and None not in self.fates(id):
                workflow.finished_at = self.now
                self.finished.append(id)
                self.finishes.append((id, workflow.runs, self.outcome(id)))

    def outcome(self, workflow: Id) -> str:
        return "completed" if set(self.fates(workflow)) == {"completed"} else "failed"

    def fates(self, workflow: Id) -> list[str | None]:
        return [step.fate for step in self.steps.values() if step.workflow == workflow]

    # ── operators ──

    def cancel(self, ids: Sequence[Id]) -> list[Id]:
        jobs = [self.jobs[id] for id in ids if id in self.jobs]
        told = [job for job in jobs if job.state == EXECUTING and job.told_at is None]
        ended = [job for job in jobs if job.state not in {*TERMINAL, EXECUTING}]
        for job in told:
            job.told_at = self.now
        for job in ended:
            job.state, job.finished_at = CANCELLED, self.now
            job.errors += 1
        self._aftermath([job.id for job in ended], {})
        return [job.id for job in (*told, *ended)]

    def may_retry(self, id: Id, beside: Sequence[Id] = ()) -> bool:
        """Whether no need stands in its way; those retried beside it do not."""
        job = self.jobs.get(id)
        if job is None or job.state not in {SCHEDULED, RETRYABLE, *TERMINAL}:
            return False
        return job.waiting_on == 0 or all(need in beside or self._is_to_come(need) for need in self._unmet_needs(id))

    def is_refused(self, id: Id, beside: Sequence[Id] = ()) -> bool:
        job = self.jobs.get(id)
        return job is not None and job.waiting_on > 0 and job.state in TERMINAL and not self.may_retry(id, beside)

    def refusal(self, ids: Sequence[Id]) -> type[TenutoError] | None:
        """Why a strict retry of these is refused."""
        return NeedsUnmet if any(map(self.is_refused, ids)) else None

    def _unmet_needs(self, id: Id) -> list[Id]:
        return [need for child, need in self.edges if child == id and (child, need) not in self.met]

    def _is_to_come(self, id: Id) -> bool:
        return id in self.jobs and self.jobs[id].state not in TERMINAL

    def retry(self, ids: Sequence[Id], *, keep_results: bool) -> list[Id]:
        return self._revive([id for id in ids if self.may_retry(id)], keep_results=keep_results)

    def _revive(self, done: list[Id], *, keep_results: bool) -> list[Id]:
        for job in map(self.jobs.__getitem__, done):
            job.state = SUSPENDED if job.waiting_on or job.is_group else AVAILABLE
            job.finished_at, job.told_at, job.suspicions = None, None, 0
            job.max_attempts = max(job.max_attempts, job.attempt + 1)
            job.scheduled_at = min(job.scheduled_at, self.now)
        for step in [self.steps[id] for id in done if id in self.steps]:
            self._take_fate_back(step)
            step.result = step.result if keep_results else None
        self._unmeet(done)
        self._complete(done)
        return done

    def _take_fate_back(self, step: ModelStep) -> None:
        workflow = self.workflows[step.workflow]
        if workflow.finished_at is not None:
            workflow.finished_at = None
            workflow.runs += 1
        step.fate = None

    def _unmeet(self, retried: Sequence[Id]) -> None:
        for child, need in sorted(self.met):
            job = self.jobs.get(child)
            if need in retried and job is not None and (job.state in {SUSPENDED, *TERMINAL} or child in retried):
                self.met.discard((child, need))
                self._wait_for_one_more(job)

    def _wait_for_one_more(self, job: ModelJob) -> None:
        """A group that had completed waits again, and what is behind it for the group."""
        job.waiting_on += 1
        job.state = SUSPENDED if job.state == AVAILABLE else job.state
        if job.is_group and job.state == COMPLETED:
            job.state, job.finished_at = SUSPENDED, None
            self._take_fate_back(self.steps[job.id])
            self._unmeet([job.id])

    def delete(self, ids: Sequence[Id]) -> list[Id]:
        gone = [self.jobs[id] for id in ids if id in self.jobs and self.jobs[id].state != EXECUTING]
        for job in gone:
            del self.jobs[job.id]
        self._aftermath([job.id for job in gone if job.state not in TERMINAL], {}, gone=True)
        return [job.id for job in gone]

    def postpone(self, ids: Sequence[Id], delay: timedelta) -> list[Id]:
        open_ = {SUSPENDED, SCHEDULED, AVAILABLE, RETRYABLE}
        changed = [self.jobs[id] for id in ids if id in self.jobs and self.jobs[id].state in open_]
        for job in changed:
            job.scheduled_at = self.now + delay
            if job.state in {AVAILABLE, SCHEDULED}:
                job.state = self._waits_until(job.scheduled_at)
        return [job.id for job in changed]

    # ── nodes ──

    def stage(self) -> int:
        due = [
            job for job in self.jobs.values() if job.state in {SCHEDULED, RETRYABLE} and job.scheduled_at <= self.now
        ]
        for job in due:
            job.state = AVAILABLE
        return len(due)

    def overdue(self) -> list[Id]:
        return [
            job.id
            for job in self.jobs.values()
            if job.state not in {EXECUTING, *TERMINAL} and job.deadline_at is not None and job.deadline_at <= self.now
        ]

    def beat(self, producer: Id, ttl: timedelta) -> bool:
        alive = self._is_alive(producer)
        if alive:
            self.producers[producer].expires_at = self.now + ttl
        return alive

    def rescue(self, *, judge: bool) -> list[Id]:
        dead = {
            id: producer
            for id, producer in self.producers.items()
            if producer.expires_at is None or (judge and producer.expires_at <= self.now)
        }
        held = [job for job in self.jobs.values() if job.state == EXECUTING and job.holder in dead]
        suspects = [dead[job.holder or ""].node for job in held if job.suspicions > 0]
        for job in held:
            poisoned = job.suspicions >= 2 and suspects.count(dead[job.holder or ""].node) == 1
            self._take_back(job, DISCARDED if poisoned else AVAILABLE)
            job.errors += poisoned and not job.told_at
            job.rescues += 1
            job.suspicions += 1
        self._aftermath([job.id for job in held if job.state in TERMINAL], {})
        for id in dead:
            del self.producers[id]
        return [job.id for job in held]

    def disown(self, producer: Id, running: Sequence[Id]) -> list[Id]:
        held = [
            job
            for job in self.jobs.values()
            if job.state == EXECUTING and job.holder == producer and job.id not in running
        ]
        for job in held:
            self._take_back(job, AVAILABLE)
        self._aftermath([job.id for job in held if job.state in TERMINAL], {})
        return [job.id for job in held]

    def resign(self, producer: Id) -> list[Id]:
        given_back = self.disown(producer, [])
        self.producers.pop(producer, None)
        return given_back

    def prune_jobs(self, keep: timedelta) -> int:
        old = [job for job in self.jobs.values() if job.finished_at and job.finished_at <= self.now - keep]
        for job in old:
            del self.jobs[job.id]
        return len(old)

    def prune_workflows(self, keep: timedelta) -> int:
        old = {
            id
            for id, workflow in self.workflows.items()
            if workflow.finished_at and workflow.finished_at <= self.now - keep
        }
        steps = {id for id, step in self.steps.items() if step.workflow in old}
        self.workflows = {id: workflow for id, workflow in self.workflows.items() if id not in old}
        self.steps = {id: step for id, step in self.steps.items() if id not in steps}
        self.jobs = {id: job for id, job in self.jobs.items() if job.workflow not in old}
        self.edges = {pair: edge for pair, edge in self.edges.items() if pair[0] not in steps}
        self.met = {pair for pair in self.met if pair[0] not in steps}
        return len(old)

    def _take_back(self, job: ModelJob, state: str) -> None:
        job.state = CANCELLED if job.told_at else state
        job.attempt -= 1
        job.epoch += 1
        job.errors += bool(job.told_at)
        job.finished_at = self.now if job.state in TERMINAL else None

    def _is_alive(self, producer: Id) -> bool:
        found = self.producers.get(producer)
        return found is not None and found.expires_at is not None and found.expires_at > self.now

    def _waits_until(self, due: datetime) -> str:
        return SCHEDULED if due > self.now else AVAILABLE


def _forgives(edge: Edge, fate: str) -> bool:
    return bool(getattr(edge, f"ignore_{fate}"))
