"""Tasks that a job starts: their SystemExit ends that job, not the event loop and all that runs on it."""

import asyncio
import gc
import inspect
import warnings
from typing import Any

import pytest

from tenuto import KeyRing, Tenuto, job
from tenuto.job import COMPLETED, DISCARDED
from tests.kit import Gate, Obey, drain, eventually


async def leave(error: type[BaseException]) -> None:
    raise error


@job(name="children.group", max_attempts=1)
async def in_a_group(which: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave(ERRORS[which]))


@job(name="children.awaited", max_attempts=1)
async def awaited(which: str) -> None:
    await asyncio.create_task(leave(ERRORS[which]))


@job(name="children.forgotten", max_attempts=1)
async def forgotten(which: str) -> None:
    task = asyncio.create_task(leave(ERRORS[which]))
    await asyncio.wait([task])


@job(name="children.left", encrypted=KeyRing("k", {"k": KeyRing.new_key()}))
async def left_behind(secret: str) -> None:
    async def fails() -> None:
        raise ValueError(secret)

    asyncio.get_running_loop().create_task(fails())
    await asyncio.sleep(0)


async def test_what_a_task_of_an_encrypted_job_raised_is_logged_by_its_type_alone(app: Tenuto, caplog: Any) -> None:
    made = await app.enqueue(left_behind.new("geheim"))
    await drain(app)
    gc.collect()

    assert f"a task that children.left left behind in job {made.id} raised ValueError" in caplog.text
    assert "geheim" not in caplog.text


ERRORS: dict[str, type[BaseException]] = {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}


@pytest.mark.parametrize("which", ERRORS)
async def test_a_task_that_exits_ends_its_job_alone(app: Tenuto, which: str) -> None:
    gate = Gate()
    neighbour = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    made = await app.enqueue([in_a_group.new(which), awaited.new(which), forgotten.new(which)])

    async def states() -> list[str]:
        return [(await app.fetch(each)).state for each in made]

    async def have_ended() -> bool:
        return await states() == [DISCARDED, DISCARDED, COMPLETED]

    await eventually(have_ended)
    assert which in (await app.fetch(made[1])).errors[-1].message
    gate.open()
    await drain(app)
    assert (await app.fetch(neighbour)).state is COMPLETED


SEEN: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


@job(name="children.cancelled", max_attempts=1)
async def cancelled() -> None:
    for one in [leave(SystemExit), asyncio.sleep(60)]:
        SEEN["task"] = task = asyncio.create_task(one)
        task.cancel()
        await asyncio.wait([task])
        gc.collect()


async def test_a_task_that_is_cancelled_before_it_began_leaves_no_warning(app: Tenuto) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        made = await app.enqueue(cancelled.new())
        await drain(app)

    assert (await app.fetch(made)).state is COMPLETED
    assert SEEN["task"].cancelled()
    assert [str(each.message) for each in warned if "never awaited" in str(each.message)] == []


@job(name="children.late", max_attempts=1)
async def late() -> None:
    task = asyncio.create_task(exits_when_cancelled())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def exits_when_cancelled() -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise SystemExit from None


async def test_a_task_that_exits_when_it_is_cancelled_ends_its_job_alone(app: Tenuto) -> None:
    made = await app.enqueue(late.new())
    await drain(app)

    assert "SystemExit" in (await app.fetch(made)).errors[-1].message


@job(name="children.of_what_is_none", max_attempts=1)
async def of_what_is_none() -> None:
    asyncio.create_task(42)  # type: ignore[arg-type]  # noqa: RUF006


async def test_a_task_of_what_is_no_coroutine_is_refused_as_ever(app: Tenuto) -> None:
    made = await app.enqueue(of_what_is_none.new())
    await drain(app)

    error = (await app.fetch(made)).errors[-1]
    assert (error.type, error.message) == ("TypeError", "a coroutine was expected, got 42")


@job(name="children.looked_at", max_attempts=1)
async def looked_at() -> None:
    task = asyncio.create_task(nap(), name="tea")
    await asyncio.sleep(0)
    shown: Any = task.get_coro()
    SEEN.update(
        repr=repr(task),
        coroutine=repr(shown),
        name=shown.__name__,
        state=inspect.getcoroutinestate(shown),
        value=await task,
    )
    SEEN.update(frame=shown.cr_frame, code=shown.cr_code.co_name)


async def nap() -> str:
    await asyncio.sleep(0.001)
    return "rested"


async def test_a_task_shows_the_coroutine_that_the_user_wrote(app: Tenuto) -> None:
    await app.enqueue(looked_at.new())
    await drain(app)

    assert "coro=<nap() running at " in SEEN["repr"]
    assert "test_children.py:" in SEEN["repr"]
    assert "name='tea'" in SEEN["repr"]
    assert SEEN["coroutine"].startswith("<coroutine object nap at ")
    assert (SEEN["name"], SEEN["code"], SEEN["state"]) == ("nap", "nap", inspect.CORO_SUSPENDED)
    assert (SEEN["value"], SEEN["frame"]) == ("rested", None)


async def test_the_loop_makes_its_tasks_itself_again_when_the_last_node_has_left(open_app: Any) -> None:
    loop = asyncio.get_running_loop()
    first, second = await open_app(queues={"a": 1}), await open_app(queues={"b": 1})

    await first.stop()
    assert loop.get_task_factory() is not None
    await second.stop()

    assert loop.get_task_factory() is None


async def test_a_task_factory_of_the_users_own_is_left_alone(open_app: Any) -> None:
    def mine(loop: Any, coroutine: Any, **options: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(mine)
    app = await open_app(queues={"a": 1})
    await app.stop()

    assert asyncio.get_running_loop().get_task_factory() is mine
