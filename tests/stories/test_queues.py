"""Queues that operators steer from anywhere: paused, resumed, scaled, started and stopped."""

import asyncio

import pytest

from tenuto.errors import EmptyFilter, NotStarted, WrongLoop
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, until_paused


async def test_a_paused_queue_starts_nothing_and_a_resumed_one_does(open_app: OpenApp) -> None:
    worker, other = await open_app(queues={"default": 10}), await open_app()
    await other.queue("default").pause()
    await until_paused(worker)
    made = await other.enqueue(Obey.ok())
    await asyncio.sleep(0.3)  # nothing tells that nothing happens
    assert (await other.fetch(made)).state is AVAILABLE

    await other.queue("default").resume()

    await drain(worker)
    assert (await other.fetch(made)).state is COMPLETED


async def test_a_pause_outlives_a_restart(open_app: OpenApp) -> None:
    first = await open_app(queues={"default": 10})
    await first.queue("default").pause()
    await first.stop()
    made = await (await open_app()).enqueue(Obey.ok())

    second = await open_app(queues={"default": 10})
    await asyncio.sleep(0.3)  # nothing tells that nothing happens

    assert (await second.fetch(made)).state is AVAILABLE


async def test_scaling_changes_how_many_run_at_once_and_none_forgets_it(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 2}), Gate()
    await app.enqueue([Obey.wait_at(gate) for _ in range(6)])
    await eventually(lambda: gate.waiting == 2)

    await app.queue("default").scale(5)
    await eventually(lambda: gate.waiting == 5)

    await app.queue("default").scale(None)
    gate.open()
    await drain(app)


async def test_a_queue_can_be_paused_on_one_node_alone(open_app: OpenApp) -> None:
    left = await open_app(queues={"default": 1}, node="left")
    await open_app(queues={"default": 1}, node="right")
    operator, gate = await open_app(), Gate()
    await operator.queue("default").pause(node="left")
    await until_paused(left)

    jobs = await operator.enqueue([Obey.wait_at(gate) for _ in range(2)])
    await eventually(lambda: gate.waiting == 1)

    running = [made for made in [await operator.fetch(each) for each in jobs] if made.attempted_by]
    assert [made.attempted_by.split(":")[0] for made in running if made.attempted_by] == ["right"]
    gate.open()
    await drain(operator)


async def test_a_queue_can_be_started_and_stopped_from_another_process(open_app: OpenApp) -> None:
    worker, operator = await open_app(queues={"default": 1}), await open_app()

    await operator.queue("late").start(3)
    made = await operator.enqueue(Obey.ok(queue="late"))
    await drain(worker)
    assert (await operator.fetch(made)).state is COMPLETED

    await operator.queue("late").stop()

    async def is_stopped() -> bool:
        return all("late" not in node.queues for node in (await operator.health()).nodes)

    await eventually(is_stopped)


@pytest.mark.parametrize("slots", [0, -1, True, 100_001])
async def test_slots_out_of_range_are_refused(open_app: OpenApp, slots: int) -> None:
    app = await open_app()

    with pytest.raises(ValueError, match="slots"):
        await app.queue("default").scale(slots)


@pytest.mark.parametrize("verb", ["cancel", "retry", "delete", "update"])
async def test_an_empty_filter_is_refused(open_app: OpenApp, verb: str) -> None:
    app = await open_app()

    with pytest.raises(EmptyFilter):
        await getattr(app, verb)()


async def test_an_app_that_is_not_open_says_so(open_app: OpenApp) -> None:
    app = await open_app()
    await app.stop()

    with pytest.raises(NotStarted):
        await app.enqueue(Obey.ok())


async def test_an_app_can_be_opened_again(open_app: OpenApp) -> None:
    app = await open_app(queues={"default": 2})
    await app.stop()

    await app.start()
    made = await app.enqueue(Obey.ok())
    await drain(app)

    assert (await app.fetch(made)).state is COMPLETED


async def test_a_queue_that_is_started_again_while_it_stops_works_on(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 1}, grace=5), Gate()
    await app.queue("late").start(2)
    held = await app.enqueue(Obey.wait_at(gate, queue="late"))
    await eventually(lambda: gate.waiting)

    await app.queue("late").stop()
    await eventually(lambda: "late" not in app._crew.running if app._crew else False)
    await app.queue("late").start(2)
    gate.open()
    after = await app.enqueue(Obey.ok(queue="late"))
    await drain(app)

    assert {(await app.fetch(made)).state for made in (held, after)} == {COMPLETED}


async def test_a_cancel_reaches_a_job_whose_queue_is_being_stopped(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 1, "late": 1}, grace=60), Gate()
    made = await app.enqueue(Obey.wait_at(gate, queue="late"))
    await eventually(lambda: gate.waiting)
    crew = app._crew
    assert crew is not None
    await app.queue("late").stop()
    await eventually(lambda: crew._producers["late"].is_stopping)

    await app.cancel(made)

    await eventually(lambda: set(crew.running) == {"default"})
    assert (await app.fetch(made)).state is CANCELLED


async def test_many_wishes_at_once_start_a_queue_once(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 1}), Gate()
    await app.enqueue([Obey.wait_at(gate, queue="late") for _ in range(4)])

    await asyncio.gather(app.queue("late").start(1), *(app.queue(f"other-{n}").pause() for n in range(10)))
    await eventually(lambda: gate.waiting)

    (node,) = (await app.health()).nodes
    assert sorted(node.queues) == ["default", "late"]
    assert gate.waiting == 1
    gate.open()
    await drain(app)


async def test_starting_and_stopping_at_once_leaves_nothing_behind(open_app: OpenApp) -> None:
    app = await open_app(queues={"default": 1})
    await app.stop()

    await asyncio.gather(app.start(), app.start(), app.stop())
    await app.stop()

    with pytest.raises(NotStarted):
        await app.find()


async def test_another_event_loop_is_refused_by_name(open_app: OpenApp) -> None:
    app = await open_app()

    with pytest.raises(WrongLoop, match="run_coroutine_threadsafe"):
        await asyncio.to_thread(lambda: asyncio.run(app.find()))
