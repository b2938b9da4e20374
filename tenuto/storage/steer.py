"""What an operator does to jobs and queues, as verbs: cancel, retry, delete, update; pause and scale."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypedDict, cast
from uuid import UUID

from tenuto import codec
from tenuto.errors import InvalidJob, InvalidRequest, NeedsUnmet, UniqueConflict, WorkflowRunning
from tenuto.job import (
    EPOCH,
    EXECUTING,
    IDENTIFIERS,
    TERMINAL,
    Duration,
    Job,
    JobState,
    check_name,
    check_tags,
    id_of,
)
from tenuto.sizes import ARGS_MOST, META_MOST
from tenuto.storage.aftermath import Ended, Settled, aftermath, complete, count_fates, count_needs, reach
from tenuto.storage.chains import reopen
from tenuto.storage.database import Verb, call, last
from tenuto.storage.outbox import tell_hooks
from tenuto.storage.store import CANCELLED_BY_OPERATOR, AnyJob, micros, to_job
from tenuto.storage.unique import rivals

Named: TypeAlias = AnyJob | UUID | str
ArgsOf: TypeAlias = Callable[[AnyJob, str], str]
"""The text to store as the args of one job that is stored, made of the plain one."""

BATCH: Final = 1000  # jobs that one transaction of a filtered verb changes
MOST: Final = 100_000  # rows in one answer to people


class Filter(NamedTuple):
    """Which jobs: every field that is given must fit. `tag` is one the job has."""

    states: list[str] | None = None
    queue: str | None = None
    worker: str | None = None
    workflow_id: str | None = None
    tag: str | None = None

    @classmethod
    def of(
        cls,
        *,
        state: JobState | str | Sequence[JobState | str] | None = None,
        queue: str | None = None,
        worker: str | None = None,
        workflow: UUID | str | None = None,
        tag: str | None = None,
        **others: Any,
    ) -> Self:
        """A filter by keywords, as the store takes it. Raises InvalidRequest for a word that is no state or keyword,
        InvalidJob for a name or an id that cannot be.
        """
        for unknown in others:
            raise InvalidRequest(f"no filter is named {unknown!r}; there are state, queue, worker, workflow and tag")
        return cls(
            None if state is None else _states(state),
            None if queue is None else check_name("queue", queue),
            None if worker is None else check_name("worker", worker),
            None if workflow is None else id_of(workflow),
            None if tag is None else check_tags([tag])[0],
        )

    def inputs(self) -> dict[str, Any]:
        """As the statements take it: a tag is looked for as it stands in the stored list."""
        return {**self._asdict(), "tag": None if self.tag is None else codec.encode(self.tag)}


def _states(state: JobState | str | Sequence[JobState | str]) -> list[str]:
    several = [state] if isinstance(state, str) or not isinstance(state, Iterable) else list(state)
    for word in several:
        if word not in tuple(JobState):
            raise InvalidRequest(f"{word!r:.80} is no state of a job; there are {', '.join(JobState)}")
    return [str(word) for word in several]


def named(verb: str, jobs: Named | Iterable[Named], which: Mapping[str, Any]) -> list[str]:
    """The ids of the jobs that somebody named, each once. Raises InvalidRequest beside a filter, InvalidJob."""
    if which:
        raise InvalidRequest(f"{verb} was given jobs and a filter, {', '.join(which)}; name the jobs, or filter")
    if isinstance(jobs, Job | UUID | str):
        return [id_of(jobs)]
    if not isinstance(jobs, Iterable):
        raise InvalidRequest(f"{verb} takes jobs or ids, one or several, and not {jobs!r:.80}")
    return list(dict.fromkeys(map(id_of, jobs)))


def check_limit(limit: int) -> int:
    """The same `limit`, if so many rows may be asked for at once. Raises InvalidRequest."""
    if type(limit) is not int or not 1 <= limit <= MOST:
        raise InvalidRequest(f"limit={limit!r:.80} is out of range: 1 to {MOST:,}; before= goes on where a page ended")
    return limit


class Changes(TypedDict, total=False):
    """What may be changed of a job; a field that is not named stays as it is."""

    queue: str
    priority: int
    max_attempts: int
    timeout: Duration
    tags: Iterable[str]
    meta: Mapping[str, Any]
    args: Mapping[str, Any]
    schedule_in: Duration
    scheduled_at: datetime


class Steered(NamedTuple):
    """What an operator's verb changed; `told` are running jobs that were asked to stop."""

    ids: list[str]
    told: list[str]
    settled: Settled
    names: Mapping[str, str] = MappingProxyType({})  # of steps that were asked for by name, by the ids of their jobs


