"""`tenuto work --processes N`: one parent, which starts the others, starts them again, and stops them all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tenuto import Job, Tenuto, job
from tenuto.cli.processes import delay_after, flags
from tenuto.runtime.signals import STOPPING
from tests.conftest import OpenApp
from tests.edges.test_work import ON_SQLITE, Worker, environment, pending, refused
from tests.kit import eventually

JOBS = """
import asyncio, time
from pathlib import Path
from tenuto import job

@job(queue="slow")
async def short() -> None:
    await asyncio.sleep(0.2)

@job(queue="slow")
async def until(path: str) -> None:
    while not Path(path).exists():
        await asyncio.sleep(0.02)

@job(queue="slow")
async def block() -> None:
    while True:
        time.sleep(60)
"""
NEVER = "no-such-file"


@job(name="shop.short", queue="slow")
async def short() -> None:
    """The module's, to be enqueued from here."""


@job(name="shop.until", queue="slow")
async def until(path: str) -> None:
    """The module's: it ends when there is such a file."""


@job(name="shop.block", queue="slow")
async def block() -> None:
    """The module's: its event loop does nothing else any more."""


class Family(Worker):
    """A parent that works in several processes, and what all of them logged."""

    @property
    def children(self) -> dict[int, int]:
        """The pid of each child that was last started under its number."""
        return {start["process"]: start["pid"] for start in self.events("process.start")}

    async def at_work(self, count: int) -> dict[int, int]:
        """The children, once so many have told that they work."""
        await eventually(lambda: len(self.events("work")) == count)
        return self.children

    async def home_of(self, job: Job[Any, Any]) -> int:
        """The number of the child that began the job."""
        starts = await eventually(lambda: [each for each in self.events("job.start") if each["job"]["id"] == job.id])
        return int(starts[0]["process"])

    def end(self) -> None:
        """Kill all that still runs, the parent first."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in filter(is_alive, self.children.values()):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether that process runs; a dead one that nobody asks for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """A folder with a module of jobs."""
    (tmp_path / "shop.py").write_text(JOBS)
    return tmp_path


Start = Callable[..., Family]


@pytest.fixture
def start(folder: Path, database_url: str) -> Iterator[Start]:
    """Start `tenuto work shop` in so many processes on the test's database; all are gone at the end."""
    families: list[Family] = []

    def start_one(processes: int, *args: str, target: str = "shop", **env: str) -> Family:
        options = ("--url", database_url, "--json-logs", "--processes", str(processes), *args)
        families.append(Family(folder, target, *options, **{"TENUTO_LEASE": "2", **env}))
        return families[-1]

    yield start_one
    for family in families:
        family.end()


