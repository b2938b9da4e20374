"""The blocking app in processes of their own: how they end, what Ctrl-C does, and what a fork leaves to whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tenuto.blocking import Tenuto
from tests.kit import ROOT

AT_ONCE = 10.0  # seconds, on a busy machine; what hangs takes for ever

PROLOGUE = """
import atexit, logging, multiprocessing, os, signal, sys, threading, time
from tenuto import Workflow, job
from tenuto.blocking import Tenuto
from tests.kit import Obey

NOBODYS = "nobody works on it"


def until(probe):
    ends_at = time.monotonic() + 20
    while not probe():
        assert time.monotonic() < ends_at, "it did not come to that"
        time.sleep(0.01)


@job(name="seconds")
def dwell(seconds: float) -> None:
    time.sleep(seconds)


@job(name="seconds on the loop")
async def linger(seconds: float) -> None:
    import asyncio
    await asyncio.sleep(seconds)


def never_ends(app):
    flow = Workflow()
    flow.add("never", Obey.ok(queue=NOBODYS))
    return app.workflow(app.enqueue(flow).id)


def hears():
    # whether work() has taken both signals over; before that, they end the process
    return signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


logging.getLogger("tenuto").setLevel(logging.ERROR)  # an older SQLite warns of several processes
app = Tenuto(sys.argv[1], grace=0.5, lease=2, node="here")
"""


@pytest.fixture
def url(database_url: str) -> str:
    """The URL of a database with tables."""
    Tenuto(database_url).migrate()
    return database_url


@contextmanager
def started(url: str, program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program; it is killed at the end at the latest."""
    whole = PROLOGUE + textwrap.dedent(program)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", whole, url],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def outcome(url: str, program: str, within: float = 30.0) -> tuple[int, str, str]:
    """What a program comes to: its exit code, what it printed, and what stands on stderr."""
    with started(url, program) as process:
        printed, noise = process.communicate(timeout=within)
        return process.returncode, printed, noise


# ── the end ───────────────────────────────────────────────────────────────────────────────────────

ENDS = {
    "after a verb": ("app.enqueue(Obey.ok(queue=NOBODYS))", 0),
    "never opened": ("", 0),
    "stopped": ("app.counts(); app.stop()", 0),
    "inside with": ("with app: app.counts(); sys.exit(3)", 3),
    "by sys.exit": ("app.counts(); sys.exit(3)", 3),
    "with a verb in an exit handler": ("atexit.register(app.counts); app.counts()", 0),
    "while daemon threads wait": (
        """
        handle = never_ends(app)
        for _ in range(5):
            threading.Thread(target=handle.wait, daemon=True).start()
        until(lambda: len(__import__("asyncio").all_tasks(app._background._loop)) > 6)
        """,
        0,
    ),
    "while daemon threads enqueue": (
        """
        def on_and_on():
            while True:
                app.enqueue(Obey.ok(queue=NOBODYS))
        for _ in range(5):
            threading.Thread(target=on_and_on, daemon=True).start()
        until(lambda: app.find(queue=NOBODYS))
        """,
        0,
    ),
    "while daemon threads open it": (
        """
        for _ in range(5):
            threading.Thread(target=app.counts, daemon=True).start()
        """,
        0,
    ),
    "while jobs run": (
        """
        app.configure(queues={"default": 5})
        app.enqueue([dwell.new(3600), linger.new(3600)])
        until(lambda: sum(app.health().running.values()) == 2)
        """,
        0,
    ),
    "of an app that works, idle": ("app.configure(queues={'default': 5}, grace=3600); app.counts()", 0),
    "of a child of multiprocessing": (
        """
        def child():
            app.counts()
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        sys.exit(process.exitcode)
        """,
        0,
    ),
}


@pytest.mark.parametrize(("program", "code"), ENDS.values(), ids=ENDS)
def test_a_process_ends_at_once_and_without_a_word(url, program, code):
    began = time.monotonic()

    assert outcome(url, program) == (code, "", "")
    assert time.monotonic() - began < AT_ONCE


def test_what_a_process_stopped_at_its_end_goes_back_unspent(url):
    outcome(url, ENDS["while jobs run"][0])

    with Tenuto(url) as app:
        assert [(job.state, job.attempt) for job in app.find()] == [("available", 0)] * 2
        assert app.nodes() == ()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_that_worked_leaves_no_lease_behind(url, method, tmp_path):
    (tmp_path / "program.py").write_text(
        f"""
import multiprocessing, sys
from tenuto.blocking import Tenuto

def child(url):
    app = Tenuto(url, queues={{"default": 1}}, lease=3600)
    print(len(app.nodes()), flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=child, args=sys.argv[1:])
    process.start()
    process.join()
"""
    )
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), url],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")
    with Tenuto(url) as app:
        assert app.nodes() == ()


