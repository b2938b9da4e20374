"""Doctor: the invariants checked on a live database, and what nodes say of themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tenuto.runtime.node import Node
from tenuto.storage import reading, upkeep
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
    told = tuple((name, f"{jobs} unfinished jobs") for name, jobs in unknown.items())
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
    seen = await database.read(upkeep.nodes)
    return Health(node.id, node.alive, running, dict(node.counters), node.lag, _by_node(seen), min(due, default=None))


def _by_node(seen: Sequence[upkeep.Seen]) -> tuple[NodeHealth, ...]:
    """Producers gathered into the nodes they belong to, the live ones."""
    nodes: dict[str, list[upkeep.Seen]] = {}
    for one in seen:
        if one.alive:
            nodes.setdefault(one.node, []).append(one)
    return tuple(
        NodeHealth(
            name,
            tuple(one.queue for one in producers),
            json.loads(producers[0].health),
            min(one.started_at for one in producers),
            min(one.expires_at for one in producers),
        )
        for name, producers in sorted(nodes.items())
    )