@pytest.fixture
async def store(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing, to hand jobs to the processes."""
    return await open_app()


async def running(store: Tenuto, count: int) -> bool:
    return len(await store.find(state="executing")) == count


# ── several nodes ─────────────────────────────────────────────────────────────────────────────────


async def test_each_process_is_a_node_of_its_own_and_jobs_spread_over_all(start, store):
    family = start(3, "--queues", "slow=1", "--node", "web-1")
    children = await family.at_work(3)
    nodes = await store.nodes()
    sent = await store.enqueue([short.new() for _ in range(15)])
    await eventually(lambda: all_done(store, len(sent)))

    assert sorted(node.node.rsplit(":", 1)[0] for node in nodes) == sorted(f"web-1:{pid}" for pid in children.values())
    ran = [(event["job"]["id"], event["process"]) for event in family.events("job.start")]
    assert sorted(id for id, _ in ran) == sorted(job.id for job in sent)
    assert {process for _, process in ran} == {1, 2, 3}


async def all_done(store: Tenuto, count: int) -> bool:
    return (await store.counts())["slow"].get("completed", 0) == count


@ON_SQLITE
async def test_one_process_is_this_very_process(start, store):
    family = start(1)
    (line,) = await eventually(lambda: family.events("work"))

    assert family.children == {}
    assert f":{family.process.pid}:" in line["node"]
    assert "process" not in line


@ON_SQLITE
async def test_what_the_url_option_says_wins_over_the_modules_app_in_every_child(start, store, folder):
    (folder / "web.py").write_text(
        "from shop import short\nfrom tenuto import Tenuto\napp = Tenuto('sqlite:///unused.db', queues={'a': 1})\n"
    )

    await start(2, target="web").at_work(2)

    assert [list(node.queues) for node in await store.nodes()] == [["a"], ["a"]]
    assert not (folder / "unused.db").exists()


@ON_SQLITE
async def test_a_line_for_people_begins_with_the_number_of_its_process(folder, database_url, store):
    family = Family(folder, "shop", "--url", database_url, "--processes", "2")
    try:
        await eventually(lambda: family.said.count("work  ") == 2)
    finally:
        family.signal()
        await family.ended()

    marks = {line.split()[1] for line in family.said.splitlines() if " work " in line}
    assert marks == {"#1", "#2"}
    assert "INFO    process.start process=2 pid=" in family.said


async def test_no_command_line_and_no_environment_of_a_child_holds_the_url(start, store, database_url):
    children = await start(2).at_work(2)

    secret = urlsplit(database_url).password or database_url
    for pid in children.values():
        shown = [*psutil.Process(pid).cmdline(), *psutil.Process(pid).environ().values()]
        assert "shop" in shown
        assert [word for word in shown if secret in word] == []


def test_options_go_on_as_they_were_given():
    given = {"queues": "default=2,mail=1", "node": "web 1", "grace": 0.25, "log_level": "info", "json_logs": True}

    assert flags(**given) == [
        "--queues=default=2,mail=1",
        "--node=web 1",
        "--grace=0.25",
        "--log-level=info",
        "--json-logs",
    ]
    assert flags(queues=None, grace=0.0, json_logs=False) == ["--grace=0.0"]


def test_a_file_of_this_folder_is_not_taken_for_the_standard_librarys(folder, tmp_path_factory):
    (folder / "json.py").write_text("raise SystemExit('not this one')")
    script = tmp_path_factory.mktemp("bin") / "tenuto"  # as pip makes it
    script.write_text("from tenuto.cli import main\nmain()\n")
    command = [sys.executable, str(script), "work", "nowhere", "--processes", "2", "--log-level", "warning"]
    ran = subprocess.run(
        command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )

    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "there is no module 'nowhere'" in ran.stderr


def test_the_options_of_the_interpreter_go_on_to_the_children(folder):
    (folder / "told.py").write_text(
        "import json, sys\nflags = sys.flags.optimize, sys.flags.dont_write_bytecode\n"
        "json.dump([flags, sys._xoptions, sys.warnoptions], open('told', 'w'))\n"
    )
    options = ["-OO", "-B", "-Xutf8=1", "-X", "faulthandler", "-W", "error::UserWarning", "-Wignore::ImportWarning"]
    command = [sys.executable, *options, "-m", "tenuto", "work", "told", "--processes", "2"]
    subprocess.run(command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL, timeout=30, check=False)

    assert json.loads((folder / "told").read_text()) == [
        [2, 1],
        {"utf8": "1", "faulthandler": True},
        ["error::UserWarning", "ignore::ImportWarning"],
    ]


# ── children that die ─────────────────────────────────────────────────────────────────────────────


async def test_a_killed_child_comes_back_and_its_job_runs_again(start, store, folder):
    family = start(2, "--queues", "slow=1")
    children = await family.at_work(2)
    job = await store.enqueue(until.new(str(folder / "open")))
    number = await family.home_of(job)

    os.kill(children[number], signal.SIGKILL)
    await family.at_work(3)
    (folder / "open").touch()
    await eventually(lambda: all_done(store, 1))

    (end,) = family.events("process.end")
    assert (end["level"], end["process"], end["pid"]) == ("warning", number, children[number])
    assert end["signal"] == "SIGKILL"
    assert family.events("process.delay") == []  # the first time at once
    assert is_alive(family.children[number])
    assert len(await store.nodes()) == 2


@ON_SQLITE
async def test_one_that_dies_again_and_again_is_started_again_after_a_delay(start, store):
    family = start(2)
    for born in (2, 3):
        children = await family.at_work(born)
        os.kill(children[2], signal.SIGKILL)
    await family.at_work(4)

    (delay,) = family.events("process.delay")
    assert delay["process"] == 2
    assert 0.8 <= delay["seconds"] <= 1.0


@ON_SQLITE
async def test_one_that_leaves_by_itself_is_told_with_its_code_and_started_again(start, store, folder):
    (folder / "flaky.py").write_text(
        "import os, pathlib\nfrom shop import short\nmark = pathlib.Path('mark')\n"
        "if not mark.exists():\n    mark.touch()\n    os._exit(7)\n"
    )
    family = start(2, target="flaky")
    await family.at_work(2)

    (end,) = family.events("process.end")
    assert (end["process"], end["code"]) == (1, 7)


@ON_SQLITE
async def test_a_child_that_somebody_stops_leaves_gracefully_and_another_comes(start, store, folder):
    family = start(2, "--queues", "slow=1")
    children = await family.at_work(2)
    job = await store.enqueue(until.new(str(folder / "open")))
    number = await family.home_of(job)

    os.kill(children[number], signal.SIGTERM)
    (folder / "open").touch()
    await family.at_work(3)

    assert [end["code"] for end in family.events("process.end")] == [0]
    assert (await store.fetch(job)).attempt == 1
    assert (await store.fetch(job)).state == "completed"


def test_delays_grow_to_half_a_minute_and_vary():
    longest = [max(delay_after(deaths) for _ in range(200)) for deaths in range(1, 10)]
    shortest = [min(delay_after(deaths) for _ in range(200)) for deaths in range(1, 10)]

    assert longest[0] == 0
    for high, low, bound in zip(longest[1:], shortest[1:], [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert bound * 0.8 <= low < high <= bound
    assert delay_after(100_000) <= 30


# ── the stop ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_parent_stops_all_and_what_runs_goes_back_unspent(start, store, number):
    family = start(2, "--queues", "slow=1", "--grace", "0.2")
    children = await family.at_work(2)
    jobs = await store.enqueue([until.new(NEVER) for _ in range(2)])
    await eventually(lambda: running(store, 2))

    family.signal(number)

    assert await family.ended() == 0
    assert not any(map(is_alive, children.values()))
    assert [end["code"] for end in family.events("process.end")] == [0, 0]
    assert [(each.state, each.attempt) for each in [await store.fetch(job) for job in jobs]] == [("available", 0)] * 2
    assert await store.nodes() == ()


@ON_SQLITE
async def test_a_second_signal_to_the_parent_hurries_all(start, store):
    family = start(2, "--queues", "slow=1", "--grace", "60")
    await family.at_work(2)
    await store.enqueue([until.new(NEVER) for _ in range(2)])
    await eventually(lambda: running(store, 2))

    family.signal()
    await eventually(lambda: not pending(family))
    began = family.signal(signal.SIGINT)

    assert await family.ended() == 0
    assert time.monotonic() - began < 10
    assert await store.nodes() == ()


@ON_SQLITE
async def test_a_third_signal_to_the_parent_kills_a_child_that_hears_nothing(start, store):
    family = start(2, "--queues", "slow=1", "--grace", "0.2")
    children = await family.at_work(2)
    number = await family.home_of(await store.enqueue(block.new()))
    other = 3 - number

    for _ in range(2):
        family.signal()
        await eventually(lambda: not pending(family))
    await eventually(lambda: not is_alive(children[other]))
    assert is_alive(children[number])
    family.signal()

    assert await family.ended() == 0
    (killed,) = family.events("process.kill")
    assert (killed["level"], killed["process"], killed["pid"]) == ("warning", number, children[number])
    ends = {end["process"]: end.get("signal", end.get("code")) for end in family.events("process.end")}
    assert ends == {number: "SIGKILL", other: 0}


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_to_a_parent_that_has_ended_its_work_does_not_change_its_code(number):
    code = f"""
import asyncio, os, sys
from tenuto.cli import processes

async def run(self):
    for stopping in processes.STOPPING:
        asyncio.get_running_loop().add_signal_handler(stopping, print)
    return 3

def close(runner, close=asyncio.Runner.close):
    close(runner)
    os.kill(os.getpid(), {int(number)})

processes.Supervisor.run = run
asyncio.Runner.close = close
sys.exit(processes.supervise(2, [], {{}}))
"""
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), timeout=30, check=False)

    assert ran.returncode == 3


@ON_SQLITE
async def test_signals_that_reach_the_children_too_hurry_nobody(start, store, folder):
    family = start(2, "--queues", "slow=1", "--grace", "60")
    children = await family.at_work(2)
    job = await store.enqueue(until.new(str(folder / "open")))
    await family.home_of(job)

    for number in (signal.SIGTERM, signal.SIGINT):  # as a supervisor that signals a whole group of processes
        for pid in children.values():
            with suppress(ProcessLookupError):  # the one without a job may have ended by now
                os.kill(pid, number)
        await eventually(lambda: not any(map(has_pending, children.values())))
    family.signal()
    await eventually(lambda: not pending(family))
    (folder / "open").touch()

    assert await family.ended() == 0
    assert (await store.fetch(job)).state == "completed"


def has_pending(pid: int) -> bool:
    """Whether a signal has not reached that process yet."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:")))


