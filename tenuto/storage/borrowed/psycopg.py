"""psycopg: its plain and its async connections, through a cursor with loaders of our own."""

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Final, cast

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.adapt import Loader
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.bool import BoolLoader
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.numeric import IntLoader
from psycopg.types.string import StrDumper, TextLoader

from tenuto.errors import UnusableConnection
from tenuto.storage.borrowed.loan import Ask, Line, Standing
from tenuto.storage.database import Row

LOADERS: Final[Mapping[str, type[Loader]]] = {
    **dict.fromkeys(("text", "uuid"), TextLoader),
    **dict.fromkeys(("int2", "int4", "int8"), IntLoader),
    "bool": BoolLoader,
    "timestamptz": TimestamptzLoader,
}


def line_on(connection: Any) -> Line:
    """The line of a Connection or an AsyncConnection. Raises UnusableConnection for what is neither."""
    for kind, line in ((AsyncConnection, AsyncPsycopgLine), (Connection, PsycopgLine)):
        if isinstance(connection, kind):
            return line(cast("Any", connection))
    raise UnusableConnection(f"a {type(connection).__name__} of psycopg is no connection")


class PsycopgLine(Line):
    """A plain connection."""

    speaks: ClassVar[str] = "PostgreSQL"

    def __init__(self, connection: "Connection[Any]") -> None:
        self._connection = connection

    @property
    def standing(self) -> Standing:
        """As the connection knows it: it counts its own transactions."""
        return _standing(self._connection)

    @property
    def _is_inside(self) -> bool:
        return self._connection.info.transaction_status in _INSIDE

    def execute(self, asked: Ask) -> list[Row]:
        """Never prepared: it is the caller's to say what is."""
        with Cursor(self._connection, row_factory=tuple_row) as cursor:
            _neutral(cursor)
            cursor.execute(asked.text.encode(), asked.inputs, prepare=False)
            return [] if cursor.description is None else cursor.fetchall()


class AsyncPsycopgLine(Line):
    """An async connection."""

    speaks: ClassVar[str] = "PostgreSQL"
    is_async: ClassVar[bool] = True

    def __init__(self, connection: "AsyncConnection[Any]") -> None:
        self._connection = connection

    @property
    def standing(self) -> Standing:
        """As the connection knows it: it counts its own transactions."""
        return _standing(self._connection)

    @property
    def _is_inside(self) -> bool:
        return self._connection.info.transaction_status in _INSIDE

    def execute(self, asked: Ask) -> Awaitable[list[Row]]:
        """Never prepared: it is the caller's to say what is."""
        return self._execute(asked)

    async def _execute(self, asked: Ask) -> list[Row]:
        async with AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            _neutral(cursor)
            await cursor.execute(asked.text.encode(), asked.inputs, prepare=False)
            return [] if cursor.description is None else await cursor.fetchall()


_INSIDE: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR, TransactionStatus.ACTIVE)  # the last: perhaps


def _neutral(cursor: "Cursor[Any] | AsyncCursor[Any]") -> None:
    """What a cursor reads and writes, whatever its connection was told: the change is the cursor's alone."""
    for name, loader in LOADERS.items():
        cursor.adapters.register_loader(name, loader)
    cursor.adapters.register_dumper(str, StrDumper)


def _standing(connection: "Connection[Any] | AsyncConnection[Any]") -> Standing:
    if connection.closed:
        raise UnusableConnection("it is closed")
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise UnusableConnection("it is in pipeline mode, in which answers come later; leave `conn.pipeline()` first")
    match connection.info.transaction_status:
        case TransactionStatus.IDLE:
            return Standing.OUTSIDE if connection.autocommit else Standing.BEFORE
        case TransactionStatus.INTRANS:
            return Standing.INSIDE
        case TransactionStatus.INERROR:
            raise UnusableConnection("its transaction has failed already; roll it back first")
        case status:
            raise UnusableConnection(f"it is busy with something else ({status.name})")
