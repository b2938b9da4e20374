"""The limit: the loops of a queue with Tenuto's own statements, on Tenuto's own tables, and no job code at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

from uuid_utils import uuid7

from bench.deeds import CHUNK, diamond, noop
from bench.protocol import Asked, Figures, WentWrong, latencies, rate
from tenuto.job import COMPLETED, Job
from tenuto.outcome import Ack
from tenuto.storage import store, upkeep
from tenuto.storage.database import Call, Row, Verb, last
from tests.storage.tables import look_into

T = TypeVar("T")

QUEUE: Final = "default"
NODE: Final = "bare"
LEASE: Final = timedelta(hours=1)
RESULT: Final = "1"
ID, EPOCH, HAS_DEPENDENTS, WORKFLOW = (
    store.CLAIMED.index(name) for name in ("id", "epoch", "has_dependents", "workflow_id")
)


class Line(Protocol):
    """One connection on which verbs are driven."""

    def run(self, verb: Verb[T]) -> T:
        """Run a verb in one transaction."""

    def ask(self, asked: Call) -> list[Row]:
        """Run one statement in a transaction of its own."""


Opened = Callable[[], AbstractContextManager[Line]]
"""Opens a line to the database of this run, whose tables are there."""


def once(call: Call) -> Verb[list[Row]]:
    """A verb of one statement."""
    return (yield call)


def register(line: Line) -> str:
    """The lease in whose name jobs are claimed."""
    id = str(uuid7())
    line.run(upkeep.register([upkeep.Producer(id, NODE, QUEUE, 1, "[]", None, None, None)], LEASE))
    return id


def claim(producer: str, demand: int) -> Call:
    """What asks for so many jobs; their rows stay rows."""
    return last("claim", queue=QUEUE, demand=demand, producer=producer, node=NODE)


def acks(rows: Sequence[Row]) -> list[Ack]:
    """The claimed rows as completed; steps with a result."""
    return [
        Ack(row[ID], row[EPOCH], COMPLETED)
        if row[WORKFLOW] is None
        else Ack(
            row[ID],
            row[EPOCH],
            COMPLETED,
            result=RESULT,
            workflow_id=row[WORKFLOW],
            has_dependents=row[HAS_DEPENDENTS],
        )
        for row in rows
    ]


# ── loops ─────────────────────────────────────────────────────────────────────────────────────────


def bulk(line: Line, asked: Asked) -> Figures:
    """Jobs that exist already, stored in chunks."""
    made = jobs(asked.jobs)
    began = time.perf_counter()
    for start in range(0, len(made), CHUNK):
        line.run(store.enqueue(made[start : start + CHUNK]))
    return {"rate": rate(asked.jobs, time.perf_counter() - began), **stored(asked, asked.jobs)}


def single(line: Line, asked: Asked) -> Figures:
    """One insert after the other, each in a transaction of its own."""
    took: list[float] = []
    for job in jobs(asked.jobs):
        document = store_document(job)
        began = time.perf_counter()
        line.ask(last("enqueue", jobs=[document]))
        took.append(time.perf_counter() - began)
    return {"rate": rate(asked.jobs, sum(took)), **latencies(took), **stored(asked, asked.jobs)}


def drain(line: Line, asked: Asked) -> Figures:
    """Claim a batch, give it back, claim the next."""
    fill(line, asked.jobs)
    producer = register(line)
    began = time.perf_counter()
    while rows := line.ask(claim(producer, asked.limit)):
        line.run(store.ack(acks(rows)))
    return {"rate": rate(asked.jobs, time.perf_counter() - began), **completed(asked, asked.jobs)}


def diamonds(line: Line, asked: Asked) -> Figures:
    """The same with diamonds: each ack writes results, meets edges, releases steps and counts workflows."""
    for n in range(asked.jobs):
        flow = diamond(n)
        rows = flow.rows()
        line.run(store.enqueue_workflow(rows.head, rows.jobs, rows.nodes, rows.edges))
    producer = register(line)
    began = time.perf_counter()
    while claimed := line.ask(claim(producer, asked.limit)):
        line.run(store.ack(acks(claimed)))
    return {"rate": rate(asked.jobs, time.perf_counter() - began), **completed(asked, 4 * asked.jobs)}


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


def jobs(count: int) -> list[Job[Any, Any]]:
    return [noop.new(n) for n in range(count)]


def store_document(job: Job[Any, Any]) -> dict[str, Any]:
    """One job as the statement takes it: what `store.enqueue` asks first."""
    asked = next(store.enqueue([job]))
    document: dict[str, Any] = asked.inputs["jobs"][0]
    return document


def fill(line: Line, count: int) -> None:
    """Store so many jobs."""
    made = jobs(count)
    for start in range(0, count, CHUNK):
        line.run(store.enqueue(made[start : start + CHUNK]))


def stored(asked: Asked, jobs: int) -> dict[str, bool]:
    """That all of them lie there."""
    return _all_are(asked, ("available", 0, jobs))


def completed(asked: Asked, jobs: int) -> dict[str, bool]:
    """That all of them are done, each after one attempt."""
    return _all_are(asked, ("completed", 1, jobs))


def _all_are(asked: Asked, expected: tuple[str, int, int]) -> dict[str, bool]:
    with look_into(asked.url) as tables:
        rows = tables.rows("select state, attempt, count(*) as jobs from jobs group by state, attempt")
    if [(row["state"], row["attempt"], row["jobs"]) for row in rows] != [expected]:
        raise WentWrong(f"there should be {expected}, and there are {rows}")
    return {"checked": True}
