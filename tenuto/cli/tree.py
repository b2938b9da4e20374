"""A workflow's steps as a tree of text. A workflow is no tree: each step stands once, under the last of its deps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table
from rich.text import Text

from tenuto.cli.output import FAINT, GLYPHS, clean, coloured, counted, cut, preview, since, style_of, table, took
from tenuto.graph import order
from tenuto.job import JobState
from tenuto.standing import StepStatus, WorkflowStatus

DEEPEST: Final = 8  # indentations; what lies deeper is drawn there, one below the other, and names all its deps
BAR: Final = 24  # characters
NAMED: Final = 3  # deps of a step that are named beside it, at most

_TELLING: Final = ("discarded", "deleted", "executing", "retryable", "cancelled", "available", "scheduled", "suspended")


def tree(status: WorkflowStatus, *, most: int | None = None) -> Table:
    """The steps in an order in which they can run, each under the last of its deps, with the others named (`← a, b`).

    With its state, the number of its attempt, how long that took, and what came of it. Of a workflow that takes
    more than `most` lines those steps are shown that tell most (failed, running, waiting for another attempt),
    and the others are counted where they would stand.
    """
    made = table("~step", "state", ">try", ">took", "~result")
    for line in _drawn(_laid_out(status.steps), most):
        if isinstance(line.what, Counter):
            made.add_row(cut(f"{line.guide}… {_summed(line.what)}", FAINT))
        else:
            made.add_row(*_cells(line.guide, line.what))
    return made


def heading(status: WorkflowStatus) -> Text:
    """The workflow in two lines: its name and id and how it stands; how far it is, and for how long it has run."""
    state = status.outcome or status.state
    glyph, style = GLYPHS[state]
    lasted = since(status.inserted_at) if status.duration is None else status.duration.total_seconds()
    again = f", run {status.runs}" if status.runs > 1 else ""
    return Text.assemble(
        (f"{glyph} ", style),
        (f"{clean(status.name)}  " if status.name else "", "bold"),
        (status.id, FAINT),
        (f"  {state}{again}\n", style),
        _bar(status),
        f"  {progress(status)}",
        (f"  {took(lasted)}", FAINT),
    )


def _bar(status: WorkflowStatus) -> Text:
    """What has settled, well and not, and what is left, in a bar where each part that there is can be seen."""
    bad = status.cancelled + status.discarded + status.deleted
    parts = {"green": status.completed, "red": bad, FAINT: status.unfinished}
    bar = Text()
    for style, steps in parts.items():
        bar.append("━" * (max(1, round(BAR * steps / status.total)) if steps else 0), style)
    bar.truncate(BAR)
    return bar


def progress(status: WorkflowStatus) -> str:
    """How many steps have settled, how many of them not well, and how many run: `12 of 40 steps, 1 discarded`."""
    told = {
        "cancelled": status.cancelled,
        "discarded": status.discarded,
        "deleted": status.deleted,
        "executing": sum(step.state == "executing" for step in status.steps),
    }
    settled = f"{status.total - status.unfinished:,} of {status.total:,} steps"
    return ", ".join(filter(None, [settled, counted(told)]))


# ── where each step stands ────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Place:
    """One step in the drawing: the way to it from the top, its deps that the way does not show, what hangs below."""

    step: StepStatus
    way: tuple[int, ...]
    others: Sequence[str]
    above: "_Place | None"
    below: "list[_Place]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Drawn:
    step: StepStatus
    others: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the drawing: a step, or how many are left out there, by state."""

    guide: str
    what: "_Drawn | Counter[str]"


def _laid_out(steps: Iterable[StepStatus]) -> list[_Place]:
    """Every step's place, in an order in which they can run.

    The last dep is the one drawn lowest so far; so each step is drawn below all of its deps.
    """
    by_name = {step.name: step for step in steps}
    places: dict[str, _Place] = {}
    roots = 0
    for name in order({name: step.deps for name, step in by_name.items()}):
        step = by_name[name]
        if not step.deps:
            places[name] = _Place(step, (roots,), (), None)
            roots += 1
            continue
        last = max((places[dep] for dep in step.deps), key=lambda place: place.way)
        above = last if len(last.way) < DEEPEST or last.above is None else last.above
        others = [dep for dep in step.deps if dep != above.step.name]
        places[name] = _Place(step, (*above.way, len(above.below)), others, above)
        above.below.append(places[name])
    return list(places.values())


# ── which of them are shown ───────────────────────────────────────────────────────────────────────


