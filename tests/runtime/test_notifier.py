"""Hints: told at once here, soon elsewhere; losing one costs latency and nothing else."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tenuto import Tenuto
from tenuto.job import COMPLETED
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.storage.database import Database, Hint
from tests.conftest import OpenApp, OpenDatabase
from tests.kit import Obey, drain, eventually


@pytest.fixture
async def notifiers(database: Database, open_database: OpenDatabase) -> AsyncIterator[tuple[Notifier, Notifier]]:
    """Two notifiers with a database connection of their own each, as two processes have."""
    pair = [Notifier(Node(each, None, timedelta(seconds=30))) for each in (database, await open_database())]
    for each in pair:
        each.start()
    yield pair[0], pair[1]
    for each in pair:
        await each.stop()


async def test_a_hint_is_heard_at_once_in_the_same_process(notifiers: tuple[Notifier, Notifier]) -> None:
    notifier, _ = notifiers
    heard: list[Hint] = []
    notifier.subscribe(heard.append)

    notifier.tell([Hint("insert", "mail")])

    assert heard == [Hint("insert", "mail")]


async def test_whoever_left_hears_nothing_more(notifiers: tuple[Notifier, Notifier]) -> None:
    notifier, _ = notifiers
    heard: list[Hint] = []
    leave = notifier.subscribe(heard.append)

    leave()
    notifier.tell([Hint("insert", "mail")])

    assert heard == []


async def test_an_app_that_does_not_listen_takes_a_job_of_another_at_its_next_poll(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await open_app(queues={"default": 1}, listen=False)
    other = await open_app()
    heard: list[Hint] = []
    worker._notifier.subscribe(heard.append)

    made = await other.enqueue(Obey.ok())

    await eventually(lambda: _has_completed(other, made.id), within=5)
    assert {hint.channel for hint in heard} <= {"insert"}  # what it told itself
    assert len(worker._notifier._tasks) == 1


async def _has_completed(app: Tenuto, id: str) -> bool:
    return (await app.fetch(id)).state is COMPLETED


async def test_a_job_enqueued_by_another_app_is_taken_well_before_the_next_poll(open_app: OpenApp) -> None:
    worker, other = await open_app(queues={"default": 1}), await open_app()

    made = await other.enqueue(Obey.ok())
    await drain(worker)

    found = await other.fetch(made)
    assert found.attempted_at is not None
    assert found.scheduled_at is not None
    assert found.attempted_at - found.scheduled_at < timedelta(seconds=0.9)


async def test_without_any_hint_jobs_are_found_by_polling(app: Tenuto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notifier, "tell", lambda self, hints: None)

    made = await app.enqueue(Obey.ok())

    async def is_done() -> bool:
        return (await app.fetch(made)).state is COMPLETED

    await eventually(is_done, within=5)
