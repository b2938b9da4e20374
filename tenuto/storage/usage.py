"""Usage and debug logs, as verbs: what attempts tell of the models they called is kept, summed up, read and pruned."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from tenuto.errors import InvalidRequest
from tenuto.job import EPOCH
from tenuto.llm.costs import Used, Which
from tenuto.storage.database import Row, Verb, call, last
from tenuto.storage.store import micros

GROUPS_MOST: Final = 100_000  # in one answer
PAGE: Final = 200  # entries of a log in one answer
PRUNED_AT_ONCE: Final = 1000


def record(usages: Sequence[Mapping[str, Any]]) -> Verb[None]:
    """Keep records, whatever became of their attempts. One whose id is kept already changes nothing."""
    yield last("record_usage", usages=list(usages))


def used(by: Sequence[str], turns: Sequence[datetime], which: Which) -> Verb[list[Used]]:
    """What was used by each group and model between two `turns`, at which prices change.

    Raises InvalidRequest where there are more groups than one answer holds.
    """
    asked = which._asdict() | {"by": list(by), "turns": [str(micros(turn - EPOCH)) for turn in turns]}
    workflow = asked.pop("workflow")
    if workflow is None:
        rows = yield last("costs", **asked, max=GROUPS_MOST + 1)
    else:
        rows = yield last("workflow_costs", workflow=workflow, **asked, max=GROUPS_MOST + 1)
    if len(rows) > GROUPS_MOST:
        raise InvalidRequest(f"these are more than {GROUPS_MOST:,} groups; ask for a shorter time, or by less")
    return [Used(*row) for row in rows]


class Entry(NamedTuple):
    """One entry of a workflow's debug log, as it is stored."""

    id: str
    step: str | None
    job_id: str
    worker: str
    attempt: int
    kind: str
    content: str | None
    size: int
    note: str | None
    at: datetime


def log(entry: Mapping[str, Any]) -> Verb[None]:
    """Keep one entry of a workflow's debug log. One whose id is kept already changes nothing."""
    yield last("log_debug", **entry)


def logged(workflow_id: str, step: str | None, attempt: int | None) -> Verb[list[Entry]]:
    """The entries of a workflow, of one step or attempt if named, in the order in which they were written."""
    found: list[Row] = []
    after: str | None = None
    while True:
        rows = yield call("debug_log", workflow_id=workflow_id, step=step, attempt=attempt, after=after, max=PAGE)
        found += rows
        if len(rows) < PAGE:
            return sorted((Entry(*row) for row in found), key=_place)
        after = rows[-1][0]


def _place(entry: Entry) -> tuple[datetime, bool, str]:
    return entry.at, entry.kind != "upstream", entry.id


def prune(keep_usage: timedelta, keep_log: timedelta) -> Verb[int]:
    """Delete records and entries that are older than they are kept, oldest first, a batch of each; how many.

    Records of a workflow stay as long as that is there.
    """
    gone = yield call("prune_usage", keep=micros(keep_usage), max=PRUNED_AT_ONCE)
    more = yield call("prune_debug", keep=micros(keep_log), max=PRUNED_AT_ONCE)
    return max(len(gone), len(more))