# ── signals ───────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_ends_a_wait_at_once_and_its_task_and_the_app_goes_on(url):
    program = """
    import asyncio
    app.counts()
    handle = never_ends(app)
    tasks = len(asyncio.all_tasks(app._background._loop))
    say("waiting")
    try:
        handle.wait()
    except KeyboardInterrupt:
        until(lambda: len(asyncio.all_tasks(app._background._loop)) == tasks)
        say("interrupted", app.fetch(app.enqueue(Obey.ok())).state)
    """
    with started(url, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.3)  # into the wait; earlier, it would be interrupted as well
        process.send_signal(signal.SIGINT)
        told_at = time.monotonic()
        printed, noise = process.communicate(timeout=30)

    assert (process.returncode, printed, noise) == (0, "interrupted available\n", "")
    assert time.monotonic() - told_at < AT_ONCE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_runs_jobs_until_a_signal_and_then_the_program_goes_on(url, number):
    program = """
    app.configure(queues={"default": 5})
    threading.Thread(
        target=lambda: (until(lambda: hears() and app.find(state="completed")), say("done")), daemon=True
    ).start()
    app.enqueue(Obey.ok())
    app.work()
    say("stopped", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    with started(url, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.send_signal(number)
        printed, noise = process.communicate(timeout=30)

    assert (process.returncode, printed, noise) == (0, "stopped True\n", "")


def test_a_second_signal_hurries_it(url):
    program = """
    app.configure(queues={"default": 5}, grace=3600)
    app.enqueue(dwell.new(3600))
    threading.Thread(
        target=lambda: (until(lambda: hears() and app.find(state="executing")), say("runs")), daemon=True
    ).start()
    app.work()
    """
    with started(url, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, noise = process.communicate(timeout=30)

    assert (process.returncode, noise) == (0, "")
    with Tenuto(url) as app:
        assert [job.state for job in app.find()] == ["available"]


@pytest.mark.timeout(60)
def test_signals_that_come_together_stop_it(url):
    """Any thread may take them, and a thread that waits for a lock is not woken by what another one took."""
    program = """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # for one that comes between two rounds

    def tell_open():
        until(lambda: app._background is not None or has_ended)
        say("works")

    app.configure(queues={"default": 1})
    for _ in range(10):
        has_ended = False
        threading.Thread(target=tell_open, daemon=True).start()
        app.work()
        has_ended = True
    say("ended")
    """
    with started(url, program) as process:
        assert process.stdout is not None
        for _ in iter(process.stdout.readline, "ended\n"):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
        _, noise = process.communicate(timeout=30)

    assert (process.returncode, noise) == (0, "")


# ── forks ─────────────────────────────────────────────────────────────────────────────────────────

FORK = """
def child_of(act):
    pid = os.fork()
    if pid == 0:
        act()
        sys.exit(0)  # by the long way, in which everything is let go
    return pid


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def forking(program: str) -> str:
    return FORK + textwrap.dedent(program)


def test_a_child_has_an_app_of_its_own_and_its_parent_keeps_its_own(url):
    program = forking("""
    app.cron.add("mine", "0 0 1 1 *", Obey.ok())
    first = app.enqueue(Obey.ok(queue=NOBODYS))
    handle = never_ends(app)
    mine = app.health().node

    def child():
        assert app.fetch(first).id == first.id
        assert handle.status().state == "running"
        assert app.health().node != mine
        app.configure  # an app that is not open, until the first verb
        app.enqueue(Obey.ok(queue=NOBODYS))

    for _ in range(3):
        assert code_of(child_of(child)) == 0
        app.enqueue(Obey.ok(queue=NOBODYS))
    assert app.health().node == mine
    say(len(app.find(queue=NOBODYS)))
    """)

    assert outcome(url, program) == (0, "8\n", "")


