"""`tenuto jobs`: list, show, cancel, retry and delete."""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from tenuto.app import Tenuto
from tenuto.cli.door import ask
from tenuto.cli.options import (
    AsJson,
    Before,
    Ids,
    Limit,
    Queue,
    State,
    Tag,
    Worker,
    WorkflowId,
    Yes,
    given,
)
from tenuto.cli.output import (
    FAINT,
    ago,
    clean,
    coloured,
    console,
    document,
    instant,
    marked,
    note,
    pairs,
    preview,
    say,
    stored,
    table,
    took,
)
from tenuto.errors import CodecError, EmptyFilter, InvalidRequest, KeyUnavailable, NotFound, NothingRecorded
from tenuto.job import IDENTIFIERS, Failure, Job, JobState
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.storage.signals import SignalWait
from tenuto.tagged import Sealed

AnyJob = Job[Any, Any]

WIDE: Final = 100  # columns of a terminal that has room for everything
MANY: Final = 10  # more jobs than this are not changed by a filter before somebody said yes

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, cancel, retry and delete jobs.")


# ── list ──────────────────────────────────────────────────────────────────────────────────────────


@commands.command("list")
def list_jobs(
    context: typer.Context,
    state: State = None,
    queue: Queue = None,
    worker: Worker = None,
    workflow: WorkflowId = None,
    tag: Tag = None,
    limit: Limit = 20,
    before: Before = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first. Their args are not in it."""
    which = given(state=state, queue=queue, worker=worker, workflow=workflow, tag=tag)
    found = ask(context, lambda app: app.find(**which, limit=limit, before=before))
    if as_json:
        document([_listed(job) for job in found])
    elif found:
        _print_list(found, is_full=len(found) == limit)
    else:
        note("no job fits")


def _listed(job: AnyJob) -> dict[str, Any]:
    """A job as a list shows it: without args, meta and errors."""
    return {
        "id": job.id,
        "state": str(job.state),
        "queue": job.queue,
        "worker": job.worker,
        "tags": job.tags,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "inserted_at": job.inserted_at,
        "scheduled_at": job.scheduled_at,
        "attempted_at": job.attempted_at,
        "attempted_by": job.attempted_by,
        "finished_at": job.finished_at,
        "workflow_id": job.workflow_id,
        "unique_key": _kept(job).get("key"),
    }


def _print_list(jobs: Sequence[AnyJob], *, is_full: bool) -> None:
    where = console()
    has_tries = where.width >= WIDE
    made = table("id", "state", *([">try"] if has_tries else []), ">when", "queue", "worker")
    room = where.width - len(jobs[0].id) - len("discardedin 59m") - 8 - 5 * has_tries
    for_queues = min(room // 2, max(5, *(len(job.queue) for job in jobs)))
    for job in jobs:
        tries = [str(job.attempt or "")] if has_tries else []
        queue, worker = _tail(job.queue, for_queues), _tail(job.worker, room - for_queues - 2)
        made.add_row(job.id, coloured(job.state), *tries, _when(job), clean(queue), clean(worker))
    say(made)
    if is_full and sys.stdout.isatty():
        say(Text(f"older ones: --before {jobs[-1].id}", FAINT))


def _tail(name: str, most: int) -> str:
    """The end of a long name: of a dotted one that part tells most."""
    return name if len(name) <= most else "…" + name[len(name) - most + 1 :]


def _when(job: AnyJob) -> str:
    """What last happened to it, or will happen next."""
    if _is_far(job):
        return "for a signal"
    is_to_come = job.state in (JobState.SCHEDULED, JobState.RETRYABLE)
    return ago(job.scheduled_at if is_to_come else job.finished_at or job.attempted_at or job.inserted_at)


def _is_far(job: AnyJob) -> bool:
    """Whether it waits for a signal, and for as long as that takes."""
    return job.state is JobState.SCHEDULED and job.scheduled_at is not None and job.scheduled_at.year >= 2999


# ── show ──────────────────────────────────────────────────────────────────────────────────────────


class _Shown(NamedTuple):
    """A job with what is known around it."""

    job: AnyJob
    workflow: WorkflowStatus | None
    step: StepStatus | None
    is_known: bool  # whether a live node knows its worker
    has_recorded: bool
    recorded: Any
    signals: Sequence[SignalWait] = ()  # that it waits for


@commands.command("show")
def show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The job.")],
    as_json: AsJson = False,
) -> None:
    """Show everything about one job, its args and errors included."""
    shown = ask(context, lambda app: _look(app, id))
    if as_json:
        document(_whole(shown))
    else:
        _print_job(shown)


async def _look(app: Tenuto, id: str) -> _Shown:
    job = await app.fetch(id)
    known = {worker for node in await app.nodes() for worker in node.workers}
    workflow = None
    if job.workflow_id is not None:
        try:
            workflow = await app.workflow(job.workflow_id).status()
        except NotFound:
            workflow = None
    steps = workflow.steps if workflow is not None else ()
    step = next((step for step in steps if step.job_id == job.id), None)
    recorded = await _recorded(app, job)
    return _Shown(job, workflow, step, job.worker in known, *recorded, await app.waits(job))


async def _recorded(app: Tenuto, job: AnyJob) -> tuple[bool, Any]:
    """Whether it recorded anything, and what: here are no keys, so it stays sealed where it is."""
    try:
        return True, await app.recorded(job)
    except NothingRecorded:
        return False, None
    except KeyUnavailable as closed:
        return True, Sealed(closed.key_id, closed.worker, "")
    except CodecError as fault:
        return True, fault


def _whole(shown: _Shown) -> dict[str, Any]:
    job = shown.job
    return {
        **_listed(job),
        "args": stored(job.args),
        "meta": stored(job.meta),
        "errors": job.errors,
        "timeout": job.timeout,
        "deadline_at": job.deadline_at,
        "deadline_force": job.deadline_force,
        "snoozes": job.snoozes,
        "rescues": job.rescues,
        "suspicions": job.suspicions,
        "cancel_requested_at": job.cancel_requested_at,
        "chain_key": job.chain_key,
        "workflow_name": None if shown.workflow is None else shown.workflow.name,
        "step": None if shown.step is None else shown.step.name,
        "deps": [] if shown.step is None else shown.step.deps,
        "waits_for": [wait.name for wait in shown.signals],
        "worker_is_known": shown.is_known,
        "has_recorded": shown.has_recorded,
        "recorded": stored(shown.recorded),
    }


def _print_job(shown: _Shown) -> None:
    job, step = shown.job, shown.step
    facts = {
        "job": job.id,
        "state": _state(job),
        "worker": job.worker,
        "queue": job.queue,
        "priority": str(job.priority) if job.priority else "",
        "tags": ", ".join(job.tags),
        "attempt": f"{job.attempt} of {job.max_attempts}" + _extras(job),
        "timeout": took(None if job.timeout is None else job.timeout.total_seconds()),
        "unique": _unique(job),
        "workflow": _place_of(shown),
        "waits for": ", ".join(_unmet(shown)),
        "inserted": instant(job.inserted_at),
        "scheduled": "" if _is_far(job) else instant(job.scheduled_at),
        "attempted": instant(job.attempted_at) + (f" by {job.attempted_by}" if job.attempted_by else ""),
        "finished": instant(job.finished_at),
        "deadline": instant(job.deadline_at) + (", also when it runs" if job.deadline_force else ""),
        "args": preview(job.args, most=10_000),
        "meta": _own_meta(job),
        "result": _result(step) if step is not None else "",
        "recorded": preview(shown.recorded, most=2_000) if shown.has_recorded else "",
    }
    say(pairs(facts))
    for failure in reversed(job.errors):
        _print_failure(failure)
    if not shown.is_known and not job.state.is_terminal:
        note(f"no live node knows the worker {job.worker}; start one that imports it")


def _state(job: AnyJob) -> Text:
    asked = " (cancel asked)" if job.cancel_requested_at and not job.state.is_terminal else ""
    return Text.assemble(marked(job.state), (asked, FAINT))


def _extras(job: AnyJob) -> str:
    counts = {"snoozed": job.snoozes, "rescued": job.rescues, "running at the death of a process": job.suspicions}
    return "".join(f", {what} {count}×" for what, count in counts.items() if count)


def _unique(job: AnyJob) -> str:
    """What keeps others out: the beginning of its key, and the states in which it does."""
    kept = _kept(job)
    return f"key {kept['key'][:12]}… while {clean(kept['states'].replace(' ', ', '))}" if kept else ""


def _kept(job: AnyJob) -> dict[str, str]:
    return dict(json.loads(job.unique_key or "{}"))


def _place_of(shown: _Shown) -> str:
    if shown.job.workflow_id is None:
        return ""
    named = shown.workflow.name if shown.workflow is not None and shown.workflow.name else ""
    step = f"step {shown.step.name} of " if shown.step is not None else ""
    return f"{step}{named} {shown.job.workflow_id}".replace("  ", " ")


def _own_meta(job: AnyJob) -> str:
    """What the user wrote into meta: the workflow is told elsewhere."""
    meta: Any = job.meta
    if isinstance(meta, CodecError):  # it cannot be read
        return preview(meta)
    own = {key: value for key, value in meta.items() if key not in IDENTIFIERS}
    return preview(own, most=10_000) if own else ""


def _unmet(shown: _Shown) -> list[str]:
    """What a job still waits for: signals, deps, or its turn."""
    if shown.signals:
        return [f"the signal {clean(wait.name)}" for wait in shown.signals]
    if shown.job.chain_key is not None and shown.job.state is JobState.SUSPENDED:
        return ["its turn in its chain"]
    if shown.step is None or shown.workflow is None or shown.job.state is not JobState.SUSPENDED:
        return []
    fates = {step.name: step.fate for step in shown.workflow.steps}
    return [dep for dep in shown.step.deps if fates.get(dep) is None]


def _result(step: StepStatus) -> str:
    if not step.has_result:
        return ""
    return "stored, too long to show here" if step.result is None else preview(step.result, most=2_000)


def _print_failure(failure: Failure) -> None:
    head = Text().append(f"\nattempt {failure.attempt}, {instant(failure.at)}: ", FAINT)
    say(head.append(clean(f"{failure.type}: {failure.message}", keep="\n"), "red"))
    if failure.traceback:
        say(Text(clean(failure.traceback.rstrip(), keep="\n\t")))


# ── cancel, retry, delete ─────────────────────────────────────────────────────────────────────────


@commands.command("cancel")
def cancel(
    context: typer.Context,
    ids: Ids = None,
    state: State = None,
    queue: Queue = None,
    worker: Worker = None,
    workflow: WorkflowId = None,
    tag: Tag = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs, by id or by filter, and the steps that wait for them. Prints the ids it changed."""
    which = given(state=state, queue=queue, worker=worker, workflow=workflow, tag=tag)
    ask(context, lambda app: _steer(app, "cancel", app.cancel, ids or [], which, yes, as_json))


@commands.command("retry")
def retry(
    context: typer.Context,
    ids: Ids = None,
    state: State = None,
    queue: Queue = None,
    worker: Worker = None,
    workflow: WorkflowId = None,
    tag: Tag = None,
    keep_results: Annotated[
        bool, typer.Option("--keep-results", help="Keep what the steps stored, so that those do not run again.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make jobs due again, by id or by filter. Prints the ids it changed."""
    which = given(state=state, queue=queue, worker=worker, workflow=workflow, tag=tag)

    ask(
        context,
        lambda app: _steer(app, "retry", partial(app.retry, keep_results=keep_results), ids or [], which, yes, as_json),
    )


@commands.command("delete")
def delete(
    context: typer.Context,
    ids: Ids = None,
    state: State = None,
    queue: Queue = None,
    worker: Worker = None,
    workflow: WorkflowId = None,
    tag: Tag = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that are not running, by id or by filter. Prints the ids it deleted."""
    which = given(state=state, queue=queue, worker=worker, workflow=workflow, tag=tag)
    ask(context, lambda app: _steer(app, "delete", app.delete, ids or [], which, yes, as_json))


async def _steer(
    app: Tenuto,
    verb: str,
    act: Callable[..., Awaitable[list[str]]],
    ids: Sequence[str],
    which: dict[str, Any],
    is_sure: bool,
    as_json: bool,
) -> None:
    """Do it to the jobs named, or to those a filter finds; print the ids it changed."""
    if ids and which:
        raise InvalidRequest(f"{verb} takes ids or a filter, not both")
    if not ids and not which:
        raise EmptyFilter(verb)
    if which and not is_sure:
        await _be_sure(app, verb, which)
    changed = await (act(ids) if ids else act(**which))
    if as_json:
        document(changed)
    else:
        print(*changed, sep="\n", end="\n" if changed else "")
    await _explain(app, verb, [id for id in ids if id not in changed])
    if not changed and not ids:
        note(f"no job that fits can be changed by {verb}")


async def _be_sure(app: Tenuto, verb: str, which: dict[str, Any]) -> None:
    """Ask a person at a terminal before a filter changes many jobs."""
    if sys.stdin.isatty() and len(await app.find(**which, limit=MANY + 1)) > MANY:
        typer.confirm(f"More than {MANY} jobs fit. {verb.capitalize()} all of them?", abort=True, err=True)


async def _explain(app: Tenuto, verb: str, unchanged: Sequence[str]) -> None:
    """Say why jobs that were named are as they were. Raises JobNotFound for one that does not exist."""
    for id in unchanged:
        job = await app.fetch(id)
        note(f"job {job.id} is {job.state}: {verb} changes nothing")
