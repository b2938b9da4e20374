"""Django's tasks on Tenuto: stored in the caller's `atomic`, run as jobs, and read again as results."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction

from tenuto import Failed, job
from tenuto.blocking import Tenuto
from tests.kit import LEASE
from tests.lenders import set_up_django

if not settings.configured:
    settings.configure(DATABASES={}, USE_TZ=True)
    django.setup()
OPTIONS = {"app": f"{__name__}.app"}
BACKEND = {"BACKEND": "tenuto.django.TasksBackend", "QUEUES": ["default", "mail"]}
settings.TASKS = {
    "default": {**BACKEND, "OPTIONS": OPTIONS},
    "stubborn": {**BACKEND, "OPTIONS": {**OPTIONS, "max_attempts": 2}},
    "apart": {**BACKEND, "OPTIONS": {**OPTIONS, "database": None}},
}

from tenuto.django import InvalidTask, TasksBackend  # noqa: E402 - Django is set up first

if django.VERSION >= (6, 0):
    from django.tasks import task, task_backends
    from django.tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    from django_tasks import task, task_backends
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django_tasks.signals import task_enqueued, task_finished, task_started

app: Tenuto | None = None  # of the test that runs
ran: list[Any] = []


class Refused(Exception):
    """What a task fails with."""


@task
def add(a: int, b: int = 0) -> int:
    ran.append((a, b))
    return a + b


@task(queue_name="mail")
async def send(to: str) -> dict[str, str]:
    return {"sent": to}


@task
def fail(message: str) -> None:
    raise Refused(message)


@task(backend="stubborn", takes_context=True)
def second_time(context: Any) -> int:
    if context.attempt == 1:
        raise Refused("not today")
    return int(context.attempt)


@task
def look_around() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        return list(cursor.fetchone())


@job
def no_task() -> None: ...


@pytest.fixture
def on_tenuto(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenuto]:
    """An app that works on nothing yet, where the tasks of this module go."""
    set_up_django(database_url)
    ran.clear()
    mine = Tenuto(database_url, queues={}, lease=LEASE, grace=1)
    monkeypatch.setattr(sys.modules[__name__], "app", mine)
    mine.migrate()
    yield mine
    mine.stop()
    connections.close_all()


@pytest.fixture
def worker(on_tenuto: Tenuto) -> Iterator[Tenuto]:
    """Somebody who works."""
    with Tenuto(on_tenuto.config.url, queues={"default": 1, "mail": 1}, lease=LEASE, grace=1) as mine:
        yield mine


def ended(result: Any) -> Any:
    """The result, when its job has ended."""
    assert app is not None
    app.relay_to(result.id).outcome(timeout=30, with_retries=True)
    result.refresh()
    return result


# ── enqueue ───────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_is_committed_runs_and_its_result_is_read(worker):
    with transaction.atomic():
        result = add.enqueue(2, b=3)
        assert str(result.status) == "READY"

    found = add.get_result(ended(result).id)

    assert (str(found.status), found.return_value) == ("SUCCESSFUL", 5)
    assert (found.task, found.args, found.kwargs, found.backend) == (add, [2], {"b": 3}, "default")
    assert (found.errors, found.attempts, len(found.worker_ids)) == ([], 1, 1)
    assert found.enqueued_at <= found.started_at <= found.finished_at


def test_a_task_that_is_rolled_back_never_was(on_tenuto):
    with transaction.atomic():
        result = add.enqueue(1)
        transaction.set_rollback(True)

    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(result.id)
    assert on_tenuto.find() == []


def test_outside_of_a_transaction_a_task_is_stored_at_once(on_tenuto):
    result = add.enqueue(1)

    assert [each.id for each in on_tenuto.find()] == [result.id]


def test_without_a_database_a_task_goes_through_the_apps_own_connection(on_tenuto):
    result = add.using(backend="apart").enqueue(1)

    assert [each.id for each in on_tenuto.find()] == [result.id]
    assert task_backends["apart"].get_result(result.id).backend == "apart"


async def test_an_async_task_is_enqueued_and_read_by_async_code(worker):
    await sync_to_async(set_up_django)(worker.config.url)  # also for the thread in which Django runs async code

    result = await send.aenqueue("ada")
    await asyncio.to_thread(ended, result)
    found = await send.aget_result(result.id)

    assert (str(found.status), found.return_value) == ("SUCCESSFUL", {"sent": "ada"})
    await sync_to_async(connections.close_all)()


def test_the_most_urgent_task_runs_first(on_tenuto):
    results = [add.using(priority=priority).enqueue(priority) for priority in (-100, 0, 10, 100, -10)]

    with Tenuto(on_tenuto.config.url, queues={"default": 1}, lease=LEASE, grace=1):
        found = [ended(result) for result in results]

    assert [a for a, _ in ran] == [100, 10, 0, -10, -100]
    assert [add.get_result(result.id).task.priority for result in found] == [-100, 0, 10, 100, -10]


def test_a_deferred_task_is_due_later(on_tenuto):
    later = datetime.now(UTC) + timedelta(hours=1)

    result = add.using(run_after=later).enqueue(1)

    assert on_tenuto.fetch(result.id).scheduled_at == later
    assert on_tenuto.fetch(result.id).state == "scheduled"
    assert add.get_result(result.id).task == add.using(run_after=later)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_fails_says_what_it_raised(worker):
    result = ended(fail.enqueue("no more tea"))

    assert str(result.status) == "FAILED"
    assert [error.exception_class for error in result.errors] == [Refused]
    assert result.errors[0].traceback.endswith("Refused: no more tea\n")
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_a_task_may_be_tried_again_and_its_context_counts_the_attempts(on_tenuto):
    result = second_time.enqueue()
    relay = on_tenuto.relay_to(result.id)  # before it runs: its first attempt answers

    with Tenuto(on_tenuto.config.url, queues={"default": 1}, lease=LEASE, grace=1) as worker:
        assert isinstance(relay.outcome(timeout=30), Failed)
        result.refresh()
        assert str(result.status) == "READY"
        worker.retry([result.id])  # now, and not after its backoff
        assert ended(result).return_value == 2

    assert result.attempts == 2
    assert [error.exception_class for error in result.errors] == [Refused]


def test_what_json_does_not_hold_is_no_argument_and_no_return_value(on_tenuto):
    with pytest.raises(TypeError):
        add.enqueue(object())

    assert on_tenuto.find() == []


@pytest.mark.parametrize(
    "using",
    [{"priority": 7}, {"priority": 1000}, {"queue_name": "unknown"}, {"run_after": datetime(2030, 1, 1)}],  # noqa: DTZ001
    ids=str,
)
def test_a_task_that_cannot_be_kept_as_asked_is_refused(using):
    with pytest.raises(InvalidTask):
        add.using(**using)


def test_a_task_inside_a_function_is_refused():
    with pytest.raises(InvalidTask):

        @task
        def inner() -> None: ...


def test_a_result_is_that_of_one_task(on_tenuto):
    result, other = add.enqueue(1), on_tenuto.enqueue(no_task.new())

    with pytest.raises(TaskResultMismatch):
        send.get_result(result.id)
    for id in (other.id, "01900000-0000-7000-8000-000000000000", "no id"):
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(id)


# ── around a run ──────────────────────────────────────────────────────────────────────────────────


def test_signals_tell_of_a_task_and_of_how_it_ended(worker):
    heard: list[tuple[str, str]] = []

    def hear(signal: Any, task_result: Any, **_: Any) -> None:
        heard.append((names[id(signal)], str(task_result.status)))

    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    names = {id(signal): name for name, signal in signals.items()}
    for signal in signals.values():
        signal.connect(hear)
    try:
        ended(add.enqueue(1))
        ended(fail.enqueue("no"))
    finally:
        for signal in signals.values():
            signal.disconnect(hear)

    began = [("enqueued", "READY"), ("started", "RUNNING")] * 2
    assert sorted(heard) == sorted([*began, ("finished", "SUCCESSFUL"), ("finished", "FAILED")])


def test_a_task_leaves_no_connection_of_django_open(worker):
    closed: list[bool] = []

    def hear(task_result: Any, **_: Any) -> None:
        closed.append(connection.connection is None)  # in the thread of the task, before its query

    task_started.connect(hear)
    try:
        results = [ended(look_around.enqueue()).return_value for _ in range(3)]
    finally:
        task_started.disconnect(hear)

    assert results == [[1]] * 3
    assert closed == [True] * 3


# ── options ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{"ap": "x"}, {"priorities": []}, {"priorities": range(11)}], ids=str)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ImproperlyConfigured):
        TasksBackend("default", {**BACKEND, "OPTIONS": options})


@pytest.mark.parametrize("options", [{}, {"app": "tests.nowhere.app"}, {"app": f"{__name__}.ran"}], ids=str)
def test_the_systems_checks_tell_of_an_app_that_is_not_there(options):
    (told,) = TasksBackend("default", {**BACKEND, "OPTIONS": options}).check()

    assert told.id == "tenuto.E001"


def test_priorities_may_be_ones_own():
    mine = TasksBackend("default", {**BACKEND, "OPTIONS": {**OPTIONS, "priorities": [7, 0]}})

    mine.validate_task(add)
    with pytest.raises(InvalidTask):
        mine.validate_task(add.using(priority=10))
