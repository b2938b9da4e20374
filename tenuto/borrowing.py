"""Borrowing: work is stored, and the running job completed, inside a transaction of whoever lends a connection."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from tenuto.context import Running, current
from tenuto.definition import resolve, storing
from tenuto.errors import CancelRequested, InvalidRequest, JobNotFound, NotHere, StaleAttempt, WouldDeadlock
from tenuto.features.recorded import Recorder
from tenuto.graph import Head
from tenuto.job import AVAILABLE, COMPLETED, Job
from tenuto.options import as_jobs, fitting
from tenuto.outcome import Ack, Cancel, Discard, Outcome, Record, Snooze, encode_result, outcome_of, settle
from tenuto.runtime.completion import Completion
from tenuto.shaping import as_given, shaped, shaped_head
from tenuto.sizes import Sizes
from tenuto.storage import reading, relays, store
from tenuto.storage.aftermath import Settled
from tenuto.storage.borrowed import found
from tenuto.storage.borrowed.loan import Line
from tenuto.storage.database import Database, Hint, Verb
from tenuto.workflow import Workflow

T = TypeVar("T")
AnyJob: TypeAlias = Job[Any, Any]

NO_HEAD: Final = Head("")  # of jobs that are no workflow


# ── enqueue ───────────────────────────────────────────────────────────────────────────────────────


async def enqueue_in(database: Database, sizes: Sizes, conn: Any, work: Any, *, notify: bool = True) -> Any:
    """Store a job, jobs or a workflow in the transaction of `conn`; what was given, as it is stored if that commits.

    Nothing needs to be open: only the address of the database is known of the app. Raises as `Tenuto.enqueue` does.
    """
    order = _order(work)
    jobs, head = await shaped(order.jobs, sizes), await shaped_head(order.head, sizes)
    if not jobs:
        return order.given_back([])
    line = await found.line_to_async(conn, database)
    verb = order.verb(head, jobs)
    return order.given_back(await found.run_async(line, database, verb, _due if notify else _untold))


def enqueue_now(database: Database, sizes: Sizes, conn: Any, work: Any, *, notify: bool = True) -> Any:
    """Like `enqueue_in`, for plain code and a plain connection, on this thread. Raises also WouldDeadlock."""
    order = _order(work)
    jobs = _shaped_now(order.jobs, sizes)
    head = _shaped_head_now(order.head, sizes)
    if not jobs:
        return order.given_back([])
    line = found.line_to(conn, database)
    return order.given_back(found.run(line, database, order.verb(head, jobs), _due if notify else _untold))


def _shaped_now(jobs: Sequence[AnyJob], sizes: Sizes) -> list[AnyJob]:
    return _at_once(shaped(jobs, sizes)) if any(map(storing, jobs)) else fitting(jobs, sizes)


def _shaped_head_now(head: Head, sizes: Sizes) -> Head:
    is_plain = head.context is None and head.on_finished is None
    return head if is_plain else _at_once(shaped_head(head, sizes))


class _Order(NamedTuple):
    """What somebody wants stored."""

    jobs: Sequence[AnyJob]
    verb: Callable[[Head, Sequence[AnyJob]], Verb[list[AnyJob]]]
    given_back: Callable[[Sequence[AnyJob]], Any]
    head: Head


def _order(work: Any) -> _Order:
    if isinstance(work, Workflow):
        return _order_of_workflow(work)
    given = as_jobs(work)

    def given_back(stored: Sequence[AnyJob]) -> Any:
        jobs = as_given(stored, given)
        return jobs[0] if isinstance(work, Job) else jobs

    def verb(_: Head, jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
        return _enqueue(jobs)

    return _Order(given, verb, given_back, NO_HEAD)


def _order_of_workflow(flow: Workflow) -> _Order:
    rows = flow.rows()

    def verb(head: Head, jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
        return store.enqueue_workflow(head, jobs, rows.nodes, rows.edges)

    def given_back(stored: Sequence[AnyJob]) -> Any:
        return flow.stored(dict(zip(flow.step_names, as_given(stored, rows.jobs), strict=True)))

    return _Order(rows.jobs, verb, given_back, rows.head)


def _enqueue(jobs: Sequence[AnyJob]) -> Verb[list[AnyJob]]:
    """Store jobs; a step that was fetched is not stored again without its workflow."""
    steps = [job.id for job in jobs if job.workflow_id is not None]
    known = (yield from reading.fetch(steps)) if steps else {}
    for id in steps:
        if id not in known:
            raise JobNotFound(id)
    return (yield from store.enqueue(jobs))


def _due(stored: Sequence[AnyJob]) -> list[Hint]:
    return [Hint("insert", queue) for queue in sorted({job.queue for job in stored if job.state is AVAILABLE})]


def _untold(stored: Sequence[AnyJob]) -> list[Hint]:
    return []


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine comes to in plain code: it gets a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise WouldDeadlock("this thread has a running event loop; await app.enqueue(…, conn=…) there")


# ── relay ─────────────────────────────────────────────────────────────────────────────────────────


async def relay_in(
    database: Database, sizes: Sizes, conn: Any, asked: Sequence[AnyJob]
) -> tuple[list[AnyJob], Line | None]:
    """Store jobs that are awaited in the transaction of `conn`; them, as stored if that commits, and its line.

    Raises as `enqueue_in` does.
    """
    jobs = await shaped(asked, sizes)
    if not jobs:
        return [], None
    line = await found.line_to_async(conn, database)
    relayed = await found.run_async(line, database, _relay(jobs), _due_and_awaited)
    return as_given(relayed.stored, asked), line


def relay_now(database: Database, sizes: Sizes, conn: Any, asked: Sequence[AnyJob]) -> tuple[list[AnyJob], Line | None]:
    """Like `relay_in`, for plain code and a plain connection, on this thread. Raises also WouldDeadlock."""
    jobs = _shaped_now(asked, sizes)
    if not jobs:
        return [], None
    line = found.line_to(conn, database)
    relayed = found.run(line, database, _relay(jobs), _due_and_awaited)
    return as_given(relayed.stored, asked), line


class _Relayed(NamedTuple):
    """Jobs as they are stored, and those of them that run already."""

    stored: list[AnyJob]
    executing: list[str]


def _relay(jobs: Sequence[AnyJob]) -> Verb[_Relayed]:
    stored = yield from _enqueue(jobs)
    known = [job.id for job in stored if job.existing]
    return _Relayed(stored, (yield from relays.await_jobs(known)) if known else [])


def _due_and_awaited(relayed: _Relayed) -> list[Hint]:
    return _due(relayed.stored) + ([Hint("signal")] if relayed.executing else [])


# ── complete ──────────────────────────────────────────────────────────────────────────────────────


async def complete_in(conn: Any, value: Any = None) -> None:
    """Complete the running job with `value` in the transaction of `conn`: they are committed together, or not at all.

    From the commit on, nothing that the job's code returns or raises changes that; after a rollback it is as if this
    had not been called. Call it last. Raises StaleAttempt when the job was taken from this attempt, CancelRequested
    when an operator cancelled it, ResultTooLarge and UnencodableResult, and as `Tenuto.enqueue` does for `conn`: let
    the transaction roll back then.
    """
    mine, outcome, ack = _completion("complete_in()", value)
    database = mine.app.database
    settled = await found.run_async(await found.line_to_async(conn, database), database, _complete(ack), _told(ack))
    _keep(mine, outcome, settled)


def complete_now(conn: Any, value: Any = None) -> None:
    """Complete the running job with `value` in the transaction of `conn`: `complete_in` for a plain function.

    It takes a plain connection, on the thread that runs the job. Raises as `complete_in` does.
    """
    mine, outcome, ack = _completion("blocking.complete_in()", value)
    database = mine.app.database
    _keep(mine, outcome, found.run(found.line_to(conn, database), database, _complete(ack), _told(ack)))


def _completion(what: str, value: Any) -> tuple[Running, Outcome, Ack]:
    """The running attempt, and what is to be stored of it, as its worker's features want it."""
    mine = current(what)
    if mine.completions is None:
        raise NotHere(what)
    outcome = outcome_of(value)
    if isinstance(outcome, Snooze | Cancel | Discard):
        raise InvalidRequest(f"{what} completes the job, and {type(value).__name__} does not; return or raise it")
    definition = resolve(mine.job.worker)
    if isinstance(outcome, Record):
        encode_result(outcome.value, mine.sizes.result)
        for recorder in (each for each in definition.features if isinstance(each, Recorder)):
            outcome = recorder.recording(outcome.value)
    ack = settle(mine.job, outcome, sizes=mine.sizes)
    for feature in definition.giving_back:
        ack = feature.before_ack(mine.job, outcome, ack)
    return mine, outcome, ack


def _complete(ack: Ack) -> Verb[Settled]:
    settled = yield from store.ack([ack])
    if not settled.ids:
        raise StaleAttempt(ack.id)
    now = yield from reading.fetch([ack.id])
    if now[ack.id].state is not COMPLETED:
        raise CancelRequested(ack.id)
    return settled


def _told(ack: Ack) -> Callable[[Settled], list[Hint]]:
    answered = [Hint("settled", ack.id)] if ack.is_awaited else []

    def hints(settled: Settled) -> list[Hint]:
        due = [Hint("insert", queue) for queue in sorted(settled.due)]
        return due + [Hint("settled", workflow.id) for workflow in settled.finished] + answered

    return hints


def _keep(mine: Running, outcome: Outcome, settled: Settled) -> None:
    assert mine.completions is not None
    mine.completions.append(Completion(outcome, settled))
