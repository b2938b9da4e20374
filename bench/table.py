"""The one table of a run: each case with its yardsticks, and below it its goals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table

from bench.book import Book
from bench.goals import GOALS, Goal
from bench.plan import TENUTO, Case, Subject

DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
HEADS = ("", "Tenuto", "beside it (Tenuto ÷ it)", "goal", "met")


class Row(NamedTuple):
    """One line; a goal's line has no name."""

    what: str
    tenuto: str = ""
    beside: str = ""
    goal: str = ""
    met: str = ""


def rows(book: Book, cases: Sequence[Case], *, quick: bool, scale: float) -> list[Row]:
    """Every case that was measured, and every goal, also of cases that were left out."""
    sized = not quick
    made: list[Row] = []
    for case in cases:
        goals = [goal for goal in GOALS if goal.key == case.key]
        if book.subjects(case.key) or goals:
            made.append(_case_row(book, case, case.titled(quick=quick, scale=scale)))
            made += [_goal_row(book, goal, sized=sized) for goal in goals]
    return made


def _case_row(book: Book, case: Case, title: str) -> Row:
    others = [subject for subject in book.subjects(case.key) if subject.name != TENUTO]
    beside = [_beside(book, case, subject) for subject in others]
    return Row(f"{DATABASES[case.database]}: {title}", _shown(book, case, TENUTO), "\n".join(filter(None, beside)))


def _shown(book: Book, case: Case, name: str) -> str:
    figures = book.figures(case.key, name)
    if not figures:
        return "not offered" if book.is_refused(case.key, name) else book.why(case.key, name)
    spread = book.spread(case.key, name, case.compares)
    runs = "" if spread is None else f" ({_short(spread[0])} – {_short(spread[1])})"
    return case.shows.format_map(figures) + runs


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _beside(book: Book, case: Case, subject: Subject) -> str:
    """One yardstick; what cannot do it is not in the table but in the list below."""
    mine = book.figure(case.key, TENUTO, case.compares)
    theirs = book.figure(case.key, subject.name, case.compares)
    if theirs is None:
        return "" if book.is_refused(case.key, subject.name) else f"{subject.name}: {book.why(case.key, subject.name)}"
    ratio = f" ({mine / theirs:.2f} ×)" if mine is not None and theirs else ""
    return f"{subject.name}: {_shown(book, case, subject.name)}{ratio}"


def _goal_row(book: Book, goal: Goal, *, sized: bool) -> Row:
    value = goal.measure(book)
    if value is None:
        return Row("", "", "", goal.text, _unmeasured(book, goal))
    met = "yes" if goal.is_met(value) else "no"
    return Row("", goal.shows.format(value), "", goal.text, "too small a run" if goal.is_sized and not sized else met)


def _unmeasured(book: Book, goal: Goal) -> str:
    if book.figures(goal.key, TENUTO):
        return "no yardstick"
    return "not offered" if book.is_refused(goal.key, TENUTO) else book.why(goal.key, TENUTO)


# ── how it looks ──────────────────────────────────────────────────────────────────────────────────


def as_rich(made: Sequence[Row], title: str) -> Table:
    """For the terminal."""
    table = Table(*HEADS, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for row in made:
        if row.what:
            table.add_section()
        colour = {"yes": "green", "no": "red"}.get(row.met)
        table.add_row(*row[:4], f"[{colour}]{row.met}[/]" if colour else row.met)
    return table


def as_markdown(made: Sequence[Row]) -> str:
    """For the file."""
    lines = [HEADS, ("---",) * len(HEADS), *made]
    return "".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), '<br>') for cell in line)} |\n" for line in lines
    )
