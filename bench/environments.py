"""Where programs run: ours in this environment, each peer's in one of its own, made on demand beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
REQUIREMENTS: Final = Path(__file__).parent / "peers" / "requirements"
MINORS: Final = range(11, 15)  # of Python 3
INSTALL_WITHIN: Final = 900.0  # seconds


class Missing(Exception):
    """Something a program needs is not here; its text says what."""


def python_of(peer: str | None, *, make: bool) -> str:
    """The Python that runs it, with what it needs installed. Raises Missing; also when it would have to be made."""
    if peer is None:
        return sys.executable
    requirements = REQUIREMENTS / f"{peer}.txt"
    if not requirements.exists():
        raise Missing(f"no {requirements.relative_to(ROOT)}")
    environment = ROOT / f".venv-bench-{peer}"
    wanted = requirements.read_text(encoding="utf-8")
    ready = environment / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        if not make:
            raise Missing("not installed yet, and a quick run installs nothing: run `make bench` once")
        _make(environment, requirements, _python_for(wanted))
        ready.write_text(wanted, encoding="utf-8")
    return str(environment / "bin" / "python")


def _make(environment: Path, requirements: Path, python: str) -> None:
    print(f"making {environment.name} with {python}", file=sys.stderr, flush=True)
    _do("venv", python, "-m", "venv", "--clear", str(environment))
    pip = (str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _do("pip", *pip, "--requirement", str(requirements))


def _do(what: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"{what} took longer than {INSTALL_WITHIN:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        raise Missing(f"{what} failed: {said[-1][:200]}")


# ── pythons ───────────────────────────────────────────────────────────────────────────────────────


def _python_for(requirements: str) -> str:
    """The oldest Python here that fits `# python >= 3.12`, the first line. Raises Missing."""
    least = re.match(r"# python >= 3\.(\d+)", requirements)
    minor = int(least[1]) if least else MINORS.start
    fitting = [path for number, path in _pythons() if number >= minor]
    if not fitting:
        raise Missing(f"no Python 3.{minor} or newer")
    return fitting[0]


@cache
def _pythons() -> list[tuple[int, str]]:
    """The minor version and path of every Python 3 that we find and that works, the oldest first."""
    found: dict[int, str] = {sys.version_info.minor: sys.executable}
    for minor in MINORS:
        for path in _candidates(minor):
            if minor not in found and _works(path):
                found[minor] = path
    return sorted(found.items())


def _candidates(minor: int) -> Iterator[str]:
    if on_path := shutil.which(f"python3.{minor}"):
        yield on_path
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path / "bin" / "python") for path in sorted((home / "versions").glob(f"3.{minor}.*")))


def _works(python: str) -> bool:
    try:
        tried = subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def redis_server(python: str) -> str:
    """The Redis that a peer's program talks to: on the PATH, or installed with the peer. Raises Missing."""
    beside = Path(python).parent / "redis-server"
    found = shutil.which("redis-server") or (str(beside) if beside.exists() else None)
    if found is None:
        raise Missing("no redis-server on the PATH")
    return found
