"""Database on PostgreSQL: a pool of psycopg connections, and LISTEN/NOTIFY for hints."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from select import POLLIN, poll
from typing import Any, ClassVar, Final, ParamSpec, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, Connection, errors
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tenuto.errors import InvalidUrl, PostgresTooOld, StorageRejected, StorageUnavailable
from tenuto.storage.database import (
    ANYTHING,
    Blocking,
    Call,
    Database,
    Hint,
    LostRace,
    Row,
    RowLocked,
    Statement,
    Verb,
    drive,
    load,
    migrations,
    quoted_schema,
)

P = ParamSpec("P")
T = TypeVar("T")

OLDEST: Final = 140000
CONNECT_WITHIN: Final = 5  # seconds for one try
WAIT_FOR_LINE: Final = 5.0  # seconds for a free connection of the pool
# What a job runs through is prepared, the rest never: with ten slots 5,400 jobs a second become 6,200. The plans of a
# line serve for a second: one kept from when a table was empty reads a full one whole (an ack of 1,000 steps beside
# 300,000 jobs: 2,240 ms against 75).
PREPARED: Final = frozenset(
    {"enqueue", "claim", "claim_behind", "ack", "reach", "needs", "settle_nodes", "meet", "release", "settle_workflows"}
    | {"lock_limits", "free_partitions", "claim_limited", "spend_limits", "kept"}
    | {"lock_chains", "advance_chains", "release_links"}
)
PLANS_SERVE: Final = 1.0  # seconds
BUSY: Final = 1  # such statements of a line within that time, after which it prepares: to do so takes two more trips
SESSION: Final[dict[str, Any]] = {"autocommit": True, "prepare_threshold": 2**31}  # only what is asked for by name
KEEPALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}


class Postgres(Database):
    """Tenuto's tables in one schema of a PostgreSQL database. No session state, no search_path.

    Raises PostgresTooOld before PostgreSQL 14, and InvalidUrl for a schema that is no plain name.
    """

    speaks: ClassVar = "PostgreSQL"

    def __init__(
        self, url: str, *, schema: str = "tenuto", connections: int = 8, listen_url: str | None = None
    ) -> None:
        self.schema = schema
        self._marks = {"{schema}": quoted_schema(schema)}
        self.statements = load("postgres", self._marks)
        self._conninfo = _conninfo(url)
        self._listens_at = self._conninfo if listen_url is None else _conninfo(listen_url)
        self.channel = f"tenuto_{schema}"
        self._connections = connections
        self._pool = self._new_pool()
        self._may_prepare = True
        self._under_way: set[asyncio.Task[Any]] = set()
        self._connected: WeakSet[AsyncConnection[Any] | Connection[Any]] = WeakSet()

    def _new_pool(self) -> "AsyncConnectionPool[_Line]":
        return AsyncConnectionPool(
            self._conninfo,
            connection_class=_Line,
            kwargs=SESSION,
            configure=self._configure,
            check=_check_line,
            min_size=1,
            max_size=self._connections,
            timeout=WAIT_FOR_LINE,
            reconnect_timeout=2.0,  # short tries, begun again by whoever needs a line: back at once after an outage
            open=False,
        )

    async def _configure(self, connection: "_Line") -> None:
        self._connected.add(connection)
        _adapt(connection)
        cursor = await connection.execute("select pg_backend_pid()")
        connection.is_direct = await cursor.fetchone() == (connection.info.backend_pid,)  # a pooler gives its own

    @property
    def scripts(self) -> list[tuple[int, str]]:
        return migrations("postgres", self._marks)

    async def open(self) -> None:
        if not self._pool.closed:
            return
        async with _outages(), await AsyncConnection.connect(self._conninfo) as connection:
            version = connection.info.server_version
        if version < OLDEST:
            raise PostgresTooOld(f"{version // 10000}.{version % 10000}")
        self._may_prepare = True
        self._pool = self._new_pool()  # one that was closed cannot be opened again
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def _drive(self, verb: Verb[T]) -> T:
        """In a task of its own: whoever is cancelled while it waits leaves no half-read connection behind."""
        task = asyncio.create_task(self._drive_to_its_end(verb))
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    _drive_read = _drive

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more

    async def _drive_to_its_end(self, verb: Verb[T]) -> T:
        async with _outages(), self._pool.connection() as connection:
            try:
                asked = next(verb)
                if asked.is_last:
                    asked = verb.send(await self._execute(connection, asked))
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            async with connection.transaction():
                return await self._drive_on(connection, verb, asked)

    async def _drive_on(self, connection: "_Line", verb: Verb[T], asked: Call) -> T:
        try:
            while True:
                asked = verb.send(await self._execute(connection, asked))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _execute(self, connection: "_Line", asked: Call) -> list[Row]:
        statement = self.statements[asked.name]
        prepare = asked.name in PREPARED and await self._renew_plans(connection)
        try:
            cursor = await connection.execute(
                statement.text.encode(), _inputs(statement, asked, self.now), prepare=prepare
            )
        except _NOT_PREPARED as error:  # a pooler that we took for the server, or the tables were changed
            if not prepare:
                raise
            self._may_prepare = False  # until it is opened again
            raise LostRace(_said(error)) from error
        return await cursor.fetchall() if statement.outputs else []

    async def _renew_plans(self, connection: "_Line") -> bool:
        """Whether a line is to prepare what it runs: a busy one. Plans that have served their time are dropped then."""
        if not (self._may_prepare and connection.is_direct):
            return False
        now = time.monotonic()
        if now - connection.counted_from > PLANS_SERVE:
            connection.counted_from, connection.count = now, 0
        connection.count += 1
        if connection.count == BUSY + 1:
            await connection.execute("discard plans", prepare=False)
        return connection.count > BUSY

    async def migrate(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with _outages(), self._pool.connection() as connection, connection.transaction():
            asking = verb(*args, **kwargs)
            rows: list[Row] | None = None
            try:
                while True:
                    asked = next(asking) if rows is None else asking.send(rows)
                    rows = await self._execute_script(connection, asked)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    async def _execute_script(self, connection: "_Line", asked: Call) -> list[Row]:
        if not asked.name.startswith("schema/"):
            return await self._execute(connection, asked)
        await connection.execute(dict(self.scripts)[int(asked.name[7:])].encode())
        return []

    def blocking(self) -> Blocking:
        return _OwnLine(self)

    async def tell(self, hints: Sequence[Hint]) -> None:
        payloads = [f"{hint.channel}:{hint.subject}" for hint in hints]
        async with _outages(), self._pool.connection() as connection:
            await connection.execute(
                "select pg_notify(%s, payload) from unnest(%s::text[]) payload", (self.channel, payloads)
            )

    async def hear(self, heard: Callable[[Hint], None]) -> None:
        async with _outages(), await AsyncConnection.connect(self._listens_at, autocommit=True) as connection:
            self._connected.add(connection)
            await connection.execute(f'listen "{self.channel}"'.encode())
            heard(ANYTHING)  # whatever was told before the line stood was not heard
            async for notice in connection.notifies():
                channel, _, subject = notice.payload.partition(":")
                heard(Hint(channel, subject))
        raise StorageUnavailable("the listening connection was closed")

    def connect(self) -> "Connection[Row]":
        """A connection of its own for a plain thread, which gives up on a dead server within seconds."""
        connection = psycopg.connect(self._conninfo, **SESSION)
        self._connected.add(connection)
        _adapt(connection)
        return connection

    def before_fork(self) -> Callable[[bool], None]:
        """Nothing; and in the child, let go of its parent's connections, without a word to the server."""

        def after(is_child: bool) -> None:
            for connection in self._connected if is_child else ():
                with suppress(psycopg.OperationalError), open(os.devnull) as nothing:  # it was closed
                    os.dup2(nothing.fileno(), connection.fileno(), inheritable=False)

        return after


