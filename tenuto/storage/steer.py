"""What an operator does to jobs and queues, as verbs: cancel, retry, delete, update; pause and scale."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, TypedDict, cast
from uuid import UUID

from tenuto import codec
from tenuto.errors import InvalidJob, NeedsUnmet
from tenuto.job import (
    ARGS_LIMIT,
    EPOCH,
    EXECUTING,
    IDENTIFIERS,
    META_LIMIT,
    TERMINAL,
    Duration,
    Job,
    JobState,
    check_tags,
    id_of,
    seconds,
)
from tenuto.storage.aftermath import Ended, Settled, aftermath, count_fates, count_needs
from tenuto.storage.database import Verb, call, last
from tenuto.storage.store import CANCELLED_BY_OPERATOR, STATES, AnyJob, micros, to_job

BATCH: Final = 1000  # jobs that one transaction of a filtered verb changes


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
    ) -> Self:
        """A filter by keywords, as the store takes it. Raises InvalidJob for a word that is no state."""
        states = None if state is None else [state] if isinstance(state, str) else list(state)
        for word in states or ():
            if word not in STATES:
                raise InvalidJob(f"{word!r} is no state of a job; there are {', '.join(JobState)}")
        return cls(
            None if states is None else [str(word) for word in states],
            queue,
            worker,
            None if workflow is None else id_of(workflow),
            None if tag is None else check_tags([tag])[0],
        )

    def inputs(self) -> dict[str, Any]:
        """As the statements take it: a tag is looked for as it stands in the stored list."""
        return {**self._asdict(), "tag": None if self.tag is None else codec.encode(self.tag)}


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


def match(which: Filter, after: str | None) -> Verb[list[str]]:
    """The next `BATCH` ids that the filter names, in id order, behind `after`."""
    rows = yield last("match", **which.inputs(), after=after, max=BATCH)
    return [row[0] for row in rows]


def cancel(ids: Sequence[str]) -> Verb[Steered]:
    """Cancel jobs: at once those that are not running; a running one is told, and its ending turns into cancelled."""
    yield call("reach", ids=list(ids), bad=list(ids))
    rows = yield call("cancel", ids=list(ids), error=CANCELLED_BY_OPERATOR)
    settled = yield from aftermath([Ended(*row) for row in rows if row[1] != EXECUTING], {})
    return Steered([row[0] for row in rows], [row[0] for row in rows if row[1] == EXECUTING], settled)


def retry(ids: Sequence[str], *, keep_results: bool = False, strict: bool = True) -> Verb[Steered]:
    """Make jobs due again at once: any that is not running, due or waiting for its needs.

    A step's workflow lives again, and steps behind it that wait, or are retried later, wait for it once more.
    Stored results of what is retried are cleared unless `keep_results`. A step whose needs are unmet is passed
    over, or with `strict` refused as NeedsUnmet, and then nothing is changed.
    """
    yield call("reach", ids=list(ids), bad=[])
    rows = yield call("retry", ids=list(ids))
    done = {row[0] for row in rows}
    if strict and len(done) < len(ids):
        yield from _refuse_unmet([id for id in ids if id not in done])
    steps = [id for id, _, workflow_id in rows if workflow_id is not None]
    if steps:
        fates = yield call("fates", ids=steps)
        yield call("revive_nodes", ids=steps, keep_results=keep_results)
        unmet = yield call("unmeet", ids=steps)
        yield from count_needs(unmet, -1)
        yield from count_fates(fates, -1)
    return Steered(list(done), [], Settled(list(done), {row[1] for row in rows}, []))


def _refuse_unmet(ids: Sequence[str]) -> Verb[None]:
    for row in (yield call("fetch", ids=list(ids))):
        job = to_job(row)
        if job.waiting_on > 0 and job.state in TERMINAL:
            raise NeedsUnmet(job.id)


def delete(ids: Sequence[str]) -> Verb[Steered]:
    """Delete jobs that are not running. Steps behind an unfinished one are cancelled unless they ignore it."""
    yield call("reach", ids=list(ids), bad=list(ids))
    rows = yield call("delete", ids=list(ids))
    gone = [Ended(*row)._replace(state="deleted") for row in rows if row[1] not in TERMINAL]
    settled = yield from aftermath(gone, {})
    return Steered([row[0] for row in rows], [], settled)


def update(ids: Sequence[str], changes: Changes) -> Verb[Steered]:
    """Change fields of jobs that neither run nor ended. A workflow's identifiers stay in meta. Raises InvalidJob."""
    asked = _as_stored(changes)
    yield call("reach", ids=list(ids), bad=[])
    rows = (yield call("fetch", ids=list(ids))) if "meta" in changes else []
    metas = {row[0]: _meta(to_job(row).meta, changes.get("meta", {})) for row in rows}
    rows = yield call("update", changes=[{**asked, "id": id, "meta": metas.get(id)} for id in sorted(ids)])
    due = {queue for _, state, queue in rows if state == "available"}
    return Steered([row[0] for row in rows], [], Settled([row[0] for row in rows], due, []))


def _as_stored(changes: Changes) -> dict[str, Any]:
    """The changes as the statement takes them, checked as a new job's options are; what is not named stays."""
    given = cast("Mapping[str, Any]", changes)
    unknown = given.keys() - Changes.__optional_keys__
    if unknown:
        raise InvalidJob(f"no field {sorted(unknown)[0]!r} can be changed; there are {', '.join(_FIELDS)}")
    fields = {key: given[key] for key in _CHECKED if key in given}
    lengths: dict[str, Any] = {key: seconds(key, given[key]) for key in ("timeout", "schedule_in") if key in given}
    checked: AnyJob = Job("checked", **fields, **lengths)
    return {
        **{key: given.get(key) for key in ("queue", "max_attempts", "priority")},
        "args": codec.encode(dict(given["args"]), limit=ARGS_LIMIT, what="args") if "args" in given else None,
        "tags": codec.encode(list(check_tags(given["tags"]))) if "tags" in given else None,
        "timeout": micros(checked.timeout),
        "scheduled": None if checked.scheduled_at is None else micros(checked.scheduled_at - EPOCH),
        "delay": micros(checked.schedule_in),
    }


def _meta(before: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    kept = {key: before[key] for key in IDENTIFIERS if key in before}
    return codec.encode({**given, **kept}, limit=META_LIMIT, what="meta")


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


_CHECKED: Final = ("queue", "max_attempts", "priority", "meta", "scheduled_at")
_FIELDS: Final = sorted(Changes.__optional_keys__)
