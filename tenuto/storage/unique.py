"""Unique keys: who holds the ones that new jobs ask for, what of them the holder takes, and who may not be retried."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from operator import attrgetter
from typing import Any, Final, TypeAlias

from tenuto import codec
from tenuto.errors import CodecError, WorkflowRunning
from tenuto.graph import Head
from tenuto.job import IDENTIFIERS, Job
from tenuto.sizes import META_MOST
from tenuto.storage.aftermath import PATIENCE
from tenuto.storage.database import LostRace, Row, Verb, call

Document: TypeAlias = Mapping[str, Any]
"""A new job as enqueue.sql takes it; its `unique` is JSON: key, states, period (microseconds) and replace."""


def in_order(jobs: Sequence[Job[Any, Any]]) -> list[Job[Any, Any]]:
    """Jobs by their ids, unique ones by their keys: two calls that store the same meet in one order."""
    ordered = sorted(jobs, key=attrgetter("id"))
    if any(job.unique_key for job in ordered):
        ordered.sort(key=_key)
    return ordered


def _key(job: Job[Any, Any]) -> str:
    return str(json.loads(job.unique_key)["key"]) if job.unique_key else ""


Enqueue: TypeAlias = Callable[[Sequence[Job[Any, Any]]], Verb[list[Job[Any, Any]]]]


def behind_holders(enqueue: Enqueue) -> Enqueue:
    """A verb that stores jobs, made to lock first those that new links may change: jobs come before chains."""

    @wraps(enqueue)
    def enqueue_behind_holders(jobs: Sequence[Job[Any, Any]]) -> Verb[list[Job[Any, Any]]]:
        replacing = [job for job in jobs if job.unique_key and '"replace"' in job.unique_key]
        has_links = bool(replacing) and any(job.chain_key is not None for job in jobs)
        return _locked_first(replacing, jobs, enqueue) if has_links else enqueue(jobs)

    return enqueue_behind_holders


def _locked_first(
    replacing: Sequence[Job[Any, Any]], jobs: Sequence[Job[Any, Any]], enqueue: Enqueue
) -> Verb[list[Job[Any, Any]]]:
    found = yield from _who([{"id": job.id, "unique": job.unique_key} for job in replacing])
    if found:
        yield call("reach", ids=sorted({holder for holder, *_ in found.values()}), bad=[], patience=PATIENCE)
    return (yield from enqueue(jobs))


def holders(asking: Sequence[Document]) -> Verb[dict[str, Row]]:
    """The jobs that hold the keys of these new ones, as they are now: rows of `fetch`, by the id of who asks.

    What `replace` names for the state of a holder is replaced in it first.
    """
    if not asking:
        return {}
    found = yield from _who(asking)
    replace = {one["id"]: json.loads(one["unique"]).get("replace") for one in asking if one["id"] in found}
    replacing = [one for one in asking if replace.get(one["id"])]
    if replacing:
        yield call("reach", ids=sorted({found[one["id"]][0] for one in replacing}), bad=[], patience=PATIENCE)
        yield from _replace(replacing, replace, found)
    rows = yield call("fetch", ids=sorted({holder for holder, *_ in found.values()}))
    by_id = {row[0]: row for row in rows}
    return {id: by_id[holder] for id, (holder, *_) in found.items() if holder in by_id}


def _who(asking: Sequence[Document]) -> Verb[dict[str, Row]]:
    """(holder, state, meta) by the id of who asks."""
    rows = yield call("holders", jobs=[{"id": one["id"], "unique": one["unique"]} for one in asking])
    return {id: tuple(holder) for id, *holder in rows}


def _replace(
    replacing: Sequence[Document], replace: Mapping[str, Mapping[str, Sequence[str]]], seen: Mapping[str, Row]
) -> Verb[None]:
    """Change the holders, which are locked. Raises LostRace where a key went to another meanwhile."""
    changes: dict[str, dict[str, Any]] = {}
    now = yield from _who(replacing)
    for one in replacing:
        holder, state, meta = now.get(one["id"], ("", "", ""))
        if holder != seen[one["id"]][0]:
            raise LostRace("a unique job left its key while it was to be changed")
        for field in replace[one["id"]].get(state, ()):
            changes.setdefault(holder, dict.fromkeys(_CHANGES)).update(_change(field, one, meta))
    if changes:
        yield call("update", changes=[{**changes[id], "id": id} for id in sorted(changes)])


def _change(field: str, new: Document, meta: str) -> dict[str, Any]:
    """What update.sql takes for one field. Meta keeps what the holder's workflow wrote into it."""
    if field == "scheduled_at":
        due = new.get("scheduled")
        return {"scheduled": due, "delay": new.get("delay", 0) if due is None else None}
    value = new.get(field, _USUAL.get(field))
    return {field: _merged(meta, value) if field == "meta" else value}


def _merged(before: str, given: str) -> str:
    try:
        kept: dict[str, Any] = codec.decode(before)
    except CodecError:  # nobody can read it: then there is nothing to keep
        return given
    mine = {key: kept[key] for key in IDENTIFIERS if key in kept}
    return codec.encode({**codec.decode(given), **mine}, limit=META_MOST, what="meta") if mine else given


def rivals(ids: Sequence[str]) -> Verb[dict[str, str]]:
    """Of these jobs those that cannot have their unique keys again, with who has each. They are locked already."""
    return dict((yield call("rivals", ids=list(ids))))


def refuse_running(head: Head) -> Verb[None]:
    """Raise WorkflowRunning for a unique workflow that was not stored, unless that is since it was before.

    Raises LostRace where the other one has finished meanwhile.
    """
    rows = yield call("running_workflow", id=head.id, name=head.name)
    if rows:
        raise WorkflowRunning(str(head.name), rows[0][0])
    if not (yield call("workflow", id=head.id)):
        raise LostRace("a unique workflow finished while another one of its name was stored")


_USUAL: Final = {"meta": "{}", "tags": "[]", "priority": 0}  # what a document leaves out
_CHANGES: Final = (
    *("queue", "args", "meta", "tags", "max_attempts", "priority", "timeout"),
    *("scheduled", "delay"),
)
