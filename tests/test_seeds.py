"""docs/seeds.md: every statement of the seeds has its test and a verdict, and every defect of the originals a test."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.defects import DEFECTS
from tests.fenced import Fence
from tests.fences import FENCES
from tests.test_fences import stands

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "seeds.md"
ROW = re.compile(r"^\| (?P<seed>\d{3})\.(?P<nr>\d+) \| (?P<rest>.*) \|$", re.MULTILINE)
HELD_APART = {"003"}  # its parts begin at round numbers
VERDICTS = {"same", "changed", "contradicted"}


class Row(NamedTuple):
    """One statement of a seed."""

    seed: str
    nr: int
    statement: str
    test: str
    verdict: str
    why: str


def read() -> list[Row]:
    found = []
    for row in ROW.finditer(PAGE.read_text(encoding="utf-8")):
        statement, test, verdict, why = (cell.strip() for cell in f"{row['rest']} ".split(" | "))
        found.append(Row(row["seed"], int(row["nr"]), statement, test, verdict, why))
    return found


ROWS = read()


@cache
def functions_in(file: str) -> frozenset[str]:
    """The names of the tests in a file, where it is there."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name
        for node in found
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def named(cell: str) -> list[tuple[str, str]]:
    """The tests that a cell names, as (file, function)."""
    return [(file, name) for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", cell)]


def test_the_table_is_not_empty():
    assert {row.seed for row in ROWS} == {"000", "001", "002", "003"}


def test_the_statements_of_each_seed_are_numbered_without_a_gap():
    """Those of 003 have a range for each feature."""
    numbers = defaultdict(list)
    for row in ROWS:
        numbers[row.seed].append(row.nr)

    assert {seed: found for seed, found in numbers.items() if found != sorted(set(found))} == {}
    whole = {seed: found for seed, found in numbers.items() if seed not in HELD_APART}
    assert {seed: found for seed, found in whole.items() if found != list(range(1, len(found) + 1))} == {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.seed}.{row.nr}")
def test_a_statement_has_a_test_that_is_there_and_a_verdict(row):
    tests = named(row.test)

    assert row.statement
    assert tests, "it names no test"
    assert [f"{file}::{name}" for file, name in tests if name not in functions_in(file)] == []
    assert row.verdict in VERDICTS
    assert row.verdict == "same" or row.why, "what differs needs a reason"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.seed}.{row.nr}")
def test_a_test_that_a_reason_names_is_there_too(row):
    all_tests = frozenset[str]().union(*(functions_in(file) for other in ROWS for file, _ in named(other.test)))

    assert [name for name in re.findall(r"`(test_\w+)`", row.why) if name not in all_tests] == []


# ── the defects of the originals ──────────────────────────────────────────────────────────────────

KNOWN = re.findall(
    r"^\| (.+?) \| .+? \| `(tests/.+?)` \|$",
    PAGE.read_text(encoding="utf-8").split("## Defects of the originals")[1],
    re.MULTILINE,
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.promise)
def test_a_defect_can_be_planted_where_the_list_says_and_has_its_test(defect: Fence):
    stands(defect)


def test_the_page_names_every_defect_that_can_be_planted_and_behind_them_fences():
    planted, fenced = KNOWN[: len(DEFECTS)], KNOWN[len(DEFECTS) :]

    assert planted == [(defect.promise, defect.test) for defect in DEFECTS]
    assert fenced
    assert {test for _, test in fenced} <= {fence.test for fence in FENCES}
