"""Layers: things of any size, each below all that it needs, with few crossings, and the arrows between them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, zip_longest
from statistics import fmean
from typing import Final, NamedTuple, TypeAlias

from tenuto.draw.ordering import ordered
from tenuto.errors import CycleFound
from tenuto.graph import order

GAP: Final = 18  # between the things of a layer
LANE: Final = 8  # between the arrows that pass it
LAYER: Final = (36, 160)  # between two layers, at least and at most
STEEP: Final = 10  # an arrow that goes so much further across has one more between its layers
SWEEPS: Final = 8
WIDE: Final = 25  # spots of a row that would drift aside


class Size(NamedTuple):
    """Of a thing: across a layer and along the way, and where, across, arrows enter and leave it."""

    across: float
    along: float
    enters: float
    leaves: float


class Arrow(NamedTuple):
    """From one thing to another, by their numbers."""

    start: int
    end: int
    forgiving: bool

    def turned(self) -> "Arrow":
        """The same, the other way round."""
        return Arrow(self.end, self.start, self.forgiving)


class Line(NamedTuple):
    """One piece of an arrow: straight along to `bend`, then curved. Points are (across, along)."""

    start: tuple[float, float]
    bend: float
    end: tuple[float, float]
    forgiving: bool


class Layered(NamedTuple):
    """The first corner of each thing, the pieces of the arrows, and their heads: where, and whether against the way."""

    across: float
    along: float
    places: list[tuple[float, float]]
    lines: list[Line]
    heads: list[tuple[float, float, bool]]


@dataclass(slots=True, eq=False)
class _Spot:
    """A place in a layer: for a thing, or for an arrow that passes."""

    layer: int
    size: Size
    x: float = 0.0  # its first side
    above: "list[_Spot]" = field(default_factory=list)
    below: "list[_Spot]" = field(default_factory=list)


Link: TypeAlias = tuple[_Spot, _Spot]
PASSING: Final = Size(0, 0, 0, 0)


def layered(sizes: Sequence[Size], arrows: Sequence[Arrow], *, first: int | None, last: int | None) -> Layered:
    """All things in their places; those numbered `first` and `last` have a layer of their own at each end.

    Arrows of a circle are drawn, one of them against the way.
    """
    placed = _order(len(sizes), arrows)
    rank = {number: at for at, number in enumerate(placed)}
    down = [arrow if rank[arrow.start] < rank[arrow.end] else arrow.turned() for arrow in arrows]
    spots = [_Spot(layer, size) for layer, size in zip(_layers(placed, down, first, last), sizes, strict=True)]
    passing, links = _links(spots, down)
    rows = _rows([*spots, *passing], links)
    _align(rows)
    tops, along = _tops(rows)
    return Layered(
        max((spot.x + spot.size.across for row in rows for spot in row), default=0),
        along,
        [(spot.x, tops[spot.layer]) for spot in spots],
        list(_lines(rows, tops, links)),
        [*dict.fromkeys(_head(spots, tops, *pair) for pair in zip(down, arrows, strict=True) if pair[1].end != last)],
    )


def _lines(rows: Sequence[Sequence[_Spot]], tops: Sequence[float], links: Mapping[Link, bool]) -> Iterator[Line]:
    bands = [_band(row) for row in rows]
    for (start, end), forgiving in links.items():
        top = tops[start.layer]
        leaving, entering = (_leaves(start), top + start.size.along), (_enters(end), tops[end.layer])
        yield Line(leaving, top + bands[start.layer], entering, forgiving)


def _head(spots: Sequence[_Spot], tops: Sequence[float], arrow: Arrow, as_it_is: Arrow) -> tuple[float, float, bool]:
    """Where the arrow ends: above what it leads to, or below that, where it goes against the way."""
    if arrow == as_it_is:
        spot = spots[arrow.end]
        return _enters(spot), tops[spot.layer], False
    spot = spots[arrow.start]
    return _leaves(spot), tops[spot.layer] + spot.size.along, True


# ── which layer ───────────────────────────────────────────────────────────────────────────────────


def _order(many: int, arrows: Iterable[Arrow]) -> list[int]:
    """The things, each behind those that it needs, but for what closes a circle."""
    needs: dict[str, list[str]] = {str(number): [] for number in range(many)}
    for arrow in arrows:
        needs[str(arrow.end)].append(str(arrow.start))
    while True:
        try:
            return [int(number) for number in order(needs)]
        except CycleFound as found:
            needs[found.path[0]] = [number for number in needs[found.path[0]] if number != found.path[1]]


def _layers(placed: Sequence[int], down: Iterable[Arrow], first: int | None, last: int | None) -> list[int]:
    """Each thing as early as it may be; but what needs nothing, as late."""
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for start, end, _ in down:
        above[end].append(start)
        below[start].append(end)
    layers = [0 if first is None else 1] * len(placed)
    for number in placed:
        if number == first:
            layers[number] = 0
        elif above[number]:
            layers[number] = 1 + max(layers[each] for each in above[number])
    if last is not None:
        layers[last] = 1 + max(layer for number, layer in enumerate(layers) if number != last)
    for number in reversed(placed):
        if number != first and not above[number] and below[number]:
            layers[number] = min(layers[each] for each in below[number]) - 1
    return layers


def _links(spots: Sequence[_Spot], down: Iterable[Arrow]) -> tuple[list[_Spot], dict[Link, bool]]:
    """The arrows in pieces from one layer to the next; long ones share their way with others from, or to, one thing."""
    arrows = list(down)
    outs = Counter(arrow.start for arrow in arrows)
    ins = Counter(arrow.end for arrow in arrows)
    passing: dict[tuple[int, int, int], _Spot] = {}
    links: dict[Link, bool] = {}
    for start, end, forgiving in arrows:
        comes, goes = (start, -1) if outs[start] >= ins[end] else (-1, end)
        layers = range(spots[start].layer + 1, spots[end].layer)
        way = [passing.setdefault((comes, goes, layer), _Spot(layer, PASSING)) for layer in layers]
        for link in pairwise([spots[start], *way, spots[end]]):
            links[link] = links.get(link, True) and forgiving
    return list(passing.values()), links


# ── where in it ───────────────────────────────────────────────────────────────────────────────────


def _rows(spots: Sequence[_Spot], links: Iterable[Link]) -> list[list[_Spot]]:
    """The spots, layer by layer, in an order with few crossings."""
    numbers = {spot: number for number, spot in enumerate(spots)}
    for start, end in links:
        start.below.append(end)
        end.above.append(start)
    rows: list[list[int]] = [[] for _ in range(1 + max((spot.layer for spot in spots), default=-1))]
    for number, spot in enumerate(spots):
        rows[spot.layer].append(number)
    above = [[numbers[each] for each in spot.above] for spot in spots]
    below = [[numbers[each] for each in spot.below] for spot in spots]
    return [[spots[number] for number in row] for row in ordered(rows, above, below)]


def _align(rows: Sequence[Sequence[_Spot]]) -> None:
    """Move each spot towards those that it is linked with, in turns from both ends, with its row kept in order."""
    for row in rows:
        *room, across = accumulate(map(_room, row), initial=0.0)
        for spot, x in zip(row, room, strict=True):
            spot.x = x - across / 2
    for sweep in range(SWEEPS):
        is_down, is_settling = sweep % 2 == 0, sweep == SWEEPS - 2
        for row in rows if is_down else reversed(rows):
            wished = [_wish(spot, from_above=is_down, from_below=not is_down or is_settling) for spot in row]
            for spot, x in zip(row, _apart(wished, list(map(_room, row))), strict=True):
                spot.x = x
    _centre(rows)
    edge = min((spot.x for row in rows for spot in row), default=0)
    for row in rows:
        for spot in row:
            spot.x -= edge


def _centre(rows: Sequence[Sequence[_Spot]]) -> None:
    """Bring wide rows back that have drifted aside one after the other, and what stands between them with them."""
    wide = {at: fmean(spot.x + spot.size.across / 2 for spot in row) for at, row in enumerate(rows) if len(row) >= WIDE}
    aside = next(iter(wide.values()), 0.0)
    for at, row in enumerate(rows):
        aside = wide.get(at, aside)
        for spot in row:
            spot.x -= aside


def _room(spot: _Spot) -> float:
    return spot.size.across + (LANE if spot.size is PASSING else GAP)


def _wish(spot: _Spot, *, from_above: bool, from_below: bool) -> float:
    """Where its arrows would be straight."""
    above = [_leaves(each) - spot.size.enters for each in spot.above] if from_above else []
    below = [_enters(each) - spot.size.leaves for each in spot.below] if from_below else []
    return fmean(above + below) if above or below else spot.x


def _apart(wished: Sequence[float], widths: Sequence[float]) -> list[float]:
    """As near to what is wished as the widths and the order allow (isotonic regression, pooling adjacent violators)."""
    pools: list[tuple[float, int]] = []
    offset, offsets = 0.0, list[float]()
    for wish, width in zip(wished, widths, strict=True):
        offsets.append(offset)
        total, many = wish - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / many:
            total, many = total + pools[-1][0], many + pools[-1][1]
            pools.pop()
        pools.append((total, many))
        offset += width
    places = [total / many for total, many in pools for _ in range(many)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]


def _tops(rows: Sequence[Sequence[_Spot]]) -> tuple[list[float], float]:
    """Where each row begins, with more room where arrows go far across, and where the last one ends."""
    tops, top = list[float](), 0.0
    for row, following in zip_longest(rows, rows[1:], fillvalue=()):
        far = max((abs(_leaves(spot) - _enters(end)) for spot in row for end in spot.below), default=0)
        least = LAYER[0] if _band(row) and _band(following) else GAP
        tops.append(top)
        top += _band(row) + (min(max(least, far / STEEP), LAYER[1]) if following else 0)
    return tops, top


def _band(row: Sequence[_Spot]) -> float:
    return max((spot.size.along for spot in row), default=0)


def _enters(spot: _Spot) -> float:
    return spot.x + spot.size.enters


def _leaves(spot: _Spot) -> float:
    return spot.x + spot.size.leaves
