"""A fence: what must not be taken away, and how a copy of the project is tried without it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Fence(NamedTuple):
    """What holds (as docs/guarantees.md says it), where, and the test that goes red without it."""

    promise: str
    files: str  # one glob under tenuto/: with an SQL statement, both twins
    without: str  # a regular expression
    instead: str
    test: str
    also: tuple[tuple[str, str, str], ...] = ()  # the same of other files, where one place alone does not hold it

    @property
    def places(self) -> list[tuple[str, str, str]]:
        """All that is to be changed: files, what is taken out, and what stands there instead."""
        return [(self.files, self.without, self.instead), *self.also]


SQL = "storage/sql/*"


def take_out(fence: Fence, copy: Path) -> dict[Path, str]:
    """Change the copy; its files as they were before."""
    before: dict[Path, str] = {}
    for files, without, instead in fence.places:
        paths = sorted((copy / "tenuto").glob(files))
        assert paths, f"{fence.promise}: no file {files}"
        for path in paths:
            text = path.read_text(encoding="utf-8")
            changed, times = re.subn(without, instead, text)
            assert times, f"{fence.promise}: not found in {path}"
            before.setdefault(path, text)
            path.write_text(changed, encoding="utf-8")
    return before


def failures(fence: Fence, copy: Path) -> list[str]:
    """What pytest says of the fence's test in the copy, without it; nothing where the test passes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=60", fence.test]
    ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), f"{fence.promise}: {ran.stdout}{ran.stderr}"
    told = re.findall(r"^E   +(.*)$", ran.stdout, re.MULTILINE) or ran.stdout.splitlines()[-1:]
    return told if ran.returncode else []


def main(chosen: str = "", *, fences: Sequence[Fence]) -> int:
    """Try every one of the `fences` whose promise holds the `chosen` text; how many of them no test misses."""
    missing = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "docs", "__pycache__", "bench"))
        for fence in fences:
            if chosen not in fence.promise:
                continue
            before = take_out(fence, copy)
            told = failures(fence, copy)
            missing += not told
            sys.stdout.write(f"{f'red    {fence.promise}: {told[0][:90]}' if told else f'GREEN  {fence.promise}'}\n")
            sys.stdout.flush()
            for path, text in before.items():
                path.write_text(text, encoding="utf-8")
    return missing
