"""`tenuto work` as real processes: which app it finds, how it starts, what a signal does, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tenuto import Job, Tenuto
from tenuto.definition import forget, registered
from tests.conftest import OpenApp
from tests.kit import eventually

ROOT = Path(__file__).parent.parent.parent
JOBS = """
import asyncio, threading, time
from tenuto import job

@job
async def greet(name: str) -> str:
    return f"hello {name}"

@job(queue="slow")
async def last(seconds: float) -> None:
    await asyncio.sleep(seconds)

@job
def never_ends() -> None:
    threading.Event().wait()

@job
async def deaf() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@job
async def in_a_pool() -> None:
    await asyncio.to_thread(threading.Event().wait)
"""

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what happens in the process alone: the database makes no difference."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """A folder with a module of jobs."""
    (tmp_path / "shop.py").write_text(JOBS)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def refused(folder: Path, *args: str, **env: str) -> tuple[int, str]:
    """The code and the words with which `tenuto work` refuses."""
    command = [sys.executable, "-m", "tenuto", "work", *args]
    ran = subprocess.run(
        command, cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=30, check=False
    )
    return ran.returncode, ran.stderr


class Worker:
    """A process that works, and what it logged so far."""

    def __init__(self, folder: Path, *args: str, **env: str) -> None:
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "tenuto", "work", *args]
            self.process = subprocess.Popen(command, cwd=folder, env=environment(**env), stderr=log)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.said.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line.get("event") == name]

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Send it a signal; the instant, monotonic."""
        self.process.send_signal(number)
        return time.monotonic()

    async def ended(self) -> int:
        """Its code, once it has ended."""
        return await asyncio.to_thread(self.process.wait, 20)


Start = Callable[..., Worker]


@pytest.fixture
def start(folder: Path, database_url: str) -> Iterator[Start]:
    """Start `tenuto work` on the test's database, with JSON logs; what still runs at the end is killed."""
    workers: list[Worker] = []

    def start_one(target: str = "shop", *args: str, **env: str) -> Worker:
        workers.append(Worker(folder, target, "--url", database_url, "--json-logs", *args, **env))
        return workers[-1]

    yield start_one
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()