@ON_SQLITE
async def test_ctrl_c_at_a_terminal_reaches_the_parent_alone(start, store):
    family = start(2)
    children = await family.at_work(2)

    groups = {os.getpgid(pid) for pid in children.values()}

    assert len(groups) == 2
    assert os.getpgid(family.process.pid) not in groups


async def test_children_stop_gracefully_when_their_parent_is_killed(start, store):
    family = start(2, "--queues", "slow=1", "--grace", "0.2")
    children = await family.at_work(2)
    jobs = await store.enqueue([until.new(NEVER) for _ in range(2)])
    await eventually(lambda: running(store, 2))

    family.signal(signal.SIGKILL)
    await eventually(lambda: not any(map(is_alive, children.values())))

    assert len(family.events("node.stop")) == 2
    assert [(each.state, each.attempt) for each in [await store.fetch(job) for job in jobs]] == [("available", 0)] * 2


@ON_SQLITE
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_child_that_still_imports_ends_with_its_parent(start, store, folder, number):
    (folder / "heavy.py").write_text("import pathlib, time\npathlib.Path('mark').touch()\ntime.sleep(60)")
    family = start(2, target="heavy")
    await eventually((folder / "mark").exists)

    family.signal(number)

    assert await family.ended() == (0 if number == signal.SIGTERM else -number)
    await eventually(lambda: not any(map(is_alive, family.children.values())))
    assert list(family.children) == [1]


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("nowhere", [], "there is no module 'nowhere' in this folder"),
        ("shop:app", [], "shop:app should be a Tenuto app, and there is none"),
        ("shop", ["--queues", "default=many"], "queue 'default' has 'many' slots; write default=10"),
        ("shop", ["--url", "mysql://x"], "a URL"),
    ],
)
def test_what_no_process_can_work_with_is_told_once(folder, target, options, told):
    code, said = refused(folder, target, "--processes", "3", "--log-level", "warning", *options)

    assert (code, said.count("\n")) == (2, 1)
    assert told in said


