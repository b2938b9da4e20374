"""A report on Python's own standard library, made by a workflow that survives `kill -9`.

    make demo                               python examples/stdlib_report.py
    make demo ARGS=--kill-half-way          ... and it kills itself when half of the steps are done
    make demo                               ... and this one goes on where that one died

    find ──> one step for each package, side by side ──> sizes, imports ──> report

Which packages there are is read from the folder before the workflow is stored: the steps of a workflow are known
when it is enqueued. What lies in them is what the steps find out. Two things are staged, so that there is something
to see: the first attempt of `email` fails, and `json` asks to be called again a little later.
"""

import argparse
import ast
import asyncio
import os
import platform
import signal
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tenuto import Job, Snooze, StepStatus, Tenuto, Workflow, WorkflowStatus, current_job, job, results

NAME = "stdlib report"
STDLIB = Path(sysconfig.get_path("stdlib"))
FAILS_ONCE, SNOOZES_ONCE = "email", "json"
MODULE_STEPS = 4  # the modules that lie in no package are shared out among so many steps
SLOTS = 4
ONE_PARSES = threading.Lock()  # Python 3.11 fails at times when two threads parse at once

# ── the jobs: plain functions, so each runs in a thread ───────────────────────────────────────────


@job
def find(folder: str, packages: list[str]) -> dict[str, list[str]]:
    """The files of each package, and the modules beside them in equal shares."""
    root = Path(folder)
    files = {name: [str(path) for path in sorted((root / name).rglob("*.py"))] for name in packages}
    modules = [str(path) for path in sorted(root.glob("*.py"))]
    return files | {f"modules {nth + 1}": modules[nth::MODULE_STEPS] for nth in range(MODULE_STEPS)}


