"""Deadlines in an attempt: none begins too late, and a forced one that runs over was cancelled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import Deadline, Worker, job
from tenuto.errors import InvalidJob
from tenuto.features.deadline import Deadlines
from tenuto.job import Job
from tenuto.outcome import Cancel, Outcome, Record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


@job(deadline=HOUR)
async def timely() -> None: ...


@job(deadline=Deadline(HOUR, force=True))
async def firm() -> None: ...


@job
async def free() -> None: ...


# ── as an option ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", [HOUR, 3600, 3600.0, Deadline(HOUR), Deadline(3600)], ids=repr)
def test_a_deadline_is_a_duration_in_any_form(given: Any):
    made = job(name="deadline.any", deadline=given)(lambda: None).new()

    assert (made.deadline, made.deadline_force, made.deadline_at) == (HOUR, False, None)


def test_a_forced_one_says_so():
    assert (firm.new().deadline, firm.new().deadline_force) == (HOUR, True)


def test_a_class_has_one_too_and_hands_it_down():
    class Base(Worker[None], deadline=Deadline(60, force=True)):
        pass

    class Below(Base):
        async def process(self, job: Job[None]) -> None: ...

    class Longer(Base, deadline=120):
        async def process(self, job: Job[None]) -> None: ...

    assert (Below.new().deadline, Below.new().deadline_force) == (timedelta(minutes=1), True)
    assert (Longer.new().deadline, Longer.new().deadline_force) == (timedelta(minutes=2), False)


def test_a_job_may_have_another_where_its_worker_has_one():
    assert timely.options(deadline=60).new().deadline == timedelta(minutes=1)
    assert firm.options(deadline=60).new().deadline_force is True
    assert firm.options(deadline=Deadline(60)).new().deadline_force is False
    assert timely.options(deadline=Deadline(60, force=True)).new().deadline_force is True
    assert timely.options(deadline=None).new().deadline is None


def test_a_job_may_have_none_of_its_own_where_its_worker_has_none():
    with pytest.raises(InvalidJob, match=r"free has no deadline.*say @job\(deadline=\.\.\.\) of the worker"):
        free.options(deadline=60)
    assert free.options(deadline=None).new().deadline is None


@pytest.mark.parametrize("given", [0, -1, "soon", True, float("nan"), timedelta(0), [60]], ids=repr)
def test_what_is_no_deadline_is_refused(given: Any):
    with pytest.raises(InvalidJob, match="deadline"):
        job(name="deadline.none", deadline=given)(lambda: None)
    with pytest.raises(InvalidJob, match="deadline"):
        timely.options(deadline=given)
    with pytest.raises(InvalidJob):
        Deadline(given)


def test_force_is_true_or_false():
    with pytest.raises(InvalidJob, match="neither True nor False"):
        Deadline(60, force="yes")  # type: ignore[arg-type]


def test_only_a_worker_with_a_deadline_pays_for_it():
    assert any(isinstance(feature, Deadlines) for feature in timely.definition.features)
    assert not any(isinstance(feature, Deadlines) for feature in free.definition.features)


# ── in an attempt ─────────────────────────────────────────────────────────────────────────────────


async def come_to(claimed: Job[Any, Any], takes: float = 0.0) -> Outcome:
    """What an attempt comes to that takes so many seconds to give 7."""

    async def process(job: Job[Any, Any]) -> Outcome:
        await asyncio.sleep(takes)
        return Record(7)

    return await Deadlines().around_process(claimed, process)


def claimed_at(instant: datetime, **fields: Any) -> Job[Any, Any]:
    """A job whose deadline is noon, as a claim at that instant gives it."""
    return timely.new().replace(attempted_at=instant, deadline_at=NOON, deadline=None, **fields)


@pytest.mark.parametrize("is_forced", [False, True])
async def test_an_attempt_that_begins_at_its_deadline_is_cancelled_and_does_not_run(is_forced: bool):
    outcome = await come_to(claimed_at(NOON, deadline_force=is_forced))

    assert isinstance(outcome, Cancel)
    assert outcome.reason == "its deadline has passed"


async def test_an_attempt_that_begins_before_it_runs():
    assert await come_to(claimed_at(NOON - TICK)) == Record(7)


async def test_an_attempt_may_run_over_a_deadline_that_is_not_forced():
    assert await come_to(claimed_at(NOON - TICK), takes=0.01) == Record(7)


async def test_what_comes_after_a_forced_deadline_does_not_count():
    assert isinstance(await come_to(claimed_at(NOON - TICK, deadline_force=True), takes=0.01), Cancel)


async def test_a_job_that_was_stored_without_a_deadline_runs_at_any_time():
    assert await come_to(timely.new().replace(attempted_at=NOON, deadline=None)) == Record(7)
