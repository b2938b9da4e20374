"""Upstream: what claimed steps may read, as a verb: the results of their deps, and their own earlier ones."""

from collections.abc import Sequence
from typing import Final

from tenuto.context import Needs
from tenuto.storage.database import Verb, last
from tenuto.storage.store import AnyJob

NEEDS_BUDGET: Final = 16_000_000  # bytes of results that come with one claim


def needs(jobs: Sequence[AnyJob], encrypted: Sequence[str] = (), budget: int = NEEDS_BUDGET) -> Verb[dict[str, Needs]]:
    """What claimed steps may read, by job id: their deps' results and their own earlier ones, as stored text.

    One that has no deps and ran for the first time needs nothing and is left out. When the results together are over
    `budget` bytes, each step with any comes back `deferred`, to be asked for alone. In `sealed` stand those that are
    sealed, or should be, since their worker is one of the `encrypted`.
    """
    ids = [job.id for job in jobs if job.has_needs]
    again = [job.id for job in jobs if job.epoch > 1 and job.workflow_id is not None]
    found = {id: Needs(results={}) for id in (*ids, *again)}
    if found:
        rows = yield last("needs", ids=ids, again=again, budget=budget, encrypted=list(encrypted))
        for job_id, name, result, has_result, met, is_own, sealed_by, worker in rows:
            mine = found[job_id]
            _take(mine, name, result, has_result, met, is_own)
            if sealed_by is not None:
                mine.sealed[name] = sealed_by, worker
    return found


def _take(mine: Needs, name: str, result: str | None, has_result: bool, met: bool, is_own: bool) -> None:
    mine.deferred |= has_result and result is None
    mine.unmet += not met
    if is_own:
        mine.own = result
    else:
        mine.results[name] = result
