"""The app for code that cannot await: every verb, from any thread, from jobs, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tenuto import Completed, Job, Workflow, blocking, current_job, job
from tenuto.blocking import Tenuto
from tenuto.errors import (
    ConfigError,
    InvalidRequest,
    JobNotFound,
    NotInJob,
    NotStarted,
    StorageUnavailable,
    TenutoError,
    WaitTimedOut,
    WouldDeadlock,
)
from tests.kit import LEASE, Obey, eventually

NOBODYS = "nobody works on it"
NO_JOB = "01890000-0000-7000-8000-000000000000"
THREADS = 20


@pytest.fixture
def app(database_url: str) -> Iterator[Tenuto]:
    """An app that works on the queue `default`; it is opened by the first verb."""
    app = Tenuto(database_url, queues={"default": 10}, lease=LEASE, grace=1)
    app.cron.add("nightly", "30 2 * * *", Obey.ok())
    app.migrate()
    yield app
    app.stop()


def until(probe: Callable[[], Any], within: float = 20.0) -> Any:
    """Ask until the answer is true, and give it."""
    ends_at = time.monotonic() + within
    while not (answer := probe()):
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    return answer


def until_ended(app: Tenuto, stored: Job[Any, Any]) -> Job[Any, Any]:
    """Wait for the end of the job, and give it."""
    until(lambda: app.fetch(stored).state.is_terminal)
    return app.fetch(stored)


@job(recorded=True)
def twice(number: int) -> int:
    return number * 2


# ── every verb ────────────────────────────────────────────────────────────────────────────────────


def idle(app: Tenuto) -> Job[Any, Any]:
    """A stored job on which nobody works."""
    return app.enqueue(Obey.ok(queue=NOBODYS))


def waiting(name: str = "one") -> Workflow:
    """A workflow of one step, on which nobody works."""
    flow = Workflow("of one step")
    flow.add(name, Obey.ok(queue=NOBODYS))
    return flow


def finished(app: Tenuto) -> Workflow:
    flow = Workflow("of one step")
    flow.add("one", Obey.value(7))
    assert app.enqueue(flow).id == flow.id
    assert app.workflow(flow.id).wait(timeout=30).outcome == "completed"
    return flow


def enqueue(app: Tenuto) -> bool:
    one, many = idle(app), app.enqueue([Obey.ok(queue=NOBODYS), Obey.ok(queue=NOBODYS)])
    return one.state == "available" and len({each.id for each in many}) == 2


def recorded(app: Tenuto) -> bool:
    return bool(app.recorded(until_ended(app, app.enqueue(twice.new(21)))) == 42)


def workflow(app: Tenuto) -> bool:
    handle = app.workflow(finished(app).id)
    grown = app.workflow(app.enqueue(waiting()).id)
    grown.append(waiting("two"))
    done = [grown.job("one").state, grown.update("two", {"priority": 3}), grown.delete("two"), grown.cancel()]
    return handle.status().is_finished and handle.result("one") == 7 and done == ["available", True, ["two"], ["one"]]


def queue(app: Tenuto) -> bool:
    handle = app.queue(f"of {threading.get_ident()}")
    handle.pause()
    handle.resume()
    handle.scale(3)
    handle.start(2)
    handle.stop()
    limited = handle.limit(5)
    handle.forget_limits()
    return limited.limit == 5 and handle.limits().limit is None


def cron(app: Tenuto) -> bool:
    app.cron.add(f"of {threading.get_ident()}", "0 0 1 1 *", Obey.ok())
    app.cron.pause("nightly")
    app.cron.resume("nightly")
    until(lambda: any(not entry.is_stale for entry in app.cron.list() if entry.name == "nightly"))
    app.cron.run("nightly")
    return len(app.cron.next("nightly", 3)) == 3


def update(app: Tenuto) -> bool:
    stored = idle(app)
    return app.update(stored, {"priority": 3}) == [stored.id] and app.fetch(stored).priority == 3


def each(act: Callable[[Tenuto, Job[Any, Any]], list[str]]) -> Callable[[Tenuto], bool]:
    def does(app: Tenuto) -> bool:
        stored = idle(app)
        return act(app, stored) == [stored.id]

    return does


ASKED: dict[str, Callable[[Tenuto], bool]] = {
    "await_many": lambda app: app.await_many([app.relay(twice.new(2))], timeout=30) == [Completed(4)],
    "cancel": each(lambda app, stored: app.cancel(stored)),
    "check": lambda app: len(app.check()) > 3,
    "costs": lambda app: app.costs().total.requests == 0,
    "counts": lambda app: bool(idle(app)) and app.counts()[NOBODYS]["available"] >= 1,
    "cron": cron,
    "delete": each(lambda app, stored: app.delete(stored)),
    "enqueue": enqueue,
    "fetch": lambda app: app.fetch((stored := idle(app)).id).id == stored.id,
    "find": lambda app: bool(idle(app)) and app.find(queue=NOBODYS, limit=1)[0].queue == NOBODYS,
    "health": lambda app: app.health().alive,
    "migrations": lambda app: "create table" in app.migrations().lower(),
    "migrate": lambda app: app.migrate() == [],
    "nodes": lambda app: len(app.nodes()) == 1,
    "opened": lambda app: app.opened(stored := idle(app)) is stored,
    "queue": queue,
    "queues": lambda app: bool(idle(app)) and NOBODYS in {status.name for status in app.queues()},
    "recorded": recorded,
    "relay": lambda app: app.relay(twice.new(3)).result(timeout=30) == 6,
    "relay_to": lambda app: app.relay_to(until_ended(app, app.enqueue(twice.new(4))).id).outcome() == Completed(8),
    "retry": each(lambda app, stored: app.cancel(stored) and app.retry(stored)),
    "signal": lambda app: app.signal(idle(app), "go", 1),
    "update": update,
    "waits": lambda app: app.waits(idle(app)) == [],
    "workflow": workflow,
    "workflows": lambda app: bool(finished(app)) and app.workflows(limit=1)[0].name == "of one step",
}
OF_ITS_LIFE = {"configure", "start", "stop", "work", "hurry"}


def test_every_verb_is_asked_here():
    verbs = {name for name, value in vars(Tenuto).items() if name[0] != "_" and not isinstance(value, property)}

    assert verbs | {"cron"} == set(ASKED) | OF_ITS_LIFE


def test_every_verb_works_from_the_main_thread(app):
    answers = {verb: ask(app) for verb, ask in ASKED.items()}

    assert [verb for verb, answer in answers.items() if not answer] == []


@pytest.mark.timeout(120)
def test_every_verb_works_from_twenty_threads_at_once(app):
    verbs = list(ASKED)

    def ask_all(first: int) -> list[str]:
        turned = verbs[first:] + verbs[:first]
        return [verb for verb in turned if not ASKED[verb](app)]

    with ThreadPoolExecutor(THREADS) as threads:
        failed = [asked.result() for asked in [threads.submit(ask_all, nth) for nth in range(THREADS)]]

    assert failed == [[]] * THREADS


# ── its life ──────────────────────────────────────────────────────────────────────────────────────


def threads_of(app: Tenuto) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == f"tenuto-{app.name}"]


def test_nothing_is_connected_before_the_first_verb(database_url):
    app = Tenuto(database_url, name="lazy")
    handle = app.workflow(NO_JOB), app.queue("default")

    assert threads_of(app) == []
    assert "not open" in repr(app)
    app.migrate()
    assert threads_of(app) == []
    app.counts()
    assert [thread.daemon for thread in threads_of(app)] == [True]
    app.stop()
    assert threads_of(app) == []
    assert handle


def test_many_threads_that_come_first_open_it_once(app):
    together = threading.Barrier(THREADS)

    def come(_: int) -> int:
        together.wait()
        return len(app.nodes())

    with ThreadPoolExecutor(THREADS) as threads:
        assert list(threads.map(come, range(THREADS))) == [1] * THREADS
    assert len(threads_of(app)) == 1


def test_what_was_stopped_stays_so_until_it_is_started(app):
    app.counts()
    handle = app.workflow(NO_JOB)
    app.stop()
    app.stop()

    for verb in (app.counts, handle.status, app.cron.list):
        with pytest.raises(NotStarted, match=r"app\.start\(\)"):
            verb()
    with app:
        assert enqueue(app)
    with pytest.raises(NotStarted):
        app.counts()


def test_relays_are_awaited_also_after_it_was_opened_again(app):
    for n in range(2):
        with app:
            assert app.relay(twice.options(schedule_in=0.3).new(n)).result(timeout=20) == 2 * n


def test_only_relays_of_its_own_can_be_awaited(app, tmp_path):
    mine = app.relay(twice.new(1))
    with Tenuto(f"sqlite:///{tmp_path / 'other.db'}", name="other", queues={}) as other:
        foreign = other.relay(twice.new(1))

        for given in (None, mine, [mine.id], [mine.job], [mine, foreign]):
            with pytest.raises(InvalidRequest, match=r"await_many takes|another app's"):
                app.await_many(given)


def test_an_app_that_could_not_be_opened_is_tried_again_by_the_next_verb(tmp_path):
    folder = tmp_path / "not yet"
    folder.write_text("a file where a folder should be")
    app = Tenuto(f"sqlite:///{folder / 'jobs.db'}", name="tried again")

    for _ in range(2):
        with pytest.raises((StorageUnavailable, OSError)):
            app.counts()
    assert threads_of(app) == []
    folder.unlink()

    assert app.counts() == {}
    app.stop()


def test_settings_can_be_changed_until_it_is_open(app):
    app.configure(node="renamed")

    assert app.health().node.startswith("renamed:")
    with pytest.raises(ConfigError, match="the app is open"):
        app.configure(node="again")


def test_an_app_that_nobody_holds_any_more_closes(tmp_path):
    stored = Tenuto(url := f"sqlite:///{tmp_path / 'jobs.db'}", name="dropped").enqueue(Obey.ok())

    until(lambda: not [each for each in threading.enumerate() if each.name == "tenuto-dropped"])
    with Tenuto(url) as another:
        assert another.fetch(stored).state == "available"


def test_stop_lets_running_jobs_end(app):
    gate = threading.Event()

    @job(name="until the gate opens")
    def dwell() -> None:
        told.set()
        gate.wait(20)

    told = threading.Event()
    stored = app.enqueue(dwell.new())
    assert told.wait(20)
    threading.Timer(0.2, gate.set).start()

    app.stop(grace=20)

    app.start()
    assert app.fetch(stored).state == "completed"


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_a_wait_ends_with_its_timeout(app):
    flow = Workflow()
    flow.add("never", Obey.ok(queue=NOBODYS))
    app.enqueue(flow)

    with pytest.raises(WaitTimedOut):
        app.workflow(flow.id).wait(timeout=0.1)


def test_an_error_shows_the_line_of_the_caller_first(app):
    with pytest.raises(JobNotFound) as caught:
        app.fetch(NO_JOB)

    first, *_, last = traceback.extract_tb(caught.tb)
    assert (first.filename, first.line) == (__file__, "app.fetch(NO_JOB)")
    assert last.name == "fetch"


def test_whoever_waits_when_the_app_is_stopped_is_told_at_once(app):
    flow = Workflow()
    flow.add("never", Obey.ok(queue=NOBODYS))
    app.enqueue(flow)

    def wait() -> str:
        try:
            return str(app.workflow(flow.id).wait())
        except NotStarted as told:
            return f"told: {told}"

    with ThreadPoolExecutor(THREADS) as threads:
        waits = [threads.submit(wait) for _ in range(THREADS)]
        until(lambda: tasks_of(app) >= THREADS)
        app.stop()
        answers = [each.result(timeout=10) for each in waits]

    assert {each[:5] for each in answers} == {"told:"}


def tasks_of(app: Tenuto) -> int:
    """How many coroutines wait on its loop for the end of a workflow."""
    assert app._background is not None
    tasks = asyncio.all_tasks(app._background._loop)
    return sum(getattr(task.get_coro(), "__qualname__", "") == "WorkflowHandle.wait" for task in tasks)


def test_verbs_that_race_with_a_stop_either_do_it_or_say_not_started(app):
    going = threading.Event()

    def enqueue_on_and_on() -> list[Job[Any, Any]]:
        stored: list[Job[Any, Any]] = []
        while True:
            going.set()
            try:
                stored.append(app.enqueue(Obey.ok(queue=NOBODYS)))
            except (NotStarted, StorageUnavailable):
                return stored

    with ThreadPoolExecutor(THREADS) as threads:
        running: list[Future[list[Job[Any, Any]]]] = [threads.submit(enqueue_on_and_on) for _ in range(THREADS)]
        going.wait()
        app.stop()
        told = [each for one in running for each in one.result(timeout=20)]

    app.start()
    assert {each.id for each in told} <= all_ids(app)


def all_ids(app: Tenuto) -> set[str]:
    """The ids of all jobs that nobody works on, however many they are."""
    found: set[str] = set()
    last = None
    while some := app.find(queue=NOBODYS, limit=1000, before=last):
        found |= {each.id for each in some}
        last = some[-1]
    return found


def test_a_verb_that_comes_as_the_loop_is_closed_says_not_started(app):
    def close() -> None:
        really_close()
        with pytest.raises(NotStarted):
            app.counts()
        has_closed.append(True)

    app.counts()
    loop = app._background._loop
    really_close, loop.close = loop.close, close
    has_closed: list[bool] = []

    app.stop()

    assert has_closed == [True]


# ── where an event loop runs ──────────────────────────────────────────────────────────────────────


async def test_on_the_thread_of_an_event_loop_it_is_refused_with_the_way_out(tmp_path):
    app = Tenuto(f"sqlite:///{tmp_path / 'jobs.db'}")

    for verb in (app.counts, app.start, app.stop, app.migrate, app.queue("default").pause, app.cron.list):
        with pytest.raises(WouldDeadlock, match=r"await .*to_thread"):
            verb()
    assert await asyncio.to_thread(app.counts) == {}
    await asyncio.to_thread(app.stop)


# ── in jobs ───────────────────────────────────────────────────────────────────────────────────────

here: dict[str, Tenuto] = {}


@job(name="blocking.uses_the_app", recorded=True, max_attempts=1)
def uses_the_app() -> list[Any]:
    stored = here["app"].enqueue(Obey.ok(queue=NOBODYS))
    return [here["app"].fetch(stored).state, here["app"].fetch(current_job()).state]


@job(name="blocking.uses_current_app", recorded=True, max_attempts=1)
def uses_current_app() -> list[Any]:
    app = blocking.current_app()
    flow = Workflow()
    flow.add("one", Obey.value(7))
    app.enqueue(flow)
    app.workflow(flow.id).wait(timeout=20)
    return [app.name, app.workflow(flow.id).result("one"), repr(app)]


@job(name="blocking.asks_on_the_loop", recorded=True, max_attempts=1)
async def asks_on_the_loop() -> list[str]:
    return [refusal(here["app"].counts), refusal(blocking.current_app().counts)]


@job(name="blocking.stops_its_app", recorded=True, max_attempts=1)
def stops_its_app() -> list[str]:
    return [refusal(here["app"].stop), refusal(blocking.current_app().stop), refusal(blocking.current_app().work)]


def refusal(act: Callable[[], Any]) -> str:
    try:
        return f"no refusal, but {act()!r}"
    except TenutoError as refused:
        return type(refused).__name__


@pytest.mark.parametrize(
    ("worker", "comes_to"),
    [
        (uses_the_app, ["available", "executing"]),
        (uses_current_app, ["tenuto", 7, "<blocking Tenuto 'tenuto', which runs this job>"]),
        (asks_on_the_loop, ["WouldDeadlock", "WouldDeadlock"]),
        (stops_its_app, ["WouldDeadlock", "WouldDeadlock", "InvalidRequest"]),
    ],
    ids=lambda worker: getattr(worker, "__name__", ""),
)
def test_in_a_job_of_its_own(app, worker, comes_to):
    here["app"] = app

    ended = until_ended(app, app.enqueue(worker.new()))

    assert app.recorded(ended) == comes_to


async def test_a_plain_function_of_an_app_that_is_awaited_has_a_blocking_one(open_app):
    app = await open_app(queues={"default": 10}, name="awaited")
    stored = await app.enqueue(uses_current_app.new())

    async def has_ended() -> bool:
        return (await app.fetch(stored)).state.is_terminal

    await eventually(has_ended)
    assert (await app.recorded(stored))[:2] == ["awaited", 7]


def test_outside_of_a_job_there_is_no_current_app():
    with pytest.raises(NotInJob):
        blocking.current_app()


def test_work_is_for_the_main_thread_and_for_apps_with_queues(app, tmp_path: Path):
    with ThreadPoolExecutor(1) as threads, pytest.raises(InvalidRequest, match="main thread"):
        threads.submit(app.work).result()
    with pytest.raises(ConfigError, match="no queue"):
        Tenuto(f"sqlite:///{tmp_path / 'jobs.db'}", queues={}).work()
