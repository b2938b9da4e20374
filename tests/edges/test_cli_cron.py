"""`tenuto cron`: how entries stand, when they are due, and what is asked of them."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest

from tenuto import Tenuto, job
from tenuto.cron import Cron
from tests.edges.terminal import Ask, on_a_terminal, run_script
from tests.kit import eventually

WHEN = "0 3 29 2 *"


@job(name="cli.report")
async def report() -> None: ...


@pytest.fixture
async def entry(app: Tenuto) -> str:
    """An entry of a live node."""
    app.cron.add("weekly", WHEN, report.new, timezone="Europe/Berlin")
    await eventually(app.cron.list)
    return "weekly"


async def test_entries_are_listed_with_when_they_are_due(entry: str, ask: Ask):
    (listed,) = (await ask("cron", "list", "--json")).json
    head, line = (await ask("cron", "list")).lines

    due = Cron(WHEN, "Europe/Berlin").after(datetime.now(UTC))
    assert due is not None
    assert {name: listed[name] for name in ("name", "expression", "timezone", "worker", "next_at")} == {
        "name": "weekly",
        "expression": WHEN,
        "timezone": "Europe/Berlin",
        "worker": "cli.report",
        "next_at": due.isoformat(),
    }
    assert (listed["is_paused"], listed["is_stale"], listed["catch_up"], listed["last_job_id"]) == (
        *(False, False),
        *(300.0, None),
    )
    assert head.split() == ["NAME", "WHEN", "TIMEZONE", "NEXT", "LAST", "WORKER"]
    assert line.split() == ["weekly", *WHEN.split(), "Europe/Berlin", "in", line.split()[8], "cli.report"]


async def test_without_an_entry_it_says_so(store: Tenuto, ask: Ask):
    said = await ask("cron", "list")

    assert (said.code, said.out, said.err) == (0, "", "tenuto: no node has declared a cron entry\n")
    assert (await ask("cron", "list", "--json")).json == []


async def test_an_entry_is_paused_run_and_resumed(app: Tenuto, entry: str, ask: Ask):
    assert (await ask("cron", "pause", entry)).out == "weekly paused\n"
    assert "paused" in (await ask("cron", "list")).out

    assert (await ask("cron", "run", entry)).out == "weekly will run now\n"
    await eventually(lambda: app.find(worker="cli.report", state="completed"))
    assert "completed" in (await ask("cron", "list")).out

    assert (await ask("cron", "resume", entry)).out == "weekly resumed\n"
    assert "paused" not in (await ask("cron", "list")).out


async def test_what_is_asked_of_an_entry_is_answered_as_json_with_the_entry(entry: str, ask: Ask):
    paused = (await ask("cron", "pause", entry, "--json")).json
    resumed = (await ask("cron", "resume", entry, "--json")).json
    ran = (await ask("cron", "run", entry, "--json")).json

    assert [found["name"] for found in (paused, resumed, ran)] == [entry] * 3
    assert [found["is_paused"] for found in (paused, resumed, ran)] == [True, False, False]


async def test_the_next_minutes_are_shown(entry: str, ask: Ask):
    said, listed = await ask("cron", "next", entry, "--count", "2"), (await ask("cron", "next", entry, "--json")).json

    minutes = [datetime.fromisoformat(text) for text in listed]
    assert len(minutes) == 5
    assert minutes == Cron(WHEN, "Europe/Berlin").between(datetime.now(UTC), minutes[-1], 99)
    assert said.lines[0] == "At 03:00 on February 29, Europe/Berlin"
    assert [line[:20] for line in said.lines[1:]] == [f"{minute:%Y-%m-%d %H:%M:%S} " for minute in minutes[:2]]


async def test_an_entry_that_nobody_declares_any_more_is_stale_and_not_run(
    app: Tenuto, entry: str, ask: Ask, database_url: str
):
    await app.stop()
    schema = "" if database_url.startswith("sqlite") else "tenuto."
    run_script(database_url, f"update {schema}crons set known_until = done_until")

    listed, refused = await ask("cron", "list"), await ask("cron", "run", entry)

    assert "stale" in listed.out
    assert (refused.code, refused.err) == (
        2,
        "tenuto: no live node declares the cron entry 'weekly'; start one that does\n",
    )


@pytest.mark.parametrize("command", ["pause", "resume", "run", "next"])
async def test_an_entry_that_is_not_there_is_refused_by_name(store: Tenuto, ask: Ask, command: str):
    said = await ask("cron", command, "weakly")

    assert (said.code, said.err) == (
        2,
        "tenuto: no cron entry is named 'weakly'; tenuto cron list shows those there are\n",
    )


async def test_at_a_terminal_a_line_is_as_wide_as_it(entry: str, database_url: str):
    seen = await asyncio.to_thread(on_a_terminal, "--url", database_url, "cron", "list")

    lines = re.sub(r"\x1b\[[\d;]*m", "", seen).splitlines()
    assert [len(line) <= 80 for line in lines] == [True, True]
