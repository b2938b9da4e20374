"""What SQLite gives when nothing but our statements runs: the yardstick of Tenuto's own speed there."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from bench import bare
from bench.deeds import make_tables
from bench.protocol import Asked, Figures, rate, serve
from tenuto.storage import store
from tenuto.storage.database import Call, Row, Statement, Verb, drive, load

T = TypeVar("T")

STATEMENTS: Final = load("sqlite", {})


class Line:
    """One connection as Tenuto opens it: WAL, a full fsync at each commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def run(self, verb: Verb[T]) -> T:
        """Run a verb in one transaction."""
        with self.transaction():
            return drive(verb, self.ask_inside)

    def ask(self, asked: Call) -> list[Row]:
        """Run one statement in a transaction of its own."""
        return self.run(bare.once(asked))

    def ask_inside(self, asked: Call) -> list[Row]:
        """Run one statement in the transaction that is open."""
        statement = STATEMENTS[asked.name]
        return self.connection.execute(statement.text, _inputs(statement, asked)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is one commit."""
        self.connection.execute("begin immediate")
        yield
        self.connection.execute("commit")


def _inputs(statement: Statement, asked: Call) -> dict[str, Any]:
    documents = {name for name, kind in statement.inputs.items() if kind == "json" or kind.endswith("[]")}
    given = {name: asked.inputs.get(name) for name in statement.inputs}
    return {name: json.dumps(value) if name in documents else value for name, value in given.items()}


@contextmanager
def opened(url: str) -> Iterator[Line]:
    """A line to the file, which gets its tables."""
    asyncio.run(make_tables(url))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        yield Line(connection)


def pipelined(asked: Asked) -> Figures:
    """Give a batch back and claim the next in one transaction: SQLite has one writer, so they share the fsync."""
    with opened(asked.url) as line:
        bare.fill(line, asked.jobs)
        producer = bare.register(line)
        began = time.perf_counter()
        rows = line.ask(bare.claim(producer, asked.limit))
        while rows:
            with line.transaction():
                drive(store.ack(bare.acks(rows)), line.ask_inside)
                rows = line.ask_inside(bare.claim(producer, asked.limit))
        took = time.perf_counter() - began
    return {"rate": rate(asked.jobs, took), **bare.completed(asked, asked.jobs)}


def _on_a_line(loop: Callable[[bare.Line, Asked], Figures], asked: Asked) -> Figures:
    with opened(asked.url) as line:
        return loop(line, asked)


OFFERED: Final[dict[str, Callable[[Asked], Figures]]] = {
    "bulk": lambda asked: _on_a_line(bare.bulk, asked),
    "single": lambda asked: _on_a_line(bare.single, asked),
    "drain": lambda asked: _on_a_line(bare.drain, asked),
    "diamonds": lambda asked: _on_a_line(bare.diamonds, asked),
    "pipelined": pipelined,
}
REFUSED: Final = {"start": "SQLite tells nobody: other processes look at the file"}
DESCRIBED: Final = {
    "name": "bare loop",
    "version": f"SQLite {sqlite3.sqlite_version}",
    "database": "sqlite",
    "setting": "Tenuto's statements in a loop of one thread, batches of L, no job code",
    "durability": "WAL, synchronous=FULL",
    "semantics": "none: nothing runs",
}


def main() -> int:
    """Do what the command line asks."""
    return serve(OFFERED, DESCRIBED, REFUSED)


if __name__ == "__main__":
    sys.exit(main())
