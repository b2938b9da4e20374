"""What every test can ask for. `database_url` runs a test twice: on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tenuto import Tenuto
from tenuto.storage import upkeep
from tenuto.storage.database import Database
from tenuto.storage.postgres import Postgres
from tenuto.storage.sqlite import SQLite
from tests.kit import LEASE
from tests.servers import BinariesMissing, PostgresServer, Server, open_server

hypothesis.settings.register_profile("modest", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("TENUTO_HYPOTHESIS", "modest"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The one PostgreSQL of this run. Make databases in it; leave the server itself alone."""
    with open_server() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A crash-safe PostgreSQL for this test alone: stop it, kill it, start it again."""
    try:
        with PostgresServer() as server:
            yield server
    except BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh and empty database, on each of the two."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


# ── fixtures of the house: add yours below ──────────────────────────────────────────────────────────


OpenDatabase = Callable[..., Awaitable[Database]]


def database_at(url: str, **options: Any) -> Database:
    """The Database behind a URL, not open yet; `options` are those of its kind."""
    if url.startswith("sqlite:///"):
        return SQLite(url.removeprefix("sqlite:///"), **options)
    return Postgres(url, **options)


@pytest.fixture
async def open_database(database_url: str) -> AsyncIterator[OpenDatabase]:
    """Open a Database on the test's URL, as often as asked; all are closed at the end."""
    opened: list[Database] = []

    async def open_one(**options: Any) -> Database:
        opened.append(database_at(database_url, **options))
        await opened[-1].open()
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    """An open and migrated Database, on each of the two. Set its `now` to stop the clock."""
    opened = await open_database()
    await opened.migrate(upkeep.migrate, [number for number, _ in opened.scripts if number])
    return opened


OpenApp = Callable[..., Awaitable[Tenuto]]


@pytest.fixture
async def open_app(database_url: str) -> AsyncIterator[OpenApp]:
    """Start an app with a short lease on the test's database, as often as asked; all are stopped at the end."""
    apps: list[Tenuto] = []

    async def open_one(**options: Any) -> Tenuto:
        app = Tenuto(**{"url": database_url, "lease": LEASE, "grace": 1, **options})
        apps.append(app)
        await app.database.open()
        await app.migrate()
        await app.start()
        return app

    yield open_one
    for each in apps:
        await each.stop()


@pytest.fixture
async def app(open_app: OpenApp) -> Tenuto:
    """An app that works on the queue `default` with ten slots."""
    return await open_app(queues={"default": 10})
