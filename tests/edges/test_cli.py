"""The command line as a whole: global options, tables, and how it leaves when it cannot do what is asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from typer.main import get_command

import tenuto
from tenuto import KeyRing, Tenuto
from tenuto.cli.root import root
from tests.edges.terminal import NOBODY, SECRET, environment, run, run_script
from tests.kit import Obey
from tests.storage.build import EVERY_VERSION

pytestmark = pytest.mark.usefixtures("folder")


# ── the root ──────────────────────────────────────────────────────────────────────────────────────


def test_version_tells_what_tenuto_stands_on():
    said = run("version", "--json")

    assert said.json == {
        "tenuto": tenuto.__version__,
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "psycopg": psycopg.__version__,
    }
    assert [line.split()[0] for line in run("version").lines] == list(said.json)


@pytest.mark.parametrize("args", [[], ["jobs"], ["queues"], ["workflows"], ["cron"]])
def test_without_a_command_it_tells_which_there_are(args):
    said = run(*args)

    assert "Commands:" in said.out + said.err


def test_python_m_tenuto_is_the_same():
    ran = subprocess.run(
        [sys.executable, "-m", "tenuto", "version", "--json"],
        env=environment(),
        capture_output=True,
        check=True,
    )

    assert json.loads(ran.stdout) == run("version", "--json").json


async def test_global_options_may_stand_anywhere(store, database_url):
    job = await store.enqueue(Obey.ok())

    for args in (
        ["--url", database_url, "jobs", "list"],
        ["jobs", "list", f"--url={database_url}", "--schema", "tenuto"],
    ):
        said = await asyncio.to_thread(run, *args, "--json")
        assert [found["id"] for found in said.json] == [job.id]


async def test_the_database_may_come_from_the_environment(store, database_url, monkeypatch):
    monkeypatch.setenv("TENUTO_URL", database_url)

    said = await asyncio.to_thread(run, "jobs", "list", "--json")

    assert (said.code, said.json) == (0, [])


async def test_a_command_works_on_no_queue_whatever_the_settings_say(store, ask, monkeypatch):
    monkeypatch.setenv("TENUTO_QUEUES", "default=5")
    await store.enqueue(Obey.ok())

    said = await ask("jobs", "list", "--json")

    assert [job["state"] for job in said.json] == ["available"]


# ── keygen ────────────────────────────────────────────────────────────────────────────────────────


def test_keygen_prints_a_key_and_nothing_else():
    said, as_json = run("keygen"), run("keygen", "--json")

    keys = [said.out.removesuffix("\n"), as_json.json["key"]]
    assert len({*keys}) == 2
    assert (said.err, as_json.json.keys()) == ("", {"key"})
    assert [KeyRing("new", {"new": key}).ids for key in keys] == [("new",)] * 2


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join([*above, name]), command


def test_every_command_but_the_one_that_works_speaks_json():
    silent = [
        name
        for name, command in commands(get_command(root))
        if not any("--json" in option.opts for option in command.params)
    ]

    assert silent == ["work"]


# ── migrate ───────────────────────────────────────────────────────────────────────────────────────


async def test_migrate_makes_the_tables_once_and_says_so(ask, database_url):
    first, second = await ask("migrate"), await ask("migrate")

    assert first.out.endswith(f": migrated to version {', '.join(map(str, EVERY_VERSION))}\n")
    assert second.out.endswith(": up to date, nothing to run\n")
    async with Tenuto(database_url) as app:
        assert await app.find() == []


async def test_migrate_as_json_tells_the_versions_that_it_ran(ask):
    first, second = (await ask("migrate", "--json")).json, (await ask("migrate", "--json")).json

    assert (first["versions"], second["versions"]) == (EVERY_VERSION, [])
    assert first["database"] == second["database"]
    assert "create table" in (await ask("migrate", "--sql", "--json")).json["sql"]


async def test_migrate_sql_prints_what_would_be_run_and_connects_to_nothing(ask, database_url):
    said = await ask("migrate", "--sql")

    run_script(database_url, said.out)
    async with Tenuto(database_url) as app:
        await app.enqueue(Obey.ok())
    assert (await ask("migrate")).out.endswith(": up to date, nothing to run\n")


async def test_migrate_sql_writes_the_schema_that_was_asked_for():
    said = run("--url", "postgresql://127.0.0.1:1/nowhere", "--schema", "shop", "migrate", "--sql")

    assert said.code == 0
    assert 'create table "shop".jobs' in said.out


# ── helpful exits ─────────────────────────────────────────────────────────────────────────────────


async def test_tables_of_a_newer_version_are_left_alone_and_the_command_to_run_is_named(store, ask, database_url):
    schema = "" if database_url.startswith("sqlite") else "tenuto."
    run_script(database_url, f"insert into {schema}schema (version) values (999)")

    for command in (["jobs", "list"], ["migrate"]):
        said = await ask(*command)
        assert said.code == 2
        assert "pip install --upgrade tenuto" in said.err


def test_a_postgres_without_tables_names_the_command_to_run(postgres):
    with postgres.database() as url:
        said = run("--url", url, "jobs", "list")

    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "run: tenuto migrate" in said.err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"mysql://me:{SECRET}@db/x", "a URL begins with sqlite:/// or postgresql://, and this one with 'mysql'"),
        (f"me:{SECRET}@db/x", "a URL begins with"),
        (f"postgresql://me:{SECRET}@[db/x", "this is no PostgreSQL URL"),
        (f"postgresql://me:{SECRET}@127.0.0.1:1/x", "connection failed"),
        (f"postgresql://me:a@{SECRET}@127.0.0.1:1/x", "this is no PostgreSQL URL"),
        (f"postgresql://me:{SECRET}/b@127.0.0.1:1/x", "this is no PostgreSQL URL"),
        ("sqlite:///nowhere.db", "there is no database at nowhere.db; name one with --url or TENUTO_URL"),
        ("sqlite://", "an SQLite URL names a file"),
        ("sqlite:///no.db", "file is not a database"),
    ],
)
def test_a_database_that_cannot_be_asked_is_told_in_a_line_without_its_password(folder, url, told):
    (folder / "no.db").write_text("no database")

    said = run("--url", url, "jobs", "list")

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err
    assert SECRET not in said.err
    assert not (folder / "nowhere.db").exists()


def test_a_missing_extra_is_named():
    without = "import sys; sys.modules['psycopg'] = None; from tenuto.cli import main; main()"

    ran = subprocess.run(
        [sys.executable, "-c", without, "--url", "postgresql://127.0.0.1:1/x", "jobs", "list"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (2, "tenuto: PostgreSQL needs an extra: pip install 'tenuto[postgres]'\n")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["jobs", "show", NOBODY], f"no job has the id {NOBODY}"),
        (["jobs", "cancel", NOBODY], f"no job has the id {NOBODY}"),
        (["workflows", "show", NOBODY], f"no workflow has the id {NOBODY}"),
        (["workflows", "watch", NOBODY], f"no workflow has the id {NOBODY}"),
        (["jobs", "show", "seven"], "'seven' is no id; ids are UUIDs"),
        (["jobs", "cancel"], "cancel needs a job, an id or a filter"),
        (["jobs", "delete", NOBODY, "--queue", "mail"], "delete takes ids or a filter, not both"),
        (["queues", "scale", "mail"], "give SLOTS, or --forget"),
        (["queues", "pause", ""], "queue='' is empty"),
    ],
)
async def test_what_cannot_be_done_is_told_in_a_line(store, ask, command, told):
    said = await ask(*command)

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err
