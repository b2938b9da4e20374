"""Layout: where each box stands, each frame around them, and the ways of the arrows, from the innermost frame out.

All is laid out downwards, `across` a layer and `along` from the first to the last; a picture that runs to the right is
only written that way.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from math import ceil, sqrt
from typing import Final, NamedTuple, TypeAlias

from tenuto.draw.boxes import Box, Frame, fit, forgiving, frames_of, marked
from tenuto.draw.layers import Arrow, Line, Size, layered
from tenuto.draw.letters import CELL, cells, cut

GAP: Final = 8  # between the boxes of a block
PAD: Final = 14  # between a frame and what is in it
HEAD: Final = 20  # for a frame's title
TITLE: Final = 28  # letters of it, at most
ALIKE: Final = 12  # boxes with the same deps and dependents, beyond which they stand in a block

Key: TypeAlias = "str | tuple[str, ...] | _Port"


class _Port(Enum):
    """Where arrows enter a frame, and leave it."""

    IN = "in"
    OUT = "out"


class Shown(NamedTuple):
    """A frame in its place; of one that is a step, that step."""

    title: str
    x: float
    y: float
    across: float
    along: float
    title_at: float = 0.0  # across, where its title begins
    box: Box | None = None


@dataclass(slots=True)
class Picture:
    """What is laid out together: a box, a block of them, or a frame with all that is in it."""

    across: float
    along: float
    enters: float = 0.0  # across, where arrows come in
    leaves: float = 0.0
    boxes: list[tuple[Box, float, float]] = field(default_factory=list)
    frames: list[Shown] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    heads: list[tuple[float, float, bool]] = field(default_factory=list)  # see Layered

    def put(self, part: "Picture", across: float, along: float) -> None:
        """Take in what another picture shows."""
        self.boxes += [(box, x + across, y + along) for box, x, y in part.boxes]
        self.frames += [shown._replace(x=shown.x + across, y=shown.y + along) for shown in part.frames]
        self.heads += [(x + across, y + along, back) for x, y, back in part.heads]
        self.lines += [
            Line((a + across, b + along), bend + along, (c + across, d + along), forgiving)
            for (a, b), bend, (c, d), forgiving in part.lines
        ]


class Sizes(NamedTuple):
    """Of every box, and on which side of a frame its title stands."""

    across: float
    along: float
    is_down: bool


def laid_out(whole: Frame, needs: Mapping[str, Box], sizes: Sizes) -> Picture:
    """The whole, with every box in its place."""
    return _inside(whole, _arrows(needs), sizes)


# ── frames ────────────────────────────────────────────────────────────────────────────────────────

Ways: TypeAlias = list[tuple[tuple[str, ...], Key, Key]]
Arrows: TypeAlias = dict[tuple[Key, Key], bool]  # from, to -> whether all that go this way forgive


def _arrows(named: Mapping[str, Box]) -> dict[tuple[str, ...], Arrows]:
    """The arrows within each frame: from member to member, and to and from its ports where they cross its border."""
    found: dict[tuple[str, ...], Arrows] = defaultdict(dict)
    own = frames_of(named.values())
    groups = {path: named[name] for name, path in own.items()}
    for box in named.values():
        for dep in box.deps:
            source = named[dep]
            if _is_around(own.get(box.name), source):
                continue  # what a group is made of
            forgives = forgiving(box, source, groups)
            shared = _shared(source.group, box.group)
            ways: Ways = [(source.group[:shared], _member(source, shared, own), _member(box, shared, own))]
            for depth in _deeper(source, shared):
                ways.append((source.group[:depth], _member(source, depth, own), _Port.OUT))
            for depth in _deeper(box, shared):
                ways.append((box.group[:depth], _Port.IN, _member(box, depth, own)))
            for path, start, end in ways:
                found[path][start, end] = forgives and found[path].get((start, end), True)
    return found


def _shared(path: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many frames stand around both."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(path, other, strict=False)))


def _deeper(box: Box, depth: int) -> range:
    """The depths of the frames around it beyond this one."""
    return range(depth + 1, len(box.group) + 1)


def _is_around(path: tuple[str, ...] | None, box: Box) -> bool:
    return path is not None and box.group[: len(path)] == path


def _member(box: Box, depth: int, own: Mapping[str, tuple[str, ...]]) -> Key:
    """What holds the box among the members of the frame at this depth, or is its own frame."""
    return own.get(box.name, box.name) if depth == len(box.group) else box.group[: depth + 1]


def _inside(frame: Frame, arrows: Mapping[tuple[str, ...], Arrows], sizes: Sizes) -> Picture:
    parts: dict[Key, Picture] = {}
    for member in frame.members:
        if isinstance(member, Frame):
            parts[member.path] = _surrounded(member, _inside(member, arrows, sizes), sizes)
        else:
            parts[member.name] = _single(member, sizes)
    own = dict(arrows.get(frame.path, {}))
    for port in _Port:
        if any(port in ends for ends in own):
            parts[port] = Picture(0, 0)
    _fold(parts, own, sizes)
    return _joined(parts, own)


def _joined(parts: Mapping[Key, Picture], arrows: Arrows) -> Picture:
    """The parts in layers, with the arrows between them."""
    numbers = {key: number for number, key in enumerate(parts)}
    made = layered(
        [Size(part.across, part.along, part.enters, part.leaves) for part in parts.values()],
        [Arrow(numbers[start], numbers[end], forgiving) for (start, end), forgiving in arrows.items()],
        first=numbers.get(_Port.IN),
        last=numbers.get(_Port.OUT),
    )
    enters, leaves = (made.places[numbers[port]][0] if port in numbers else -1.0 for port in _Port)
    whole = Picture(made.across, made.along, enters, leaves, lines=made.lines, heads=made.heads)
    for part, (x, y) in zip(parts.values(), made.places, strict=True):
        whole.put(part, x, y)
    return whole


def _single(box: Box, sizes: Sizes) -> Picture:
    middle = sizes.across / 2
    return Picture(sizes.across, sizes.along, middle, middle, [(box, 0, 0)])


def _surrounded(frame: Frame, inside: Picture, sizes: Sizes) -> Picture:
    """The frame around what is in it; the ways in and out lead to its border, and none through its title."""
    x, y = (PAD, PAD + HEAD) if sizes.is_down else (PAD + HEAD, PAD)
    title = cut(marked(frame.box, fit(frame.path[-1])), TITLE)
    made = Picture(inside.across + x + PAD, inside.along + y + PAD)
    made.enters, made.leaves = (made.across / 2 if port < 0 else port + x for port in (inside.enters, inside.leaves))
    title_at = _make_room(made, cells(title) * CELL + 26, sizes, is_entered=inside.enters >= 0)
    made.frames.append(Shown(title, 0, 0, made.across, made.along, title_at, frame.box))
    made.put(inside, x, y)
    if inside.enters >= 0:
        all_do = all(line.forgiving for line in inside.lines if line.start == (inside.enters, 0.0))
        made.lines.append(Line((made.enters, 0), y, (made.enters, y), all_do))
    if inside.leaves >= 0:
        all_do = all(line.forgiving for line in inside.lines if line.end == (inside.leaves, inside.along))
        end = y + inside.along
        made.lines.append(Line((made.leaves, end), made.along, (made.leaves, made.along), all_do))
    return made


def _make_room(made: Picture, room: float, sizes: Sizes, *, is_entered: bool) -> float:
    """Widen a frame for its title, and say where that begins: beside the arrow that comes in."""
    if not sizes.is_down:
        made.along = max(made.along, room)
        return 0.0
    begins = made.enters if is_entered and made.enters < room else 0.0
    made.across = max(made.across, begins + room)
    return begins


def _fold(parts: dict[Key, Picture], arrows: Arrows, sizes: Sizes) -> None:
    """Put many boxes that need the same, and are needed by the same, into one block with one arrow for all."""
    beside: dict[Key, list[Hashable]] = defaultdict(list)
    for (start, end), forgives in arrows.items():
        beside[start].append((end, forgives, "out"))
        beside[end].append((start, forgives, "in"))
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for key in parts:
        if isinstance(key, str):
            alike[frozenset(beside[key])].append(key)
    for first, *others in [names for names in alike.values() if len(names) > ALIKE]:
        parts[first] = _block([parts[first], *(parts.pop(name) for name in others)], sizes)
        gone = set(others)
        for ends in [ends for ends in arrows if gone.intersection(ends)]:
            del arrows[ends]


def _block(parts: Sequence[Picture], sizes: Sizes) -> Picture:
    """Rows of boxes, wider than high as they will be written."""
    wide, high = sizes.across + GAP, sizes.along + GAP
    columns = ceil(sqrt(len(parts) * high / wide * (1.6 if sizes.is_down else 1 / 1.6)))
    made = Picture(columns * wide + GAP, ceil(len(parts) / columns) * high + GAP)
    made.enters = made.leaves = made.across / 2
    made.frames.append(Shown("", 0, 0, made.across, made.along))
    for number, part in enumerate(parts):
        made.put(part, GAP + number % columns * wide, GAP + number // columns * high)
    return made
