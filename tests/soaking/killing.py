"""One run: a workflow, a worker that is killed and started again until it is done, and what came of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tenuto import Tenuto
from tenuto.errors import StorageUnavailable, WaitTimedOut
from tests.soaking.audit import watch
from tests.soaking.checker import Findings, examine
from tests.soaking.places import Place
from tests.soaking.plan import draws_of, plan_of
from tests.soaking.worker import NO_SERVER, work

BOUND = 60.0  # seconds until a run that is not done is stuck
KILLS = (4, 9)
LIFE = (0.05, 0.4)  # seconds between two kills
SERVER_SHARE = 0.35  # of the kills, where there is a server
BOTH_SHARE = 0.3  # of these: the worker dies with it
AWAY = (0.0, 0.3)  # seconds until the server is started again

PROCESSES = multiprocessing.get_context("forkserver")  # one process imports everything, once, and forks the workers
PROCESSES.set_forkserver_preload(["tests.soaking.worker", "tenuto.storage.postgres"])


@dataclass
class Outcome:
    """What came of one run."""

    seed: str
    store: str
    findings: Findings = field(default_factory=Findings)
    worker_kills: int = 0
    server_kills: int = 0
    refused: int = 0  # workers that ended by themselves, because the server was away when they started
    spared: int = 0  # kills put off, for the sake of a job that was suspected twice
    seconds: float = 0.0

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"make soak STORE={self.store} SEED={self.seed} RUNS=1"


class Victim:
    """The worker process: started, killed, and started again."""

    def __init__(self, url: str, folder: Path, target: Callable[[str, Path], None] = work) -> None:
        self._arguments = (url, folder)
        self._target = target
        self._start()

    def _start(self) -> None:
        self._process = PROCESSES.Process(target=self._target, args=self._arguments)
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self._process.exitcode

    def halt(self) -> None:
        """Stop it where it is, so that it can be decided whether it dies here."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It does not die here."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def restart(self) -> None:
        """Another process in its place."""
        self._process.close()
        self._start()

    def _signal(self, number: int) -> None:
        pid = self._process.pid
        assert pid is not None
        if self._process.is_alive():
            os.kill(pid, number)


async def run(place: Place, seed: str) -> Outcome:
    """One seeded run in a fresh database, examined."""
    began = time.monotonic()
    outcome = Outcome(seed, place.store)
    plan = plan_of(f"{place.store}-{seed}")
    await asyncio.to_thread(place.clear)
    await Tenuto(place.url).migrate()
    await asyncio.to_thread(watch, place.url)
    async with Tenuto(place.url) as app:
        flow = await app.enqueue(plan.workflow())
        ended = await _torment(app, flow.id, place, outcome, draws_of(plan.seed))
        outcome.findings = await examine(app, flow.id, plan, place)
    if ended is not None:
        outcome.findings.wrong.append(f"the worker ended by itself, with {ended}")
    outcome.seconds = time.monotonic() - began
    return outcome


async def _torment(app: Tenuto, id: str, place: Place, outcome: Outcome, draw: random.Random) -> int | None:
    """Kill until the dice have had enough, then let the worker finish; its exit code, if it did not live to the end."""
    done = asyncio.create_task(_finished(app, id))
    victim = await asyncio.to_thread(Victim, place.url, place.folder)
    try:
        for _ in range(draw.randint(*KILLS)):
            await _watch(victim, done, draw.uniform(*LIFE), outcome)
            if done.done():
                break
            await asyncio.to_thread(_strike, victim, place, outcome, draw)
        await _watch(victim, done, BOUND, outcome)
        await done
        return victim.exit_code
    finally:
        done.cancel()
        await asyncio.to_thread(victim.kill)


async def _watch(victim: Victim, done: asyncio.Task[None], seconds: float, outcome: Outcome) -> None:
    """Let it live so long, or until all is done; one that the absence of its server ended is started again."""
    until = time.monotonic() + seconds
    while not done.done() and (left := until - time.monotonic()) > 0:
        if victim.exit_code == NO_SERVER:
            outcome.refused += 1
            await asyncio.to_thread(victim.restart)
        await asyncio.wait([done], timeout=min(left, 0.05))


async def _finished(app: Tenuto, id: str) -> None:
    with suppress(WaitTimedOut, StorageUnavailable):
        await app.workflow(id).wait(timeout=BOUND)


def _strike(victim: Victim, place: Place, outcome: Outcome, draw: random.Random) -> None:
    """Kill the worker, the server, or both."""
    at_server = place.server is not None and draw.random() < SERVER_SHARE
    at_worker = not at_server or draw.random() < BOTH_SHARE
    away = draw.uniform(*AWAY)
    if at_worker:
        _hold(victim, place, outcome)
    if at_server:
        assert place.server is not None
        place.server.kill()
        outcome.server_kills += 1
    if at_worker:
        victim.kill()
        outcome.worker_kills += 1
    if at_server:
        assert place.server is not None
        time.sleep(away)
        place.server.start()
    if at_worker:
        victim.restart()


def _hold(victim: Victim, place: Place, outcome: Outcome) -> None:
    """Halt the worker at a moment at which its death convicts no innocent job.

    The third death with a job as the only suspect discards it, which is right for a job that kills its process
    and wrong for one that we keep killing: a death waits while any job is suspected twice.
    """
    until = time.monotonic() + BOUND
    while time.monotonic() < until:
        victim.halt()
        if not place.has_convict():
            return
        victim.go_on()
        outcome.spared += 1
        time.sleep(0.02)
