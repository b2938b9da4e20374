"""A process that shares an SQLite file with others: `python -m tests.storage.neighbour PATH enqueue|work JOBS`."""

from __future__ import annotations

import asyncio
import sys
import time

from tenuto.outcome import DONE, settle
from tenuto.storage import reading, store
from tenuto.storage.sqlite import SQLite
from tests.storage.build import MINUTE, Claimer, plain


async def enqueue(database: SQLite, jobs: int) -> None:
    """So many jobs, one at a time."""
    for _ in range(jobs):
        await database.run(store.enqueue, plain())


async def work(database: SQLite, jobs: int) -> None:
    """Claim and ack until so many have completed, whoever did them, or a minute has passed."""
    claimer = await Claimer(database).start(MINUTE)
    until = time.monotonic() + MINUTE.total_seconds()
    while await _completed(database) < jobs and time.monotonic() < until:
        acks = [settle(job, DONE) for job in await claimer.claim(10)]
        settled = await claimer.give_back(*acks)
        assert len(settled.ids) == len(acks)


async def _completed(database: SQLite) -> int:
    return sum(count.jobs for count in await database.read(reading.counts) if count.state == "completed")


async def main(path: str, task: str, jobs: int) -> None:
    database = SQLite(path)
    await database.open()
    await {"enqueue": enqueue, "work": work}[task](database, jobs)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
