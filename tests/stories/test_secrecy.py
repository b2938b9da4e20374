"""What an encrypted job carries, returns and fails with is found nowhere: no file, no log, no answer of a command."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sqlite3
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
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
def at_work(url: str, told: list[str], secret: str) -> Iterator[None]:
    """A process that works on the vaults and logs all it can; what it wrote is in `told` at the end."""
    nightly = {"expression": "0 0 29 2 *", "worker": "vaults.nightly", "args": {"secret": secret}}
    command = [sys.executable, "-X", "dev", "-m", "tenuto", "work", "tests.stories.vaults", "--log-level", "debug"]
    process = subprocess.Popen(
        [*command, "--queues", "default=5", "--url", url],
        env={**environment(), "PYTHONASYNCIODEBUG": "1", "TENUTO_CRON": json.dumps({"vaults.nightly": nightly})},
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
        *[vaults.keyed.new(secret, nth) for nth in (0, 1, 2, 2)],  # the last is there already
        vaults.keyed.options(schedule_in=3600).new(secret, 3),  # cancelled by an operator
        vaults.keep_afar.new(secret),
        vaults.fail_afar.new(secret),
        vaults.die_afar.new(secret),
        vaults.fail_in_a_thread.new(secret),
        vaults.leave.new(secret),
        vaults.leaves_a_task.new(secret),
        vaults.late.options(queue="nobody's").new(secret),
        vaults.keep.options(schedule_in=3600).new(secret),
        vaults.keep.options(queue="nobody's").new(secret),
    ]


ENDS = [
    *["completed"] * 3,
    *["discarded", "cancelled", "discarded", "discarded"],  # fail, refuse, hang, wrong
    *["completed", "discarded", "completed", "completed", "cancelled"],  # keyed
    *["completed", "discarded", "discarded", "discarded", "discarded", "completed"],  # afar, and what fails elsewhere
    *["cancelled", "scheduled", "available"],
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


def asked(url: str, jobs: Sequence[Job[Any, Any]], flow: Workflow) -> str:
    """Everything that the command line says of them, for people and for programs; the last of the jobs is ended."""
    last = jobs[-1].id
    commands = [
        *(("jobs", "show", job.id) for job in [*jobs, *flow.jobs.values()]),
        ("jobs", "list"),
        ("jobs", "list", "--worker", "vaults.fail", "--state", "discarded"),
        *(("workflows", word, flow.id) for word in ("show", "watch")),
        ("workflows", "list"),
        ("queues", "list"),
        ("cron", "list"),
        ("cron", "next", "vaults.nightly"),
        ("doctor",),
        ("doctor", "--node"),
        ("jobs", "cancel", last),
        ("jobs", "retry", last),
        ("jobs", "cancel", "--queue", "nobody's", "--yes"),
        ("jobs", "delete", last),
        *(("queues", word, "nobody's") for word in ("pause", "resume", "start", "stop")),
        ("queues", "scale", "nobody's", "3"),
        ("queues", "limit", "nobody's", "--limit", "3"),
        *(("cron", word, "vaults.nightly") for word in ("pause", "resume", "run")),
        ("version",),
        ("migrate", "--sql"),
    ]
    told = [run("--url", url, *command, *form) for command in commands for form in ((), ("--json",))]
    return "\n".join(f"{said.out}{said.err}" for said in told)


@pytest.mark.timeout(180)
async def test_a_marker_in_args_result_and_exception_is_found_nowhere(place, key, caplog, capfd):
    marker, control = secrets.token_hex(SIZE // 2), secrets.token_hex(SIZE // 2)
    caplog.set_level(logging.DEBUG)
    telemetry.attach(telemetry.log_events)
    told: list[str] = []
    await Tenuto(place.url).migrate()
    with at_work(place.url, told, marker):
        async with Tenuto(place.url) as app:
            jobs = await app.enqueue(carriers(marker))
            flow = await app.enqueue(graph(marker))
            await app.enqueue(plain.new(control))
            waiting = await app.update(jobs[-1], {"args": {"secret": marker[::-1] + marker, "rows": 1}})
            await app.cancel(jobs[ENDS.index("cancelled", 5)])
            await eventually(app.cron.list)
            await app.cron.run("vaults.nightly")
            await app.workflow(flow.id).wait(timeout=60)
            await eventually(lambda: is_idle(app))
            assert waiting == [jobs[-1].id]
            while_open = files_of(place)
            ends = [(await app.fetch(job)).state for job in jobs]
            read_again = await app.recorded(jobs[1])
            (nightly,) = await app.find(worker="vaults.nightly")
            made_at_night = await app.recorded(nightly)
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
    assert dict(enumerate(ends)) == dict(enumerate(ENDS))
    assert made_at_night == marker
    assert read_again == {"kept": [marker] * 200}
    assert "vaults.fail" in logged
    assert "Refused" in commands


async def is_idle(app: Tenuto) -> bool:
    waits = await app.find(state=["available", "executing", "retryable"], queue="default", limit=1)
    late = await app.find(worker="vaults.late", state="available")
    return not waits and not late and bool(await app.find(worker="vaults.nightly", state="completed"))


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
