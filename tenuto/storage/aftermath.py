"""Aftermath: what the ending of jobs means for those behind them, in workflows and in chains, and for the workflows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from uuid_utils import uuid7

from tenuto import codec
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, SUSPENDED
from tenuto.storage.chains import advance, hold_still
from tenuto.storage.database import Row, Verb, call
from tenuto.storage.outbox import tell_hooks

PATIENCE: Final = "2s"
BAD: Final = frozenset({CANCELLED, DISCARDED, "deleted"})  # endings that an edge has to forgive


class Finished(NamedTuple):
    """A workflow whose last step has just settled."""

    id: str
    name: str | None
    outcome: str  # completed | failed
    failed: list[str]  # names of the steps that did not complete, the first hundred
    run: int = 1  # which one of its runs: one more for each time that a retry brought it back
    on_finished: str | None = None  # the job that this enqueues, as enqueue.sql takes it


class Ended(NamedTuple):
    """One job that ended, as the statements answer it; a deleted one has the state `deleted`."""

    id: str
    state: str
    queue: str
    workflow_id: str | None
    has_dependents: bool
    chain_key: str | None  # of a link whose turn had come


class Settled(NamedTuple):
    """What a verb that ends attempts or jobs changed."""

    ids: list[str]  # the jobs it changed, in no order
    due: set[str]  # queues in which something became due
    finished: list[Finished]


def reach(
    ids: Iterable[str], bad: Iterable[str] = (), *, patience: str = PATIENCE, is_free: bool = False
) -> Verb[set[str]]:
    """Lock every job that the ending of `ids` may change, and of the `bad` ones all behind them; the ids it locked.

    Then their chains, before anything is changed: who stores a link has its chain first, and may then wait for a
    unique key that is just given up or taken again. Waits for other sessions as long as `patience` says, also later in
    this transaction; with `is_free` it passes over jobs that they hold.
    """
    rows = yield call("reach_free" if is_free else "reach", ids=list(ids), bad=list(bad), patience=patience)
    yield from hold_still(key for _, key in rows)
    return {id for id, _ in rows}


def aftermath(ended: Sequence[Ended], results: Mapping[str, str | None]) -> Verb[Settled]:
    """What the ending of jobs means for the steps and links behind them and for their workflows.

    Hands their chains on, cancels what no edge forgives, writes fates and results, meets edges, releases what waits
    for nothing more, and counts; `ids` of the answer are the jobs it cancelled. The jobs it may touch are locked by
    `reach`, and so are the chains.
    """
    due = yield from advance(job.chain_key for job in ended)
    steps = [job for job in ended if job.workflow_id is not None]
    bad = [{"id": job.id, "state": job.state} for job in steps if job.state in BAD and job.has_dependents]
    cancelled: list[Ended] = []
    if bad:
        rows = yield call("cascade", ended=bad)
        cancelled = [Ended._make((*row, None)) for row in rows]
        yield from tell_hooks([job.id for job in cancelled], "dependency")
        steps += cancelled
    if not steps:
        return Settled([], due, [])
    nodes = [{"id": job.id, "state": job.state, "result": _kept(job, results)} for job in steps]
    fates = yield call("settle_nodes", nodes=nodes)
    more, of_groups = yield from _release([job for job in steps if job.has_dependents])
    finished, called = yield from finish([*fates, *of_groups])
    return Settled([job.id for job in cancelled], due | more | called, finished)


def complete(groups: Sequence[str]) -> Verb[Settled]:
    """End those of some groups that wait for nothing more, with all that follows; `ids` are the groups that ended."""
    if not groups:
        return Settled([], set(), [])
    ended, met, fates = yield from _complete(groups)
    due, more = yield from count_needs(met, +1)
    finished, called = yield from finish([*fates, *more])
    return Settled(ended, due | called, finished)


def finish(fates: Sequence[Row]) -> Verb[tuple[list[Finished], set[str]]]:
    """Count new fates: the workflows that finished by it, and the queues in which a callback of theirs is due."""
    finished = yield from count_fates(fates, +1)
    due = yield from enqueue_callbacks([workflow for workflow in finished if workflow.on_finished])
    return finished, due


def enqueue_callbacks(finished: Sequence[Finished]) -> Verb[set[str]]:
    """Enqueue the jobs that the ends of workflows ask for; the queues in which one is due.

    In its first run that is the very job that was given, in each later one another like it.
    """
    if not finished:
        return set()
    jobs = {job["id"]: job for job in map(_callback, finished)}
    rows = yield call("enqueue", jobs=[jobs[id] for id in sorted(jobs)])
    taken = jobs.keys() - {row[0] for row in rows}  # somebody enqueued that very job, too
    if taken:
        more = {job["id"]: job for job in ({**jobs[id], "id": str(uuid7())} for id in taken)}
        jobs |= more
        rows += yield call("enqueue", jobs=[more[id] for id in sorted(more)])
    return {jobs[id]["queue"] for id, state, *_ in rows if state == AVAILABLE}


def _callback(workflow: Finished) -> dict[str, Any]:
    job: dict[str, Any] = codec.decode(workflow.on_finished or "{}")
    told = {"workflow_id": workflow.id, "name": workflow.name, "outcome": workflow.outcome, "run": workflow.run}
    meta = {**codec.decode(job.get("meta", "{}")), "finished": told}
    return {**job, "id": job["id"] if workflow.run == 1 else str(uuid7()), "meta": codec.encode(meta)}


def _kept(job: Ended, results: Mapping[str, str | None]) -> str | None:
    return results.get(job.id) if job.state == "completed" else None


def _release(heads: Sequence[Ended]) -> Verb[tuple[set[str], list[Row]]]:
    """Meet the edges behind `heads` and release whom that was the last need of; the answer is `count_needs`'."""
    if not heads:
        return set(), []
    met = yield call("meet", ended=[{"id": job.id, "state": job.state} for job in heads])
    return (yield from count_needs(met, +1))


