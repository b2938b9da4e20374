"""What running nodes do for all jobs, as verbs: leases and beats, stage, rescue, prune, and the schema."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from tenuto.errors import LiveNodes, NotMigrated, SchemaTooNew
from tenuto.failure import entry
from tenuto.job import JobState
from tenuto.storage.aftermath import Ended, Settled, aftermath, reach
from tenuto.storage.database import Row, Verb, call, last
from tenuto.storage.outbox import tell_hooks
from tenuto.storage.store import CANCELLED_BY_OPERATOR, STATES, AnyJob, micros, to_job

POISONED: Final = entry(
    "discard", "Poisoned", "its process died three times, the last time with no other suspect in it", ""
)
STAGED_AT_ONCE: Final = 5000
PRUNED_AT_ONCE: Final = 1000
WORKFLOWS_PRUNED_AT_ONCE: Final = 20


class Producer(NamedTuple):
    """One node's lease on one queue, and the process behind it."""

    id: str
    node: str
    queue: str
    version: int
    workers: str  # JSON list of the names it knows
    boot: str | None
    pid: int | None
    pid_started: str | None


class Seen(NamedTuple):
    """A producer as the database has it."""

    id: str
    node: str
    queue: str
    version: int
    workers: str
    health: str
    boot: str | None
    pid: int | None
    pid_started: str | None
    started_at: datetime
    expires_at: datetime
    alive: bool


class QueuePoll(NamedTuple):
    """What a node must know of one of its queues."""

    name: str
    paused: bool
    running: bool | None  # None: as the node was configured
    slots: int | None  # None: as the node was configured
    due: bool
    suspect: bool
    limits: str | None  # of the whole queue, as stored


# ── leases ────────────────────────────────────────────────────────────────────────────────────────


def register(producers: Sequence[Producer], ttl: timedelta) -> Verb[None]:
    """Open the leases of a node, each for `ttl`."""
    yield last("register", producers=[producer._asdict() for producer in producers], ttl=micros(ttl))


def beat(producers: Sequence[str], ttl: timedelta, health: str) -> Verb[set[str]]:
    """Renew leases that still hold, and keep the node's counters; the ids that are not in the answer have ended."""
    rows = yield last("beat", producers=list(producers), ttl=micros(ttl), health=health)
    return {row[0] for row in rows}


def expire(producers: Sequence[str]) -> Verb[None]:
    """End leases of processes that are known to be gone."""
    yield last("expire", producers=list(producers))


def resign(producers: Sequence[str]) -> Verb[Settled]:
    """Close leases, giving back unspent whatever is still held in their names.

    What another session holds is left: it belongs to nobody then, and is rescued later.
    """
    settled = yield from disown(producers, (), is_free=True)
    yield call("resign", producers=list(producers))
    return settled


def disown(producers: Sequence[str], running: Sequence[str], *, is_free: bool = False) -> Verb[Settled]:
    """Give back, unspent and unsuspected, what living producers hold and do not run: a claim's lost answer."""
    held = yield call("held", producers=list(producers), except_ids=list(running), strays=False)
    if not held:
        return Settled([], set(), [])
    locked = yield from reach([row[0] for row in held], is_free=is_free)
    ids = [row[0] for row in held if row[0] in locked]
    rows = yield call("disown", ids=ids, producers=list(producers), cancelled=CANCELLED_BY_OPERATOR)
    return (yield from _taken_back([Ended(*row) for row in rows]))


def nodes() -> Verb[list[Seen]]:
    """Every producer there is, alive or not."""
    return [Seen(*row) for row in (yield last("nodes"))]


def lease(name: str, node: str, ttl: timedelta) -> Verb[bool]:
    """Whether `node` may do what only one node should, until `ttl` from now; its own lease is renewed."""
    rows = yield last("lease", name=name, node=node, ttl=micros(ttl))
    return bool(rows)


# ── rescue ────────────────────────────────────────────────────────────────────────────────────────


