"""What the tests of storage share: a node that claims, and a look into the tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenuto.storage.database import Database
from tests.servers import Server
from tests.storage.build import NOON, Claimer
from tests.storage.tables import Tables, look_into


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


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """The URL of a fresh and empty PostgreSQL database, for what SQLite has not."""
    with postgres.database() as url:
        yield url
