"""Running programs: one subprocess for each measurement, bounded in time, and what it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.environments import ROOT, Missing, python_of
from bench.places import Places
from bench.plan import Case, Subject
from bench.protocol import NOT_OFFERED

DESCRIBE_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Result:
    """What came of one run: figures, or the reason why there are none."""

    figures: dict[str, Any] | None
    why: str  # empty when there are figures
    is_refusal: bool  # it cannot be done, as opposed to: it failed
    seconds: float


class Programs:
    """Runs what the plan names. A program that is missing is missing for the whole run."""

    def __init__(self, places: Places, *, make: bool) -> None:
        self._places = places
        self._make = make

    def describe(self, subject: Subject) -> dict[str, str]:
        """What the program says of itself. Raises Missing."""
        return self._describe(subject.program, subject.peer, subject.database)

    @cache  # noqa: B019 - one object for the whole run
    def _describe(self, program: str, peer: str | None, database: str) -> dict[str, str]:
        if not (ROOT / "bench" / f"{program}.py").exists():
            raise Missing(f"no bench/{program}.py")
        python = python_of(peer, make=self._make)
        result = _run(_command(python, program, ["describe", f"--url={database}://"]), DESCRIBE_WITHIN)
        if result.figures is None:
            raise Missing(result.why)
        return result.figures

    def measure(self, subject: Subject, case: Case, arguments: Sequence[str]) -> Result:
        """One run, on an empty database. Raises Missing."""
        python = python_of(subject.peer, make=self._make)
        scenario = subject.as_.get(case.scenario, case.scenario)
        with self._places.empty(subject.database, python) as url:
            return _run(_command(python, subject.program, [scenario, f"--url={url}", *arguments]), case.patience)


def _command(python: str, program: str, arguments: Sequence[str]) -> list[str]:
    return [python, str(ROOT / "bench" / f"{program}.py"), *arguments]


def _run(command: Sequence[str], patience: float) -> Result:
    """Run it in an empty folder and a session of its own, and read its last line."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tenuto-bench-") as folder:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(is_ours="peers" not in command[1]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said, complained = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            _end(process)
            return Result(None, f"took longer than {patience:.0f} s", False, time.monotonic() - began)
        except BaseException:
            _end(process)
            raise
    return _read(process.returncode, said, complained, time.monotonic() - began)


def _environment(*, is_ours: bool) -> dict[str, str]:
    """This one, without what would change a program's settings behind our back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TENUTO_", "PYTHON", "DBOS"))}
    return {**kept, "PYTHONPATH": str(ROOT)} if is_ours else kept


def _end(process: subprocess.Popen[str]) -> None:
    """End the program with all that it started: its session is its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _read(code: int, said: str, complained: str, seconds: float) -> Result:
    lines = complained.strip().splitlines()
    last = lines[-1].strip()[:300] if lines else "it said nothing"
    if code:
        return Result(None, last if code == NOT_OFFERED else f"failed ({code}): {last}", code == NOT_OFFERED, seconds)
    try:
        figures = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return Result(None, "its last line is no JSON", False, seconds)
    if figures.get("checked") is False:
        return Result(None, "its own check failed", False, seconds)
    return Result(figures, "", False, seconds)
