"""Rows that another session holds on PostgreSQL: they hold up their own jobs, and nobody else for long."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tenuto import Tenuto
from tenuto.errors import StorageBusy
from tenuto.job import AVAILABLE, COMPLETED, EXECUTING, Job
from tenuto.storage import store, upkeep
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, eventually
from tests.storage.conftest import only_on_postgres

AnyJob = Job[Any, Any]

pytestmark = only_on_postgres


@asynccontextmanager
async def held(app: Tenuto, jobs: Iterable[AnyJob]) -> AsyncIterator[None]:
    """Somebody looks at these rows `for update` and does not go on."""
    async with await psycopg.AsyncConnection.connect(app.config.url) as other:
        ids = [job.id for job in jobs]
        await other.execute("select 1 from tenuto.jobs where id = any(%s::uuid[]) for update", (ids,))
        yield
        await other.rollback()


async def until(app: Tenuto, jobs: Iterable[AnyJob], state: str = COMPLETED, within: float = 20.0) -> None:
    """Wait until these jobs, and no others, are in that state."""
    wished = {job.id for job in jobs}

    async def are_there() -> bool:
        return {job.id for job in await app.find(state=state, limit=1000)} == wished

    await eventually(are_there, within=within)


@pytest.mark.parametrize("count", [1, 20])
async def test_a_row_that_another_session_locks_holds_up_no_other(open_app: OpenApp, count: int) -> None:
    app, gate = await open_app(queues={"default": 100}), Gate()
    jobs = await app.enqueue([Obey.wait_at(gate) for _ in range(100)])
    await eventually(lambda: gate.waiting == 100)

    async with held(app, jobs[:count]):
        gate.open()
        more = await app.enqueue([Obey.ok() for _ in range(500)])
        await until(app, [*jobs[count:], *more])
        assert (await app.fetch(jobs[0])).state is EXECUTING

    await until(app, [*jobs, *more], within=40)


async def test_a_node_that_was_fenced_comes_back_beside_a_locked_row(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 1, "other": 1}, lease=30), Gate()
    made = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    async with held(app, [made]):
        gate.open()
        await app.database.run(upkeep.expire, app._node.producers)
        app._node._fence()
        other = await app.enqueue(Obey.ok(queue="other"))
        await until(app, [other])

    await until(app, [other, made], within=40)


async def test_a_node_that_was_fenced_comes_back_beside_a_queue_that_is_being_stopped(open_app: OpenApp) -> None:
    app, gate = await open_app(queues={"default": 1, "other": 1}, lease=30), Gate()
    crew = app._crew
    assert crew is not None
    made = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    async with held(app, [made]):
        await app.queue("default").stop()
        await eventually(lambda: crew._producers["default"].is_stopping)
        await app.database.run(upkeep.expire, app._node.producers)
        app._node._fence()
        other = await app.enqueue(Obey.ok(queue="other"))
        await until(app, [other])

    await eventually(lambda: set(crew.running) == {"other"}, within=40)
    assert {one.queues for one in await app.nodes()} == {("other",)}


async def test_a_locked_row_of_a_dead_node_holds_up_no_other_rescue(open_app: OpenApp) -> None:
    app = await open_app()
    jobs = await app.enqueue([Obey.ok() for _ in range(3)])
    dead = upkeep.Producer("00000000-0000-0000-0000-00000000dead", "dead", "default", 1, "[]", None, None, None)
    await app.database.run(upkeep.register, [dead], app.config.lease)
    await app.database.run(_claim_all, dead)
    await app.database.run(upkeep.expire, [dead.id])

    async with held(app, jobs[:1]):
        rescued = await app.database.run(upkeep.rescue, judge=True)
        assert sorted(rescued.ids) == sorted(job.id for job in jobs[1:])
    rescued = await app.database.run(upkeep.rescue, judge=True)

    assert rescued.ids == [jobs[0].id]
    await until(app, jobs, AVAILABLE)
    assert await app.nodes() == ()


def _claim_all(producer: upkeep.Producer) -> Any:
    return store.claim(producer.queue, 10, producer.id, producer.node)


async def test_an_operator_is_told_that_a_row_is_locked(open_app: OpenApp) -> None:
    app = await open_app()
    made = await app.enqueue(Obey.ok())

    async with held(app, [made]):
        with pytest.raises(StorageBusy, match="lock timeout"):
            await app.cancel(made)

    assert await app.cancel(made) == [made.id]
