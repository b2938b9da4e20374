"""Jobs, small graphs and a node that claims: what the tests of storage are written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid_utils import uuid7

from tenuto.graph import Edge, Head, Node
from tenuto.job import AVAILABLE, SUSPENDED, Job
from tenuto.outcome import Ack, Outcome, settle
from tenuto.storage import aftermath, reading, store, upkeep
from tenuto.storage.database import Database, Verb, call
from tenuto.workflow import Workflow

AnyJob = Job[Any, Any]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
TTL = timedelta(seconds=30)

EVERY_VERSION = list(range(1, upkeep.SCHEMA_VERSION + 1))  # of the tables

ENDINGS = ("cancelled", "discarded", "deleted")


def new_id() -> str:
    """An id that nothing has yet."""
    return str(uuid7())


def plain(count: int = 1, worker: str = "worker", **options: Any) -> list[AnyJob]:
    """So many jobs that are no steps."""
    return [Job(worker, {"nth": nth}, **options) for nth in range(count)]


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Flow:
    """A workflow as storage takes it: jobs by the names of their steps, nodes and edges."""

    id: str
    name: str | None
    jobs: Mapping[str, AnyJob]
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    head: Head

    def __getitem__(self, step: str) -> AnyJob:
        return self.jobs[step]

    def __repr__(self) -> str:
        forgive = {
            node.name: " ".join(ending for ending in ENDINGS if getattr(node, f"ignore_{ending}"))
            for node in self.nodes
        }
        return f"graph({ {node.name: ' '.join(node.deps) for node in self.nodes} }, forgive={forgive})"

    def ids(self, *steps: str) -> list[str]:
        """The ids of some steps' jobs, of all without a name."""
        return [self.jobs[step].id for step in steps or self.jobs]

    def enqueue(self) -> Verb[list[AnyJob]]:
        """The verb that stores it."""
        return store.enqueue_workflow(self.head, list(self.jobs.values()), self.nodes, self.edges)


def graph(
    deps: Mapping[str, str], *, forgive: Mapping[str, str] | None = None, name: str | None = None, **options: Any
) -> Flow:
    """A workflow by each step's deps, in words: {"a": "", "b": "a", "c": "a b"}.

    `forgive` says which endings of its deps a step ignores: {"c": "cancelled deleted"}. `options` are of every job.
    """
    id = new_id()
    needs = {step: named.split() for step, named in deps.items()}
    flags = {step: _flags((forgive or {}).get(step, "")) for step in deps}
    needed = {dep for named in needs.values() for dep in named}
    jobs = {step: _step(id, step, needs[step], step in needed, options) for step in deps}
    nodes = [
        Node(step, jobs[step].id, needs[step], position, "worker", *_said(flags[step]))
        for position, step in enumerate(deps)
    ]
    edges = [Edge(jobs[step].id, jobs[dep].id, **flags[step]) for step in deps for dep in needs[step]]
    return Flow(id, name, jobs, nodes, edges, Head(id, name))


def grouped(flow: Workflow) -> Flow:
    """A workflow with groups, as storage takes it."""
    rows = flow.rows()
    jobs = dict(zip(flow.step_names, rows.jobs, strict=True))
    return Flow(flow.id, flow.name, jobs, rows.nodes, rows.edges, rows.head)


def _flags(endings: str) -> dict[str, bool]:
    return {f"ignore_{ending}": ending in endings.split() for ending in ENDINGS}


def _said(flags: Mapping[str, bool]) -> tuple[bool, bool, bool]:
    cancelled, discarded, deleted = flags.values()
    return cancelled, discarded, deleted


def _step(workflow_id: str, step: str, needs: Sequence[str], is_needed: bool, options: Mapping[str, Any]) -> AnyJob:
    job: AnyJob = Job("worker", {"step": step}, workflow_id=workflow_id, **options)
    return job.replace(
        state=SUSPENDED if needs else AVAILABLE,
        waiting_on=len(needs),
        has_needs=bool(needs),
        has_dependents=is_needed,
    )


def diamond(**options: Any) -> Flow:
    """One step, two behind it, and one behind both: top, left, right, bottom."""
    return graph({"top": "", "left": "top", "right": "top", "bottom": "left right"}, **options)


