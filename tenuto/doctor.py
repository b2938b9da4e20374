"""Doctor: the invariants checked on a live database, how its queues stand, and what nodes say of themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tenuto.limits import Limits
from tenuto.runtime.node import Node
from tenuto.storage import limited, reading, upkeep
from tenuto.storage.database import Database


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looks at: what should be true, what is not (id and detail), and what to do then."""

    rule: str
    broken: tuple[tuple[str, str], ...]
    advice: str

    @property
    def is_well(self) -> bool:
        """Whether nothing breaks the rule."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One live node as it last told of itself."""

    node: str
    queues: tuple[str, ...]
    counters: Mapping[str, Any]  # and `lag`, the longest its event loop was blocked, in seconds
    started_at: datetime
    expires_at: datetime
    workers: tuple[str, ...] = field(default=(), repr=False)  # the names it knows


@dataclass(frozen=True, slots=True)
class Health:
    """This node (an app without queues is one too), and all the live ones."""

    node: str
    alive: bool  # whether it holds its leases
    running: Mapping[str, int]  # jobs, by queue
    counters: Mapping[str, int]
    lag: float  # seconds, the longest the event loop was blocked
    nodes: tuple[NodeHealth, ...]
    oldest_available: datetime | None  # when the job that has been due longest became so


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: its jobs by state, what operators asked of it on all nodes and on single ones, its limits, and who
    works on it.
    """

    name: str
    jobs: Mapping[str, int]
    oldest_available: datetime | None  # when the job that has been due longest became so
    paused: bool
    running: bool | None  # None: where a node was configured for it
    slots: int | None  # on each node; None: as each was configured
    asked: tuple[reading.QueueSettings, ...]  # of single nodes
    nodes: tuple[str, ...]  # ids of the live ones
    limits: Limits = field(default_factory=Limits)  # over all nodes
    limits_asked: bool = False  # whether an operator said them
    tokens: int | None = None  # how many may start at once by its rate


_ADVICE = "report it with the ids: no run of this version should leave it"
_ABOUT_WORKERS = "every unfinished job's worker is known to a live node"
_TO_DO_WORKERS = "start a node that imports the worker, or list its old name as an alias"


async def check(database: Database) -> list[Finding]:
    """Each invariant with the first hundred that break it, and the workers that no live node knows."""
    findings: list[Finding] = []
    for statement, rule in reading.CHECKS.items():
        broken = await database.read(reading.check, statement)
        findings.append(Finding(rule, tuple(broken), _ADVICE))
    unknown = await unknown_workers(database)
    told = tuple((name, f"{jobs} unfinished {'job' if jobs == 1 else 'jobs'}") for name, jobs in unknown.items())
    return [*findings, Finding(_ABOUT_WORKERS, told, _TO_DO_WORKERS)]


async def unknown_workers(database: Database) -> dict[str, int]:
    """Workers that unfinished jobs name and no live node knows, with how many such jobs there are."""
    waiting = await database.read(reading.waiting_workers)
    seen = await database.read(upkeep.nodes)
    known = {name for one in seen if one.alive for name in upkeep.workers_of(one)}
    return {name: jobs for name, jobs in waiting.items() if name not in known}


async def health(database: Database, node: Node, running: Mapping[str, int]) -> Health:
    """What `node` says of itself, and what the database says of all of them."""
    counted = await database.read(reading.counts)
    due = [row.oldest for row in counted if row.state == "available"]
    live = await nodes(database)
    return Health(node.id, node.alive, running, dict(node.counters), node.lag, live, min(due, default=None))


async def nodes(database: Database) -> tuple[NodeHealth, ...]:
    """Every live node as it last told of itself."""
    return _by_node(await database.read(upkeep.nodes))


def _by_node(seen: Sequence[upkeep.Seen]) -> tuple[NodeHealth, ...]:
    """Producers gathered into the nodes they belong to, the live ones."""
    found: dict[str, list[upkeep.Seen]] = {}
    for one in seen:
        if one.alive:
            found.setdefault(one.node, []).append(one)
    return tuple(
        NodeHealth(
            name,
            tuple(one.queue for one in producers),
            json.loads(producers[0].health),
            min(one.started_at for one in producers),
            min(one.expires_at for one in producers),
            tuple(upkeep.workers_of(producers[0])),
        )
        for name, producers in sorted(found.items())
    )


async def counts(database: Database) -> dict[str, dict[str, int]]:
    """How many jobs each queue holds, by state."""
    counted: dict[str, dict[str, int]] = {}
    for row in await database.read(reading.counts):
        counted.setdefault(row.queue, {})[row.state] = row.jobs
    return counted


async def queues(database: Database) -> list[QueueStatus]:
    """Every queue that holds jobs, was asked something or is worked on, in the order of their names."""
    jobs: dict[str, dict[str, int]] = {}
    oldest: dict[str, datetime] = {}
    for count in await database.read(reading.counts):
        jobs.setdefault(count.queue, {})[count.state] = count.jobs
        if count.state == "available":
            oldest[count.queue] = count.oldest
    asked: dict[str, dict[str, reading.QueueSettings]] = {}
    for one in await database.read(reading.queues):
        asked.setdefault(one.name, {})[one.node] = one
    at_work: dict[str, list[str]] = {}
    for node in await nodes(database):
        for queue in node.queues:
            at_work.setdefault(queue, []).append(node.node)
    limits = await database.read(limited.limits)
    found = [
        _queue_status(name, jobs.get(name, {}), oldest.get(name), asked.get(name, {}), at_work.get(name, []))
        for name in sorted({*jobs, *asked, *at_work, *limits})
    ]
    return [_limited(queue, limits[queue.name]) if queue.name in limits else queue for queue in found]


def _limited(queue: QueueStatus, said: limited.QueueLimits) -> QueueStatus:
    return replace(queue, limits=said.limits, limits_asked=said.is_asked, tokens=said.tokens)


def _queue_status(
    name: str,
    jobs: Mapping[str, int],
    oldest: datetime | None,
    asked: Mapping[str, reading.QueueSettings],
    nodes: Sequence[str],
) -> QueueStatus:
    every = asked.get("") or reading.QueueSettings(name, "", None, None, None)
    alone = tuple(one for node, one in asked.items() if node)
    return QueueStatus(name, jobs, oldest, bool(every.paused), every.running, every.slots, alone, tuple(nodes))
