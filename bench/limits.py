"""Tenuto's limits, over real processes: held, a freed slot, a dead node, a long backlog beside one job, and rates."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.deeds import CHUNK, PATIENCE, QUEUE, check, drained, fill, make_tables, noop, paused
from bench.protocol import Asked, Figures, WentWrong, latencies, rate
from tenuto import Rate, Tenuto
from tenuto.job import Job
from tenuto.limits import Limits
from tenuto.outcome import DONE, settle
from tenuto.storage import limited, store
from tests.conftest import database_at
from tests.kit import eventually, kill
from tests.storage.build import DAY, Claimer
from tests.storage.tables import look_into
from tests.stories.turmoil import looking, torment
from tests.stories.workers import Crew, Line, linger, share

SEED: Final = 4
SLOTS: Final = 20
PROCESSES: Final = 4
BATCH: Final = 10  # jobs in a claim
MANY: Final = 1  # an account
LONE: Final = 2  # another
UNKNOWN: Final = {"unknown": "yes"}  # as on another machine: its death is seen by its lease alone
HUNDRED: Final = Rate(100, per=1)
SHARES: Final = Rate(6, per=60, burst=2)  # of each partition; a thousand of them are a hundred a second


@asynccontextmanager
async def _crew(asked: Asked) -> AsyncIterator[tuple[Tenuto, Crew]]:
    """An app that only asks, and processes to be started, which end with it; their log is in this folder."""
    await make_tables(asked.url)
    async with Tenuto(asked.url) as app:
        with Crew(asked.url, Path.cwd()) as crew:
            yield app, crew


async def _nodes(app: Tenuto, count: int) -> None:
    async def are_there() -> bool:
        return len((await app.health()).nodes) >= count

    await eventually(are_there, within=60)


async def _completed(app: Tenuto, jobs: int) -> None:
    async def are_done() -> bool:
        return (await app.counts()).get(QUEUE, {}).get("completed") == jobs

    await eventually(are_done, within=PATIENCE)


def _instants(url: str, which: str, where: str = "state = 'completed'") -> list[float]:
    """A column of instants of jobs, in their order, as seconds."""
    with look_into(url) as tables:
        found = [row[which] for row in tables.rows(f"select {which} from jobs where {where}")]
    return sorted(one.timestamp() if isinstance(one, datetime) else one / 1e6 for one in found)


# ── how many at once ──────────────────────────────────────────────────────────────────────────────


async def held(asked: Asked) -> Figures:
    """A limit of three over four processes that die, with jobs that fail, snooze and are cancelled, while the limit
    moves: the most rows that were executing, in looks at the table and by its records."""
    async with _crew(asked) as (app, crew):
        found = await torment(app, crew, asked.url, asked.jobs, SEED)
        ill = [finding.rule for finding in await app.check() if not finding.is_well]
    most = max(found.looks.at_once, found.recorded.at_once, found.overlap)
    if most > asked.limit or found.recorded.excess or found.looks.of_a_partition > 2 or ill:
        raise WentWrong(f"{most} ran at once, {found.recorded.excess} starts came too early, the doctor says {ill}")
    blows = {name: found.blows[name] for name in ("kill", "cancelled", "limit")}
    return {"most": most, "looks": found.looks.times, "starts": found.recorded.starts, **blows}


async def freed(asked: Asked) -> Figures:
    """From the end of a job to the start of the next one in its place, under a limit of three over four processes."""
    async with _crew(asked) as (app, crew):
        await app.queue(QUEUE).limit(asked.limit)
        for _ in range(PROCESSES):
            crew.work(slots=SLOTS)
        await _nodes(app, PROCESSES)
        with looking(asked.url) as looks:
            await app.enqueue([linger.new(n, 0.02 + n % 7 * 0.005) for n in range(asked.jobs)])
            await _completed(app, asked.jobs)
    if looks.at_once > asked.limit:
        raise WentWrong(f"{looks.at_once} ran at once")
    ended, began = (_instants(asked.url, which) for which in ("finished_at", "attempted_at"))
    waits = [start - end for end, start in zip(ended, began[asked.limit :], strict=False)]
    return latencies([max(0.0, wait) for wait in waits]) | await check(asked, {"completed": asked.jobs})


async def died(asked: Asked) -> Figures:
    """A node is killed with the whole limit in its hands: seconds beyond its lease until another runs those jobs."""
    late: list[float] = []
    async with _crew(asked) as (app, crew):
        await app.queue(QUEUE).limit(asked.limit)
        jobs = 0
        for nth in range(asked.jobs):
            name, heir_name = f"victim-{nth}", f"heir-{nth}"
            victim = crew.work(lease=asked.seconds, node=name, **UNKNOWN)
            await app.queue(QUEUE).pause(node=heir_name)
            heir = crew.work(lease=asked.seconds, node=heir_name, **UNKNOWN)
            await _nodes(app, 2)
            await app.enqueue([linger.new(jobs + n, 0.2) for n in range(3 * asked.limit)])
            jobs += 3 * asked.limit
            await crew.halt(victim, holding=asked.limit)
            await app.queue(QUEUE).resume(node=heir_name)
            orphans = crew.log.running(victim.pid)
            kill(victim)
            died_at = crew.now()
            await _completed(app, jobs)
            late.append(max(_begun_again(crew.log.lines("begin"), orphans, heir.pid)) - died_at - asked.seconds)
            kill(heir)
    return {"late": round(max(late), 3), "p50": round(median(late), 3), "deaths": len(late)}


def _begun_again(lines: Sequence[Line], jobs: set[int], pid: int) -> list[float]:
    found = {line.nth: line.at for line in lines if line.nth in jobs and line.pid == pid}
    if found.keys() != jobs:
        raise WentWrong(f"of {len(jobs)} jobs that a dead node held, {len(found)} ran again")
    return list(found.values())


# ── partitions ────────────────────────────────────────────────────────────────────────────────────


async def beside(asked: Asked) -> Figures:
    """From enqueue to start of one job after the other, of an account of their own, beside `stored` of another's."""
    async with _crew(asked) as (app, crew):
        await app.queue(QUEUE).limit(asked.limit)
        for first in range(0, asked.stored, CHUNK):
            await app.enqueue([share.new(n, MANY, 0.01) for n in range(first, min(first + CHUNK, asked.stored))])
        for _ in range(2):
            crew.work(slots=SLOTS)
        await _nodes(app, 2)
        waits: list[float] = []
        for n in range(asked.jobs):
            made = await app.enqueue(share.new(-n - 1, LONE, 0.0))
            await eventually(partial(_has_ended, app, made.id))
            one = await app.fetch(made)
            assert one.attempted_at is not None
            assert one.inserted_at is not None
            waits.append((one.attempted_at - one.inserted_at).total_seconds())
        left = (await app.counts())[QUEUE].get("available", 0)
    if left < asked.stored / 4:
        raise WentWrong(f"only {left} of the many were left at the end: the lone ones had nothing beside them")
    return latencies(waits) | {"left": left}


