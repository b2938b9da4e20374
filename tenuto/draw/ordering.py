"""Ordering: within each layer, an order in which few arrows cross: Sugiyama's method, by barycentres, the best kept."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from statistics import fmean
from typing import Final, TypeAlias

SWEEPS: Final = 24
IN_VAIN: Final = 4  # sweeps after which no better order is looked for

Rows: TypeAlias = list[list[int]]
Links: TypeAlias = Sequence[Sequence[int]]  # of each spot, those that it is linked with in the next row, or the last


def ordered(rows: Rows, above: Links, below: Links) -> Rows:
    """The rows, each in an order with few crossings; what is nothing to choose between stays as it came."""
    here = _in_depth(rows, below)
    best, least, in_vain = here, _crossings(here, below), 0
    for sweep in range(SWEEPS):
        if not least or in_vain == IN_VAIN:
            break
        here = _swept(here, above) if sweep % 2 == 0 else _swept(here[::-1], below)[::-1]
        many = _crossings(here, below)
        in_vain = 0 if many < least else in_vain + 1
        if many < least:
            best, least = here, many
    return best


def _in_depth(rows: Rows, below: Links) -> Rows:
    """Each spot's followers beside each other: a tree has no crossings then."""
    found: Rows = [[] for _ in rows]
    layers = {spot: layer for layer, row in enumerate(rows) for spot in row}
    seen = set[int]()
    left = [spot for row in reversed(rows) for spot in reversed(row)]
    while left:
        spot = left.pop()
        if spot not in seen:
            seen.add(spot)
            found[layers[spot]].append(spot)
            left += reversed(below[spot])
    return found


def _swept(rows: Rows, links: Links) -> Rows:
    """Each row in the order of the middles of what its spots are linked with in the row before."""
    found: Rows = []
    at: dict[int, float] = {spot: place for row in rows for place, spot in enumerate(row)}
    for row in rows:
        middles = {spot: fmean(at[each] for each in links[spot]) if links[spot] else at[spot] for spot in row}
        found.append(sorted(row, key=middles.__getitem__))
        at.update((spot, place) for place, spot in enumerate(found[-1]))
    return found


def _crossings(rows: Rows, below: Links) -> int:
    at = {spot: place for row in rows for place, spot in enumerate(row)}
    total = 0
    for row in rows:
        ends = list[int]()  # of the links that begin further to the left
        for spot in row:
            mine = [at[each] for each in below[spot]]
            total += sum(len(ends) - bisect_right(ends, end) for end in mine)
            for end in mine:
                insort(ends, end)
    return total
