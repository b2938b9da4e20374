"""A driver that looks over each statement's shoulder: its plan, its columns, and how much work it was."""

from __future__ import annotations

import json
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from tenuto.storage import postgres, sqlite
from tenuto.storage.database import Call, Database, Row, Statement, Verb, drive


@dataclass(frozen=True)
class Seen:
    """One statement that was run: how, and what came back."""

    statement: Statement
    plan: str
    columns: list[str]
    types: list[str]
    work: int  # rows looked at by PostgreSQL, steps of SQLite's machine
    kept: str = ""  # the plan that PostgreSQL may keep for any inputs, where the statement is prepared


class Examiner(ABC):
    """Drives verbs on one connection of its own; of each statement it keeps the run that was most work."""

    def __init__(self, database: Database) -> None:
        self.statements = database.statements
        self.scripts = dict(database.scripts)
        self.seen: dict[str, Seen] = {}

    def run(self, verb: Callable[..., Verb[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Run a verb to its end, looking at each of its statements."""
        return drive(verb(*args, **kwargs), self._execute)

    def fill(self, verb: Callable[..., Verb[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Run a verb without looking."""
        return drive(verb(*args, **kwargs), lambda asked: self._rows(self.statements[asked.name], asked))

    @abstractmethod
    def change(self, statement: str, *inputs: Any) -> None:
        """Change rows behind the verbs' back; `?` stands for an input, {schema} for the tables' place."""

    @abstractmethod
    def analyse(self) -> None:
        """Let the planner know what is in the tables."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    @abstractmethod
    def _script(self, script: str) -> None: ...

    @abstractmethod
    def _rows(self, statement: Statement, asked: Call) -> list[Row]: ...

    @abstractmethod
    def _look(self, statement: Statement, asked: Call) -> tuple[Seen, list[Row]]: ...

    def _execute(self, asked: Call) -> list[Row]:
        if asked.name.startswith("schema/"):
            self._script(self.scripts[int(asked.name[7:])])
            return []
        seen, rows = self._look(self.statements[asked.name], asked)
        if asked.name not in self.seen or self.seen[asked.name].work <= seen.work:
            self.seen[asked.name] = seen
        return rows


class SQLiteExaminer(Examiner):
    """On SQLite, where work is counted in steps of its virtual machine."""

    TICK = 100  # steps between two calls of the handler

    def __init__(self, database: sqlite.SQLite) -> None:
        super().__init__(database)
        self._connection = sqlite3.connect(database.path, isolation_level=None)
        self._connection.executescript("pragma journal_mode = memory; pragma synchronous = off;")

    def change(self, statement: str, *inputs: Any) -> None:
        self._connection.execute(statement.replace("{schema}.", ""), inputs)

    def analyse(self) -> None:
        """Nobody does, on a user's SQLite file."""

    def close(self) -> None:
        self._connection.close()

    def _script(self, script: str) -> None:
        self._connection.executescript(script)

    def _rows(self, statement: Statement, asked: Call) -> list[Row]:
        cursor = self._connection.execute(statement.text, sqlite.inputs_of(statement, asked, None))
        return sqlite.outputs_of(statement, cursor.fetchall())

    def _look(self, statement: Statement, asked: Call) -> tuple[Seen, list[Row]]:
        inputs = sqlite.inputs_of(statement, asked, None)
        plan = self._connection.execute(f"explain query plan {statement.text}", inputs).fetchall()
        ticks = 0

        def count() -> int:
            nonlocal ticks
            ticks += 1
            return 0

        self._connection.set_progress_handler(count, self.TICK)
        cursor = self._connection.execute(statement.text, inputs)
        rows = sqlite.outputs_of(statement, cursor.fetchall())
        self._connection.set_progress_handler(None, 0)
        columns = [column[0] for column in cursor.description or ()]
        said = "\n".join(str(line[3]) for line in plan)
        return Seen(statement, said, columns, [], ticks * self.TICK), rows


class PostgresExaminer(Examiner):
    """On PostgreSQL, where work is counted in rows that the nodes of the plan handled or threw away."""

    def __init__(self, database: postgres.Postgres) -> None:
        super().__init__(database)
        self._schema = f'"{database.schema}"'
        self._connection = database.connect()
        self._types = psycopg.adapters.types

    def change(self, statement: str, *inputs: Any) -> None:
        text = statement.replace("{schema}", self._schema).replace("?", "%s")
        self._connection.execute(text, inputs)

    def analyse(self) -> None:
        self._connection.execute("vacuum analyze")

    def close(self) -> None:
        self._connection.close()

    def _script(self, script: str) -> None:
        self._connection.execute(script)

    def _rows(self, statement: Statement, asked: Call) -> list[Row]:
        cursor = self._connection.execute(statement.text, postgres._inputs(statement, asked, None))
        return cursor.fetchall() if cursor.description else []

    def _look(self, statement: Statement, asked: Call) -> tuple[Seen, list[Row]]:
        inputs = postgres._inputs(statement, asked, None)
        plan = self._said(f"explain {statement.text}", inputs)
        work = self._measure(statement, inputs)
        cursor = self._connection.execute(statement.text, inputs)
        columns = [(column.name, column.type_code) for column in cursor.description or ()]
        types = [self._types[oid].name for _, oid in columns]
        rows = cursor.fetchall() if columns else []
        return Seen(statement, plan, [name for name, _ in columns], types, work, self._kept(statement)), rows

    def _kept(self, statement: Statement) -> str:
        if statement.name not in postgres.PREPARED or self._connection.info.server_version < 160000:
            return ""
        numbered = {name: f"${number}" for number, name in enumerate(statement.inputs, 1)}
        text = re.sub(r"%\((\w+)\)s", lambda found: numbered[found[1]], statement.text)
        result = self._connection.pgconn.exec_(f"explain (generic_plan) {text}".encode())  # no inputs at all
        assert not result.error_message, result.error_message
        return "\n".join((result.get_value(row, 0) or b"").decode() for row in range(result.ntuples))

    def _said(self, text: str, inputs: Any = None) -> str:
        return "\n".join(row[0] for row in self._connection.execute(text, inputs).fetchall())

    def _measure(self, statement: Statement, inputs: Any) -> int:
        """Run it and take it back."""
        with self._connection.transaction(force_rollback=True):
            text = f"explain (analyze, timing off, format json) {statement.text}"
            ((found,),) = self._connection.execute(text, inputs).fetchall()
        document = json.loads(found) if isinstance(found, str) else found
        return sum(_rows(node) for node in _nodes(document[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _rows(node: dict[str, Any]) -> int:
    removed = sum(value for key, value in node.items() if key.startswith("Rows Removed"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def examiner_of(database: Database) -> Examiner:
    """The one for this kind of database."""
    if isinstance(database, sqlite.SQLite):
        return SQLiteExaminer(database)
    assert isinstance(database, postgres.Postgres)
    return PostgresExaminer(database)
