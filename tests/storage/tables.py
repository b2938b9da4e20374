"""A look straight into the tables, beside the verbs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

TABLES = (
    *("jobs", "workflows", "workflow_nodes", "edges", "producers", "queues", "leases", "crons", "hook_outbox"),
    *("limits", "rates", "chains", "signals", "signal_waits"),
)
KEYS = {
    "workflow_nodes": "job_id",
    "edges": "job_id, needs_id",
    "queues": "name",
    "leases": "name",
    "crons": "name",
    "hook_outbox": "at, job_id",
    "chains": "key",
    "signals": "owner_id, name",
    "signal_waits": "job_id, name",
    "limits": "queue",
    "rates": "queue, limit_key",
}

Row = dict[str, Any]


class Tables:
    """The tables of one database. Statements name them plainly, on SQLite and on PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    def rows(self, statement: str, *inputs: Any) -> list[Row]:
        """What a select gives, with `?` for each input."""
        return [dict(row) for row in self._open().execute(self._marked(statement), inputs).fetchall()]

    def execute(self, statement: str, *inputs: Any) -> None:
        """Change rows behind the verbs' back."""
        self._open().execute(self._marked(statement), inputs)

    def all(self) -> dict[str, list[Row]]:
        """Every row of every table."""
        return {table: self.rows(f"select * from {table} order by {KEYS.get(table, 'id')}") for table in TABLES}

    def clear(self) -> None:
        """Leave no row behind in any table there is."""
        for table in TABLES:
            with suppress(psycopg.errors.UndefinedTable):
                self.execute(f"delete from {table}")

    @property
    def is_sqlite(self) -> bool:
        return self._url.startswith("sqlite:///")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _marked(self, statement: str) -> str:
        return statement if self.is_sqlite else statement.replace("?", "%s")

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Any:
        if self.is_sqlite:
            connection = sqlite3.connect(self._url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
            connection.row_factory = sqlite3.Row
            return connection
        options = "-c search_path=tenuto"
        opened = psycopg.connect(self._url, autocommit=True, options=options, row_factory=dict_row)
        opened.adapters.register_loader("uuid", TextLoader)
        return opened


@contextmanager
def look_into(url: str) -> Iterator[Tables]:
    """The tables behind a URL, connected when first asked."""
    with closing(Tables(url)) as tables:
        yield tables
