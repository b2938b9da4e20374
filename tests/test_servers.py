"""The tests' own PostgreSQL starts, dies, comes back, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.servers import PostgresServer, Server, runs


def ask(url: str, statement: Any, *values: object) -> Any:
    """The first column of the first row of the answer."""
    with psycopg.connect(url) as conn:
        row = conn.execute(statement, values).fetchone()
    return row and row[0]


def write(url: str, statement: Any) -> None:
    with psycopg.connect(url) as conn:
        conn.execute(statement)


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_the_server_answers(postgres: Server):
    assert ask(postgres.url, "select version()").startswith("PostgreSQL ")


def test_a_database_is_new_and_empty(postgres: Server):
    with postgres.database() as url:
        write(url, "create table notes (text text)")

    with postgres.database() as url:
        assert ask(url, "select to_regclass('notes')") is None


def test_a_database_is_dropped_though_somebody_is_still_connected(postgres: Server):
    with postgres.database() as url:
        conn = psycopg.connect(url)

    with pytest.raises(psycopg.OperationalError):
        conn.execute("select 1")
    conn.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_killed_server_comes_back_with_all_that_was_committed(own_postgres: PostgresServer):
    write(own_postgres.url, "create table notes (text text)")
    write(own_postgres.url, "insert into notes values ('kept')")
    url = own_postgres.url

    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    own_postgres.start()

    assert own_postgres.url == url
    assert ask(url, "select text from notes") == "kept"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_comes_back_with_all_that_was_committed(own_postgres: PostgresServer, mode: Any):
    write(own_postgres.url, "create table notes as select 'kept' as text")

    own_postgres.stop(mode)
    own_postgres.start()

    assert ask(own_postgres.url, "select text from notes") == "kept"


def test_a_kill_leaves_no_process_of_the_server(own_postgres: PostgresServer):
    with psycopg.connect(own_postgres.url, autocommit=True) as conn:
        processes = [psutil.Process(pid) for (pid,) in conn.execute("select pid from pg_stat_activity")]

        own_postgres.kill()

    assert len(processes) > 3
    assert not any(map(runs, processes))


def test_only_this_machine_with_the_password_can_connect(own_postgres: PostgresServer):
    assert ask(own_postgres.url, "show listen_addresses") == "127.0.0.1"
    assert ask(own_postgres.url, "show fsync") == "on"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(own_postgres.url, password="guessed")


def test_the_data_is_private_and_gone_at_the_end():
    with PostgresServer(fsync=False) as server:
        data = Path(ask(server.url, "show data_directory"))
        sockets = Path(ask(server.url, "show unix_socket_directories"))

        assert sockets == data.parent
        assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700
    assert not data.parent.exists()


def test_a_killed_test_run_leaves_neither_a_server_nor_its_data():
    script = (
        "import psycopg, time; from tests.servers import PostgresServer\n"
        "server = PostgresServer(fsync=False); server.start()\n"
        "with psycopg.connect(server.url) as conn:\n"
        "    print(conn.execute('show data_directory').fetchone()[0], flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        data = Path(run.stdout.readline().strip())
        postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))

        os.kill(run.pid, signal.SIGKILL)

    assert eventually(lambda: not data.parent.exists())
    assert not runs(postmaster)


def test_a_database_url_names_a_new_database(database_url: str):
    if database_url.startswith("sqlite:///"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    else:
        assert ask(database_url, "select count(*) from pg_tables where schemaname = 'public'") == 0
