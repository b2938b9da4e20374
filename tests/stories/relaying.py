"""Processes that relay: two that ask each other for so long, one that waits until it is killed, and one that lets go.

`python -m tests.stories.relaying ask URL MINE THEIRS SECONDS` works on the queue MINE, relays jobs to THEIRS for so
long, prints its Tally, and works on until its standard input ends. `… wait URL` prints the id of what it awaits.
`… let-go URL` abandons half of ten thousand relays, twice, and prints a Holding before and after each time.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from tenuto import Answer, Completed, Relay, Tenuto, job
from tests.kit import LEASE, ROOT, AnyJob, Obey, drain, eventually

# ── two that ask each other ───────────────────────────────────────────────────────────────────────

PATIENCE = 30.0  # seconds that an answer may take; it takes two at most
BATCH = 20
ASKERS = 4  # at once, of single relays


@dataclass
class Tally:
    """What one of the two asked for, and what it was told."""

    relayed: int = 0
    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds, from the time when the job was due


async def ask(url: str, mine: str, theirs: str, span: float) -> None:
    """Work on one queue and ask the other, until nobody needs it any more."""
    async with Tenuto(url, queues={mine: 10}, lease=LEASE, grace=1) as app:
        assert await (await app.relay(Obey.value("ready", queue=theirs))).result(timeout=PATIENCE) == "ready"
        _say("ready")
        tally, until = Tally(), time.monotonic() + span
        await asyncio.gather(*(_ask_until(until, app, theirs, tally, many) for many in [BATCH] + ASKERS * [1]))
        _say(json.dumps(asdict(tally)))
        await asyncio.to_thread(sys.stdin.read)


async def _ask_until(until: float, app: Tenuto, queue: str, tally: Tally, many: int) -> None:
    while time.monotonic() < until:
        due_in = random.choice([0.0, random.random()])  # so that some waits see the line go
        first = tally.relayed
        tally.relayed += many
        relays = await app.relay([_value(first + n, queue, due_in) for n in range(many)])
        due_at = time.monotonic() + due_in
        answers = await app.await_many(relays, timeout=PATIENCE)
        tally.longest = max(tally.longest, time.monotonic() - due_at)
        _count(tally, relays, answers, first)
        await asyncio.sleep(random.uniform(0, 0.05))


def _value(n: int, queue: str, due_in: float) -> AnyJob:
    return Obey.value(n, queue=queue, **({"schedule_in": due_in} if due_in else {}))


def _count(tally: Tally, relays: list[Relay[Any]], answers: list[Answer[Any]], first: int) -> None:
    for n, (relay, answer) in enumerate(zip(relays, answers, strict=True), start=first):
        if answer == Completed(n):
            tally.answered += 1
        else:
            tally.wrong.append(f"{relay!r}, for {n}: {answer!r}")


@contextmanager
def two_that_ask(url: str, span: float, **environment: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two such processes, of which each has the other's first answer; killed at the end."""
    queues = ["one", "other"]
    two = [_process("ask", url, mine, theirs, str(span), **environment) for mine, theirs in (queues, queues[::-1])]
    try:
        for each in two:
            assert said(each) == "ready\n"
        yield two
    finally:
        for each in two:
            _end(each)


def tally_of(process: subprocess.Popen[str]) -> Tally:
    """What it came to, once it has asked for as long as it was told to."""
    return Tally(**json.loads(said(process)))


def said(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended without a word; its standard error says why"
    return line


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _process(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# ── one that waits ────────────────────────────────────────────────────────────────────────────────


async def wait(url: str) -> None:
    """Relay one job, and wait for it for ever."""
    async with Tenuto(url) as app:
        relay = await app.relay(Obey.value(7))
        _say(relay.id)
        await relay.result(timeout=None)


def killed_while_it_waits(url: str) -> str:
    """The id of the job that such a process awaited when it was killed."""
    process = _process("wait", url)
    try:
        return said(process).strip()
    finally:
        _end(process)


# ── one that lets go ──────────────────────────────────────────────────────────────────────────────

FEW, MANY = 100, 10_000


@job(name="relaying.double")
async def double(n: int) -> int:
    return 2 * n


@dataclass
class Holding:
    """What a process holds at one moment, when nothing is awaited in it."""

    resident: int  # bytes, as the system counts them
    in_use: int  # bytes, as the C library counts them; 0 where it is not glibc
    objects: int
    futures: int  # without an answer
    tasks: int
    subscribers: int
    waits: int
    table: int  # bytes of the table of waits


async def let_go(url: str) -> None:
    """Relay ten thousand jobs at once and abandon every other wait, twice; print what is held before and after each."""
    async with Tenuto(url, queues={"default": 200}) as app:
        for many in (FEW, MANY, MANY):
            await _answered(app, many)
            _say(json.dumps(asdict(await _held(app))))


async def _answered(app: Tenuto, many: int) -> None:
    """Relay so many; half of the waits are abandoned while they wait, the others all get their own answer."""
    relays = await app.relay([double.new(n) for n in range(many)])
    waits = [asyncio.create_task(relay.result(timeout=120)) for relay in relays]
    await asyncio.sleep(0)
    for abandoned in waits[::2]:
        abandoned.cancel()
    assert await asyncio.gather(*waits[1::2]) == [2 * n for n in range(1, many, 2)]
    await asyncio.wait(waits)
    assert [wait.cancelled() for wait in waits] == [True, False] * (many // 2)
    await drain(app)


async def _held(app: Tenuto) -> Holding:
    with suppress(AssertionError):  # then what is left is told
        await eventually(lambda: app.waiting._reader is None, within=5)
    gc.collect()
    everything = gc.get_objects()
    return Holding(
        psutil.Process().memory_info().rss,
        _in_use(),
        len(everything),
        sum(isinstance(each, asyncio.Future) and not each.done() for each in everything),
        len(asyncio.all_tasks()),
        len(app._notifier._subscribers),
        len(app.waiting._waits),
        sys.getsizeof(app.waiting._waits),
    )


class _MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")]
    _fields_ += [(name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def _in_use() -> int:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _MallocInfo
    told = library.mallinfo2()
    return int(told.uordblks + told.hblkhd)  # in the heaps, and in mappings of their own


def held_meanwhile(url: str) -> list[Holding]:
    """What such a process holds: before, after ten thousand relays, and after as many again.

    All its memory comes from one allocator, the C library's, which tells how much of it is in use, by Python, SQLite
    and the driver together. Python's own would keep a megabyte for each object that is left in it: what such a process
    has at rest is anything between what it uses and what it used at most, and says little.
    """
    process = _process("let-go", url, PYTHONMALLOC="malloc")
    try:
        found = [Holding(**json.loads(said(process))) for _ in range(3)]
    finally:
        _end(process)
    return found


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask", url, mine, theirs, span]:
            asyncio.run(ask(url, mine, theirs, float(span)))
        case ["wait", url]:
            asyncio.run(wait(url))
        case ["let-go", url]:
            asyncio.run(let_go(url))
        case _:
            sys.exit(__doc__)