def count_needs(edges: Sequence[Row], sign: int) -> Verb[tuple[set[str], list[Row]]]:
    """Count met edges off what their jobs wait for, or on with a `sign` of -1, and go on through groups.

    A group that waits for nothing more completes here, and one that had completed waits again. The answer is the queues
    in which a job became due, and the (workflow_id, fate) pairs of such groups, to be counted with that sign.
    """
    due: set[str] = set()
    fates: list[Row] = []
    while edges:
        counts = Counter(row[0] for row in edges)
        rows = yield call("release", counts=[{"id": id, "met": sign * counts[id]} for id in sorted(counts)])
        due |= {queue for _, state, queue, *_ in rows if sign > 0 and state == AVAILABLE}
        groups = [id for id, state, _, is_group, left in rows if is_group and _has_turned(state, left, sign)]
        edges = []
        if groups:
            _, edges, more = yield from (_complete(groups) if sign > 0 else _reopen(groups))
            fates += more
    return due, fates


def _has_turned(state: str, left: int, sign: int) -> bool:
    return state == SUSPENDED and left == 0 if sign > 0 else state == COMPLETED


def _complete(groups: Sequence[str]) -> Verb[tuple[list[str], list[Row], list[Row]]]:
    """End groups that wait for nothing more: their ids, the edges that it meets, and the fates that it writes."""
    ended = yield call("complete_groups", ids=list(groups))
    fates = yield call("settle_nodes", nodes=[{"id": row[0], "state": row[1], "result": None} for row in ended])
    heads = [{"id": row[0], "state": row[1]} for row in ended if row[4]]
    met = (yield call("meet", ended=heads)) if heads else []
    return [row[0] for row in ended], met, fates


def _reopen(groups: Sequence[str]) -> Verb[tuple[list[str], list[Row], list[Row]]]:
    """Let groups wait again: their ids, the edges that are met no more, and the fates that it takes back."""
    yield call("reopen_groups", ids=list(groups))
    fates = yield call("fates", ids=list(groups))
    yield call("revive_nodes", ids=list(groups), keep_results=True)
    unmet = yield call("unmeet", ids=list(groups))
    return list(groups), unmet, fates


def count_fates(fates: Sequence[Row], sign: int) -> Verb[list[Finished]]:
    """Count (workflow_id, fate) pairs in, or out with a `sign` of -1; the workflows that finished by it."""
    deltas: dict[str, dict[str, Any]] = {}
    for workflow_id, fate in fates:
        delta = deltas.setdefault(workflow_id, dict(_NO_CHANGE, id=workflow_id))
        delta[fate] += sign
    if not deltas:
        return []
    rows = yield call("settle_workflows", deltas=[deltas[id] for id in sorted(deltas)])
    ended = [row for row in rows if row[2] == "finished"]
    failed: dict[str, list[str]] = {}
    if any(row[3] == "failed" for row in ended):
        for workflow_id, name in (yield call("failed_steps", ids=[row[0] for row in ended])):
            failed.setdefault(workflow_id, []).append(name)
    return [Finished(id, name, outcome, failed.get(id, []), *rest) for id, name, _, outcome, *rest in ended]


_NO_CHANGE: Final = {"completed": 0, "cancelled": 0, "discarded": 0, "deleted": 0}
