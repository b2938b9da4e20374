"""A verb on a connection that is lent: whatever that is set up as, it stays so, and what cannot be is said."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import psycopg_pool
import pytest
import sqlalchemy
from django.db import connection as django_connection
from django.db import connections as django_connections
from psycopg.adapt import Dumper, Loader
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import sessionmaker
from uuid_utils import uuid7

from tenuto.errors import JobMismatch, StorageBusy, StorageRejected, UnusableConnection
from tenuto.job import AVAILABLE, Job
from tenuto.storage import reading, store, upkeep
from tenuto.storage.borrowed import found
from tenuto.storage.borrowed.loan import lent
from tenuto.storage.borrowed.sqlite import dialect_of
from tenuto.storage.database import Database, Verb, call
from tenuto.storage.sqlite import SQLite
from tests.conftest import database_at
from tests.lenders import TABLE, WRITE, is_sqlite, path_of, set_up_django


def a_job(**options: Any) -> Job[Any, Any]:
    return Job("some worker", args={"text": "dürfen 'wir'? 100 % \\ \"ja\""}, id=options.pop("id", new_id()), **options)


def new_id() -> str:
    return str(uuid7())


def nothing(_: Any) -> list[Any]:
    return []


def enqueue(conn: Any, database: Database, *jobs: Job[Any, Any]) -> list[Job[Any, Any]]:
    return found.run(found.line_to(conn, database), database, store.enqueue(jobs), nothing)


async def enqueue_async(conn: Any, database: Database, *jobs: Job[Any, Any]) -> list[Job[Any, Any]]:
    return await found.run_async(await found.line_to_async(conn, database), database, store.enqueue(jobs), nothing)


async def stored(database: Database, *jobs: Job[Any, Any]) -> dict[str, Job[Any, Any]]:
    return await database.read(reading.fetch, [job.id for job in jobs])


@pytest.fixture
def plain(database: Database, database_url: str) -> Iterator[Any]:
    """A plain connection to the test's database, as its driver makes one."""
    conn: Any = sqlite3.connect(path_of(database_url)) if is_sqlite(database_url) else psycopg.connect(database_url)
    yield conn
    conn.close()


@pytest.fixture
def postgres_url(postgres: Any) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Database]:
    async with at(postgres_url) as opened:
        yield opened


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[SQLite]:
    async with at(f"sqlite:///{tmp_path / 'jobs.db'}") as opened:
        assert isinstance(opened, SQLite)
        yield opened


@asynccontextmanager
async def at(url: str) -> AsyncIterator[Database]:
    """An open and migrated Database."""
    opened = database_at(url)
    await opened.open()
    await opened.migrate(upkeep.migrate, [number for number, _ in opened.scripts if number])
    yield opened
    await opened.close()


# ── what it is set up as ──────────────────────────────────────────────────────────────────────────


