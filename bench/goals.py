"""The goals: each a figure of Tenuto, alone or beside its yardstick, and the bound it is to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.book import Book
from bench.plan import BARE, PIPELINED, TENUTO

Measure = Callable[[Book], float | None]
POLL: Final = 1000.0  # milliseconds between two polls


@dataclass(frozen=True)
class Goal:
    """What is to be true of one case. `is_sized`: it speaks of a full run's work, which a quick one does not do."""

    key: str
    text: str
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    shows: str = "{:.2f} ×"
    is_sized: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most


# ── measures ──────────────────────────────────────────────────────────────────────────────────────


def own(key: str, which: str = "rate") -> Measure:
    """A figure as it is."""
    return lambda book: book.figure(key, TENUTO, which)


def beside(key: str, name: str, which: str = "rate") -> Measure:
    """Ours divided by somebody else's."""
    return lambda book: _ratio(book.figure(key, TENUTO, which), book.figure(key, name, which))


def over(key: str, other: str, which: str = "rate", other_which: str | None = None) -> Measure:
    """Ours divided by ours of another case, or by another figure."""
    return lambda book: _ratio(book.figure(key, TENUTO, which), book.figure(other, TENUTO, other_which or which))


def beside_best(key: str, which: str = "rate") -> Measure:
    """Ours divided by the best peer's: the greatest rate, the least latency."""
    best = max if which == "rate" else min
    return lambda book: _ratio(book.figure(key, TENUTO, which), best(book.peers(key, which).values(), default=None))


def _ratio(mine: float | None, other: float | None) -> float | None:
    return None if mine is None or not other else mine / other


# ── the goals, in the order of the cases ──────────────────────────────────────────────────────────

RATE: Final = "{:,.0f}/s"
PERCENT: Final = "{:.1f} %"
MILLISECONDS: Final = "{:.1f} ms"
SECONDS: Final = "{:.1f} s"
PG: Final = "postgresql "


def _drain(limit: int, least: float) -> list[Goal]:
    key = f"{PG}drain {limit}"
    return [
        Goal(key, f"≥ {least:,.0f} a second", own(key), at_least=least, shows=RATE),
        Goal(key, "≥ 60 % of the bare pipelined loop", beside(key, PIPELINED), at_least=0.6),
        Goal(key, "≥ 2.5 × the best peer", beside_best(key), at_least=2.5),
        Goal(key, "≥ 15 × oban", beside(key, "oban"), at_least=15),
    ]


def _five_features(database: str) -> list[Goal]:
    return [
        Goal(
            f"{database}{name} {limit}",
            "costs at most twice a plain job",
            over(f"{database}drain {limit}", f"{database}{name} {limit}"),
            at_most=2,
        )
        for limit in (10, 100)
        for name in ("featured", "chained")
    ]


def _large() -> list[Goal]:
    key, small = f"{PG}large 100000", f"{PG}large 1000"
    return [
        Goal(key, "validated and stored ≤ 15 s", own(key, "stored"), at_most=15, shows=SECONDS, is_sized=True),
        Goal(key, "run to its end ≤ 40 s", own(key, "ran"), at_most=40, shows=SECONDS, is_sized=True),
        Goal(key, "a step ≤ 1.3 × one at 1,000", over(key, small, "per_step"), at_most=1.3, is_sized=True),
    ]


def _fanin() -> list[Goal]:
    key, small = f"{PG}fanin 10000", f"{PG}fanin 100"
    return [
        Goal(key, "one release for each join", own(key, "releases_each"), 1, 1, "{:.0f}", is_sized=True),
        Goal(key, "an edge ≤ one at 100", over(key, small, "per_edge"), at_most=1.0, is_sized=True),
    ]


def _fanout(database: str) -> Goal:
    key = f"{database}fanout"
    return Goal(key, "≤ 2 × as many plain jobs", own(key, "times"), at_most=2, is_sized=True)


def _processes(count: int) -> list[Goal]:
    key, one = f"{PG}processes {count}", f"{PG}processes 1"
    return [
        Goal(key, "≥ one process", over(key, one), at_least=1.0),
        Goal(key, "waiting on locks ≤ 5 %", own(key, "lock_share"), at_most=5, shows=PERCENT),
    ]


def _start() -> list[Goal]:
    key, loaded = f"{PG}start", f"{PG}loaded"
    return [
        Goal(key, "p50 ≤ 1.4 × bare NOTIFY + claim", beside(key, BARE, "p50"), at_most=1.4),
        Goal(key, "p50 below every peer's", beside_best(key, "p50"), at_most=1.0),
        Goal(key, "p99 ≤ 4 × p50", over(key, key, "p99", "p50"), at_most=4),
        Goal(loaded, "p99 ≤ 100 ms", own(loaded, "p99"), at_most=100, shows=MILLISECONDS),
    ]


