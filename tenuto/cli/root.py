"""The root of the command line: global options, `migrate`, `version`, and the doors to the rest."""

import asyncio
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tenuto
from tenuto import codec
from tenuto.app import Tenuto
from tenuto.cli import cron, doctor, jobs, queues, work, workflows
from tenuto.cli.door import ask, helpful, settings
from tenuto.cli.options import AsJson
from tenuto.cli.output import document, pairs, say
from tenuto.errors import Undecodable
from tenuto.features.keys import KeyRing

GLOBAL = ("--url", "--schema")


class _Anywhere(TyperGroup):
    """A group whose global options may also stand behind the command, where people write them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _hoisted(args))


def _hoisted(args: list[str]) -> list[str]:
    """The arguments with the global options in front; what follows `--` stays where it is."""
    end = args.index("--") if "--" in args else len(args)
    front: list[str] = []
    rest: list[str] = []
    words = iter(args[:end])
    for word in words:
        if word in GLOBAL:
            front += [word, *([following] if (following := next(words, None)) is not None else [])]
        elif word.startswith(tuple(f"{name}=" for name in GLOBAL)):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest, *args[end:]]


root = typer.Typer(
    cls=_Anywhere,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
root.add_typer(jobs.commands, name="jobs")
root.add_typer(queues.commands, name="queues")
root.add_typer(workflows.commands, name="workflows")
root.add_typer(cron.commands, name="cron")
root.command("work")(work.work)
root.command("doctor")(doctor.doctor)


@root.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The database: sqlite:///jobs.db or postgresql://…; else TENUTO_URL or tenuto.toml."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The PostgreSQL schema that holds the tables; else TENUTO_SCHEMA or tenuto."),
    ] = None,
) -> None:
    """Durable jobs and workflows, on SQLite or PostgreSQL."""
    context.obj = {"url": url, "schema": schema}


@root.command()
def migrate(
    context: typer.Context,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of every version, and connect to nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make Tenuto's tables, or bring them up to date."""
    with helpful():
        app = Tenuto(**settings(context), queues={})
        if sql:
            document({"sql": app.migrations()}) if as_json else print(app.migrations())
            return
        ran = asyncio.run(app.migrate())
        if as_json:
            document({"database": app.config.place, "versions": ran})
            return
        versions = ", ".join(map(str, ran))
        say(f"{app.config.place}: " + (f"migrated to version {versions}" if ran else "up to date, nothing to run"))


@root.command()
def signal(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The workflow, or the job that is no step.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What its jobs call it.")],
    value: Annotated[str, typer.Option("--value", metavar="JSON", help="What they are told; else null.")] = "null",
    as_json: AsJson = False,
) -> None:
    """Send a signal to a workflow or a job that waits for it, now or later. The first one of a name counts."""
    try:
        told = codec.decode(value)
    except Undecodable:
        raise typer.BadParameter(f"--value {value!r:.80} is no JSON; a text needs its quotes: '\"yes\"'") from None
    is_first = ask(context, lambda app: app.signal(id, name, told))
    if as_json:
        document({"id": id, "name": name, "is_first": is_first})
    elif is_first:
        say(f"signal {name} was sent to {id}")
    else:
        say(f"signal {name} had been sent to {id} before; the first one counts")


@root.command()
def version(as_json: AsJson = False) -> None:
    """Tell the versions of Tenuto and of what it stands on."""
    found = {
        "tenuto": tenuto.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "psycopg": _version("psycopg"),
    }
    if as_json:
        document(found)
    else:
        say(pairs({**found, "psycopg": found["psycopg"] or "not installed: pip install 'tenuto[postgres]'"}))


@root.command()
def keygen(as_json: AsJson = False) -> None:
    """Make a key for encrypted workers: 32 random bytes in Base64. It is stored nowhere."""
    key = KeyRing.new_key()
    if as_json:
        document({"key": key})
    else:
        print(key)


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a mark gets a question mark
    root(prog_name="tenuto")
