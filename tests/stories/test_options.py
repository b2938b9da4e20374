"""What a worker says of all its jobs, and one job of itself: queue, priority, tags, meta, timeout, backoff."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tenuto import Job, Tenuto, Worker, job
from tenuto.errors import InvalidJob
from tenuto.job import DISCARDED, RETRYABLE
from tests.conftest import OpenApp
from tests.kit import drain, eventually

order: list[str] = []


@job(
    name="with-options",
    queue="fast",
    priority=2,
    max_attempts=3,
    tags=["Mail", "mail", " bulk "],
    meta={"team": "growth", "cost": 3},
    timeout=timedelta(seconds=30),
)
async def with_options(n: int) -> None: ...


class Based(Worker[None], name="based", queue="slow", tags=["base"], meta={"from": "base"}, priority=5):
    async def process(self, job: Job[None, None]) -> None: ...


class Derived(Based, name="derived", meta={"from": "derived"}):
    async def process(self, job: Job[None, None]) -> None: ...


@job(name="first-come", queue="one")
async def note(who: str) -> None:
    order.append(who)


@job(name="hang", max_attempts=1, timeout=0.05)
async def hang() -> None:
    await asyncio.Event().wait()


@job(name="fail-slowly", max_attempts=3, backoff=lambda attempt: timedelta(hours=attempt))
async def fail_slowly() -> None:
    raise ValueError


@job(name="fail-fast", max_attempts=3, backoff=0)
async def fail_fast() -> None:
    raise ValueError


async def test_what_a_worker_says_is_stored_with_each_of_its_jobs(open_app: OpenApp) -> None:
    app = await open_app()
    stored = await app.fetch(await app.enqueue(with_options.new(1)))

    assert (stored.queue, stored.priority, stored.max_attempts) == ("fast", 2, 3)
    assert stored.tags == ("mail", "bulk")
    assert stored.meta == {"team": "growth", "cost": 3}
    assert stored.timeout == timedelta(seconds=30)


async def test_what_a_job_says_of_itself_replaces_what_its_worker_says(open_app: OpenApp) -> None:
    app = await open_app()
    own = with_options.options(
        queue="other", priority=0, max_attempts=1, tags=["vip"], meta={"team": "sales"}, timeout=None
    )
    stored = await app.fetch(await app.enqueue(own.new(1)))

    assert (stored.queue, stored.priority, stored.max_attempts) == ("other", 0, 1)
    assert (stored.tags, stored.meta, stored.timeout) == (("vip",), {"team": "sales"}, None)


def test_a_class_hands_its_options_down_and_a_subclass_replaces_them() -> None:
    made = Derived.new()

    assert (made.queue, made.priority, made.tags, made.meta) == ("slow", 5, ("base",), {"from": "derived"})


@pytest.mark.parametrize(
    "options",
    [
        {"priority": 10},
        {"priority": -1},
        {"priority": "high"},
        {"max_attempts": 0},
        {"tags": "mail"},
        {"tags": [7]},
        {"meta": ["a"]},
        {"meta": {"workflow_id": "mine"}},
        {"timeout": -1},
        {"backoff": "soon"},
        {"queue": ""},
    ],
)
def test_an_option_that_cannot_be_is_refused_where_the_worker_is_defined(options: Any) -> None:
    with pytest.raises(InvalidJob):

        @job(**options)
        async def never() -> None: ...


async def test_jobs_run_in_the_order_of_their_priority(open_app: OpenApp) -> None:
    order.clear()
    app = await open_app()
    for who, priority in (("last", 9), ("middle", 5), ("first", 0), ("too", 5)):
        await app.enqueue(note.options(priority=priority).new(who))

    await app.stop()
    worker = await open_app(queues={"one": 1})
    await drain(worker)

    assert order == ["first", "middle", "too", "last"]


async def test_jobs_are_found_by_the_tags_of_their_worker(open_app: OpenApp) -> None:
    app = await open_app()
    made = await app.enqueue(with_options.new(1))

    assert [one.id for one in await app.find(tag="BULK ")] == [made.id]
    assert await app.find(tag="bul") == []


async def test_an_attempt_that_takes_longer_than_the_timeout_fails(app: Tenuto) -> None:
    made = await app.enqueue(hang.new())

    failed = await eventually(lambda: _in_state(app, made, DISCARDED))

    assert [(one.kind, one.type) for one in failed.errors] == [("timeout", "JobTimedOut")]


async def test_a_failed_job_waits_as_long_as_its_workers_backoff_says(app: Tenuto) -> None:
    made = await app.enqueue(fail_slowly.new())

    failed = await eventually(lambda: _in_state(app, made, RETRYABLE))

    waits = failed.scheduled_at - failed.errors[0].at
    assert waits == timedelta(hours=1)


async def test_a_backoff_of_nothing_tries_again_at_once_until_attempts_are_spent(app: Tenuto) -> None:
    made = await app.enqueue(fail_fast.new())

    failed = await eventually(lambda: _in_state(app, made, DISCARDED))

    assert [one.attempt for one in failed.errors] == [1, 2, 3]


async def _in_state(app: Tenuto, made: Job[Any, Any], state: str) -> Job[Any, Any] | None:
    found = await app.fetch(made)
    return found if found.state == state else None
