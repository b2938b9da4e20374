"""Enqueues that are asked for at the same time are stored as one, and each caller gets its own answer."""

import asyncio
from typing import Any

import pytest

from tenuto import Tenuto
from tenuto.errors import JobMismatch, StorageUnavailable
from tenuto.job import Job
from tenuto.storage import store
from tests.kit import Obey


@pytest.fixture
def batches(app: Tenuto, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each run of `enqueue` was given."""
    sizes: list[int] = []
    run = app.database.run

    async def counted(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        if verb is store.enqueue:
            sizes.append(len(args[0]))
        return await run(verb, *args, **kwargs)

    monkeypatch.setattr(app.database, "run", counted)
    return sizes


async def enqueue_at_once(app: Tenuto, jobs: list[Job[Any, Any]]) -> list[Any]:
    return await asyncio.gather(*(app.enqueue(each) for each in jobs), return_exceptions=True)


async def test_callers_at_once_share_a_statement_and_get_their_own_jobs(app: Tenuto, batches: list[int]) -> None:
    jobs = [Obey.ok() for _ in range(300)]

    stored = await enqueue_at_once(app, jobs)

    assert [each.id for each in stored] == [each.id for each in jobs]
    assert batches == [1, 299]


async def test_a_lone_caller_waits_for_nobody(app: Tenuto, batches: list[int]) -> None:
    for _ in range(3):
        await app.enqueue(Obey.ok())

    assert batches == [1, 1, 1]


async def test_one_that_is_refused_harms_no_other(app: Tenuto, batches: list[int]) -> None:
    taken = await app.enqueue(Obey.ok())
    bad = Obey.value(1, id=taken.id)
    jobs = [Obey.ok() for _ in range(5)]

    stored = await enqueue_at_once(app, [jobs[0], *jobs[1:3], bad, *jobs[3:]])

    assert isinstance(stored.pop(3), JobMismatch)
    assert [each.id for each in stored] == [each.id for each in jobs]
    assert {(await app.fetch(each)).id for each in jobs} == {each.id for each in jobs}


async def test_the_same_job_twice_at_once_is_stored_once_and_said_to_exist(app: Tenuto) -> None:
    made = Obey.ok()

    stored = await enqueue_at_once(app, [made, made, made])

    assert sorted(each.existing for each in stored) == [False, True, True]


async def test_a_caller_that_is_cancelled_takes_nobody_along(app: Tenuto) -> None:
    jobs = [Obey.ok() for _ in range(4)]
    callers = [asyncio.create_task(app.enqueue(each)) for each in jobs]
    await asyncio.sleep(0)
    for place in (0, 2):
        callers[place].cancel()

    stored = await asyncio.gather(*callers, return_exceptions=True)

    assert [isinstance(each, asyncio.CancelledError) for each in stored] == [True, False, True, False]
    assert (await app.enqueue(jobs[3])).existing


async def test_an_outage_is_told_to_every_caller(app: Tenuto, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(app.database, "run", away)
        answers = await enqueue_at_once(app, [Obey.ok() for _ in range(5)])

    assert {type(each) for each in answers} == {StorageUnavailable}
    assert not (await app.enqueue(Obey.ok())).existing
