"""The two folders of SQL are twins, and each file keeps the contract at its head."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest

from tenuto.storage.database import Statement, load, migrations, parse
from tests.storage.conftest import Examined
from tests.storage.tables import TABLES

SQL = Path(__file__).parent.parent.parent / "tenuto" / "storage" / "sql"
FOLDERS = {"sqlite": load("sqlite", {}), "postgres": load("postgres", {"{schema}": '"tenuto"'})}
NAMES = sorted(FOLDERS["sqlite"])

POSTGRES_TYPES = {
    "uuid": {"uuid"},
    "text": {"text"},
    "int": {"int4", "int2"},
    "bigint": {"int8"},
    "boolean": {"bool"},
    "timestamptz": {"timestamptz"},
}
PLACEHOLDERS = {"sqlite": r":(\w+)", "postgres": r"%\((\w+)\)s"}

each_folder = pytest.mark.parametrize("folder", FOLDERS)


def lines_of(folder: str, name: str) -> list[str]:
    return (SQL / folder / f"{name}.sql").read_text(encoding="utf-8").splitlines()


def lock_of(folder: str, name: str) -> str:
    """What the contract says of locks."""
    return next(line for line in lines_of(folder, name) if line.startswith("-- lock:"))


def code_of(statement: Statement) -> str:
    """Its text without comments and literals."""
    return re.sub(r"'(?:[^']|'')*'|--.*", "", statement.text)


# ── the folders ───────────────────────────────────────────────────────────────────────────────────


def test_both_folders_hold_the_same_names():
    assert sorted(FOLDERS["sqlite"]) == sorted(FOLDERS["postgres"])


def test_both_folders_hold_the_same_migrations():
    numbers = [[number for number, _ in migrations(folder, {})] for folder in FOLDERS]

    assert numbers[0] == numbers[1] == list(range(len(numbers[0])))


def test_twins_take_the_same_inputs():
    assert [name for name in NAMES if _differ(name, lambda twin: twin.inputs)] == []


def test_twins_answer_the_same_columns_in_the_same_order():
    assert [name for name in NAMES if _differ(name, lambda twin: list(twin.outputs.items()))] == []


def _differ(name: str, look: Callable[[Statement], object]) -> bool:
    sqlite, postgres = (look(folder[name]) for folder in FOLDERS.values())
    return sqlite != postgres


def test_twins_promise_the_same():
    promises = {name: [_promise(folder, name) for folder in FOLDERS] for name in NAMES}

    assert {name: both for name, both in promises.items() if both[0] != both[1]} == {}


def _promise(folder: str, name: str) -> str:
    """The first sentence of the contract: what follows it may be of one database alone."""
    head = " ".join(line.removeprefix("--").strip() for line in lines_of(folder, name) if line.startswith("--"))
    return re.split(r"[.:;] ", head.split(": ", 1)[1])[0]


# ── the contract ──────────────────────────────────────────────────────────────────────────────────


@each_folder
def test_a_header_has_its_five_lines_in_order(folder):
    assert {name: keys for name in NAMES if (keys := _keys(folder, name)) != [name, "in", "out", "lock", "plan"]} == {}


def _keys(folder: str, name: str) -> list[str]:
    header = takewhile(lambda line: line.startswith("--"), lines_of(folder, name))
    return [found[1] for line in header if (found := re.match(r"-- (\w+):", line))]


@each_folder
def test_the_inputs_of_the_contract_are_the_placeholders(folder):
    found = {
        name: set(re.findall(PLACEHOLDERS[folder], code_of(statement))) ^ set(statement.inputs)
        for name, statement in FOLDERS[folder].items()
    }

    assert {name: odd for name, odd in found.items() if odd} == {}


@each_folder
def test_a_file_holds_one_statement(folder):
    assert [name for name, statement in FOLDERS[folder].items() if ";" in code_of(statement)] == []


@each_folder
def test_columns_are_named(folder):
    """A star is only for a document that was just unpacked, whose columns are named there."""
    starred = {name: _stars(code_of(statement)) for name, statement in FOLDERS[folder].items()}

    assert {name: stars for name, stars in starred.items() if stars} == {}


def _stars(code: str) -> list[str]:
    """Every star, less those of documents."""
    documents = set(re.findall(r"jsonb?_to_recordset\(.*?\) as (\w+)", code)) | {
        "json_to_recordset",
        "jsonb_to_recordset",
    }
    stars = re.findall(r"select \*\s+from (\w+)", code) + re.findall(r"\b(\w+)\.\*", code)
    return [star for star in stars if star not in documents]


def test_every_table_of_postgresql_is_named_with_its_schema():
    tables = "|".join(TABLES)
    bare = rf"(?:from|join|into|update|using) (?:{tables})\b"

    assert [name for name, twin in FOLDERS["postgres"].items() if re.search(bare, code_of(twin))] == []


# ── as they run ───────────────────────────────────────────────────────────────────────────────────


def test_every_statement_is_used_by_a_verb(examined: Examined):
    assert set(NAMES) - examined.many.keys() == set()


def test_the_columns_of_the_contract_are_those_that_come_back(examined: Examined):
    wrong = {name: seen.columns for name, seen in examined.few.items() if seen.columns != list(seen.statement.outputs)}

    assert wrong == {}


def test_the_types_of_the_contract_are_those_that_come_back(examined: Examined):
    """SQLite's columns have none of their own."""
    wrong = [
        f"{name}: {column} is {found}, not {kind}"
        for name, seen in examined.few.items()
        for (column, kind), found in zip(seen.statement.outputs.items(), seen.types, strict=False)
        if found not in POSTGRES_TYPES[kind]
    ]

    assert wrong == []


# ── a file that breaks it ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "-- other: it says.\n-- in: -\n-- out: -\n-- lock: none\n-- plan: -\nselect 1",
        "-- this: it says.\n-- out: -\n-- in: -\n-- lock: none\n-- plan: -\nselect 1",
        "-- this: it says.\n-- in: -\n-- out: -\n-- lock: none\nselect 1",
    ],
)
def test_a_file_without_its_contract_is_refused(text):
    with pytest.raises(ValueError, match=r"this\.sql does not begin with its contract"):
        parse("this", text)


@each_folder
def test_what_is_reached_is_the_same_whether_held_jobs_are_waited_for_or_passed_over(folder):
    patient, hasty = (FOLDERS[folder][name].text for name in ("reach", "reach_free"))

    assert hasty.removesuffix(" skip locked") == patient
