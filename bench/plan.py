"""What is measured: the subjects, the cases, and how much work each case is in a full and in a quick run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Database = Literal["postgresql", "sqlite", "redis"]

TENUTO: Final = "Tenuto"
BARE: Final = "bare loop"
PIPELINED: Final = "bare loop, pipelined"
SPAN: Final = 4.0  # seconds that a rate is measured for, about
QUICK_SPAN: Final = 0.5
RATE: Final = "{rate:,.0f}/s"
LATENCY: Final = "{p50:.2f} ms, p99 {p99:.1f}"


@dataclass(frozen=True, eq=False)
class Subject:
    """One program at one database; `paces` are the jobs a second it may come to, and only decide how many it gets."""

    name: str
    program: str  # its file below bench/, without .py
    database: Database
    paces: Mapping[str, float]  # by scenario, or by scenario and limit: "drain 10"
    as_: Mapping[str, str] = field(default_factory=dict[str, str])  # what it calls a scenario, where that differs
    only: frozenset[str] | None = None  # scenarios; None: all, and its program says which it cannot do

    @property
    def peer(self) -> str | None:
        """What is installed for it; None for our own programs."""
        return self.program.removeprefix("peers/on_") if self.program.startswith("peers/") else None

    def does(self, scenario: str) -> bool:
        """Whether it is asked at all."""
        return self.only is None or scenario in self.only

    def pace(self, scenario: str, limit: int) -> float:
        """Jobs a second, as far as we know before."""
        found = self.paces.get(f"{scenario} {limit}", self.paces.get(scenario))
        return found if found is not None else self.paces.get("drain", 500)


def _peer(name: str, database: Database, bulk: float, *drains: float) -> Subject:
    """A peer, whose paces at limits 10, 100 and 1,000 are `drains`, or one for all."""
    paces = {f"drain {limit}": pace for limit, pace in zip((10, 100, 1000), drains, strict=False)}
    shown = name.replace("_", ", ") if database != "sqlite" or name == "huey" else f"{name} on SQLite"
    return Subject(shown, f"peers/on_{name}", database, {"bulk": bulk, "drain": drains[-1], "diamonds": 30, **paces})


_TENUTO: Final = {
    "bulk": 25_000,
    "drain": 12_000,
    "drain 10": 4_000,
    "drain 1000": 15_000,
    "life": 8_000,
    "featured": 7_000,
    "featured 10": 3_000,
    "chained": 5_000,
    "chained 10": 1_500,
    "diamonds": 1_000,
    "mixed": 8_000,
}
_BARE: Final = {"bulk": 40_000, "drain": 14_000, "drain 10": 2_500, "drain 1000": 20_000, "diamonds": 700}
_LOOPS: Final = frozenset({"bulk", "single", "drain", "start", "diamonds"})
_PIPE: Final = {"drain": "pipelined"}

SUBJECTS: Final = (
    Subject(TENUTO, "on_tenuto", "postgresql", _TENUTO),
    Subject(BARE, "limit_postgres", "postgresql", _BARE, only=_LOOPS),
    Subject(PIPELINED, "limit_postgres", "postgresql", _BARE, _PIPE, only=frozenset(_PIPE)),
    _peer("pgqueuer", "postgresql", 20_000, 2_000, 9_000, 10_000),
    _peer("pgqueuer_capped", "postgresql", 20_000, 1_800, 7_000, 10_000),
    _peer("awa", "postgresql", 20_000, 470, 2_100, 3_500),
    _peer("oban", "postgresql", 1_500, 1_000, 2_500, 3_000),
    _peer("procrastinate", "postgresql", 8_000, 180),
    _peer("dbos", "postgresql", 500, 300),
    _peer("absurd", "postgresql", 1_000, 600),
    Subject(TENUTO, "on_tenuto", "sqlite", _TENUTO),
    Subject(BARE, "limit_sqlite", "sqlite", {**_BARE, "drain": 30_000}, only=_LOOPS - {"start"}),
    Subject(PIPELINED, "limit_sqlite", "sqlite", {**_BARE, "drain": 30_000}, _PIPE, only=frozenset(_PIPE)),
    _peer("huey", "sqlite", 2_300, 2_500),
    _peer("dbos", "sqlite", 300, 100),
    _peer("arq", "redis", 1_700, 1_000),
    _peer("saq", "redis", 3_000, 1_200),
    _peer("streaq", "redis", 3_000, 1_000),
)
PEERS: Final = tuple(dict.fromkeys(subject.peer for subject in SUBJECTS if subject.peer))


@dataclass(frozen=True, eq=False)
class Case:
    """One row: a scenario with its options at one database, done by everybody who does it."""

    name: str
    title: str  # with {jobs}, {stored} or {width} where the size belongs to it
    database: Database
    scenario: str
    limit: int = 100
    options: Mapping[str, float] = field(default_factory=dict[str, float])
    quick: Mapping[str, float] | None = None  # the options of a quick run; None: the same
    shows: str = RATE
    compares: str = "rate"  # the figure that ratios are made of
    alone: bool = False  # whether only Tenuto does it
    peers_when_quick: bool = False
    only_full: bool = False
    is_sized: bool = False  # whether its size belongs to a goal: then nothing but a quick run makes it smaller
    once: bool = False  # in the first run only: it takes long
    share_of: tuple[str, float] | None = None  # the case and the share of its rate that is --rate here
    patience: float = 180.0  # seconds

    @property
    def key(self) -> str:
        """Its name, unique."""
        return f"{self.database} {self.name}"

    def subjects(self, *, quick: bool) -> Sequence[Subject]:
        """Who does it: Redis stands beside PostgreSQL."""
        there = {self.database} | ({"redis"} if self.database == "postgresql" else set())
        return [
            subject
            for subject in SUBJECTS
            if subject.database in there
            and subject.does(self.scenario)
            and (subject.name == TENUTO or not self.alone)
            and (subject.peer is None or not quick or self.peers_when_quick)
        ]

    def titled(self, *, quick: bool, scale: float) -> str:
        """The title, with the size that this run has."""
        options = self._options(quick=quick, scale=scale)
        return self.title.format_map({name: f"{int(value):,}" for name, value in options.items()})

    def arguments(self, subject: Subject, *, quick: bool, scale: float) -> list[str]:
        """The options of one run; where no number of jobs is given, as many as fill the span."""
        options = self._options(quick=quick, scale=scale)
        if "jobs" not in options:
            span = scale * (QUICK_SPAN if quick else SPAN)
            options["jobs"] = max(20, round(subject.pace(self.scenario, self.limit) * span, -1))
        return [f"--limit={self.limit}", *(f"--{name}={_plain(value)}" for name, value in options.items())]

    def _options(self, *, quick: bool, scale: float) -> dict[str, float]:
        options = dict(self.options if self.quick is None or not quick else self.quick)
        if self.is_sized and not quick:
            return options
        scaled = {name: max(20, round(options[name] * scale)) for name in ("jobs", "stored") if name in options}
        return options | scaled


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


# ── the cases ─────────────────────────────────────────────────────────────────────────────────────


def _common(database: Database) -> list[Case]:
    """What everybody does, Tenuto and its limit at least."""
    return [
        Case("bulk", "bulk enqueue", database, "bulk"),
        Case(
            *("single", "one awaited enqueue", database, "single"),
            options={"jobs": 1000},
            quick={"jobs": 200},
            shows=LATENCY,
            compares="p50",
        ),
        Case(
            *("callers", "one awaited enqueue each, by 1,000 callers", database, "callers", 1000),
            options={"jobs": 20_000},
            quick={"jobs": 5_000},
            alone=True,
        ),
        *(_drain(database, limit) for limit in (10, 100, 1000)),
        *(_with_features(database, name, told, limit) for limit in (10, 100) for name, told in _FIVE.items()),
        Case(
            *("start", "idle enqueue → start", database, "start"),
            options={"jobs": 200, "seconds": 20},
            quick={"jobs": 25, "seconds": 3},
            shows=LATENCY,
            compares="p50",
            peers_when_quick=True,
        ),
        _relay(database),
        Case("life", "a job as in life (Tenuto's recorded and encrypted), limit 100", database, "life"),
        Case("diamonds", "diamonds, limit 100", database, "diamonds"),
        Case("mixed", "enqueue while draining, limit 100", database, "mixed", alone=True),
        Case(
            *("open", "enqueue → start, 100 a second", database, "open"),
            options={"rate": 100, "seconds": 10},
            shows=LATENCY,
            compares="p50",
            only_full=True,
        ),
        Case(
            *("loaded", "enqueue → start at 80 % of `mixed`", database, "open"),
            options={"seconds": 10},
            quick={"seconds": 1},
            shows=LATENCY + " at {rate:,.0f}/s",
            compares="p50",
            alone=True,
            share_of=("mixed", 0.8),
        ),
    ]


def _relay(database: Database) -> Case:
    return Case(
        *("relay", "idle relay → its answer", database, "relay"),
        options={"jobs": 200, "seconds": 20},
        quick={"jobs": 25, "seconds": 3},
        shows=LATENCY,
        compares="p50",
        alone=True,
    )


def _drain(database: Database, limit: int) -> Case:
    return Case(f"drain {limit}", f"drain, limit {limit:,}", database, "drain", limit, peers_when_quick=limit == 100)


_FIVE: Final = {
    "featured": "encrypted",
    "chained": "chained",
}


def _with_features(database: Database, name: str, told: str, limit: int) -> Case:
    return Case(
        f"{name} {limit}",
        f"drain, five features ({told}), limit {limit}",
        database,
        name,
        limit,
        alone=True,
    )


def _large(database: Database, name: str, steps: int, quick: int) -> Case:
    return Case(
        *(name, "a workflow of {jobs} steps", database, "large", 1000),
        options={"jobs": steps},
        quick={"jobs": quick},
        shows="stored in {stored:.1f} s, run in {ran:.1f} s: {per_step:.0f} µs a step",
        compares="per_step",
        alone=True,
        is_sized=True,
        once=steps > 10_000,
        patience=600,
    )


def _fanin(database: Database, width: int, quick: int) -> Case:
    return Case(
        *(f"fanin {width}", "fan-in of {width}", database, "fanin", 1000),
        options={"jobs": 20_000, "width": width},
        quick={"jobs": 2_000, "width": quick},
        shows="{per_edge:.0f} µs an edge",
        compares="per_edge",
        alone=True,
        is_sized=True,
    )


def _fanout(database: Database, width: int, quick: int) -> Case:
    return Case(
        *("fanout", "a fan-out of {jobs} that a step computes", database, "fanout"),
        options={"jobs": width},
        quick={"jobs": quick},
        shows="{fanned:.2f} s; as plain jobs {plain:.2f} s",
        compares="times",
        alone=True,
        is_sized=True,
    )


def _backlog(database: Database, stored: int, quick: int) -> Case:
    return Case(
        *(f"backlog {stored}", "drain of {stored} stored, limit 1,000", database, "backlog", 1000),
        options={"jobs": 50_000, "stored": stored},
        quick={"jobs": 6_000, "stored": quick},
        alone=True,
        is_sized=True,
        once=stored > 100_000,
        patience=900,
    )


def _processes(database: Database, count: int) -> Case:
    return Case(
        *(
            f"processes {count}",
            f"drain by {count} process{'es' if count > 1 else ''}, limit 100 each",
            database,
            "processes",
        ),
        options={"jobs": 60_000, "processes": count},
        quick={"jobs": 6_000, "processes": count},
        shows=RATE + (", {lock_share:.1f} % of it waiting on locks" if database == "postgresql" else ""),
        alone=True,
    )


def _at_size(database: Database) -> list[Case]:
    """What Tenuto does alone."""
    growing = {"jobs": 1_000_000 if database == "postgresql" else 200_000}
    return [
        _fanin(database, 100, 100),
        _fanin(database, 10_000, 2_000),
        _fanout(database, 10_000, 2_000),
        _large(database, "large 1000", 1_000, 1_000),
        _large(database, "large 100000", 100_000, 4_000),
        _backlog(database, 10_000, 6_000),
        _backlog(database, 1_000_000, 25_000),
        Case(
            *("memory", "memory, 1,000 jobs in flight", database, "memory", 1000),
            shows="{per_job:.1f} KB a job",
            compares="per_job",
            alone=True,
        ),
        Case(
            *("growth", "memory over {jobs} jobs", database, "growth", 1000),
            options=growing,
            quick={"jobs": 20_000},
            shows="{first_mb:.0f} MB, then {last_mb:.0f} MB",
            compares="growth",
            alone=True,
            is_sized=True,
            once=True,
            patience=1800,
        ),
        Case(
            *("idle", "ten idle queues", database, "idle"),
            options={"seconds": 10},
            quick={"seconds": 3},
            shows=("{queries:.1f} queries a second, " if database == "postgresql" else "") + "{cpu:.2f} % of a core",
            compares="cpu",
            alone=True,
        ),
        *(_processes(database, count) for count in (1, 2, 4)),
    ]


def _limits(database: Database) -> list[Case]:
    """Queues with limits over all nodes; all but the last three by four processes."""

    def case(name: str, title: str, shows: str, compares: str, limit: int = 3, **options: float) -> Case:
        scenario = name.partition(" ")[0]
        full_only: dict[str, Any] = {"alone": True, "only_full": True, "is_sized": True, "patience": 900}
        return Case(name, title, database, scenario, limit, options, shows=shows, compares=compares, **full_only)

    waiting = "a claim of ten of 100,000 jobs in {width} partitions"
    return [
        case("held", "a limit of 3, held in turmoil by {jobs} jobs", _HELD, "most", jobs=1000),
        case("freed", "a freed slot of 3 → taken", LATENCY, "p99", jobs=2000),
        case("died", "a killed node's 3 slots → taken", "{late:.1f} s beyond its lease", "late", jobs=5, seconds=5),
        case(
            "beside", "enqueue → start beside {stored} of another partition", LATENCY, "p99", jobs=100, stored=100_000
        ),
        case("paced", "100 a second for a minute", "{starts:,.0f} starts, {off:.1f} % off", "off", seconds=60),
        case("shares", "6 a minute of each of {jobs} partitions", _SHARES, "off", jobs=1000, seconds=60),
        case("claims 1", waiting, LATENCY, "p99", limit=1000, jobs=1000, stored=100_000, width=1),
        case("claims 10000", waiting, LATENCY, "p99", limit=1000, jobs=1000, stored=100_000, width=10_000),
        *(
            Case(f"capped {most}", _CAPPED, database, "capped", most, alone=True, only_full=True)
            for most in (100, 1000)
        ),
    ]


_HELD: Final = "{most:.0f} at most, in {starts:,.0f} starts, {looks:,.0f} looks and {kill:.0f} deaths"
_SHARES: Final = "{starts:,.0f} starts, {off:.1f} % off, {most:.0f} of one in {took:.0f} s"
_CAPPED: Final = "drain, limited over all nodes to as many as its slots"

_PINNED: Final = Case(
    *("pinned", "claims beside a transaction that never ends", "postgresql", "pinned"),
    options={"rate": 2000, "seconds": 600},
    quick={"rate": 2000, "seconds": 3},
    shows="{first:.1f} ms at first, {last:.1f} ms at last, {rate:,.0f} jobs/s",
    compares="last",
    alone=True,
    once=True,
    patience=900,
)


_NOLISTEN: Final = Case(
    *("nolisten", "enqueue elsewhere → start without LISTEN", "postgresql", "nolisten"),
    options={"jobs": 40},
    quick={"jobs": 3},
    shows=LATENCY,
    compares="p99",
    alone=True,
)
_QUICK_ON_SQLITE: Final = {"bulk", "drain 100", "featured 100", "chained 100", "start", "relay", "diamonds"}


def _on_sqlite() -> list[Case]:
    """SQLite's cases; a quick run has few of them."""
    cases = [*_common("sqlite"), *_at_size("sqlite"), *_limits("sqlite")]
    return [case if case.name in _QUICK_ON_SQLITE else replace(case, only_full=True) for case in cases]


CASES: Final = (
    *(*_common("postgresql"), _NOLISTEN, *_at_size("postgresql"), _PINNED, *_limits("postgresql")),
    *_on_sqlite(),
)
