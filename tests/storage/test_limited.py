"""Queues with limits: how many run and start, from which partition, whoever claims."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from tenuto.errors import StorageBusy
from tenuto.job import Job
from tenuto.limits import Limits, Rate
from tenuto.outcome import DONE, RELEASED, Failed, Snooze, settle
from tenuto.storage import limited, steer, store, upkeep
from tenuto.storage.database import Database
from tenuto.storage.limited import Taken
from tests.storage.build import DAY, MINUTE, NOON, SECOND, TTL, AnyJob, Claimer, complaints, plain, stored
from tests.storage.conftest import only_on_postgres
from tests.storage.tables import Tables

DUE = timedelta(milliseconds=20)


def keyed(count: int, key: str | None, **options: Any) -> list[AnyJob]:
    """So many jobs of one partition."""
    return [job.replace(partition=key) for job in plain(count, **options)]


async def limit(database: Database, queue: str = "default", **limits: Any) -> None:
    """Say what holds for the queue."""
    await database.run(limited.configure, {queue: Limits(**limits)})


async def pace(database: Database, rate: Rate, *, of_each: bool) -> None:
    """The queue has this rate, or each of its partitions."""
    await database.run(limited.configure, {"default": Limits(partition_rate=rate) if of_each else Limits(rate=rate)})


async def take(claimer: Claimer, demand: int = 1000) -> Taken:
    """Claim what the limits allow."""
    taken = await claimer.database.run(limited.claim, claimer.queue, demand, claimer.id, claimer.node)
    claimer.held.update((job.id, job) for job in taken.jobs)
    return taken


def keys_of(jobs: Sequence[AnyJob], of: Sequence[AnyJob]) -> list[str | None]:
    """The partitions of claimed jobs, in the order of their claims."""
    known = {job.id: job.partition for job in of}
    return [known[job.id] for job in jobs]


# ── how many run ──────────────────────────────────────────────────────────────────────────────────


async def test_no_more_run_at_once_than_the_limit(clock, claimer):
    await limit(clock, limit=3)
    await clock.run(store.enqueue, plain(10))

    first, second = await take(claimer), await take(claimer)

    assert (len(first.jobs), second) == (3, Taken([]))


async def test_the_jobs_of_every_node_count(clock, claimer):
    neighbour = await Claimer(clock, "node-2").start()
    await limit(clock, limit=3)
    await clock.run(store.enqueue, plain(10))

    assert [len((await take(one, 2)).jobs) for one in (claimer, neighbour, claimer)] == [2, 1, 0]


async def test_the_most_urgent_are_claimed_first(clock, claimer):
    jobs = [Job("worker", priority=priority) for priority in (5, 0, 9, 0)]
    await limit(clock, limit=3)
    await clock.run(store.enqueue, jobs)

    claimed = (await take(claimer)).jobs

    assert [(job.priority, job.id) for job in claimed] == sorted((job.priority, job.id) for job in jobs)[:3]


async def test_a_queue_without_limits_is_claimed_as_ever(clock, claimer):
    await clock.run(store.enqueue, plain(10))

    assert len((await take(claimer)).jobs) == 10


@pytest.mark.parametrize(
    "outcome", [DONE, RELEASED, Snooze(5), Failed(ValueError())], ids=lambda one: type(one).__name__
)
async def test_whatever_ends_an_attempt_makes_room(clock, claimer, outcome):
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(2))
    ((job,), _) = await take(claimer)
    assert (await take(claimer)).jobs == []

    await claimer.give_back(settle(job, outcome))

    assert len((await take(claimer)).jobs) == 1


async def test_a_job_of_a_dead_node_counts_until_it_is_rescued(clock, claimer):
    heir = await Claimer(clock, "node-2").start()
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(2))
    await take(claimer)
    await claimer.die()
    assert (await take(heir)).jobs == []

    await clock.run(upkeep.rescue, judge=True)

    assert len((await take(heir)).jobs) == 1


async def test_a_job_whose_producer_is_gone_counts_until_it_is_rescued(clock, claimer, tables):
    heir = await Claimer(clock, "node-2").start()
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(2))
    await take(claimer)
    tables.execute("delete from producers where id = ?", claimer.id)
    assert (await take(heir)).jobs == []

    await clock.run(upkeep.rescue, judge=True)

    assert len((await take(heir)).jobs) == 1


async def test_a_cancelled_job_that_runs_still_counts(clock, claimer):
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(2))
    ((job,), _) = await take(claimer)
    await clock.run(steer.cancel, [job.id])

    assert (await take(claimer)).jobs == []


async def test_jobs_of_other_queues_do_not_count(clock, claimer):
    other = await Claimer(clock, queue="other").start()
    await limit(clock, limit=2)
    await clock.run(store.enqueue, plain(5, queue="other"))
    await other.claim()
    await clock.run(store.enqueue, plain(5))

    assert len((await take(claimer)).jobs) == 2


async def test_jobs_that_were_claimed_before_there_was_a_limit_count(clock, claimer):
    await clock.run(store.enqueue, plain(5))
    await claimer.claim(2)
    await limit(clock, limit=3)

    assert len((await take(claimer)).jobs) == 1


async def test_nothing_is_claimed_after_the_lease_has_ended(clock, claimer):
    await limit(clock, limit=2, partition_limit=1)
    await clock.run(store.enqueue, [*plain(2), *keyed(2, "a")])
    clock.now = NOON + TTL

    assert (await take(claimer)).jobs == []


async def test_a_limit_that_was_lowered_waits_for_what_runs(clock, claimer):
    await limit(clock, limit=3)
    await clock.run(store.enqueue, plain(9))
    running = (await take(claimer)).jobs
    await limit(clock, limit=2)
    assert (await take(claimer)).jobs == []

    await claimer.give_back(*[settle(job, DONE) for job in running[:2]])

    assert len((await take(claimer)).jobs) == 1


# ── suspects ──────────────────────────────────────────────────────────────────────────────────────


async def suspects(clock: Database, claimer: Claimer, jobs: list[AnyJob]) -> Claimer:
    """A node that comes after one that died with these jobs running."""
    await clock.run(store.enqueue, jobs)
    await claimer.claim()
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    return await Claimer(clock, "node-2").start()


async def suspect(heir: Claimer) -> list[AnyJob]:
    return await heir.database.run(limited.claim_suspect, heir.queue, heir.id, heir.node)


async def test_a_suspect_takes_its_place_under_the_limit(clock, claimer):
    heir = await suspects(clock, claimer, plain(2))
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(1))

    assert [len(await suspect(heir)), len(await suspect(heir))] == [1, 0]
    assert (await take(heir)).jobs == []


async def test_a_suspect_of_a_partition_that_is_full_waits_and_another_does_not(clock, claimer):
    a, b = keyed(1, "a"), keyed(1, "b")
    heir = await suspects(clock, claimer, [*a, *b])
    await limit(clock, partition_limit=1)
    await clock.run(store.enqueue, keyed(1, "a"))
    assert len((await take(heir)).jobs) == 1

    assert [job.id for job in await suspect(heir)] == [b[0].id]
    assert await suspect(heir) == []


async def test_a_suspect_takes_a_token(clock, claimer):
    heir = await suspects(clock, claimer, keyed(2, "a"))
    await limit(clock, rate=Rate(1, per=MINUTE))

    assert [len(await suspect(heir)), len(await suspect(heir))] == [1, 0]


# ── partitions ────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_of_a_partition_run_at_once_than_its_limit(clock, claimer):
    jobs = [*keyed(5, "a"), *keyed(5, "b"), *keyed(5, None)]
    await limit(clock, partition_limit=2)
    await clock.run(store.enqueue, jobs)

    claimed = (await take(claimer)).jobs

    assert Counter(keys_of(claimed, jobs)) == {"a": 2, "b": 2, None: 2}
    assert (await take(claimer)).jobs == []


async def test_a_slot_of_a_partition_goes_to_that_partition(clock, claimer):
    jobs = [*keyed(3, "a"), *keyed(3, "b")]
    await limit(clock, partition_limit=1)
    await clock.run(store.enqueue, jobs)
    claimed = (await take(claimer)).jobs
    (of_b,) = [job for job in claimed if keys_of([job], jobs) == ["b"]]
    await claimer.give_back(settle(of_b, DONE))

    assert keys_of((await take(claimer)).jobs, jobs) == ["b"]


async def test_both_limits_hold(clock, claimer):
    jobs = [job for key in "abcd" for job in keyed(5, key)]
    await limit(clock, limit=5, partition_limit=2)
    await clock.run(store.enqueue, jobs)

    claimed = (await take(claimer)).jobs

    assert len(claimed) == 5
    assert max(Counter(keys_of(claimed, jobs)).values()) == 2


async def test_partitions_are_served_in_turn(clock, claimer):
    jobs = [job for key in ("a", "b", None, "c") for job in keyed(3, key)]
    await limit(clock, limit=1)
    await clock.run(store.enqueue, jobs)
    order: list[Any] = []

    for _ in range(12):
        ((job,), _) = await take(claimer)
        order += keys_of([job], jobs)
        await claimer.give_back(settle(job, DONE))

    assert [order[start : start + 4] for start in (0, 4, 8)] == [["a", "b", "c", None]] * 3


async def test_one_batch_is_dealt_out_in_turn(clock, claimer):
    jobs = [*keyed(20, "a"), *keyed(20, "b"), *keyed(2, "c"), *keyed(1, None)]
    await limit(clock, limit=10)
    await clock.run(store.enqueue, jobs)

    claimed = (await take(claimer)).jobs

    counts = Counter(keys_of(claimed, jobs))
    assert (counts["c"], counts[None], counts["a"] + counts["b"], abs(counts["a"] - counts["b"])) == (2, 1, 7, 1)


async def test_what_a_partition_leaves_goes_to_the_others(clock, claimer):
    jobs = [*keyed(100, "a"), *keyed(1, "b"), *keyed(1, "c")]
    await limit(clock, limit=50)
    await clock.run(store.enqueue, jobs)

    assert Counter(keys_of((await take(claimer)).jobs, jobs)) == {"a": 48, "b": 1, "c": 1}


async def test_within_a_partition_the_most_urgent_comes_first(clock, claimer):
    late, urgent = keyed(1, "a")[0], keyed(1, "a", priority=0)[0]
    late = late.replace(priority=5)
    await limit(clock, partition_limit=1)
    await clock.run(store.enqueue, [late, urgent])

    assert [job.id for job in (await take(claimer)).jobs] == [urgent.id]


async def test_a_locked_job_does_not_hold_up_its_partition(clock, claimer, open_database):
    first, second = keyed(2, "a")
    await limit(clock, limit=1)
    await clock.run(store.enqueue, [first, second])
    if not hasattr(clock, "connect"):
        return  # SQLite has one lock, which a claim holds
    with clock.connect() as stranger, stranger.transaction():
        stranger.execute("select 1 from tenuto.jobs where id = %s for update", [first.id])

        assert [job.id for job in (await take(claimer)).jobs] == [second.id]


async def test_jobs_of_no_partition_behind_many_others_start_within_a_second(clock, claimer):
    many, lone = keyed(1500, "a", scheduled_at=NOON - MINUTE), plain(1)
    await limit(clock, limit=1)
    await clock.run(store.enqueue, [*many, *lone])

    async def turn() -> str:
        ((job,), _) = await take(claimer)
        await claimer.give_back(settle(job, DONE))
        return job.id

    clock.now = NOON + SECOND / 2
    first = await turn()  # whoever looked last did so long ago: it looks behind all
    rest = [await turn() for _ in range(3)]
    clock.now = NOON + 2 * SECOND
    rest += [await turn() for _ in range(2)]

    assert lone[0].id in [first, *rest]


async def test_jobs_of_no_partition_have_their_turn_among_many_partitions(clock):
    """Whoever comes when it is time to look behind all others, it is done when their turn has come."""
    claimer = await Claimer(clock).start(DAY)
    await limit(clock, limit=1)
    lone = plain(1)
    await clock.run(
        store.enqueue, [job for nth in range(59) for job in keyed(10, f"{nth:02}", scheduled_at=NOON - MINUTE)]
    )
    await clock.run(store.enqueue, lone)
    claimed: list[str] = []

    for _ in range(60):
        clock.now += 0.3 * SECOND
        ((job,), _) = await take(claimer)
        await claimer.give_back(settle(job, DONE))
        claimed.append(job.id)

    assert lone[0].id in claimed


async def test_after_a_long_look_behind_the_many_ten_times_as_long_passes_until_the_next(clock):
    claimer = await Claimer(clock).start(DAY)
    await limit(clock, limit=2)
    lone = plain(1)
    await clock.run(store.enqueue, [*keyed(300, "a", scheduled_at=NOON - MINUTE), *lone])
    held = limited._Held("default", Limits(2), 0, "", is_overdue=True)
    clock.now = NOON + SECOND / 2
    await clock.run(limited._spend, held, "", [], began=NOON)
    found: dict[float, bool] = {}

    for seconds in (1, 4, 6, 7):
        clock.now = NOON + seconds * SECOND
        jobs = (await take(claimer)).jobs
        await claimer.give_back(*[settle(job, RELEASED) for job in jobs])
        found[seconds] = lone[0].id in [job.id for job in jobs]

    assert found == {1: False, 4: False, 6: False, 7: True}


async def test_a_claim_goes_on_behind_many_partitions_that_are_full(clock, claimer, monkeypatch):
    monkeypatch.setattr(limited, "LOOKED_FURTHER", 3)
    jobs = [job for key in "abcdefghijklmnop" for job in keyed(2, key)]
    await limit(clock, partition_limit=1)
    await clock.run(store.enqueue, jobs)
    claimed = [job for _ in range(8) for job in (await take(claimer, 2)).jobs]

    assert Counter(keys_of(claimed, jobs)) == dict.fromkeys("abcdefghijklmnop", 1)


# ── rates ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bucket_is_full_at_first_and_then_refilled_evenly(clock, claimer):
    await limit(clock, rate=Rate(60, per=MINUTE))
    await clock.run(store.enqueue, plain(200))

    first = await take(claimer)
    clock.now = NOON + 10 * SECOND
    second = await take(claimer)

    assert (len(first.jobs), first.wait, len(second.jobs)) == (60, SECOND, 10)


async def test_a_bucket_holds_no_more_than_its_burst(clock, claimer):
    await limit(clock, rate=Rate(60, per=MINUTE, burst=5))
    await clock.run(store.enqueue, plain(200))

    taken = []
    for seconds in (0, 1, 2, 60):
        clock.now = NOON + seconds * SECOND
        await clock.run(upkeep.beat, [claimer.id], TTL * 3, "{}")
        taken.append(len((await take(claimer)).jobs))

    assert taken == [5, 1, 1, 5]


async def test_a_claim_that_found_nothing_takes_no_token_and_waits_for_none(clock, claimer):
    await limit(clock, rate=Rate(2, per=MINUTE))

    assert await take(claimer) == Taken([])
    await clock.run(store.enqueue, plain(3))
    assert len((await take(claimer)).jobs) == 2


async def test_every_start_takes_a_token(clock, claimer):
    await limit(clock, rate=Rate(2, per=MINUTE))
    await clock.run(store.enqueue, plain(1))
    started = 0

    for _ in range(3):
        for job in (await take(claimer)).jobs:
            started += 1
            await claimer.give_back(settle(job, RELEASED))

    assert started == 2


async def test_a_rate_outlives_the_node_that_used_it_up(clock, claimer):
    await limit(clock, rate=Rate(2, per=MINUTE))
    await clock.run(store.enqueue, plain(5))
    await take(claimer)
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    heir = await Claimer(clock, "node-2").start()

    assert (await take(heir)).jobs == []


async def test_each_partition_has_a_bucket_of_its_own(clock, claimer):
    jobs = [*keyed(5, "a"), *keyed(5, "b"), *keyed(5, None)]
    await limit(clock, partition_rate=Rate(2, per=MINUTE))
    await clock.run(store.enqueue, jobs)

    first = await take(claimer)
    clock.now = NOON + 20 * SECOND
    second = await take(claimer)
    clock.now = NOON + 31 * SECOND
    await clock.run(upkeep.beat, [claimer.id], TTL * 3, "{}")

    assert Counter(keys_of(first.jobs, jobs)) == {"a": 2, "b": 2, None: 2}
    assert (first.wait, second) == (30 * SECOND, Taken([], 10 * SECOND))


async def test_a_partition_without_a_token_waits_and_the_others_do_not(clock, claimer):
    jobs = [*keyed(5, "a"), *keyed(1, "b")]
    await limit(clock, partition_rate=Rate(2, per=MINUTE))
    await clock.run(store.enqueue, jobs)
    await take(claimer)

    more = keyed(3, "b")
    await clock.run(store.enqueue, more)

    assert [job.id for job in (await take(claimer)).jobs] == [more[0].id]


async def test_full_buckets_are_forgotten_and_others_are_not(clock, claimer, tables):
    await limit(clock, partition_rate=Rate(2, per=MINUTE))
    await clock.run(store.enqueue, [*keyed(1, "a"), *keyed(2, "b")])
    await take(claimer)
    clock.now = NOON + 40 * SECOND

    assert await clock.run(limited.prune_rates) == 1
    assert [row["limit_key"] for row in tables.rows("select limit_key from rates")] == ["b"]


async def test_a_changed_rate_holds_at_once(clock, claimer):
    await limit(clock, rate=Rate(1, per=MINUTE))
    await clock.run(store.enqueue, plain(5))
    await take(claimer)
    await limit(clock, rate=Rate(60, per=MINUTE))
    clock.now = NOON + SECOND

    assert len((await take(claimer)).jobs) == 1


@pytest.mark.parametrize("of_each", [False, True], ids=["of the queue", "of each partition"])
async def test_a_clock_that_is_set_back_costs_a_rate_no_more_than_one_bucket(clock, of_each):
    claimer = await Claimer(clock).start(DAY)
    await pace(clock, Rate(60, per=MINUTE), of_each=of_each)
    await clock.run(store.enqueue, keyed(200, "a"))
    clock.now = NOON + 60 * MINUTE
    assert len((await take(claimer)).jobs) == 60

    clock.now = NOON
    behind = await take(claimer)
    clock.now = NOON + 10 * SECOND
    later = await take(claimer)

    assert (behind, len(later.jobs)) == (Taken([], SECOND), 10)


@pytest.mark.parametrize("of_each", [False, True], ids=["of the queue", "of each partition"])
async def test_a_rate_that_is_much_faster_than_the_one_before_holds_at_once(clock, claimer, of_each):
    await pace(clock, Rate(1, per=DAY), of_each=of_each)
    await clock.run(store.enqueue, keyed(200, "a"))
    await take(claimer)

    await pace(clock, Rate(60, per=MINUTE), of_each=of_each)
    first = await take(claimer)
    clock.now = NOON + 10 * SECOND

    assert (first, len((await take(claimer)).jobs)) == (Taken([], SECOND), 10)


async def test_jobs_of_no_partition_are_looked_for_also_when_the_clock_was_set_back(clock):
    claimer = await Claimer(clock).start(DAY)
    clock.now = NOON + 60 * MINUTE
    await limit(clock, limit=2)
    many, lone = keyed(300, "a", scheduled_at=NOON - MINUTE), plain(1)
    await clock.run(store.enqueue, many)
    await claimer.give_back(*[settle(job, DONE) for job in (await take(claimer)).jobs])
    await clock.run(store.enqueue, lone)

    clock.now = NOON

    assert lone[0].id in [job.id for job in (await take(claimer)).jobs]


@pytest.mark.parametrize("of_each", [False, True], ids=["of the queue", "of each partition"])
@pytest.mark.parametrize("seed", range(3))
async def test_the_account_of_tokens_is_exact_whatever_dies_and_is_pruned(clock, tables, seed, of_each):
    """Three nodes take all they can get, one at a time; they die, their rows go, full buckets are forgotten."""
    chance, keys = random.Random(seed), ("a", "b", None)
    said = Rate(chance.randint(2, 9), per=10)
    await pace(clock, said, of_each=of_each)
    await clock.run(store.enqueue, [job for key in keys for job in keyed(400, key)])
    nodes = [await Claimer(clock, f"node-{nth}").start(DAY) for nth in range(3)]
    started = Counter[str | None]()

    for _ in range(60):
        nth = chance.randrange(len(nodes))
        jobs = (await take(nodes[nth])).jobs
        started.update(row["limit_key"] for row in rows_of(tables, jobs))
        await nodes[nth].give_back(*[settle(job, DONE if chance.random() < 0.5 else RELEASED) for job in jobs])
        if chance.random() < 0.2:
            await nodes[nth].die()
            tables.execute("delete from producers where id = ?", nodes[nth].id)
            nodes[nth] = await Claimer(clock, f"node-{nth}").start(DAY)
        await clock.run(limited.prune_rates)
        clock.now += chance.randint(0, said.burst - 1) * timedelta(seconds=10) / said.count
    started.update(row["limit_key"] for row in rows_of(tables, (await take(nodes[0])).jobs))
    due = said.burst + int((clock.now - NOON) / timedelta(seconds=10) * said.count + 1e-6)

    for count in started.values() if of_each else [started.total()]:
        assert due - 1 <= count <= due  # a token's cost is rounded up


def rows_of(tables: Tables, jobs: Sequence[AnyJob]) -> list[dict[str, Any]]:
    """The rows of these jobs."""
    return [row for job in jobs for row in tables.rows("select limit_key from jobs where id = ?", job.id)]


# ── who says what holds ───────────────────────────────────────────────────────────────────────────


async def test_what_an_operator_says_counts_until_it_is_forgotten(clock):
    await limit(clock, limit=3, rate=Rate(60, per=MINUTE))

    asked = await clock.run(limited.ask, "default", {"limit": 5})
    await limit(clock, limit=4)
    kept = await clock.read(limited.limits)
    await clock.run(limited.forget, "default")
    forgotten = await clock.read(limited.limits)

    assert asked == Limits(5, Rate(60, per=MINUTE))
    assert [(one.limits, one.is_asked) for one in (kept["default"], forgotten["default"])] == [
        (asked, True),
        (Limits(4), False),
    ]


async def test_an_operator_lifts_a_limit(clock, claimer):
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(3))

    assert await clock.run(limited.ask, "default", {"limit": None}) == Limits()
    assert len((await take(claimer)).jobs) == 3


async def test_a_queue_that_was_never_limited_can_be(clock, claimer):
    await clock.run(store.enqueue, plain(3))
    await clock.run(limited.ask, "default", {"limit": 2})

    assert len((await take(claimer)).jobs) == 2


async def test_a_poll_says_what_holds(clock):
    await limit(clock, limit=3)

    polled = {queue.name: queue.limits for queue in await clock.read(upkeep.poll, "node", ["default", "other"])}

    assert polled == {"default": Limits(3).encode(), "other": None}


async def test_the_doctor_finds_a_queue_that_runs_more_than_its_limit(clock, claimer, tables):
    await limit(clock, limit=2)
    await clock.run(store.enqueue, plain(3))
    clock.now = NOON + 2 * MINUTE
    await claimer.start(TTL)
    heir = await Claimer(clock, "node-2").start()
    await heir.claim()

    assert await complaints(clock) == {"doctor_limits": [("default", "3 run, and 2 may")]}


# ── at once ───────────────────────────────────────────────────────────────────────────────────────


async def test_claims_at_the_same_time_never_exceed_a_limit(clock, open_database, tables):
    """Eight nodes of two databases' worth of connections take and give back; a count is one look at the table."""
    other = await open_database()
    other.now = NOON
    nodes = [await Claimer(database, f"node-{nth}").start() for nth in range(4) for database in (clock, other)]
    jobs = [job for key in ("a", "b", None) for job in keyed(60, key)]
    await limit(clock, limit=3, partition_limit=2)
    await clock.run(store.enqueue, jobs)
    ended: list[str] = []
    most = Counter[str | None]()

    def look() -> None:
        rows = tables.rows("select limit_key from jobs where state = 'executing'")
        seen = Counter(row["limit_key"] for row in rows)
        for key in seen:
            most[key] = max(most[key], seen[key])
        most["all"] = max(most["all"], seen.total())

    async def work(node: Claimer) -> None:
        while len(ended) < len(jobs):
            taken = (await take(node, 2)).jobs
            look()
            for job in taken:
                await node.give_back(settle(job, DONE))
                ended.append(job.id)

    await asyncio.gather(*map(work, nodes))

    assert len(ended) == len(set(ended)) == len(jobs)
    assert most["all"] <= 3
    assert max(most["a"], most["b"], most[None]) <= 2


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_limits_hold_and_nothing_waits_that_may_start(clock, tables, seed):
    """Jobs come, are claimed by two nodes, end in any way; nodes die; time passes. Each claim is checked for both."""
    chance = random.Random(seed)
    at_once, of_each = chance.randint(1, 6), chance.randint(1, 3)
    await limit(clock, limit=at_once, partition_limit=of_each)
    nodes = [await Claimer(clock, f"node-{nth}").start(DAY) for nth in range(2)]

    for _ in range(60):
        key = chance.choice(["a", "b", "c", None])
        await clock.run(store.enqueue, keyed(chance.randint(0, 4), key, priority=chance.randint(0, 2)))
        node = chance.choice(nodes)
        for job in list(node.held.values()):
            outcome = chance.choice([None, DONE, RELEASED, Snooze(5), Failed(ValueError())])
            if outcome is not None:
                await node.give_back(settle(job, outcome))
        if chance.random() < 0.1:
            await node.die()
            await clock.run(upkeep.rescue, judge=True)
            nodes[nodes.index(node)] = await Claimer(clock, f"node-{seed}").start(DAY)
        if chance.random() < 0.5 and clock.now is not None:
            clock.now += MINUTE
            await clock.run(upkeep.stage)

        demand = chance.randint(1, 5)
        taken = (await take(chance.choice(nodes), demand)).jobs

        running, due = counted(tables, "executing"), counted(tables, "available")
        assert running.total() <= at_once
        assert max(running.values(), default=0) <= of_each
        may_start = [key for key in due if due[key] and running[key] < of_each]
        assert len(taken) == demand or running.total() == at_once or not may_start


def counted(tables: Tables, state: str) -> Counter[str | None]:
    """The jobs in a state by their partitions."""
    rows = tables.rows("select limit_key, suspicions from jobs where state = ?", state)
    return Counter(row["limit_key"] for row in rows if state == "executing" or not row["suspicions"])


@only_on_postgres
async def test_a_session_that_sleeps_with_the_limits_in_hand_is_ended(clock, claimer):
    """As a process that was stopped in the middle of a claim."""
    await limit(clock, limit=1)
    await clock.run(store.enqueue, plain(1))
    line = clock.connect()
    line.execute("begin")
    line.execute(clock.statements["lock_limits"].text, {"queue": "default", "patience": "2s", "now": None})
    began = time.monotonic()
    jobs: list[AnyJob] = []

    while not jobs and time.monotonic() - began < 20:
        with suppress(StorageBusy):
            jobs = (await take(claimer)).jobs

    assert len(jobs) == 1
    line.close()


async def test_what_was_claimed_comes_back_as_any_claim_does(clock, claimer):
    await limit(clock, limit=1)
    await clock.run(store.enqueue, keyed(1, "a"))

    ((job,), _) = await take(claimer)

    assert await stored(clock, job) == job
