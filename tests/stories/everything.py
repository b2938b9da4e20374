"""One worker with every feature there is, declared in any order and in any of the ways there are; and its story.

The story is one run through all that can happen to such jobs, as a trace: what was called, and what was stored.
"""

from __future__ import annotations

import asyncio
import types
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

from tenuto import (
    Cancel,
    Chain,
    Deadline,
    Discard,
    Job,
    KeyRing,
    Queue,
    Rate,
    Snooze,
    Tenuto,
    Unique,
    Worker,
    attach_hook,
    current_job,
    detach_hook,
    job,
)
from tenuto.definition import forget
from tenuto.errors import NothingRecorded
from tenuto.storage import outbox
from tests.kit import AnyJob, ToldTo, eventually, until_paused
from tests.storage.tables import Tables

NAME, OLD_NAME, QUEUE = "everything", "everything.before", "everything"
HOUR = timedelta(hours=1)
RING = KeyRing("k1", {"k1": b64encode(b"a key of 32 bytes, for this test").decode()})
LIMITS = Queue(10, limit=5, rate=Rate(1000, per=1), partition_limit=1, partition_rate=Rate(1000, per=1))


# ── what is called ────────────────────────────────────────────────────────────────────────────────

heard: defaultdict[str, list[str]] = defaultdict(list)
"""What was called in the running story for the jobs of each account, whose jobs are one chain: in that order."""

endings: list[str] = []
"""What hooks heard of jobs that others ended: whenever a node comes to it, so apart from the rest."""


def hear(job: AnyJob, what: str, *more: str) -> None:
    """Take down a word of a running job; its args have the form that its worker gives them."""
    args: Any = job.args if isinstance(job.args, dict) else vars(job.args)
    heard[args["account"]].append(" ".join([f"{args['does'].value} {job.attempt}: {what}", *more]))


