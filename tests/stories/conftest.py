"""What stories about connections that are lent can ask for: each kind of them, on a database that it speaks to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lenders import EVERY, LENDERS, Lender


@pytest.fixture(params=EVERY)
def lent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[type[Lender], str]]:
    """A kind of connection, and the URL of a fresh database that it speaks to."""
    name, database = request.param.split("-")
    if database == "sqlite":
        yield LENDERS[name], f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield LENDERS[name], url


@pytest.fixture
def lender(lent: tuple[type[Lender], str]) -> type[Lender]:
    """The kind of connection alone; its module's `database_url` is the other half."""
    return lent[0]
