"""`make bench`: everything in the plan, interleaved, N runs of each; one table, and RESULTS.md.

python -m bench [--quick] [--only drain,start] [--without oban] [--runs 3] [--jobs 1.0] [--peers none] [--write]
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console

from bench import report
from bench.book import Book
from bench.environments import Missing
from bench.places import Places, open_server
from bench.plan import CASES, PEERS, Case, Subject
from bench.programs import Programs, Result
from bench.table import DATABASES, as_rich, rows
from tests.servers import BinariesMissing

RUNS = 3


@dataclass
class Session:
    """One command: what it measures, with what, and how far it is."""

    asked: argparse.Namespace
    programs: Programs
    book: Book = field(default_factory=Book)
    began: float = field(default_factory=time.monotonic)
    done: int = 0

    @property
    def cases(self) -> list[Case]:
        """The cases that were asked for."""
        return [case for case in CASES if _is_wanted(case, self.asked)]

    def subjects(self, case: Case) -> list[Subject]:
        """Who does it in this run."""
        wanted = _peers(self.asked)
        named = case.subjects(quick=self.asked.quick)
        return [one for one in named if one.peer is None or (one.peer in wanted and one.name not in self.asked.without)]

    def run(self) -> None:
        """Measure all of it, one run of each before the second of any."""
        measurements = self._measurements()
        for case, subject in measurements:
            if subject.name not in self.book.missing:
                self._measure(case, subject, len(measurements))
            self.done += 1

    def describe(self) -> dict[str, dict[str, str]]:
        """Every program's word on itself; what cannot be started is named, and missing from now on."""
        said: dict[str, dict[str, str]] = {}
        for subject in dict.fromkeys(subject for _, subject in self._measurements()):
            try:
                said[_label(subject)] = self.programs.describe(subject)
            except Missing as missing:
                self.book.missing[subject.name] = str(missing)
                _tell(f"skipped: {subject.name}: {missing}\n")
        return said

    def _measurements(self) -> list[tuple[Case, Subject]]:
        return [
            (case, subject)
            for run in range(self.asked.runs)
            for case in self.cases
            if run == 0 or not case.once
            for subject in _turned(self.subjects(case), run)
        ]

    def _measure(self, case: Case, subject: Subject, total: int) -> None:
        title = case.titled(quick=self.asked.quick, scale=self.asked.jobs)
        _tell(f"[{_clock(self.began)} {self.done + 1}/{total}] {title}, {_label(subject)} … ")
        try:
            result = self._result(case, subject)
        except Missing as missing:
            self.book.missing[subject.name] = str(missing)
            _tell(f"skipped: {missing}\n")
            return
        self.book.add(case, subject, result)
        shown = case.shows.format_map(result.figures) if result.figures else result.why
        _tell(f"{shown} ({result.seconds:.1f} s)\n")

    def _result(self, case: Case, subject: Subject) -> Result:
        arguments = case.arguments(subject, quick=self.asked.quick, scale=self.asked.jobs)
        if case.share_of is not None:
            other, share = case.share_of
            full = self.book.figure(f"{case.database} {other}", subject.name, "rate")
            if full is None:
                return Result(None, f"it needs the rate of `{other}`", True, 0.0)
            arguments.append(f"--rate={int(full * share)}")
        return self.programs.measure(subject, case, arguments)


def main() -> int:
    """Measure, print, and write; 0 unless something of ours failed."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and programs are ended then, too
    try:
        with open_server() as server:
            places = Places(server)
            session = Session(asked, Programs(places, make=not asked.quick))
            facts = report.machine(places.postgres_version)
            said = session.describe()
            session.began = time.monotonic()
            is_whole = _to_the_end(session)
    except BinariesMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    _show(session, facts)
    if is_whole and (asked.write or not (asked.quick or asked.only)):
        made = rows(session.book, CASES, quick=asked.quick, scale=asked.jobs)
        report.write(session.book, made, said, facts, _command())
        print(f"written: {report.RESULTS.relative_to(report.RESULTS.parent.parent)}")
    return 0 if is_whole and not session.book.has_failed else 1


def _to_the_end(session: Session) -> bool:
    """Measure; False when Ctrl-C ended it, which leaves what there is."""
    try:
        session.run()
    except KeyboardInterrupt:
        _tell("ended by Ctrl-C\n")
        return False
    return True


def _show(session: Session, facts: Sequence[str]) -> None:
    asked = session.asked
    made = rows(session.book, session.cases if asked.only else CASES, quick=asked.quick, scale=asked.jobs)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(as_rich(made, f"{_command()} · {_clock(session.began)} · {' · '.join(facts)}"))
    for name, why in session.book.missing.items():
        console.print(f"skipped: {name}: {why}", markup=False)
    for refusal in session.book.refusals():
        console.print(f"not offered: {refusal}", markup=False)
    for failure in session.book.failures():
        console.print(f"failed: {failure}", markup=False)


# ── the command line ──────────────────────────────────────────────────────────────────────────────


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small run of most, in under two minutes")
    parser.add_argument("--only", type=_words, default=[], help="scenarios or cases: drain,start or 'drain 100'")
    parser.add_argument("--without", type=_words, default=[], help="subjects to leave out, by name")
    parser.add_argument("--runs", type=int, help=f"of each measurement ({RUNS}, or 1 with --quick)")
    parser.add_argument("--jobs", type=float, default=1.0, help="so many times the usual number of jobs")
    parser.add_argument("--peers", type=_words, default=list(PEERS), help=f"none, or some of {','.join(PEERS)}")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md also when quick or partial")
    asked = parser.parse_args()
    asked.runs = asked.runs or (1 if asked.quick else RUNS)
    unknown = set(asked.peers) - {*PEERS, "none"}
    if unknown:
        parser.error(f"no peer is named {', '.join(sorted(unknown))}")
    return asked


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _peers(asked: argparse.Namespace) -> set[str]:
    return set(asked.peers) - {"none"} - set(asked.without)


def _is_wanted(case: Case, asked: argparse.Namespace) -> bool:
    if asked.quick and case.only_full:
        return False
    return not asked.only or bool({case.name, case.scenario, case.key, case.database} & set(asked.only))


def _command() -> str:
    arguments = shlex.join(sys.argv[1:])
    return f'make bench ARGS="{arguments}"' if arguments else "make bench"


def _turned(subjects: Sequence[Subject], by: int) -> list[Subject]:
    """Another one first in each run."""
    first = by % max(1, len(subjects))
    return [*subjects[first:], *subjects[:first]]


def _label(subject: Subject) -> str:
    is_ours = subject.peer is None
    return f"{subject.name} on {DATABASES[subject.database]}" if is_ours else subject.name


def _clock(since: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes}:{seconds:02}"


def _tell(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
