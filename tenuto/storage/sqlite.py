"""Database on SQLite: one thread that writes, committing whatever waits together, and one that reads."""

import asyncio
import json
import logging
import os
import random
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, ParamSpec, TypeVar

from tenuto.errors import (
    Forked,
    SQLiteTooOld,
    StorageError,
    StorageRejected,
    StorageUnavailable,
)
from tenuto.job import EPOCH
from tenuto.storage.database import (
    ANYTHING,
    Blocking,
    Call,
    Database,
    Hint,
    Row,
    Statement,
    Verb,
    drive,
    load,
    migrations,
)

P = ParamSpec("P")
T = TypeVar("T")

OLDEST: Final = (3, 37)
_log: Final = logging.getLogger("tenuto")

PATIENCE: Final = 60.0  # seconds to wait for another process's write lock
TOGETHER: Final = 256  # requests in one transaction, at most
LISTEN_EVERY: Final = 0.025  # seconds between two looks at whether another process wrote


@dataclass(slots=True)
class _Request:
    """One verb to run, and where its answer goes."""

    verb: Callable[[], Verb[Any]]
    loop: asyncio.AbstractEventLoop | None
    reply: "asyncio.Future[Any] | Future[Any]"
    value: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.reply.cancelled():
            return
        if self.error is not None:
            self.reply.set_exception(self.error)
        else:
            self.reply.set_result(self.value)


class SQLite(Database):
    """Tenuto's tables in one SQLite file, shared by any number of processes on this machine.

    WAL, synchronous=FULL, BEGIN IMMEDIATE. Raises SQLiteTooOld before SQLite 3.37.
    """

    migrates_itself: ClassVar = True
    speaks: ClassVar = "SQLite"

    def __init__(self, path: str | Path) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise SQLiteTooOld(sqlite3.sqlite_version)
        self.path = Path(path)
        self.statements = load("sqlite", {})
        self._write = _Line(self, "write")
        self._read = _Line(self, "read")
        self._pid = os.getpid()
        self._warned = False

    @property
    def scripts(self) -> list[tuple[int, str]]:
        return migrations("sqlite", {})

    async def open(self) -> None:
        self._write.start()
        self._read.start()
        await self._ask(self._write, _nothing)

    async def close(self) -> None:
        """Answer what waits, then let go. On a thread of its own: the loop's may all be busy with jobs."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def stop() -> None:
            self._write.stop()
            self._read.stop()
            loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=stop, name="tenuto-sqlite-close", daemon=True).start()
        await ended

    async def _drive(self, verb: Verb[T]) -> T:
        return await self._ask(self._write, lambda: verb)  # type: ignore[no-any-return]

    async def _drive_read(self, verb: Verb[T]) -> T:
        return await self._ask(self._read, lambda: verb)  # type: ignore[no-any-return]

    async def migrate(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(verb, *args, **kwargs)

    async def _ask(self, line: "_Line", verb: Callable[[], Verb[Any]]) -> Any:
        self.check_process()
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        line.put(_Request(verb, loop, reply))
        return await reply

    def blocking(self) -> Blocking:
        return _AheadOfTheQueue(self, self._write)

    async def tell(self, hints: Sequence[Hint]) -> None:
        """Nothing to send: other processes see that the file changed."""

    async def hear(self, heard: Callable[[Hint], None]) -> None:
        loop = asyncio.get_running_loop()
        self._write.on_change = lambda: loop.call_soon_threadsafe(heard, ANYTHING)
        self._write.wake()
        try:
            await loop.create_future()
        finally:
            self._write.on_change = None

    def before_fork(self) -> Callable[[bool], None]:
        """Hold no connection over it: SQLite's locks are a process's own, and a child would count on its parent's."""
        lines = [line for line in (self._write, self._read) if line.is_running]
        for line in lines:
            line.stop()

        def after(is_child: bool) -> None:
            for line in [] if is_child else lines:
                line.start()

        return after

    def check_process(self) -> None:
        """Raise Forked in a child process: SQLite's locks do not survive a fork."""
        if os.getpid() != self._pid:
            raise Forked

    def warn_of_sharing(self) -> None:
        """Log once, when another process writes too, that this SQLite's WAL can lose a write then."""
        if not self._warned and not _is_sound(sqlite3.sqlite_version_info):
            self._warned = True
            _log.warning(
                "several processes share %s, and SQLite %s has a rare bug in its WAL that can lose a write there; "
                "3.51.3, 3.50.7 and 3.44.6 mend it",
                self.path.name,
                sqlite3.sqlite_version,
            )


