"""The scheduler: each minute of an entry once, by the database's clock, whoever ticks, and whenever."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tenuto
from tenuto import telemetry
from tenuto.cron import Cron
from tenuto.definition import define, forget, resolve
from tenuto.features.feature import Feature
from tenuto.features.recurring import CATCH_UP
from tenuto.function import job
from tenuto.job import AVAILABLE, Job
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.services.scheduler import AT_ONCE, Entries, Entry, Scheduler, again
from tenuto.storage import crons, reading
from tenuto.storage.crons import KNOWN_FOR, CronRow
from tenuto.storage.database import Database, Hint
from tenuto.storage.steer import Filter
from tests.kit import eventually

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

AnyJob = Job[Any, Any]


@job(name="cron.report", queue="reports")
async def report(region: str = "all") -> None: ...


def entry(
    expression: str = "* * * * *",
    *,
    name: str = "report",
    timezone: str = "UTC",
    catch_up: timedelta = CATCH_UP,
    make: Any = report.new,
) -> Entry:
    return Entry(name, Cron(expression, timezone), catch_up, "cron.report", make)


class Nodes:
    """Nodes that declare entries, and what they made of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.hints: list[Hint] = []

    def node(self, *entries: Entry, database: Database | None = None) -> Scheduler:
        """One more node, which has just started."""
        own = Entries()
        for each in entries:
            own.add(each)
        node = Node(database or self.database, "here", timedelta(seconds=30))
        notifier = Notifier(node)
        notifier.subscribe(self.hints.append)
        return Scheduler(node, notifier, own)

    async def tick(self, at: datetime, *nodes: Scheduler) -> None:
        """What the nodes do when the database's clock shows `at`."""
        for node in nodes:
            node.database.now = self.database.now = at
            await node.tick()

    async def jobs(self) -> list[AnyJob]:
        """What was enqueued, by when it was due."""
        found = await self.database.read(reading.find, Filter.of(worker="cron.report"), 10_000)
        return sorted(found, key=lambda one: one.scheduled_at or NOON)

    async def minutes(self) -> list[datetime | None]:
        """The minutes that were fired."""
        return [one.scheduled_at for one in await self.jobs()]

    async def row(self, name: str = "report") -> CronRow:
        return (await self.database.read(crons.crons))[name]


@pytest.fixture
def nodes(database: Database) -> Nodes:
    database.now = NOON
    return Nodes(database)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """The events of cron, from now on."""
    events: list[tuple[str, Any]] = []

    def hear(event: str, payload: Any) -> None:
        events.append((event, payload))

    telemetry.attach(hear, "cron.insert", "cron.skip", "cron.exception")
    yield events
    telemetry.detach(hear)


# ── a minute ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_minute_that_has_begun_becomes_a_job_that_is_due_and_its_queue_is_woken(nodes: Nodes, heard):
    node = nodes.node(entry())
    await nodes.tick(NOON, node)

    await nodes.tick(NOON + MINUTE + SECOND, node)

    (made,) = await nodes.jobs()
    assert (made.state, made.queue, made.args) == (AVAILABLE, "reports", {"region": "all"})
    assert (made.scheduled_at, made.inserted_at) == (NOON + MINUTE, NOON + MINUTE + SECOND)
    assert nodes.hints == [Hint("insert", "reports")]
    assert heard == [("cron.insert", {"name": "report", "minutes": [NOON + MINUTE], "ids": [made.id]})]


async def test_the_minute_in_which_an_entry_is_first_declared_has_begun_without_it(nodes: Nodes):
    node = nodes.node(entry())

    await nodes.tick(NOON + 59 * SECOND, node)
    assert await nodes.minutes() == []

    await nodes.tick(NOON + MINUTE, node)
    assert await nodes.minutes() == [NOON + MINUTE]


