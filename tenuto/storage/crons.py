"""Cron entries, as verbs: declared by nodes, fired once a minute by one of them, paused and run by operators."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from tenuto.storage.database import Verb, call, last
from tenuto.storage.store import AnyJob, enqueue, micros

KNOWN_FOR: Final = timedelta(minutes=4)  # after a node said that it knows an entry
KEPT_FOR: Final = timedelta(days=30)  # after the last node that knew it; longer than any minute is made up for


class Declared(NamedTuple):
    """One entry as a node declares it."""

    name: str
    expression: str
    timezone: str
    worker: str
    catch_up: int  # microseconds


class CronRow(NamedTuple):
    """One entry as it is stored, by the declaration that was registered last."""

    name: str
    expression: str
    timezone: str
    worker: str
    catch_up: int  # microseconds
    paused: bool
    asked: bool  # somebody wants it run now
    done_until: datetime  # no minute up to here is fired any more
    fired_minute: datetime | None  # the last one
    job_id: str | None  # of the last job
    job_state: str | None
    registered_at: datetime
    known_until: datetime  # when the last sign of a node that knows it expires
    now: datetime  # the database's clock

    @property
    def declared(self) -> Declared:
        """Who may fire it: a node that declares just this."""
        return Declared(*self[:5])

    @property
    def is_stale(self) -> bool:
        """Whether no live node knows it."""
        return self.known_until <= self.now


def crons(names: Iterable[str] | None = None) -> Verb[dict[str, CronRow]]:
    """Entries by name; all of them, in the order of their names, unless some are named."""
    rows = yield last("crons", names=None if names is None else list(names))
    return {row[0]: CronRow(*row) for row in rows}


def look(names: Iterable[str]) -> Verb[tuple[datetime, bool]]:
    """What the database's clock shows, and whether anybody asked for one of these entries. It costs next to nothing."""
    ((now, asked),) = yield last("cron_asked", names=list(names))
    return now, asked


def register(new: Sequence[Declared], known: Sequence[Declared]) -> Verb[None]:
    """Keep what a node declares, each for `KNOWN_FOR`. What is `new` wins over what others declared under its name;
    what was `known` before does so only when they are gone. An entry whose schedule changes begins anew.
    """
    for declared, wins in ((new, True), (known, False)):
        if declared:
            documents = [entry._asdict() for entry in declared]
            yield call("cron_register", crons=documents, wins=wins, ttl=micros(KNOWN_FOR))


def fire(seen: CronRow, until: datetime, jobs: Sequence[AnyJob]) -> Verb[list[AnyJob] | None]:
    """Store the jobs of an entry's minutes up to `until`, once however many nodes try; None for all but the first.

    It is fenced by where the entry stood when it was `seen`, which only grows: no minute is fired twice, also when
    the database's clock is put back. The entry moves on and the jobs are stored in one transaction.
    """
    expected = {"expression": seen.expression, "timezone": seen.timezone, "worker": seen.worker}
    job_id = jobs[-1].id if jobs else None
    moved = yield call("cron_fire", name=seen.name, **expected, seen=seen.done_until, until=until, job_id=job_id)
    if not moved:
        return None
    return (yield from enqueue(jobs)) if jobs else []


def answer(name: str, job: AnyJob) -> Verb[AnyJob | None]:
    """Store a job for which somebody asked, once; None when another node has done it."""
    taken = yield call("cron_answer", name=name, worker=job.worker, job_id=job.id)
    if not taken:
        return None
    (stored,) = yield from enqueue([job])
    return stored


def ask(name: str) -> Verb[bool]:
    """Ask for a job now; False where no live node knows the entry, or there is none."""
    return bool((yield last("cron_ask", name=name)))


def pause(name: str, paused: bool) -> Verb[bool]:
    """Pause an entry or resume it; False where there is none. What was due meanwhile is not made up for."""
    return bool((yield last("cron_pause", name=name, paused=paused)))


def prune(keep: timedelta = KEPT_FOR) -> Verb[int]:
    """Forget entries that no node has known for longer than `keep`, unless they are paused; how many."""
    return len((yield last("prune_crons", keep=micros(keep))))