@pytest.fixture
async def store(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing, to hand jobs to the processes."""
    return await open_app()


@pytest.fixture
async def jobs(folder: Path) -> AsyncIterator[Any]:
    """The module of jobs, here, to make jobs of."""
    names: dict[str, Any] = {"__name__": "shop"}
    before = set(registered())
    code = compile(JOBS, str(folder / "shop.py"), "exec")
    exec(code, names)
    yield type("shop", (), names)
    for name in set(registered()) - before:
        forget(name)


def has_begun(worker: Worker, job: Job[Any, Any]) -> bool:
    """Whether its code runs; its row says so a moment before, when the process may not know of it yet."""
    return any(event["job"]["id"] == job.id for event in worker.events("job.start"))


async def is_done(store: Tenuto, job: Job[Any, Any]) -> bool:
    return (await store.fetch(job)).state == "completed"


# ── work, and the end of it ───────────────────────────────────────────────────────────────────────


async def test_it_works_until_sigterm_and_leaves_with_code_0(start, store, jobs):
    worker = start()
    job = await store.enqueue(jobs.greet.new("you"))
    await eventually(lambda: is_done(store, job))

    worker.signal()

    assert await worker.ended() == 0
    assert [event["job"]["id"] for event in worker.events("job.stop")] == [job.id]
    assert await store.nodes() == ()


async def test_a_running_job_may_end_within_the_grace(start, store, jobs):
    worker = start("shop", "--grace", "10")
    job = await store.enqueue(jobs.last.new(1.0))
    await eventually(lambda: has_begun(worker, job))

    worker.signal()

    assert await worker.ended() == 0
    assert (await store.fetch(job)).state == "completed"


async def test_what_outlasts_the_grace_is_released_with_no_attempt_spent(start, store, jobs):
    worker = start("shop", "--grace", "0.2")
    job = await store.enqueue(jobs.last.new(60.0))
    await eventually(lambda: has_begun(worker, job))

    worker.signal(signal.SIGINT)

    assert await worker.ended() == 0
    released = await store.fetch(job)
    assert (released.state, released.attempt) == ("available", 0)


async def test_a_second_signal_hurries(start, store, jobs):
    worker = start("shop", "--grace", "60")
    job = await store.enqueue(jobs.last.new(60.0))
    await eventually(lambda: has_begun(worker, job))

    worker.signal()
    await eventually(lambda: not pending(worker))
    began = worker.signal()

    assert await worker.ended() == 0
    assert time.monotonic() - began < 10
    assert (await store.fetch(job)).state == "available"


def pending(worker: Worker) -> bool:
    """Whether a signal has not reached it yet; two that are sent at once would be one."""
    status = Path(f"/proc/{worker.process.pid}/status")
    masks = status.read_text().split() if status.exists() else []
    return any(int(mask, 16) for name, mask in pairwise(masks) if name in ("SigPnd:", "ShdPnd:"))


@ON_SQLITE
@pytest.mark.parametrize("name", ["never_ends", "deaf", "in_a_pool"])
async def test_a_job_that_never_ends_does_not_keep_the_process_alive(start, store, jobs, name):
    worker = start("shop", "--grace", "0.2")
    job = await store.enqueue(getattr(jobs, name).new())
    await eventually(lambda: has_begun(worker, job))

    began = worker.signal()

    assert await worker.ended() == 0
    assert time.monotonic() - began < 10
    released = await store.fetch(job)
    assert (released.state, released.attempt) == ("available", 0)


async def test_two_processes_share_the_work_and_each_job_runs_once(start, store, jobs):
    workers = [start("shop", "--queues", "slow=2", "--node", f"n{number}") for number in (1, 2)]
    await eventually(lambda: both_live(store))
    sent = await store.enqueue([jobs.last.new(0.2) for _ in range(20)])
    await eventually(lambda: all_done(store, len(sent)))

    for worker in workers:
        worker.signal()

    assert [await worker.ended() for worker in workers] == [0, 0]
    ran = [[event["job"]["id"] for event in worker.events("job.start")] for worker in workers]
    assert sorted(ran[0] + ran[1]) == sorted(job.id for job in sent)
    assert all(ran)


async def both_live(store: Tenuto) -> bool:
    return len(await store.nodes()) == 2


async def all_done(store: Tenuto, count: int) -> bool:
    return (await store.counts()).get("slow", {}).get("completed", 0) == count


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


async def test_the_first_line_says_who_works_on_what_and_where(start, store, database_url):
    worker = start("shop", "--queues", "default=3,mail=5", "--node", "web-1")
    (line,) = await eventually(lambda: worker.events("work"))

    assert line["node"].startswith("web-1:")
    assert line["queues"] == {"default": 3, "mail": 5}
    assert line["workers"] == [f"shop.{name}" for name in ("deaf", "greet", "in_a_pool", "last", "never_ends")]
    assert line["database"].startswith("SQLite" if database_url.startswith("sqlite") else "PostgreSQL 127.0.0.1:")
    assert "tenuto:" not in worker.said  # the user and the password of the tests' server


@ON_SQLITE
async def test_logs_for_people_have_a_line_for_each_event_and_no_args(folder, database_url, store, jobs):
    worker = Worker(folder, "shop", "--url", database_url)
    job = await store.enqueue(jobs.greet.new("a secret"))
    try:
        await eventually(lambda: f"job.stop     shop.greet {job.id} state=completed" in worker.said)
    finally:
        worker.signal()
        await worker.ended()

    assert "INFO    work         " in worker.said
    assert "secret" not in worker.said


@ON_SQLITE
async def test_a_higher_level_is_quieter(start, store, jobs):
    worker = start("shop", "--log-level", "warning")
    job = await store.enqueue(jobs.greet.new("you"))
    await eventually(lambda: is_done(store, job))

    worker.signal()
    await worker.ended()

    assert worker.events("job.stop") == worker.events("work") == []


# ── which app ─────────────────────────────────────────────────────────────────────────────────────


async def queues_of(store: Tenuto) -> list[str]:
    """The queues of the one node there is."""
    nodes = await eventually(store.nodes)
    return sorted(nodes[0].queues)


async def test_without_any_setting_it_works_on_the_queues_that_its_workers_name(start, store):
    start()

    assert await queues_of(store) == ["default", "slow"]


@ON_SQLITE
async def test_settings_name_the_queues_where_no_option_does(start, store):
    start(TENUTO_QUEUES="mail=2")

    assert await queues_of(store) == ["mail"]


@ON_SQLITE
async def test_the_app_of_the_module_is_used_with_its_own_queues(start, store, folder):
    (folder / "web.py").write_text(
        "from shop import greet\nfrom tenuto import Tenuto\napp = Tenuto('sqlite:///unused.db', queues={'a': 1})\n"
    )

    start("web")

    assert await queues_of(store) == ["a"]
    assert not (folder / "unused.db").exists()


@ON_SQLITE
async def test_one_of_several_apps_is_named_and_options_win_over_what_it_says(start, store, folder):
    (folder / "web.py").write_text(
        "from shop import greet\nfrom tenuto import Tenuto\n"
        "one, two = Tenuto(queues={'a': 1}), Tenuto(queues={'b': 1})\n"
    )

    start("web:two", "--queues", "c=1")

    assert await queues_of(store) == ["c"]


@ON_SQLITE
async def test_a_job_finds_the_app_of_its_module_open(start, store, folder, jobs):
    (folder / "shop.py").write_text(
        "from tenuto import Tenuto, job\napp = Tenuto(queues={'default': 2})\n"
        "@job\nasync def greet(name: str) -> None:\n    await app.enqueue(follow.new())\n"
        "@job\nasync def follow() -> None: ...\n"
    )
    start()
    await store.enqueue(jobs.greet.new("you"))

    await eventually(lambda: two_completed(store))


async def two_completed(store: Tenuto) -> bool:
    return len(await store.find(state="completed")) == 2


BLOCKING = """
from tenuto import blocking, job
app = blocking.Tenuto("sqlite:///unused.db", name="shop", queues={"default": 2}, sizes={"args": 100})

@job
def greet(name: str) -> None:
    app.enqueue(follow.new(app.name, dict(app.config.queues)))

@job(recorded=True)
def follow(name: str, queues: dict) -> list:
    return [name, queues, blocking.current_app().name, blocking.current_app().config.sizes.args]
"""


@ON_SQLITE
@pytest.mark.parametrize("target", ["shop", "shop:app"])
async def test_an_app_that_blocks_has_another_one_work_like_it_and_serves_its_jobs(start, store, folder, jobs, target):
    (folder / "shop.py").write_text(BLOCKING)
    start(target)
    await store.enqueue(jobs.greet.new("you"))

    await eventually(lambda: two_completed(store))

    (followed,) = [each for each in await store.find() if each.worker == "shop.follow"]
    assert await store.recorded(followed) == ["shop", {}, "shop", 100]
    assert await queues_of(store) == ["default"]
    assert not (folder / "unused.db").exists()


@ON_SQLITE
async def test_an_app_that_blocks_works_in_several_processes(start, store, folder, jobs):
    (folder / "shop.py").write_text(BLOCKING)
    start("shop", "--processes", "2")

    await eventually(lambda: both_live(store))

    assert await queues_of(store) == ["default"]


# ── what it refuses (no database is asked) ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "module", "told"),
    [
        ("nowhere", "", "there is no module 'nowhere' in this folder"),
        ("mine.nowhere", "", "there is no module 'mine.nowhere'"),
        ("mine", "import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing' (mine.py, line 1)"),
        ("mine", "x = (", "SyntaxError: '(' was never closed (mine.py, line 1)"),
        ("mine", "\nraise SystemExit(3)", "mine cannot be imported: SystemExit: 3 (mine.py, line 2)"),
        ("mine", "x = 1", "mine holds no Tenuto app and defines no job"),
        ("mine:app", "x = 1", "mine:app should be a Tenuto app, and there is none"),
        ("mine:x", "x = 1", "mine:x should be a Tenuto app, and it is of type int"),
        ("mine", "from tenuto import *\na, b = Tenuto(), Tenuto()", "mine holds 2 apps; name one of them: mine:a,"),
        (
            "mine",
            "from tenuto import Tenuto, blocking\na, b = Tenuto(), blocking.Tenuto()",
            "mine holds 2 apps; name one of them: mine:a,",
        ),
        (
            "mine:app",
            "from tenuto.blocking import Tenuto\napp = Tenuto()\napp.start()",
            "mine:app cannot be set up to work: the app is open; its settings can be changed before that",
        ),
        ("", "", "'' is no module's whole name"),
        (":app", "", "'' is no module's whole name"),
        ("..mine", "", "'..mine' is no module's whole name"),
        ("mine.py", "", "'mine.py' is a file; give the module: tenuto work mine"),
        ("mine", "from tenuto import *\napp = Tenuto('mysql://x')", "mine cannot be imported: InvalidUrl: a URL"),
    ],
)  # fmt: skip
def test_a_module_it_cannot_use_is_refused_in_a_line(folder, target, module, told):
    (folder / "mine.py").write_text(module)

    code, said = refused(folder, target)

    assert code == 2
    assert told in said
    assert said.count("\n") == 1


def test_a_wrong_setting_is_refused_by_its_name(folder):
    code, said = refused(folder, "shop", "--queues", "default=many")

    assert (code, said.count("\n")) == (2, 1)
    assert "queue 'default' has 'many' slots; write default=10" in said


def test_a_postgres_without_tables_names_the_command_to_run(folder, postgres):
    with postgres.database() as url:
        code, said = refused(folder, "shop", "--url", url)

    assert (code, said) == (2, "tenuto: the database has no tables of Tenuto yet; run: tenuto migrate\n")
