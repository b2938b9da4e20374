"""What the harness and our own programs agree on: a scenario by name, its options, one JSON object at the end.

PYTHON program.py SCENARIO --url URL [--limit L] [--jobs N] [--seconds S] [--rate R] [...]

The programs in `peers/` speak the same and import nothing of ours: each runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from typing import Any, Final, TypeAlias

NOT_OFFERED: Final = 64  # the exit code of a program that cannot do what it is asked

Figures: TypeAlias = dict[str, Any]
"""What one run measured: a rate a second, or p50, p95, p99 and max in milliseconds with their count."""


class Asked(argparse.Namespace):
    """What a run is asked for; what a scenario does not need stays at its default."""

    scenario: str
    url: str
    limit: int
    jobs: int
    seconds: float
    rate: float
    width: int
    stored: int
    processes: int


Scenario: TypeAlias = Callable[[Asked], Figures]


class WentWrong(Exception):
    """An invariant did not hold after the run: its figures are worth nothing."""


def serve(scenarios: Mapping[str, Scenario], described: Mapping[str, str], refused: Mapping[str, str]) -> int:
    """Do the scenario of the command line, and print its figures; `refused` has the reasons of those not offered."""
    asked = _parse(sys.argv[1:])
    if asked.scenario == "describe":
        print(json.dumps(described))
        return 0
    if asked.scenario not in scenarios:
        print(refused.get(asked.scenario, f"no scenario {asked.scenario!r} here"), file=sys.stderr)
        return NOT_OFFERED
    try:
        figures = scenarios[asked.scenario](asked)
    except WentWrong as found:
        print(found, file=sys.stderr)
        return 1
    print(json.dumps(figures), flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> Asked:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--url", default="")
    parser.add_argument("--limit", type=int, default=100, help="jobs at once, or rows in a batch")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs, samples or workflows")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=100.0, help="jobs a second")
    parser.add_argument("--width", type=int, default=250, help="steps side by side")
    parser.add_argument("--stored", type=int, default=10_000, help="jobs that lie there at the beginning")
    parser.add_argument("--processes", type=int, default=1)
    return parser.parse_args(arguments, namespace=Asked())


def pause_of_a_user() -> float:
    """Seconds between two samples of an idle house: in step with no poll."""
    return random.uniform(0.02, 0.06)


def latencies(seconds: Sequence[float]) -> Figures:
    """Percentiles of durations, in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    found = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(seconds)}
    return {**{name: round(value * 1000, 3) for name, value in found.items()}, "count": len(seconds)}


def rate(count: int, seconds: float) -> float:
    """So many a second, to three digits after the point."""
    return round(count / seconds, 3)
