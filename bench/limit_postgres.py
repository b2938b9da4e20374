"""What PostgreSQL gives when nothing but our statements runs: the yardstick of Tenuto's own speed there."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Final, TypeVar

import psycopg
from psycopg import Connection
from psycopg.types.string import TextLoader

from bench import bare
from bench.deeds import make_tables
from bench.protocol import Asked, Figures, latencies, pause_of_a_user, rate, serve
from tenuto.storage import store
from tenuto.storage.database import Call, Row, Verb, drive, last, load

T = TypeVar("T")

STATEMENTS: Final = load("postgres", {"{schema}": '"tenuto"'})
CHANNEL: Final = "bare"


class Line:
    """One connection. A verb of one statement is its own transaction, as in Tenuto."""

    def __init__(self, connection: Connection[Row]) -> None:
        self.connection = connection

    def run(self, verb: Verb[T]) -> T:
        """Run a verb in one transaction."""
        try:
            asked = next(verb)
            if asked.is_last:
                verb.send(self.ask(asked))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        with self.connection.transaction():
            return drive(_begun(verb, asked), self.ask)

    def ask(self, asked: Call) -> list[Row]:
        """Run one statement in a transaction of its own, or in the one that is open."""
        statement = STATEMENTS[asked.name]
        given = {
            name: json.dumps(asked.inputs[name]) if kind == "json" else asked.inputs.get(name)
            for name, kind in statement.inputs.items()
        }
        cursor = self.connection.execute(statement.text.encode(), given)
        return cursor.fetchall() if statement.outputs else []


def _begun(verb: Verb[T], asked: Call) -> Verb[T]:
    """A verb whose first call is known already."""
    while True:
        rows = yield asked
        try:
            asked = verb.send(rows)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@contextmanager
def opened(url: str) -> Iterator[Line]:
    """A line to the database, which gets its tables."""
    asyncio.run(make_tables(url))
    with psycopg.connect(url, autocommit=True, prepare_threshold=5) as connection:
        connection.adapters.register_loader("uuid", TextLoader)
        yield Line(connection)


def pipelined(asked: Asked) -> Figures:
    """Claim on one connection, and give back on another meanwhile."""
    sys.setswitchinterval(0.0005)  # a thread whose answer is there waits 5 ms for its turn otherwise
    claimed: Queue[list[Row]] = Queue(maxsize=2)
    with opened(asked.url) as taking, opened(asked.url) as giving:
        bare.fill(taking, asked.jobs)
        producer = bare.register(taking)
        thread = threading.Thread(target=_give_back, args=(giving, claimed))
        began = time.perf_counter()
        thread.start()
        while rows := taking.ask(bare.claim(producer, asked.limit)):
            claimed.put(rows)
        claimed.put([])
        thread.join()
        took = time.perf_counter() - began
    return {"rate": rate(asked.jobs, took), **bare.completed(asked, asked.jobs)}


def _give_back(line: Line, claimed: Queue[list[Row]]) -> None:
    while rows := claimed.get():
        line.run(store.ack(bare.acks(rows)))


def start(asked: Asked) -> Figures:
    """Insert and NOTIFY in one transaction, hear it on another connection, claim there."""
    took: list[float] = []
    with opened(asked.url) as telling, opened(asked.url) as hearing:
        hearing.connection.execute(f"listen {CHANNEL}")
        producer = bare.register(hearing)
        for job in bare.jobs(asked.jobs):
            document = bare.store_document(job)
            time.sleep(pause_of_a_user())
            began = time.perf_counter()
            with telling.connection.transaction():
                telling.ask(last("enqueue", jobs=[document]))
                telling.connection.execute(f"notify {CHANNEL}")
            next(hearing.connection.notifies(stop_after=1))
            rows = hearing.ask(bare.claim(producer, 1))
            took.append(time.perf_counter() - began)
            hearing.run(store.ack(bare.acks(rows)))
    return latencies(took) | bare.completed(asked, asked.jobs)


def _on_a_line(loop: Callable[[bare.Line, Asked], Figures], asked: Asked) -> Figures:
    with opened(asked.url) as line:
        return loop(line, asked)


OFFERED: Final[dict[str, Callable[[Asked], Figures]]] = {
    "bulk": lambda asked: _on_a_line(bare.bulk, asked),
    "single": lambda asked: _on_a_line(bare.single, asked),
    "drain": lambda asked: _on_a_line(bare.drain, asked),
    "diamonds": lambda asked: _on_a_line(bare.diamonds, asked),
    "pipelined": pipelined,
    "start": start,
}
DESCRIBED: Final = {
    "name": "bare loop",
    "version": f"psycopg {psycopg.__version__}",
    "database": "postgresql",
    "setting": "Tenuto's statements in a loop of one thread (pipelined: two), batches of L, no job code",
    "durability": "fsync at every commit",
    "semantics": "none: nothing runs",
}


def main() -> int:
    """Do what the command line asks."""
    return serve(OFFERED, DESCRIBED, {})


if __name__ == "__main__":
    sys.exit(main())
