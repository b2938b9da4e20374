"""A queue whose head is slow is claimed from behind the last claim for a while, and nothing is left behind for good."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto.job import Job
from tenuto.runtime import cursor
from tenuto.runtime.cursor import Cursor
from tenuto.storage import store

AnyJob = Job[Any, Any]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Queue:
    """A queue in memory; walking to its head takes `slow` seconds."""

    def __init__(self, clock: pytest.MonkeyPatch) -> None:
        self.due: list[AnyJob] = []
        self.slow = 0.0
        self.now = 1000.0
        self.asked: list[str] = []
        clock.setattr(time, "monotonic", lambda: self.now)

    def add(self, *minutes: int, priority: int = 0) -> None:
        """Jobs that became due so many minutes after noon."""
        self.due += [
            Job("w", {}, scheduled_at=NOON + timedelta(minutes=minute), priority=priority) for minute in minutes
        ]

    async def run(self, verb: Any, queue: str, demand: int, producer: str, node: str, behind: Any = None) -> Any:
        """What the verb `claim` does."""
        assert verb is store.claim
        self.asked.append("head" if behind is None else "behind")
        self.now += self.slow if behind is None else 0.001
        found = sorted(self.due, key=_place)
        if behind is not None:
            found = [job for job in found if job.priority not in behind or _place(job)[1:] > behind[job.priority]]
        self.due = [job for job in self.due if job not in found[:demand]]
        return found[:demand]

    async def claim(self, cursor: Cursor, demand: int = 10) -> list[int]:
        """The minutes of the jobs that a claim by `cursor` gives."""
        return minutes_of(await cursor.claim(self.run, "default", demand, "producer", "node"))


def _place(job: AnyJob) -> tuple[Any, ...]:
    return job.priority, job.scheduled_at, job.id


def minutes_of(jobs: Sequence[AnyJob]) -> list[int]:
    return [int((job.scheduled_at - NOON) / timedelta(minutes=1)) for job in jobs if job.scheduled_at]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(monkeypatch)


async def test_a_head_that_is_fast_is_always_claimed_from(queue: Queue) -> None:
    mine = Cursor()
    for minute in (5, 3, 4):
        queue.add(minute)
        assert await queue.claim(mine) == [minute]

    assert queue.asked == ["head"] * 3


@pytest.fixture
async def resting(queue: Queue) -> Cursor:
    """A cursor that has met two slow claims, the last of which gave the job of minute 2."""
    mine, queue.slow = Cursor(), 0.05
    for minute in (1, 2):
        queue.add(minute)
        assert await queue.claim(mine) == [minute]
    queue.asked.clear()
    return mine


async def test_one_slow_claim_is_an_accident(queue: Queue) -> None:
    mine, queue.slow = Cursor(), 0.05
    queue.add(2)
    await queue.claim(mine)
    queue.slow = 0.001
    queue.add(1)

    assert await queue.claim(mine) == [1]
    assert queue.asked == ["head", "head"]


async def test_slow_claims_that_find_nothing_are_no_sign(queue: Queue) -> None:
    mine, queue.slow = Cursor(), 0.05

    assert [await queue.claim(mine) for _ in range(3)] == [[], [], []]
    assert queue.asked == ["head"] * 3


async def test_after_slow_claims_the_next_ones_begin_behind_the_last(queue: Queue, resting: Cursor) -> None:
    queue.add(0, 3)
    queue.add(-9, priority=5)

    assert await queue.claim(resting) == [3, -9]  # in a priority it has seen nothing of, all is behind it
    assert queue.asked == ["behind"]


async def test_what_became_due_before_the_place_is_found_a_little_later(queue: Queue, resting: Cursor) -> None:
    queue.add(1)
    assert await queue.claim(resting) == []

    queue.now += cursor.REST * queue.slow
    assert await queue.claim(resting) == [1]
    assert queue.asked == ["behind", "head"]


async def test_a_claim_that_took_for_ever_hides_nothing_for_more_than_a_second(queue: Queue) -> None:
    mine, queue.slow = Cursor(), 30.0
    for minute in (1, 2):
        queue.add(minute)
        await queue.claim(mine)
    queue.add(0)
    assert await queue.claim(mine) == []

    queue.now += cursor.REST_AT_MOST
    assert await queue.claim(mine) == [0]


async def test_a_claim_that_took_all_it_may_goes_on_where_it_ended(queue: Queue) -> None:
    mine, queue.slow = Cursor(), 0.05
    queue.add(*range(8))

    assert [await queue.claim(mine, 2) for _ in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert queue.asked == ["head", "head", "behind", "behind"]