def _drawn(places: Sequence[_Place], most: int | None) -> list[_Line]:
    """The lines of the drawing, at most `most`."""
    room = len(places) if most is None else min(most, len(places))
    ranked = _ranked(places) if room < len(places) else places
    while True:
        shown = _shown(ranked, room)
        lines = list(_lines([place for place in places if place.above is None], shown, "", is_top=True))
        if most is None or len(lines) <= most or room <= 1:
            return lines
        room -= max(1, (len(lines) - most) // 2)


def _ranked(places: Sequence[_Place]) -> list[_Place]:
    """What tells most comes first; among the rest, the steps that no other needs: they hold what came of it all."""
    needed = {dep for place in places for dep in place.step.deps}

    def rank(place: _Place) -> tuple[int, bool]:
        state = place.step.state
        return _TELLING.index(state) if state in _TELLING else len(_TELLING), place.step.name in needed

    return sorted(places, key=rank)


def _shown(ranked: Iterable[_Place], room: int) -> set[str]:
    """The names of the first steps for which there is room, with all that they hang below."""
    shown: set[str] = set()
    for place in ranked:
        way = [place]
        while way[-1].above is not None and way[-1].above.step.name not in shown:
            way.append(way[-1].above)
        if place.step.name not in shown and len(shown) + len(way) <= room:
            shown.update(each.step.name for each in way)
        if len(shown) >= room:
            break
    return shown


def _lines(places: Sequence[_Place], shown: set[str], indent: str, *, is_top: bool = False) -> Iterator[_Line]:
    """The lines of some places that stand side by side, with what hangs below them."""
    drawn = [place for place in places if place.step.name in shown]
    hidden = Counter(each.step.state for place in places if place.step.name not in shown for each in _all_below(place))
    for number, place in enumerate(drawn, start=1):
        is_last = number == len(drawn) and not hidden
        branch, onward = ("", "") if is_top else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        yield _Line(indent + branch, _Drawn(place.step, place.others))
        yield from _lines(place.below, shown, indent + onward)
    if hidden:
        yield _Line(indent + ("" if is_top else "└─ "), _by_state(hidden))


def _all_below(place: _Place) -> Iterator[_Place]:
    yield place
    for each in place.below:
        yield from _all_below(each)


def _summed(counts: "Counter[str]") -> str:
    """`12 more: 10 completed, 2 executing`, or `12 more, all completed`."""
    told = f", all {next(iter(counts))}" if len(counts) == 1 and counts.total() > 1 else f": {counted(counts)}"
    return f"{counts.total():,} more{told}"


def _by_state(counts: Mapping[str, int]) -> "Counter[str]":
    """The counts in the order of the states, for reading."""
    known = [*map(str, JobState), "deleted"]
    return Counter({state: counts[state] for state in known if counts.get(state)})


# ── one step ──────────────────────────────────────────────────────────────────────────────────────


def _cells(guide: str, drawn: _Drawn) -> tuple[Text, ...]:
    step = drawn.step
    glyph, style = GLYPHS.get(step.state, ("?", "default"))
    others = (_others(drawn.others), FAINT)
    name = Text.assemble((guide, FAINT), (f"{glyph} ", style), clean(step.name), others)
    attempt = str(step.attempt) if step.attempt else ""
    return cut(name), coloured(step.state), Text(attempt), Text(took(_lasted(step)), FAINT), cut(_outcome(step))


def _others(deps: Sequence[str]) -> str:
    if not deps:
        return ""
    more = f" and {len(deps) - NAMED:,} more" if len(deps) > NAMED else ""
    return clean(f"  ← {', '.join(deps[:NAMED])}{more}")


def _lasted(step: StepStatus) -> float | None:
    """Seconds that the last attempt took, or has been running for."""
    if step.attempted_at is None or step.state in ("available", "retryable", "scheduled", "suspended"):
        return None
    if step.finished_at is None:
        return since(step.attempted_at) if step.state == "executing" else None
    return (step.finished_at - step.attempted_at).total_seconds()


def _outcome(step: StepStatus) -> Text:
    """What it stored, or why it did not end well."""
    if step.waits_for:
        return Text(clean(f"waits for the signal {', '.join(step.waits_for)}")[:200], FAINT)
    if step.error is not None and step.state != "completed":
        message = " ".join(clean(step.error.message, keep="\n").split())
        kind = "" if step.error.kind in ("cancel", "discard") else f"{step.error.type}: "
        return Text(f"{clean(kind)}{message}"[:200], style_of(step.state))
    if not step.has_result:
        return Text("")
    return Text("a long result", FAINT) if step.result is None else Text(preview(step.result))
