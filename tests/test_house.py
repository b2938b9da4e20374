"""The house rules that a test can hold: sizes, names, docstrings, twins, public names, the version.

Who may import whom is held by import-linter (`make check`).
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tenuto"
SQL = PACKAGE / "storage" / "sql"

FILE_LINES = 600
FUNCTION_LINES = 50
NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER),
    *(tokenize.INDENT, tokenize.DEDENT),
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


OURS = sources("tenuto", "tests", "examples", "bench")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring_lines(tree: ast.Module) -> set[int]:
    """The line numbers that docstrings take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Definition) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


@cache
def code_lines(path: Path) -> set[int]:
    """The line numbers that hold code: not blank, not only a comment, not a docstring."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(text))


def functions(tree: ast.AST) -> Iterator[Definition]:
    return (node for node in ast.walk(tree) if isinstance(node, Definition))


def length(function: Definition, code: set[int]) -> int:
    return len(code & set(range(function.lineno, (function.end_lineno or function.lineno) + 1)))


def test_no_file_holds_two_rooms():
    too_long = {name_of(path): lines for path in OURS if (lines := len(code_lines(path))) > FILE_LINES}

    assert too_long == {}


def test_no_function_is_longer_than_a_page():
    too_long = {
        f"{name_of(path)}:{function.lineno} {function.name}": lines
        for path in OURS
        for function in functions(parse(path))
        if (lines := length(function, code_lines(path))) > FUNCTION_LINES
    }

    assert too_long == {}


def test_every_module_opens_with_a_sentence():
    silent = [name_of(path) for path in sources("tenuto") if not opens_with_a_sentence(parse(path))]

    assert silent == []


def opens_with_a_sentence(tree: ast.Module) -> bool:
    first_paragraph = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return re.search(r"\w[.!?:]", first_paragraph) is not None


def test_every_name_on_a_door_says_what_is_behind_it():
    empty_words = [name_of(path) for path in OURS if NAMES_THAT_SAY_NOTHING & set(path.stem.strip("_").split("_"))]

    assert empty_words == []


def test_an_init_only_says_what_is_inside():
    busy = [
        f"{name_of(path)}:{statement.lineno}"
        for path in sources("tenuto")
        if path.name == "__init__.py"
        for statement in parse(path).body
        if not only_names(statement)
    ]

    assert busy == []


def only_names(statement: ast.stmt) -> bool:
    """Whether it is a docstring, an import, or one of the dunder names of a module."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in {"__all__", "__version__"}
        case _:
            return False


@pytest.mark.skipif(not SQL.exists(), reason="no SQL yet")
def test_every_statement_has_its_twin():
    sqlite, postgres = (
        {str(path.relative_to(SQL / db)) for path in (SQL / db).rglob("*.sql")} for db in ("sqlite", "postgres")
    )

    assert sqlite == postgres
    assert sqlite


@pytest.mark.skipif(not (PACKAGE / "__init__.py").exists(), reason="no public names yet")
def test_the_public_names_are_the_ones_we_agreed_on():
    import tenuto

    agreed = (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8").split()

    import tenuto.testing

    public = [*tenuto.__all__, *(f"testing.{name}" for name in tenuto.testing.__all__)]
    assert sorted(public) == sorted(agreed)
    assert [name for name in agreed if not attrgetter(name)(tenuto)] == []


@pytest.mark.skipif(not (PACKAGE / "__init__.py").exists(), reason="no version yet")
def test_the_changelog_knows_the_version():
    import tenuto

    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert headings[0] in {"Unreleased", tenuto.__version__}
