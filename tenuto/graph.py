"""The order of a workflow's steps, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from tenuto.errors import CycleFound, UnknownDependency

GROUP: Final = "tenuto.group"
"""The worker of groups: steps whose jobs nobody runs. They complete when what they wait for is met."""


class Head(NamedTuple):
    """A workflow's own row, as it is stored."""

    id: str
    name: str | None = None
    on_finished: Any = None  # the job that its end enqueues
    context: str | None = None  # what all of its steps may read
    is_unique: bool = False  # whether it is the only unfinished one of its name
    is_logged: bool = False  # whether a log of its steps is kept


class Node(NamedTuple):
    """One step of a workflow as it is stored beside its job; `deps` are names."""

    name: str
    job_id: str
    deps: Sequence[str]
    position: int  # in the order of adding
    worker: str
    ignore_cancelled: bool
    ignore_discarded: bool
    ignore_deleted: bool
    parent: str | None = None  # the full name of the group it is in


class Edge(NamedTuple):
    """One need of one job, by ids, with the endings of it that the job forgives."""

    job_id: str
    needs_id: str
    ignore_cancelled: bool
    ignore_discarded: bool
    ignore_deleted: bool
    of_group: bool = False  # whether it is a group that needs
    met: bool = False  # from the start: what is needed has ended already


class Need(NamedTuple):
    """One need of one step that is added to a stored workflow, by names."""

    step: str
    dep: str
    flags: tuple[bool, bool, bool]


class Growth(NamedTuple):
    """Steps that are to be added to a stored workflow; what they need may be there already."""

    jobs: Sequence[Any]  # in the order of the nodes
    nodes: Sequence[Node]  # each with its place among these
    needs: Sequence[Need]
    members: Mapping[str, bool]  # of the group that is to be filled, with whether another member needs each


def order(deps: Mapping[str, Sequence[str]]) -> list[str]:
    """Put every step after all of its deps; among those that could come next, the first added comes first.

    `deps` holds each step's deps, in the order of adding; a dep named twice counts once.
    Raises UnknownDependency before anything else. Raises CycleFound with a closed path: each step in it
    waits for the next, and it begins and ends with the one that was added first.
    """
    _refuse_unknown(deps)
    ordered = _sorted(deps)
    if len(ordered) < len(deps):
        raise CycleFound(_circle(deps, ordered))
    return ordered


def _refuse_unknown(deps: Mapping[str, Sequence[str]]) -> None:
    for step, needs in deps.items():
        for dep in needs:
            if dep not in deps:
                raise UnknownDependency(step, dep)


def _sorted(deps: Mapping[str, Sequence[str]]) -> list[str]:
    """Give the steps that no circle holds up, in order (Kahn 1962, with a heap for the order of adding)."""
    names = list(deps)
    unmet = [len(needs) for needs in deps.values()]
    ready = [index for index, count in enumerate(unmet) if not count]
    dependents = _dependents(deps)
    ordered: list[str] = []
    while ready:
        step = names[heappop(ready)]
        ordered.append(step)
        for dependent in dependents[step]:
            unmet[dependent] -= 1
            if not unmet[dependent]:
                heappush(ready, dependent)
    return ordered


def _dependents(deps: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Give the places of each step's dependents, once for each time they name it."""
    found: dict[str, list[int]] = {step: [] for step in deps}
    for place, needs in enumerate(deps.values()):
        for dep in needs:
            found[dep].append(place)
    return found


def _circle(deps: Mapping[str, Sequence[str]], ordered: Sequence[str]) -> list[str]:
    """Follow the steps that were held up: each waits for another of them, so the way meets itself."""
    done = set(ordered)
    step = next(name for name in deps if name not in done)
    way: dict[str, int] = {}
    while step not in way:
        way[step] = len(way)
        step = next(dep for dep in deps[step] if dep not in done)
    circle = list(way)[way[step] :]
    place = {name: index for index, name in enumerate(deps)}
    start = circle.index(min(circle, key=place.__getitem__))
    return [*circle[start:], *circle[: start + 1]]
