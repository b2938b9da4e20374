"""Scheduler: the minute's cron entries become jobs, once however many nodes run, by the clock of the database."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from uuid_utils import uuid7

from tenuto import telemetry
from tenuto.cron import MINUTE, Cron
from tenuto.definition import registered, resolve, sealed
from tenuto.errors import InvalidArgs, InvalidCron, StorageUnavailable, UnknownWorker
from tenuto.features.recurring import Recurring
from tenuto.job import Job
from tenuto.options import as_jobs
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.services.service import Service
from tenuto.storage import crons
from tenuto.storage.crons import CronRow, Declared
from tenuto.storage.database import Hint

AnyJob = Job[Any, Any]

AHEAD: Final = timedelta(days=1)  # that an entry may be ahead of the database's clock, which was put back then
AT_ONCE: Final = 100  # missed minutes of one entry that are made up for in one go


# ── what this process declares ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Entry:
    """What is enqueued again and again: its name, when, of which worker, and how its next job is made."""

    name: str
    cron: Cron
    catch_up: timedelta
    worker: str
    make: Callable[[], AnyJob]

    @property
    def declared(self) -> Declared:
        """As the other nodes see it."""
        cron, catch_up = self.cron, self.catch_up // timedelta(microseconds=1)
        return Declared(self.name, cron.expression, cron.timezone, self.worker, catch_up)

    def job(self) -> AnyJob:
        """Its next job. Raises InvalidCron for what is none, or is of another worker."""
        made = self.make()
        if not isinstance(made, Job):
            raise InvalidCron(f"cron entry {self.name!r} makes something of type {type(made).__name__}; give it a Job")
        if made.worker != self.worker or made.scheduled_at is not None:
            told = "it says when itself" if made.scheduled_at is not None else f"it is of worker {made.worker!r}"
            raise InvalidCron(f"cron entry {self.name!r} makes a job that cannot be: {told}")
        (job,) = as_jobs(made)
        return job

    def job_at(self, minute: datetime) -> AnyJob:
        """Its job of one minute, which is the job's `scheduled_at`. Raises InvalidCron."""
        job = self.job()
        return job.replace(scheduled_at=minute + (job.schedule_in or timedelta(0)), schedule_in=None)


def again(job: AnyJob) -> Callable[[], AnyJob]:
    """Makes the same job again and again, each time under an id of its own."""
    return lambda: job.replace(id=str(uuid7()))


class Entries:
    """Every entry of one app: those that its workers declare themselves, and before them those `added` by name."""

    def __init__(self) -> None:
        self.added: dict[str, Entry] = {}
        self.configured: tuple[Entry, ...] = ()
        self.on_change: Callable[[], None] = _nobody

    def add(self, entry: Entry) -> None:
        """One more. Raises InvalidCron for a name that was added before."""
        if entry.name in self.added:
            raise InvalidCron(f"a cron entry named {entry.name!r} was added before; give each a name of its own")
        entry.job()
        self.added[entry.name] = entry
        self.on_change()

    def all(self) -> dict[str, Entry]:
        """Each by its name: what was added wins over the settings, and those over what a worker says."""
        found = {entry.name: entry for entry in _of_workers()}
        return found | {entry.name: entry for entry in map(_resolved, self.configured) if entry} | self.added

    def check(self) -> None:
        """Make a job of each. Raises InvalidCron for one that cannot; tells of settings whose worker is not there."""
        for entry in self.configured:
            if _resolved(entry) is None:  # left to nodes that import it
                telemetry.emit("cron.exception", name=entry.name, error=UnknownWorker(entry.worker))
        for entry in self.all().values():
            try:
                entry.job()
            except InvalidArgs as refused:
                told = "what cron enqueues needs a default for each of its args, or app.cron.add(name, when, job)"
                raise InvalidCron(f"cron entry {entry.name!r} makes no job: {refused}; {told}") from None


def _resolved(entry: Entry) -> Entry | None:
    """An entry of the settings, where its worker is registered; that one may have another name by now."""
    try:
        return replace(entry, worker=resolve(entry.worker).name)
    except UnknownWorker:
        return None


def _of_workers() -> Iterable[Entry]:
    for definition in dict.fromkeys(tuple(registered().values())):  # once each, however many aliases it has
        name = definition.name
        for feature in definition.features:
            if isinstance(feature, Recurring):
                yield Entry(name, feature.cron, feature.catch_up, name, _maker(definition.new))


def _maker(new: Callable[[Any], AnyJob]) -> Callable[[], AnyJob]:
    return lambda: new({})


# ── the service ───────────────────────────────────────────────────────────────────────────────────


