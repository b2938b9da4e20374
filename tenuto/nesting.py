"""Nesting: what groups and their members wait for, and how what is said inside of a group is spelled outside."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from tenuto.reference import Reference, Waiting, kind_of

Flags: TypeAlias = tuple[bool, bool, bool]
"""Whether a cancelled, a discarded, a deleted dep is forgiven."""

FORGIVING: Final[Flags] = (True, True, True)


class Placed(Protocol):
    """A step as far as its place goes."""

    @property
    def deps(self) -> tuple[str, ...]: ...
    @property
    def flags(self) -> Flags: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def is_group(self) -> bool: ...


def needs_of(steps: Mapping[str, Placed]) -> dict[str, dict[str, Flags]]:
    """What each step waits for, by name, with what it forgives there.

    A group waits for its members: with its own flags for those that no other member needs, and for the end of the
    others, whatever it be. One without members waits for what it was given as deps; else its members do, those that
    need no other member.
    """
    inside: dict[str, list[str]] = {}
    needed: set[str] = set()
    for name, step in steps.items():
        if step.parent is not None:
            inside.setdefault(step.parent, []).append(name)
        if step.deps:
            needed.update(dep for dep in step.deps if dep in steps and steps[dep].parent == step.parent)
    begins = _begins(steps)
    return {
        name: {member: FORGIVING if member in needed else step.flags for member in inside[name]}
        if name in inside
        else begins[name]
        for name, step in steps.items()
    }


def _begins(steps: Mapping[str, Placed]) -> dict[str, dict[str, Flags]]:
    """What each step waits for before it, or its first members, can begin. Groups stand before their members."""
    found: dict[str, dict[str, Flags]] = {}
    for name, step in steps.items():
        own = dict.fromkeys(step.deps, step.flags) if step.deps else {}
        around = found.get(step.parent) if step.parent is not None else None
        if around and not any(dep in steps and steps[dep].parent == step.parent for dep in step.deps):
            own = {**around, **own}
        found[name] = own
    return found


def members_of(group: str | None, steps: Mapping[str, Placed]) -> dict[str, bool]:
    """The members of one group that is not among the steps itself, with whether another of them needs each."""
    inside = {name: step for name, step in steps.items() if step.parent == group}
    needed = {dep for step in inside.values() for dep in step.deps}
    return {name: name in needed for name in inside}


def full(group: str | None, name: str) -> str:
    """The name of a member outside of its group."""
    return name if group is None else f"{group}/{name}"


def short(group: str | None, name: str) -> str:
    """The name of a member inside of its group."""
    return name if group is None else name.removeprefix(f"{group}/")


def prefixes(name: str) -> list[str]:
    """What the names of the groups around a step of that name would be: a, a/b of a/b/c."""
    if "/" not in name:
        return []
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def is_inside(group: str | None, name: str) -> bool:
    """Whether a step of that name is in the group, at any depth."""
    return group is None or name.startswith(f"{group}/")


def renamed(args: Any, of: Callable[[Reference], Reference]) -> Any:
    """Args whose references are others; what holds none as it is."""
    return _renamed(args, of) if type(args) is Waiting else args


def _renamed(held: Any, of: Callable[[Reference], Reference]) -> Any:
    kind = kind_of(held)
    if kind is Reference:
        return of(held)
    if kind is dict or kind is Waiting:
        return (Waiting if kind is Waiting else dict)((key, _renamed(item, of)) for key, item in _items(held))
    if kind in _COLLECTIONS:
        return kind([_renamed(item, of) for item in held])
    return held


def _items(held: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return held.items()


_COLLECTIONS: Final[frozenset[type[Any]]] = frozenset({list, tuple, set, frozenset})
