"""The command line, asked in this process: what it prints, what it changes, and how it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from typer.testing import CliRunner

import tenuto
from tenuto import Tenuto, Workflow
from tenuto.cli.root import root
from tests.conftest import OpenApp
from tests.kit import Obey, ToldTo, drain, eventually, finish

ROOT = Path(__file__).parent.parent.parent
NOBODY = "01900000-0000-7000-8000-000000000000"
SECRET = "geheim"


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Ask = Callable[..., Any]


def run(*args: str, given: str | None = None) -> Said:
    result = CliRunner().invoke(root, list(args), input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and an environment that says nothing of Tenuto."""
    monkeypatch.chdir(tmp_path)
    for name in ("TENUTO_URL", "TENUTO_SCHEMA", "TENUTO_QUEUES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ask(database_url: str) -> Ask:
    """Run a command on the test's database; awaited, since the command has an event loop of its own."""

    async def ask_one(*args: str, **options: Any) -> Said:
        return await asyncio.to_thread(run, "--url", database_url, *args, **options)

    return ask_one


@pytest.fixture
async def store(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing, to put jobs where commands find them."""
    return await open_app()


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


@pytest.mark.parametrize("args", [[], ["jobs"], ["queues"], ["workflows"]])
def test_without_a_command_it_tells_which_there_are(args):
    said = run(*args)

    assert "Commands:" in said.out + said.err


def test_python_m_tenuto_is_the_same():
    ran = subprocess.run(
        [sys.executable, "-m", "tenuto", "version", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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


# ── migrate ───────────────────────────────────────────────────────────────────────────────────────


async def test_migrate_makes_the_tables_once_and_says_so(ask, database_url):
    first, second = await ask("migrate"), await ask("migrate")

    assert first.out.endswith(": migrated to version 1\n")
    assert second.out.endswith(": up to date, nothing to run\n")
    async with Tenuto(database_url) as app:
        assert await app.find() == []


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


def run_script(url: str, script: str) -> None:
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as line:
            line.execute(script)  # type: ignore[arg-type]


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
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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


# ── jobs list, jobs show ──────────────────────────────────────────────────────────────────────────


async def test_jobs_are_listed_newest_first_page_by_page(store, ask):
    jobs = [await store.enqueue(Obey.ok()) for _ in range(3)]
    newest_first = [job.id for job in reversed(jobs)]

    page = (await ask("jobs", "list", "--limit", "2", "--json")).json
    rest = (await ask("jobs", "list", "--limit", "2", "--before", page[-1]["id"], "--json")).json

    assert [job["id"] for job in page + rest] == newest_first


async def test_jobs_are_listed_by_every_filter(store, ask):
    flow = Workflow()
    flow.add("a", Obey.ok())
    await store.enqueue(flow)
    mail = await store.enqueue(Obey.ok(queue="mail", tags=["bulk"]))
    later = await store.enqueue(Obey.ok(schedule_in=60))

    async def found(*filters: str) -> list[str]:
        return [job["id"] for job in (await ask("jobs", "list", *filters, "--json")).json]

    assert await found("--queue", "mail", "--worker", "obey") == [mail.id]
    assert await found("--tag", "bulk") == [mail.id]
    assert await found("--workflow", flow.id) == [flow.jobs["a"].id]
    assert await found("--state", "scheduled") == [later.id]
    assert len(await found("--state", "scheduled", "--state", "available")) == 3


async def test_args_are_shown_with_the_job_and_never_in_a_list(store, ask):
    job = await store.enqueue(Obey.value(SECRET))

    listed, as_json = await ask("jobs", "list"), await ask("jobs", "list", "--json")
    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert job.id in listed.out
    assert SECRET not in listed.out + as_json.out
    assert SECRET in shown.out
    assert whole.json["args"]["value"] == SECRET


async def test_a_list_for_a_pipe_is_plain_and_nothing_is_cut(store, ask):
    name = "q" * 100
    await store.enqueue(Obey.ok(queue=name))

    head, line = (await ask("jobs", "list")).lines

    assert head.split() == ["ID", "STATE", "TRY", "WHEN", "QUEUE", "WORKER"]
    assert line.split()[-2:] == [name, "obey"]
    assert line == line.rstrip()
    assert line.isprintable()


async def test_nothing_to_list_is_said_beside_the_answer(store, ask):
    said = await ask("jobs", "list")

    assert (said.code, said.out, said.err) == (0, "", "tenuto: no job fits\n")


async def test_a_failed_job_is_shown_with_its_traceback(app, ask):
    job = await app.enqueue(Obey.fail("the disk is full"))
    await drain(app)

    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert "✗ discarded" in shown.out
    assert "ToldTo: the disk is full" in shown.out
    assert "Traceback (most recent call last)" in shown.out
    (error,) = whole.json["errors"]
    assert (error["type"], error["message"], error["attempt"]) == (ToldTo.__name__, "the disk is full", 1)
    assert whole.json["worker_is_known"] is True


async def test_a_step_is_shown_with_its_workflow_what_it_waits_for_and_its_result(app, ask):
    flow = Workflow("report")
    flow.add("quick", Obey.value({"rows": 3}))
    flow.add("slow", Obey.snooze(60))
    flow.add("join", Obey.ok(), deps=["quick", "slow"])
    await app.enqueue(flow)
    await drain(app)

    quick, join = await ask("jobs", "show", flow.jobs["quick"].id), await ask("jobs", "show", flow.jobs["join"].id)
    whole = await ask("jobs", "show", flow.jobs["join"].id, "--json")

    assert f"step quick of report {flow.id}" in quick.out
    assert '{"rows": 3}' in quick.out
    assert [line.split() for line in join.lines if "waits" in line] == [["waits", "for", "slow"]]
    assert (whole.json["step"], whole.json["workflow_name"]) == ("join", "report")
    assert whole.json["deps"] == ["quick", "slow"]


async def test_a_job_whose_worker_no_live_node_knows_says_so(store, ask):
    job = await store.enqueue(Obey.ok())

    said, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert "no live node knows the worker obey" in said.err
    assert whole.json["worker_is_known"] is False


# ── jobs cancel, retry, delete ────────────────────────────────────────────────────────────────────


async def test_jobs_are_cancelled_retried_and_deleted_by_id(store, ask):
    one, two, other = [await store.enqueue(Obey.ok()) for _ in range(3)]

    cancelled = await ask("jobs", "cancel", one.id, two.id)
    retried = await ask("jobs", "retry", one.id)
    deleted = await ask("jobs", "delete", two.id)

    assert sorted(cancelled.lines) == sorted([one.id, two.id])
    assert (retried.lines, deleted.lines) == ([one.id], [two.id])
    assert {job.id for job in await store.find(state="available")} == {one.id, other.id}


async def test_a_filter_changes_the_jobs_that_fit_and_no_other(store, ask):
    mail = [await store.enqueue(Obey.ok(queue="mail")) for _ in range(3)]
    other = await store.enqueue(Obey.ok())

    said = await ask("jobs", "cancel", "--queue", "mail")

    assert sorted(said.lines) == sorted(job.id for job in mail)
    assert (await store.fetch(other)).state == "available"


async def test_a_job_that_was_named_and_not_changed_says_why(store, ask):
    job = await store.enqueue(Obey.ok())

    said = await ask("jobs", "retry", job.id)

    assert (said.code, said.out) == (0, "")
    assert said.err == f"tenuto: job {job.id} is available: retry changes nothing\n"


async def test_a_filter_that_changes_nothing_says_so(store, ask):
    said = await ask("jobs", "cancel", "--queue", "mail")

    assert (said.code, said.out, said.err) == (0, "", "tenuto: no job that fits can be changed by cancel\n")


async def test_a_retried_step_keeps_its_result_when_asked_to(app, ask):
    flow = Workflow()
    flow.add("a", Obey.store("kept", then="fail", max_attempts=1))
    await finish(app, flow)

    await ask("jobs", "retry", flow.jobs["a"].id, "--keep-results")

    status = await app.workflow(flow.id).wait(timeout=20)
    assert (status.outcome, await app.workflow(flow.id).result("a")) == ("completed", "kept")


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 11), (b"y\n", 0)])
async def test_a_person_is_asked_before_a_filter_changes_many_jobs(store, database_url, answer, left):
    await store.enqueue([Obey.ok(queue="mail") for _ in range(11)])

    said = await asyncio.to_thread(at_a_terminal, answer, "--url", database_url, "jobs", "delete", "--queue", "mail")

    assert "More than 10 jobs fit. Delete all of them? [y/N]" in said
    assert len(await store.find()) == left


async def test_nobody_is_asked_who_said_yes_or_changes_few(store, database_url):
    await store.enqueue([Obey.ok(queue="mail") for _ in range(11)])
    await store.enqueue(Obey.ok(queue="few"))

    for args in (["--queue", "mail", "--yes"], ["--queue", "few"]):
        await asyncio.to_thread(at_a_terminal, b"", "--url", database_url, "jobs", "delete", *args)

    assert await store.find() == []


def at_a_terminal(answer: bytes, *args: str) -> str:
    """What it writes to stderr for somebody who sits at a terminal and types `answer`."""
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "tenuto", *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, stdin=theirs, env=env, capture_output=True, text=True, timeout=30, check=False)
    os.close(ours)
    os.close(theirs)
    return ran.stderr + ran.stdout


# ── queues ────────────────────────────────────────────────────────────────────────────────────────


async def queue_of(ask: Ask, name: str) -> dict[str, Any]:
    return next(queue for queue in (await ask("queues", "list", "--json")).json if queue["name"] == name)


async def test_queues_are_listed_with_their_jobs_and_the_nodes_that_work_on_them(app, ask):
    await app.enqueue([Obey.ok(queue="mail"), Obey.ok(queue="mail", schedule_in=60)])

    mail, default = await queue_of(ask, "mail"), await queue_of(ask, "default")

    assert (mail["jobs"]["available"], mail["jobs"]["scheduled"], mail["jobs"]["completed"]) == (1, 1, 0)
    assert mail["oldest_available"] is not None
    assert (len(mail["nodes"]), len(default["nodes"])) == (0, 1)
    head, *lines = (await ask("queues", "list")).lines
    assert head.split() == ["QUEUE", "NODES", "AVAIL", "SCHED", "OLDEST", "ASKED"]
    assert [line.split()[:4] for line in lines] == [["default", "1", "0", "0"], ["mail", "0", "1", "1"]]


async def test_what_is_asked_of_a_queue_is_obeyed_kept_and_listed(app, ask):
    assert (await ask("queues", "pause", "default")).out == "default paused on every node\n"
    await ask("queues", "scale", "default", "3")
    job = await app.enqueue(Obey.ok())

    asked = await queue_of(ask, "default")
    assert (asked["paused"], asked["slots"], (await app.fetch(job)).state) == (True, 3, "available")
    assert "paused, 3 slots" in (await ask("queues", "list")).out

    await ask("queues", "scale", "default", "--forget")
    await ask("queues", "resume", "default")
    asked = await queue_of(ask, "default")
    assert (asked["paused"], asked["slots"]) == (False, None)
    await drain(app)


async def test_a_queue_is_started_and_stopped_on_nodes_that_run(app, ask):
    await ask("queues", "start", "mail", "2")
    job = await app.enqueue(Obey.ok(queue="mail"))
    await eventually(lambda: done(app, job.id))

    await ask("queues", "stop", "mail")

    asked = await queue_of(ask, "mail")
    assert (asked["running"], asked["slots"]) == (False, 2)


async def done(app: Tenuto, id: str) -> bool:
    return (await app.fetch(id)).state == "completed"


async def test_one_node_can_be_asked_alone(open_app, ask):
    await open_app(queues={"default": 1}, node="web-1")

    said = await ask("queues", "pause", "default", "--node", "web-1")

    asked = await queue_of(ask, "default")
    assert (said.out, said.err) == ("default paused on web-1\n", "")
    assert (asked["paused"], [(one["node"], one["paused"]) for one in asked["asked_of_nodes"]]) == (
        False,
        [("web-1", True)],
    )


async def test_asking_a_queue_or_a_node_that_nobody_knows_is_kept_and_doubted(app, ask):
    queue = await ask("queues", "pause", "defualt")
    node = await ask("queues", "pause", "default", "--node", "web-9")

    assert (queue.code, queue.err) == (
        0,
        "tenuto: no live node works on defualt; the setting is kept for when one comes\n",
    )
    assert "no live node is named web-9" in node.err


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


async def failed_report(app: Tenuto) -> Workflow:
    flow = Workflow("report")
    flow.add("fetch", Obey.value({"rows": 3}))
    flow.add("count", Obey.count(), deps=["fetch"])
    flow.add("check", Obey.fail("too few rows"), deps=["fetch"])
    flow.add("send", Obey.ok(), deps=["count", "check"])
    await finish(app, flow)
    return flow


async def test_workflows_are_listed_newest_first_by_state_and_name(app, ask):
    running = Workflow("running")
    running.add("a", Obey.snooze(60))
    await app.enqueue(running)
    failed = await failed_report(app)

    every = (await ask("workflows", "list", "--json")).json
    by_state = (await ask("workflows", "list", "--state", "running", "--json")).json
    by_name = (await ask("workflows", "list", "--name", "report", "--json")).json

    assert [flow["id"] for flow in every] == [failed.id, running.id]
    assert ([flow["id"] for flow in by_state], [flow["id"] for flow in by_name]) == ([running.id], [failed.id])
    assert (every[0]["outcome"], every[0]["total"], every[0]["unfinished"]) == ("failed", 4, 0)
    lines = (await ask("workflows", "list")).lines
    assert [line.split()[1:5] for line in lines[1:]] == [
        ["report", "✗", "failed", "4/4"],
        ["running", "▶", "running", "0/1"],
    ]


async def test_a_workflow_is_shown_as_a_tree_with_results_and_reasons(app, ask):
    flow = await failed_report(app)

    said = await ask("workflows", "show", flow.id)

    assert said.code == 0
    assert said.lines[0] == f"✗ report  {flow.id}  failed"
    assert "4 of 4 steps, 1 cancelled, 1 discarded" in said.lines[1]
    tree = said.lines[3:]
    assert [line.split("  ")[0] for line in tree] == ["✓ fetch", "├─ ✓ count", "└─ ✗ check", ""]
    assert "└─ ⊘ send  ← count" in tree[3]
    assert [tree[0].endswith('{"rows": 3}'), tree[2].endswith("ToldTo: too few rows"), "check" in tree[3]] == [True] * 3


async def test_a_workflow_as_json_has_every_step(app, ask):
    flow = await failed_report(app)

    whole = (await ask("workflows", "show", flow.id, "--json")).json

    fetch, _, check, send = whole["steps"]
    assert (whole["outcome"], whole["duration"] > 0, whole["discarded"]) == ("failed", True, 1)
    assert (fetch["name"], fetch["result"], fetch["job_id"]) == ("fetch", {"rows": 3}, flow.jobs["fetch"].id)
    assert (check["error"]["message"], send["fate"], send["deps"]) == ("too few rows", "cancelled", ["count", "check"])


async def test_a_large_workflow_is_shown_in_a_page_unless_all_is_asked_for(store, ask):
    flow = Workflow()
    flow.add("first", Obey.ok())
    for number in range(999):
        flow.add(f"part-{number}", Obey.ok(), deps=["first"])
    await store.enqueue(flow)

    page, every = await ask("workflows", "show", flow.id), await ask("workflows", "show", flow.id, "--all")

    assert len(page.lines) < 66
    assert "more, all suspended" in page.lines[-1]
    assert len(every.lines) == 1003


async def test_watching_a_workflow_ends_with_it_and_tells_how_it_went(app, ask):
    well, badly = Workflow("well"), Workflow("badly")
    well.add("a", Obey.snooze(0.5, times=1))
    badly.add("a", Obey.fail())
    await app.enqueue(well)
    await app.enqueue(badly)

    watched = [await ask("workflows", "watch", flow.id) for flow in (well, badly)]
    as_json = await ask("workflows", "watch", badly.id, "--json")

    assert [said.code for said in (*watched, as_json)] == [0, 1, 1]
    assert "✓ well" in watched[0].out
    assert as_json.json["outcome"] == "failed"


async def test_a_terminal_gets_colours_and_a_live_tree(app, database_url):
    flow = Workflow("report")
    flow.add("a", Obey.snooze(0.5, times=1))
    await app.enqueue(flow)

    seen = await asyncio.to_thread(on_a_terminal, "--url", database_url, "workflows", "watch", flow.id)

    assert "\x1b[36m▶ \x1b[0m" in seen  # running, in cyan
    assert "\x1b[32m✓ \x1b[0m" in seen  # and later completed, in green
    assert "\x1b[?25l" in seen  # drawn in place: the cursor is hidden


def on_a_terminal(*args: str) -> str:
    """What it writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, "-m", "tenuto", *args], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    process.wait(timeout=30)
    os.close(ours)
    return seen.decode()


async def test_a_reader_that_goes_away_is_no_error(store, database_url):
    await store.enqueue([Obey.ok() for _ in range(200)])
    command = f"{sys.executable} -m tenuto --url '{database_url}' jobs list --limit 200 | head -1"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    ran = await asyncio.to_thread(
        subprocess.run, command, shell=True, env=env, capture_output=True, text=True, check=False
    )

    assert ran.stdout.startswith("ID")
    assert ran.stderr == ""


# ── doctor ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_doctor_finds_nothing_where_all_is_well(app, ask):
    await app.enqueue(Obey.snooze(60))
    await drain(app)

    said = await ask("doctor")

    assert said.code == 0
    assert all(line.startswith("✓ ") for line in said.lines)
    assert [finding["is_well"] for finding in (await ask("doctor", "--json")).json] == [True] * len(said.lines)


async def test_the_doctor_names_workers_that_no_live_node_knows(store, ask):
    await store.enqueue([Obey.ok(), Obey.ok()])

    said, as_json = await ask("doctor"), await ask("doctor", "--json")

    assert (said.code, as_json.code) == (1, 1)
    assert (
        "✗ every unfinished job's worker is known to a live node\n    obey  2 unfinished jobs\n  → start a node"
        in said.out
    )
    assert as_json.json[-1]["broken"] == [{"id": "obey", "detail": "2 unfinished jobs"}]


async def test_the_doctor_finds_what_breaks_a_promise(store, ask, database_url):
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps=["a"])
    await store.enqueue(flow)
    schema = "" if database_url.startswith("sqlite") else "tenuto."
    run_script(database_url, f"update {schema}jobs set waiting_on = 2 where state = 'suspended'")

    said = await ask("doctor")

    assert said.code == 1
    assert "✗ a suspended step waits for the needs it says" in said.out
    assert flow.jobs["b"].id in said.out


async def test_the_doctor_tells_how_every_live_node_feels(open_app, ask):
    await open_app(queues={"default": 1, "mail": 2}, node="web-1")

    said, as_json = await ask("doctor", "--node"), (await ask("doctor", "--node", "--json")).json

    assert said.code == 0
    assert "web-1:" in said.out
    assert "default, mail" in said.out
    assert said.lines[-1] == "no job is due"
    (node,) = as_json["nodes"]
    assert (node["queues"], as_json["oldest_available"]) == (["default", "mail"], None)
    assert "obey" in node["workers"]
