"""docs/architecture.md: the house as the page shows it is the house as it is, and one job's walk stays short."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from tests.test_house import PACKAGE, ROOT, code_lines, parse, sources

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = [
    "function.py",
    "definition.py",
    "features/feature.py",
    "features/args.py",
    "codec.py",
    "job.py",
    "app.py",
    "storage/together.py",
    "storage/store.py",
    "storage/database.py",
    "storage/sqlite.py",
    "storage/postgres.py",
    "runtime/producer.py",
    "runtime/cursor.py",
    "runtime/executor.py",
    "context.py",
    "outcome.py",
]
AT_MOST = 2_400


def lines_of(name: str) -> int:
    return len(code_lines(PACKAGE / name))


def test_the_files_that_a_job_walks_through_stay_under_their_limit():
    either = [name for name in WALK if name in ("storage/sqlite.py", "storage/postgres.py")]
    lines = {name: lines_of(name) for name in WALK if name not in either}
    lines |= {max(either, key=lines_of): max(map(lines_of, either))}  # a job meets one database

    assert sum(lines.values()) < AT_MOST, lines


def test_the_walk_names_every_file_on_it_in_order():
    walk = PAGE.split("## One job's walk")[1].split("\n## ")[0]
    linked = re.findall(r"\]\(\.\./tenuto/([\w/]+\.py)\)", walk)

    assert [name for name in linked if name in WALK] == WALK
    assert "Seventeen files" in walk
    assert len(WALK) == 17


def test_every_file_of_the_house_is_on_the_page_with_the_sentence_it_opens_with():
    listed = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", PAGE, re.MULTILINE))
    files = [path for path in sources("tenuto") if path.name != "__init__.py"]

    assert listed == {str(path.relative_to(PACKAGE)): first_paragraph(path) for path in files}


def first_paragraph(path: Path) -> str:
    """What the module's docstring opens with, in one line."""
    return " ".join((ast.get_docstring(parse(path)) or "").split("\n\n")[0].split())


def test_the_layers_on_the_page_are_the_linters():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "rooms")
    (shown,) = re.findall(r"linter's:\n\n```text\n(.*?)\n```", PAGE, re.DOTALL)

    assert shown.splitlines() == [re.sub(r"[()]", "", layer).replace(" : ", " | ") for layer in layers]


def test_the_tables_on_the_page_are_those_of_the_schema():
    listed = re.findall(r"^\| `(\w+)` \| ", PAGE.split("## The tables")[1], re.MULTILINE)
    scripts = (PACKAGE / "storage" / "sql").glob("*/schema/*.sql")
    made = {
        name
        for script in scripts
        for name in re.findall(r"create table (?:if not exists )?(?:\{schema\}\.)?(\w+)", script.read_text())
    }

    assert set(listed) == made
