"""Schedule: the cron entries of an app: declared, listed, paused, resumed, and run now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from tenuto.config import CronSetting
from tenuto.cron import Cron
from tenuto.definition import resolve
from tenuto.errors import CronNotFound, InvalidCron, InvalidRequest
from tenuto.features.recurring import CATCH_UP, checked_catch_up
from tenuto.job import Duration, Job, JobState, check_name
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.services.scheduler import Entries, Entry, again
from tenuto.storage import crons
from tenuto.storage.crons import CronRow
from tenuto.storage.database import Database, Hint

Work: TypeAlias = Job[Any, Any] | Callable[[], Job[Any, Any]]
"""What cron enqueues: a job, made anew each time from its args, or a function that makes one."""

NEXT_AT_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class CronStatus:
    """One cron entry as it stands in the database, by whoever declared it last."""

    name: str
    expression: str
    timezone: str
    worker: str
    catch_up: timedelta  # how old a minute may be that is still made up for
    is_paused: bool
    is_stale: bool  # no live node declares it any more, so it is not fired
    next_at: datetime | None  # None while it is paused or stale
    last_minute: datetime | None  # the minute that was fired last
    last_job_id: str | None
    last_job_state: JobState | None  # None when there is none, or it has been pruned
    registered_at: datetime

    @property
    def in_words(self) -> str:
        """When it is due, in English: `At 02:30 every day`. Raises InvalidCron where this version cannot read it."""
        return Cron(self.expression, self.timezone).explain()


class Schedule:
    """An app's cron entries. What is paused, resumed or run here is obeyed by whichever node declares the entry."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self.entries = Entries()
        self._check_open = check_open  # raises NotStarted

    def set_up(self, settings: Mapping[str, CronSetting], database: Database, notifier: Notifier) -> None:
        """Take the entries of the settings, and the database of all of them."""
        self.entries.configured = tuple(_configured(name, setting) for name, setting in settings.items())
        self._database = database
        self._notifier = notifier

    def add(
        self, name: str, expression: str, work: Work, *, timezone: str = "UTC", catch_up: Duration = CATCH_UP
    ) -> None:
        """Enqueue `work` whenever the expression is due, for as long as this app works: a job, or a function that
        makes one, such as `report.new`. The job's `scheduled_at` is its minute.

        Before the app is started or after. `catch_up` is how old a minute may be that is still made up for, when no
        node ran in it. Raises InvalidCron, and what making the job raises.
        """
        check_name("cron", name)
        cron, kept = Cron(expression, timezone), checked_catch_up(catch_up)
        make: Callable[[], Any] = work if callable(work) else again(work)
        sample = make() if callable(work) else work
        if not isinstance(sample, Job):
            raise InvalidCron(f"cron entry {name!r} takes a Job, or a function that makes one")
        self.entries.add(Entry(name, cron, kept, sample.worker, make))

    async def next(self, name: str, count: int = 5) -> Sequence[datetime]:
        """The next minutes in which an entry is due, whether or not it is paused. Raises CronNotFound."""
        if type(count) is not int or not 1 <= count <= NEXT_AT_MOST:
            raise InvalidRequest(f"count={count!r:.80} is out of range: 1 to {NEXT_AT_MOST:,}")
        row = await self._row(name)
        cron, minutes = Cron(row.expression, row.timezone), [row.now]
        while len(minutes) <= count and (due := cron.after(minutes[-1])) is not None:
            minutes.append(due)
        return minutes[1:]

    async def pause(self, name: str) -> None:
        """Fire it no more, on any node, until `resume`; kept through restarts. Raises CronNotFound."""
        await self._pause(name, True)

    async def resume(self, name: str) -> None:
        """Fire it again; what was due meanwhile is not made up for. Raises CronNotFound."""
        await self._pause(name, False)

    async def run(self, name: str) -> None:
        """Enqueue its job once, now, also while it is paused: a node that declares the entry does it.

        Raises CronNotFound, and InvalidRequest where no live node declares it.
        """
        self._check_open()
        if not await self._database.run(crons.ask, check_name("cron", name)):
            await self._row(name)
            raise InvalidRequest(f"no live node declares the cron entry {name!r:.300}; start one that does")
        self._notifier.tell([Hint("cron", name)])

    async def list(self) -> Sequence[CronStatus]:
        """Every entry that any node declares, or declared within a month, by name."""
        self._check_open()
        return [_status(row) for row in (await self._database.read(crons.crons)).values()]

    async def _pause(self, name: str, paused: bool) -> None:
        self._check_open()
        if not await self._database.run(crons.pause, check_name("cron", name), paused):
            raise CronNotFound(name)
        self._notifier.tell([Hint("cron", name)])

    async def _row(self, name: str) -> CronRow:
        self._check_open()
        found = await self._database.read(crons.crons, [check_name("cron", name)])
        if name not in found:
            raise CronNotFound(name)
        return found[name]


def _configured(name: str, setting: CronSetting) -> Entry:
    """An entry of the settings. Its worker is looked up later: its module may not be imported yet, or never here."""
    args = dict(setting.args)
    return Entry(name, setting.cron, setting.catch_up, setting.worker, lambda: resolve(setting.worker).new(args))


def _status(row: CronRow) -> CronStatus:
    return CronStatus(
        name=row.name,
        expression=row.expression,
        timezone=row.timezone,
        worker=row.worker,
        catch_up=timedelta(microseconds=row.catch_up),
        is_paused=row.paused,
        is_stale=row.is_stale,
        next_at=None if row.paused or row.is_stale else _next(row),
        last_minute=row.fired_minute,
        last_job_id=row.job_id,
        last_job_state=None if row.job_state is None else JobState(row.job_state),
        registered_at=row.registered_at,
    )


def _next(row: CronRow) -> datetime | None:
    try:
        return Cron(row.expression, row.timezone).after(row.now)
    except InvalidCron:  # of a node that knows more than this one
        return None
