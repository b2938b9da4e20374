"""Clock: the time by which an app's database goes, in the hands of a test. It stands still until it is moved."""

# pyright: reportPrivateUsage=false
# It fires an open app's cron entries, as a node of that app would.

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from tenuto.app import Tenuto
from tenuto.errors import InvalidRequest
from tenuto.job import Duration, check_instant, seconds
from tenuto.runtime.node import Node
from tenuto.runtime.services.scheduler import Scheduler
from tenuto.storage import crons, upkeep
from tenuto.testing.hand import LEASE, NAME

MINUTES_AT_MOST: Final = 10_000  # in which cron is due, on the way of one move


class Clock:
    """A clock for open apps, on SQLite and PostgreSQL: `async with Clock(app) as clock`. Inside the block the time of
    their databases stands still, at what it was or at `at`, and goes on when it is moved.

    It is what jobs are due by, wait, expire and are tried again by. It does not change what Python's own clocks show: a
    timeout takes as long as it takes.
    """

    def __init__(self, *apps: Tenuto, at: datetime | None = None) -> None:
        if not apps:
            raise InvalidRequest("a Clock needs an app whose time it is")
        self._apps = apps
        self._at = None if at is None else check_instant("at", at)
        self._now: datetime | None = None

    @property
    def now(self) -> datetime:
        """What it shows, in UTC. Raises InvalidRequest outside of its block."""
        if self._now is None:
            raise InvalidRequest("the clock shows nothing outside of its `async with` block")
        return self._now

    async def __aenter__(self) -> Self:
        for app in self._apps:
            app._check_loop()
        if any(app.database.now is not None for app in self._apps):
            raise InvalidRequest("another Clock holds the time of this app")
        shown, _ = await self._apps[0].database.read(crons.look, [])
        await self._set(shown.astimezone(UTC))
        if self._at is not None:
            await self._carry_leases(self._at)
            await self._set(self._at.astimezone(UTC))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._now = None
        for app in self._apps:
            app.database.now = None

    async def advance(self, by: Duration, *, cron: bool = False) -> datetime:
        """Move on by a duration; what it shows then. Raises as `move_to`."""
        return await self.move_to(self.now + seconds("advance", by), cron=cron)

    async def move_to(self, instant: datetime, *, cron: bool = False) -> datetime:
        """Move on to an instant; what it shows then. Leases of nodes that work move along: none is lost.

        With `cron` it stops at each minute in which an entry of the apps is due, and enqueues what is, as a node that
        had worked all the time. Raises InvalidRequest for the past, and for a way with too many such minutes.
        """
        target = check_instant("instant", instant).astimezone(UTC)
        if target < self.now:
            raise InvalidRequest(
                f"the clock shows {self.now.isoformat()} and only goes on; a new Clock may begin earlier"
            )
        await self._carry_leases(target)
        if cron:
            await self._fire_until(target)
        await self._set(target)
        return target

    async def _set(self, instant: datetime) -> None:
        self._now = instant
        for app in self._apps:
            app.database.now = instant

    async def _carry_leases(self, target: datetime) -> None:
        """Let each lease that holds end as long after the move as it would have ended after now."""
        for app in self._apps:
            for one in await app.database.read(upkeep.nodes):
                if one.alive and target > self.now:
                    left = one.expires_at - self.now
                    await app.database.run(upkeep.beat, [one.id], left + (target - self.now), one.health)

    async def _fire_until(self, target: datetime) -> None:
        for app in self._apps:
            scheduler = Scheduler(Node(app.database, NAME, LEASE), app._notifier, app.cron.entries)
            await scheduler.declare()
            for minute in list(_due(app, self.now, target)):
                app.database.now = minute
                await scheduler.tick()


def _due(app: Tenuto, after: datetime, until: datetime) -> Iterable[datetime]:
    """The minutes in which an entry is due, in their order. Raises InvalidRequest where there are too many."""
    found: set[datetime] = set()
    for name, entry in app.cron.entries.all().items():
        found.update(entry.cron.between(after, until, MINUTES_AT_MOST + 1))
        if len(found) > MINUTES_AT_MOST:
            way = timedelta(seconds=round((until - after).total_seconds()))
            raise InvalidRequest(f"in {way} cron is due too often ({name} and others); move in shorter steps")
    return sorted(found)
