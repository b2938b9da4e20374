"""The checker: what the steps wrote, what the triggers wrote and what the database says must all agree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenuto import Job, JobState, Tenuto, WorkflowStatus
from tenuto.job import TERMINAL, TRANSITIONS
from tests.soaking.audit import history, settlings
from tests.soaking.places import Place
from tests.soaking.plan import Plan, StepPlan

Line = dict[str, Any]

SHOWN = 12  # of each kind of finding


@dataclass
class Findings:
    """What was found wrong, and how much there was to look at."""

    stuck: list[str] = field(default_factory=list)  # unfinished when the time was over
    lost: list[str] = field(default_factory=list)  # steps without a completed end
    twice: list[str] = field(default_factory=list)  # settled more than once
    wrong: list[str] = field(default_factory=list)  # results, order, counts, invariants
    steps: int = 0
    begun: int = 0  # attempts that began, of which the deaths took some
    rescues: int = 0

    @property
    def all(self) -> list[str]:
        """Everything that was found, in words."""
        kinds = {"stuck": self.stuck, "lost": self.lost, "twice": self.twice, "wrong": self.wrong}
        return [f"{kind}: {what}" for kind, found in kinds.items() for what in found[:SHOWN]]


@dataclass
class Evidence:
    """Everything there is to know about one run."""

    plan: Plan
    status: WorkflowStatus
    jobs: dict[str, Job[Any, Any]]  # by step
    log: list[Line]
    audit: list[dict[str, Any]]
    complaints: list[str]  # of the doctor

    def epoch(self, step: str) -> int | None:
        """The last epoch of a step's job; None where that is gone."""
        return self.jobs[step].epoch if step in self.jobs else None

    def lines(self, event: str) -> dict[str, list[tuple[int, Line]]]:
        """The lines of one kind by step, each with its place in the log."""
        found: dict[str, list[tuple[int, Line]]] = defaultdict(list)
        for place, line in enumerate(self.log):
            if line["event"] == event:
                found[line.get("step", "")].append((place, line))
        return found


async def examine(app: Tenuto, id: str, plan: Plan, place: Place) -> Findings:
    """Look at everything there is of one workflow, and tell what is wrong."""
    status = await app.workflow(id).status()
    stored = {job.id: job for job in await app.find(workflow=id, limit=10_000)}
    complaints = [f"{finding.rule}: {broken}" for finding in await app.check() for broken in finding.broken]
    jobs = {step.name: stored[step.job_id] for step in status.steps if step.job_id in stored}
    log, audit = read_log(place.folder / "log"), history(place.url)
    evidence = Evidence(plan, status, jobs, log, audit, complaints)
    return Findings(
        stuck=list(_stuck(evidence)),
        lost=list(_lost(evidence)),
        twice=list(_twice(evidence)),
        wrong=[*_order(evidence), *_results(evidence), *_counts(evidence), *_epochs(evidence)],
        steps=len(plan.steps),
        begun=sum(map(len, evidence.lines("begin").values())),
        rescues=sum(job.rescues for job in jobs.values()),
    )