@job(backoff=1.0)  # seconds until the next attempt
def analyse(part: str) -> dict[str, Any]:
    """Lines, definitions and imports of one part of the library, whose files `find` has found."""
    me = current_job()
    if part == FAILS_ONCE and me.attempt == 1:
        raise ConnectionError("staged: the first attempt of this step always fails")
    if part == SNOOZES_ONCE and not me.snoozes:
        raise Snooze(1.5)  # again in 1.5 s; that spends no attempt
    counted: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    for path in map(Path, results.get_result("find")[part]):
        source = path.read_bytes()
        counted.update(files=1, lines=source.count(b"\n"))
        try:
            with ONE_PARSES:
                tree = ast.parse(source)
        except (SyntaxError, ValueError):  # some files of the library are there to be wrong
            counted.update(unreadable=1)
            continue
        for node in ast.walk(tree):
            counted.update(definitions=isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
            imports.update(imported_by(node))
    return {**counted, "imports": dict(imports), "process": os.getpid()}


def imported_by(node: ast.AST) -> Iterator[str]:
    """The top-level modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]


@job
def sizes() -> dict[str, int]:
    """Lines by part, the largest first."""
    lines = {part: found["lines"] for part, found in results.get_all_results().items()}
    return dict(sorted(lines.items(), key=lambda item: -item[1]))


@job
def imports() -> dict[str, int]:
    """How many parts import each module, the most wanted first."""
    return dict(
        Counter(name for found in results.get_all_results().values() for name in found["imports"]).most_common()
    )


@job
def report() -> dict[str, Any]:
    """What the library is, in one result."""
    largest, wanted = results.get_result("sizes"), results.get_result("imports")
    return {"parts": len(largest), "lines": sum(largest.values()), "largest": largest, "wanted": wanted}


def the_workflow() -> Workflow:
    """All steps, from the names of the packages that lie in the folder now; their own tests are left out."""
    packages = sorted(
        p.parent.name for p in STDLIB.glob("*/__init__.py") if p.parent.name not in ("test", "__phello__")
    )
    parts = [*packages, *(f"modules {nth + 1}" for nth in range(MODULE_STEPS))]
    flow = Workflow(NAME)
    flow.add("find", find.new(str(STDLIB), packages))
    for part in parts:
        flow.add(part, analyse.new(part), deps="find")
    flow.add("sizes", sizes.new(), deps=parts)
    flow.add("imports", imports.new(), deps=parts)
    flow.add("report", report.new(), deps=["sizes", "imports"])
    return flow


# ── running it ────────────────────────────────────────────────────────────────────────────────────


async def run(console: Console, file: Path, *, begin_anew: bool, kill_half_way: bool) -> bool:
    """Go on with the workflow that lies unfinished in the file, or begin one; whether it completed."""
    async with Tenuto(f"sqlite:///{file}", queues={"default": SLOTS}, lease=5) as app:  # it works from here on
        left = [] if begin_anew else await app.workflows(state="running", name=NAME, limit=1)
        if left:
            done = left[0].total - left[0].unfinished
            console.print(f"An unfinished workflow lies here: {done} of {left[0].total} steps are done. Going on.\n")
            id = left[0].id
        else:
            id = (await app.enqueue(the_workflow())).id
        await watch(console, app, id, kill_half_way=kill_half_way)
        status = await app.workflow(id).wait()
        jobs = {each.id: each for each in await app.find(workflow=id, limit=1000)}
        show_steps(console, status, jobs)
        show_graph(console, status)
        if status.outcome == "completed":
            show_report(console, await app.workflow(id).result("report"), status, await processes(app, status))
        show_way_on(console, file, status)
        return status.outcome == "completed"


async def watch(console: Console, app: Tenuto, id: str, *, kill_half_way: bool) -> None:
    """Show how the workflow stands, four times a second, until it is finished."""
    began, seen = time.monotonic(), dict[str, str]()
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            status = await app.workflow(id).status()
            if console.is_terminal:
                live.update(picture(status, time.monotonic() - began, console.encoding), refresh=True)
            else:
                tell_changes(console, status, seen, time.monotonic() - began)
            if status.is_finished:
                return
            if kill_half_way and status.unfinished <= status.total // 2:
                live.stop()
                console.print(
                    "Half of the steps are done. This process now dies by kill -9; run it again.", style="bold"
                )
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(0.25)


async def processes(app: Tenuto, status: WorkflowStatus) -> Counter[int]:
    """How many of the parts each process has done."""
    parts = [step.name for step in status.steps if step.worker == analyse.definition.name]
    return Counter([(await app.workflow(status.id).result(part))["process"] for part in parts])


# ── looking at it ─────────────────────────────────────────────────────────────────────────────────

LOOKS = {  # state -> mark, the same in ASCII, style
    "suspended": ("·", ".", "dim"),
    "scheduled": ("z", "z", "cyan"),
    "available": ("○", "o", ""),
    "executing": ("●", "*", "yellow"),
    "retryable": ("↻", "r", "magenta"),
    "completed": ("✓", "+", "green"),
    "cancelled": ("✗", "x", "red"),
    "discarded": ("✗", "x", "bold red"),
    "deleted": ("✗", "x", "red"),
}


def mark(step: StepStatus, encoding: str) -> Text:
    sign, plain, style = LOOKS[step.state]
    return Text(f"{sign if encoding.startswith('utf') else plain} {step.name}", style=style, no_wrap=True)


def picture(status: WorkflowStatus, seconds: float, encoding: str) -> RenderableType:
    """The whole workflow in a few lines: a mark for each step, and a bar."""
    grid = Table.grid(padding=(0, 2), expand=False)
    for _ in range(4):
        grid.add_column(width=17)
    marks = [mark(step, encoding) for step in status.steps]
    for nth in range(0, len(marks), 4):
        grid.add_row(*marks[nth : nth + 4])
    done, states = status.total - status.unfinished, Counter(step.state for step in status.steps)
    told = [f"{done}/{status.total} steps", f"{seconds:.0f} s", f"{states['executing']} running"]
    told += ["1 waits for its retry"] * bool(states["retryable"]) + ["1 snoozes"] * bool(states["scheduled"])
    bar = Table.grid()
    bar.add_row(ProgressBar(total=status.total, completed=done, width=76, complete_style="green"))
    return Group(grid, Text(), bar, Text(", ".join(told), style="dim"))


def tell_changes(console: Console, status: WorkflowStatus, seen: dict[str, str], seconds: float) -> None:
    """A line for each step that ended, failed or snoozed meanwhile."""
    for step in status.steps:
        if step.state != seen.get(step.name) and step.state not in ("suspended", "available", "executing"):
            why = f": {step.error.message}" if step.error and step.state == "retryable" else ""
            console.print(f"{seconds:5.1f} s  {step.name:<16} {step.state}{why}", highlight=False, soft_wrap=True)
        seen[step.name] = step.state


def show_steps(console: Console, status: WorkflowStatus, jobs: dict[str, Job[Any, Any]]) -> None:
    """A table of the steps: how each ended, after how many attempts, with which result."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, width in (("Step", 15), ("State", 9), ("Attempts", 11), ("Result", None)):
        table.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=width)
    for step in status.steps:
        job = jobs[step.job_id]
        attempts = f"{step.attempt}, {len(job.errors)} failed" if job.errors else str(step.attempt)
        attempts += f", {job.snoozes} snooze" if job.snoozes else ""
        table.add_row(step.name, Text(step.state, style=LOOKS[step.state][2]), attempts, in_short(step))
    console.print(table, highlight=False)
    took = status.duration.total_seconds() if status.duration else 0.0
    console.print(f"\n{status.total} steps, {status.outcome} in {took:.1f} s.\n", style="bold")


