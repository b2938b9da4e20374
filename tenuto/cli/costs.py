"""`tenuto workflows costs` and `tenuto workflows debug`: what workflows used of models, and what they asked them."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from tenuto.cli.door import ask
from tenuto.cli.options import AsJson
from tenuto.cli.output import FAINT, clean, cut, document, note, say, stored, table
from tenuto.llm.costs import BY, Cost, Costs
from tenuto.llm.debugging import DebugEntry

Day = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="A day of UTC, or an instant with its offset: 2026-03-01T14:00Z."),
]
_FIELDS: Final = ("workflow", "name", "step", "worker", "model", "period")


def costs(
    context: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One workflow; without it, all jobs.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="WHAT", help=f"What to sum up by ({', '.join(BY)}); may be given again.")
    ] = None,
    step: Annotated[str | None, typer.Option(metavar="NAME", help="Steps of this name.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="This model.")] = None,
    since: Day = None,
    until: Day = None,
    as_json: AsJson = False,
) -> None:
    """Show what was used of models, and what that costs by the prices of the settings."""
    asked: dict[str, Any] = {"by": by or ["model"], "workflow": id, "step": step, "model": model}
    asked |= {"since": _instant("--since", since), "until": _instant("--until", until)}
    found = ask(context, lambda app: app.costs(**asked))
    if as_json:
        document({"by": found.by, "rows": [_plain(row) for row in found.rows], "total": _plain(found.total)})
    elif not found.rows:
        note("no usage of models fits")
    else:
        _show(found)


def _show(found: Costs) -> None:
    columns = [name for name in _FIELDS if any(getattr(row, name) is not None for row in found.rows)]
    made = table(*columns, ">requests", ">input", ">cached", ">output", ">cost")
    for row in found.rows:
        made.add_row(*(cut(getattr(row, name) or "") for name in columns), *_counted(row))
    if len(found.rows) > 1:
        made.add_row("total", *[""] * (len(columns) - 1), *_counted(found.total))
    say(made)
    if found.total.unpriced:
        told = f"without a price: {', '.join(map(clean, found.total.unpriced))}; the others cost {found.total.known:f}"
        say(Text(told, FAINT))


def _counted(cost: Cost) -> tuple[str, ...]:
    tokens = (cost.requests, cost.input_tokens, cost.cached_tokens, cost.output_tokens)
    return (*(f"{each:,}" for each in tokens), "unknown" if cost.cost is None else f"{cost.cost:f}")


def _plain(cost: Cost) -> dict[str, Any]:
    """As JSON has it: money as text, which is exact, and null where it is unknown."""
    found = {name: getattr(cost, name) for name in Cost.__slots__}
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in found.items()}


def _instant(option: str, said: str | None) -> datetime | None:
    if said is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(said), time(), UTC)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(f"{option} {said!r:.80} is no day and no instant; write 2026-03-01") from None
    if found.utcoffset() is None:
        raise typer.BadParameter(f"{option} {said!r:.80} says no offset from UTC; write {said:.20}Z")
    return found


# ── debug ─────────────────────────────────────────────────────────────────────────────────────────


def debug(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The workflow.")],
    step: Annotated[str | None, typer.Option(metavar="NAME", help="One step.")] = None,
    attempt: Annotated[int | None, typer.Option(metavar="NUMBER", help="One attempt of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the steps of a workflow made with debug=True asked models, and what they were answered."""
    found = ask(context, lambda app: app.workflow(id).debug(step, attempt=attempt))
    if as_json:
        document([_entry(entry) for entry in found])
    elif not found:
        note("nothing is logged; a workflow is logged that was made with debug=True")
    else:
        say(*(line for entry in found for line in _lines(entry)))


def _entry(entry: DebugEntry) -> dict[str, Any]:
    found = {name: getattr(entry, name) for name in DebugEntry.__slots__}
    return {**found, "content": stored(entry.content)}


def _lines(entry: DebugEntry) -> list[Text]:
    heading = (
        f"{clean(entry.step or entry.job_id)}, attempt {entry.attempt}: {entry.kind} at {entry.at:%Y-%m-%d %H:%M:%S}"
    )
    lines = [Text(heading, "bold")]
    if entry.note is not None:
        lines.append(Text(f"  {clean(entry.note)}", FAINT))
    if entry.content is not None:
        text = entry.content if isinstance(entry.content, str) else _pretty(entry.content)
        lines += [Text(f"  {clean(line)}") for line in text.splitlines() or [""]]
    return lines


def _pretty(content: Any) -> str:
    return json.dumps(stored(content), ensure_ascii=False, indent=2)