def test_the_connections_of_the_parent_outlast_its_children(own_postgres):
    url = own_postgres.url
    Tenuto(url).migrate()
    program = forking("""
    import psycopg

    def backends():
        query = "select pid from pg_stat_activity where application_name = 'tenuto' order by pid"
        with psycopg.connect(sys.argv[1], application_name="other") as connection:
            return {pid for pid, in connection.execute(query)}

    app.configure(queues={"default": 5}, lease=30)
    app.enqueue(Obey.ok())
    until(lambda: app.find(state="completed"))
    before = backends()
    for _ in range(5):
        assert code_of(child_of(lambda: None)) == 0
        assert code_of(child_of(app.counts)) == 0
    say(len(before) > 1, before <= backends())
    """)

    assert outcome(url, program) == (0, "True True\n", "")


def test_a_child_holds_no_connection_of_a_parent_that_died(own_postgres):
    url = own_postgres.url
    Tenuto(url).migrate()
    program = forking("""
    app.configure(queues={"default": 5}, lease=3600)
    app.counts()
    time.sleep(0.5)  # until none is in the making: that one would be the child's until it ends
    say(child_of(lambda: (os.close(1), os.close(2), time.sleep(60))))
    os.kill(os.getpid(), signal.SIGKILL)
    """)
    _, printed, _ = outcome(url, program)

    import psycopg

    query = "select count(*) from pg_stat_activity where application_name = 'tenuto'"
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            ends_at = time.monotonic() + 10
            while connection.execute(query).fetchone() != (0,):
                assert time.monotonic() < ends_at
                time.sleep(0.05)
    finally:
        os.kill(int(printed), signal.SIGKILL)


def test_a_child_counts_on_no_lock_of_its_parent(tmp_path):
    """SQLite believes that a process has the locks it took; a child that counts on them can lose a write."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    program = forking("""
    app.enqueue(Obey.ok(queue=NOBODYS))

    def child():
        app.enqueue(Obey.ok(queue=NOBODYS))
        files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        with open("/proc/locks") as held:
            lines = [line.split() for line in held]
        locks = [line[5].split(":")[2] for line in lines if line[4] == str(os.getpid())]
        database = [file for file in files if file.endswith("jobs.db")]
        shared = str(os.stat(database[0]).st_ino)
        say(len(database), shared in locks)

    assert code_of(child_of(child)) == 0
    """)

    assert outcome(url, program) == (0, "2 True\n", "")


def test_forks_while_threads_enqueue_lose_nothing(url):
    program = forking("""
    THREADS, EACH, CHILDREN = 6, 60, 15

    def enqueue_each():
        for _ in range(EACH):
            app.enqueue(Obey.ok(queue=NOBODYS))

    threads = [threading.Thread(target=enqueue_each) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    children = [child_of(lambda: app.enqueue(Obey.ok(queue=NOBODYS))) for _ in range(CHILDREN)]
    codes = [code_of(pid) for pid in children]
    for thread in threads:
        thread.join()
    jobs = app.counts()[NOBODYS]["available"]
    say(jobs == THREADS * EACH + CHILDREN, set(codes), [one.rule for one in app.check() if not one.is_well][:-1])
    """)

    assert outcome(url, program, within=120) == (0, "True {0} []\n", "")


def test_a_child_that_a_job_forks_on_the_loop_has_an_app_too(url):
    program = forking("""
    @job(name="forks", recorded=True, max_attempts=1)
    async def forks() -> int:
        return code_of(child_of(lambda: app.enqueue(Obey.ok(queue=NOBODYS))))

    @job(name="forks in a thread", recorded=True, max_attempts=1)
    def forks_in_a_thread() -> int:
        return code_of(child_of(lambda: app.enqueue(Obey.ok(queue=NOBODYS))))

    app.configure(queues={"default": 5}, lease=30)
    stored = app.enqueue([forks.new(), forks_in_a_thread.new()])
    until(lambda: len(app.find(state="completed")) == 2)
    say(len(app.find(queue=NOBODYS)))
    """)
    code, printed, _ = outcome(url, program.replace("sys.exit(0)", "os._exit(0)"))

    assert (code, printed) == (0, "2\n")


def test_workers_forked_from_a_program_that_made_its_app_before_have_one_each(url):
    program = forking("""
    def child():
        node = app.health().node
        os.write(1, f"{node} {app.enqueue(Obey.ok(queue=NOBODYS)).queue}\\n".encode())

    assert [code_of(pid) for pid in [child_of(child) for _ in range(4)]] == [0] * 4
    """)

    code, printed, noise = outcome(url, program)

    assert (code, noise, len(set(printed.splitlines()))) == (0, "", 4)
