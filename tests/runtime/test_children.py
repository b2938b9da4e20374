"""Tasks that a job starts: their SystemExit ends that job, not the event loop and all that runs on it."""

import asyncio
from typing import Any

import pytest

from tenuto import Tenuto, job
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
