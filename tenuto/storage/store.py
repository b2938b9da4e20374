"""A job's life as verbs: enqueue, claim, ack."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

from tenuto import codec
from tenuto.errors import CodecError, JobMismatch, UniqueConflict, WorkflowMismatch
from tenuto.failure import entry, failures
from tenuto.graph import Edge, Head, Node
from tenuto.job import AVAILABLE, CANCELLED, EPOCH, EXECUTING, SUSPENDED, TERMINAL, Job, JobState, Signal
from tenuto.outcome import Ack, answer_of
from tenuto.sizes import ARGS_MOST, META_MOST
from tenuto.storage.aftermath import BAD, Ended, Settled, aftermath, reach
from tenuto.storage.chains import as_link, in_line
from tenuto.storage.database import LostRace, Row, Verb, call, last
from tenuto.storage.nodes import CHUNK, complete_new, lay
from tenuto.storage.outbox import tell_acked
from tenuto.storage.overdue import deadline_of
from tenuto.storage.parking import to_wait
from tenuto.storage.unique import behind_holders, holders, in_order, refuse_running
from tenuto.tagged import holds_same, read_sealed

AnyJob: TypeAlias = Job[Any, Any]

CHUNK_WEIGHT: Final = 32_000_000  # characters of args in one document, which the database unpacks in memory

CANCELLED_BY_OPERATOR: Final = entry("cancel", "Cancel", "cancelled by an operator", "")


# ── enqueue ───────────────────────────────────────────────────────────────────────────────────────


@behind_holders
@in_line
def enqueue(jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
    """Store jobs, all or none, and give them back stored, in their order.

    A job whose id is stored already comes back as it is there, `existing`; with another worker or other args
    it is refused as JobMismatch. One whose unique key another holds is not stored: that one comes in its place.
    Links of chains are stored in line, in the order of the list.
    """
    stored: dict[str, AnyJob] = {}
    for chunk, documents in _packed(in_order(jobs)):
        rows = yield (last if len(jobs) == 1 else call)("enqueue", jobs=documents)
        new = {row[0]: row for row in rows}
        known: dict[str, AnyJob] = {} if len(new) == len(chunk) else (yield from _existing(chunk, documents))
        for job in chunk:
            if job.id in new:
                stored.setdefault(job.id, _stored(job, new[job.id]))
            elif job.id in known:
                stored[job.id] = known[job.id]
            else:
                raise LostRace("a job was deleted while it was enqueued again")
    return [stored[job.id] for job in jobs]


def enqueue_workflow(
    head: Head, jobs: Sequence[AnyJob], nodes: Sequence[Node], edges: Sequence[Edge]
) -> Verb[list[AnyJob]]:
    """Store a workflow with its jobs, nodes and edges, all or none. One that is stored already is left as it is.

    Raises WorkflowRunning for a unique one, while another of its name is unfinished.
    """
    callback = None if head.on_finished is None else codec.encode(_document(head.on_finished, {}))
    made = yield call("enqueue_workflow", **head._replace(on_finished=callback)._asdict(), steps=len(nodes))
    if not made:
        if head.is_unique:
            yield from refuse_running(head)
        return (yield from _existing_workflow(head.id, jobs, nodes))
    stored = yield from enqueue(jobs)
    for job, now in zip(jobs, stored, strict=True):
        if now.existing:
            raise JobMismatch(job.id) if now.id == job.id else UniqueConflict(job.id, now.id)
    yield from lay(head.id, nodes, edges)
    ended = yield from complete_new(stored)
    return (yield from as_they_are(stored)) if ended.ids else stored


def _existing(jobs: Sequence[AnyJob], documents: Sequence[Mapping[str, Any]] = ()) -> Verb[dict[str, AnyJob]]:
    """What is stored under the ids of jobs, and where nothing is, who holds the unique key in their documents."""
    rows = yield call("fetch", ids=[job.id for job in jobs])
    found = {row[0]: row for row in rows}
    for job in jobs:
        row = found.get(job.id)
        if row is not None and (row[3] != job.worker or not holds_same(row[4], job.encoded or codec.encode(job.args))):
            raise JobMismatch(job.id)
    found |= yield from holders([one for one in documents if "unique" in one and one["id"] not in found])
    return {id: to_job(row).replace(existing=True) for id, row in found.items()}


def _existing_workflow(id: str, jobs: Sequence[AnyJob], nodes: Sequence[Node]) -> Verb[list[AnyJob]]:
    """The jobs as they are stored; one that has been pruned or deleted shows its fate. Raises WorkflowMismatch."""
    rows = yield call("steps", workflow_id=id, after=-1, max=len(nodes) + 1)
    fates = {row[1]: row[5] for row in rows}
    if {(row[0], row[1]) for row in rows if row[2] <= len(nodes)} != {(node.name, node.job_id) for node in nodes}:
        raise WorkflowMismatch(id)
    known = yield from _existing(jobs)
    return [known.get(job.id) or job.replace(state=STATES.get(fates[job.id], CANCELLED), existing=True) for job in jobs]


def _packed(jobs: Sequence[AnyJob]) -> Iterable[tuple[list[AnyJob], list[dict[str, Any]]]]:
    """Jobs with their documents, as many at a time as one statement takes."""
    chunk: list[AnyJob] = []
    documents: list[dict[str, Any]] = []
    metas: dict[int, str] = {}
    weight = 0
    for job in jobs:
        documents.append(_document(job, metas))
        chunk.append(job)
        weight += len(documents[-1]["args"])
        if len(chunk) == CHUNK or weight > CHUNK_WEIGHT:
            yield chunk, documents
            chunk, documents, weight = [], [], 0
    if chunk:
        yield chunk, documents


def _document(job: AnyJob, metas: dict[int, str]) -> dict[str, Any]:
    """What is stored of a new job, without what is empty or as usual: the statement knows the rest.

    `metas` keeps the texts of metas, by their identity: those that many steps share are encoded once.
    """
    document = {
        "id": job.id,
        "queue": job.queue,
        "worker": job.worker,
        "args": job.encoded or codec.encode(job.args, limit=ARGS_MOST, what="args"),
        "max_attempts": job.max_attempts,
    }
    if job.priority:
        document["priority"] = job.priority
    if job.meta:
        text = metas.get(id(job.meta)) or codec.encode(job.meta, limit=META_MOST, what="meta")
        document["meta"] = metas[id(job.meta)] = text
    if job.tags:
        document["tags"] = codec.encode(list(job.tags))
    if (job.timeout, job.scheduled_at, job.schedule_in) != (None, None, None):
        at = None if job.scheduled_at is None else micros(job.scheduled_at - EPOCH)
        document |= {"timeout": micros(job.timeout), "scheduled": at, "delay": micros(job.schedule_in)}
    if job.workflow_id is not None:
        document |= {name: value for name in _OF_STEPS if (value := getattr(job, name)) and value is not AVAILABLE}
    if job.has_hooks:
        document["has_hooks"] = True
    if job.unique_key is not None:
        document["unique"] = job.unique_key
    if job.deadline is not None or job.deadline_at is not None:
        document |= deadline_of(job)
    if job.partition is not None:
        document["limit_key"] = job.partition
    if job.awaited:
        document["awaited"] = True
    document |= as_link(job) if job.chain_key is not None else {}
    return document


def _stored(job: AnyJob, row: Row) -> AnyJob:
    _, state, inserted_at, scheduled_at = row
    known = {"inserted_at": inserted_at, "scheduled_at": scheduled_at, "schedule_in": None}
    now = job.replace(state=STATES[state], encoded=None, **known)  # its args are their owner's again
    return now if job.deadline is None else now.replace(deadline_at=scheduled_at + job.deadline, deadline=None)


def micros(length: timedelta | None) -> int | None:
    """A duration as the statements take it."""
    return None if length is None else length // _MICROSECOND


def as_they_are(jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
    """Jobs with the states that they have by now."""
    found = {row[0]: row[1] for row in (yield call("fetch", ids=[job.id for job in jobs]))}
    return [job.replace(state=STATES[found[job.id]]) for job in jobs]


# ── claim ─────────────────────────────────────────────────────────────────────────────────────────


def claim(
    queue: str, demand: int, producer: str, node: str, behind: Mapping[int, tuple[datetime, str]] | None = None
) -> Verb[list[AnyJob]]:
    """Hand up to `demand` due jobs of `queue` to `producer`, most urgent first.

    Each comes back EXECUTING with its attempt counted; no other node holds it. Order: priority, scheduled_at,
    id. Empty when nothing is due, or when the producer's lease has ended. With `behind`, a place in each priority
    (scheduled_at, id), what is due before those places may be missed.
    """
    asked = {"queue": queue, "demand": demand, "producer": producer, "node": node}
    if behind is None:
        rows = yield last("claim", **asked)
    else:
        places = [{"priority": rank, "at": micros(at - EPOCH), "id": id} for rank, (at, id) in behind.items()]
        rows = yield last("claim_behind", **asked, places=places)
    return claimed(rows, queue, node)


def claim_suspect(queue: str, producer: str, node: str, keys: Sequence[str] | None = None) -> Verb[list[AnyJob]]:
    """Like `claim`, for one job that was running when a process died; such jobs never run side by side.

    With `keys`, it is one of these partitions.
    """
    rows = yield last("claim_suspect", queue=queue, producer=producer, node=node, keys=keys)
    return claimed(rows, queue, node)


# ── ack ───────────────────────────────────────────────────────────────────────────────────────────


def ack(acks: Sequence[Ack], patience: str = "500ms") -> Verb[Settled]:
    """Give attempts back, with all that follows for the steps behind them, in one transaction.

    Fenced by epoch: an attempt that is no longer the job's changes nothing and is not in the answer's ids.
    Plain jobs are one statement; what a workflow or a chain needs beyond it derives from what the fence let through.
    Rows that another session holds are waited for as long as `patience` says.
    """
    ordered = sorted(acks, key=_ATTEMPT)
    if not any(ack.workflow_id or ack.has_hooks or ack.chain_key or ack.waits for ack in ordered):
        rows = yield last("ack", acks=_documents(ordered), cancelled=CANCELLED_BY_OPERATOR, patience=patience)
        return _settled(rows)
    bad = [ack.id for ack in ordered if ack.state in _MAY_CASCADE]
    yield from reach([ack.id for ack in ordered], bad, patience=patience)
    rows = yield from _give_back(ordered, patience)
    yield from tell_acked(ordered, rows)
    chains = {ack.id: ack.chain_key for ack in ordered}
    after = yield from aftermath(
        [Ended._make((*row, chains[row[0]])) for row in rows if row[1] in TERMINAL],
        {ack.id: ack.result for ack in ordered},  # of two attempts of one job only the later can have settled
    )
    return _settled(rows, after)


def _give_back(ordered: Sequence[Ack], patience: str) -> Verb[list[Row]]:
    rows = yield from to_wait(ordered, CANCELLED_BY_OPERATOR, patience)
    ended = [ack for ack in ordered if ack.state is not SUSPENDED and ack.waits is None]
    if ended:
        rows += yield call("ack", acks=_documents(ended), cancelled=CANCELLED_BY_OPERATOR, patience=patience)
    return rows


def _documents(acks: Iterable[Ack]) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    for ack in acks:
        documents.append({"id": ack.id, "epoch": ack.epoch, "state": ack.state})
        if ack.recorded is not None:
            documents[-1]["recorded"] = ack.recorded
        if ack.is_awaited or ack.error is not None or ack.delay is not None or not ack.is_spent:
            rest = {"error": ack.error, "errors": ack.errors, "delay": micros(ack.delay)}
            answer = answer_of(ack) if ack.is_awaited else None
            documents[-1]["rest"] = rest | {"is_unspent": not ack.is_spent, "answer": answer}
    return documents


def _settled(rows: Sequence[Row], after: Settled | None = None) -> Settled:
    due = {row[2] for row in rows if row[1] == AVAILABLE}
    if after is None:
        return Settled([row[0] for row in rows], due, [])
    return Settled([row[0] for row in rows], due | after.due, after.finished)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────

CLAIMED: Final = (
    *("id", "worker", "args", "meta", "tags", "errors", "attempt", "max_attempts", "priority", "epoch", "timeout"),
    *("inserted_at", "scheduled_at", "attempted_at", "snoozes", "rescues", "suspicions", "waiting_on", "has_needs"),
    *("has_dependents", "workflow_id", "has_hooks", "deadline_at", "deadline_force", "chain_key", "awaited"),
)
FETCHED: Final = (
    *("id", "state", "queue", "worker", "args", "meta", "tags", "errors", "attempt", "max_attempts", "priority"),
    *("epoch", "timeout", "inserted_at", "scheduled_at", "attempted_at", "attempted_by", "finished_at"),
    *("cancel_requested_at", "snoozes", "rescues", "suspicions", "waiting_on", "has_needs", "has_dependents"),
    *("workflow_id", "has_hooks", "deadline_at", "deadline_force", "chain_key", "awaited", "unique_key"),
)


def claimed(rows: Iterable[Row], queue: str, node: str) -> list[AnyJob]:
    """The rows of a claim as Jobs, most urgent first. What it says of every one of them is not read back."""
    return sorted((_claimed(row, queue, node) for row in rows), key=URGENCY)


def _claimed(row: Row, queue: str, node: str) -> AnyJob:
    fields = dict(zip(CLAIMED, row, strict=False))
    fields["state"], fields["queue"], fields["attempted_by"], fields["signal"] = EXECUTING, queue, node, Signal()
    return _job(fields)


def to_job(row: Row) -> AnyJob:
    """A row of `jobs` as a Job. Args that cannot be read stand in it as the error that says so."""
    fields = dict(zip(FETCHED, row, strict=True))
    fields["state"] = STATES[fields["state"]]
    return _job(fields)


def _job(fields: dict[str, Any]) -> AnyJob:
    fields["args"] = _decoded(fields["args"])
    fields["meta"] = {} if fields["meta"] == "{}" else _decoded(fields["meta"])
    fields["tags"] = () if fields["tags"] == "[]" else _tags(fields["tags"])
    fields["errors"] = () if fields["errors"] == "[]" else failures(fields["errors"])
    if fields["timeout"] is not None:
        fields["timeout"] = timedelta(microseconds=fields["timeout"])
    return Job.of(fields)


def _tags(text: str) -> tuple[str, ...]:
    try:
        return tuple(codec.decode(text))
    except (CodecError, TypeError):  # somebody wrote there by hand: the job can run without them
        return ()


def _decoded(text: str) -> Any:
    try:
        return read_sealed(text) or codec.decode(text)
    except CodecError as fault:
        return fault


URGENCY: Final = attrgetter("priority", "scheduled_at", "id")  # what sorts jobs as they are claimed
_ATTEMPT: Final = attrgetter("id", "epoch")
STATES: Final = {state.value: state for state in JobState}
_OF_STEPS: Final = ("state", "waiting_on", "has_needs", "has_dependents", "workflow_id")
_MAY_CASCADE: Final = BAD | {SUSPENDED}  # the gate cancels a step whose need has ended badly
_MICROSECOND: Final = timedelta(microseconds=1)
