"""Where a measurement takes place: an empty database of its own, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

import psycopg

from bench.environments import Missing, redis_server
from bench.plan import Database
from tests.servers import GivenServer, PostgresServer, Server

VARIABLE: Final = "TENUTO_BENCH_POSTGRES"
REDIS_WITHIN: Final = 10.0  # seconds, to answer


def open_server() -> AbstractContextManager[Server]:
    """The PostgreSQL of the whole run: the one TENUTO_BENCH_POSTGRES names, else our own, crash-safe."""
    if url := os.environ.get(VARIABLE):
        return nullcontext(GivenServer(url))
    return PostgresServer(fsync=True)


class Places:
    """Makes empty databases of each kind."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def postgres_version(self) -> str:
        """The server's version, and how it was started."""
        with psycopg.connect(self._server.url) as connection:
            number = connection.info.server_version
            settings = connection.execute(
                "select string_agg(name || ' ' || current_setting(name), ', ' order by name) from pg_settings"
                " where name in ('fsync', 'synchronous_commit', 'shared_buffers', 'max_wal_size')"
            ).fetchone()
        return f"PostgreSQL {number // 10000}.{number % 10000} ({settings[0] if settings else '?'})"

    @contextmanager
    def empty(self, database: Database, python: str) -> Iterator[str]:
        """The URL of an empty database. Raises Missing where there is none of that kind."""
        if database == "postgresql":
            with self._server.database() as url:
                yield url
        elif database == "sqlite":
            folder = tempfile.mkdtemp(prefix="tenuto-bench-")
            try:
                yield f"sqlite:///{folder}/jobs.db"
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            with _redis(redis_server(python)) as url:
                yield url


@contextmanager
def _redis(program: str) -> Iterator[str]:
    """A Redis of our own that keeps nothing, on a port nobody has: as its users of job queues mostly run it."""
    port = 20_000 + secrets.randbelow(12_000)
    folder = tempfile.mkdtemp(prefix="tenuto-bench-redis-")
    flags = ("--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no")
    process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_answer(process, port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        try:
            process.wait(REDIS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + REDIS_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
                line.sendall(b"PING\r\n")
                if line.recv(5) == b"+PONG":
                    return
        except OSError:
            time.sleep(0.02)
    raise Missing("redis-server does not start")
