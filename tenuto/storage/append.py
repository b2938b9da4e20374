"""Append: steps added to a workflow that is stored already, from outside, or by a step that fills its group."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tenuto.errors import (
    DuplicateStep,
    InvalidWorkflow,
    JobMismatch,
    NotInGraft,
    StaleAttempt,
    UniqueConflict,
    UnknownDependency,
    WorkflowFinished,
    WorkflowNotFound,
)
from tenuto.graph import GROUP, Edge, Growth, Need
from tenuto.job import COMPLETED, EXECUTING, SUSPENDED, TERMINAL, JobState
from tenuto.nesting import FORGIVING, prefixes
from tenuto.storage.aftermath import Ended, Settled, aftermath, count_fates, count_needs, reach
from tenuto.storage.database import LostRace, Row, Verb, call
from tenuto.storage.nodes import complete_new, lay
from tenuto.storage.store import AnyJob, as_they_are, enqueue


class Grown(NamedTuple):
    """What was added: the jobs as they are stored now, and what became due or finished by it."""

    jobs: list[AnyJob]
    settled: Settled


class Place(NamedTuple):
    """A step that is stored, as new ones see it."""

    name: str
    job_id: str
    fate: str | None
    is_group: bool
    ignore_cancelled: bool
    ignore_discarded: bool
    ignore_deleted: bool


def append(workflow_id: str, growth: Growth) -> Verb[Grown]:
    """Add steps to a workflow that runs, all or none.

    What they need may have ended: then they begin at once, or are cancelled, as if they had been there before. Raises
    WorkflowFinished, WorkflowNotFound, DuplicateStep, UnknownDependency, InvalidWorkflow for the name of a member in a
    group that is stored, and what storing a workflow raises.
    """
    new = [node.name for node in growth.nodes]
    asked = {*new, *(need.dep for need in growth.needs), *(part for name in new for part in prefixes(name))}
    before = yield from _places(workflow_id, asked)
    held = yield from _hold([before[need.dep].job_id for need in growth.needs if need.dep in before])
    first = yield from _grow(workflow_id, len(new))
    there = yield from _places(workflow_id, asked)
    _refuse(new, growth.needs, there)
    _refuse_unheld(growth.needs, before, there)
    return (yield from _store(workflow_id, growth, growth.needs, first, there, held))


def graft(job: AnyJob, group: str, growth: Growth) -> Verb[Grown]:
    """Fill the group of a running step: what is not there yet is added to it and begins at once, all or none.

    Fenced by epoch. Raises StaleAttempt; NotInGraft for a step that is no group's first; WorkflowFinished for a group
    that has ended; and as `append` does.
    """
    workflow_id = str(job.workflow_id)
    own = f"{group}/graft"
    asked = {group, own, *(node.name for node in growth.nodes), *(need.dep for need in growth.needs)}
    before = yield from _places(workflow_id, asked)
    if group not in before or own not in before or before[own].job_id != job.id:
        raise NotInGraft(job.id)
    needed = {need.dep for need in growth.needs} & before.keys()
    groups = [group, *(name for name, place in before.items() if place.is_group and name != group)]
    yield from reach(
        [before[name].job_id for name in {*needed, *groups, own}],
        [before[name].job_id for name in groups] if needed - {own} else [],
    )
    held = yield from _hold([before[name].job_id for name in {*needed, *groups, own}])
    if held.get(job.id) != (EXECUTING, job.epoch):
        raise StaleAttempt(job.id)
    if held.get(before[group].job_id, ("deleted", 0))[0] != SUSPENDED:
        raise WorkflowFinished(workflow_id, group)
    there = yield from _places(workflow_id, asked)
    new = [nth for nth, node in enumerate(growth.nodes) if node.name not in there]
    if not new:
        return Grown([], Settled([], set(), []))
    waiting = {name for name in groups if held.get(before[name].job_id, ("", 0))[0] in (SUSPENDED, COMPLETED)}
    less = _less(growth, new, there[group], waiting)
    _refuse_unknown({node.name for node in less.nodes}, less.needs, there)
    first = yield from _grow(workflow_id, len(new))
    again = [there[need.step].job_id for need in less.needs if need.step in waiting]
    _, fates = yield from count_needs([(id,) for id in again], -1)
    yield from count_fates(fates, -1)
    held |= dict.fromkeys(again, (SUSPENDED, 0))
    return (yield from _store(workflow_id, less, less.needs, first, there, held))


def _less(growth: Growth, new: Sequence[int], group: Place, waiting: Collection[str]) -> Growth:
    """Only what is new, with what groups that are stored need of it.

    A group inside waits for new members of its own, again where it had completed. What nobody there can wait for, since
    it has begun or ended, the group that is being filled waits for.
    """
    nodes = [growth.nodes[nth] for nth in new]
    names = {node.name for node in nodes}
    own = (group.ignore_cancelled, group.ignore_discarded, group.ignore_deleted)
    inside = [need for need in growth.needs if need.step not in names and need.dep in names]
    needs = [need for need in growth.needs if need.step in names]
    needs += [need for need in inside if need.step in waiting]
    kept = {need.dep for need in needs if need.step in waiting}
    late = {need.dep: own for need in inside if need.dep not in kept}
    members = {name: FORGIVING if is_needed else own for name, is_needed in growth.members.items() if name in names}
    needs += [Need(group.name, name, flags) for name, flags in {**late, **members}.items()]
    return Growth([growth.jobs[nth] for nth in new], nodes, needs, growth.members)


def _store(
    workflow_id: str,
    growth: Growth,
    needs: Sequence[Need],
    first: int,
    there: Mapping[str, Place],
    held: Mapping[str, tuple[str, int]],
) -> Verb[Grown]:
    """Store new steps, and let what has ended before mean to them what it would have meant then."""
    stored = yield from enqueue(growth.jobs)
    for job, now in zip(growth.jobs, stored, strict=True):
        if now.existing:
            raise JobMismatch(job.id) if now.id == job.id else UniqueConflict(job.id, now.id)
    ids = {name: place.job_id for name, place in there.items()}
    ids |= {node.name: node.job_id for node in growth.nodes}
    groups = {node.name for node in growth.nodes if node.worker == GROUP} | {n for n, p in there.items() if p.is_group}
    nodes = [node._replace(position=first + 1 + nth) for nth, node in enumerate(growth.nodes)]
    edges = [Edge(ids[need.step], ids[need.dep], *need.flags, need.step in groups) for need in needs]
    yield from lay(workflow_id, nodes, edges)
    begun = yield from complete_new(stored)
    hanging = {need.dep for need in needs if need.dep in there}
    ended = [place for name, place in there.items() if name in hanging and _fate(place, held) is not None]
    heads = [Ended(place.job_id, str(_fate(place, held)), "", workflow_id, True, None) for place in ended]
    after = (yield from aftermath(heads, {})) if heads else Settled([], set(), [])
    due = begun.due | after.due | {job.queue for job in stored if job.state == JobState.AVAILABLE}
    settled = Settled(begun.ids + after.ids, due, begun.finished + after.finished)
    return Grown((yield from as_they_are(stored)) if begun.ids or heads else stored, settled)


def _fate(place: Place, held: Mapping[str, tuple[str, int]]) -> str | None:
    """How a stored step ended, if it did: what its job says, or its node where the job is gone."""
    state = held[place.job_id][0] if place.job_id in held else place.fate
    return state if state in {*TERMINAL, "deleted"} else None


def _places(workflow_id: str, names: set[str]) -> Verb[dict[str, Place]]:
    rows: list[Row] = yield call("steps_named", workflow_id=workflow_id, names=sorted(names))
    return {row[0]: Place(*row) for row in rows}


def _hold(ids: Sequence[str]) -> Verb[dict[str, tuple[str, int]]]:
    rows: list[Row] = (yield call("hold_needs", ids=sorted(set(ids)))) if ids else []
    return {id: (state, epoch) for id, state, epoch in rows}


def _grow(workflow_id: str, more: int) -> Verb[int]:
    """Count new steps in; how many there were. Raises WorkflowFinished, WorkflowNotFound."""
    rows = yield call("grow_workflow", id=workflow_id, more=more)
    if not rows:
        found = yield call("workflow", id=workflow_id)
        raise WorkflowFinished(workflow_id) if found else WorkflowNotFound(workflow_id)
    steps: int = rows[0][0]
    return steps


def _refuse(new: Sequence[str], needs: Sequence[Need], there: Mapping[str, Place]) -> None:
    names = set(new)
    for name in new:
        if name in there:
            raise DuplicateStep(name)
        for group in prefixes(name):
            if group in there and there[group].is_group:
                raise InvalidWorkflow(f"step {name!r} is named as a member of group {group!r}, and is none")
    _refuse_unknown(names, needs, there)


def _refuse_unheld(needs: Sequence[Need], before: Mapping[str, Place], there: Mapping[str, Place]) -> None:
    """Another append stored what is needed, after it was looked for: it is not locked, and might end unseen."""
    if any(need.dep in there and need.dep not in before for need in needs):
        raise LostRace("a step that is needed was added at the same time")


def _refuse_unknown(new: Collection[str], needs: Sequence[Need], there: Mapping[str, Place]) -> None:
    for need in needs:
        if need.dep not in new and need.dep not in there:
            raise UnknownDependency(need.step, need.dep)
