"""How tests ask the command line: in this process, or at a terminal of its own; and SQL, run by hand."""

from __future__ import annotations

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
from typer.testing import CliRunner

from tenuto.cli.root import root

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


def run(*args: str) -> Said:
    """Run a command in this process. What it raises, other than its exit, is raised here."""
    result = CliRunner().invoke(root, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def environment() -> dict[str, str]:
    """This one, in which Python finds Tenuto and a terminal has colours."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}


def at_a_terminal(answer: bytes, *args: str) -> str:
    """What it writes to stderr for somebody who sits at a terminal and types `answer`."""
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "tenuto", *args]
    ran = subprocess.run(
        command, stdin=theirs, env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
    os.close(ours)
    os.close(theirs)
    return ran.stderr + ran.stdout


def on_a_terminal(*args: str) -> str:
    """What it writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tenuto", *args]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment())
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


def run_script(url: str, script: str) -> None:
    """Run SQL as an operator would, by hand."""
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as line:
            line.execute(script)
