"""Pooler: a PgBouncer in transaction mode before a PostgreSQL of the tests, where it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers import PATIENCE, _free_port, _give, _temporary_folder

PROGRAM = shutil.which("pgbouncer", path=os.defpath + os.pathsep + "/usr/sbin:/usr/local/sbin")


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """The same database through a PgBouncer of its own, of which each transaction may get another session."""
    assert PROGRAM is not None
    owner = None if os.geteuid() else pwd.getpwnam("nobody")  # it refuses root, as PostgreSQL does
    folder = Path(tempfile.mkdtemp(prefix="tenuto-pooler-", dir=_temporary_folder()))
    port = _free_port()
    (folder / "users").write_text(f'"{urlsplit(url).username}" "{unquote(urlsplit(url).password or "")}"\n')
    (folder / "settings").write_text(_settings(url, port, folder))
    if owner is not None:
        _give(folder, owner)
    process = subprocess.Popen(
        [PROGRAM, "-q", str(folder / "settings")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(log := (folder / "log").open("wb")),
        user=owner and owner.pw_uid,
        group=owner and owner.pw_gid,
        extra_groups=[] if owner else None,
    )
    try:
        _await_port(process, port, folder / "log")
        yield urlsplit(url)._replace(netloc=f"{urlsplit(url).netloc.rpartition(':')[0]}:{port}").geturl()
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _settings(url: str, port: int, folder: Path) -> str:
    at = urlsplit(url)
    return f"""
[databases]
* = host={at.hostname} port={at.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder / "users"}
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
"""


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()[-4000:]}")
