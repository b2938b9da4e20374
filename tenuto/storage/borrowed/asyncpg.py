"""asyncpg: its connections, also as a pool gives them out. Statements have numbered inputs there."""

import re
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any, ClassVar, Final

from tenuto.errors import UnusableConnection
from tenuto.storage.borrowed.loan import Ask, Line, Standing
from tenuto.storage.database import Row


def line_on(connection: Any) -> Line:
    """The line of a Connection. Raises UnusableConnection for what is none."""
    if not hasattr(connection, "is_in_transaction"):
        raise UnusableConnection(f"a {type(connection).__name__} of asyncpg is no connection; acquire one")
    return AsyncpgLine(connection)


class AsyncpgLine(Line):
    """A connection of asyncpg."""

    speaks: ClassVar[str] = "PostgreSQL"
    is_async: ClassVar[bool] = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def standing(self) -> Standing:
        """It commits each statement, unless a transaction was begun."""
        if self._connection.is_closed():
            raise UnusableConnection("it is closed")
        return Standing.INSIDE if self._connection.is_in_transaction() else Standing.OUTSIDE

    @property
    def _is_inside(self) -> bool:
        return not self._connection.is_closed() and bool(self._connection.is_in_transaction())

    def execute(self, asked: Ask) -> Awaitable[list[Row]]:
        """Prepared without a name, so that no plan outlives it: one from an empty table reads a full one whole."""
        return self._execute(asked)

    async def _execute(self, asked: Ask) -> list[Row]:
        if asked.inputs is None:
            await self._connection.execute(asked.text)
            return []
        text, names = numbered(asked.text)
        statement = await self._connection.prepare(text, name="")
        return [tuple(row) for row in await statement.fetch(*(asked.inputs[name] for name in names))]


@lru_cache(maxsize=512)
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """A statement with $1, $2 … in place of %(name)s, and the names in that order."""
    names = tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))
    return _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%"), names


_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")
