"""Cron, told through the app: declared in code or in settings, listed, paused and run from anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import Job, Tenuto, Worker, job, telemetry
from tenuto.cron import Cron
from tenuto.definition import forget
from tenuto.errors import (
    ConfigError,
    CronNotFound,
    DefinitionError,
    InvalidArgs,
    InvalidCron,
    InvalidJob,
    InvalidRequest,
    NotStarted,
)
from tenuto.runtime.services.scheduler import Entries
from tenuto.storage import crons, upkeep
from tests.conftest import OpenApp, OpenDatabase
from tests.kit import ROOT, Obey, eventually
from tests.stories.skewed import ENTRIES, TIMEZONE

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NEVER_SOON = "0 0 29 2 *"


@job(name="story.report")
async def report(region: str = "all") -> None: ...


@job(name="story.needs")
async def needs(region: str) -> None: ...


@contextmanager
def forgotten(name: str) -> Iterator[None]:
    """Workers that have cron entries would be enqueued by every other test's apps."""
    try:
        yield
    finally:
        forget(name)


async def completed(app: Tenuto, worker: str) -> list[Job[Any, Any]]:
    return await app.find(state="completed", worker=worker)


# ── declared by a worker ──────────────────────────────────────────────────────────────────────────


async def test_a_worker_with_aliases_has_one_entry(open_app: OpenApp):
    with forgotten("story.weekly"):

        @job(name="story.weekly", aliases=["story.sunday", "story.summary"], cron=NEVER_SOON)
        async def weekly() -> None: ...

        app = await open_app(queues={"default": 1})
        await app.cron.run("story.weekly")
        await eventually(lambda: completed(app, "story.weekly"))

        assert [each.name for each in await app.cron.list()] == ["story.weekly"]


async def test_a_worker_says_when_it_is_enqueued(open_app: OpenApp):
    with forgotten("story.nightly"):

        @job(name="story.nightly", cron=NEVER_SOON, timezone="Europe/Berlin", catch_up=HOUR)
        async def nightly(region: str = "all") -> None: ...

        app = await open_app(queues={"default": 1})
        await app.cron.run("story.nightly")
        (done,) = await eventually(lambda: completed(app, "story.nightly"))

        (status,) = await app.cron.list()

    assert done.args == {"region": "all"}
    assert (status.name, status.worker) == ("story.nightly", "story.nightly")
    assert (status.expression, status.timezone, status.catch_up) == (NEVER_SOON, "Europe/Berlin", HOUR)
    assert (status.is_paused, status.is_stale, status.last_minute) == (False, False, None)
    assert (status.last_job_id, status.last_job_state) == (done.id, "completed")
    assert status.next_at == Cron(NEVER_SOON, "Europe/Berlin").after(done.inserted_at or datetime.now(UTC))


def test_a_class_says_it_too_and_hands_it_down_unless_it_is_taken_back():
    class Base(Worker[None], cron="@daily", timezone="Asia/Tokyo"): ...

    class Daily(Base, name="story.daily"):
        async def process(self, job: Job[None, Any]) -> None: ...

    class Never(Daily, name="story.never", cron=None): ...

    with forgotten("story.daily"), forgotten("story.never"):
        found = Entries().all()

    assert found["story.daily"].cron == Cron("@daily", "Asia/Tokyo")
    assert "story.never" not in found


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"cron": "* * * *"}, InvalidCron, "it has 4 fields"),
        ({"cron": "* * * * *", "timezone": "Berlin"}, InvalidCron, "timezone='Berlin' is not known here"),
        ({"cron": "* * * * *", "catch_up": -1}, InvalidJob, "catch_up=-1 is out of range"),
        ({"cron": "* * * * *", "catch_up": timedelta(days=8)}, InvalidCron, "catch_up=8 days.* is out of range"),
        ({"timezone": "UTC"}, InvalidJob, "timezone= says something of cron=, which is missing"),
        ({"catch_up": 60}, InvalidJob, "catch_up= says something of cron=, which is missing"),
    ],
)
def test_what_cannot_be_is_refused_where_the_worker_is_defined(options, error, why):
    async def worker() -> None: ...

    with pytest.raises(error, match=why) as refused:
        job(**options)(worker)

    assert isinstance(refused.value, DefinitionError)


async def test_a_worker_that_needs_args_is_refused_when_the_app_starts(database_url: str):
    with forgotten("story.needy"):

        @job(name="story.needy", cron="@daily")
        async def needy(region: str) -> None: ...

        app = Tenuto(database_url, queues={"default": 1})
        await app.migrate()

        with pytest.raises(InvalidCron, match=r"cron entry 'story.needy' makes no job: .*region: required"):
            await app.start()

        async with Tenuto(database_url) as idle:
            assert await idle.cron.list() == []


# ── added by name ─────────────────────────────────────────────────────────────────────────────────


