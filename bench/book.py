"""What was measured: every run's figures, their medians, and why some are not there."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from bench.plan import PEERS, Case, Subject
from bench.programs import Result

_NOT_COUNTED = frozenset({"redis"})  # stands beside PostgreSQL for scale, and is no peer of it


class Book:
    """Results by case and subject, in the order in which they came."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], list[Result]] = defaultdict(list)
        self._subjects: dict[str, dict[str, Subject]] = defaultdict(dict)
        self.missing: dict[str, str] = {}  # subjects that could not be started at all, with the reason

    def add(self, case: Case, subject: Subject, result: Result) -> None:
        """Keep one run."""
        self._results[case.key, subject.name].append(result)
        self._subjects[case.key][subject.name] = subject

    def figures(self, key: str, name: str) -> dict[str, float]:
        """The median of each figure over the runs; empty when there is none."""
        runs = [result.figures for result in self._results.get((key, name), ()) if result.figures]
        numbers = [name for name in (runs[0] if runs else ()) if _is_number(runs[0][name])]
        return {name: median(run[name] for run in runs if name in run) for name in numbers}

    def figure(self, key: str, name: str, which: str) -> float | None:
        """One of them."""
        return self.figures(key, name).get(which)

    def spread(self, key: str, name: str, which: str) -> tuple[float, float] | None:
        """The least and the greatest, when there was more than one run."""
        runs = [result.figures[which] for result in self._results.get((key, name), ()) if result.figures]
        return (min(runs), max(runs)) if len(runs) > 1 else None

    def why(self, key: str, name: str) -> str:
        """Why there are no figures."""
        results = self._results.get((key, name), ())
        return next((result.why for result in results if result.why), "not measured")

    def is_refused(self, key: str, name: str) -> bool:
        """Whether it said that it cannot do it."""
        return any(result.is_refusal for result in self._results.get((key, name), ()))

    def subjects(self, key: str) -> list[Subject]:
        """Who was asked, in the order of the plan."""
        return list(self._subjects.get(key, {}).values())

    def peers(self, key: str, which: str) -> dict[str, float]:
        """The figure of every peer on that database."""
        return {
            subject.name: value
            for subject in self.subjects(key)
            if subject.peer in PEERS and subject.database not in _NOT_COUNTED
            if (value := self.figure(key, subject.name, which)) is not None
        }

    def failures(self) -> list[str]:
        """What failed, by name."""
        return [
            f"{key}, {name}: {result.why}"
            for (key, name), results in self._results.items()
            for result in results
            if result.why and not result.is_refusal
        ]

    @property
    def has_failed(self) -> bool:
        """Whether a program of ours failed; a peer that does is named, and that is all."""
        return any(
            result.why and not result.is_refusal
            for (key, name), results in self._results.items()
            if self._subjects[key][name].peer is None
            for result in results
        )

    def refusals(self) -> list[str]:
        """What programs cannot do, by name."""
        return sorted(
            {f"{key}, {name}: {r.why}" for (key, name), rs in self._results.items() for r in rs if r.is_refusal}
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