def match(which: Filter, after: str | None) -> Verb[list[str]]:
    """The next `BATCH` ids that the filter names, in id order, behind `after`."""
    rows = yield last("match", **which.inputs(), after=after, max=BATCH)
    return [row[0] for row in rows]


def cancel(ids: Sequence[str]) -> Verb[Steered]:
    """Cancel jobs: at once those that are not running; a running one is told, and its ending turns into cancelled."""
    yield from reach(ids, ids)
    rows = yield call("cancel", ids=list(ids), error=CANCELLED_BY_OPERATOR)
    yield from tell_hooks([row[0] for row in rows if row[1] != EXECUTING], "operator")
    settled = yield from aftermath([Ended(*row) for row in rows if row[1] != EXECUTING], {})
    return Steered([row[0] for row in rows], [row[0] for row in rows if row[1] == EXECUTING], settled)


def retry(
    ids: Sequence[str], *, keep_results: bool = False, strict: bool = True, together: bool = False
) -> Verb[Steered]:
    """Make jobs due again at once: any that is not running, due or waiting for its needs.

    A step's workflow lives again, and steps behind it that wait, or are retried with it or later, wait for it once
    more. Stored results of what is retried are cleared unless `keep_results`. A step with a need that ended without
    meeting it is passed over, or with `strict` refused as NeedsUnmet, and then nothing is changed; so is a job whose
    unique key another holds, as UniqueConflict, and a step that would bring a unique workflow back while another one of
    its name is unfinished, as WorkflowRunning. A group waits for its members again, and completes at once where all of
    them have ended well. A link waits for its turn, by the number it has, where another one holds its chain. Where they
    come `together`, they are needs of each other that are still to come.
    """
    yield from reach(ids)
    taken = yield from rivals(ids)
    running = {id: (name, rival) for id, name, rival in (yield call("rival_workflows", ids=list(ids)))}
    if strict:
        for id, rival in sorted(taken.items()):
            raise UniqueConflict(id, rival)
        for name, rival in running.values():
            raise WorkflowRunning(name, rival)
    free = [id for id in ids if id not in taken and id not in running]
    rows = yield call("retry", ids=free, keep_results=keep_results, together=together)
    done = {row[0] for row in rows}
    if strict and len(done) < len(ids):
        yield from _refuse_unmet([id for id in ids if id not in done])
    yield from reopen((row[3], row[4]) for row in rows)
    steps = [row[0] for row in rows if row[2] is not None]
    if steps:
        fates = yield call("fates", ids=steps)
        yield call("revive_nodes", ids=steps, keep_results=keep_results)
        unmet = yield call("unmeet", ids=steps)
        _, of_groups = yield from count_needs(unmet, -1)
        yield from count_fates([*fates, *of_groups], -1)
    after = yield from complete([row[0] for row in rows if row[5]])
    due = {row[1] for row in rows if not row[5]} | after.due
    return Steered(list(done), [], Settled(list(done), due, after.finished))


def _refuse_unmet(ids: Sequence[str]) -> Verb[None]:
    for row in (yield call("fetch", ids=list(ids))):
        job = to_job(row)
        if job.waiting_on > 0 and job.state in TERMINAL:
            raise NeedsUnmet(job.id)


