"""Tenuto beside a transaction that never ends: no vacuum removes a dead row, and claims must not walk over them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

from bench.deeds import Counted, check, noop, working
from bench.protocol import Asked, Figures, WentWrong
from tenuto import telemetry

TICK: Final = 0.05  # seconds between two enqueues
EDGE: Final = 0.1  # the share of the time that counts as its start, and as its end
MOST: Final = 30.0  # seconds


async def pinned(asked: Asked) -> Figures:
    """So many jobs a second come and are worked off; the median claim of the first tenth, and of the last."""
    claims: list[tuple[float, float]] = []  # when it ended, and how long it took

    def note(event: str, payload: Mapping[str, Any]) -> None:
        claims.append((time.perf_counter(), payload["duration"]))

    jobs = round(asked.rate * asked.seconds)
    async with working(asked) as app, _old_snapshot(asked.url):
        telemetry.attach(note, "queue.claim")
        with Counted("queue.ack") as acked:
            began, made = time.perf_counter(), 0
            while made < jobs:
                await asyncio.sleep(max(0.0, began + made / asked.rate + TICK - time.perf_counter()))
                due = min(jobs, round((time.perf_counter() - began) * asked.rate))
                await app.enqueue([noop.new(n) for n in range(made, due)])
                made = due
            await acked.reach(jobs)
        telemetry.detach(note)
    edge = min(asked.seconds * EDGE, MOST)
    first = [took for at, took in claims if at < began + edge]
    last = [took for at, took in claims if at > claims[-1][0] - edge]
    figures = {"first": _milliseconds(first), "last": _milliseconds(last), "late": round(claims[-1][0] - began, 1)}
    return figures | {"rate": asked.rate, **await check(asked, {"completed": jobs})}


@asynccontextmanager
async def _old_snapshot(url: str) -> AsyncIterator[None]:
    """Somebody began a transaction, looked, and went to lunch."""
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await other.execute("select count(*) from tenuto.jobs")
        yield
        cursor = await other.execute("select count(*) from tenuto.jobs")
        if await cursor.fetchone() != (0,):
            raise WentWrong("the old transaction saw new jobs: it held nothing back")
        await other.rollback()


def _milliseconds(took: list[float]) -> float:
    return round(statistics.median(took) * 1000, 3)
