"""A node whose process has a wrong clock: `python -m tests.stories.skewed URL SECONDS`.

It declares the entries below. For each line it reads (what the database's clock is to show) it ticks once, and writes
what its own clock shows. It must be the first thing that its process imports.
"""

from __future__ import annotations

import asyncio
import datetime as clocks
import sys
import time
from collections.abc import Callable
from typing import Any

ENTRIES = {"nightly": "30 2 * * *", "often": "*/10 * * * *", "always": "* * * * *"}
TIMEZONE = "Europe/Berlin"


def skew(seconds: float) -> None:
    """Let every clock of this process that tells the time of day be wrong."""
    true, right = time.time, clocks.datetime

    class Wrong(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, right)

    class WrongDatetime(right, metaclass=Wrong):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return right.fromtimestamp(time.time(), tz)

    def wrong(clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + seconds

    time.time = wrong(true)
    time.time_ns = lambda: int(time.time() * 1e9)
    clocks.datetime = WrongDatetime  # type: ignore[misc]


async def obey(url: str) -> None:
    """Tick when told to, until nothing more is told."""
    from datetime import UTC, datetime, timedelta

    from tenuto.cron import Cron
    from tenuto.function import job
    from tenuto.runtime.node import Node
    from tenuto.runtime.notifier import Notifier
    from tenuto.runtime.services.scheduler import Entries, Entry, Scheduler
    from tests.conftest import database_at

    @job(name="cron.skewed")
    async def skewed(entry: str) -> None: ...

    database = database_at(url)
    entries = Entries()
    for name, expression in ENTRIES.items():
        make = lambda name=name: skewed.new(name)  # noqa: E731
        entries.add(Entry(name, Cron(expression, TIMEZONE), timedelta(minutes=5), "cron.skewed", make))
    node = Node(database, None, timedelta(seconds=30))
    scheduler = Scheduler(node, Notifier(node), entries)
    await database.open()
    while told := (await asyncio.to_thread(sys.stdin.readline)).strip():
        database.now = datetime.fromisoformat(told)
        await scheduler.tick()
        sys.stdout.write(f"{datetime.now(UTC).timestamp()}\n")
        sys.stdout.flush()
    await database.close()


if __name__ == "__main__":
    skew(float(sys.argv[2]))
    asyncio.run(obey(sys.argv[1]))
