"""What every peer program here shares: the scenarios, their clock, and the one line of JSON that they print."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from time import perf_counter
from typing import Any, ClassVar

NOT_OFFERED = 64  # exit code
TICK = 0.01  # seconds between the instants at which an open loop enqueues
SETTLE = 0.005  # seconds between two looks at what is left
KILOBYTE = "x" * 1000

Args = dict[str, Any]
Figures = dict[str, Any]


class Tally:
    """What the jobs of this process have done, told from whichever thread they run in."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.latencies: list[float] = []  # seconds
        self.first_at = 0.0
        self._target = sys.maxsize
        self._reached = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, args: Args) -> None:
        """Note that the job with `args` runs: the first line of each."""
        now = perf_counter()
        if "sent" in args:
            self.latencies.append(now - args["sent"])
        if not self.numbers:
            self.first_at = now
        self.numbers.append(args["n"])
        if len(self.numbers) >= self._target and self._loop is not None:
            self._loop.call_soon_threadsafe(self._reached.set)

    async def reach(self, count: int, patience: float) -> None:
        """Wait until `count` jobs have begun since the last `clear`."""
        self._loop = asyncio.get_running_loop()
        self._reached.clear()
        self._target = count
        if len(self.numbers) >= count:
            return
        try:
            await asyncio.wait_for(self._reached.wait(), patience)
        except TimeoutError:
            raise SystemExit(f"only {len(self.numbers)} of {count} jobs ran within {patience:.0f} s") from None

    def clear(self) -> None:
        """Forget the jobs so far."""
        self.numbers.clear()
        self.latencies.clear()

    def check(self, count: int) -> Figures:
        """Fail unless the jobs 0 to `count` ran; how many runs were repeats is told, when there were any."""
        missing = set(range(count)) - set(self.numbers)
        if missing:
            raise SystemExit(f"{len(missing)} of {count} jobs never ran")
        repeats = len(self.numbers) - count
        return {"checked": True} | ({"repeated": repeats} if repeats else {})


tally = Tally()


async def run_job(args: Args) -> None:
    """The body of every job: nothing; or, in `life`, a wait of 1 ms."""
    tally.begin(args)
    if "pad" in args:
        await asyncio.sleep(0.001)


def run_blocking_job(args: Args) -> None:
    """The same for a peer whose jobs are plain functions in threads."""
    tally.begin(args)
    if "pad" in args:
        time.sleep(0.001)


class Peer(ABC):
    """A job queue at its own best documented setting."""

    package: ClassVar[str]
    setting: ClassVar[str]
    durability: ClassVar[str]
    semantics: ClassVar[str]
    label: ClassVar[str] = ""  # the name to show, where the package's is not enough
    database: ClassVar[str] = "postgresql"
    refused: ClassVar[Mapping[str, str]] = {"diamonds": "it has no workflows"}
    batch: ClassVar[int] = 1000  # jobs in one call of enqueue_many
    loop_factory: ClassVar[Callable[[], asyncio.AbstractEventLoop] | None] = None

    def __init__(self, url: str, limit: int) -> None:
        self.url = url
        self.limit = limit

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[None]:
        """Make the tables, and be able to enqueue within."""

    @abstractmethod
    async def enqueue(self, args: Args) -> None:
        """Enqueue one job, and return when it is stored."""

    @abstractmethod
    async def enqueue_many(self, many: Sequence[Args]) -> None:
        """Enqueue them the fastest way there is."""

    @abstractmethod
    def working(self) -> AbstractAsyncContextManager[None]:
        """Run one worker of `limit` within this process, and stop it at the end."""

    @abstractmethod
    async def left(self) -> int:
        """How many jobs the database holds that are not done."""

    async def enqueue_diamonds(self, numbers: Sequence[int]) -> None:
        """Enqueue workflows of four steps, a → (b, c) → d, whose last step calls `tally.begin`."""
        raise NotImplementedError

    @classmethod
    def database_of(cls, url: str | None) -> str:
        """Which of its databases `url` means."""
        return cls.database


@contextlib.asynccontextmanager
async def background(work: Coroutine[Any, Any, Any], stop: Callable[[], Any] | None = None) -> AsyncIterator[None]:
    """Run `work` beside the body; then `stop` it, or cancel it, and wait until it has ended."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        (stop or task.cancel)()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def bulk(peer: Peer, options: argparse.Namespace) -> Figures:
    """Enqueue all jobs in bulk."""
    many = [{"n": number} for number in range(options.jobs)]
    began_at = perf_counter()
    await _enqueue_in_batches(peer, many)
    seconds = perf_counter() - began_at
    return {"rate": options.jobs / seconds, "checked": await peer.left() == options.jobs}


async def single(peer: Peer, options: argparse.Namespace) -> Figures:
    """Enqueue one job after the other, each awaited."""
    took = []
    for number in range(options.jobs):
        began_at = perf_counter()
        await peer.enqueue({"n": number})
        took.append(perf_counter() - began_at)
    return {"rate": options.jobs / sum(took), **_percentiles(took)}


async def drain(peer: Peer, options: argparse.Namespace) -> Figures:
    """Work off jobs that do nothing."""
    await _enqueue_in_batches(peer, [{"n": number} for number in range(options.jobs)])
    return await _work_off(peer, options)


async def life(peer: Peer, options: argparse.Namespace) -> Figures:
    """Work off jobs with 1 kB of args that wait for 1 ms."""
    await _enqueue_in_batches(peer, [{"n": number, "pad": KILOBYTE} for number in range(options.jobs)])
    return await _work_off(peer, options)


async def diamonds(peer: Peer, options: argparse.Namespace) -> Figures:
    """Work off workflows of four steps."""
    await peer.enqueue_diamonds(range(options.jobs))
    return await _work_off(peer, options)


async def start(peer: Peer, options: argparse.Namespace) -> Figures:
    """From just before the enqueue to the job's first line, one job at a time, the worker idle before each."""
    async with peer.working():
        await _warm_up(peer, options)
        ends_at = perf_counter() + options.seconds
        for number in range(options.jobs):
            await asyncio.sleep(random.uniform(0.02, 0.06))  # in step with no poll
            if perf_counter() > ends_at:
                break
            await peer.enqueue({"n": number, "sent": perf_counter()})
            await tally.reach(number + 1, options.patience)
        await _await_none_left(peer, options.patience)
        return _percentiles(tally.latencies)


