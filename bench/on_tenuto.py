"""Tenuto itself, as a user has it: every feature in its place, telemetry on, nothing switched off for speed."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import tenuto
from bench import limits, scale
from bench.deeds import (
    CHUNK,
    QUEUE,
    Counted,
    check,
    check_workflows,
    diamond,
    drained,
    echo,
    enqueue_all,
    fill,
    five,
    five_others,
    live,
    make_tables,
    noop,
    paused,
    stamp,
    started,
    working,
)
from bench.pinned import pinned
from bench.protocol import Asked, Figures, Scenario, WentWrong, latencies, pause_of_a_user, rate, serve
from tenuto import Job, Tenuto
from tenuto.cli.work import spare_the_collector
from tests.storage.tables import look_into

TICK: Final = 0.01  # seconds between two enqueues of an open load
KILOBYTE: Final = "x" * 1000


async def bulk(asked: Asked) -> Figures:
    """N jobs made and stored, 5,000 in each enqueue."""
    await make_tables(asked.url)
    async with Tenuto(asked.url) as app:
        began = time.perf_counter()
        await fill(app, asked.jobs)
        took = time.perf_counter() - began
    return {"rate": rate(asked.jobs, took), **await check(asked, {"available": asked.jobs})}


async def single(asked: Asked) -> Figures:
    """One job after the other, each awaited until it is on the disk."""
    await make_tables(asked.url)
    took: list[float] = []
    async with Tenuto(asked.url) as app:
        for n in range(asked.jobs):
            began = time.perf_counter()
            await app.enqueue(noop.new(n))
            took.append(time.perf_counter() - began)
    figures = {"rate": rate(asked.jobs, sum(took)), **latencies(took)}
    return figures | await check(asked, {"available": asked.jobs})


async def callers(asked: Asked) -> Figures:
    """N jobs stored by so many callers as the limit says, each of which awaits one enqueue after the other."""
    await make_tables(asked.url)
    each = asked.jobs // asked.limit

    async def call() -> None:
        for n in range(each):
            await app.enqueue(noop.new(n))

    async with Tenuto(asked.url) as app:
        began = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(asked.limit)))
        took = time.perf_counter() - began
    return {"rate": rate(each * asked.limit, took), **await check(asked, {"available": each * asked.limit})}


async def drain(asked: Asked) -> Figures:
    """N no-op jobs worked off; only from the word `resume` on counts."""
    return await _worked_off(asked, noop.new)


async def featured(asked: Asked) -> Figures:
    """As `drain`, of jobs with five features."""
    return await _worked_off(asked, five.new)


async def chained(asked: Asked) -> Figures:
    """As `featured`, with a chain and a hook among the five; each job is a chain of its own."""
    return await _worked_off(asked, five_others.new)


async def _worked_off(asked: Asked, new: Callable[[int], Job[Any, Any]]) -> Figures:
    async with paused(asked) as app:
        await fill(app, asked.jobs, new=new)
        took = await drained(app, asked.jobs)
    return {"rate": rate(asked.jobs, took), **await check(asked, {"completed": asked.jobs})}


async def start(asked: Asked) -> Figures:
    """From just before enqueue to the first line of the job, on an idle worker in the same process."""
    took: list[float] = []
    async with working(asked) as app:
        with Counted("queue.ack") as acked:
            for n in range(asked.jobs):
                await asyncio.sleep(pause_of_a_user())
                began = time.perf_counter()
                await app.enqueue(stamp.new(n))
                await acked.reach(n + 1)
                took.append(started[n] - began)
    return latencies(took) | await check(asked, {"completed": asked.jobs})


async def nolisten(asked: Asked) -> Figures:
    """As `start`, enqueued by another app, and the worker has no line on which it would hear of it."""
    took: list[float] = []
    async with working(asked, listen=False), Tenuto(asked.url) as elsewhere:
        with Counted("queue.ack") as acked:
            for n in range(asked.jobs):
                await asyncio.sleep(pause_of_a_user())
                began = time.perf_counter()
                await elsewhere.enqueue(stamp.new(n))
                await acked.reach(n + 1)
                took.append(started[n] - began)
    return latencies(took) | await check(asked, {"completed": asked.jobs})


async def relay(asked: Asked) -> Figures:
    """From just before the job is relayed until its value is there, on an idle worker in the same process."""
    took: list[float] = []
    async with working(asked) as app:
        for n in range(asked.jobs):
            await asyncio.sleep(pause_of_a_user())
            began = time.perf_counter()
            value = await (await app.relay(echo.new(n))).result()
            took.append(time.perf_counter() - began)
            if value != n:
                raise WentWrong(f"the answer of job {n} is {value}")
    return latencies(took) | await check(asked, {"completed": asked.jobs})


async def open(asked: Asked) -> Figures:
    """Jobs come at a fixed rate, whatever the worker does; each counts from its own tick."""
    jobs = round(asked.rate * asked.seconds)
    due_at: list[float] = []
    async with working(asked) as app:
        with Counted("queue.ack") as acked:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as enqueues:  # it lets go of what was stored: nobody keeps all those jobs
                for tick in range(1, round(asked.seconds / TICK) + 1):
                    await asyncio.sleep(max(0.0, began + tick * TICK - time.perf_counter()))
                    until = min(jobs, round(tick * TICK * asked.rate))
                    if batch := [stamp.new(n) for n in range(len(due_at), until)]:
                        due_at += [began + tick * TICK] * len(batch)
                        enqueues.create_task(app.enqueue(batch))
            await acked.reach(jobs)
    figures = latencies([started[n] - due_at[n] for n in range(jobs)])
    return figures | {"rate": asked.rate, **await check(asked, {"completed": jobs})}


async def life(asked: Asked) -> Figures:
    """N jobs with a kilobyte of args and a millisecond of waiting, recorded and encrypted."""
    async with paused(asked) as app:
        for begin in range(0, asked.jobs, CHUNK):
            await app.enqueue([live.new(KILOBYTE) for _ in range(begin, min(begin + CHUNK, asked.jobs))])
        took = await drained(app, asked.jobs)
    return {"rate": rate(asked.jobs, took), **await check(asked, {"completed": asked.jobs})}


async def diamonds(asked: Asked) -> Figures:
    """N workflows of four steps, each step with the results of its deps."""
    async with paused(asked) as app:
        await enqueue_all(app, [diamond(n) for n in range(asked.jobs)])
        with Counted("workflow.finished") as finished:
            began = time.perf_counter()
            await app.queue(QUEUE).resume()
            await finished.reach(asked.jobs)
            took = time.perf_counter() - began
    with look_into(asked.url) as tables:
        ends = sorted(int(row["result"]) for row in tables.rows("select result from workflow_nodes where name = 'd'"))
    if ends != [2 * n + 2 for n in range(asked.jobs)]:
        raise WentWrong("the results of the diamonds are not what they should be")
    return {"rate": rate(asked.jobs, took), **await check_workflows(asked, asked.jobs, 4 * asked.jobs)}


async def mixed(asked: Asked) -> Figures:
    """N jobs stored in batches of a hundred while the same process works them off."""
    async with working(asked) as app:
        with Counted("queue.ack") as acked:
            began = time.perf_counter()
            for first in range(0, asked.jobs, 100):
                await app.enqueue([noop.new(n) for n in range(first, min(first + 100, asked.jobs))])
            await acked.reach(asked.jobs)
            took = time.perf_counter() - began
    return {"rate": rate(asked.jobs, took), **await check(asked, {"completed": asked.jobs})}


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def _run(scenario: Callable[[Asked], Coroutine[Any, Any, Figures]], asked: Asked) -> Figures:
    return asyncio.run(scenario(asked))


OFFERED: Final = (
    *(bulk, single, callers, drain, featured, chained, start, relay, nolisten, open, life, diamonds, mixed),
    *(scale.fanin, scale.fanout, scale.large, scale.backlog, scale.memory, scale.growth, scale.idle, scale.processes),
    scale.node,
    *(limits.held, limits.freed, limits.died, limits.beside, limits.paced, limits.shares, limits.capped, limits.claims),
    pinned,
)
DESCRIBED: Final = {
    "name": "tenuto",
    "version": tenuto.__version__,
    "database": "postgresql|sqlite",
    "setting": "one node process, one queue of L slots, the collector as `tenuto work` sets it, the rest as it comes",
    "durability": f"fsync at every commit; SQLite {sqlite3.sqlite_version}: WAL, synchronous=FULL",
    "semantics": "at least once, acks fenced by epoch, jobs and results kept after they ended",
}


def main() -> int:
    """Do what the command line asks."""
    spare_the_collector()
    logging.getLogger("tenuto").setLevel(logging.ERROR)  # the check has a process beside ours, and SQLite warns
    scenarios: dict[str, Scenario] = {scenario.__name__: partial(_run, scenario) for scenario in OFFERED}
    return serve(scenarios, DESCRIBED, {})


if __name__ == "__main__":
    sys.exit(main())
