"""sqlite3: the standard library's connections, through a cursor without their factories."""

from sqlite3 import Connection
from typing import Any, ClassVar, Final

from tenuto.errors import UnusableConnection
from tenuto.storage.borrowed.loan import Ask, Line, Standing
from tenuto.storage.database import Row

LEGACY: Final = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL: transactions as `isolation_level` says


def line_on(connection: Any) -> Line:
    """The line of a Connection. Raises UnusableConnection for what is none."""
    if not isinstance(connection, Connection):
        raise UnusableConnection(f"a {type(connection).__name__} of sqlite3 is no connection")
    return SQLite3Line(connection)


class SQLite3Line(Line):
    """A plain connection, to be used on its own thread."""

    speaks: ClassVar[str] = "SQLite"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def standing(self) -> Standing:
        """As the connection says, and what its owner set."""
        return standing_of(self._connection)

    @property
    def _is_inside(self) -> bool:
        return self._connection.in_transaction

    def execute(self, asked: Ask) -> list[Row]:
        """A text comes as text, whatever the connection's factories make of it otherwise."""
        kept, self._connection.text_factory = self._connection.text_factory, str
        cursor = self._connection.cursor()
        try:
            cursor.row_factory = None
            return cursor.execute(asked.text, asked.inputs or {}).fetchall()
        finally:
            cursor.close()
            self._connection.text_factory = kept


def standing_of(connection: Connection) -> Standing:
    """How a connection of sqlite3 stands to transactions."""
    if connection.in_transaction:
        return Standing.INSIDE
    control = getattr(connection, "autocommit", LEGACY)  # since Python 3.12
    commits = connection.isolation_level is None if control == LEGACY else bool(control)
    return Standing.OUTSIDE if commits else Standing.BEFORE
