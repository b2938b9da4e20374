"""The two folders of SQL are twins, and each file keeps the contract at its head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenuto.storage.database import Statement, load, migrations, parse
from tests.storage.conftest import Examined

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

each_name = pytest.mark.parametrize("name", NAMES)
each_folder = pytest.mark.parametrize("folder", FOLDERS)


def lines_of(folder: str, name: str) -> list[str]:
    return (SQL / folder / f"{name}.sql").read_text(encoding="utf-8").splitlines()


def code_of(statement: Statement) -> str:
    """Its text without comments and literals."""
    return re.sub(r"'(?:[^']|'')*'|--.*", "", statement.text)


def test_both_folders_hold_the_same_names():
    assert sorted(FOLDERS["sqlite"]) == sorted(FOLDERS["postgres"])


def test_both_folders_hold_the_same_migrations():
    numbers = [[number for number, _ in migrations(folder, {})] for folder in FOLDERS]

    assert numbers[0] == numbers[1] == list(range(len(numbers[0])))


@each_name
def test_twins_take_the_same_inputs(name):
    assert FOLDERS["sqlite"][name].inputs == FOLDERS["postgres"][name].inputs


@each_name
def test_twins_answer_the_same_columns(name):
    assert list(FOLDERS["sqlite"][name].outputs.items()) == list(FOLDERS["postgres"][name].outputs.items())


@each_name
def test_twins_promise_the_same(name):
    assert _promise("sqlite", name) == _promise("postgres", name)


def _promise(folder: str, name: str) -> str:
    """The first sentence of the contract: what follows it may be of one database alone."""
    head = " ".join(line.removeprefix("--").strip() for line in lines_of(folder, name) if line.startswith("--"))
    return re.split(r"[.:;] |, (?=from|whose)", head.split(": ", 1)[1])[0]


@each_folder
@each_name
def test_a_header_has_its_five_lines_in_order(folder, name):
    lines = lines_of(folder, name)
    header = lines[: next(nth for nth, line in enumerate(lines) if not line.startswith("--"))]

    keys = [found[1] for line in header if (found := re.match(r"-- (\w+):", line))]
    assert keys == [name, "in", "out", "lock", "plan"]


@each_folder
@each_name
def test_the_inputs_of_the_contract_are_the_placeholders(folder, name):
    statement = FOLDERS[folder][name]

    assert set(re.findall(PLACEHOLDERS[folder], code_of(statement))) == set(statement.inputs)


@each_folder
@each_name
def test_a_file_holds_one_statement(folder, name):
    assert ";" not in code_of(FOLDERS[folder][name])


@each_folder
@each_name
def test_columns_are_named(folder, name):
    code = code_of(FOLDERS[folder][name])

    stars = re.findall(r"select \*\s+from (\S+)", code) + re.findall(r"(?<!count\()\b(\w\.\*)", code)
    assert [star for star in stars if not star.startswith("jsonb_to_recordset") and star not in {"c.*", "n.*"}] == []


@each_name
def test_every_table_of_postgresql_is_named_with_its_schema(name):
    tables = r"jobs|workflows|workflow_nodes|edges|producers|queues|leases"
    code = code_of(FOLDERS["postgres"][name])

    assert re.findall(rf"(?:from|join|into|update|using) (?:{tables})\b", code) == []


@each_name
def test_every_statement_is_used_by_a_verb(examined: Examined, name):
    assert name in examined.many


@each_name
def test_the_columns_of_the_contract_are_those_that_come_back(examined: Examined, name):
    seen = examined.few[name]

    assert seen.columns == list(seen.statement.outputs)


@each_name
def test_the_types_of_the_contract_are_those_that_come_back(examined: Examined, name):
    seen = examined.few[name]
    if not seen.types:
        return  # SQLite's columns have none of their own

    wrong = [
        f"{column} is {found}, not {kind}"
        for (column, kind), found in zip(seen.statement.outputs.items(), seen.types, strict=True)
        if found not in POSTGRES_TYPES[kind]
    ]
    assert wrong == []


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
