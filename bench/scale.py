"""Tenuto at size: large workflows, a long backlog, memory, idleness, and several processes on one database."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from bench import deeds
from bench.deeds import (
    PATIENCE,
    QUEUE,
    Counted,
    check,
    check_workflows,
    drained,
    enqueue_all,
    fill,
    make_tables,
    noop,
    paused,
    spread,
    started,
    working,
)
from bench.protocol import Asked, Figures, WentWrong, rate
from tenuto import Tenuto, Workflow, telemetry
from tests.storage.tables import look_into

STEPS_AROUND: Final = 3  # of a fan-out: its group, the step that computes it, and the one that joins it
SMALL: Final = 2_000  # steps: below it a measurement is repeated
ROUND: Final = 10_000  # jobs between two looks at the memory
HANDFUL: Final = 50
SETTLE: Final = 1.0  # seconds after the start, before idleness counts
SAMPLE_EVERY: Final = 0.02  # seconds between two looks at who waits for a lock


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


async def fanin(asked: Asked) -> Figures:
    """So many steps, joined `width` at a time: the microseconds that one edge takes."""
    flows = [_joined(asked.width) for _ in range(max(1, asked.jobs // asked.width))]
    edges = asked.width * len(flows)
    async with paused(asked) as app:
        await enqueue_all(app, flows)
        with Counted("workflow.finished") as finished, Counted("job.gated") as gated:
            began = time.perf_counter()
            await app.queue(QUEUE).resume()
            await finished.reach(len(flows))
            took = time.perf_counter() - began
    with look_into(asked.url) as tables:  # a join's epoch is how often it was claimed
        joins = "select max(epoch) as most from jobs where has_needs"
        released = int(tables.rows(joins)[0]["most"]) + gated.count
    checked = await check_workflows(asked, len(flows), edges + len(flows))
    return {"per_edge": round(took / edges * 1e6, 3), "releases_each": released, **checked}


def _joined(width: int) -> Workflow:
    flow = Workflow()
    names = [f"part-{n}" for n in range(width)]
    for n, name in enumerate(names):
        flow.add(name, noop.new(n))
    flow.add("join", noop.new(width), deps=names)
    return flow


async def fanout(asked: Asked) -> Figures:
    """N jobs from when they are made to when all are done: plain ones, and as a fan-out that a step computes.

    The fan-out is begun by one step and joined by another. Both are done once before, for a tenth of the jobs.
    """
    async with working(asked) as app:
        few = asked.jobs // 10
        await _plain(app, few)
        await _fanned_out(app, few)
        plain = await _plain(app, asked.jobs)
        fanned = await _fanned_out(app, asked.jobs)
    figures = {"plain": round(plain, 3), "fanned": round(fanned, 3), "times": round(fanned / plain, 3)}
    steps = 2 * STEPS_AROUND + 2 * (few + asked.jobs)
    return figures | await check_workflows(asked, 2, steps)


async def _plain(app: Tenuto, count: int) -> float:
    with Counted("queue.ack") as acked:
        began = time.perf_counter()
        await app.enqueue([noop.new(n) for n in range(count)])
        await acked.reach(count)
        return time.perf_counter() - began


async def _fanned_out(app: Tenuto, count: int) -> float:
    with Counted("workflow.finished") as finished:
        began = time.perf_counter()
        flow = Workflow()
        flow.add("join", noop.new(count), deps=flow.add_graft("fan", spread.new(count)))
        await app.enqueue(flow)
        await finished.reach(1)
        return time.perf_counter() - began


async def large(asked: Asked) -> Figures:
    """A workflow of N steps in layers, each with two deps: seconds to store it and to run it, microseconds a step."""
    repeats = 1 if asked.jobs >= SMALL else 5
    timed: list[tuple[float, float]] = []
    async with paused(asked) as app:
        for _ in range(repeats):
            timed.append(await _large(app, _layered(asked.jobs, asked.width)))
            with Counted("queue.signal") as signals:
                await app.queue(QUEUE).pause()
                await signals.reach(1)
    stored, ran = (statistics.median(one) for one in zip(*timed, strict=True))
    per_step = statistics.median(sum(both) for both in timed) / asked.jobs * 1e6
    figures = {"stored": round(stored, 3), "ran": round(ran, 3), "per_step": round(per_step, 1), "steps": asked.jobs}
    return figures | await check_workflows(asked, repeats, repeats * asked.jobs)


async def _large(app: Tenuto, flow: Workflow) -> tuple[float, float]:
    """Seconds to validate and store it, and seconds to run it."""
    began = time.perf_counter()
    await app.enqueue(flow)
    stored = time.perf_counter()
    with Counted("workflow.finished") as finished:
        await app.queue(QUEUE).resume()
        await finished.reach(1)
    return stored - began, time.perf_counter() - stored


def _layered(steps: int, width: int) -> Workflow:
    """Layers of `width` steps; each step needs the one before it and that one's neighbour."""
    flow = Workflow()
    for n in range(steps):
        layer, place = divmod(n, width)
        before = (layer - 1) * width
        deps = () if not layer else (str(before + place), str(before + (place + 1) % width))
        flow.add(str(n), noop.new(n), deps=deps)
    return flow