def _relay(database: str) -> Goal:
    key, start = f"{database}relay", f"{database}start"
    return Goal(key, "p50 ≤ 2 × enqueue → start", over(key, start, "p50"), at_most=2)


def _limits(database: str) -> list[Goal]:
    """What is true of queues with limits, on both databases."""
    held, freed, died, beside_many = (f"{database} {name}" for name in ("held", "freed", "died", "beside"))
    rates = {f"{database} {name}": "kept within 5 %" for name in ("paced", "shares")}
    drains = {f"{database} capped {limit}": f"{database} drain {limit}" for limit in (100, 1000)}
    return [
        Goal(held, "never more than 3", own(held, "most"), at_most=3, shows="{:.0f}", is_sized=True),
        Goal(freed, "p99 ≤ 100 ms", own(freed, "p99"), at_most=100, shows=MILLISECONDS, is_sized=True),
        Goal(died, "≤ lease + 5 s", own(died, "late"), at_most=5, shows="lease + " + SECONDS, is_sized=True),
        Goal(
            *(beside_many, "every one ≤ 1 s", own(beside_many, "max")), at_most=1000, shows=MILLISECONDS, is_sized=True
        ),
        *(Goal(key, text, own(key, "off"), at_most=5, shows=PERCENT, is_sized=True) for key, text in rates.items()),
        *(Goal(key, "≥ half of a plain queue's", over(key, plain), at_least=0.5) for key, plain in drains.items()),
    ]


GOALS: Final = (
    *(goal for limit, least in ((10, 4_000), (100, 14_000), (1000, 20_000)) for goal in _drain(limit, least)),
    *_five_features(PG),
    Goal("sqlite drain 100", "≥ 18,000 a second", own("sqlite drain 100"), at_least=18_000, shows=RATE),
    Goal("sqlite drain 100", "≥ 15 × huey", beside("sqlite drain 100", "huey"), at_least=15),
    *_five_features("sqlite "),
    Goal(f"{PG}bulk", "≥ 50,000 a second", own(f"{PG}bulk"), at_least=50_000, shows=RATE),
    Goal(f"{PG}bulk", "≥ 2 × the best peer", beside_best(f"{PG}bulk"), at_least=2),
    Goal(f"{PG}single", "≤ 1.6 × a bare insert", beside(f"{PG}single", BARE, "p50"), at_most=1.6),
    *_start(),
    Goal(
        *(f"{PG}nolisten", "p99 ≤ poll + 50 ms", own(f"{PG}nolisten", "p99")),
        at_most=POLL + 50,
        shows=MILLISECONDS,
    ),
    *(_relay(database) for database in (PG, "sqlite ")),
    Goal(f"{PG}diamonds", "≥ 1,300 a second", own(f"{PG}diamonds"), at_least=1_300, shows=RATE),
    Goal(f"{PG}diamonds", "≥ 50 % of the bare loop", beside(f"{PG}diamonds", BARE), at_least=0.5),
    Goal(f"{PG}diamonds", "≥ 30 × DBOS", beside(f"{PG}diamonds", "dbos"), at_least=30),
    *_fanin(),
    *(_fanout(database) for database in (PG, "sqlite ")),
    *_large(),
    Goal(
        *(f"{PG}backlog 1000000", "≥ 80 % of the speed at 10,000"),
        over(f"{PG}backlog 1000000", f"{PG}backlog 10000"),
        at_least=0.8,
        is_sized=True,
    ),
    Goal(f"{PG}life", "≥ 60 % of plain jobs' speed", over(f"{PG}life", f"{PG}drain 100"), at_least=0.6),
    Goal(f"{PG}idle", "≤ 5 queries a second", own(f"{PG}idle", "queries"), at_most=5, shows="{:.1f}/s"),
    Goal(f"{PG}idle", "≤ 1 % of a core", own(f"{PG}idle", "cpu"), at_most=1, shows="{:.2f} %"),
    Goal(f"{PG}memory", "≤ 10 KB a job in flight", own(f"{PG}memory", "per_job"), at_most=10, shows="{:.1f} KB"),
    Goal(
        *(f"{PG}growth", "flat (≤ 5 % more) over 1,000,000 jobs", own(f"{PG}growth", "growth")),
        at_most=5,
        shows=PERCENT,
        is_sized=True,
    ),
    *(goal for count in (2, 4) for goal in _processes(count)),
    Goal(
        *(
            f"{PG}pinned",
            "a claim ≤ 1.2 × the first ones, after ten minutes",
            over(f"{PG}pinned", f"{PG}pinned", "last", "first"),
        ),
        at_most=1.2,
        is_sized=True,
    ),
    *_limits("postgresql"),
    *_limits("sqlite"),
)