class _AheadOfTheQueue(Blocking):
    """Verbs from a plain thread, through the writer, before whatever else waits for it."""

    def __init__(self, database: SQLite, line: "_Line") -> None:
        self._database = database
        self._line = line

    def run(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._database.check_process()
        reply: Future[T] = Future()
        self._line.put(_Request(lambda: verb(*args, **kwargs), None, reply), first=True)
        return reply.result(PATIENCE)

    def close(self) -> None:
        """Nothing of its own to let go."""


class _Line:
    """One connection on a thread of its own: takes all that waits, runs it in one transaction, answers it."""

    def __init__(self, database: SQLite, role: str) -> None:
        self._database = database
        self._role = role
        self._waiting: deque[_Request] = deque()
        self._ready = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._version: int | None = None
        self._looked = 0.0
        self.on_change: Callable[[], object] | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._thread is None:
            self._stopping = False
            name = f"tenuto-sqlite-{self._role}"
            self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def put(self, request: _Request, *, first: bool = False) -> None:
        with self._ready:
            if self._thread is None or self._stopping:
                raise StorageUnavailable("the database is closed")
            if first:
                self._waiting.appendleft(request)
            else:
                self._waiting.append(request)
            self._ready.notify()

    def wake(self) -> None:
        with self._ready:
            self._ready.notify()

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        while batch := self._take(connection):
            try:
                connection = connection or _connect(self._database.path)
                self._answer(connection, batch)
            except BaseException as error:  # noqa: BLE001 - the thread must live: it is the callers' answer
                for request in batch:
                    request.value, request.error = None, translated(error)
                if connection is not None:
                    connection.close()
                connection = None
            _deliver(batch)
        if connection is not None:
            connection.close()

    def _take(self, connection: sqlite3.Connection | None) -> list[_Request]:
        """All that waits, once something does. Empty when the line stops."""
        while True:
            self._look(connection)
            with self._ready:
                if not self._waiting and not self._stopping:
                    self._ready.wait(LISTEN_EVERY if self.on_change else None)
                if self._waiting:
                    count = min(len(self._waiting), TOGETHER)
                    return [self._waiting.popleft() for _ in range(count)]
                if self._stopping:
                    return []

    def _look(self, connection: sqlite3.Connection | None) -> None:
        """Tell when another process wrote since the last look: `data_version` counts only others' commits."""
        now, tell = time.monotonic(), self.on_change  # taken once: who listens may leave at any moment
        if tell is None or connection is None or now - self._looked < LISTEN_EVERY:
            return
        self._looked = now
        try:
            version = connection.execute("pragma data_version").fetchone()[0]
        except sqlite3.Error:  # whoever asks next will be told what is wrong
            return
        if self._version is not None and version != self._version:
            self._database.warn_of_sharing()
            with suppress(RuntimeError):  # the loop was closed: nobody listens any more
                tell()
        self._version = version

    def _answer(self, connection: sqlite3.Connection, batch: list[_Request]) -> None:
        _patiently(lambda: connection.execute("begin immediate" if self._role == "write" else "begin"))
        try:
            for request in batch:
                self._run(connection, request, is_alone=len(batch) == 1)
            if connection.in_transaction:
                connection.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("rollback")
            raise

    def _run(self, connection: sqlite3.Connection, request: _Request, *, is_alone: bool) -> None:
        """Run one verb inside the shared transaction; if it fails, only what it wrote is taken back."""
        if not is_alone:
            connection.execute("savepoint one")
        try:
            request.value = drive(request.verb(), lambda asked: self._execute(connection, asked))
        except Exception as error:
            request.error = translated(error)
            if not connection.in_transaction:  # SQLite gave up the whole transaction: so do the others
                raise
            connection.execute("rollback" if is_alone else "rollback to one")
        if not is_alone:
            connection.execute("release one")

    def _execute(self, connection: sqlite3.Connection, asked: Call) -> list[Row]:
        if asked.name.startswith("schema/"):
            return _run_script(connection, dict(self._database.scripts)[int(asked.name[7:])])
        statement = self._database.statements[asked.name]
        cursor = connection.execute(statement.text, inputs_of(statement, asked, self._database.now))
        return outputs_of(statement, cursor.fetchall())


def _nothing() -> Verb[None]:
    return
    yield


def _deliver(batch: Sequence[_Request]) -> None:
    """Hand the answers over, with one wake-up of each event loop that waits."""
    loops: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in batch:
        if request.loop is None:
            request.settle()
        else:
            loops.setdefault(request.loop, []).append(request)
    for loop, requests in loops.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_all, requests)


