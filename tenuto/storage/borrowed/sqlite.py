"""SQLite through a connection that is not ours: to the same file, and nobody writes beside it until it commits."""

import os
from collections.abc import Mapping, Sequence
from sqlite3 import Error, ProgrammingError
from typing import Any, ClassVar, Final

from tenuto.errors import StorageBusy, StorageRejected, UnusableConnection
from tenuto.storage.borrowed.loan import NO_TABLES, WITHIN, Ask, Asking, Dialect, Scope, Standing
from tenuto.storage.database import Call, Database, Hint, Row, Statement
from tenuto.storage.sqlite import SQLite, code_of, inputs_of, outputs_of, translated

LOOK: Final = "pragma database_list"  # which reads nothing of the file: main is the first
TURN: Final = "delete from jobs where false"
BUSY, READ_ONLY, LOCKED = 5, 8, 6


def dialect_of(database: Database) -> Dialect:
    """How that database is spoken to."""
    assert isinstance(database, SQLite)
    return SQLiteDialect(database)


class SQLiteDialect(Dialect):
    """Our statements as they are. Nothing is told: who listens sees that the file changed."""

    scopes: ClassVar[Mapping[Standing, Scope]] = {
        Standing.INSIDE: WITHIN,
        Standing.BEFORE: Scope(["begin immediate"], [], ["rollback"]),
        Standing.OUTSIDE: Scope(["begin immediate"], ["commit"], ["rollback"]),
    }

    def __init__(self, database: SQLite) -> None:
        self.database = database
        self._path = database.path

    def asked(self, statement: Statement, asked: Call) -> Ask:
        """The statement, with documents as JSON and instants as microseconds."""
        return Ask(statement.text, inputs_of(statement, asked, self.database.now))

    def answered(self, statement: Statement, rows: list[Row]) -> list[Row]:
        """The rows with instants and booleans."""
        return outputs_of(statement, rows)

    def enter(self) -> Asking[Any]:
        """Refuse another file than the app's, and wait for the turn to write before anything is read.

        A transaction that was begun plainly would keep what it reads first, and be refused to write once others had.
        """
        rows = yield Ask(LOOK, {})
        file: str = rows[0][2]
        if not (file and os.path.exists(self._path) and os.path.samefile(file, self._path)):
            told = repr(os.path.basename(file)) if file else "memory"
            raise UnusableConnection(f"its database is {told}, and the app's is {self._path.name!r}")
        yield Ask(TURN)

    def leave(self, found: Any, hints: Sequence[Hint]) -> Asking[None]:
        """Nothing is to be told."""
        yield from ()

    def translated(self, error: Exception) -> Exception:
        """As our own connections' errors, but for what its owner can mend."""
        if isinstance(error, ProgrammingError):  # closed, or of another thread
            return UnusableConnection(f"SQLite: {error}")
        if isinstance(error, Error) and code_of(error) in (BUSY, LOCKED):
            told = "another connection writes, or wrote since this transaction began; begin with BEGIN IMMEDIATE"
            return StorageBusy(f"{told}: SQLite: {error}")
        if isinstance(error, Error) and code_of(error) == READ_ONLY:
            return UnusableConnection(f"SQLite: {error}")
        if isinstance(error, Error) and str(error).startswith(("no such table", "no such column")):
            return UnusableConnection(f"{NO_TABLES} ({error})")
        known = translated(error)
        return known if isinstance(known, Exception) else StorageRejected(f"SQLite: {error}")
