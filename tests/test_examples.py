"""Every example runs: the Python blocks of README and docs, page by page, and the programs in examples/.

The blocks of a page are one program in an empty folder; `await` may stand outside a function, as `python -m asyncio`
allows. A comment `# > text` is a line that the block prints. A block of `py` shows lines of a program in examples/.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tenuto import Tenuto
from tenuto.config import Config
from tenuto.definition import forget, registered
from tests.test_house import code_lines

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FROM_HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
FENCE = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block of a page."""

    line: int  # of its first line of code
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start("text")) + 1, found["text"])
        for found in FENCE.finditer(text)
        if found["language"] == language
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ── the blocks ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def program(page: Path) -> Iterator[dict[str, Any]]:
    """The namespace of a page's blocks, as a module whose workers are forgotten at the end."""
    module = ModuleType("_".join(page.relative_to(ROOT).with_suffix("").parts))
    known = set(registered())
    sys.modules[module.__name__] = module
    try:
        yield vars(module)
    finally:
        del sys.modules[module.__name__]
        for name in set(registered()) - known:
            forget(name)


def run(block: Block, page: Path, names: dict[str, Any], runner: asyncio.Runner) -> list[str]:
    """Run one block; the lines it printed. Tracebacks name the page and its lines."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    printed = io.StringIO()
    with redirect_stdout(printed):
        awaited = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(awaited)
    return printed.getvalue().splitlines()


def promised(block: Block) -> list[str]:
    return re.findall(r"# ?> ?(.*)$", block.text, re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_every_python_block_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENUTO_URL", raising=False)
    with program(page) as names, asyncio.Runner() as runner:
        try:
            for block in blocks(page, "python"):
                printed = run(block, page, names, runner)
                if promised(block):
                    assert printed == promised(block), f"{name_of(page)}:{block.line}"
        finally:
            for app in [value for value in names.values() if isinstance(value, Tenuto)]:
                runner.run(app.stop())


def excerpts() -> list[Any]:
    """Each block of a page that shows lines of a program: the program that its first line names, and the parts that
    are shown, with `...` between them."""
    found = []
    for page in PAGES:
        for block in blocks(page, "py"):
            first, rest = block.text.split("\n", 1)
            parts = [dedent(part).strip("\n") for part in re.split(r"^ *\.\.\.\n", rest, flags=re.MULTILINE)]
            found.append(pytest.param(ROOT / first.removeprefix("# "), parts, id=f"{name_of(page)}:{block.line}"))
    return found


@pytest.mark.parametrize(("program", "parts"), excerpts())
def test_what_a_page_shows_of_a_program_stands_there_word_for_word(program, parts):
    lines = program.read_text(encoding="utf-8").splitlines()
    for part in parts:
        count = part.count("\n") + 1
        at = [nth for nth in range(len(lines)) if dedent("\n".join(lines[nth : nth + count])).rstrip() == part]
        assert at, part
        lines = lines[at[0] + count :]  # the next one stands below it


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name_of)
def test_every_toml_block_of_a_page_is_taken_as_settings(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "toml"):
        is_of_project = "tool" in tomllib.loads(block.text)
        (tmp_path / ("pyproject.toml" if is_of_project else "tenuto.toml")).write_text(block.text)

        assert Config.load({}) != Config.load({"url": "sqlite:///other.db"})


def test_the_readme_shows_a_workflow_in_twenty_five_lines(tmp_path):
    (first, *_) = blocks(ROOT / "README.md", "python")
    (tmp_path / "first.py").write_text(first.text)

    assert len(code_lines(tmp_path / "first.py")) <= 25


BEYOND = {  # what an example is about, beside the core
    "dask_cluster.py": {"distributed"},
    "fastapi_app.py": {"fastapi", "pydantic", "sqlalchemy"},
    "flask_app.py": {"flask", "sqlalchemy", "werkzeug"},
}

# ── the programs ──────────────────────────────────────────────────────────────────────────────────


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(ROOT / "examples" / "stdlib_report.py"), "--folder", str(folder), *options]
    return subprocess.run(program, capture_output=True, text=True, timeout=90, check=False, cwd=ROOT, env=FROM_HERE)


@pytest.mark.timeout(400)
def test_the_demo_goes_on_where_a_kill_stopped_it(tmp_path):
    killed = run_demo(tmp_path, "--kill-half-way")
    again = run_demo(tmp_path)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "run it again" in killed.stdout
    assert again.returncode == 0, again.stderr
    assert "Going on." in again.stdout
    assert "was not done again" in again.stdout
    assert re.search(r"^email +completed +2, 1 failed ", again.stdout, re.MULTILINE)
    assert re.search(r"^json +completed +1, 1 snooze ", again.stdout, re.MULTILINE)
    commands = re.findall(r"^  (\S.*)$", again.stdout.split("Look around:")[1], re.MULTILINE)
    assert len(commands) == 5
    tried = subprocess.run(
        ["sh", "-ec", "\n".join(commands)], capture_output=True, text=True, cwd=ROOT, check=False, env=FROM_HERE
    )
    assert tried.returncode == 0, (tried.stdout, tried.stderr)
    assert "staged: the first attempt of this step always fails" in tried.stdout


def test_the_pii_worker_shows_what_is_read_and_what_lies_in_the_file(tmp_path):
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "pii_worker.py"), "--folder", str(tmp_path)],
        capture_output=True, text=True, timeout=90, check=False, cwd=ROOT, env=FROM_HERE,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Dear Ada Lovelace, your passport …T47 is genuine.") == 2
    assert "the bank knows no account DE02 1203" in ran.stdout
    assert re.findall(r"in any of its files: (\w+)$", ran.stdout, re.MULTILINE) == ["no"] * 6
    assert re.search(r'^    pii_worker\.check_identity +\{"\$sealed":\["2026-02"', ran.stdout, re.MULTILINE)


def test_the_etl_loads_what_its_step_listed_and_reports_of_what_could_be_loaded(tmp_path):
    program = [sys.executable, str(ROOT / "examples" / "etl_fan_out.py")]

    ran = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path, env=FROM_HERE)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["2 of 3 files were loaded", "rome 12, oslo 2"]


def test_the_webhook_processor_handles_each_event_once_and_those_of_one_account_in_their_order(tmp_path, database_url):
    asyncio.run(Tenuto(database_url).migrate())
    program = [sys.executable, str(ROOT / "examples" / "webhooks.py"), "--url", database_url]

    ran = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path, env=FROM_HERE)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("yes") == 8
    assert re.search(r"80 new events, [1-9]\d* that had come before", ran.stdout)


def test_a_paper_is_reviewed_by_the_models_that_are_there_and_the_bill_says_what_is_unknown(tmp_path, database_url):
    asyncio.run(Tenuto(database_url).migrate())
    program = [sys.executable, str(ROOT / "examples" / "model_review.py"), "--url", database_url]
    keys = {**FROM_HERE, "MODELS_KEY": "sk-of-nobody"}

    ran = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path, env=keys)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == [
        "owl-large read 23 words",
        "without: assess/crow-away",
        "  finch-beta: 1 asked, 5 tokens said, costs unknown",
        "  owl-large: 2 asked, 10 tokens said, costs 0.00026520",  # 38 × 3.00 + 10 × 15.00 + 4 × 0.30, by a million
        "  wren-small: 1 asked, 5 tokens said, costs 0.00000370",  # 15 × 0.10 + 5 × 0.40 + 2 × 0.10
        "in all unknown; what is known of it: 0.00026890",
        "logged: request, response; [hidden]",
    ]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=name_of)
def test_an_example_needs_nothing_but_the_core(example):
    tree = ast.parse(example.read_text(encoding="utf-8"))
    imported = {
        node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module
    }
    imported |= {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }

    assert imported <= {*sys.stdlib_module_names, "tenuto", "rich", *BEYOND.get(example.name, ())}


def test_the_nightly_report_shows_when_it_is_due_and_makes_one_now(tmp_path):
    program = [sys.executable, str(ROOT / "examples" / "nightly_report.py")]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=FROM_HERE)

    assert ran.returncode == 0, ran.stderr
    assert "nightly_report: 30 2 * * * in Europe/Berlin" in ran.stdout
    assert re.search(r"UTC, when clocks in Berlin show 0[23]:[03]0$", ran.stdout, re.MULTILINE)
    assert re.search(r"^  sold in 7 days before [\d-]+: books \d+, music \d+, tea \d+$", ran.stdout, re.MULTILINE)


def test_an_approval_waits_for_people_and_goes_on_without_them(tmp_path, database_url):
    asyncio.run(Tenuto(database_url).migrate())
    program = [sys.executable, str(ROOT / "examples" / "approval.py"), "--url", database_url]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=FROM_HERE)

    assert ran.returncode == 0, ran.stderr
    assert [line for line in ran.stdout.splitlines() if line.startswith("refund")] == [
        "refund of A-1: refunded, since Ada said yes",
        "refund of A-22: refused, since Ben said no",
        "refund of A-333: refused, since nobody said anything",
    ]
    assert ran.stdout.count("please approve") == 3
    assert "too late: WorkflowFinished" in ran.stdout


def test_the_cluster_counts_primes_on_two_processes():
    program = [sys.executable, str(ROOT / "examples" / "dask_cluster.py"), "--steps", "4"]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=FROM_HERE)

    assert ran.stdout == "completed: 33,860 primes below 400,000, counted in 2 processes\n", ran.stderr
