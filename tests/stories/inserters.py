"""Processes that store the same unique jobs at the same instant, and tell what each call came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from tenuto import Job, Tenuto, Unique, job
from tests.soaking.killing import PROCESSES

PROCESSES_AT_ONCE = 4
APPS = 16  # of each process: 64 that ask at once
ROUNDS = [1, 20, 1, 20]  # jobs that each of them stores
PATIENCE = 30.0  # seconds for the slowest process to be there


class Answer(NamedTuple):
    """What one call came to: each job's id, and whether it was there already."""

    round: int
    jobs: list[tuple[str, bool]]


@job(name="inserters.once", unique=Unique(keys=["round", "nth"]))
async def once(round: int, nth: int, by: str) -> None: ...


def asked(url: str) -> list[Answer]:
    """Let 64 apps in four processes store the same at once, one job or several, round after round; all answers."""
    gate = PROCESSES.Barrier(PROCESSES_AT_ONCE)
    with ProcessPoolExecutor(PROCESSES_AT_ONCE, PROCESSES, _keep, (gate,)) as pool:
        asking = [pool.submit(_insert, url, str(nth)) for nth in range(PROCESSES_AT_ONCE)]
        return [Answer(*answer) for each in asking for answer in each.result()]


_gates: list[Any] = []


def _keep(gate: Any) -> None:
    _gates.append(gate)


def _insert(url: str, by: str) -> list[Answer]:
    return asyncio.run(_ask(url, by))


async def _ask(url: str, by: str) -> list[Answer]:
    told: list[Answer] = []
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"listen": False, "connections": 2}
        apps = [await stack.enter_async_context(Tenuto(url, **options)) for _ in range(APPS)]
        for round, size in enumerate(ROUNDS):
            await asyncio.to_thread(_gates[0].wait, PATIENCE)
            batches = [[once.new(round, number, by) for number in range(size)] for _ in apps]
            stored = await asyncio.gather(*(_store(app, batch) for app, batch in zip(apps, batches, strict=True)))
            told += [Answer(round, [(one.id, one.existing) for one in batch]) for batch in stored]
    return told


async def _store(app: Tenuto, batch: list[Job[Any, Any]]) -> list[Job[Any, Any]]:
    return await app.enqueue(batch) if len(batch) > 1 else [await app.enqueue(batch[0])]


def stored_anew(answers: list[Answer]) -> Counter[tuple[int, int]]:
    """How often each job, by round and place, was stored by somebody."""
    places = [(answer.round, nth, existing) for answer in answers for nth, (_, existing) in enumerate(answer.jobs)]
    return Counter((round, nth) for round, nth, existing in places if not existing)