class _OwnLine(Blocking):
    """Verbs from a plain thread, on a connection of its own that is made anew when it is lost."""

    def __init__(self, database: Postgres) -> None:
        self._database = database
        self._connection: Connection[Row] | None = None

    def run(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with _blocking_outages():
            if self._connection is None or self._connection.closed:
                self._connection = self._database.connect()
            with self._connection.transaction():
                return drive(verb(*args, **kwargs), self._execute)

    def _execute(self, asked: Call) -> list[Row]:
        assert self._connection is not None
        statement = self._database.statements[asked.name]
        inputs = _inputs(statement, asked, self._database.now)
        cursor = self._connection.execute(statement.text.encode(), inputs)
        return cursor.fetchall() if statement.outputs else []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


# ── the connection ────────────────────────────────────────────────────────────────────────────────


def _conninfo(url: str) -> str:
    """The URL as libpq takes it, with a dead server noticed in seconds unless the URL says otherwise."""
    try:
        given = conninfo_to_dict(url)
        if "@" in str(given.get("host")) or not str(given.get("port", "1")).replace(",", "").isdecimal():
            raise psycopg.ProgrammingError  # a password that is not percent-encoded spilled into it, to be quoted later
    except psycopg.ProgrammingError:  # its message quotes the URL, password and all
        told = "postgresql://user:password@host:5432/database, with what is special in the password as %40 and the like"
        raise InvalidUrl(f"this is no PostgreSQL URL: {told}") from None
    defaults: dict[str, Any] = {"connect_timeout": CONNECT_WITHIN, "application_name": "tenuto", **KEEPALIVE}
    return make_conninfo("", **{**defaults, **given})


class _TextLoader(Loader):
    """A uuid as text, as the rest of the house has it."""

    def load(self, data: Any) -> str:
        return bytes(data).decode()


def _adapt(connection: "AsyncConnection[Any] | Connection[Any]") -> None:
    connection.adapters.register_loader("uuid", _TextLoader)


class _Line(AsyncConnection[Row]):
    """A connection of the pool, and what is known of its plans."""

    is_direct = False  # whether every statement of it reaches one and the same session
    counted_from = 0.0  # by the monotonic clock
    count = 0  # of what could have been prepared since then


async def _check_line(connection: "AsyncConnection[Any]") -> None:
    """Refuse a connection whose server left while it lay idle: then its end waits to be read, which costs no query."""
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


# ── values and errors ─────────────────────────────────────────────────────────────────────────────


def _inputs(statement: Statement, asked: Call, now: datetime | None) -> dict[str, Any]:
    """The inputs as psycopg takes them: documents as JSON text, and lists as the text of an array."""
    given: dict[str, Any] = {}
    for name, kind in statement.inputs.items():
        value: Any = now if name == "now" else asked.inputs[name]
        if kind == "json":
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        elif kind.endswith("[]") and value is not None:
            value = "{" + ",".join(map(_quoted, value)) + "}"  # psycopg's own takes 2 µs for each of them
        given[name] = value
    return given


def _quoted(item: str) -> str:
    """One text of an array, whatever it holds."""
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'


_NOT_PREPARED: Final = (
    errors.InvalidSqlStatementName,
    errors.DuplicatePreparedStatement,
    errors.FeatureNotSupported,
    errors.ProtocolViolation,
)
_RACES: Final = (errors.DeadlockDetected, errors.SerializationFailure)


@contextmanager
def _blocking_outages() -> Generator[None]:
    """The driver's errors as Tenuto's tree says them. A message never carries the inputs or the address."""
    try:
        yield
    except _RACES as error:
        raise LostRace(_said(error)) from error
    except errors.LockNotAvailable as error:
        raise RowLocked(_said(error)) from error
    except errors.UniqueViolation as error:  # a key or a name that a retry takes again went to another meanwhile
        lost = error.diag.constraint_name in ("jobs_unique", "workflows_unique")
        raise (LostRace if lost else StorageRejected)(_said(error)) from error
    except PoolTimeout as error:
        raise StorageUnavailable("PostgreSQL: no connection within the time allowed") from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise StorageRejected(f"PostgreSQL cannot store it: {type(error).__name__}") from error
    except psycopg.Error as error:
        raise (StorageRejected if _is_refusal(error) else StorageUnavailable)(_said(error)) from error
    except OSError as error:
        raise StorageUnavailable(f"PostgreSQL: {error}") from error


@asynccontextmanager
async def _outages() -> AsyncGenerator[None]:
    with _blocking_outages():
        yield


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether the server will never take these inputs: bad data (22), a broken rule (23), a limit (54).

    Anything else may pass when it is tried again: a server that is away, read-only, full, or being migrated.
    """
    return (error.sqlstate or "")[:2] in {"22", "23", "54"} or isinstance(error, psycopg.DataError)


def _said(error: psycopg.Error) -> str:
    """The server's own sentence, without its detail, which may quote a row."""
    return f"PostgreSQL: {error.diag.message_primary or str(error).partition(chr(10))[0] or type(error).__name__}"
