"""What the tests of the edges share: a folder to stand in, and a command line to ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenuto import Tenuto
from tests.conftest import OpenApp
from tests.edges.terminal import Ask, Said, run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and an environment that says nothing of Tenuto."""
    monkeypatch.chdir(tmp_path)
    for name in ("TENUTO_URL", "TENUTO_SCHEMA", "TENUTO_QUEUES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ask(database_url: str, folder: Path) -> Ask:
    """Run a command on the test's database; awaited, since the command has an event loop of its own."""

    async def ask_one(*args: str) -> Said:
        return await asyncio.to_thread(run, "--url", database_url, *args)

    return ask_one


@pytest.fixture
async def store(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing, to put jobs where commands find them."""
    return await open_app()