async def _has_ended(app: Tenuto, id: str) -> bool:
    return (await app.fetch(id)).finished_at is not None


# ── how many in a time ────────────────────────────────────────────────────────────────────────────


async def paced(asked: Asked) -> Figures:
    """A rate of a hundred a second over four processes, one of which dies: how far the starts of the first minute are
    from six thousand, in percent, with the burst of a hundred."""
    jobs = round(asked.seconds * HUNDRED.count * 1.2)
    made = [linger.new(n, 0.0) for n in range(jobs)]
    starts = await _starts(asked, lambda app: app.queue(QUEUE).limit(rate=HUNDRED), made)
    wished = HUNDRED.count * asked.seconds
    most = max(_within(starts, start, asked.seconds) for start in starts)
    if most > wished + HUNDRED.burst + 1:
        raise WentWrong(f"{most} started within {asked.seconds:.0f} s")
    found = _within(starts, starts[0], asked.seconds)
    later = _within(starts, starts[HUNDRED.burst], asked.seconds)
    return {"off": _percent(found, wished), "steady": _percent(later, wished), "starts": found}


async def shares(asked: Asked) -> Figures:
    """A thousand partitions, six a minute of each: how far the starts of the first minute are from six thousand, and
    the most of any one partition in any minute."""
    each = round(asked.seconds / 10) + 2 * SHARES.burst
    accounts = asked.jobs
    jobs = [share.new(n, n % accounts, 0.0) for n in range(accounts * each)]
    starts = await _starts(asked, lambda app: app.queue(QUEUE).limit(partition_rate=SHARES), jobs)
    wished = accounts * (asked.seconds / 10 + SHARES.burst - 1)
    with look_into(asked.url) as tables:
        rows = tables.rows("select limit_key, attempted_at from jobs where attempted_at is not null")
    first = _within(starts, starts[0], asked.seconds)
    keys = Counter(row["limit_key"] for row in rows)
    took = starts[-1] - starts[0]
    most = max(keys.values())
    if most > took / 10 + SHARES.burst:
        raise WentWrong(f"{most} of one partition started within {took:.1f} s")
    return {"off": _percent(first, wished), "starts": first, "most": most, "took": round(took, 1)}


