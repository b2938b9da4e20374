"""One tick of each service, on real databases."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tenuto import telemetry
from tenuto.errors import StorageUnavailable
from tenuto.job import AVAILABLE, EXECUTING, Job
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.services.lifeline import Lifeline
from tenuto.runtime.services.pruner import Pruner
from tenuto.runtime.services.service import Service
from tenuto.runtime.services.stager import Stager
from tenuto.storage import reading, steer, store
from tenuto.storage.database import Database, Hint
from tests.kit import eventually

AnyJob = Job[Any, Any]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def a_node(database: Database) -> Node:
    return Node(database, "here", timedelta(seconds=30))


def told_by(notifier: Notifier) -> list[Hint]:
    """The hints that a notifier tells from now on."""
    hints: list[Hint] = []
    notifier.subscribe(hints.append)
    return hints


async def state_of(database: Database, job: AnyJob) -> str:
    return (await database.read(reading.fetch, [job.id]))[job.id].state


async def test_the_stager_makes_due_jobs_available_and_wakes_their_queue(database: Database) -> None:
    database.now = NOON
    later: AnyJob = Job("w", queue="mail", schedule_in=timedelta(minutes=5))
    await database.run(store.enqueue, [later])
    node = a_node(database)
    notifier = Notifier(node)
    hints = told_by(notifier)

    await Stager(node, notifier).tick()
    assert await state_of(database, later) == "scheduled"

    database.now = NOON + timedelta(minutes=5)
    await Stager(node, notifier).tick()

    assert await state_of(database, later) == "available"
    assert hints == [Hint("insert", "mail")]


async def test_what_was_staged_is_told_in_jobs_and_not_in_queues(database: Database) -> None:
    database.now = NOON
    jobs: list[AnyJob] = [
        Job("w", queue=queue, schedule_in=timedelta(seconds=1)) for queue in ("mail", "mail", "mail", "default")
    ]
    await database.run(store.enqueue, jobs)
    node = a_node(database)
    told: list[dict[str, Any]] = []
    telemetry.attach(hear := lambda _, payload: told.append(dict(payload)), "stager.stage")

    database.now = NOON + timedelta(seconds=1)
    await Stager(node, Notifier(node)).tick()
    telemetry.detach(hear)

    assert [(each["count"], each["queues"]) for each in told] == [(4, ["default", "mail"])]


async def test_the_lifeline_takes_back_what_a_dead_node_held_and_wakes_its_queue(database: Database) -> None:
    database.now = NOON
    dead, alive = a_node(database), a_node(database)
    await dead.join(["default"])
    await database.run(store.enqueue, [Job("w")])
    (job,) = await database.run(store.claim, "default", 1, dead.producer("default"), dead.id)
    dead.end()
    notifier = Notifier(alive)
    hints = told_by(notifier)
    database.now = NOON + timedelta(seconds=20)
    await alive.join(["other"])
    database.now = NOON + timedelta(seconds=31)

    await Lifeline(alive, notifier).tick()

    assert await state_of(database, job) == AVAILABLE
    assert Hint("insert", "default") in hints
    assert Hint("suspects") in hints
    alive.end()


async def test_the_lifeline_leaves_a_living_node_alone_however_old_its_jobs_are(database: Database) -> None:
    busy = a_node(database)
    await busy.join(["default"])
    await database.run(store.enqueue, [Job("w")])
    (job,) = await database.run(store.claim, "default", 1, busy.producer("default"), busy.id)

    await Lifeline(busy, Notifier(busy)).tick()

    assert await state_of(database, job) == EXECUTING
    busy.end()


async def test_the_pruner_deletes_what_is_past_its_keep_and_nothing_else(database: Database) -> None:
    database.now = NOON
    old: AnyJob = Job("w")
    await database.run(store.enqueue, [old])
    await database.run(steer.cancel, [old.id])
    database.now = NOON + timedelta(days=2)
    young: AnyJob = Job("w")
    await database.run(store.enqueue, [young])
    await database.run(steer.cancel, [young.id])

    await Pruner(a_node(database), timedelta(days=1), timedelta(days=7)).tick()

    assert set(await database.read(reading.fetch, [old.id, young.id])) == {young.id}


async def test_the_pruner_deletes_a_chain_after_its_last_link(database: Database) -> None:
    database.now = NOON
    old: AnyJob = Job("w", chain_key="old")
    await database.run(store.enqueue, [old])
    await database.run(steer.cancel, [old.id])
    database.now = NOON + timedelta(days=2)
    await database.run(store.enqueue, [Job("w", chain_key="young")])
    heard: list[Mapping[str, Any]] = []

    def listen(event: str, payload: Mapping[str, Any]) -> None:
        heard.append(payload)

    telemetry.attach(listen, "pruner.prune")
    try:
        await Pruner(a_node(database), timedelta(days=1), timedelta(days=7)).tick()
    finally:
        telemetry.detach(listen)

    assert heard == [{"jobs": 1, "workflows": 0, "chains": 1}]


class Counting(Service):
    """Counts its ticks; fails at the first."""

    interval: ClassVar[float] = 0.02
    singleton: ClassVar[bool] = True
    ticks = 0

    async def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 1:
            raise ValueError("the first tick fails")
        if self.ticks == 2:
            raise StorageUnavailable("the second finds no database")


async def test_a_tick_that_fails_is_told_and_the_next_one_comes_as_usual(database: Database) -> None:
    heard: list[str] = []

    def hear(event: str, payload: Any) -> None:
        heard.append(event)

    service = Counting(a_node(database))
    telemetry.attach(hear, "service.exception", "storage.outage", "storage.back")
    try:
        service.start()
        await eventually(lambda: service.ticks >= 3)
    finally:
        await service.stop()
        telemetry.detach(hear)

    assert heard[:2] == ["service.exception", "storage.outage"]
    assert "storage.back" in heard


async def test_a_singleton_ticks_on_one_node_alone(database: Database) -> None:
    first, second = Counting(a_node(database)), Counting(a_node(database))
    first.ticks = second.ticks = 2
    first.start()
    await eventually(lambda: first.ticks >= 3)
    second.start()

    await eventually(lambda: first.ticks >= 6)

    assert second.ticks == 2
    await first.stop()
    await second.stop()