class Rescued(NamedTuple):
    """What a sweep of the lifeline took back."""

    nodes: set[str]
    ids: list[str]
    discarded: list[str]
    settled: Settled


def rescue(*, judge: bool, node: str | None = None) -> Verb[Rescued]:
    """Take jobs back from producers whose lease ended, with no attempt spent, and close those producers.

    Without `judge` only from processes that are known to be gone (a node whose database was away waits one
    lease before it judges others); a `node` whose own lease has ended judges nobody. Each death is one suspicion
    against all jobs that ran in the process; the third death of the only suspect in a process discards it. A job
    whose row another session holds is left to the next sweep, and so are the producers.
    """
    dead = yield call("dead", judge=judge, node=node)
    gone = [row[0] for row in dead]
    held = yield call("held", producers=gone, except_ids=[], strays=True)
    ended: list[Ended] = []
    if held:
        bad = [id for id, suspicions in held if suspicions >= 2]
        locked = yield from reach([row[0] for row in held], bad, is_free=True)
        ids = [row[0] for row in held if row[0] in locked]
        rows = yield call("rescue", ids=ids, producers=gone, error=POISONED, cancelled=CANCELLED_BY_OPERATOR)
        ended = [Ended(*row) for row in rows]
    settled = yield from _taken_back(ended)
    if dead and len(ended) == len(held):
        yield call("resign", producers=gone)
    discarded = [job.id for job in ended if job.state == "discarded"]
    return Rescued({row[1] for row in dead}, settled.ids, discarded, settled)


def _taken_back(jobs: Sequence[Ended]) -> Verb[Settled]:
    """The aftermath of jobs that were taken back: most are due again, some ended."""
    due = {job.queue for job in jobs if job.state == "available"}
    ended = [job for job in jobs if job.state != "available"]
    yield from tell_hooks([job.id for job in ended], "rescue")
    after = yield from aftermath(ended, {})
    return Settled([job.id for job in jobs], due | after.due, after.finished)


# ── stage, prune, poll ────────────────────────────────────────────────────────────────────────────


def stage() -> Verb[list[str]]:
    """Make due what was scheduled or waits for a retry; the queue of each job that became due."""
    rows = yield last("stage", max=STAGED_AT_ONCE)
    return [row[0] for row in rows]


def poll(node: str, queues: Sequence[str]) -> Verb[list[QueuePoll]]:
    """What the node of that name must know of its queues, and of those it was told to start."""
    return [QueuePoll(*row) for row in (yield last("poll_queues", node=node, queues=list(queues)))]


def poll_signals(producers: Sequence[str]) -> Verb[list[tuple[str, int, bool]]]:
    """The running jobs of some producers that an operator cancelled or somebody awaits: id, epoch, is it cancelled."""
    rows = yield last("poll_signals", producers=list(producers))
    return [(id, epoch, is_cancelled) for id, epoch, is_cancelled in rows]


def prune_jobs(keep: timedelta) -> Verb[int]:
    """Delete jobs that ended longer ago than `keep`, oldest first, at most `PRUNED_AT_ONCE`; how many.

    One that was unique for a period is kept as long after that. A link that ended and keeps its
    chain is left, until it is retried or deleted. What nobody has told to their hooks goes as well.
    """
    yield call("prune_hooks", keep=micros(keep), max=PRUNED_AT_ONCE)
    gone: list[Row] = []
    for statement in ("prune_kept", "prune_jobs"):
        if len(gone) < PRUNED_AT_ONCE:
            gone += yield call(statement, keep=micros(keep), max=PRUNED_AT_ONCE - len(gone))
    return len(gone)


def prune_chains(keep: timedelta) -> Verb[int]:
    """Delete chains that nobody has held for longer than `keep`, at most `PRUNED_AT_ONCE`; how many.

    Where the ended jobs of that time are pruned, no link of theirs is left.
    """
    return len((yield last("prune_chains", keep=micros(keep), max=PRUNED_AT_ONCE)))