def delete(ids: Sequence[str]) -> Verb[Steered]:
    """Delete jobs that are not running. Steps behind an unfinished one are cancelled unless they ignore it; a chain
    that one of them held, also after its end, goes on."""
    yield from reach(ids, ids)
    rows = yield call("delete", ids=list(ids))
    jobs = [Ended(*row)._replace(state="deleted") for row in rows if row[1] not in TERMINAL or row[5] is not None]
    settled = yield from aftermath(jobs, {})
    return Steered([row[0] for row in rows], [], settled)


def update(ids: Sequence[str], changes: Changes, args_of: ArgsOf | None = None) -> Verb[Steered]:
    """Change fields of jobs that neither run nor ended. A workflow's identifiers stay in meta.

    New args are stored as `args_of` makes them for each job, of the text that they would be. Raises InvalidJob, and
    what `args_of` raises.
    """
    asked = as_stored(changes)
    yield from reach(ids)
    rows = (yield call("fetch", ids=list(ids))) if "meta" in changes or args_of else []
    own: dict[str, dict[str, Any]] = {}
    for job in map(to_job, rows):
        own[job.id] = {"meta": _meta(job.meta, changes["meta"])} if "meta" in changes else {}
        if args_of is not None:
            own[job.id]["args"] = args_of(job, asked["args"])
    rows = yield call("update", changes=[{**asked, "id": id, **own.get(id, {})} for id in sorted(ids)])
    due = {queue for _, state, queue in rows if state == "available"}
    return Steered([row[0] for row in rows], [], Settled([row[0] for row in rows], due, []))


def as_stored(changes: Changes | None) -> dict[str, Any]:
    """The changes as the statement takes them, checked as a new job's options are; what is not named stays.

    Raises InvalidJob for a change that cannot be, or for none at all.
    """
    given = cast("Mapping[str, Any]", changes)
    if not (given and isinstance(given, Mapping)):
        raise InvalidJob(f"changes are a dict that holds at least one, like {{'priority': 0}}; there are {_FIELDS}")
    for key, value in given.items():
        if key not in Changes.__optional_keys__:
            raise InvalidJob(f"no field {key!r:.80} can be changed; there are {_FIELDS}")
        if value is None:
            raise InvalidJob(f"{key}=None is no value to change it to; leave it out to keep what it is")
        if key == "args" and not isinstance(value, Mapping):
            raise InvalidJob("args= is no mapping; give a dict of all of them")
    checked: AnyJob = Job("checked", **{key: value for key, value in given.items() if key != "args"})
    return {
        **{key: given.get(key) for key in ("queue", "max_attempts", "priority")},
        "args": codec.encode(dict(given["args"]), limit=ARGS_MOST, what="args") if "args" in given else None,
        "tags": codec.encode(list(checked.tags)) if "tags" in given else None,
        "timeout": micros(checked.timeout),
        "scheduled": None if checked.scheduled_at is None else micros(checked.scheduled_at - EPOCH),
        "delay": micros(checked.schedule_in),
    }


def _meta(before: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    kept = {key: before[key] for key in IDENTIFIERS if key in before}
    return codec.encode({**given, **kept}, limit=META_MOST, what="meta")


def set_queue(
    name: str,
    *,
    node: str = "",
    paused: bool | None = None,
    running: bool | None = None,
    scaled: bool = False,
    slots: int | None = None,
) -> Verb[None]:
    """Keep what an operator asked of a queue, on one node, or on all of them, which then forget what each was told.

    None leaves a setting as it is; `slots` counts only when `scaled`.
    """
    asked = {"name": name, "paused": paused, "running": running, "scaled": scaled}
    if not node:
        yield call("unset_queue", **asked)
    yield call("set_queue", **asked, node=node, slots=slots)


_FIELDS: Final = ", ".join(sorted(Changes.__optional_keys__))