def chain(length: int, **options: Any) -> Flow:
    """Steps one behind the other: s0, s1, s2…"""
    return graph({f"s{nth}": f"s{nth - 1}" if nth else "" for nth in range(length)}, **options)


def fan_in(width: int, **options: Any) -> Flow:
    """So many steps, p0, p1…, and a `join` that needs them all."""
    parents = [f"p{nth}" for nth in range(width)]
    return graph({**dict.fromkeys(parents, ""), "join": " ".join(parents)}, **options)


# ── a node ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Claimer:
    """One producer of one node: it claims, keeps what it holds, and gives it back."""

    database: Database
    node: str = "node-1"
    queue: str = "default"
    id: str = field(default_factory=new_id)
    held: dict[str, AnyJob] = field(default_factory=dict)

    @property
    def producer(self) -> upkeep.Producer:
        """Its row, as register takes it."""
        return upkeep.Producer(self.id, self.node, self.queue, upkeep.SCHEMA_VERSION, "[]", None, None, None)

    async def start(self, ttl: timedelta = TTL) -> Claimer:
        """Open its lease."""
        await self.database.run(upkeep.register, [self.producer], ttl)
        return self

    async def claim(self, demand: int = 1000) -> list[AnyJob]:
        """Claim what is due."""
        jobs = await self.database.run(store.claim, self.queue, demand, self.id, self.node)
        self.held.update((job.id, job) for job in jobs)
        return jobs

    async def claim_suspect(self) -> list[AnyJob]:
        """Claim one job that was running when a process died."""
        jobs = await self.database.run(store.claim_suspect, self.queue, self.id, self.node)
        self.held.update((job.id, job) for job in jobs)
        return jobs

    async def claimed(self, job: AnyJob) -> AnyJob:
        """The job as it was claimed last; claims what is due if it is not held."""
        if job.id not in self.held:
            await self.claim()
        return self.held[job.id]

    async def end(self, job: AnyJob, outcome: Outcome, **options: Any) -> aftermath.Settled:
        """Give one attempt back, claiming it first if it is not held."""
        return await self.give_back(settle(await self.claimed(job), outcome, **options))

    async def end_steps(self, flow: Flow, **outcomes: Outcome) -> aftermath.Settled:
        """Give back some steps of a workflow in one batch, claiming what is due first."""
        return await self.give_back(
            *[settle(await self.claimed(flow[step]), outcome) for step, outcome in outcomes.items()]
        )

    async def give_back(self, *acks: Ack) -> aftermath.Settled:
        """Ack, and hold these jobs no longer."""
        settled = await self.database.run(store.ack, acks)
        for ack in acks:
            self.held.pop(ack.id, None)
        return settled

    async def die(self) -> None:
        """End its lease, as for a process that is known to be gone."""
        await self.database.run(upkeep.expire, [self.id])
        self.held.clear()


# ── what is stored ────────────────────────────────────────────────────────────────────────────────


async def stored(database: Database, job: AnyJob | str) -> AnyJob:
    """The job as it is in the database now."""
    id = job if isinstance(job, str) else job.id
    return (await database.read(reading.fetch, [id]))[id]


async def is_stored(database: Database, job: AnyJob) -> bool:
    """Whether the job is in the database."""
    return job.id in await database.read(reading.fetch, [job.id])


async def states(database: Database, flow: Flow) -> dict[str, str]:
    """Each step's state by name; the fate of one whose job is gone."""
    return {step["name"]: str(step["state"]) for step in await database.read(reading.steps, flow.id)}


async def reason(database: Database, job: AnyJob) -> str:
    """What the newest of a job's errors says."""
    *_, newest = (await stored(database, job)).errors
    return newest.message


async def workflow_of(database: Database, flow: Flow) -> reading.WorkflowRow:
    """The workflow's own row."""
    row = await database.read(reading.workflow, flow.id)
    assert row is not None
    return row


async def complaints(database: Database) -> dict[str, list[Any]]:
    """What the doctor's checks find, without those that find nothing."""
    return await database.read(every_check)


def every_check() -> Verb[dict[str, list[Any]]]:
    """All of the doctor's checks in one go."""
    found = {}
    for check in reading.CHECKS:
        found[check] = yield call(check)
    return {check: broken for check, broken in found.items() if broken}