class Scheduler(Service):
    """Once a second it asks what the clock of the database shows: in each new minute it fires what is due. On every
    node that declares an entry; the clock of the process is never asked.

    The declaration that was registered last counts, and nodes that declare just that fire it. Those that declare the
    entry otherwise (an older program, while a newer one is being started) leave it to them, and take over when none
    of them is left.
    """

    interval: ClassVar[float] = 0.9  # a second at most, with what the service adds to it

    def __init__(self, node: Node, notifier: Notifier, entries: Entries) -> None:
        super().__init__(node)
        self._notifier = notifier
        self._entries = entries
        self._registered: set[Declared] = set()
        self._gone_through: datetime | None = None  # the minute in which nothing more is due
        self._left: set[str] = set()  # what somebody asked for and could not be done here, until the next minute
        self._firsts: dict[str, tuple[Cron, datetime, datetime | None]] = {}  # by name
        self._deaf: Callable[[], None] = _nobody

    def start(self) -> None:
        """Tick from now on; and listen to what operators ask for."""
        self._deaf = self._notifier.subscribe(self.hear)
        self._entries.on_change = self.go_through
        super().start()

    async def stop(self) -> None:
        """Let the tick under way end, and make no other."""
        self._deaf()
        self._entries.on_change = _nobody
        await super().stop()

    def hear(self, hint: Hint) -> None:
        """Take up a hint: somebody asked something of an entry."""
        if hint.channel == "cron":
            self.poke()

    def go_through(self) -> None:
        """Go through all entries at once, also when this was done in this minute."""
        self._gone_through = None
        self.poke()

    async def declare(self) -> None:
        """Let the database know what this node declares; each tick does so, too. Raises StorageUnavailable."""
        if mine := self._entries.all():
            await self._rows(mine)

    async def tick(self) -> None:
        """Fire what is due, and run what somebody asked for."""
        mine = self._entries.all()
        if not mine:
            return
        now, is_asked = await self.database.read(crons.look, mine.keys() - self._left)
        minute = now.replace(second=0, microsecond=0)
        if minute == self._gone_through and not is_asked:
            return
        if minute != self._gone_through:
            self._left.clear()
        self._gone_through = minute
        try:
            for name, row in (await self._rows(mine)).items():
                await self._guarded_fire(mine[name], row)
        except BaseException:
            self._gone_through = None
            raise

    async def _rows(self, mine: Mapping[str, Entry]) -> dict[str, CronRow]:
        """How these entries stand, once the others know that they are known here."""
        rows = await self.database.read(crons.crons, mine)
        declared = [entry.declared for entry in mine.values()]
        new = [each for each in declared if each not in self._registered]
        known = [each for each in declared if each not in new and _wants_a_sign(each, rows.get(each.name))]
        if not new and not known:
            return rows
        await self.database.run(crons.register, new, known)
        self._registered.update(new)
        return await self.database.read(crons.crons, mine)

    async def _guarded_fire(self, entry: Entry, row: CronRow) -> None:
        """What one entry raises is told, and does not stop the others; its minute is tried again with the next."""
        if row.asked:
            self._left.add(row.name)
        if row.declared != entry.declared:
            return
        try:
            if row.asked:
                await self._answer(entry)
            if not row.paused:
                await self._fire(entry, row)
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a job is made by user code; it is told
            telemetry.emit("cron.exception", name=entry.name, error=error)

    async def _fire(self, entry: Entry, row: CronRow) -> None:
        if row.done_until - row.now > AHEAD:  # the clock was wrong before: without this it would rest until then
            await self.database.run(crons.fire, row, row.now, [])
            return
        first = self._first_after(entry, row.done_until)
        if first is None or first > row.now:
            return
        horizon = row.now - entry.catch_up - MINUTE  # a minute begun at or before it is too old
        minutes = entry.cron.between(max(row.done_until, horizon), row.now, AT_ONCE)
        jobs = await sealed([entry.job_at(minute) for minute in minutes])
        stored = await self.database.run(crons.fire, row, minutes[-1] if minutes else horizon, jobs)
        if stored is None:  # another node was first, or somebody paused it: perhaps not all of it is done
            self._gone_through = None
            return
        if first <= horizon:
            telemetry.emit("cron.skip", name=entry.name, after=row.done_until, until=horizon)
        self._tell(entry, minutes, stored)
        if len(minutes) == AT_ONCE:
            self.go_through()

    def _first_after(self, entry: Entry, done_until: datetime) -> datetime | None:
        """When the entry is due first; worked out once, since most entries are not due for long."""
        cron, after, first = self._firsts.get(entry.name, (None, None, None))
        if (cron, after) != (entry.cron, done_until):
            first = entry.cron.after(done_until)
            self._firsts[entry.name] = (entry.cron, done_until, first)
        return first

    async def _answer(self, entry: Entry) -> None:
        (job,) = await sealed([entry.job()])
        stored = await self.database.run(crons.answer, entry.name, job)
        self._left.discard(entry.name)
        if stored is not None:
            self._tell(entry, [], [stored])

    def _tell(self, entry: Entry, minutes: list[datetime], stored: list[AnyJob]) -> None:
        if stored:
            telemetry.emit("cron.insert", name=entry.name, minutes=minutes, ids=[job.id for job in stored])
            self._notifier.tell(Hint("insert", queue) for queue in {job.queue for job in stored})


def _wants_a_sign(declared: Declared, row: CronRow | None) -> bool:
    """Whether an entry is to be registered again: it is gone, or nobody has said for a while that it is known."""
    if row is None or row.is_stale:
        return True
    return row.declared == declared and row.known_until - row.now < crons.KNOWN_FOR / 2


def _nobody() -> None:
    """Nobody listens."""