async def open_loop(peer: Peer, options: argparse.Namespace) -> Figures:
    """The same latency while jobs come at a fixed rate, however slow the queue is: each counts from its own tick."""
    async with peer.working():
        await _warm_up(peer, options)
        began_at, number, enqueues = perf_counter(), 0, []
        for tick in range(1, round(options.seconds / TICK) + 1):
            due_at = began_at + tick * TICK
            await asyncio.sleep(max(0.0, due_at - perf_counter()))
            until = round(tick * TICK * options.rate)
            if until > number:
                many = [{"n": each, "sent": due_at} for each in range(number, until)]
                enqueues.append(asyncio.create_task(peer.enqueue_many(many)))
                number = until
        await asyncio.gather(*enqueues)
        await tally.reach(number, options.patience)
        await _await_none_left(peer, options.patience)
        return {**_percentiles(tally.latencies), **tally.check(number)}


SCENARIOS: dict[str, Callable[[Peer, argparse.Namespace], Awaitable[Figures]]] = {
    "bulk": bulk,
    "single": single,
    "drain": drain,
    "start": start,
    "open": open_loop,
    "life": life,
    "diamonds": diamonds,
}


async def _enqueue_in_batches(peer: Peer, many: Sequence[Args]) -> None:
    for first in range(0, len(many), peer.batch):
        await peer.enqueue_many(many[first : first + peer.batch])


async def _work_off(peer: Peer, options: argparse.Namespace) -> Figures:
    """The clock runs from the first job's first line until the database holds none that is not done."""
    began_at = perf_counter()
    async with peer.working():
        await tally.reach(options.jobs, options.patience)
        await _await_none_left(peer, options.patience)
        ended_at = perf_counter()
    rates = {
        "rate": options.jobs / (ended_at - tally.first_at),
        "rate_with_start": options.jobs / (ended_at - began_at),
    }
    return {**rates, **tally.check(options.jobs)}


async def _await_none_left(peer: Peer, patience: float) -> None:
    deadline = perf_counter() + patience
    while left := await peer.left():
        if perf_counter() > deadline:
            raise SystemExit(f"all jobs ran, but {left} are not marked done")
        await asyncio.sleep(SETTLE)


async def _warm_up(peer: Peer, options: argparse.Namespace) -> None:
    await peer.enqueue({"n": 0})
    await tally.reach(1, options.patience)
    await _await_none_left(peer, options.patience)
    tally.clear()


def _percentiles(took: Sequence[float]) -> Figures:
    """In milliseconds."""
    ranked = sorted(took)
    names: Iterator[tuple[str, float]] = iter((("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)))
    places = {name: min(len(ranked) - 1, int(share * len(ranked))) for name, share in names}
    return {name: ranked[place] * 1000 for name, place in places.items()} | {"count": len(ranked)}


def main(kind: type[Peer]) -> None:
    """Do what the command line asks of this peer."""
    options = _parse()
    if options.scenario == "describe":
        print(json.dumps(_description(kind, options.url)))
        return
    if options.scenario in kind.refused:
        print(f"{kind.package}: {kind.refused[options.scenario]}", file=sys.stderr)
        raise SystemExit(NOT_OFFERED)
    if options.url is None:
        raise SystemExit("--url is missing")
    with asyncio.Runner(loop_factory=kind.loop_factory) as runner:
        figures = runner.run(_measure(kind(options.url, options.limit), options))
    figures["versions"] = {"python": platform.python_version(), kind.package: version(kind.package)}
    print(json.dumps(figures), flush=True)


async def _measure(peer: Peer, options: argparse.Namespace) -> Figures:
    async with peer.connected():
        return await SCENARIOS[options.scenario](peer, options)


def _description(kind: type[Peer], url: str | None) -> dict[str, str]:
    return {
        "name": kind.label or kind.package,
        "version": version(kind.package),
        "database": kind.database_of(url),
        "setting": kind.setting,
        "durability": kind.durability,
        "semantics": kind.semantics,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=[*SCENARIOS, "describe"])
    parser.add_argument("--url")
    parser.add_argument("--limit", type=int, default=100, help="jobs at once")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs, samples or diamonds")
    parser.add_argument("--rate", type=float, default=100.0, help="jobs a second, in open")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of open; the longest that start may take")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for jobs that do not run")
    return parser.parse_args()
