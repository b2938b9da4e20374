"""Recurring: a worker that says itself when its jobs are enqueued. It only remembers; the scheduler does it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from tenuto.cron import Cron
from tenuto.errors import InvalidCron
from tenuto.features.feature import Feature
from tenuto.job import Duration, seconds

CATCH_UP: Final = timedelta(minutes=5)  # long enough for a restart, and for a database that was away
CATCH_UP_MOST: Final = timedelta(days=7)


class Recurring(Feature):
    """When the worker's jobs are due, and how old a minute may be that is still made up for."""

    rank: ClassVar[int] = 0

    def __init__(self, cron: Cron, catch_up: timedelta) -> None:
        self.cron = cron
        self.catch_up = catch_up


def recurring(options: Mapping[str, Any]) -> Recurring:
    """The feature that `cron=`, `timezone=` and `catch_up=` ask for. Raises InvalidCron, InvalidJob."""
    cron = Cron(options["cron"], options.get("timezone", "UTC"))
    return Recurring(cron, checked_catch_up(options.get("catch_up", CATCH_UP)))


def checked_catch_up(length: Duration) -> timedelta:
    """For how long a missed minute is made up for. Raises InvalidCron over seven days, InvalidJob."""
    given = seconds("catch_up", length)
    if given > CATCH_UP_MOST:
        raise InvalidCron(f"catch_up={length!s:.80} is out of range: zero to {CATCH_UP_MOST.days} days")
    return given
