"""aiosqlite: connections of sqlite3 that live on a thread of their own."""

from collections.abc import Awaitable
from typing import Any, ClassVar

from tenuto.errors import UnusableConnection
from tenuto.storage.borrowed.loan import Ask, Line, Standing
from tenuto.storage.borrowed.sqlite3 import standing_of
from tenuto.storage.database import Row


def line_on(connection: Any) -> Line:
    """The line of a Connection that is connected. Raises UnusableConnection for what is none."""
    if not hasattr(connection.__class__, "text_factory"):  # one that is closed raises where it is asked itself
        raise UnusableConnection(f"a {type(connection).__name__} of aiosqlite is no connection")
    return AiosqliteLine(connection)


class AiosqliteLine(Line):
    """An async connection."""

    speaks: ClassVar[str] = "SQLite"
    is_async: ClassVar[bool] = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def standing(self) -> Standing:
        """As the connection below says. Raises UnusableConnection for one that is closed."""
        try:
            return standing_of(self._connection._conn)  # what nothing public tells: Python 3.12's autocommit
        except ValueError as error:
            raise UnusableConnection(f"aiosqlite: {error}") from error

    @property
    def _is_inside(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, asked: Ask) -> Awaitable[list[Row]]:
        """A text comes as text, whatever the connection's factories make of it otherwise."""
        return self._execute(asked)

    async def _execute(self, asked: Ask) -> list[Row]:
        kept, self._connection.text_factory = self._connection.text_factory, str
        cursor = await self._connection.cursor()
        try:
            cursor.row_factory = None
            await cursor.execute(asked.text, asked.inputs or {})
            return list(await cursor.fetchall())
        finally:
            await cursor.close()
            self._connection.text_factory = kept