async def _starts(asked: Asked, say: Callable[[Tenuto], Any], jobs: Sequence[Job[Any, Any]]) -> list[float]:
    """When jobs started, while four processes work for the seconds and some more, and one of them dies half-way."""
    async with _crew(asked) as (app, crew):
        await say(app)
        for first in range(0, len(jobs), CHUNK):
            await app.enqueue(jobs[first : first + CHUNK])
        processes = [crew.work(slots=SLOTS) for _ in range(PROCESSES)]
        await eventually(lambda: crew.log.lines("begin"), within=60)
        began = time.monotonic()
        await asyncio.sleep(asked.seconds / 2)
        kill(processes[0])
        await asyncio.sleep(max(0.0, began + asked.seconds * 1.1 - time.monotonic()))
    return _instants(asked.url, "attempted_at", "attempted_at is not null")


def _within(starts: Sequence[float], begin: float, seconds: float) -> int:
    return bisect_left(starts, begin + seconds) - bisect_left(starts, begin)


def _percent(found: float, wished: float) -> float:
    return round(abs(found - wished) / wished * 100, 2)


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────


async def capped(asked: Asked) -> Figures:
    """As `drain`, from a queue whose limit over all nodes is as high as its slots."""
    async with paused(asked) as app:
        await app.queue(QUEUE).limit(asked.limit)
        await fill(app, asked.jobs)
        took = await drained(app, asked.jobs)
    return {"rate": rate(asked.jobs, took), **await check(asked, {"completed": asked.jobs})}


async def claims(asked: Asked) -> Figures:
    """One claim of ten jobs, with a limit, where `stored` jobs wait in `width` partitions."""
    await make_tables(asked.url)
    took: list[float] = []
    database = database_at(asked.url)
    await database.open()
    try:
        for first in range(0, asked.stored, CHUNK):
            numbers = range(first, first + CHUNK)
            jobs = [noop.new(n).replace(partition=f"{n % asked.width:08}") for n in numbers]
            await database.run(store.enqueue, jobs)
        await database.run(limited.configure, {QUEUE: Limits(asked.limit)})
        claimer = await Claimer(database).start(DAY)
        for _ in range(asked.jobs):
            began = time.perf_counter()
            taken = await database.run(limited.claim, QUEUE, BATCH, claimer.id, claimer.node)
            took.append(time.perf_counter() - began)
            await claimer.give_back(*[settle(job, DONE) for job in taken.jobs])
    finally:
        await database.close()
    run = BATCH * asked.jobs
    return latencies(took) | await check(asked, {"completed": run, "available": asked.stored - run})
