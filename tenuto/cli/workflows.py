"""`tenuto workflows`: list, show as a tree, draw, watch until the end, cancel, retry, and run one from a file."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tenuto import draw
from tenuto.app import Tenuto
from tenuto.cli import costs
from tenuto.cli.door import BROKEN, ask, helpful, settings
from tenuto.cli.options import AsJson, Before, Limit
from tenuto.cli.output import FAINT, ago, clean, console, cut, document, marked, note, plain, say, stored, table, took
from tenuto.cli.tree import heading, progress, tree
from tenuto.cli.work import find
from tenuto.errors import ConfigError, StorageUnavailable, WaitTimedOut
from tenuto.handles import WorkflowHandle
from tenuto.sizes import TEMPLATE_MOST
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.workflow import Workflow

LINES: Final = 60  # of a tree, unless all are asked for
LOOK_EVERY: Final = 0.5  # seconds

Id: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The workflow.")]


class State(StrEnum):
    """Where a workflow stands."""

    RUNNING = "running"
    FINISHED = "finished"


commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show, draw, watch, cancel, retry and run workflows; what their models cost and said.",
)


# ── list ──────────────────────────────────────────────────────────────────────────────────────────


@commands.command("list")
def list_workflows(
    context: typer.Context,
    state: Annotated[
        State | None, typer.Option(metavar="STATE", help="Workflows that are running or finished.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Workflows of this name.")] = None,
    limit: Limit = 20,
    before: Before = None,
    as_json: AsJson = False,
) -> None:
    """List workflows, newest first."""
    asked = None if state is None else str(state)
    found = ask(context, lambda app: app.workflows(state=asked, name=name, limit=limit, before=before))
    if as_json:
        document([_listed(status) for status in found])
        return
    if not found:
        note("no workflow fits")
        return
    made = table("id", "~name", "state", ">steps", ">took", ">stored")
    for status in found:
        made.add_row(*_row(status))
    say(made)
    if len(found) == limit and sys.stdout.isatty():
        say(Text(f"older ones: --before {found[-1].id}", FAINT))


def _row(status: WorkflowStatus) -> tuple[Any, ...]:
    settled = f"{status.total - status.unfinished}/{status.total}"
    lasted = took(None if status.duration is None else status.duration.total_seconds())
    return (
        status.id,
        cut(status.name or ""),
        marked(status.outcome or status.state),
        settled,
        lasted,
        ago(status.inserted_at),
    )


def _listed(status: WorkflowStatus) -> dict[str, Any]:
    found: dict[str, Any] = plain(status)
    del found["steps"]
    return {**found, "duration": status.duration}


# ── show ──────────────────────────────────────────────────────────────────────────────────────────


@commands.command("show")
def show(
    context: typer.Context,
    id: Id,
    every: Annotated[bool, typer.Option("--all", help="Every step, however many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a workflow and its steps as a tree: state, attempt, duration, result or reason."""
    status = ask(context, lambda app: app.workflow(id).status())
    if as_json:
        document(_whole(status))
    else:
        say(heading(status), tree(status, most=None if every else LINES))


def _whole(status: WorkflowStatus) -> dict[str, Any]:
    return {**_listed(status), "steps": [_step(step) for step in status.steps]}


def _step(step: StepStatus) -> dict[str, Any]:
    fields = ("name", "parent", "is_group", "job_id", "worker", "deps", "state", "fate", "attempt")
    flags = ("ignore_cancelled", "ignore_discarded", "ignore_deleted")
    return {
        **{field: getattr(step, field) for field in (*fields, *flags, "attempted_at", "finished_at", "error")},
        "waits_for": step.waits_for,
        "has_result": step.has_result,
        "result": stored(step.result),
    }


# ── graph ─────────────────────────────────────────────────────────────────────────────────────────


