"""Hand: a node without loops. It claims, runs and gives back jobs when it is told to, and nothing by itself."""

# pyright: reportPrivateUsage=false
# It takes the parts of an open app, as the app itself would hand them to a crew.

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple, ParamSpec, Self, TypeVar

from uuid_utils import uuid7

from tenuto.app import Tenuto
from tenuto.context import Needs
from tenuto.definition import Definition
from tenuto.errors import JobNotFound, StorageUnavailable
from tenuto.job import Job
from tenuto.limits import Limits
from tenuto.opening import encrypted_workers
from tenuto.outcome import RELEASED, STOPPED, Ack, Cancel, Outcome, Released, Stopped, settle
from tenuto.runtime.crew import Crew
from tenuto.runtime.executor import Attempt, Executor
from tenuto.runtime.expiry import expire
from tenuto.runtime.node import Node, identity
from tenuto.runtime.notifier import tell_settled
from tenuto.runtime.places.children import Children
from tenuto.runtime.services.lifeline import Lifeline
from tenuto.runtime.services.outbox import Outbox
from tenuto.runtime.services.stager import Stager
from tenuto.storage import limited, store, upkeep, upstream
from tenuto.storage.database import Hint, Verb
from tenuto.storage.upkeep import QueuePoll
from tenuto.testing.faults import dying
from tenuto.testing.tried import Tried, tried

P = ParamSpec("P")
T = TypeVar("T")
AnyJob = Job[Any, Any]

NAME: Final = "testing"
LEASE: Final = timedelta(days=1)  # by the database's clock; nobody renews it
PATIENCE: Final = 20  # times that a database which is away is asked again
ENDS_WITHIN: Final = 1.0  # seconds for an attempt that was told to stop
ALL_AT_ONCE: Final = 1000
NO_BUDGET: Final = 2**62  # of results that come with a claim: all of them


class Slot(NamedTuple):
    """Where one job of a queue runs: each has a lease of its own, as if it were a process."""

    queue: str
    number: int = 0