def _settle_all(requests: Sequence[_Request]) -> None:
    for request in requests:
        request.settle()


# ── the connection ────────────────────────────────────────────────────────────────────────────────


def _connect(path: Path) -> sqlite3.Connection:
    """A connection of ours: WAL, a full fsync at each commit, explicit transactions only."""
    with suppress(OSError):  # then there is no file to open either
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, cached_statements=256)
    _patiently(lambda: connection.execute("pragma journal_mode = wal").fetchone())
    for pragma in ("synchronous = full", "trusted_schema = off", "journal_size_limit = 67108864"):
        connection.execute(f"pragma {pragma}")
    return connection


def _patiently(act: Callable[[], T]) -> T:
    """Do it, waiting for other processes: SQLite's own wait is not fair and gives up at times."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if code_of(error) not in _BUSY or time.monotonic() > until:
                raise
            time.sleep(random.random() * 0.02)


def _is_sound(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug (a checkpoint that races another process's writer)."""
    mended = {(3, 44): 6, (3, 50): 7}.get(version[:2])
    return version >= (3, 51, 3) or (mended is not None and version[2] >= mended)


def _run_script(connection: sqlite3.Connection, script: str) -> list[Row]:
    """Every statement of a script, inside the open transaction (executescript would commit it)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    return []


# ── values ────────────────────────────────────────────────────────────────────────────────────────

_MICROSECOND: Final = timedelta(microseconds=1)


def inputs_of(statement: Statement, asked: Call, now: datetime | None) -> dict[str, Any]:
    """The inputs as SQLite takes them: documents and lists as JSON, instants as microseconds."""
    given: dict[str, Any] = {}
    for name, kind in statement.inputs.items():
        value = now if name == "now" else asked.inputs[name]
        if value is not None and (kind == "json" or kind.endswith("[]")):
            value = _document(value)
        elif value is not None and kind == "timestamptz":
            value = (value - EPOCH) // _MICROSECOND
        given[name] = value
    return given


def _document(value: Any) -> str:
    """JSON, refused when a text in it holds a NUL: SQLite would store that text only as far as there."""
    text = _dumps(value)
    if "\\u0000" in text and _NUL.search(text):
        raise StorageRejected("SQLite: a text holds a NUL character")
    return text


_dumps: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # escaped itself, and not after an escaped backslash


def outputs_of(statement: Statement, rows: list[Row]) -> list[Row]:
    """The rows as Python sees them: microseconds as aware instants, 0 and 1 as booleans."""
    read = [(place, _READ[kind]) for place, kind in enumerate(statement.outputs.values()) if kind in _READ]
    return [_converted(list(row), read) for row in rows] if read else rows


def _converted(row: list[Any], read: Sequence[tuple[int, Callable[[Any], Any]]]) -> Row:
    for place, reader in read:
        if row[place] is not None:
            row[place] = reader(row[place])
    return tuple(row)


@lru_cache  # the rows of a batch share most of them
def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {"timestamptz": _instant, "boolean": bool}


# ── errors ────────────────────────────────────────────────────────────────────────────────────────

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_REFUSED: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)


def code_of(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translated(error: BaseException) -> BaseException:
    """The error as Tenuto's tree says it; what is not the database's stays as it is."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, sqlite3.Error):
        rejected = code_of(error) in _REFUSED or isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError)
        kind = StorageRejected if rejected else StorageUnavailable
        return _caused(kind(f"SQLite: {error}"), error)
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return _caused(StorageRejected(f"SQLite cannot store it: {type(error).__name__}"), error)
    return error


def _caused(error: StorageError, cause: BaseException) -> StorageError:
    error.__cause__ = cause
    return error
