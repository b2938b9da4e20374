"""What the docs say of the code is what the code says: states, events, settings, options, sizes and errors."""

from __future__ import annotations

import builtins
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from tenuto import errors, telemetry
from tenuto.cli.root import root
from tenuto.config import Config
from tenuto.failure import ERRORS_KEPT
from tenuto.job import TERMINAL, TRANSITIONS, JobState
from tenuto.llm import Debugging
from tenuto.options import JobOptions, WorkerOptions
from tenuto.sizes import RANGES, USUAL, Sizes
from tenuto.walk import MAX_DEPTH, MAX_DIGITS
from tests.fences import FENCES

DOCS = Path(__file__).parent.parent / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first heading is this one, cell by cell."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# ── states ────────────────────────────────────────────────────────────────────────────────────────

FIRST = ("suspended", "scheduled", "available")  # what enqueue may store


def diagram() -> str:
    """The table of transitions as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in FIRST)]
    lines += [f"    {state} --> {after}" for state in JobState for after in JobState if after in TRANSITIONS[state]]
    lines += [f"    {state} --> [*]" for state in JobState if state in TERMINAL]
    return "\n".join(lines)


def test_the_picture_of_the_states_is_the_table_of_transitions():
    (drawn,) = re.findall(r"```mermaid\n(.*?)\n```", page("states.md"), re.DOTALL)

    assert drawn == diagram()


def test_every_state_is_explained_once():
    explained = [names(row[0]) for row in rows(page("states.md"), "state")]

    assert explained == [[state] for state in JobState]


# ── events, settings, options ─────────────────────────────────────────────────────────────────────


def test_the_catalogue_of_events_is_the_one_in_the_code():
    listed = {names(event)[0]: payload for event, payload in rows(page("telemetry.md"), "event")}

    assert listed == telemetry.EVENTS


def test_every_setting_is_explained_with_its_variable_and_its_default():
    listed = [(names(row[0])[0], names(row[1])[0], row[2]) for row in rows(page("configuration.md"), "setting")]

    fields = {field.alias or name: field.default for name, field in Config.model_fields.items()}
    assert listed == [(name, f"TENUTO_{name.upper()}", in_words(default)) for name, default in fields.items()]


def in_words(default: Any) -> str:
    if isinstance(default, timedelta):
        days, seconds = default.days, default.seconds
        return f"{days} day{'s' * (days > 1)}" if days else f"{seconds} s"
    if isinstance(default, Sizes):
        return "[sizes](guides/jobs.md#sizes)"
    if isinstance(default, Debugging):
        return "[usual](guides/llm.md#what-was-asked)"
    return "none" if default in (None, {}) else f"`{default}`" if isinstance(default, str) else str(default)


def test_every_option_of_a_worker_and_of_a_job_is_explained():
    jobs = page("guides/jobs.md")
    of_worker, of_job = jobs.split("What is said of single jobs", 1)

    assert [names(row[0])[0] for row in rows(of_worker, "option")] == list(WorkerOptions.__annotations__)
    assert sorted(name for row in rows(of_job, "option") for name in names(row[0])) == sorted(
        JobOptions.__annotations__
    )


def test_the_counters_of_a_node_are_those_it_counts():
    counted = re.compile(r'counters\["(\w+)"\]')
    sources = (DOCS.parent / "tenuto").rglob("*.py")

    listed = {names(row[0])[0] for row in rows(page("telemetry.md"), "counter")}

    assert listed == {name for path in sources for name in counted.findall(path.read_text(encoding="utf-8"))}


def test_the_fences_are_those_that_can_be_taken_out():
    listed = [(promise, names(test)[0]) for promise, test in rows(page("guarantees.md"), "fence")]

    assert listed == [(fence.promise, fence.test) for fence in FENCES]


# ── figures and names ─────────────────────────────────────────────────────────────────────────────


def test_the_sizes_are_those_of_the_code():
    said = {names(row[0])[0]: [in_bytes(cell) for cell in row[2:4]] for row in rows(page("guides/jobs.md"), "size")}

    assert said == {name: [getattr(USUAL, name), most] for name, (_, most) in RANGES.items()}
    assert f"the last {ERRORS_KEPT} of them" in page("guides/jobs.md")
    assert f"integers over {MAX_DIGITS:,} digits, more than {MAX_DEPTH} levels" in page("guides/results.md")


def in_bytes(cell: str) -> int:
    number, unit = cell.split()[:2]
    return int(number) * {"MB": 1_000_000, "kB": 1_000}[unit]


PAGES = sorted(path for path in [DOCS.parent / "README.md", *DOCS.rglob("*.md")] if "_build" not in path.parts)


NAMES_OF_ERRORS = re.compile(
    r"`(No[A-Z]\w+|[A-Z]\w+(?:Error|Found|Unmet|Mismatch|TimedOut|Dependency|Attempt|TooLarge|Args|Step|Filter|Workflow))`"
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_an_error_that_a_page_names_is_there(path):
    named = set(NAMES_OF_ERRORS.findall(path.read_text(encoding="utf-8")))

    assert [name for name in named if not hasattr(errors, name) and not hasattr(builtins, name)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_a_file_that_a_page_links_to_is_there(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


# ── commands ──────────────────────────────────────────────────────────────────────────────────────


def commands(text: str) -> list[list[str]]:
    """Every `tenuto …` command of a page, in words; placeholders are left out."""
    spans = re.findall(r"`(tenuto [^`]+)`", text)
    lines = re.findall(r"^\$ (tenuto [^#\n]+)", text, re.MULTILINE)
    return [
        [word for word in shlex.split(each)[1:] if not word.isupper() and "[" not in word] for each in spans + lines
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_a_command_that_a_page_names_is_there_with_its_options(path):
    for words in commands(path.read_text(encoding="utf-8")):
        found: Any = typer.main.get_command(root)
        for word in words:
            if hasattr(found, "commands") and not word.startswith("-"):
                assert word in found.commands, words
                found = found.commands[word]
            elif word.startswith("--"):
                known = {name for parameter in found.params for name in parameter.opts}
                assert word in known | {"--url", "--schema"}, words


def test_every_command_is_in_the_list():
    listed = {
        " ".join(word for word in words if not word.startswith("-")) for words in commands(page("guides/operating.md"))
    }
    tree: Any = typer.main.get_command(root)

    there = {
        f"{name} {below}".strip()
        for name, command in tree.commands.items()
        for below in getattr(command, "commands", {"": None})
    }

    assert there - listed == set()
