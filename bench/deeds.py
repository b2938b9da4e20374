"""The jobs that Tenuto runs in a benchmark, and an app to run them in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final

from bench.protocol import Asked, WentWrong
from tenuto import Chain, Job, KeyRing, Tenuto, Unique, Workflow, graft, job, results, telemetry
from tests.storage.tables import look_into

QUEUE: Final = "default"
CHUNK: Final = 5000  # jobs in one enqueue
PATIENCE: Final = 900.0  # seconds for anything to come to its end

started: dict[int, float] = {}
"""When each `stamp` and `hold` began, by its number."""

released = asyncio.Event()
"""Lets every `hold` go."""


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


@job
async def noop(n: int) -> None:
    """Nothing."""


@job
async def stamp(n: int) -> None:
    """Tells when it began."""
    started[n] = time.perf_counter()


@job
async def echo(n: int) -> int:
    """Gives back what it got."""
    return n


@job
async def hold(n: int) -> None:
    """Stays until it is let go."""
    started[n] = time.perf_counter()
    await released.wait()


@cache
def keys() -> KeyRing:
    """The keys of an encrypted worker, which need their extra only once one is used."""
    return KeyRing("bench", {"bench": KeyRing.new_key()})


@job(encrypted=keys, recorded=True)
async def live(payload: str) -> dict[str, Any]:
    """As in life: args of a kilobyte, sealed, a millisecond of waiting for something, and a result that is kept."""
    await asyncio.sleep(0.001)
    return {"status": "done", "size": len(payload), "head": payload[:64]}


@job(encrypted=keys, recorded=True, unique=Unique(), deadline=timedelta(hours=1))
async def five(n: int) -> int:
    """Five features on one worker: its args are checked, and sealed; it is unique, recorded, and has a deadline."""
    return n


class Quiet:
    """A hook that hears of each job, and does nothing about it."""

    async def after_process(self, state: str, job: Job[Any, Any]) -> None:
        """Nothing."""


@job(recorded=True, unique=Unique(), chain=Chain(by="args.n"), hooks=[Quiet()])
async def five_others(n: int) -> int:
    """Five again, of which two are others: its args are checked; it is unique, recorded, chained, and has a hook."""
    return n


@job
async def top(n: int) -> int:
    """The first step of a diamond."""
    return n


@job
async def side() -> int:
    """One of its two branches."""
    return int(results.get_result("a")) + 1


@job
async def bottom() -> int:
    """Its last step, with the results of both."""
    return sum(results.get_all_results().values())


@job
async def spread(width: int) -> None:
    """Fills its group with so many steps."""
    await graft([noop.new(n) for n in range(width)])


def diamond(n: int) -> Workflow:
    """Four steps: a, then b and c side by side, then d. The last one's result is 2n + 2."""
    flow = Workflow()
    flow.add("a", top.new(n))
    flow.add("b", side.new(), deps="a")
    flow.add("c", side.new(), deps="a")
    flow.add("d", bottom.new(), deps=("b", "c"))
    return flow


# ── the app ───────────────────────────────────────────────────────────────────────────────────────


async def make_tables(url: str) -> None:
    """The empty database gets its tables."""
    await Tenuto(url).migrate()


@asynccontextmanager
async def paused(asked: Asked, limit: int | None = None) -> AsyncIterator[Tenuto]:
    """An app at work on the queue, which is paused until `resume`: what is enqueued meanwhile lies there."""
    await make_tables(asked.url)
    with Counted("queue.signal") as signals:
        async with Tenuto(asked.url, queues={QUEUE: limit or asked.limit}) as app:
            await app.queue(QUEUE).pause()
            await signals.reach(1)
            yield app


@asynccontextmanager
async def working(asked: Asked, *, listen: bool = True) -> AsyncIterator[Tenuto]:
    """An app at work on the queue."""
    await make_tables(asked.url)
    async with Tenuto(asked.url, queues={QUEUE: asked.limit}, listen=listen) as app:
        yield app


async def fill(app: Tenuto, count: int, first: int = 0, new: Callable[[int], Job[Any, Any]] = noop.new) -> None:
    """Store so many jobs, no-op ones unless another worker's `new` is given."""
    for start in range(first, first + count, CHUNK):
        await app.enqueue([new(n) for n in range(start, min(start + CHUNK, first + count))])


async def drained(app: Tenuto, count: int) -> float:
    """Resume the queue, and give the seconds until so many jobs were settled in the database."""
    with Counted("queue.ack") as acked:
        began = time.perf_counter()
        await app.queue(QUEUE).resume()
        await acked.reach(count)
        return time.perf_counter() - began


class Counted:
    """Counts an event of this process, by its `count` where it has one, and waits for so many."""

    def __init__(self, event: str) -> None:
        self.count = 0
        self._event = event
        self._changed = asyncio.Event()

    def __enter__(self) -> Counted:
        telemetry.attach(self._hear, self._event)
        return self

    def __exit__(self, *_: object) -> None:
        telemetry.detach(self._hear)

    def _hear(self, event: str, payload: Mapping[str, Any]) -> None:
        self.count += payload.get("count", 1) - payload.get("stale", 0)
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until it has happened `count` times. Raises TimeoutError when it takes too long."""
        async with asyncio.timeout(PATIENCE):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()


# ── the invariants ────────────────────────────────────────────────────────────────────────────────


async def check(asked: Asked, expected: Mapping[str, int]) -> dict[str, bool]:
    """That exactly these jobs are there by state, that what completed took one attempt, and what the doctor says."""
    with look_into(asked.url) as tables:
        counted = tables.rows("select state, count(*) as jobs, max(attempt) as most from jobs group by state")
    found = {row["state"]: row["jobs"] for row in counted}
    if found != {state: jobs for state, jobs in expected.items() if jobs}:
        raise WentWrong(f"there should be {dict(expected)} jobs, and there are {found}")
    repeated = [row["state"] for row in counted if row["most"] != (1 if row["state"] == "completed" else 0)]
    if repeated:
        raise WentWrong(f"some of the {repeated} jobs have another number of attempts than they should")
    await _ask_the_doctor(asked.url)
    return {"checked": True}


async def _ask_the_doctor(url: str) -> None:
    async with Tenuto(url, queues={"elsewhere": 1}) as app:  # a live node that knows our workers
        ill = [finding for finding in await app.check() if not finding.is_well]
    if ill:
        raise WentWrong(f"the doctor finds: {[(finding.rule, finding.broken[:3]) for finding in ill]}")


async def check_workflows(asked: Asked, count: int, steps: int) -> dict[str, bool]:
    """That so many workflows finished well, with that many steps in all."""
    with look_into(asked.url) as tables:
        rows = tables.rows("select outcome, count(*) as flows from workflows group by outcome")
    if [(row["outcome"], row["flows"]) for row in rows] != [("completed", count)]:
        raise WentWrong(f"of {count} workflows there are {rows}")
    return await check(asked, {"completed": steps})


async def enqueue_all(app: Tenuto, flows: Sequence[Workflow]) -> None:
    """Store workflows, a few side by side."""
    for start in range(0, len(flows), 8):
        await asyncio.gather(*(app.enqueue(flow) for flow in flows[start : start + 8]))
