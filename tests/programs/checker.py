"""What a random program must have come to: no step before its deps, none stuck, counts exact, ends told once."""

from __future__ import annotations

from collections.abc import Iterator

from tenuto.nesting import prefixes
from tests.programs.program import Spec
from tests.programs.running import Run


def wrong(run: Run) -> list[str]:
    """Everything that is not as it must be."""
    return [*_stuck(run), *_counts(run), *_order(run), *_ends(run), *run.faults, *run.complaints]


def _steps(run: Run) -> dict[str, Spec]:
    """Every step that must be there when all has completed, by full name."""
    return {name: spec for top in run.accepted.values() for name, spec in top.steps()}


def _stuck(run: Run) -> Iterator[str]:
    for when, status in (("at first", run.first), ("in the end", run.last)):
        assert status is not None
        if not status.is_finished:
            yield f"stuck {when}: {[(step.name, step.state) for step in status.steps if step.fate is None]}"
    assert run.last is not None
    if run.last.outcome != "completed":
        left = [(step.name, step.state, step.error) for step in run.last.steps if step.fate != "completed"]
        yield f"not healed: {left}"


def _counts(run: Run) -> Iterator[str]:
    for status in (run.first, run.last):
        assert status is not None
        fates: list[str | None] = [step.fate for step in status.steps]
        kinds = ("completed", "cancelled", "discarded", "deleted")
        counted = {kind: getattr(status, kind) for kind in kinds} | {None: status.unfinished}
        if counted != {kind: fates.count(kind) for kind in (*kinds, None)} or status.total != len(fates):
            yield f"the workflow counts {status!r}, its steps are {fates}"
    assert run.last is not None
    if {step.name for step in run.last.steps} != _steps(run).keys():
        yield f"the steps are {[step.name for step in run.last.steps]}, and should be {list(_steps(run))}"


def _order(run: Run) -> Iterator[str]:
    """Whoever began for the first time, all that it waits for had met it; a group ended after all that it holds."""
    assert run.last is not None
    names = {step.job_id: step.name for step in run.last.steps}
    fates: dict[str, set[str]] = {}  # every fate that a step has had so far
    for row in run.audit:
        name = names.get(str(row["id"]))
        if name is None:
            continue
        if row["what"] == "fate" and row["became"] is not None:
            fates.setdefault(name, set()).add(row["became"])
        elif row["what"] == "job" and row["became"] == "executing":
            yield from (f"{name} began before {dep} had ended" for dep in _unmet(run, name, fates))
        elif row["what"] == "job" and row["became"] == "completed":
            yield from (f"{name} ended before {member} had" for member in _unended(run, name, fates))


def _unmet(run: Run, name: str, fates: dict[str, set[str]]) -> Iterator[str]:
    """What a step, or a group that it is in, needs and never had. Groups themselves wait for their members alone."""
    steps = _steps(run)
    for each in (*prefixes(name), name):
        parent, _, _ = each.rpartition("/")
        spec = steps.get(each, Spec(each))
        for dep in (f"{parent}/{dep}" if parent else dep for dep in spec.deps):
            seen = fates.get(dep, set())
            if "completed" not in seen and not (spec.forgives and seen):
                yield dep


def _unended(run: Run, name: str, fates: dict[str, set[str]]) -> Iterator[str]:
    """Members of a group that had not ended."""
    parent, _, _ = name.rpartition("/")
    held = [member for member, _ in _steps(run).get(name, Spec(name)).steps(parent) if member != name]
    yield from (member for member in held if not fates.get(member) and not _is_excused(name, member, fates))


def _is_excused(group: str, member: str, fates: dict[str, set[str]]) -> bool:
    """Whether the end of a group says nothing of this member: one around it ended badly, which the group forgave, or it
    would have been grafted by a step that did."""
    inside = [each for each in (*prefixes(member), f"{group}/graft") if each.startswith(f"{group}/")]
    return any(fates.get(each, set()) & {"cancelled", "discarded"} for each in inside)


def _ends(run: Run) -> Iterator[str]:
    """Its end is decided once for each run of it, and whoever is to hear of it is told once."""
    assert run.last is not None
    decided = sum(row["what"] == "workflow" for row in run.audit)
    told = sorted(job.meta["finished"]["run"] for job in run.told)
    if decided != run.last.runs or told != list(range(1, run.last.runs + 1)):
        yield f"{run.last.runs} runs, {decided} ends, the callbacks are of the runs {told}"
