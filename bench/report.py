"""`RESULTS.md`: the last full table, with all that is needed to understand it and to make it again."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil
import psycopg

import tenuto
from bench.book import Book
from bench.table import Row, as_markdown

RESULTS: Final = Path(__file__).with_name("RESULTS.md")

PREFACE: Final = """\
# The last full run of `make bench`

Written by the command itself. Absolute numbers move from run to run and from machine to machine; ratios hold. A
figure is the median of its runs, with the least and the greatest behind it. `÷` is Tenuto's figure divided by the other
one: for rates more is better, for latencies and costs less. Every program ran alone, on an empty database of its own,
one run of each after the other and then again; Redis stands beside PostgreSQL for scale and counts in no goal.

After each of Tenuto's runs the tables are looked into: nothing lost, each job completed in one attempt, every invariant
of `tenuto doctor` kept. A run that does not pass has no figure.

"""


def machine(postgres: str) -> list[str]:
    """What it ran on."""
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB; {platform.system()} {platform.release()}",
        f"load when it began: {os.getloadavg()[0]:.1f}",
        f"Tenuto {tenuto.__version__}, Python {platform.python_version()}, psycopg {psycopg.__version__}",
        postgres,
        f"SQLite {sqlite3.sqlite_version}",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def write(
    book: Book, made: Sequence[Row], programs: Mapping[str, Mapping[str, str]], facts: Sequence[str], command: str
) -> None:
    """Write the file anew."""
    parts = [
        PREFACE,
        "## Where and when\n\n",
        *(f"- {fact}\n" for fact in (f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by `{command}`", *facts)),
        "\n## The table\n\n",
        as_markdown(made),
        "\n## The programs\n\n",
        as_markdown_of_programs(programs),
        *_listed("Skipped", [f"{name}: {why}" for name, why in book.missing.items()]),
        *_listed("Not offered", book.refusals()),
        *_listed("Failed", book.failures()),
    ]
    RESULTS.write_text("".join(parts), encoding="utf-8")


def as_markdown_of_programs(programs: Mapping[str, Mapping[str, str]]) -> str:
    """Each with its settings, its durability and its semantics."""
    columns = ("version", "setting", "durability", "semantics")
    head = f"| program | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n"
    cells = (
        [name, *(said.get(column, "?").replace("|", "/") for column in columns)] for name, said in programs.items()
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _listed(title: str, items: Sequence[str]) -> list[str]:
    return [f"\n## {title}\n\n", *(f"- {item}\n" for item in items)] if items else []
