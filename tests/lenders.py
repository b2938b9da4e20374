"""Lenders: every kind of connection that a caller may lend, with a transaction in which a row of its own is written.

A plain one is driven on its thread, an async one on the loop; `on_loop` says where a test uses it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import aiosqlite
import asyncpg
import django
import psycopg
import sqlalchemy
from django.conf import settings as django_settings
from django.db import connection as django_connection
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from sqlalchemy.ext import asyncio as sqlalchemy_async
from sqlalchemy.orm import Session

from tenuto import Tenuto, blocking
from tenuto.borrowing import enqueue_now

TABLE = "create table if not exists effects (what text not null)"
WRITE = "insert into effects (what) values ('done')"


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


class Lender:
    """One connection, in a transaction of its own; what its methods give back may be awaited."""

    speaks: ClassVar[Sequence[str]] = ("postgres",)
    on_loop: ClassVar[bool] = True
    conn: Any

    def __init__(self, url: str) -> None:
        self.url = url

    def begin(self) -> Any:
        """Connect, and begin a transaction in the way that its users do."""

    def effect(self) -> Any:
        """Write a row of its own."""
        return self.conn.execute(WRITE)

    def commit(self) -> Any:
        """Keep what was done."""
        return self.conn.commit()

    def rollback(self) -> Any:
        """Keep nothing of it."""
        return self.conn.rollback()

    def close(self) -> Any:
        """Let go of the connection."""
        return self.conn.close()


class Psycopg(Lender):
    def begin(self) -> Any:
        self.conn = psycopg.connect(self.url)


class PsycopgInThread(Psycopg):
    on_loop = False


class PsycopgAsync(Lender):
    async def begin(self) -> None:
        self.conn = await psycopg.AsyncConnection.connect(self.url)


class Asyncpg(Lender):
    async def begin(self) -> None:
        self.conn = await asyncpg.connect(self.url)
        self.transaction = self.conn.transaction()
        await self.transaction.start()

    def commit(self) -> Any:
        return self.transaction.commit()

    def rollback(self) -> Any:
        return self.transaction.rollback()


class AsyncpgPool(Asyncpg):
    async def begin(self) -> None:
        self.pool = await asyncpg.create_pool(self.url, min_size=1, max_size=1)
        self.conn = await self.pool.acquire()
        self.transaction = self.conn.transaction()
        await self.transaction.start()

    async def close(self) -> None:
        await self.pool.release(self.conn)
        await self.pool.close()


class SQLite3(Lender):
    speaks = ("sqlite",)

    def begin(self) -> Any:
        self.conn = sqlite3.connect(path_of(self.url))


class SQLite3InThread(SQLite3):
    on_loop = False


class SQLite3Explicit(SQLite3):
    """Transactions are begun by hand."""

    def begin(self) -> Any:
        self.conn = sqlite3.connect(path_of(self.url), isolation_level=None)
        self.conn.execute("begin immediate")


class Aiosqlite(Lender):
    speaks = ("sqlite",)

    async def begin(self) -> None:
        self.conn = await aiosqlite.connect(path_of(self.url))


# ── SQLAlchemy ────────────────────────────────────────────────────────────────────────────────────


def alchemical(url: str, drivers: tuple[str, str]) -> str:
    """The URL as SQLAlchemy has it, over one of the drivers for SQLite and PostgreSQL."""
    scheme, rest = url.split("://", 1)
    return f"{'sqlite' if scheme == 'sqlite' else 'postgresql'}+{drivers[scheme != 'sqlite']}://{rest}"


class AlchemyConnection(Lender):
    speaks: ClassVar[Sequence[str]] = ("sqlite", "postgres")
    drivers: ClassVar[tuple[str, str]] = ("pysqlite", "psycopg")  # for SQLite, and for PostgreSQL

    def begin(self) -> Any:
        self.engine = sqlalchemy.create_engine(alchemical(self.url, self.drivers))
        self.conn = self.engine.connect()

    def effect(self) -> Any:
        return self.conn.execute(sqlalchemy.text(WRITE))

    def close(self) -> Any:
        self.conn.close()
        self.engine.dispose()


class AlchemySession(AlchemyConnection):
    def begin(self) -> Any:
        self.engine = sqlalchemy.create_engine(alchemical(self.url, self.drivers))
        self.conn = Session(self.engine)


class AlchemySessionInThread(AlchemySession):
    on_loop = False


class AlchemyAsyncConnection(AlchemyConnection):
    drivers = ("aiosqlite", "asyncpg")

    async def begin(self) -> None:
        self.engine_async = sqlalchemy_async.create_async_engine(alchemical(self.url, self.drivers))
        self.conn = await self.engine_async.connect()

    async def close(self) -> None:
        await self.conn.close()
        await self.engine_async.dispose()


class AlchemyAsyncSession(AlchemyAsyncConnection):
    async def begin(self) -> None:
        self.engine_async = sqlalchemy_async.create_async_engine(alchemical(self.url, self.drivers))
        self.conn = sqlalchemy_async.AsyncSession(self.engine_async)


class AlchemyAsyncSessionOverPsycopg(AlchemyAsyncSession):
    speaks = ("postgres",)
    drivers = ("aiosqlite", "psycopg")


# ── Django ────────────────────────────────────────────────────────────────────────────────────────


def set_up_django(url: str) -> None:
    """Have `django.db.connection` of this thread mean that database."""
    if not django_settings.configured:
        django_settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    if is_sqlite(url):
        one: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": path_of(url)}
    else:
        at = urlsplit(url)
        where = {"HOST": at.hostname, "PORT": at.port, "USER": at.username, "PASSWORD": at.password}
        one = {"ENGINE": "django.db.backends.postgresql", "NAME": at.path.removeprefix("/"), **where}
    django_connections.settings = django_connections.configure_settings({"default": one})
    with suppress(AttributeError):
        del django_connections["default"]


class Django(Lender):
    speaks = ("sqlite", "postgres")
    on_loop = False

    def begin(self) -> Any:
        set_up_django(self.url)
        self.conn = django_connection
        self.atomic = django_transaction.atomic()
        self.atomic.__enter__()

    def effect(self) -> Any:
        with self.conn.cursor() as cursor:
            cursor.execute(WRITE)

    def commit(self) -> Any:
        self.atomic.__exit__(None, None, None)

    def rollback(self) -> Any:
        self.atomic.__exit__(RuntimeError, RuntimeError(), None)


LENDERS: dict[str, type[Lender]] = {
    kind.__name__: kind
    for kind in (
        *(Psycopg, PsycopgInThread, PsycopgAsync, Asyncpg, AsyncpgPool),
        *(SQLite3, SQLite3InThread, SQLite3Explicit, Aiosqlite),
        *(AlchemyConnection, AlchemySession, AlchemySessionInThread),
        *(AlchemyAsyncConnection, AlchemyAsyncSession, AlchemyAsyncSessionOverPsycopg, Django),
    )
}
EVERY = [f"{name}-{database}" for name, kind in LENDERS.items() for database in kind.speaks]


# ── what is done with them ────────────────────────────────────────────────────────────────────────


async def done(work: Any) -> Any:
    """What it is, or comes to."""
    return await work if isawaitable(work) else work


async def make_effects(app: Tenuto) -> None:
    """The table of effects, beside those of the app."""
    if is_sqlite(app.config.url):
        with sqlite3.connect(path_of(app.config.url)) as conn:
            conn.execute(TABLE)
        conn.close()
        return
    async with await psycopg.AsyncConnection.connect(app.config.url, autocommit=True) as conn_async:
        await conn_async.execute(TABLE)


async def count_effects(app: Tenuto) -> int:
    """How many effects were committed."""
    count = "select count(*) from effects"
    if is_sqlite(app.config.url):
        conn = sqlite3.connect(path_of(app.config.url))
        try:
            return int(conn.execute(count).fetchone()[0])
        finally:
            conn.close()
    async with await psycopg.AsyncConnection.connect(app.config.url) as conn_async:
        (found,) = await (await conn_async.execute(count)).fetchone() or (0,)
        return int(found)


async def enqueue_by(kind: type[Lender], app: Tenuto, *works: Any, end: str = "commit") -> list[Any]:
    """An effect and these works in one transaction of a lender, which is then ended so; what was given back."""
    if not kind.on_loop:
        return await asyncio.to_thread(_enqueue_in_thread, kind(app.config.url), app, works, end)
    lender = kind(app.config.url)
    await done(lender.begin())
    try:
        await done(lender.effect())
        stored = [await app.enqueue(work, conn=lender.conn) for work in works]
        await done(getattr(lender, end)())
        return stored
    finally:
        await done(lender.close())


@asynccontextmanager
async def relayed_by(kind: type[Lender], app: Tenuto, work: Any) -> AsyncIterator[Face]:
    """Relay it in a transaction of a lender that is left open, by the app, or on a thread by a blocking one."""
    lender = kind(app.config.url)
    if kind.on_loop:
        await done(lender.begin())
        try:
            yield Face(app, lender, await app.relay(work, conn=lender.conn), lambda verb, *args: done(verb(*args)))
        finally:
            await done(lender.close())
        return
    mine = blocking.Tenuto(app.config.url)
    with ThreadPoolExecutor(1) as thread:

        async def on_thread(verb: Callable[..., Any], *args: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(thread, verb, *args)

        await on_thread(lender.begin)
        try:
            relay = await on_thread(lambda: mine.relay(work, conn=lender.conn))
            yield Face(mine, lender, relay, on_thread)
        finally:
            await on_thread(lender.close)
            await on_thread(mine.stop)


class Face(NamedTuple):
    """Who relayed something in a transaction, that, the relay, and how their verbs are called and awaited."""

    app: Any
    lender: Lender
    relay: Any
    call: Callable[..., Any]


def _enqueue_in_thread(lender: Lender, app: Tenuto, works: Sequence[Any], end: str) -> list[Any]:
    lender.begin()
    try:
        lender.effect()
        stored = [enqueue_now(app.database, app.config.sizes, lender.conn, work) for work in works]
        getattr(lender, end)()
        return stored
    finally:
        lender.close()
