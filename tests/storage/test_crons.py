"""Cron entries: who declares them, who may fire them, and that each minute is fired once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from tenuto.errors import JobMismatch, StorageRejected
from tenuto.job import Job
from tenuto.storage import crons, reading, steer
from tenuto.storage.crons import KEPT_FOR, KNOWN_FOR, CronRow, Declared
from tenuto.storage.database import Database
from tests.storage.build import MINUTE, NOON, SECOND, AnyJob, is_stored, plain, stored

NIGHTLY = Declared("nightly", "0 2 * * *", "Europe/Berlin", "report", 0)
LATER = NIGHTLY._replace(expression="0 3 * * *")


async def row_of(database: Database, name: str = "nightly") -> CronRow:
    return (await database.read(crons.crons, [name]))[name]


async def declare(database: Database, *declared: Declared) -> CronRow:
    """A node that begins to know these; the row of the first."""
    await database.run(crons.register, declared, [])
    return await row_of(database, declared[0].name)


async def fire(database: Database, row: CronRow, until: datetime, jobs: Sequence[AnyJob]) -> list[AnyJob] | None:
    return await database.run(crons.fire, row, until, jobs)


# ── declared ──────────────────────────────────────────────────────────────────────────────────────


async def test_an_entry_begins_when_it_is_first_declared(clock: Database):
    row = await declare(clock, NIGHTLY)

    assert row.declared == NIGHTLY
    assert (row.done_until, row.registered_at, row.known_until) == (NOON, NOON, NOON + KNOWN_FOR)
    assert (row.paused, row.asked, row.fired_minute, row.job_id, row.is_stale) == (False, False, None, None, False)


@pytest.mark.parametrize("name", ["a,b", "{a}", 'a"b', "a\\b", 'a\\"b', "null", "two words", "größer", "'"])
async def test_any_name_is_found_in_a_list_of_names(clock: Database, name: str):
    await declare(clock, NIGHTLY, NIGHTLY._replace(name=name), LATER._replace(name="another"))

    assert list(await clock.read(crons.crons, [name])) == [name]
    assert set(await clock.read(crons.crons, ["nightly", name])) == {"nightly", name}


async def test_declaring_the_same_again_only_says_that_it_is_known(clock: Database):
    first = await declare(clock, NIGHTLY)
    clock.now = NOON + MINUTE

    again = await declare(clock, NIGHTLY)

    assert again == first._replace(known_until=clock.now + KNOWN_FOR, now=clock.now)


async def test_the_last_that_is_newly_declared_wins_and_begins_anew(clock: Database):
    await declare(clock, NIGHTLY)
    clock.now = NOON + MINUTE

    row = await declare(clock, LATER)

    assert row.declared == LATER
    assert (row.done_until, row.registered_at) == (NOON + MINUTE, NOON + MINUTE)


async def test_another_catch_up_is_another_declaration_and_what_was_missed_stays_due(clock: Database):
    await declare(clock, NIGHTLY)
    clock.now = NOON + MINUTE

    row = await declare(clock, NIGHTLY._replace(catch_up=5))

    assert (row.catch_up, row.registered_at, row.done_until) == (5, NOON + MINUTE, NOON)


async def test_who_knew_it_before_leaves_it_to_the_one_that_declared_it_last_while_that_one_lives(clock: Database):
    await declare(clock, NIGHTLY)
    await declare(clock, LATER)
    clock.now = NOON + KNOWN_FOR - SECOND

    await clock.run(crons.register, [], [NIGHTLY])

    assert (await row_of(clock)).declared == LATER


async def test_who_knew_it_before_takes_over_when_nobody_declares_it_as_it_is_any_more(clock: Database):
    await declare(clock, NIGHTLY)
    await declare(clock, LATER)
    clock.now = NOON + KNOWN_FOR

    await clock.run(crons.register, [], [NIGHTLY])

    row = await row_of(clock)
    assert (row.declared, row.is_stale, row.done_until) == (NIGHTLY, False, clock.now)


async def test_an_entry_that_no_node_speaks_of_any_more_is_stale(clock: Database):
    await declare(clock, NIGHTLY)

    clock.now = NOON + KNOWN_FOR

    assert (await row_of(clock)).is_stale


async def test_entries_are_listed_by_name(clock: Database):
    await declare(clock, *(NIGHTLY._replace(name=name) for name in ("b", "a", "c")))

    assert list(await clock.read(crons.crons)) == ["a", "b", "c"]
    assert list(await clock.read(crons.crons, ["c", "a", "nobody's"])) == ["a", "c"]
    assert await clock.read(crons.crons, []) == {}


# ── fired ─────────────────────────────────────────────────────────────────────────────────────────


async def test_firing_stores_the_jobs_and_moves_the_entry_on(clock: Database):
    row = await declare(clock, NIGHTLY)
    jobs = plain(2)

    fired = await fire(clock, row, NOON + 2 * MINUTE, jobs)

    assert fired is not None
    assert [job.id for job in fired] == [job.id for job in jobs]
    row = await row_of(clock)
    assert (row.done_until, row.fired_minute) == (NOON + 2 * MINUTE, NOON + 2 * MINUTE)
    assert (row.job_id, row.job_state) == (jobs[1].id, "available")


async def test_a_minute_is_fired_once(clock: Database):
    row = await declare(clock, NIGHTLY)
    first, second = plain(2)
    await fire(clock, row, NOON + MINUTE, [first])

    assert await fire(clock, row, NOON + MINUTE, [second]) is None

    assert not await is_stored(clock, second)


async def test_a_minute_is_fired_once_however_many_nodes_try_at_the_same_moment(clock: Database, open_database: Any):
    others = [await open_database() for _ in range(7)]
    row = await declare(clock, NIGHTLY)
    for nth in range(1, 11):
        jobs = plain(8)
        until = NOON + nth * MINUTE
        tries = [fire(one, row, until, [job]) for one, job in zip([clock, *others], jobs, strict=True)]

        fired = await asyncio.gather(*tries)

        assert [bool(one) for one in fired].count(True) == 1
        assert [await is_stored(clock, job) for job in jobs].count(True) == 1
        row = await row_of(clock)


async def test_nothing_moves_on_when_a_job_cannot_be_stored(clock: Database):
    row = await declare(clock, NIGHTLY)
    (good,) = plain()
    bad: AnyJob = Job("worker", {"text": "fine"}).replace(encoded='"\x00"')
    taken = (await clock.run(crons.fire, row, NOON + SECOND, plain()) or [])[0]
    row = await row_of(clock)

    with pytest.raises(StorageRejected):
        await fire(clock, row, NOON + MINUTE, [good, bad])
    with pytest.raises(JobMismatch):
        await fire(clock, row, NOON + MINUTE, [good, taken.replace(args={"other": 1})])

    assert not await is_stored(clock, good)
    assert await row_of(clock) == row


async def test_minutes_that_are_too_old_are_passed_over_without_a_job(clock: Database):
    row = await declare(clock, NIGHTLY)

    assert await fire(clock, row, NOON + MINUTE, []) == []

    row = await row_of(clock)
    assert (row.done_until, row.fired_minute, row.job_id) == (NOON + MINUTE, None, None)


async def test_an_entry_that_is_declared_otherwise_by_now_is_not_fired(clock: Database):
    row = await declare(clock, NIGHTLY)
    for other in (LATER, NIGHTLY._replace(timezone="UTC"), NIGHTLY._replace(worker="other")):
        await declare(clock, other)
        (job,) = plain()

        assert await fire(clock, row, NOON + MINUTE, [job]) is None

        assert not await is_stored(clock, job)


async def test_the_state_of_the_last_job_is_shown_for_as_long_as_it_is_there(clock: Database):
    row = await declare(clock, NIGHTLY)
    (job,) = plain()
    await fire(clock, row, NOON + MINUTE, [job])

    await clock.run(steer.cancel, [job.id])
    cancelled = await row_of(clock)
    await clock.run(steer.delete, [job.id])
    gone = await row_of(clock)

    assert (cancelled.job_id, cancelled.job_state) == (job.id, "cancelled")
    assert (gone.job_id, gone.job_state) == (job.id, None)


# ── paused, and run now ───────────────────────────────────────────────────────────────────────────


async def test_a_paused_entry_is_not_fired(clock: Database):
    row = await declare(clock, NIGHTLY)
    assert await clock.run(crons.pause, "nightly", True)
    (job,) = plain()

    assert await fire(clock, row, NOON + MINUTE, [job]) is None

    assert (await row_of(clock)).paused
    assert not await is_stored(clock, job)


async def test_declaring_it_again_does_not_resume_it(clock: Database):
    await declare(clock, NIGHTLY)
    await clock.run(crons.pause, "nightly", True)

    assert (await declare(clock, NIGHTLY)).paused
    assert (await declare(clock, LATER)).paused


async def test_what_was_due_while_it_was_paused_is_done_with_when_it_is_resumed(clock: Database):
    await declare(clock, NIGHTLY)
    await clock.run(crons.pause, "nightly", True)
    clock.now = NOON + MINUTE
    await clock.run(crons.pause, "nightly", True)
    clock.now = NOON + 2 * MINUTE

    await clock.run(crons.pause, "nightly", False)

    row = await row_of(clock)
    assert (row.paused, row.done_until) == (False, NOON + 2 * MINUTE)


async def test_resuming_what_is_not_paused_changes_nothing(clock: Database):
    row = await declare(clock, NIGHTLY)
    clock.now = NOON + MINUTE

    assert await clock.run(crons.pause, "nightly", False)

    assert (await row_of(clock)).done_until == row.done_until


async def test_pausing_what_is_not_there_says_so(clock: Database):
    assert not await clock.run(crons.pause, "nobody's", True)


async def test_what_is_asked_for_is_answered_once(clock: Database):
    await declare(clock, NIGHTLY)
    await clock.run(crons.pause, "nightly", True)
    assert await clock.run(crons.ask, "nightly")
    assert (await row_of(clock)).asked
    first, second = plain(worker="report"), plain(worker="report")

    answered = await clock.run(crons.answer, "nightly", first[0])

    assert answered is not None
    assert await stored(clock, first[0]) == answered
    assert await clock.run(crons.answer, "nightly", second[0]) is None
    row = await row_of(clock)
    assert (row.asked, row.job_id, row.fired_minute, row.done_until) == (False, first[0].id, None, NOON)


async def test_a_job_of_another_worker_is_no_answer(clock: Database):
    await declare(clock, NIGHTLY)
    await clock.run(crons.ask, "nightly")

    assert await clock.run(crons.answer, "nightly", plain(worker="other")[0]) is None

    assert (await row_of(clock)).asked


async def test_nothing_can_be_asked_of_an_entry_that_is_stale_or_not_there(clock: Database):
    await declare(clock, NIGHTLY)
    clock.now = NOON + KNOWN_FOR

    assert not await clock.run(crons.ask, "nightly")
    assert not await clock.run(crons.ask, "nobody's")
    assert not (await row_of(clock)).asked


# ── forgotten ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_entry_that_is_stale_for_long_is_forgotten_unless_it_is_paused(clock: Database):
    await declare(clock, NIGHTLY, NIGHTLY._replace(name="paused"))
    await clock.run(crons.pause, "paused", True)
    clock.now = NOON + KNOWN_FOR + KEPT_FOR
    await declare(clock, NIGHTLY._replace(name="live"))

    assert await clock.run(crons.prune) == 0
    clock.now += SECOND
    assert await clock.run(crons.prune) == 1

    assert list(await clock.read(crons.crons)) == ["live", "paused"]


async def test_a_job_that_was_fired_outlives_its_entry(clock: Database):
    row = await declare(clock, NIGHTLY)
    (job,) = plain()
    await fire(clock, row, NOON + MINUTE, [job])
    clock.now = NOON + 2 * KEPT_FOR

    await clock.run(crons.prune)

    assert job.id in await clock.read(reading.fetch, [job.id])
