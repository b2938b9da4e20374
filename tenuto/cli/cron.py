"""`tenuto cron`: list the entries, tell when one is due next, and pause, resume or run one."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeAlias

import typer
from rich.text import Text

from tenuto.app import Tenuto
from tenuto.cli.door import ask
from tenuto.cli.options import AsJson
from tenuto.cli.output import FAINT, ago, clean, cut, document, instant, note, say, style_of, table
from tenuto.schedule import CronStatus, Schedule

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The entry.")]

MOST: Final = 1000

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List cron entries; pause, resume and run them."
)


@commands.command("list")
def list_crons(context: typer.Context, as_json: AsJson = False) -> None:
    """List entries: when they are due, what became of the last job, and which ones nobody fires."""
    found = ask(context, lambda app: app.cron.list())
    if as_json:
        document(found)
    elif found:
        _print_list(found)
    else:
        note("no node has declared a cron entry")


def _print_list(found: Sequence[CronStatus]) -> None:
    made = table("name", "when", "~timezone", "next", "last", "~worker")
    for entry in found:
        state = str(entry.last_job_state or "")
        last = Text.assemble(ago(entry.last_minute), " ", (state, style_of(state)))
        worker = "" if entry.worker == entry.name else entry.worker
        made.add_row(clean(entry.name), clean(entry.expression), cut(entry.timezone), _next(entry), last, cut(worker))
    say(made)


def _next(entry: CronStatus) -> Text:
    if entry.is_paused:
        return Text("paused", "yellow")
    if entry.is_stale:
        return Text("stale", "red")
    return Text(ago(entry.next_at)) if entry.next_at else Text("never", FAINT)


@commands.command("next")
def show_next(
    context: typer.Context,
    name: Name,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=MOST, help="How many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the next minutes in which an entry is due."""
    minutes, entry = ask(context, lambda app: _look(app, name, count))
    if as_json:
        document(minutes)
    else:
        say(Text(f"{entry.in_words}, {entry.timezone}"), *(Text(instant(minute)) for minute in minutes))


async def _look(app: Tenuto, name: str, count: int) -> tuple[Sequence[datetime], CronStatus]:
    minutes = await app.cron.next(name, count)
    return minutes, await _entry(app, name)


async def _entry(app: Tenuto, name: str) -> CronStatus:
    return next(entry for entry in await app.cron.list() if entry.name == name)


@commands.command()
def pause(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Fire an entry no more, on any node, until it is resumed."""
    _tell(context, name, Schedule.pause, f"{clean(name)} paused", as_json)


@commands.command()
def resume(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Fire a paused entry again; what was due meanwhile is not made up for."""
    _tell(context, name, Schedule.resume, f"{clean(name)} resumed", as_json)


@commands.command()
def run(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Enqueue an entry's job once, now, by a node that declares it."""
    _tell(context, name, Schedule.run, f"{clean(name)} will run now", as_json)


def _tell(
    context: typer.Context,
    name: str,
    act: Callable[[Schedule, str], Awaitable[None]],
    told: str,
    as_json: bool,
) -> None:
    async def do(app: Tenuto) -> CronStatus:
        await act(app.cron, name)
        return await _entry(app, name)

    found = ask(context, do)
    if as_json:
        document(found)
    else:
        say(Text(told))
