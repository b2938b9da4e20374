"""What an encrypted job carries, returns and fails with is found nowhere: no file, no log, no answer of a command."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sqlite3
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tenuto import Job, KeyRing, Tenuto, Workflow, job, telemetry
from tenuto.definition import _registry, forget, registered
from tests.edges.terminal import environment, run
from tests.kit import ROOT, eventually
from tests.servers import BinariesMissing, PostgresServer
from tests.stories import vaults

SIZE = 32  # bytes of a marker

CHATTY = {"log_statement": "all", "log_min_duration_statement": "0", "log_min_messages": "debug1"}
"""PostgreSQL writes what it is asked into its own log, with the inputs."""


class Place(NamedTuple):
    """A database of one's own, and the folder that holds everything it keeps."""

    url: str
    folder: Path
    flush: Any


@job(name="vaults.plain", queue="nobody's")
async def plain(secret: str) -> None:
    """Of no encrypted worker, so that the search has something to find."""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database whose every byte can be looked at."""
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, lambda: None)
        return
    try:
        with PostgresServer(settings=CHATTY) as server:
            assert server._folder is not None
            yield Place(server.url, server._folder, lambda: _checkpoint(server.url))
    except BinariesMissing as missing:
        pytest.skip(str(missing))


def _checkpoint(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as line:
        line.execute("checkpoint")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("VAULT_KEY", KeyRing.new_key())
    return os.environ["VAULT_KEY"]


@contextmanager
def at_work(url: str, told: list[str]) -> Iterator[None]:
    """A process that works on the vaults and logs all it can; what it wrote is in `told` at the end."""
    command = [sys.executable, "-X", "dev", "-m", "tenuto", "work", "tests.stories.vaults", "--log-level", "debug"]
    process = subprocess.Popen(
        [*command, "--queues", "default=5", "--url", url],
        env={**environment(), "PYTHONASYNCIODEBUG": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
        told.append(out)


def spellings(marker: bytes) -> dict[str, bytes]:
    """The ways in which a marker may lie somewhere."""
    found = {
        "raw": marker,
        "hex": marker.hex().encode(),
        "HEX": marker.hex().upper().encode(),
        "UTF-16, little end first": marker.decode().encode("utf-16-le"),
        "UTF-16, big end first": marker.decode().encode("utf-16-be"),
    }
    for before in range(3):
        whole = b"\0" * before + marker
        first, end = -(-before * 8 // 6), len(whole) * 8 // 6  # the characters that no neighbour has a part in
        found[f"Base64 after {before}"] = b64encode(whole)[first:end]
        found[f"Base64 for URLs after {before}"] = urlsafe_b64encode(whole)[first:end]
    return found


def found_in(where: bytes, marker: bytes) -> set[str]:
    """By which of its spellings the marker lies there."""
    return {name for name, spelled in spellings(marker).items() if spelled in where}


def files_of(place: Place) -> dict[str, bytes]:
    place.flush()
    found: dict[str, bytes] = {}
    for path in place.folder.rglob("*"):
        if path.is_file() and "software" not in path.parts and not path.is_socket():
            found[str(path.relative_to(place.folder))] = path.read_bytes()
    return found


def carriers(secret: str) -> list[Job[Any, Any]]:
    """A job for each way in which a secret may come to light."""
    return [
        vaults.keep.new(secret),
        vaults.keep.new(secret, rows=200),  # compressed
        vaults.keep_in_a_thread.new(secret),
        vaults.fail.new(secret),
        vaults.refuse.new(secret),
        vaults.hang.new(secret),
        vaults.wrong.new(secret),
        vaults.keep.options(schedule_in=3600).new(secret),
        vaults.keep.options(queue="nobody's").new(secret),
    ]


def graph(secret: str) -> Workflow:
    flow = Workflow("vaults")
    flow.add("keep", vaults.keep.new(secret))
    flow.add("fails", vaults.fail.new(secret))
    flow.add("early", vaults.early.new(secret))
    flow.add("read", vaults.read.new(), deps=["keep", "early"])
    flow.add("cancelled", vaults.keep.new(secret), deps="fails")
    return flow


@contextmanager
def without_workers() -> Iterator[None]:
    """As in the process of a command, which imports no worker and so has no keys."""
    known = dict(registered())
    for name in known:
        forget(name)
    try:
        yield
    finally:
        _registry.update(known)


def asked(url: str, jobs: list[Job[Any, Any]], flow: Workflow) -> str:
    """Everything that the command line says of them."""
    commands = [
        *(("jobs", "show", job.id, *json) for job in [*jobs, *flow.jobs.values()] for json in ((), ("--json",))),
        *(("jobs", "list", *json) for json in ((), ("--json",))),
        *(("workflows", word, flow.id, *json) for word in ("show", "watch") for json in ((), ("--json",))),
        ("workflows", "list", "--json"),
        ("queues", "list", "--json"),
        ("doctor", "--json"),
        ("doctor", "--node"),
        ("migrate", "--sql"),
    ]
    return "\n".join(f"{said.out}{said.err}" for said in (run("--url", url, *command) for command in commands))


@pytest.mark.timeout(180)
async def test_a_marker_in_args_result_and_exception_is_found_nowhere(place, key, caplog, capfd):
    marker, control = secrets.token_hex(SIZE // 2), secrets.token_hex(SIZE // 2)
    caplog.set_level(logging.DEBUG)
    telemetry.attach(telemetry.log_events)
    told: list[str] = []
    await Tenuto(place.url).migrate()
    with at_work(place.url, told):
        async with Tenuto(place.url) as app:
            jobs = await app.enqueue(carriers(marker))
            flow = await app.enqueue(graph(marker))
            await app.enqueue(plain.new(control))
            waiting = await app.update(jobs[-1], {"args": {"secret": marker[::-1] + marker, "rows": 1}})
            await app.workflow(flow.id).wait(timeout=60)
            await eventually(lambda: is_idle(app))
            assert waiting == [jobs[-1].id]
            while_open = files_of(place)
            ends = [(await app.fetch(job)).state for job in jobs]
            read_again = await app.recorded(jobs[1])
            with without_workers():
                commands = await asyncio.to_thread(asked, place.url, jobs, flow)
    after = files_of(place)
    telemetry.detach(telemetry.log_events)
    captured = capfd.readouterr()
    logged = "\n".join([*told, caplog.text, captured.out, captured.err])

    everywhere = {**while_open, **{f"{name}, closed": content for name, content in after.items()}}
    places = {**everywhere, "logs": logged.encode(), "commands": commands.encode()}
    assert {name: by for name, content in places.items() if (by := found_in(content, marker.encode()))} == {}
    assert {name for name, content in places.items() if key.encode() in content} == set()
    assert any(found_in(content, control.encode()) for content in everywhere.values())  # the search does find
    assert ends == [*["completed"] * 3, "discarded", "cancelled", *["discarded"] * 2, "scheduled", "available"]
    assert read_again == {"kept": [marker] * 200}
    assert "vaults.fail" in logged
    assert "Refused" in commands


async def is_idle(app: Tenuto) -> bool:
    return not await app.find(state=["available", "executing", "retryable"], queue="default", limit=1)


@pytest.mark.parametrize("before", range(50))
def test_the_search_finds_every_spelling(before):
    marker = secrets.token_hex(SIZE // 2).encode()
    around = os.urandom(before)

    assert "raw" in found_in(around + marker + around, marker)
    assert "hex" in found_in((around + marker).hex().encode(), marker)
    assert any(name.startswith("Base64") for name in found_in(b64encode(around + marker + around), marker))
    assert "UTF-16, little end first" in found_in(around + marker.decode().encode("utf-16-le"), marker)


def test_sqlite_keeps_its_newest_pages_where_the_search_looks(tmp_path):
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    connection.executescript("pragma journal_mode = wal; create table kept (text); insert into kept values ('geheim')")
    place = Place("", tmp_path, lambda: None)

    assert "jobs.db-wal" in {name for name, content in files_of(place).items() if b"geheim" in content}
    connection.close()
