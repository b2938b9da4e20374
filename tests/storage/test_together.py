"""Enqueues that are asked for at the same time are stored as one, and each caller gets its own answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tenuto import Tenuto
from tenuto.errors import JobMismatch, StorageUnavailable
from tenuto.job import Job
from tenuto.storage import reading, store
from tests.conftest import OpenApp
from tests.kit import Obey, eventually


class Door:
    """Holds runs of `enqueue` before they reach the database."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []
        self._is_shut = True

    async def pass_through(self) -> None:
        if self._is_shut:
            self.waiting.append(asyncio.Event())
            await self.waiting[-1].wait()

    def let_pass(self) -> None:
        """Hold those that come from now on no more; those that wait go on waiting."""
        self._is_shut = False

    def open(self) -> None:
        self.let_pass()
        for each in self.waiting:
            each.set()


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


@pytest.fixture
def door(app: Tenuto, monkeypatch: pytest.MonkeyPatch) -> Door:
    """A door that is shut."""
    door = Door()
    run = app.database.run

    async def held(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        if verb is store.enqueue:
            await door.pass_through()
        return await run(verb, *args, **kwargs)

    monkeypatch.setattr(app.database, "run", held)
    return door


async def is_stored(app: Tenuto, job: Job[Any, Any]) -> bool:
    return bool(await app.database.read(reading.fetch, [job.id]))


async def enqueue_at_once(app: Tenuto, jobs: list[Job[Any, Any]]) -> list[Any]:
    return await asyncio.gather(*(app.enqueue(each) for each in jobs), return_exceptions=True)


async def test_callers_at_once_share_a_statement_and_get_their_own_jobs(app: Tenuto, batches: list[int]) -> None:
    jobs = [Obey.ok() for _ in range(300)]

    stored = await enqueue_at_once(app, jobs)

    assert [each.id for each in stored] == [each.id for each in jobs]
    assert batches == [1, 1, 298]


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


async def test_what_a_caller_asked_for_that_was_cancelled_while_it_waited_is_not_stored(
    app: Tenuto, door: Door, batches: list[int]
) -> None:
    jobs = [Obey.ok() for _ in range(6)]
    callers = [asyncio.create_task(app.enqueue(each)) for each in jobs]
    await eventually(lambda: len(door.waiting) == 2)
    for place in (2, 4):
        callers[place].cancel()

    door.open()
    await asyncio.gather(*callers, return_exceptions=True)

    assert batches == [1, 1, 2]
    assert [await is_stored(app, each) for each in jobs] == [True, True, False, True, False, True]


async def test_nothing_is_stored_when_every_caller_that_waited_was_cancelled(
    app: Tenuto, door: Door, batches: list[int]
) -> None:
    callers = [asyncio.create_task(app.enqueue(Obey.ok())) for _ in range(6)]
    await eventually(lambda: len(door.waiting) == 2)
    for caller in callers[2:]:
        caller.cancel()

    door.open()
    await asyncio.gather(*callers, return_exceptions=True)
    await app.enqueue(Obey.ok())

    assert batches == [1, 1, 1]


async def test_one_store_that_hangs_does_not_hold_up_the_others(app: Tenuto, door: Door) -> None:
    stuck = asyncio.create_task(app.enqueue(Obey.ok()))
    await eventually(lambda: door.waiting)
    door.let_pass()

    stored = await asyncio.wait_for(enqueue_at_once(app, [Obey.ok() for _ in range(5)]), 10)

    assert all(isinstance(each, Job) for each in stored)
    assert not stuck.done()
    door.open()
    await stuck


async def test_an_outage_is_told_to_every_caller(app: Tenuto, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(app.database, "run", away)
        answers = await enqueue_at_once(app, [Obey.ok() for _ in range(5)])

    assert {type(each) for each in answers} == {StorageUnavailable}
    assert not (await app.enqueue(Obey.ok())).existing


async def test_an_outage_between_one_by_one_is_told_at_once_to_all_that_are_left(
    app: Tenuto, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = app.database.run
    sizes: list[int] = []

    async def away_at_the_fifth(verb: Any, jobs: Any) -> Any:
        sizes.append(len(jobs))
        if len(sizes) == 3:
            raise JobMismatch(jobs[0].id)
        if len(sizes) == 5:
            raise StorageUnavailable("away")
        return await run(verb, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(app.database, "run", away_at_the_fifth)
        first, second, third, *rest = await enqueue_at_once(app, [Obey.ok() for _ in range(7)])

    assert sizes == [1, 1, 5, 1, 1]
    assert all(isinstance(each, Job) for each in (first, second, third))
    assert {type(each) for each in rest} == {StorageUnavailable}


async def test_nobody_waits_for_a_store_that_was_cancelled_and_the_next_ones_go_on(
    app: Tenuto, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = app.database.run
    sizes: list[int] = []

    async def cancelled_at_the_third(verb: Any, jobs: Any) -> Any:
        sizes.append(len(jobs))
        if len(sizes) == 3:
            storing = asyncio.current_task()
            assert storing is not None
            storing.cancel()
        return await run(verb, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(app.database, "run", cancelled_at_the_third)
        made = Obey.ok()
        answers = await asyncio.wait_for(enqueue_at_once(app, [Obey.ok(), Obey.ok(), Obey.ok(), made, made]), 10)

    assert sizes == [1, 1, 2, 1]
    assert [isinstance(each, asyncio.CancelledError) for each in answers] == [False, False, True, True, False]


async def test_a_store_that_was_cancelled_before_it_began_leaves_its_callers_to_the_next(open_app: OpenApp) -> None:
    app = await open_app()
    loop = asyncio.get_running_loop()
    cancelled: list[asyncio.Task[Any]] = []

    def cancel_the_first(loop: Any, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if "_store" in coroutine.__qualname__ and not cancelled:
            cancelled.append(task)
            task.cancel()
        return task

    loop.set_task_factory(cancel_the_first)
    answers = await asyncio.wait_for(enqueue_at_once(app, [Obey.ok() for _ in range(5)]), 10)
    loop.set_task_factory(None)

    assert all(isinstance(each, Job) for each in answers)
    assert cancelled[0].cancelled()


def test_an_app_that_is_opened_on_another_loop_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Tenuto(f"sqlite:///{tmp_path / 'jobs.db'}")

    async def hang(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def leave_with_enqueues_under_way() -> None:
        async with app:
            with monkeypatch.context() as patch:
                patch.setattr(app.database, "run", hang)
                left.extend(asyncio.create_task(app.enqueue(Obey.ok())) for _ in range(3))
                await asyncio.sleep(0)

    async def enqueue() -> bool:
        async with app:
            return (await asyncio.wait_for(app.enqueue(Obey.ok()), 10)).existing

    left: list[asyncio.Task[Any]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_with_enqueues_under_way())

    assert asyncio.run(enqueue()) is False
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.wait(left))
    loop.close()