async def test_a_minute_is_fired_once_however_often_it_is_asked(nodes: Nodes):
    node = nodes.node(entry())

    for seconds in (0, 60, 61, 62, 119, 120):
        await nodes.tick(NOON + seconds * SECOND, node)

    assert await nodes.minutes() == [NOON + MINUTE, NOON + 2 * MINUTE]


async def test_a_database_whose_clock_is_put_back_fires_no_minute_again(nodes: Nodes):
    node = nodes.node(entry())
    for minute in (0, 1, 2, 0, 1, 2, 3):
        await nodes.tick(NOON + minute * MINUTE, node)

    assert await nodes.minutes() == [NOON + MINUTE, NOON + 2 * MINUTE, NOON + 3 * MINUTE]


async def test_an_entry_goes_on_when_a_database_whose_clock_was_a_year_ahead_is_put_right(nodes: Nodes):
    node = nodes.node(entry())
    await nodes.tick(NOON, node)
    await nodes.tick(NOON + timedelta(days=365), node)
    ahead = await nodes.minutes()

    for minute in (1, 2):
        await nodes.tick(NOON + minute * MINUTE, node)

    assert min(at for at in ahead if at is not None) > NOON + timedelta(days=364)
    assert await nodes.minutes() == [NOON + 2 * MINUTE, *ahead]


async def test_a_new_job_is_made_for_each_minute(nodes: Nodes):
    node = nodes.node(entry(make=again(report.options(schedule_in=30, tags=["eu"]).new("eu"))))
    for minute in range(3):
        await nodes.tick(NOON + minute * MINUTE, node)

    first, second = await nodes.jobs()
    assert first.id != second.id
    assert [one.args for one in (first, second)] == [{"region": "eu"}] * 2
    assert (first.scheduled_at, first.tags, first.state) == (NOON + MINUTE + 30 * SECOND, ("eu",), "scheduled")


async def test_a_job_goes_through_the_door_that_enqueue_has(nodes: Nodes):
    class Mark(Feature):
        async def before_store(self, job: AnyJob) -> AnyJob:
            return job.replace(tags=("marked",))

    async def marked() -> None: ...

    definition = define("cron.marked", {}, marked, marked, lambda job: marked(), [Mark()])
    try:
        node = nodes.node(Entry("marked", Cron("* * * * *"), CATCH_UP, "cron.marked", lambda: definition.new({})))
        for minute in range(2):
            await nodes.tick(NOON + minute * MINUTE, node)
    finally:
        forget("cron.marked")

    (made,) = await nodes.database.read(reading.find, Filter.of(worker="cron.marked"), 10)
    assert made.tags == ("marked",)


# ── several nodes, and clocks ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("turn", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
async def test_two_nodes_fire_each_minute_once_while_clocks_are_turned(
    nodes: Nodes, open_database: Any, turn: datetime
):
    """The clocks of this process stand elsewhere; and one of the nodes is told of each minute five minutes late."""
    when = {"fixed": "30 2 * * *", "several": "0,20,40 1-3 * * *", "steps": "*/7 * * * *", "hours": "15 */2 * * *"}
    entries = [
        entry(expression, name=name, timezone="Europe/Berlin", make=again(report.new(name)))
        for name, expression in when.items()
    ]
    start, end = turn - 2 * HOUR, turn + 3 * HOUR
    other = await open_database()
    one, late = nodes.node(*entries), nodes.node(*entries, database=other)
    nodes.database.now = start
    await one.tick()

    for nth in range(1, (end - start) // MINUTE + 1):
        nodes.database.now, other.now = start + nth * MINUTE, start + max(nth - 5, 0) * MINUTE
        await asyncio.gather(one.tick(), late.tick())

    fired: dict[str, list[Any]] = {name: [] for name in when}
    for made in await nodes.jobs():
        fired[made.args["region"]].append(made.scheduled_at)
    assert fired == {each.name: each.cron.between(start, end, 1000) for each in entries}
    assert len(fired["fixed"]) == 1


async def test_nodes_that_come_at_the_same_moment_fire_a_minute_once(nodes: Nodes, open_database: Any):
    databases = [nodes.database, *[await open_database() for _ in range(5)]]
    crowd = [nodes.node(entry(), database=one) for one in databases]
    for minute in range(11):
        for one in databases:
            one.now = NOON + minute * MINUTE
        await asyncio.gather(*(node.tick() for node in crowd))

    assert await nodes.minutes() == [NOON + nth * MINUTE for nth in range(1, 11)]


def test_nothing_of_cron_asks_the_clock_of_the_process():
    package = Path(tenuto.__file__).parent
    files = [package / name for name in ("cron.py", "schedule.py", "runtime/services/scheduler.py", "storage/crons.py")]

    asked = {
        f"{path.name}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today", "time", "time_ns", "localtime"}
        if not (isinstance(node.value, ast.Name) and node.value.id in {"row", "self"})
    }

    assert asked == set()