def test_a_postgres_without_tables_is_told_once(folder, postgres):
    with postgres.database() as url:
        code, said = refused(folder, "shop", "--url", url, "--processes", "3", "--log-level", "warning")

    assert (code, said) == (2, "tenuto: the database has no tables of Tenuto yet; run: tenuto migrate\n")


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5", "1001"])
def test_a_number_of_processes_that_cannot_be_is_refused(folder, number):
    code, said = refused(folder, "shop", "--processes", number)

    assert code == 2
    assert "Invalid value for '--processes'" in said


def test_a_child_that_no_parent_started_is_refused(folder):
    code, said = as_a_child(folder, stdin=subprocess.DEVNULL)

    assert (code, said.count("\n")) == (2, 1)
    assert "use --processes" in said


def test_a_child_whose_parent_died_without_a_word_is_refused(folder):
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        code, said = as_a_child(folder, stdin=theirs.fileno())

    assert (code, said) == (2, "tenuto: the process that started this one is gone\n")


def as_a_child(folder: Path, stdin: int) -> tuple[int, str]:
    """The code and the words with which a child ends whose stdin is this."""
    command = [sys.executable, "-m", "tenuto", "work", "shop", "--child", "1"]
    ran = subprocess.run(
        command, cwd=folder, env=environment(), stdin=stdin, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    return ran.returncode, ran.stderr
