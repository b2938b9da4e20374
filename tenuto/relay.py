"""Relay: await a job's answer from any process that reaches the database, now or after a restart."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Generic, TypeVar

from tenuto import telemetry
from tenuto.answer import (
    GONE,
    TIMED_OUT,
    Answer,
    Cancelled,
    Completed,
    Discarded,
    Failed,
    Gone,
    Kept,
    Snoozed,
    TimedOut,
    TooLarge,
)
from tenuto.context import running
from tenuto.errors import (
    InvalidJob,
    InvalidRequest,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    JobNotFound,
    JobSnoozed,
    NotStarted,
    RelayTimedOut,
    ResultTooLarge,
    StorageUnavailable,
    WouldDeadlock,
)
from tenuto.job import Duration, Job, seconds
from tenuto.opening import opened_answer
from tenuto.options import as_jobs
from tenuto.runtime.notifier import Notifier
from tenuto.sizes import USUAL
from tenuto.storage import relays
from tenuto.storage.borrowed.loan import Line
from tenuto.storage.database import Database, Hint
from tenuto.workflow import Workflow

T = TypeVar("T")

AT_ONCE: Final = 0.001  # seconds after it was stored, before which a job cannot have settled unheard
OURS_FIRST: Final = 0.02  # seconds that the claim and the ack of such a job have the database to themselves
POLL_EVERY: Final = 0.5  # seconds: a wait never depends on a hint
TOGETHER: Final = 5000  # jobs asked about in one read


class Relay(Generic[T]):
    """A job whose answer is awaited. Any process may make one for it, as often as it likes: `app.relay_to(id)`.

    Letting go of it, or of a wait, costs nothing and leaves nothing behind; the job goes on.
    """

    def __init__(self, job: Job[Any, T], waiting: "Waiting", line: Line | None = None, *, is_new: bool = False) -> None:
        self.job = job
        self.line = line  # on which it was stored, in a transaction of somebody else's
        self.stored_at = time.monotonic() if is_new else 0.0  # by this process's clock, where this process did
        self.waiting = waiting  # all of its app's

    @property
    def id(self) -> str:
        """The id of its job, by which it can be awaited again."""
        return self.job.id

    def __repr__(self) -> str:
        return f"<Relay of {self.job.worker} {self.id}>"

    async def result(self, timeout: Duration | None = 5.0, *, with_retries: bool = False) -> T:
        """The value that the job returned.

        Raises what `outcome` gives in its place: JobFailed, JobCancelled, JobDiscarded, JobSnoozed, ResultTooLarge,
        RelayTimedOut, JobNotFound. A value that nobody awaited when the job ended, and that is therefore gone, is None.
        """
        return _value(self, await self.outcome(timeout, with_retries=with_retries), timeout)

    async def outcome(self, timeout: Duration | None = 5.0, *, with_retries: bool = False) -> Answer[T]:
        """What the job came to, as a value to match: Completed, Failed, Snoozed, Cancelled, Discarded, TooLarge, Gone,
        and TimedOut, after which the job goes on. `timeout=None` waits for ever.

        The first attempt answers, also when it fails or snoozes; `with_retries` the last one does. Raises WouldDeadlock
        in a job that only it could make room for, and for one whose own transaction is still open, NotStarted once the
        app is closed, and what opens an encrypted worker's value raises. A database that is away meanwhile only makes
        it later.
        """
        (answer,) = await self.waiting.outcomes([self], timeout, with_retries=with_retries)
        return answer


def _value(relay: Relay[T], answer: Answer[T], timeout: Duration | None) -> T:
    match answer:
        case Completed(value):
            return value
        case Failed(error):
            raise JobFailed(relay.id, error)
        case Discarded(error):
            raise JobDiscarded(relay.id, error)
        case Cancelled(reason):
            raise JobCancelled(relay.id, reason)
        case Snoozed(delay):
            raise JobSnoozed(relay.id, delay)
        case TooLarge(size):
            raise ResultTooLarge("the answer", size, USUAL.result)
        case Gone():
            raise JobNotFound(relay.id)
        case TimedOut():
            raise RelayTimedOut(relay.id, 0.0 if timeout is None else seconds("timeout", timeout).total_seconds())


def several(relays: Any, kind: type[Any]) -> list[Any]:
    """Relays that are awaited together, as a list. Raises InvalidRequest for anything else."""
    if not isinstance(relays, Iterable):
        raise InvalidRequest(f"await_many takes a list of relays, and not something of type {type(relays).__name__}")
    given: list[Any] = [*relays]
    for each in given:
        if not isinstance(each, kind):
            told = f"{type(each).__module__}.{type(each).__name__}"
            raise InvalidRequest(f"await_many takes relays of this app, and not a {told}; relay_to makes one of an id")
    return given


def awaited_jobs(work: Any) -> list[Job[Any, Any]]:
    """The jobs in `work`, one or several, to be stored as awaited. Raises InvalidJob for anything else."""
    if isinstance(work, Workflow):
        told = "enqueue the Workflow, and await `app.workflow(id).wait()`"
        raise InvalidJob(f"relay takes a Job or several, and not a Workflow; {told}")
    return [job.replace(awaited=True) for job in as_jobs(work)]


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True, eq=False)
class _Wait:
    """One wait for one job: whether only its last attempt answers, whether the transaction that stored it may have been
    open when the wait began, whether it was looked at, and where the answer goes (None: the job is gone)."""

    id: str
    with_retries: bool
    is_inside: bool
    is_read: bool = False
    answer: "asyncio.Future[Kept | None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Waiting:
    """All waits of one app for jobs, however many, answered by one loop that runs while there are any.

    Subscribe, read, then wait: a job that settles at whatever moment is seen by the read or told by the hint.
    """

    def __init__(self, database: Database, notifier: Notifier, check_open: Callable[[], None]) -> None:
        self._database = database
        self._notifier = notifier
        self._check_open = check_open  # raises NotStarted
        self._waits: dict[str, set[_Wait]] = defaultdict(set)
        self._told: set[str] = set()  # jobs that may have settled since they were read
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()

    async def outcomes(
        self, relays: Sequence[Relay[T]], timeout: Duration | None, *, with_retries: bool
    ) -> list[Answer[T]]:
        """What each job came to, in their order; TimedOut for those that had not when the time was over."""
        limit = None if timeout is None else seconds("timeout", timeout).total_seconds()
        self._check_open()
        relays = self._own(relays)
        async with self._begun(relays, with_retries=with_retries) as waits:
            if waits:
                if limit == 0:
                    await self._look({wait.id for wait in waits})
                with _slot_lent(relays):
                    answers = [wait.answer for wait in waits]
                    await asyncio.wait(answers, timeout=limit, return_when=asyncio.FIRST_EXCEPTION)
            return [await _answer(wait) for wait in waits]

    def _own(self, relays: Iterable[Relay[T]]) -> list[Relay[T]]:
        given: list[Relay[T]] = several(relays, Relay)
        for each in given:
            if each.waiting is not self:
                raise InvalidRequest(f"the relay of job {each.id} is another app's; await it there, or by its relay_to")
        return given

    @asynccontextmanager
    async def _begun(self, relays: Sequence[Relay[Any]], *, with_retries: bool) -> AsyncGenerator[list[_Wait]]:
        waits = [_Wait(each.id, with_retries, each.line is not None and each.line.is_inside) for each in relays]
        for wait in waits:
            self._waits[wait.id].add(wait)
        if self._reader is None and waits:
            self._changed = asyncio.Event()  # of this loop
            leave = self._notifier.subscribe(self._hear)
            self._reader = asyncio.create_task(self._read_while_awaited(leave), name="tenuto-relay")
        if time.monotonic() - max((each.stored_at for each in relays), default=0.0) < AT_ONCE:
            asyncio.get_running_loop().call_later(OURS_FIRST, self._look_first, waits)
        else:
            self._look_first(waits)
        try:
            yield waits
        finally:
            for wait in waits:
                self._end(wait)

    def _end(self, wait: _Wait) -> None:
        if not wait.answer.cancel() and not wait.answer.cancelled():  # where there is none: nobody waits any more
            wait.answer.exception()  # seen, also where another wait's was raised first
        self._waits[wait.id].discard(wait)
        if not self._waits[wait.id]:
            del self._waits[wait.id]
        if not self._waits:
            self._waits.clear()  # a dict that was emptied one by one keeps the table of its most
            self._changed.set()

    def stop(self) -> None:
        """Tell everybody who waits that the app is closed."""
        for wait in [wait for waits in self._waits.values() for wait in waits if not wait.answer.done()]:
            wait.answer.set_exception(NotStarted("the app was closed while this waited; the job goes on"))

    def _look_first(self, waits: Iterable[_Wait]) -> None:
        self.look_at(wait.id for wait in waits if not wait.is_read)

    def look_at(self, ids: Iterable[str]) -> None:
        """These jobs may have settled."""
        told = self._waits.keys() & ids
        if told:
            self._told |= told
            self._changed.set()

    def _hear(self, hint: Hint) -> None:
        if not hint.channel or hint == _ANY_SETTLED:
            self.look_at(self._waits)
        elif hint.channel == "settled":
            self.look_at([hint.subject])

    async def _read_while_awaited(self, leave: Callable[[], None]) -> None:
        clock = asyncio.get_running_loop()
        poll_at = clock.time() + POLL_EVERY
        try:
            while self._waits:
                self._changed.clear()  # before the read: what is told from now on leads to another one
                if clock.time() >= poll_at:  # also while others' hints keep coming
                    self._told.update(self._waits)
                    poll_at = clock.time() + POLL_EVERY
                told, self._told = self._told, set()
                try:
                    await self._read(told)
                except StorageUnavailable:
                    pass  # it is asked again later
                except Exception as error:  # noqa: BLE001 - who waits must not wait for a reader that is gone; it is told
                    telemetry.emit("service.exception", service="relay", error=error)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(poll_at):
                        await self._changed.wait()
        finally:
            leave()
            self._reader = None

    async def _look(self, ids: set[str]) -> None:
        """Read once, so that what is there is told without a wait. A database that is silent is not waited for, and the
        read goes on without who asked: to break it off takes longer still."""
        reading = asyncio.create_task(self._read(ids), name="tenuto-relay-look")
        self._looks.add(reading)
        reading.add_done_callback(self._looked)
        await asyncio.wait([reading], timeout=POLL_EVERY)
        if reading.done():
            with suppress(StorageUnavailable):
                reading.result()

    def _looked(self, reading: "asyncio.Task[None]") -> None:
        self._looks.discard(reading)
        if not reading.cancelled():
            reading.exception()  # seen, also where nobody waits for it any more

    async def _read(self, told: set[str]) -> None:
        """Answer the waits for those jobs, which may have settled. Who begins to wait meanwhile is not answered by it:
        what is not there yet may be committed, and be awaited, before the read is back."""
        asked = {id: tuple(self._waits[id]) for id in told.intersection(self._waits)}
        for wait in chain.from_iterable(asked.values()):
            wait.is_read = True
        ids = list(asked)
        for part in (ids[start : start + TOGETHER] for start in range(0, len(ids), TOGETHER)):
            found = await self._database.read(relays.kept, part)
            for id in part:
                for wait in asked[id]:
                    _tell(wait, found.get(id))


def _tell(wait: _Wait, kept: Kept | None) -> None:
    if wait.answer.done():
        return
    if kept is None and wait.is_inside:
        wait.answer.set_exception(uncommitted(wait.id))
    elif kept is None or kept.is_answer(with_retries=wait.with_retries):
        wait.answer.set_result(kept)


async def _answer(wait: _Wait) -> Answer[Any]:
    if not wait.answer.done():
        return TIMED_OUT
    kept = wait.answer.result()
    return GONE if kept is None else await opened_answer(kept, with_retries=wait.with_retries)


def uncommitted(id: str) -> WouldDeadlock:
    """What is raised where a job is awaited in the open transaction that alone holds it."""
    return WouldDeadlock(
        f"job {id} is not there before the transaction that stored it commits, and that one is open; commit, then wait"
    )


def _slot_lent(relays: Sequence[Relay[Any]]) -> AbstractContextManager[None]:
    """In a job: let its queue use the slot meanwhile. Raises WouldDeadlock where that cannot help."""
    mine = running.get(None)
    if mine is None or mine.slots is None:
        return nullcontext()
    lent: AbstractContextManager[None] = mine.slots.lent(mine.job, [each.job for each in relays])
    return lent


_ANY_SETTLED: Final = Hint("settled")