async def test_a_job_or_a_function_that_makes_one_is_added_by_name(open_app: OpenApp, database_url: str):
    made = Tenuto(database_url, queues={"default": 1})
    made.cron.add("eu", NEVER_SOON, report.new("eu"))
    made.cron.add("all", NEVER_SOON, report.new, timezone="Asia/Tokyo")
    made.cron.add("class", NEVER_SOON, Obey.ok)

    found = made.cron.entries.all()

    assert [found[name].job().args["region"] for name in ("eu", "all")] == ["eu", "all"]
    assert (found["all"].cron.timezone, found["class"].worker) == ("Asia/Tokyo", "obey")
    assert found["eu"].job().id != found["eu"].job().id


async def test_what_is_added_while_the_app_works_is_taken_up_at_once(app: Tenuto):
    app.cron.add("late", NEVER_SOON, report.new("late"))
    await eventually(app.cron.list)

    await app.cron.run("late")

    (done,) = await eventually(lambda: completed(app, "story.report"))
    assert done.args == {"region": "late"}


def test_what_cannot_be_added_is_refused_at_once():
    app = Tenuto("sqlite:///never.db")
    app.cron.add("taken", "@daily", report.new)

    refused: list[tuple[Any, type[Exception], str]] = [
        (("taken", "@daily", report.new), InvalidCron, "a cron entry named 'taken' was added before"),
        (("a", "@dayly", report.new), InvalidCron, "the words are"),
        (("", "@daily", report.new), InvalidJob, "is empty; give it a name"),
        (("a", "@daily", "report"), InvalidCron, "takes a Job, or a function that makes one"),
        (("a", "@daily", lambda: None), InvalidCron, "takes a Job, or a function that makes one"),
        (("a", "@daily", needs.new), InvalidArgs, "region: required"),
        (("a", "@daily", report.options(scheduled_at=datetime.now(UTC)).new), InvalidCron, "it says when itself"),
    ]
    for given, error, why in refused:
        with pytest.raises(error, match=why):
            app.cron.add(*given)
    assert list(app.cron.entries.added) == ["taken"]


async def test_a_function_that_makes_jobs_of_another_worker_later_is_told_and_stores_nothing(app: Tenuto):
    workers: Iterator[Any] = iter([report, report, needs])
    app.cron.add("fickle", NEVER_SOON, lambda: next(workers, needs).new("eu"))
    entry = app.cron.entries.all()["fickle"]

    with pytest.raises(InvalidCron, match=r"it is of worker 'story\.needs'"):
        entry.job()


# ── in the settings ───────────────────────────────────────────────────────────────────────────────


async def test_entries_may_stand_in_the_settings(open_app: OpenApp):
    setting = {"expression": NEVER_SOON, "worker": "story.report", "args": {"region": "eu"}, "catch_up": 60}
    app = await open_app(queues={"default": 1}, cron={"eu": setting})

    await app.cron.run("eu")

    (done,) = await eventually(lambda: completed(app, "story.report"))
    (status,) = await app.cron.list()
    assert done.args == {"region": "eu"}
    assert (status.name, status.worker, status.catch_up) == ("eu", "story.report", MINUTE)


def test_what_is_added_wins_over_the_settings_and_those_over_what_a_worker_says():
    with forgotten("story.all"):

        @job(name="story.all", cron="0 1 * * *")
        async def all_of_them() -> None: ...

        app = Tenuto(cron={name: {"expression": "0 2 * * *", "worker": "story.all"} for name in ("story.all", "b")})
        app.cron.add("b", "0 3 * * *", all_of_them.new)

        found = app.cron.entries.all()

    assert {name: found[name].cron.expression for name in ("story.all", "b")} == {
        "story.all": "0 2 * * *",
        "b": "0 3 * * *",
    }


async def test_a_worker_of_the_settings_that_this_program_does_not_have_is_told_of_and_left_to_others(
    open_app: OpenApp,
):
    told: list[Any] = []

    def hear(event: str, payload: Any) -> None:
        told.append((payload["name"], str(payload["error"])))

    telemetry.attach(hear, "cron.exception")
    try:
        app = await open_app(queues={"default": 1}, cron={"a": {"expression": "@daily", "worker": "story.reprot"}})
    finally:
        telemetry.detach(hear)

    assert told == [("a", "no worker named 'story.reprot' is registered here; import its module first")]
    assert await app.cron.list() == []


