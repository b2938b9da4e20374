"""What the tests of storage share: a node that claims, a look into the tables, and every statement examined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tenuto.storage import upkeep
from tenuto.storage.database import Database
from tests.conftest import database_at
from tests.servers import Server
from tests.storage.build import NOON, VERSIONS, Claimer
from tests.storage.examine import Seen, examiner_of
from tests.storage.tables import Tables, look_into
from tests.storage.workload import Work, crowd

only_on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
only_on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_on_fresh_postgres = pytest.mark.parametrize("fresh_url", ["postgres"], indirect=True)


@pytest.fixture(params=["sqlite", "postgres"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh and empty database, on each of the two."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(scope="session")
def shared_url(postgres: Server) -> Iterator[str]:
    """One PostgreSQL database for test after test: to make one takes as long as three of them."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a row, on each of the two."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    url: str = request.getfixturevalue("shared_url")
    with look_into(url) as tables:
        tables.clear()
    return url


@pytest.fixture
def clock(database: Database) -> Database:
    """The database, with its clock stopped at noon. Move it by its `now`."""
    database.now = NOON
    return database


@pytest.fixture
async def claimer(clock: Database) -> Claimer:
    """A node with a lease of thirty seconds from noon."""
    return await Claimer(clock).start()


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    """The tables themselves."""
    with look_into(database_url) as tables:
        yield tables


class Examined(NamedTuple):
    """Every statement by name as it was run beside a crowd of 40,000 jobs, in batches of three sizes."""

    few: dict[str, Seen]  # 25
    some: dict[str, Seen]  # 250
    many: dict[str, Seen]  # 1,000


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def examined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examined]:
    """What was seen of each statement, on each of the two."""
    if request.param == "sqlite":
        yield _examine(f"sqlite:///{tmp_path_factory.mktemp('examined') / 'jobs.db'}")
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield _examine(url)


def _examine(url: str) -> Examined:
    examiner = examiner_of(database_at(url))
    try:
        examiner.run(upkeep.migrate, VERSIONS)
        examiner.run(upkeep.check_schema, "")
        crowd(examiner)
        migrating = examiner.seen
        seen = []
        for batch in (25, 250, 1000):
            examiner.seen = dict(migrating)
            Work(examiner, batch).everything()
            seen.append(examiner.seen)
        return Examined(*seen)
    finally:
        examiner.close()