@commands.command("graph")
def graph(
    context: typer.Context,
    id: Id,
    as_svg: Annotated[bool, typer.Option("--svg", help="As an SVG image.")] = False,
    as_dot: Annotated[bool, typer.Option("--dot", help="As DOT, for Graphviz.")] = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="As Mermaid, for Markdown pages.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The file to write, in place of stdout.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a workflow as it stands: as a tree here, or as SVG, DOT or Mermaid; as JSON, the boxes that are drawn."""
    asked = [
        made for is_asked, made in ((as_svg, draw.svg), (as_dot, draw.dot), (as_mermaid, draw.mermaid)) if is_asked
    ]
    if len(asked) + as_json > 1 or (output is not None and not asked):
        raise typer.BadParameter("name one format: --svg, --dot or --mermaid")
    status = ask(context, lambda app: app.workflow(id).status())
    if as_json:
        document([box._asdict() for box in draw.boxes(status)])
        return
    if not asked:
        say(heading(status), tree(status))
        return
    with helpful():
        drawn = asked[0](status)
    if output is None:
        sys.stdout.write(drawn)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None


# ── watch ─────────────────────────────────────────────────────────────────────────────────────────


@commands.command("watch")
def watch(context: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Watch a workflow until it is finished. Leaves with code 1 when it failed."""
    _end(ask(context, lambda app: _watched(app.workflow(id), as_json=as_json)), as_json=as_json)


async def _watched(workflow: WorkflowHandle, *, as_json: bool) -> WorkflowStatus:
    if as_json:
        return await workflow.wait()
    return await (_watch_live(workflow, console()) if sys.stdout.isatty() else _watch_plainly(workflow))


def _end(status: WorkflowStatus, *, as_json: bool) -> None:
    if as_json:
        document(_whole(status))
    if status.outcome == "failed":
        raise typer.Exit(BROKEN)


async def _watch_live(workflow: WorkflowHandle, terminal: Console) -> WorkflowStatus:
    """Draw it anew twice a second, in as many lines as the terminal has."""
    status = await workflow.status()
    with Live(_frame(status, terminal), console=terminal, auto_refresh=False) as live:
        while not status.is_finished:
            status = await _next(workflow, status)
            live.update(_frame(status, terminal), refresh=True)
    return status


def _frame(status: WorkflowStatus, terminal: Console) -> Group:
    return Group(heading(status), tree(status, most=max(3, terminal.height - 5)))


async def _watch_plainly(workflow: WorkflowHandle) -> WorkflowStatus:
    """A line for each time that something settled, and the whole at the end."""
    status, told = await workflow.status(steps=False), ""
    while not status.is_finished:
        if progress(status) != told:
            told = progress(status)
            print(told, flush=True)
        status = await _next(workflow, status)
    status = await workflow.status()
    say(heading(status), tree(status, most=LINES))
    return status


async def _next(workflow: WorkflowHandle, before: WorkflowStatus) -> WorkflowStatus:
    """How it stands half a second later, or once it is finished; as before while the database is away."""
    try:
        return await workflow.wait(timeout=LOOK_EVERY)
    except WaitTimedOut:
        pass
    try:
        return await workflow.status(steps=bool(before.steps))
    except StorageUnavailable:
        return before


# ── cancel, retry ─────────────────────────────────────────────────────────────────────────────────

Steps: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="[STEP]...", help="Steps or groups by name; without any, all of it.")
]


@commands.command("cancel")
def cancel(context: typer.Context, id: Id, steps: Steps = None, as_json: AsJson = False) -> None:
    """Cancel a workflow, or steps of it and what waits for them. Prints the names of the steps it changed."""
    _say_changed(ask(context, lambda app: app.workflow(id).cancel(*steps or ())), "cancel", as_json=as_json)


@commands.command("retry")
def retry(
    context: typer.Context,
    id: Id,
    steps: Steps = None,
    keep_results: Annotated[
        bool, typer.Option("--keep-results", help="Keep what the steps stored, so that those do not run again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Retry what ended badly in a workflow, or the steps named. Prints the names of the steps it changed."""
    changed = ask(context, lambda app: app.workflow(id).retry(*steps or (), keep_results=keep_results))
    _say_changed(changed, "retry", as_json=as_json)


def _say_changed(changed: list[str], verb: str, *, as_json: bool) -> None:
    if as_json:
        document(changed)
    else:
        print(*map(clean, changed), sep="\n", end="\n" if changed else "")
    if not changed:
        note(f"{verb} changes nothing there")


# ── run ───────────────────────────────────────────────────────────────────────────────────────────


@commands.command("run")
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow as JSON; - reads it from standard input.")],
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A parameter; may be given again.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--app", metavar="MODULE[:APP]", help="The module whose workers and app it takes.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is finished; code 1 when it failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enqueue a workflow that a file holds, its parameters filled in. Nodes that work on its queues run it."""
    with helpful():
        app = None if target is None else find(target, settings(context))
        flow = Workflow.from_json(_text(file), dict(map(_parameter, param or ())))

    async def act(opened: Tenuto) -> WorkflowStatus | None:
        await opened.enqueue(flow)
        return await _watched(opened.workflow(flow.id), as_json=as_json) if wait else None

    status = ask(context, act, app)
    if status is not None:
        _end(status, as_json=as_json)
    elif as_json:
        document({"id": flow.id, "name": flow.name})
    else:
        print(flow.id)


def _text(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.read(TEMPLATE_MOST + 1)
        with file.open(encoding="utf-8") as opened:
            return opened.read(TEMPLATE_MOST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _parameter(said: str) -> tuple[str, Any]:
    name, is_told, value = said.partition("=")
    if not name or not is_told:
        raise ConfigError(f"--param {said!r:.80} says no value; write NAME=VALUE")
    return name, value


# ── the models they asked ─────────────────────────────────────────────────────────────────────────

commands.command("costs")(costs.costs)
commands.command("debug")(costs.debug)