async def test_in_a_minute_that_was_gone_through_only_the_clock_is_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    seen = nodes.database.read

    async def watch(verb: Any, *args: Any) -> Any:
        read.append(verb.__name__)
        return await seen(verb, *args)

    node = nodes.node(entry())
    monkeypatch.setattr(nodes.database, "read", watch)
    await nodes.tick(NOON, node)
    first, read[:] = list(read), []

    await nodes.tick(NOON + 59 * SECOND, node)

    assert first == ["look", "crons", "crons"]
    assert read == ["look"]


async def test_a_node_that_works_fires_when_the_minute_has_come(nodes: Nodes):
    node = nodes.node(entry())
    nodes.database.now = NOON + 59 * SECOND
    node.start()
    try:
        await eventually(lambda: nodes.database.read(crons.crons))
        nodes.database.now = NOON + MINUTE
        await eventually(nodes.minutes)
    finally:
        await node.stop()

    assert await nodes.minutes() == [NOON + MINUTE]


async def test_a_node_without_an_entry_asks_the_database_nothing(nodes: Nodes):
    await nodes.database.close()
    node = nodes.node()

    await node.tick()


# ── minutes that were missed ──────────────────────────────────────────────────────────────────────


async def test_a_minute_that_was_missed_a_moment_ago_is_made_up_for(nodes: Nodes, heard):
    node = nodes.node(entry("1 12 * * *"))
    await nodes.tick(NOON, node)

    await nodes.tick(NOON + MINUTE + CATCH_UP + 59 * SECOND, node)

    assert await nodes.minutes() == [NOON + MINUTE]
    assert [event for event, _ in heard] == ["cron.insert"]


async def test_a_minute_that_was_missed_long_ago_is_told_of_and_left(nodes: Nodes, heard):
    node = nodes.node(entry("1 12 * * *"))
    await nodes.tick(NOON, node)

    late = NOON + MINUTE + CATCH_UP + MINUTE
    await nodes.tick(late, node)
    await nodes.tick(late + SECOND, node)

    assert await nodes.minutes() == []
    assert heard == [("cron.skip", {"name": "report", "after": NOON, "until": NOON + MINUTE})]


async def test_every_missed_minute_within_the_catch_up_is_made_up_for_once(nodes: Nodes, heard):
    node = nodes.node(entry("*/10 * * * *", catch_up=HOUR))
    await nodes.tick(NOON, node)

    again = nodes.node(entry("*/10 * * * *", catch_up=HOUR))  # after three hours in which nobody ran
    await nodes.tick(NOON + 3 * HOUR + SECOND, again)
    await nodes.tick(NOON + 3 * HOUR + MINUTE, again)

    assert await nodes.minutes() == [NOON + 2 * HOUR + nth * 10 * MINUTE for nth in range(7)]
    assert [event for event, _ in heard] == ["cron.skip", "cron.insert"]