class Hears:
    """All five hooks, of one of the places where hooks may be."""

    def __init__(self, place: str) -> None:
        self.place = place

    def before_new(self, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        options["meta"] = {**options["meta"], "made": [*options["meta"].get("made", []), self.place]}
        return args, options

    def before_process(self, job: AnyJob) -> Any:
        hear(job, "before_process", self.place)
        does = job.args["does"] if isinstance(job.args, dict) else job.args.does
        return Cancel("refused by a hook") if does is Does.REFUSED and self.place == "listed" else job

    def after_process(self, state: str, job: AnyJob, result: Any) -> None:
        hear(job, "after_process", self.place, state, type(job.error).__name__, type(result).__name__)

    def on_cancelled(self, reason: str, job: AnyJob) -> None:
        endings.append(f"{job.id}: cancelled {self.place} {reason}")

    async def on_discarded(self, reason: str, job: AnyJob) -> None:
        endings.append(f"{job.id}: discarded {self.place} {reason}")


OWN, LISTED, ATTACHED = Hears("own"), Hears("listed"), Hears("attached")
MOMENTS = ("before_new", "before_process", "after_process", "on_cancelled", "on_discarded")


class Does(Enum):
    """What a job is told to do; all but the last few are links of one chain, in this order."""

    VALUE = "give a value"
    FAIL = "fail once"
    SNOOZE = "snooze once"
    CANCEL = "cancel itself"
    HELD = "be cancelled while it waits"
    DISCARD = "discard itself"
    SPEND = "spend its attempts"
    REFUSED = "be refused"
    LATE = "take too long once"
    RENAMED = "be stored under the old name"
    OVERRUN = "run past its deadline"


CHAINED = [does for does in Does if does is not Does.OVERRUN]
ACCOUNTS = {Does.OVERRUN: "b"}


async def act(does: Does, amount: Decimal, at: datetime | None) -> Any:
    """Do as told, and leave a word of what process was given."""
    mine = current_job()
    hear(mine, "process", type(amount).__name__, type(at).__name__, mine.worker, *mine.meta["made"])
    if does is Does.SPEND or (does is Does.FAIL and mine.attempt == 1):
        raise ToldTo(does.value)
    if does is Does.OVERRUN or (does is Does.LATE and mine.attempt == 1):
        await asyncio.Event().wait()
    if does is Does.SNOOZE and not mine.snoozes:
        return Snooze(0)
    answers = {Does.VALUE: {"amount": amount, "at": at}, Does.CANCEL: Cancel("of itself"), Does.DISCARD: Discard("too")}
    return answers.get(does)


# ── how it is declared ────────────────────────────────────────────────────────────────────────────

OPTIONS: Mapping[str, Any] = {
    "name": NAME,
    "aliases": [OLD_NAME],
    "queue": QUEUE,
    "max_attempts": 3,
    "priority": 2,
    "tags": ["Every", "feature"],
    "meta": {"team": "all"},
    "timeout": 60,
    "deadline": Deadline(HOUR, force=True),
    "backoff": 0,
    "reuse_result": False,
    "cron": "0 0 29 2 *",
    "timezone": "Europe/Berlin",
    "catch_up": 0,
    "hooks": [LISTED],
    "unique": Unique(["worker", "args"], states="incomplete"),
    "partition": "args.account",
    "recorded": True,
    "encrypted": RING,
    "chain": Chain(["worker", "args.account"]),
}
"""Every option of a worker but `runs_in`: the story is told in one process."""


class Declared(NamedTuple):
    """One way to declare the worker."""

    kind: str = "function"
    options: Sequence[str] = tuple(OPTIONS)
    moments: Sequence[str] = MOMENTS


def as_function(declared: Declared) -> Any:
    """All options at once, and each of its own hooks by a decorator."""
    return _hooked(job(**_of(declared.options))(_everything()), declared.moments)


def as_stacked(declared: Declared) -> Any:
    """One option after the other, and the hooks behind."""
    decorator = job
    for option in declared.options:
        decorator = decorator(**_of([option]))
    return _hooked(decorator(_everything()), declared.moments)


def as_class(declared: Declared) -> Any:
    """All options in the class statement, and the hooks as its methods."""
    return _class((Worker[Orders, Any],), _of(declared.options), declared.moments)


def as_mixins(declared: Declared) -> Any:
    """A base class for each option and for each hook, in any order; one of them knows the args."""
    bases: list[Any] = []
    for option in declared.options:
        if option == "name":  # which no base hands down: its place is that of the one with the args
            bases.append(types.new_class("Args", (Worker[Orders, Any],)))
        elif option == "aliases":  # nor these: here stand the hooks
            bases += [types.new_class(moment, (), exec_body=_methods([moment])) for moment in declared.moments]
        else:
            bases.append(types.new_class(option, (Worker,), {option: OPTIONS[option]}))
    return _class(tuple(bases), _of(("name", "aliases")), ())


KINDS = {"function": as_function, "stacked": as_stacked, "class": as_class, "mixins": as_mixins}


@dataclass
class Orders:
    """The args of the class; the function has the same ones."""

    does: Does = Does.VALUE
    account: str = "house"
    amount: Decimal = Decimal("1.50")
    at: datetime | None = None


def _everything() -> Any:
    async def everything(
        does: Does = Does.VALUE, account: str = "house", amount: Decimal = Decimal("1.50"), at: datetime | None = None
    ) -> Any:
        return await act(does, amount, at)

    return everything


def _of(options: Iterable[str]) -> dict[str, Any]:
    return {option: OPTIONS[option] for option in options}


def _hooked(worker: Any, moments: Iterable[str]) -> Any:
    for moment in moments:
        getattr(worker, moment)(getattr(OWN, moment))
    return worker


def _class(bases: tuple[Any, ...], options: dict[str, Any], moments: Iterable[str]) -> Any:
    async def process(self: Any, job: Job[Orders, Any]) -> Any:
        return await act(job.args.does, job.args.amount, job.args.at)

    def body(namespace: dict[str, Any]) -> None:
        _methods(moments)(namespace)
        namespace |= {"process": process, "__module__": __name__}

    return types.new_class("Everything", bases, options, body)


def _methods(moments: Iterable[str]) -> Any:
    def fill(namespace: dict[str, Any]) -> None:
        namespace |= {moment: staticmethod(getattr(OWN, moment)) for moment in moments}

    return fill


@contextmanager
def declared_as(declared: Declared) -> Iterator[Any]:
    """The worker, for as long as it is wanted."""
    attach_hook(ATTACHED)
    try:
        yield KINDS[declared.kind](declared)
    finally:
        detach_hook(ATTACHED)
        forget(NAME)


# ── its story ─────────────────────────────────────────────────────────────────────────────────────


class Trace(NamedTuple):
    """All that a story leaves."""

    heard: dict[str, list[str]]
    endings: list[str]
    answers: dict[str, Any]
    rows: dict[str, Any]


async def story(app: Tenuto, tables: Tables, worker: Any) -> Trace:
    """Everything that can happen to its jobs, once, on an app that works on its queue."""
    heard.clear()
    endings.clear()
    await app.delete(queue=QUEUE)
    await app.queue(QUEUE).pause()
    await until_paused(app, QUEUE)
    jobs = {does: made(worker, does) for does in Does}
    stored = await app.enqueue([jobs[does] for does in CHAINED])
    again = await app.enqueue([made(worker, does) for does in CHAINED if does is not Does.RENAMED])
    answers: dict[str, Any] = {
        "stored": [(one.state, one.existing) for one in stored],
        "asked again": [(one.existing, one.id == jobs[does].id) for one, does in zip(again, CHAINED, strict=False)],
        "cancelled": await app.cancel(jobs[Does.HELD]) == [jobs[Does.HELD].id],
    }
    await app.queue(QUEUE).resume()
    await app.cron.run(NAME)
    await app.enqueue(jobs[Does.OVERRUN])
    await has_ended(app, list(jobs.values()))
    (fired,) = await eventually(lambda: of_the_house(app))
    await app.database.run(outbox.tell_hooks, [jobs[Does.SPEND].id], "rescue")  # as after a rescue that discards
    await eventually(lambda: len(endings) >= 9)
    rows = {does.value: await row_of(app, tables, one) for does, one in jobs.items()}
    rows["of cron"] = await row_of(app, tables, fired)
    names = {one.id: does.value for does, one in jobs.items()}
    ended = sorted(f"{names[told[:36]]}{told[36:]}" for told in endings)
    return Trace({account: list(lines) for account, lines in sorted(heard.items())}, ended, answers, rows)


def made(worker: Any, does: Does) -> AnyJob:
    """A job that is told to do this."""
    own: dict[Does, dict[str, Any]] = {
        Does.SPEND: {"max_attempts": 1},
        Does.LATE: {"timeout": 0.1},
        Does.OVERRUN: {"deadline": 0.8},
        Does.RENAMED: {"tags": ["renamed"], "priority": 7},
    }
    at = datetime(2026, 3, 1, tzinfo=UTC)
    one: AnyJob = worker.options(**own.get(does, {})).new(does=does, account=ACCOUNTS.get(does, "a"), amount=2, at=at)
    return one.replace(worker=OLD_NAME) if does is Does.RENAMED else one


async def has_ended(app: Tenuto, jobs: Iterable[AnyJob]) -> None:
    """Wait until all of them have come to their end."""

    async def none_goes_on() -> bool:
        return all([(await app.fetch(one)).state.is_terminal for one in jobs])

    await eventually(none_goes_on)


async def of_the_house(app: Tenuto) -> list[AnyJob]:
    """The jobs that the cron entry made, once they are completed."""
    completed = [await app.opened(one) for one in await app.find(queue=QUEUE, state="completed")]
    return [one for one in completed if one.args["account"] == "house"]


async def row_of(app: Tenuto, tables: Tables, one: AnyJob) -> dict[str, Any]:
    """What is stored of a job, sealed and opened, without what differs from one run to the next."""
    now = await app.fetch(one)
    opened = await app.opened(now)
    try:
        recorded = await app.recorded(one)
    except NothingRecorded:
        recorded = "nothing"
    assert now.deadline_at is not None
    assert now.inserted_at is not None
    plain = ("state", "attempt", "max_attempts", "priority", "tags", "meta", "worker", "queue", "timeout", "snoozes")
    (kept,) = tables.rows(f"select {', '.join(KEPT)} from jobs where id = ?", one.id)
    return {
        **{field: getattr(now, field) for field in (*plain, "deadline_force", "has_hooks")},
        **{column: bool(value) if column == "unique_held" else value for column, value in kept.items()},
        "deadline": round((now.deadline_at - now.inserted_at).total_seconds(), 1),
        "stored": [type(now.args).__name__, *((one.type, one.message) for one in now.errors)],
        "args": opened.args,
        "errors": [(one.attempt, one.kind, one.type, one.message) for one in opened.errors],
        "recorded": recorded,
    }


KEPT = ("unique_key", "unique_states", "unique_held", "limit_key", "chain_key", "chain_holds")