def in_short(step: StepStatus) -> str:
    """A step's result in a few words. A list of steps leaves out results that are long."""
    match step.result:
        case {"files": files, "lines": lines, "definitions": definitions}:
            return f"{lines:,} lines, {definitions:,} defs, {files} files"
        case None if step.has_result:
            return "long, so not shown here"
        case None:
            return step.error.message if step.error else ""
        case {**entries}:
            return f"{len(entries)} entries"
        case found:
            return str(found)


def show_graph(console: Console, status: WorkflowStatus) -> None:
    """The graph in text: steps with the same deps on one level, each level behind the one above it."""
    levels: dict[tuple[str, ...], list[str]] = {}
    for step in status.steps:
        levels.setdefault(step.deps, []).append(step.name)
    console.print("The graph: each step waits for all steps of the level above it.", style="bold")
    for depth, names in enumerate(levels.values()):
        level = Table.grid()
        level.add_row(*[Text("   " * (depth - 1) + "└─ ", style="dim")] * bool(depth), ", ".join(names))
        console.print(level, highlight=False)
    console.print()


def show_report(console: Console, found: dict[str, Any], status: WorkflowStatus, by: Counter[int]) -> None:
    version = platform.python_version()
    console.print(f"The standard library of Python {version}: {found['lines']:,} lines.", style="bold")
    bars = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("largest parts", "", "", "most imported", ""):
        bars.add_column(heading, justify="right" if not heading else "left")
    largest, wanted = list(found["largest"].items())[:6], list(found["wanted"].items())[:6]
    for (name, lines), (module, parts) in zip(largest, wanted, strict=True):
        bar = ProgressBar(total=largest[0][1], completed=lines, width=16, complete_style="cyan", finished_style="cyan")
        bars.add_row(name, bar, f"{lines:,} lines", module, f"by {parts} parts")
    console.print(bars, highlight=False)
    if len(by) > 1:
        told = ", ".join(f"process {pid} did {count}" for pid, count in by.items())
        console.print(f"\nOf the {by.total()} parts {told}; what was done before the kill was not done again.")


def show_way_on(console: Console, file: Path, status: WorkflowStatus) -> None:
    """Where the data lies, and what to try next."""
    script = Path(sys.executable).with_name("tenuto")
    tenuto = os.path.relpath(script) if script.exists() else f"{sys.executable} -m tenuto"
    failed = next(step.job_id for step in status.steps if step.name == FAILS_ONCE)
    console.print(f"\nIt all lies in {file}\nLook around:\n", style="bold", soft_wrap=True, highlight=False)
    console.print(f"  export TENUTO_URL=sqlite:///{file}", soft_wrap=True, highlight=False)
    for words in (f"workflows show {status.id}", f"jobs show {failed}", "queues list", "doctor"):
        console.print(f"  {tenuto} {words}", soft_wrap=True, highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description="A workflow over the source of the standard library.")
    parser.add_argument("--folder", type=Path, default=Path("tenuto-demo"), help="for the database (%(default)s)")
    parser.add_argument("--new", action="store_true", help="leave what is unfinished there alone, and begin anew")
    parser.add_argument("--kill-half-way", action="store_true", help="die by kill -9 when half of the steps are done")
    asked = parser.parse_args()
    console = Console()
    try:
        ended_well = asyncio.run(
            run(console, asked.folder.resolve() / "stdlib.db", begin_anew=asked.new, kill_half_way=asked.kill_half_way)
        )
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is lost: run it again, and it goes on.")
        return 130
    return 0 if ended_well else 1


if __name__ == "__main__":
    raise SystemExit(main())