async def test_a_worker_of_the_settings_may_be_registered_later(open_app: OpenApp):
    app = await open_app(queues={"default": 1}, cron={"a": {"expression": NEVER_SOON, "worker": "story.later"}})
    with forgotten("story.later"):

        @job(name="story.later")
        async def later() -> None: ...

        assert await eventually(app.cron.list)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"worker": "w"}, r"cron\.a\.expression: Field required"),
        ({"expression": "@dayly", "worker": "w"}, r"cron\.a: '@dayly' is no cron expression"),
        ({"expression": "@daily", "worker": "w", "timezone": "Berlin"}, "timezone='Berlin' is not known"),
        ({"expression": "@daily", "worker": "w", "catch_up": 1e9}, "catch_up=1000000000.0 is out of range"),
        ({"expression": "@daily", "worker": "w", "when": 1}, "there is no 'cron.a.when'"),
        ("@daily", r"cron\.a: Input should be"),
    ],
)
def test_what_cannot_be_in_the_settings_is_refused_when_they_are_read(setting, why):
    with pytest.raises(ConfigError, match=why):
        Tenuto(cron={"a": setting})


# ── asked from anywhere ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def other(database_url: str, app: Tenuto) -> AsyncIterator[Tenuto]:
    """Another app, which knows no entry, beside one that knows `weekly`."""
    app.cron.add("weekly", "0 3 * * MON", report.new, timezone="Europe/Berlin")
    async with Tenuto(database_url) as other:
        await eventually(other.cron.list)
        yield other


async def test_an_entry_is_paused_resumed_and_run_by_apps_that_do_not_know_it(app: Tenuto, other: Tenuto):
    await other.cron.pause("weekly")
    paused = (await app.cron.list())[0]
    await other.cron.run("weekly")
    await eventually(lambda: completed(app, "story.report"))
    await other.cron.resume("weekly")
    resumed = (await app.cron.list())[0]

    assert (paused.is_paused, paused.next_at) == (True, None)
    assert (resumed.is_paused, resumed.next_at) == (False, (await other.cron.next("weekly", 1))[0])


async def test_the_next_minutes_can_be_asked_for(other: Tenuto):
    minutes = await other.cron.next("weekly", 10)

    assert len(minutes) == 10
    assert list(minutes) == Cron("0 3 * * MON", "Europe/Berlin").between(minutes[0] - MINUTE, minutes[-1], 99)
    for count in (0, 1001, True, "5"):
        with pytest.raises(InvalidRequest, match="is out of range: 1 to 1,000"):
            await other.cron.next("weekly", count)  # type: ignore[arg-type]


async def test_an_entry_that_is_not_there_is_told_by_name(other: Tenuto):
    for ask in (other.cron.pause, other.cron.resume, other.cron.run, other.cron.next):
        with pytest.raises(CronNotFound, match="no cron entry is named 'weakly'; tenuto cron list") as missing:
            await ask("weakly")
        assert missing.value.name == "weakly"


async def test_an_entry_that_no_live_node_declares_is_not_run(app: Tenuto, other: Tenuto):
    await app.stop()
    other.database.now = datetime.now(UTC) + HOUR

    assert [(status.is_stale, status.next_at) for status in await other.cron.list()] == [(True, None)]
    with pytest.raises(InvalidRequest, match="no live node declares the cron entry 'weekly'"):
        await other.cron.run("weekly")


async def test_an_app_that_is_not_open_answers_nothing(database_url: str):
    app = Tenuto(database_url)

    for ask in (app.cron.list, lambda: app.cron.next("a"), lambda: app.cron.pause("a"), lambda: app.cron.run("a")):
        with pytest.raises(NotStarted):
            await ask()


# ── clocks that are wrong ─────────────────────────────────────────────────────────────────────────


class SkewedNode:
    """A process whose clock is wrong by so many seconds."""

    def __init__(self, url: str, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.stories.skewed", url, str(seconds)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, at: datetime) -> None:
        """Let it tick in this minute of the database's clock."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{at.isoformat()}\n")
        self._process.stdin.flush()

    def end(self) -> float:
        """Wait until it has ticked; what its own clock shows."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """Let it end."""
        self._process.communicate("\n", timeout=30)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("turn", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
async def test_two_nodes_with_clocks_five_minutes_apart_fire_each_minute_once(
    database_url: str, open_database: OpenDatabase, turn: datetime
):
    database = await open_database()
    await database.migrate(upkeep.migrate, list(range(1, upkeep.SCHEMA_VERSION + 1)))
    nodes = [SkewedNode(database_url, seconds) for seconds in (0, 300)]
    start, end = turn - 1.5 * HOUR, turn + 1.5 * HOUR
    try:
        for minute in range((end - start) // MINUTE + 1):
            for node in nodes:
                node.begin(start + minute * MINUTE)
            shown = [node.end() for node in nodes]
    finally:
        for node in nodes:
            node.stop()

    app = Tenuto(database_url)
    async with app:
        fired = [(one.args["entry"], one.scheduled_at) for one in await app.find(worker="cron.skewed", limit=1000)]
    assert 299 < shown[1] - shown[0] < 301
    for name, expression in ENTRIES.items():
        minutes = sorted(at for entry, at in fired if entry == name and at is not None)
        assert minutes == Cron(expression, TIMEZONE).between(start, end, 1000)
    assert set(await database.read(crons.crons)) == set(ENTRIES)
