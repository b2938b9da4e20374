"""The clock: what is due is due by it, on both databases, and nothing that runs is lost when it moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenuto import Deadline, Unique, job
from tenuto.definition import forget
from tenuto.errors import InvalidJob, InvalidRequest
from tenuto.testing import Clock, drain, perform
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, eventually

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_it_stands_still_until_it_is_moved(app):
    async with Clock(app, at=START) as clock:
        first, second = await app.enqueue(Obey.ok()), await app.enqueue(Obey.ok())
        await clock.advance(HOUR)
        third = await app.enqueue(Obey.ok())

        assert [each.inserted_at for each in (first, second, third)] == [START, START, START + HOUR]
        assert clock.now == START + HOUR


async def test_it_begins_with_the_time_of_the_database(app):
    before = (await app.enqueue(Obey.ok())).inserted_at

    async with Clock(app) as clock:
        assert timedelta(0) <= clock.now - before < timedelta(minutes=1)
        assert (await drain(app)).completed == 1


async def test_scheduled_jobs_are_due_by_it(app):
    async with Clock(app) as clock:
        await app.enqueue(Obey.ok(schedule_in=HOUR))

        await clock.advance(HOUR - timedelta(seconds=1))
        assert (await drain(app)).completed == 0
        await clock.advance(1)
        assert (await drain(app)).completed == 1


async def test_backoffs_end_by_it(app):
    @job(name="clock.flaky", backoff=HOUR, max_attempts=2)
    async def flaky() -> None:
        raise RuntimeError

    async with Clock(app) as clock:
        stored = await app.enqueue(flaky.new())
        await drain(app, keep_failures=True)
        assert (await drain(app, keep_failures=True)).failed == 0
        await clock.advance(HOUR)
        await drain(app, keep_failures=True)

        assert (await app.fetch(stored)).state == "discarded"
        assert [failure.at for failure in (await app.fetch(stored)).errors] == [clock.now - HOUR, clock.now]


async def test_deadlines_pass_by_it(app):
    @job(name="clock.late", deadline=Deadline(HOUR))
    async def late() -> None: ...

    async with Clock(app) as clock:
        stored = await app.enqueue([late.new(), late.options(schedule_in=2 * HOUR).new()])
        await clock.advance(HOUR)
        await drain(app)

        assert [(await app.fetch(each)).state for each in stored] == ["cancelled", "scheduled"]


async def test_periods_of_unique_jobs_end_by_it(app):
    @job(name="clock.daily", unique=Unique(period=timedelta(days=1)))
    async def daily() -> None: ...

    async with Clock(app, at=START) as clock:
        await app.enqueue(daily.new())
        assert (await app.enqueue(daily.new())).existing
        await clock.advance(timedelta(hours=12))
        assert not (await app.enqueue(daily.new())).existing


async def test_cron_fires_on_the_way_when_asked_to(app):
    @job(name="clock.nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    async def nightly() -> None: ...

    try:
        async with Clock(app, at=START) as clock:
            await clock.advance(timedelta(hours=12))
            assert (await drain(app)).completed == 0
            await clock.advance(timedelta(days=3), cron=True)
            minutes = [run.job.scheduled_at for run in (await drain(app)).runs]
    finally:
        forget("clock.nightly")

    # 28 March is before the change to summer time; on the 29th, 02:30 does not exist and 03:00 takes its place.
    assert minutes == [
        datetime(2026, 3, day, hour, 30 * (day != 29), tzinfo=UTC) for day, hour in ((29, 1), (30, 0), (31, 0))
    ]


async def test_cron_fires_each_minute_once(app):
    app.cron.add("often", "*/20 * * * *", Obey.ok())

    async with Clock(app, at=START) as clock:
        await clock.advance(HOUR, cron=True)
        await clock.advance(HOUR, cron=True)
        await clock.advance(0, cron=True)

        assert (await drain(app)).completed == 6


async def test_a_way_with_too_many_minutes_is_refused(app):
    app.cron.add("often", "* * * * *", Obey.ok())

    async with Clock(app) as clock:
        with pytest.raises(InvalidRequest, match="cron is due too often"):
            await clock.advance(timedelta(days=30), cron=True)


async def test_it_only_goes_on(app):
    async with Clock(app, at=START) as clock:
        with pytest.raises(InvalidRequest, match="only goes on"):
            await clock.move_to(START - HOUR)
        with pytest.raises(InvalidJob, match="naive"):
            await clock.move_to(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(InvalidRequest, match="outside of its"):
        _ = clock.now


async def test_two_clocks_do_not_hold_one_app(app):
    async with Clock(app):
        with pytest.raises(InvalidRequest, match="another Clock"):
            async with Clock(app):
                pass
    assert app.database.now is None


async def test_a_node_keeps_its_lease_and_what_it_runs_when_time_moves(open_app: OpenApp):
    node = await open_app(queues={"default": 2})
    gate = Gate()
    held = await node.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    async with Clock(node) as clock:
        for _ in range(5):
            await clock.advance(timedelta(days=30))
            assert [each.node for each in await node.nodes()] != []
        gate.open()
        await drain(node)

        now = await node.fetch(held)
        assert (now.state, now.attempt, now.epoch) == ("completed", 1, 1)
        assert (await node.health()).counters.get("fenced", 0) == 0


async def test_several_apps_share_one_clock(open_app: OpenApp):
    one, other = await open_app(), await open_app()

    async with Clock(one, other, at=START) as clock:
        await clock.advance(HOUR)
        stored = await other.enqueue(Obey.ok())

        assert stored.inserted_at == START + HOUR
        assert (await perform(stored, app=one)).outcome == "completed"