async def test_without_catch_up_only_the_minute_itself_counts(nodes: Nodes):
    node = nodes.node(entry(catch_up=timedelta(0)))
    await nodes.tick(NOON, node)

    await nodes.tick(NOON + 3 * MINUTE + 59 * SECOND, node)

    assert await nodes.minutes() == [NOON + 3 * MINUTE]


async def test_many_missed_minutes_are_made_up_for_in_several_goes(nodes: Nodes):
    node = nodes.node(entry(catch_up=24 * HOUR))
    await nodes.tick(NOON, node)

    await nodes.tick(NOON + (2 * AT_ONCE + 5) * MINUTE, node)
    assert len(await nodes.minutes()) == AT_ONCE
    assert node._poked.is_set()

    for _ in range(3):
        await node.tick()
    assert await nodes.minutes() == [NOON + nth * MINUTE for nth in range(1, 2 * AT_ONCE + 6)]


# ── what operators ask ────────────────────────────────────────────────────────────────────────────


async def test_a_paused_entry_fires_nothing_and_what_was_due_then_is_not_made_up_for(nodes: Nodes):
    node = nodes.node(entry(catch_up=HOUR))
    await nodes.tick(NOON, node)
    await nodes.database.run(crons.pause, "report", True)
    for minute in (1, 2, 3):
        await nodes.tick(NOON + minute * MINUTE, node)

    await nodes.database.run(crons.pause, "report", False)
    await nodes.tick(NOON + 4 * MINUTE, node)

    assert await nodes.minutes() == [NOON + 4 * MINUTE]


async def test_what_is_asked_for_runs_once_also_while_it_is_paused(nodes: Nodes, heard):
    one, other = nodes.node(entry("@yearly")), nodes.node(entry("@yearly"))
    await nodes.tick(NOON, one, other)
    await nodes.database.run(crons.pause, "report", True)
    await nodes.database.run(crons.ask, "report")

    await nodes.tick(NOON + SECOND, one, other)

    (made,) = await nodes.jobs()
    assert (made.state, made.scheduled_at) == (AVAILABLE, NOON + SECOND)
    assert heard == [("cron.insert", {"name": "report", "minutes": [], "ids": [made.id]})]
    assert nodes.hints == [Hint("insert", "reports")]


async def test_what_is_asked_for_and_fails_is_told_once_a_minute_until_it_is_done(nodes: Nodes, heard):
    makes: list[AnyJob] = []
    node = nodes.node(entry("@yearly", make=report.new), entry("@yearly", name="other"))
    await nodes.tick(NOON, node)
    node._entries.added["report"] = entry("@yearly", make=lambda: makes[0])
    await nodes.database.run(crons.ask, "report")
    for seconds in (1, 2, 3, 60, 61):
        await nodes.tick(NOON + seconds * SECOND, node)
    assert [event for event, _ in heard] == ["cron.exception"] * 2

    await nodes.database.run(crons.ask, "other")
    await nodes.tick(NOON + 62 * SECOND, node)
    assert len(await nodes.jobs()) == 1

    makes.append(report.new("late"))
    await nodes.tick(NOON + 120 * SECOND, node)
    assert len(await nodes.jobs()) == 2


async def test_a_hint_about_cron_is_taken_up_at_once_and_any_other_is_not(nodes: Nodes):
    node = nodes.node(entry())

    node.hear(Hint("insert", "reports"))
    assert not node._poked.is_set()

    node.hear(Hint("cron", "report"))
    assert node._poked.is_set()


# ── programs of two versions ──────────────────────────────────────────────────────────────────────


async def test_the_schedule_that_was_declared_last_counts_for_old_nodes_too(nodes: Nodes):
    old, new = nodes.node(entry("*/2 * * * *")), nodes.node(entry("*/3 * * * *"))
    await nodes.tick(NOON, old, new)

    for minute in range(1, 13):
        await nodes.tick(NOON + minute * MINUTE, old, new)

    assert await nodes.minutes() == [NOON + nth * MINUTE for nth in (3, 6, 9, 12)]