def read_log(path: Path) -> list[Line]:
    """The log's lines in the order they were written."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _stuck(seen: Evidence) -> Iterator[str]:
    if seen.status.is_finished:
        return
    yield f"the workflow is {seen.status.state} with {seen.status.unfinished} steps unfinished"
    for name, job in seen.jobs.items():
        if job.state not in TERMINAL:
            yield (
                f"{name} is {job.state}: attempt {job.attempt}, epoch {job.epoch}, waits for {job.waiting_on}, "
                f"suspicions {job.suspicions}, due {job.scheduled_at}, last on {job.attempted_by}"
            )


def _lost(seen: Evidence) -> Iterator[str]:
    for name in seen.plan.steps:
        job = seen.jobs.get(name)
        if job is None:
            yield f"{name} is gone"
        elif job.state in TERMINAL and job.state is not JobState.COMPLETED:
            yield f"{name} is {job.state}: {[failure.message for failure in job.errors[-2:]]}"
    ended = seen.lines("end")
    yield from (f"{name} never ended by its own account" for name in seen.plan.steps if name not in ended)


def _twice(seen: Evidence) -> Iterator[str]:
    """A job leaves for a terminal state once, gets one fate, and the workflow finishes once."""
    yield from (f"{what} settled {times} times" for what, times in settlings(seen.audit).items() if times > 1)
    told = seen.lines("finished").get("", [])
    if len(told) > 1:
        yield f"the workflow's end was told {len(told)} times"


def _order(seen: Evidence) -> Iterator[str]:
    """No step began before all its deps had ended well."""
    first_end = {name: lines[0][0] for name, lines in seen.lines("end").items()}
    for name, begins in seen.lines("begin").items():
        place, _ = begins[0]
        for dep in seen.plan.steps[name].deps:
            if first_end.get(dep, len(seen.log)) > place:
                yield f"{name} began before {dep} had ended"


def _results(seen: Evidence) -> Iterator[str]:
    """Each stored result is the right one, by an attempt that ended, and all that read it read the same."""
    right, ends = seen.plan.values, seen.lines("end")
    stored: dict[str, list[Any]] = {}
    for step in seen.status.steps:
        result = step.result if isinstance(step.result, dict) else {}
        stored[step.name] = [result.get("value"), result.get("epoch")]
        if result.get("value") != right[step.name]:
            yield f"{step.name} came to {step.result!r}, not {right[step.name]}"
        elif result["epoch"] not in {line["epoch"] for _, line in ends.get(step.name, [])}:
            yield f"{step.name} has the result of epoch {result['epoch']}, which never ended"
        elif seen.plan.steps[step.name].deed != "stores" and result["epoch"] != seen.epoch(step.name):
            yield f"{step.name} ended in epoch {seen.epoch(step.name)}, its result is of {result['epoch']}"
    for name, begins in seen.lines("begin").items():
        for _, line in begins:
            if line["seen"] != {dep: stored.get(dep) for dep in seen.plan.steps[name].deps}:
                yield f"{name} saw {line['seen']}, and stored is {stored}"


def _counts(seen: Evidence) -> Iterator[str]:
    """The workflow's own row, each job's counts, and the doctor."""
    status = seen.status
    counted = (status.outcome, status.runs, status.total, status.completed, status.unfinished)
    if counted != ("completed", 1, len(seen.plan.steps), len(seen.plan.steps), 0):
        yield f"the workflow counts {counted}"
    if status.cancelled or status.discarded or status.deleted:
        yield f"the workflow counts bad ends: {status!r}"
    for step in seen.plan.steps.values():
        job = seen.jobs.get(step.name)
        if job is not None and _spent(job) != _should_spend(step):
            yield f"{step.name}, which {step.deed}, has (attempt, snoozes, errors) {_spent(job)}"
    yield from seen.complaints
    yield from (line["what"] for line in seen.log if line["event"] == "fault")


def _spent(job: Job[Any, Any]) -> tuple[int, int, int]:
    return job.attempt, job.snoozes, len(job.errors)


def _should_spend(step: StepPlan) -> tuple[int, int, int]:
    """What a step's way costs, however often its process died."""
    return {"fails": (2, 0, 1), "snoozes": (1, 1, 0)}.get(step.deed, (1, 0, 0))


def _epochs(seen: Evidence) -> Iterator[str]:
    """Only the transitions there are; each claim under an epoch of its own, and no attempt began without a claim."""
    claimed: dict[str, list[int]] = defaultdict(list)
    for row in seen.audit:
        if row["what"] != "job":
            continue
        waits_on = row["was"] == row["became"] == "suspended"  # one need less
        if not waits_on and row["became"] not in TRANSITIONS[JobState(row["was"])]:
            yield f"{row['id']} went from {row['was']} to {row['became']}"
        if row["became"] == "executing":
            claimed[row["id"]].append(row["epoch"])
    begins = seen.lines("begin")
    for name, job in seen.jobs.items():
        epochs = [line["epoch"] for _, line in begins.get(name, [])]
        if claimed[job.id] != sorted(set(claimed[job.id])):
            yield f"{name} was claimed under the epochs {claimed[job.id]}"
        if epochs != sorted(set(epochs)) or not set(epochs) <= set(claimed[job.id]):
            yield f"{name} began under the epochs {epochs}, claimed under {claimed[job.id]}"
