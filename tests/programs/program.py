"""A random program: a workflow to begin with, and what is done to it while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import strategies as st

MOST_KILLS = 2  # the third death with one job as the only suspect would discard it, rightly

Shape: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Spec:
    """One step to be: what it waits for, what it does, and what it holds, if it is a group."""

    name: str
    deed: str = "ends"  # ends | fails (at its first attempt) | waits (for a signal of its name) | holds | grafts
    deps: tuple[str, ...] = ()
    forgives: bool = False
    members: tuple[Spec, ...] = ()

    def known_as(self, parent: str = "") -> str:
        """Its full name."""
        return f"{parent}/{self.name}" if parent else self.name

    def steps(self, parent: str = "") -> Iterator[tuple[str, Spec]]:
        """Itself and all that it holds, by full name; a graft holds the step that grafts, too."""
        name = self.known_as(parent)
        yield name, self
        if self.deed == "grafts":
            yield f"{name}/graft", Spec("graft")
        for member in self.members:
            yield from member.steps(name)

    def as_data(self) -> Shape:
        """As an arg of the step that grafts it."""
        members = [member.as_data() for member in self.members]
        return {"name": self.name, "deed": self.deed, "deps": list(self.deps), "members": members}


def spec_of(data: Mapping[str, object]) -> Spec:
    """What `as_data` gave."""
    name, deed, deps, members = data["name"], data["deed"], data["deps"], data["members"]
    assert isinstance(name, str)
    assert isinstance(deed, str)
    assert isinstance(deps, list)
    assert isinstance(members, list)
    return Spec(name, deed, tuple(deps), members=tuple(map(spec_of, members)))


@dataclass(frozen=True)
class Append:
    """A step, or a whole group, is added to the workflow while it runs."""

    spec: Spec


@dataclass(frozen=True)
class Steer:
    """Steps are cancelled or retried by name; none named is all of them."""

    verb: str  # cancel | retry
    names: tuple[str, ...]


@dataclass(frozen=True)
class Signal:
    """A step is told what it waits for, or will wait for."""

    name: str


@dataclass(frozen=True)
class Kill:
    """kill -9 of the worker, and another in its place."""


@dataclass(frozen=True)
class Watch:
    """The worker is let alone until so many attempts more have begun."""

    begun: int


Act: TypeAlias = Append | Steer | Signal | Kill | Watch


@dataclass(frozen=True)
class Program:
    """What there is at first, and what is done then, in this order."""

    first: tuple[Spec, ...]
    acts: tuple[Act, ...]

    def all_steps(self) -> dict[str, Spec]:
        """Every step that there could ever be, by full name."""
        specs = [*self.first, *(act.spec for act in self.acts if isinstance(act, Append))]
        return {name: spec for each in specs for name, spec in each.steps()}


# ── drawn ─────────────────────────────────────────────────────────────────────────────────────────

_DEEDS = st.sampled_from(["ends"] * 4 + ["fails"] * 2 + ["waits"] * 2 + ["holds"] * 2 + ["grafts"] * 2)
_PLAIN = st.sampled_from(["ends", "ends", "fails"])


@st.composite
def specs(draw: st.DrawFn, name: str, before: tuple[str, ...], depth: int = 0) -> Spec:
    """A step behind some of those before it; a group of some, as deep as three."""
    deed = draw(_DEEDS if depth < 3 else _PLAIN)
    deps = tuple(draw(st.lists(st.sampled_from(before), unique=True, max_size=3))) if before else ()
    members: tuple[Spec, ...] = ()
    if deed in ("holds", "grafts"):
        members = draw(siblings(draw(st.integers(0, 3)), depth + 1))
    return Spec(name, deed, deps, draw(st.booleans()) if depth == 0 else False, members)


@st.composite
def siblings(draw: st.DrawFn, count: int, depth: int) -> tuple[Spec, ...]:
    """Steps side by side, each behind some of those before it."""
    made: tuple[Spec, ...] = ()
    for nth in range(count):
        made += (draw(specs(f"m{nth}", tuple(spec.name for spec in made), depth)),)
    return made


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Two to five steps at first, and up to ten acts."""
    made: tuple[Spec, ...] = ()
    for nth in range(draw(st.integers(2, 5))):
        made += (draw(specs(f"s{nth}", tuple(spec.name for spec in made))),)
    top, acts = [spec.name for spec in made], list[Act]()
    names = [name for spec in made for name, _ in spec.steps()]
    for nth in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(["append", "append", "cancel", "retry", "signal", "kill", "watch", "watch"]))
        if kind == "append":
            spec = draw(specs(f"a{nth}", tuple(top)))
            top.append(spec.name)
            names += [name for name, _ in spec.steps()]
            acts.append(Append(spec))
        elif kind in ("cancel", "retry"):
            acts.append(Steer(kind, tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=2)))))
        elif kind == "signal":
            acts.append(Signal(draw(st.sampled_from(names))))
        elif kind == "watch":
            acts.append(Watch(draw(st.integers(1, 4))))
        elif sum(isinstance(act, Kill) for act in acts) < MOST_KILLS:
            acts.append(Kill())
    return Program(made, tuple(acts))