# ── a long backlog ────────────────────────────────────────────────────────────────────────────────


async def backlog(asked: Asked) -> Figures:
    """N jobs drained of `stored` ones; where fewer than N are stored, in rounds of that many."""
    rounds = max(1, asked.jobs // asked.stored)
    share = min(asked.jobs, asked.stored)
    took = 0.0
    for nth in range(rounds):
        async with paused(asked) as app:
            await fill(app, asked.stored, nth * asked.stored)
            took += await drained(app, share)
    return {"rate": rate(rounds * share, took), "stored": asked.stored, **await _check_backlog(asked, rounds * share)}


async def _check_backlog(asked: Asked, drained_jobs: int) -> dict[str, bool]:
    """Nothing was lost: what ran beyond the count is part of what completed, and the rest lies there untouched."""
    with look_into(asked.url) as tables:
        counted = tables.rows("select state, count(*) as jobs from jobs group by state")
    found = {row["state"]: row["jobs"] for row in counted}
    whole = max(asked.stored, drained_jobs)
    completed = found.get("completed", 0)
    if sum(found.values()) != whole or completed < drained_jobs:
        raise WentWrong(f"of {whole} jobs, {drained_jobs} drained, there are {found}")
    return await check(asked, {"completed": completed, "available": whole - completed})


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


async def memory(asked: Asked) -> Figures:
    """The kilobytes that one job in flight takes, with `limit` of them."""
    async with paused(asked) as app:
        await _warm_up(app)
        for first in range(0, asked.limit, HANDFUL):  # few at once: what an enqueue frees would hide what a job takes
            await app.enqueue([deeds.hold.new(n) for n in range(first, min(first + HANDFUL, asked.limit))])
        before = _resident()
        await app.queue(QUEUE).resume()
        async with asyncio.timeout(PATIENCE):
            while len(started) < asked.limit:  # noqa: ASYNC110 - an event at each start would be measured too
                await asyncio.sleep(0.05)
        after = _resident()
        with Counted("queue.ack") as acked:
            deeds.released.set()
            await acked.reach(asked.limit)
    per_job = (after - before) / asked.limit / 1000
    return {"per_job": round(per_job, 2), **await check(asked, {"completed": asked.limit + HANDFUL})}


async def _warm_up(app: Tenuto) -> None:
    """Run a handful, so that what the first job needs is there: connections, imports."""
    await fill(app, HANDFUL)
    await drained(app, HANDFUL)
    with Counted("queue.signal") as signals:
        await app.queue(QUEUE).pause()
        await signals.reach(1)


async def growth(asked: Asked) -> Figures:
    """How much the process grew over N jobs, after the first round of them, in percent."""
    rounds = max(2, asked.jobs // ROUND)
    sizes: list[int] = []
    async with paused(asked) as app:
        for nth in range(rounds):
            await fill(app, ROUND, nth * ROUND)
            await drained(app, ROUND)
            sizes.append(_resident())
            with Counted("queue.signal") as signals:
                await app.queue(QUEUE).pause()
                await signals.reach(1)
    grown = (sizes[-1] - sizes[0]) / sizes[0] * 100
    figures = {"growth": round(grown, 2), "first_mb": round(sizes[0] / 1e6, 1), "last_mb": round(sizes[-1] / 1e6, 1)}
    return figures | {"jobs": rounds * ROUND, **await check(asked, {"completed": rounds * ROUND})}


def _resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


# ── idleness ──────────────────────────────────────────────────────────────────────────────────────


async def idle(asked: Asked) -> Figures:
    """Ten queues with nothing to do: queries a second, and percent of a core."""
    await make_tables(asked.url)
    with _statements() as counted:
        async with Tenuto(asked.url, queues={f"queue-{n}": asked.limit for n in range(10)}):
            await asyncio.sleep(SETTLE)
            before, cpu = counted.total(), time.process_time()
            await asyncio.sleep(asked.seconds)
            spent = time.process_time() - cpu
            asked_of_it = counted.total() - before
    figures: Figures = {"cpu": round(spent / asked.seconds * 100, 2), **await check(asked, {})}
    return figures if asked.url.startswith("sqlite") else figures | {"queries": round(asked_of_it / asked.seconds, 2)}


@contextmanager
def _statements() -> Iterator[Counter[str]]:
    """Counts the statements that this process sends to PostgreSQL, whichever connection they take."""
    counted: Counter[str] = Counter()
    kept = {kind: kind.execute for kind in (psycopg.Cursor, psycopg.AsyncCursor)}
    for kind, execute in kept.items():
        setattr(kind, "execute", _counting(execute, counted))  # noqa: B010 - mypy refuses to assign a method
    try:
        yield counted
    finally:
        for kind, execute in kept.items():
            setattr(kind, "execute", execute)  # noqa: B010


def _counting(execute: Any, counted: Counter[str]) -> Any:
    def counting(*args: Any, **kwargs: Any) -> Any:
        counted["statements"] += 1
        return execute(*args, **kwargs)

    return counting


# ── several processes ─────────────────────────────────────────────────────────────────────────────


async def processes(asked: Asked) -> Figures:
    """N jobs drained by so many node processes on one database, and how much of their time went into lock waits."""
    await make_tables(asked.url)
    async with Tenuto(asked.url) as app:
        await app.queue(QUEUE).pause()
        await fill(app, asked.jobs)
        nodes = [await _spawn(asked) for _ in range(asked.processes)]
        watch = asyncio.create_task(_waits(asked.url))
        try:
            await asyncio.gather(*(_line(node) for node in nodes))  # each tells when it is up
            began = time.monotonic()
            await app.queue(QUEUE).resume()
            ended = await _all_settled(nodes, asked.jobs)
        finally:
            watch.cancel()
            await _end(nodes)
    waits = (await asyncio.gather(watch, return_exceptions=True))[0]
    figures: Figures = {"rate": rate(asked.jobs, ended - began), **await check(asked, {"completed": asked.jobs})}
    return figures | (waits if isinstance(waits, dict) else {})


async def node(asked: Asked) -> Figures:
    """One of those processes: works until its standard input ends, and prints each ack as it comes."""

    def tell(event: str, payload: Mapping[str, Any]) -> None:
        print(json.dumps([payload["count"] - payload["stale"], time.monotonic()]), flush=True)

    telemetry.attach(tell, "queue.ack")
    async with Tenuto(asked.url, queues={QUEUE: asked.limit}):
        print(json.dumps([0, time.monotonic()]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    telemetry.detach(tell)
    return {}


async def _spawn(asked: Asked) -> Process:
    arguments = (str(Path(__file__).with_name("on_tenuto.py")), "node", "--url", asked.url, "--limit", str(asked.limit))
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=os.environ)


async def _line(node: Process) -> tuple[int, float]:
    assert node.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line = await node.stdout.readline()
    if not line:
        raise WentWrong("a node process ended by itself")
    count, at = json.loads(line)
    return int(count), float(at)


async def _all_settled(nodes: list[Process], jobs: int) -> float:
    """The instant at which the last of so many jobs was settled, by the clock that all processes share."""
    left, ended = jobs, 0.0
    reading = {asyncio.create_task(_line(node)): node for node in nodes}
    try:
        while left:
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                count, at = task.result()
                left, ended = left - count, max(ended, at)
                node = reading.pop(task)
                reading[asyncio.create_task(_line(node))] = node
    finally:
        for task in reading:
            task.cancel()
    return ended


async def _end(nodes: list[Process]) -> None:
    for node in nodes:
        assert node.stdin is not None
        node.stdin.close()
    ending = [asyncio.create_task(node.communicate()) for node in nodes]
    _, late = await asyncio.wait(ending, timeout=30)
    for node, task in zip(nodes, ending, strict=True):
        if task in late:
            node.kill()
            await task


async def _waits(url: str) -> Figures:
    """Until cancelled: the percentage of busy sessions that wait for a lock, from many looks."""
    if url.startswith("sqlite"):
        return {}
    busy = waiting = 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        try:
            while True:
                cursor = await connection.execute(
                    "select count(*), count(*) filter (where wait_event_type = 'Lock') from pg_stat_activity"
                    " where state = 'active' and pid <> pg_backend_pid() and datname = current_database()"
                )
                row = await cursor.fetchone()
                busy, waiting = busy + (row[0] if row else 0), waiting + (row[1] if row else 0)
                await asyncio.sleep(SAMPLE_EVERY)
        except asyncio.CancelledError:
            return {"lock_share": round(100 * waiting / max(1, busy), 2), "looks": busy}