def prune_workflows(keep: timedelta, most: int = WORKFLOWS_PRUNED_AT_ONCE) -> Verb[int]:
    """Delete workflows that finished longer ago than `keep`, with their nodes, edges and ended jobs; how many."""
    rows = yield call("old_workflows", keep=micros(keep), max=most)
    ids = [row[0] for row in rows]
    if ids:
        for statement in ("prune_edges", "prune_steps", "prune_nodes", "prune_workflows"):
            yield call(statement, workflows=ids)
    return len(ids)


# ── hooks of jobs that others ended ───────────────────────────────────────────────────────────────


class Told(NamedTuple):
    """A job that others ended, for the hooks of its worker; it may have moved on since."""

    job: AnyJob
    state: JobState  # cancelled or discarded
    reason: str  # operator, dependency, deadline, rescue


def take_hooks(workers: Sequence[str], most: int) -> Verb[list[Told]]:
    """Take away what was left for the hooks of these workers, oldest first. A job that is gone is told of to nobody."""
    rows = yield call("take_hooks", workers=list(workers), max=most)
    if not rows:
        return []
    rows.sort(key=lambda row: (row[4], row[0]))
    found = {row[0]: to_job(row) for row in (yield call("fetch", ids=[row[0] for row in rows]))}
    return [Told(found[id], STATES[state], reason) for id, _, state, reason, _ in rows if id in found]


# ── the schema ────────────────────────────────────────────────────────────────────────────────────

SCHEMA_VERSION: Final = 5


def schema_version() -> Verb[int | None]:
    """The version of the tables, or None where there are none."""
    ((found,),) = yield call("schema_exists")
    if not found:
        return None
    ((version,),) = yield call("schema_version")
    return version  # type: ignore[no-any-return]


def check_schema(command: str) -> Verb[int | None]:
    """The version of the tables. Raises NotMigrated (which names `command`) or SchemaTooNew."""
    found = yield from schema_version()
    if found is None or found < SCHEMA_VERSION:
        raise NotMigrated(found, SCHEMA_VERSION, command)
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(found, SCHEMA_VERSION)
    return found


def as_script(scripts: Sequence[tuple[int, str]], migrated: str) -> str:
    """What `migrate` runs on a new database, as one text; `migrated` is the statement that keeps a version."""
    parts: list[str] = []
    for number, script in scripts:
        kept = migrated.replace("%(version)s", str(number)).replace(":version", str(number))
        parts.append(f"{script.strip()}\n" + (f"\n{kept};\n" if number else ""))
    return "\n".join(["begin;\n", *parts, "commit;"])


def migrate(scripts: Sequence[int], *, only_empty: bool = False) -> Verb[list[int]]:
    """Bring the tables up to date in one transaction; the versions that were run.

    With `only_empty` nothing is done unless there are no tables at all. Raises LiveNodes while nodes work on
    older tables, and SchemaTooNew.
    """
    yield call("schema_lock")
    found = yield from schema_version()
    if found is not None and found > SCHEMA_VERSION:
        raise SchemaTooNew(found, SCHEMA_VERSION)
    missing = [number for number in scripts if number > (found or 0)]
    if not missing or (only_empty and found is not None):
        return []
    if found is not None:
        yield from _refuse_live_nodes()
    yield call("schema/0")
    for number in missing:
        yield call(f"schema/{number}")
        yield call("schema_migrated", version=number)
    return missing


def _refuse_live_nodes() -> Verb[None]:
    seen = [Seen(*row) for row in (yield call("nodes"))]
    older = sorted({node.node for node in seen if node.alive and node.version < SCHEMA_VERSION})
    if older:
        raise LiveNodes(older)


def workers_of(seen: Seen) -> list[Any]:
    """The names of the workers that a producer's node knows."""
    return json.loads(seen.workers)  # type: ignore[no-any-return]