class Hand(Crew):
    """A node beside whatever else works on the database. `async with` it; what still runs at its end goes back."""

    def __init__(self, app: Tenuto) -> None:
        app._check_loop()
        config, node, notifier = app.config, Node(app.database, NAME, LEASE), app._notifier
        super().__init__(app, node, notifier, app.cron.entries)
        self._grace = 0.0
        self.app = app
        self.under_way: dict[asyncio.Task[None], tuple[Slot, Attempt]] = {}
        self.stirred = asyncio.Event()  # something was enqueued, or asked of what runs
        self._is_asked = False
        self._came_to: dict[Attempt, Outcome] = {}
        self._acks: dict[Attempt, Ack] = {}
        self._killed: set[Attempt] = set()
        self._leases: dict[Slot, str] = {}
        rest = (self._has_step, self._store_result, self._elsewhere.process, config.sizes)
        self._executor = _Watched(self._came_to, app, self._threads, *rest)
        self._stager = Stager(node, notifier)
        self._lifeline = Lifeline(node, notifier)
        self._outbox = _AtOnce(node, self._running)

    async def __aenter__(self) -> Self:
        Children.contain(asyncio.get_running_loop())
        self._deaf = self._notifier.subscribe(self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.let_go()
            await self._outbox.stop()
            with suppress(StorageUnavailable):
                await self._run(upkeep.resign, list(self._leases.values()))
        finally:
            self._deaf()
            await self._elsewhere.close()
            self._threads.close()
            Children.let_go(asyncio.get_running_loop())

    # ── what is due ──

    async def queues(self) -> set[str]:
        """Every queue that holds jobs."""
        return set(await self.patiently(self.app.counts))

    async def poll(self, queues: Collection[str]) -> list[QueuePoll]:
        """How these queues stand, without those that an operator paused."""
        polled = await self._run(upkeep.poll, NAME, list(queues))
        return [queue for queue in polled if not queue.paused]

    async def tend(self) -> None:
        """What services do: stage what is due, cancel what waits past its deadline, take back what died, tell hooks."""
        for service in (self._stager, self._lifeline, self._outbox):
            await self.patiently(service.tick)

    # ── claim ──

    async def claim(self, queue: QueuePoll, slot: Slot) -> AnyJob | None:
        """The most urgent job of a queue, if its limits allow one: it is executing then, and its attempt counted."""
        has_limits = any(Limits.decode(queue.limits))
        if queue.suspect and not any(attempt.job.suspicions for _, attempt in self.under_way.values()):
            suspects = limited.claim_suspect if has_limits else store.claim_suspect
            if jobs := await self._claimed(suspects, slot, queue.name):
                return jobs[0]
        if not has_limits:
            jobs = await self._claimed(store.claim, slot, queue.name, 1)
        else:
            jobs = (await self._claimed(limited.claim, slot, queue.name, 1)).jobs
        return jobs[0] if jobs else None

    async def claim_this(self, job: AnyJob, slot: Slot) -> AnyJob | None:
        """Just this job, if it is due, whatever is more urgent and whatever limits say: the others go back unspent."""
        mine: AnyJob | None = None
        others: list[AnyJob] = []
        while mine is None:
            found = await self._claimed(store.claim, slot, job.queue, ALL_AT_ONCE)
            if not found:
                found = await self._claimed(store.claim_suspect, slot, job.queue)
            if not found:
                break
            others += (each for each in found if each.id != job.id)
            mine = next((each for each in found if each.id == job.id), None)
        if others:
            tell_settled(self._notifier, await self._run(store.ack, [settle(each, RELEASED) for each in others]))
        return mine

    async def _claimed(self, verb: Callable[..., Verb[T]], slot: Slot, *asked: Any) -> T:
        """What a claim gives. Where an answer was lost, what it may have claimed goes back first, as on a node."""
        lease = await self._lease(slot)

        def claim() -> Verb[T]:
            yield from upkeep.disown([lease], [])
            return (yield from verb(*asked, lease, self.node.id))

        try:
            return await self.node.database.run(verb, *asked, lease, self.node.id)
        except StorageUnavailable:
            return await self._run(claim)

    async def _lease(self, slot: Slot) -> str:
        if slot not in self._leases:
            workers = "[]"  # nobody asks a test's node what it knows
            lease = upkeep.Producer(str(uuid7()), self.node.id, slot.queue, upkeep.SCHEMA_VERSION, workers, *identity())
            await self._run(upkeep.register, [lease], LEASE)
            self._leases[slot] = lease.id
        return self._leases[slot]

    # ── run ──

    async def begin(self, job: AnyJob, slot: Slot) -> None:
        """Run a claimed job, in a task whose context has nothing of the test's: a node's has nothing of it either."""
        attempt = Attempt(job, await self._needs(job))
        attempt.task = task = asyncio.create_task(self._attempt(attempt), context=Context())
        self.under_way[task] = slot, attempt
        if job.deadline_force:
            expire(attempt, self._tell)

    async def _needs(self, job: AnyJob) -> Needs:
        if job.workflow_id is None or not (job.has_needs or job.epoch > 1):
            return Needs()
        return (await self._run(upstream.needs, [job], encrypted_workers(), NO_BUDGET)).get(job.id) or Needs()

    async def _attempt(self, attempt: Attempt) -> None:
        dying.set(lambda: self._kill(attempt))
        self._acks[attempt] = await self._executor.run(attempt)

    def _kill(self, attempt: Attempt) -> None:
        """Its process has died: nothing of it is told or given back. Who calls this raises out of the attempt."""
        self._killed.add(attempt)
        attempt.stopped = RELEASED

    async def wait(self, within: float) -> bool:
        """Wait until an attempt has ended, or something was enqueued or asked; False when that took longer."""
        stirred = asyncio.ensure_future(self.stirred.wait())
        ended, _ = await asyncio.wait([*self.under_way, stirred], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        stirred.cancel()
        self.stirred.clear()
        await self._obey()
        return bool(ended)

    async def ended(self) -> Tried[Any] | None:
        """What the next attempt came to that has ended, in the order in which they began, once it is given back."""
        for task in self.under_way:
            if task.done():
                return await self._finish(task)
        return None

    async def _finish(self, task: "asyncio.Task[None]") -> Tried[Any]:
        slot, attempt = self.under_way.pop(task)
        came_to, job = self._came_to.pop(attempt, None), attempt.job
        ack = self._acks.get(attempt) or settle(job, attempt.stopped or RELEASED)
        is_killed = attempt in self._killed
        if is_killed:
            self._killed.discard(attempt)
            await self._run(upkeep.expire, [self._leases.pop(slot)])
            await self.patiently(self._lifeline.tick)
        else:
            tell_settled(self._notifier, await self._run(store.ack, [ack]))
        try:
            now = await self.patiently(partial(self.app.fetch, job))
        except JobNotFound:  # somebody deleted it meanwhile
            now = job.replace(state=ack.state)
        return tried(now, came_to, is_killed=is_killed)

    async def let_go(self) -> list[AnyJob]:
        """Tell what runs to end, and give it back unspent; the jobs that ran. A thread is left to itself."""
        left = [attempt for _, attempt in self.under_way.values()]
        for attempt in left:
            attempt.stop(RELEASED)
        if self.under_way:
            await asyncio.wait(self.under_way, timeout=ENDS_WITHIN)
        self.under_way.clear()
        acks = [self._acks.get(attempt) or settle(attempt.job, RELEASED) for attempt in left]
        if acks:
            tell_settled(self._notifier, await self._run(store.ack, acks))
        return [attempt.job for attempt in left]

    # ── what others ask ──

    def _hear(self, hint: Hint) -> None:
        self._is_asked |= hint.channel in ("signal", "")
        self.stirred.set()

    async def _obey(self) -> None:
        """Tell those attempts whose jobs an operator cancelled to stop, and those that somebody awaits by now so."""
        if not self._is_asked:
            return
        self._is_asked = False
        polled = await self._run(upkeep.poll_signals, list(self._leases.values()))
        told = {(id, epoch): is_cancelled for id, epoch, is_cancelled in polled}
        for _, attempt in self.under_way.values():
            is_cancelled = told.get((attempt.job.id, attempt.job.epoch))
            if is_cancelled and attempt.stopped is None:
                self._tell(attempt, STOPPED)
            elif is_cancelled is not None and attempt.job.signal is not None:
                attempt.job.signal.awaited = True

    def _tell(self, attempt: Attempt, outcome: Stopped | Released | Cancel) -> None:
        attempt.stop(outcome)

    # ── the database ──

    async def _run(self, verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.patiently(lambda: self.node.database.run(verb, *args, **kwargs))

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What is asked of the database, again and again where that is away for a moment, as a node does."""
        for _ in range(PATIENCE):
            with suppress(StorageUnavailable):
                return await ask()
            await asyncio.sleep(0.01)  # before the next try: the database may be away
        return await ask()


class _Watched(Executor):
    """An executor that keeps what process came to: an ack holds only what is stored of it."""

    def __init__(self, came_to: dict[Attempt, Outcome], *parts: Any) -> None:
        super().__init__(*parts)
        self._came_to = came_to

    async def _outcome(self, attempt: Attempt, definition: Definition) -> Outcome:
        outcome = self._came_to[attempt] = await super()._outcome(attempt, definition)
        return outcome


class _AtOnce(Outbox):
    """An outbox whose tick ends when the hooks have been told."""

    async def tick(self) -> None:
        """Tell all that waits to be told."""
        while True:
            await super().tick()
            if not self._telling:
                return
            await asyncio.wait(list(self._telling))
