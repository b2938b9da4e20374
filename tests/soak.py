"""`make soak`: kill -9 at random, again and again, and count what was lost.

python -m tests.soak [--runs 20] [--minutes 10] [--seed 7] [--store sqlite] [--parallel 2] [--unrecorded]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tenuto
from tests.servers import BinariesMissing
from tests.soaking.killing import Outcome, run
from tests.soaking.places import PLACES, Place

TOTALS = Path(__file__).parent.parent / "bench" / "SOAK.md"
RUNS = 20  # a store, when nothing else is said


@dataclass
class Session:
    """The runs of one store under one command."""

    store: str
    first_seed: int
    runs: int | None
    until: float | None  # monotonic
    version: str = "?"
    outcomes: list[Outcome] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._seeds = self._draw()

    def next_seed(self) -> str | None:
        """The seed of the next run; None when it is enough."""
        with self.lock:
            return next(self._seeds, None)

    def _draw(self) -> Iterator[str]:
        nth = 0
        while self.runs is None or nth < self.runs:
            if self.until is not None and time.monotonic() > self.until:
                return
            yield str(self.first_seed + nth)
            nth += 1

    def add(self, outcome: Outcome) -> None:
        """Count a run, and show it."""
        with self.lock:
            self.outcomes.append(outcome)
            faults = outcome.findings.all
            print(
                f"{self.store} {len(self.outcomes)}{f'/{self.runs}' if self.runs else ''} seed {outcome.seed}: "
                f"{outcome.worker_kills}+{outcome.server_kills} kills, {outcome.findings.rescues} rescues, "
                f"{outcome.seconds:.1f} s {'FAILED' if faults else 'ok'}",
                flush=True,
            )

    def total(self, count: str) -> int:
        """A count of all runs, of the outcome or of its findings."""
        return sum(_count(one, count) for one in self.outcomes)

    @property
    def row(self) -> str:
        """Its line in the totals."""
        last = self.first_seed + len(self.outcomes) - 1
        cells = [
            f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            f"Tenuto {tenuto.__version__}, Python {platform.python_version()}, {self.version}",
            f"{self.first_seed}–{last}",
            len(self.outcomes),
            *map(self.total, ("steps", "begun", "worker_kills", "server_kills", "rescues", "spared")),
            *map(self.total, ("lost", "stuck", "twice", "wrong")),
            f"{(time.monotonic() - self.began) / max(1, len(self.outcomes)):.1f}",
        ]
        return f"| {' | '.join(map(str, cells))} |"


def _count(outcome: Outcome, name: str) -> int:
    """A number of the outcome, or how many its findings are of that kind."""
    counted: Any = getattr(outcome if hasattr(outcome, name) else outcome.findings, name)
    return counted if isinstance(counted, int) else len(counted)


def main() -> int:
    """Soak; 0 when nothing was found."""
    asked = _arguments()
    logging.getLogger("tenuto").setLevel(logging.ERROR)  # several processes share a file, and know it
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it tells of every connection that we cut
    until = None if asked.minutes is None else asked.minutes * 60
    runs = asked.runs or (None if asked.minutes else RUNS)
    seed = secrets.randbelow(1_000_000) * 1000 if asked.seed is None else asked.seed
    stores = [asked.store] if asked.store else list(PLACES)
    failed = 0
    for store in stores:
        share = None if until is None else time.monotonic() + until / len(stores)
        session = Session(store, seed, runs, share)
        failed += _soak(session, asked.parallel)
        print(f"{store}: {_summary(session)}", flush=True)
        if session.outcomes and not asked.unrecorded:
            with TOTALS.open("a", encoding="utf-8") as totals:
                totals.write(session.row + "\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, help=f"runs a store ({RUNS})")
    parser.add_argument("--minutes", type=float, help="go on for so long, both stores together")
    parser.add_argument("--seed", type=int, help="of the first run; the others count on from it")
    parser.add_argument("--store", choices=list(PLACES), help="one of the two")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--unrecorded", action="store_true", help="leave bench/SOAK.md as it is")
    return parser.parse_args()


def _summary(session: Session) -> str:
    counted = {count: session.total(count) for count in ("steps", "worker_kills", "server_kills")}
    found = {count: session.total(count) for count in ("lost", "stuck", "twice", "wrong")}
    told = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in {**counted, **found}.items())
    return f"{len(session.outcomes)} runs, {told}"


def _soak(session: Session, parallel: int) -> int:
    """All runs of one store, so many at a time; how many failed."""
    slots = parallel if session.runs is None else min(parallel, session.runs)
    with ThreadPoolExecutor(slots) as pool:
        places = [pool.submit(_slot, session) for _ in range(slots)]
        try:
            wait(places)
        except KeyboardInterrupt:
            session.until = 0.0
            print("ending with the runs under way", file=sys.stderr)
        return sum(place.result() for place in places)


def _slot(session: Session) -> int:
    """One place, used until there is nothing more to run."""
    try:
        place = PLACES[session.store]()
    except BinariesMissing as missing:
        print(f"{session.store} is left out: {missing}", file=sys.stderr)
        return 0
    try:
        session.version = place.version
        failed = 0
        while (seed := session.next_seed()) is not None:
            outcome = asyncio.run(run(place, seed))
            session.add(outcome)
            if outcome.findings.all:
                failed += 1
                _report(place, outcome)
        return failed
    finally:
        place.close()


def _report(place: Place, outcome: Outcome) -> None:
    """Everything about a failed run: what is wrong, where its files are, how to see it again."""
    lines = [
        f"── {outcome.store}, seed {outcome.seed}, {outcome.seconds:.1f} s",
        *(f"   {finding}" for finding in outcome.findings.all),
        f"   files: {place.keep_for(outcome.seed)}",
        f"   again: {outcome.command}",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
