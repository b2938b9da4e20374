"""Chains: links of one key run one after the other. They are numbered when they are stored, and each hands on."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeAlias

from tenuto.job import AVAILABLE, SUSPENDED, Job, JobState
from tenuto.storage.database import Row, Verb, call

AnyJob: TypeAlias = Job[Any, Any]

PATIENCE: Final = "2s"  # for a chain that another session holds
AT_ONCE: Final = 5000  # links in one statement


# ── in line ───────────────────────────────────────────────────────────────────────────────────────


Enqueue: TypeAlias = Callable[[Sequence[AnyJob]], Verb[list[AnyJob]]]


def in_line(enqueue: Enqueue) -> Enqueue:
    """A verb that stores jobs, made to store links in line: each behind those of its chain that were stored before.

    The rows of their chains stay locked until the transaction ends, so the numbers are in the order of the commits,
    and within one call in the order of the list. The first link of a free chain is due, the others wait.
    """

    @wraps(enqueue)
    def enqueue_in_line(jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
        has_links = any(job.chain_key is not None for job in jobs)
        return _enqueue_links(jobs, enqueue) if has_links else enqueue(jobs)

    return enqueue_in_line


def _enqueue_links(jobs: Sequence[AnyJob], enqueue: Enqueue) -> Verb[list[AnyJob]]:
    numbered = yield from _numbered([job for job in jobs if job.chain_key is not None])
    stored = yield from enqueue([numbered.get(job.id, job) for job in jobs])
    existing = {given.chain_key for given, now in zip(jobs, stored, strict=True) if now.existing}
    locked = {job.chain_key for job in numbered.values()}
    moved = yield from _hand_on(filter(None, existing & locked))  # where that was to be the first
    states = {id: JobState(state) for id, state, _ in moved}
    return [job.replace(state=states[job.id], waiting_on=0) if job.id in states else job for job in stored]


def _numbered(links: Sequence[AnyJob]) -> Verb[dict[str, AnyJob]]:
    """The links as they are to be stored, by id. One that is stored already may be left out."""
    ordered = sorted(links, key=_KEY)  # a stable sort: within a chain in the order of the list
    numbered: dict[str, AnyJob] = {}
    for start in range(0, len(ordered), AT_ONCE):
        lines = {key: list(line) for key, line in groupby(ordered[start : start + AT_ONCE], _KEY)}
        documents = [
            {"id": job.id, "key": key, "nth": nth, "links": len(line)}
            for key, line in lines.items()
            for nth, job in enumerate(line)
        ]
        for key, next_seq, held_by in (yield call("enqueue_links", links=documents, patience=PATIENCE)):
            for seq, job in enumerate(lines[key], next_seq - len(lines[key])):
                waits = {} if job.id == held_by else {"state": SUSPENDED, "waiting_on": 1}
                numbered[job.id] = job.replace(chain_seq=seq, **waits)
    return numbered


def as_link(job: AnyJob) -> dict[str, Any]:
    """What is stored of its place in a chain."""
    chain = {"key": job.chain_key, "seq": job.chain_seq, "holds": job.chain_holds}
    return {"state": job.state, "waiting_on": job.waiting_on, "chain": chain}


# ── the next one ──────────────────────────────────────────────────────────────────────────────────


def hold_still(keys: Iterable[str | None]) -> Verb[None]:
    """Lock chains until the transaction ends, after the jobs in it: no link is stored behind theirs meanwhile."""
    given = sorted({key for key in keys if key is not None})
    if given:
        yield call("lock_chains", keys=given)


def advance(keys: Iterable[str | None]) -> Verb[set[str]]:
    """Give chains whose holder has ended, or is gone, to their next link; the queues in which one became due.

    A chain whose holder still has it, also after its end because it was asked to, stays as it is. They are locked.
    """
    moved = yield from _hand_on(filter(None, keys))
    return {queue for _, state, queue in moved if state == AVAILABLE}


def reopen(links: Iterable[tuple[str | None, int | None]]) -> Verb[None]:
    """Let links that are to run again, by key and number, have their turn where nobody holds their chain."""
    given = [(key, seq) for key, seq in links if key is not None]
    if given:
        yield call("open_chains", links=[{"key": key, "seq": seq} for key, seq in given])
        yield from _hand_on({key for key, _ in given})


def _hand_on(keys: Iterable[str]) -> Verb[list[Row]]:
    """What `advance` does with chains that are locked already; the links whose turn it is, as (id, state, queue)."""
    moved: list[Row] = []
    left = set(keys)
    while left:  # again where the next link was cancelled or deleted by others at the same moment
        rows = yield call("advance_chains", keys=sorted(left))
        holders = {id: key for key, id in rows if id is not None}
        released = (yield call("release_links", ids=list(holders))) if holders else []
        moved += released
        left = set(holders.values()) - {holders[row[0]] for row in released}
    return moved


_KEY: Final = attrgetter("chain_key")
