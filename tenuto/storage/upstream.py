"""Upstream: what claimed steps may read, as a verb: the results of their deps, and their own earlier ones."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tenuto.context import Needs
from tenuto.nesting import short
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
        of_groups: dict[str, list[tuple[Needs, str]]] = {}
        for job_id, name, result, has_result, met, is_own, sealed_by, worker, group_id in rows:
            mine = found[job_id]
            _take(mine, name, result, has_result, met, is_own)
            if sealed_by is not None:
                mine.sealed[name] = sealed_by, worker
            if group_id is not None:
                of_groups.setdefault(group_id, []).append((mine, name))
        if of_groups:
            inside = yield from members(list(of_groups), encrypted, budget)
            for group_id, waiting in of_groups.items():
                own = [member for member in inside if member.group_id == group_id]
                for mine, group in waiting:
                    _gather(mine, group, own)
    return found


class Member(NamedTuple):
    """A member of a group, at any depth, with its result as stored text."""

    group_id: str
    name: str
    parent: str
    is_group: bool
    result: str | None
    has_result: bool
    job_id: str
    worker: str
    is_sealed: bool


def members(groups: Sequence[str], encrypted: Sequence[str] = (), budget: int = 2**62) -> Verb[list[Member]]:
    """What is in the groups of these jobs, in the order of adding: groups before their members."""
    rows = yield last("member_results", ids=list(groups), encrypted=list(encrypted), budget=budget)
    return [Member(*row) for row in rows]


def tree_of(group: str, found: Sequence[Member]) -> dict[str, Any]:
    """The full names of a group's members by their short ones, in the order of adding; groups in it are such dicts."""
    trees: dict[str, dict[str, Any]] = {group: {}}
    for member in found:
        here = trees.setdefault(member.parent, {})
        name = short(member.parent, member.name)
        here[name] = trees.setdefault(member.name, {}) if member.is_group else member.name
    return trees[group]


def _gather(mine: Needs, group: str, found: Sequence[Member]) -> None:
    mine.groups[group] = tree_of(group, found)
    for member in found:
        mine.deferred |= member.has_result and member.result is None
        if member.result is not None:
            mine.members[member.name] = member.result
        if member.is_sealed:
            mine.sealed[member.name] = member.job_id, member.worker


def _take(mine: Needs, name: str, result: str | None, has_result: bool, met: bool, is_own: bool) -> None:
    mine.deferred |= has_result and result is None
    mine.unmet += not met
    if is_own:
        mine.own = result
    else:
        mine.results[name] = result