async def test_old_nodes_take_over_when_those_that_declared_it_last_are_gone(nodes: Nodes):
    old, new = nodes.node(entry("*/2 * * * *")), nodes.node(entry("*/3 * * * *"))
    await nodes.tick(NOON, old, new)
    for minute in range(1, 13):
        await nodes.tick(NOON + minute * MINUTE, old)

    assert (await nodes.row()).expression == "*/2 * * * *"
    assert KNOWN_FOR == 4 * MINUTE
    assert await nodes.minutes() == [NOON + nth * MINUTE for nth in (6, 8, 10, 12)]


async def test_a_node_that_has_another_worker_under_the_name_leaves_it_to_others(nodes: Nodes):
    old, new = nodes.node(entry()), nodes.node(entry())
    new._entries.added["report"] = Entry("report", Cron("* * * * *"), CATCH_UP, "cron.new", report.new)
    await nodes.tick(NOON, old, new)

    await nodes.tick(NOON + MINUTE, old)

    assert await nodes.minutes() == []


async def test_an_entry_that_no_node_declares_any_more_is_stale_and_fires_nothing(nodes: Nodes):
    both, less = nodes.node(entry(), entry(name="dropped")), nodes.node(entry())
    await nodes.tick(NOON, both)

    for minute in range(1, 6):
        await nodes.tick(NOON + minute * MINUTE, less)

    assert (await nodes.row("dropped")).is_stale
    assert not (await nodes.row("report")).is_stale
    assert len(await nodes.minutes()) == 5


async def test_a_live_entry_is_never_stale_and_seldom_written(nodes: Nodes):
    node = nodes.node(entry("@yearly"))
    signs = set()
    for minute in range(30):
        await nodes.tick(NOON + minute * MINUTE, node)
        row = await nodes.row()
        assert not row.is_stale
        signs.add(row.known_until)

    assert len(signs) == 10


# ── what fails ────────────────────────────────────────────────────────────────────────────────────


async def test_an_entry_that_fails_is_told_tried_again_and_does_not_stop_the_others(nodes: Nodes, heard):
    is_well = True

    def make() -> AnyJob:
        if not is_well:
            raise ValueError("not now")
        return report.new("late")

    node = nodes.node(entry("1 12 * * *", name="a", make=make), entry("1 12 * * *", name="b"))
    await nodes.tick(NOON, node)

    is_well = False
    await nodes.tick(NOON + MINUTE, node)
    assert [one.args["region"] for one in await nodes.jobs()] == ["all"]
    ((event, payload), _) = heard
    assert (event, payload["name"], str(payload["error"])) == ("cron.exception", "a", "not now")

    is_well = True
    await nodes.tick(NOON + 2 * MINUTE, node)
    assert sorted(one.args["region"] for one in await nodes.jobs()) == ["all", "late"]
    assert await nodes.minutes() == [NOON + MINUTE] * 2


async def test_a_job_that_the_database_refuses_does_not_stop_the_others(nodes: Nodes, heard):
    bad = report.new().replace(encoded='"\x00"')
    node = nodes.node(entry(name="a", make=again(bad)), entry(name="b"))
    await nodes.tick(NOON, node)

    await nodes.tick(NOON + MINUTE, node)

    assert len(await nodes.minutes()) == 1
    assert [(event, payload["name"]) for event, payload in heard] == [("cron.exception", "a"), ("cron.insert", "b")]


async def test_the_workers_own_entries_are_found_with_their_options(nodes: Nodes):
    @job(name="cron.own", cron="0 6 * * 1-5", timezone="Europe/Berlin", catch_up=3600)
    async def own() -> None: ...

    try:
        found = Entries().all()["cron.own"]
        made = found.job()
    finally:
        forget("cron.own")

    assert (found.cron, found.catch_up, found.worker) == (Cron("0 6 * * 1-5", "Europe/Berlin"), HOUR, "cron.own")
    assert made.worker == "cron.own"
    assert resolve("cron.report") is report.definition