class Shouting(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode().upper() + "!"


class Mumbling(Dumper):
    def dump(self, obj: str) -> bytes:
        return b"mumble"


async def test_loaders_dumpers_and_row_factories_of_psycopg_change_nothing_and_stay(
    on_postgres: Database, postgres_url: str
):
    job = a_job()
    with psycopg.connect(postgres_url, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as conn:
        for name in ("uuid", "text", "timestamptz", "int4", "bool"):
            conn.adapters.register_loader(name, Shouting)
        conn.adapters.register_dumper(str, Mumbling)
        (now,) = enqueue(conn, on_postgres, job)
        (again,) = enqueue(conn, on_postgres, job)
        row = conn.execute("select 'a' as a, true as b").fetchone()

    assert (now.id, now.state, again.existing, again.args) == (job.id, AVAILABLE, True, job.args)
    assert row == {"a": "A!", "b": "T!"}
    assert (await stored(on_postgres, job))[job.id].args == job.args


async def test_codecs_and_records_of_asyncpg_change_nothing_and_stay(on_postgres: Database, postgres_url: str):
    job = a_job()
    conn = await asyncpg.connect(postgres_url)
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await conn.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog")
    (now,) = await enqueue_async(conn, on_postgres, job)
    (again,) = await enqueue_async(conn, on_postgres, job)
    row = await conn.fetchrow("select '{\"a\": 1}'::jsonb as a, $1::json as b", {"c": 2})
    await conn.close()

    assert (now.id, again.existing, again.args) == (job.id, True, job.args)
    assert dict(row) == {"a": {"a": 1}, "b": {"c": 2}}


async def test_factories_of_sqlite_change_nothing_and_stay(on_sqlite: SQLite):
    job = a_job()
    plain = sqlite3.connect(on_sqlite.path)
    other = await aiosqlite.connect(on_sqlite.path)
    for conn in (plain, other):
        conn.row_factory = lambda cursor, row: {"row": row}
        conn.text_factory = bytes

    enqueue(plain, on_sqlite, job)
    plain.commit()
    (again,) = await enqueue_async(other, on_sqlite, job)
    await other.commit()
    rows = [plain.execute("select 'a'").fetchone(), *await other.execute_fetchall("select 'a'")]
    plain.close()
    await other.close()

    assert (again.existing, again.args) == (True, job.args)
    assert rows == [{"row": (b"a",)}] * 2


async def test_how_long_a_transaction_waits_for_locks_is_as_before(on_postgres: Database, postgres_url: str):
    with psycopg.connect(postgres_url) as conn:
        conn.execute("set local lock_timeout = '7s'")
        enqueue(conn, on_postgres, a_job())
        during = conn.execute("show lock_timeout").fetchone()
        conn.commit()
        after = conn.execute("show lock_timeout").fetchone()

    assert (during, after) == (("7s",), ("0",))


# ── the transaction ───────────────────────────────────────────────────────────────────────────────


async def test_a_verb_that_fails_leaves_the_transaction_as_it_was(database: Database, plain: Any):
    known, new = a_job(), a_job()
    enqueue(plain, database, known)
    plain.commit()
    plain.execute(TABLE)

    plain.execute(WRITE)
    with pytest.raises(JobMismatch):
        enqueue(plain, database, new, a_job(id=known.id, queue="other").replace(args={"other": 1}))
    plain.commit()

    assert (await stored(database, known, new)).keys() == {known.id}
    assert plain.execute("select count(*) from effects").fetchone() == (1,)


async def test_a_statement_that_fails_leaves_the_transaction_as_it_was(database: Database, plain: Any):
    def broken() -> Verb[None]:
        yield from store.enqueue([lost])
        yield call("fetch", ids=[object()])

    lost, kept = a_job(), a_job()
    enqueue(plain, database, kept)
    with pytest.raises((StorageRejected, TypeError)):
        found.run(found.line_to(plain, database), database, broken(), nothing)
    plain.commit()

    assert (await stored(database, kept, lost)).keys() == {kept.id}


async def test_a_savepoint_of_the_callers_takes_it_back(database: Database, plain: Any):
    kept, lost = a_job(), a_job()
    enqueue(plain, database, kept)
    plain.execute("savepoint mine")
    enqueue(plain, database, lost)
    plain.execute("rollback to savepoint mine")
    plain.commit()

    assert (await stored(database, kept, lost)).keys() == {kept.id}


async def test_without_a_transaction_it_is_stored_at_once_and_whole(database: Database, database_url: str):
    jobs = [a_job(), a_job()]
    conn: Any
    if is_sqlite(database_url):
        conn = sqlite3.connect(path_of(database_url), isolation_level=None)
    else:
        conn = psycopg.connect(database_url, autocommit=True)

    enqueue(conn, database, *jobs)
    with pytest.raises(JobMismatch):
        enqueue(conn, database, lost := a_job(), jobs[0].replace(args={}))
    conn.close()

    assert (await stored(database, *jobs, lost)).keys() == {job.id for job in jobs}


async def test_whatever_commits_each_statement_has_it_stored_at_once(
    on_postgres: Database, on_sqlite: SQLite, postgres_url: str
):
    jobs = [a_job() for _ in range(5)]
    pg = await asyncpg.connect(postgres_url)
    await enqueue_async(pg, on_postgres, jobs[0])
    await pg.close()
    file = await aiosqlite.connect(on_sqlite.path, isolation_level=None)
    await enqueue_async(file, on_sqlite, jobs[1])
    await file.close()
    engine = sqlalchemy.create_engine(postgres_url.replace("postgresql", "postgresql+psycopg"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        enqueue(conn, on_postgres, jobs[2])
    engine.dispose()
    await asyncio.to_thread(_by_django, on_postgres, postgres_url, jobs[3])
    await asyncio.to_thread(_by_django, on_sqlite, f"sqlite:///{on_sqlite.path}", jobs[4])

    assert (await stored(on_postgres, *jobs)).keys() == {jobs[0].id, jobs[2].id, jobs[3].id}
    assert (await stored(on_sqlite, *jobs)).keys() == {jobs[1].id, jobs[4].id}


def _by_django(database: Database, url: str, job: Job[Any, Any]) -> None:
    set_up_django(url)
    enqueue(django_connection, database, job)
    django_connection.close()


async def test_who_is_cancelled_leaves_no_transaction_behind(on_postgres: Database, postgres_url: str):
    with psycopg.connect(postgres_url) as other:
        job = a_job()
        enqueue(other, on_postgres, job)  # whoever stores the same waits for it
        conn = await psycopg.AsyncConnection.connect(postgres_url, autocommit=True)
        waiting = asyncio.create_task(enqueue_async(conn, on_postgres, job))
        await _until_somebody_waits(postgres_url)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        status = conn.info.transaction_status
        await conn.close()

    assert waiting.cancelled()
    assert status is psycopg.pq.TransactionStatus.IDLE


async def _until_somebody_waits(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        while True:
            cursor = await conn.execute("select count(*) from pg_locks where not granted")
            if await cursor.fetchone() != (0,):
                return


# ── others were first ─────────────────────────────────────────────────────────────────────────────


async def test_a_snapshot_that_is_too_old_is_said_to_be(on_postgres: Database, postgres_url: str):
    job = a_job()
    with psycopg.connect(postgres_url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.execute("select 1 from tenuto.jobs").fetchall()
        await on_postgres.run(store.enqueue, [job])
        with pytest.raises(StorageBusy, match="roll back, and run the transaction again"):
            enqueue(conn, on_postgres, job)
        conn.rollback()
        (now,) = enqueue(conn, on_postgres, job)

    assert now.existing


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
async def test_every_isolation_will_do(on_postgres: Database, postgres_url: str, level: Any):
    job = a_job()
    with psycopg.connect(postgres_url) as conn:
        conn.isolation_level = level
        enqueue(conn, on_postgres, job)

    assert job.id in await stored(on_postgres, job)


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_transaction_of_sqlite_that_was_begun_plainly_waits_for_its_turn_to_write(
    on_sqlite: SQLite, is_known: bool
):
    """Whatever is written beside it between any two of our statements."""
    on_sqlite.is_known = is_known
    job = a_job()
    other = sqlite3.connect(on_sqlite.path, isolation_level=None, timeout=0)
    other.execute("create table others (at integer)")
    plain = sqlite3.connect(on_sqlite.path, isolation_level=None)
    plain.execute("begin")
    line = found.line_to(plain, on_sqlite)

    asking = lent(line, dialect_of(on_sqlite), store.enqueue([job]), nothing)
    asked = next(asking)
    with suppress(StopIteration):
        while True:
            with suppress(sqlite3.OperationalError):  # it has the turn
                other.execute("insert into others values (1)")
            rows: Any = line.execute(asked)
            asked = asking.send(rows)
    plain.execute("commit")
    plain.close()
    count = other.execute("select count(*) from others").fetchone()
    other.close()

    assert job.id in await stored(on_sqlite, job)
    assert count > (0,)


async def test_a_snapshot_of_sqlite_that_is_too_old_is_said_to_be(on_sqlite: SQLite):
    plain = sqlite3.connect(on_sqlite.path)
    plain.execute("begin")
    plain.execute("select count(*) from jobs").fetchone()
    await on_sqlite.run(store.enqueue, [a_job()])

    with pytest.raises(StorageBusy, match="BEGIN IMMEDIATE"):
        enqueue(plain, on_sqlite, a_job())
    plain.close()


# ── what cannot be ────────────────────────────────────────────────────────────────────────────────


async def test_a_closed_connection_is_said_to_be(database: Database, plain: Any):
    plain.close()

    with pytest.raises(UnusableConnection, match="closed"):
        enqueue(plain, database, a_job())


async def test_closed_connections_of_async_drivers_are_said_to_be(on_postgres: Database, postgres_url: str, tmp_path):
    first = await asyncpg.connect(postgres_url)
    await first.close()
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool:
        second = await pool.acquire()
        await pool.release(second)
    third = await psycopg.AsyncConnection.connect(postgres_url)
    await third.close()
    for conn in (first, second, third):
        with pytest.raises(UnusableConnection):
            await enqueue_async(conn, on_postgres, a_job())


async def test_one_of_aiosqlite_that_is_closed_or_was_never_opened_is_said_to_be(on_sqlite: SQLite):
    closed, unopened = await aiosqlite.connect(on_sqlite.path), aiosqlite.connect(on_sqlite.path)
    await closed.close()

    for conn in (closed, unopened):
        with pytest.raises(UnusableConnection, match="no active connection"):
            await enqueue_async(conn, on_sqlite, a_job())


async def test_a_pipeline_of_psycopg_is_refused(on_postgres: Database, postgres_url: str):
    refused = pytest.raises(UnusableConnection, match="pipeline mode")
    with psycopg.connect(postgres_url) as conn, conn.pipeline(), refused:
        enqueue(conn, on_postgres, a_job())
    async with await psycopg.AsyncConnection.connect(postgres_url) as other, other.pipeline():
        with refused:
            await enqueue_async(other, on_postgres, a_job())


async def test_a_transaction_that_has_failed_is_said_to_have(on_postgres: Database, postgres_url: str):
    plain = psycopg.connect(postgres_url)
    with pytest.raises(psycopg.Error):
        plain.execute("nonsense")
    conn = await asyncpg.connect(postgres_url)
    await conn.execute("begin")
    with pytest.raises(asyncpg.PostgresError):
        await conn.execute("nonsense")

    with pytest.raises(UnusableConnection, match="has failed already"):
        enqueue(plain, on_postgres, a_job())
    with pytest.raises(UnusableConnection, match="has failed already"):
        await enqueue_async(conn, on_postgres, a_job())
    plain.close()
    await conn.close()


async def test_a_read_only_transaction_is_said_to_be(on_postgres: Database, postgres_url: str):
    with psycopg.connect(postgres_url) as conn:
        conn.read_only = True
        with pytest.raises(UnusableConnection, match="read-only"):
            enqueue(conn, on_postgres, a_job())


async def test_another_database_is_said_to_be_one(on_postgres: Database, postgres: Any, tmp_path):
    with postgres.database() as url, psycopg.connect(url) as conn:
        for _ in range(2):
            with pytest.raises(UnusableConnection, match="has not the tables of this app"):
                enqueue(conn, on_postgres, a_job())
        on_postgres.is_known = True
        with pytest.raises(UnusableConnection, match="has not the tables of this app"):
            enqueue(conn, on_postgres, a_job())


async def test_another_file_is_said_to_be_one(on_sqlite: SQLite, tmp_path: Path):
    other, memory = sqlite3.connect(tmp_path / "other.db"), sqlite3.connect(":memory:")

    with pytest.raises(UnusableConnection, match=r"its database is 'other.db', and the app's is 'jobs.db'"):
        enqueue(other, on_sqlite, a_job())
    with pytest.raises(UnusableConnection, match=r"its database is memory"):
        enqueue(memory, on_sqlite, a_job())
    other.close()
    memory.close()


async def test_the_other_kind_of_database_is_said_to_be(on_postgres: Database):
    conn = sqlite3.connect(":memory:")

    with pytest.raises(UnusableConnection, match="it is to SQLite, and the app's database is PostgreSQL"):
        enqueue(conn, on_postgres, a_job())
    conn.close()


async def test_what_is_no_connection_is_refused_by_its_name(on_postgres: Database, postgres_url: str):
    pool = psycopg_pool.ConnectionPool(postgres_url, open=False)
    engine = sqlalchemy.create_engine(postgres_url.replace("postgresql", "postgresql+psycopg"))
    conn = psycopg.connect(postgres_url)
    given = {
        "a psycopg_pool.pool.ConnectionPool is not": pool,
        "a builtins.str is not": "a text",
        "a Cursor of psycopg is no connection": conn.cursor(),
        "sqlalchemy's Engine is no connection; lend a Session": engine,
        "sqlalchemy's sessionmaker is no connection; lend a Session": sessionmaker(engine),
        "sqlalchemy's AsyncEngine is no connection; lend a Session": create_async_engine("postgresql+asyncpg://"),
        "django's ConnectionHandler is no connection; lend `django.db.connection`": django_connections,
    }

    for told, each in given.items():
        with pytest.raises(UnusableConnection, match=told):
            enqueue(each, on_postgres, a_job())
        with pytest.raises(UnusableConnection, match=told):
            await enqueue_async(each, on_postgres, a_job())
    conn.close()
    engine.dispose()


async def test_an_async_connection_is_not_for_plain_code(on_postgres: Database, postgres_url: str):
    engine = create_async_engine(postgres_url.replace("postgresql", "postgresql+asyncpg"))
    async with engine.connect() as alchemical, await psycopg.AsyncConnection.connect(postgres_url) as conn:
        for each in (alchemical, conn):
            with pytest.raises(UnusableConnection, match="for async code"):
                enqueue(each, on_postgres, a_job())
    await engine.dispose()


async def test_djangos_connection_is_not_for_async_code(database: Database, database_url: str):
    set_up_django(database_url)

    with pytest.raises(UnusableConnection, match="async context"):
        await enqueue_async(django_connection, database, a_job())
