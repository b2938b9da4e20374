"""Producer: one queue of one node, by two loops: take what there is room for, give back what is done."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tenuto import telemetry
from tenuto.context import NONE, Needs
from tenuto.errors import StorageBusy, StorageRejected, StorageUnavailable
from tenuto.job import AVAILABLE, Job
from tenuto.opening import encrypted_workers
from tenuto.outcome import RELEASED, STOPPED, Ack, Cancel, Discard, Failed, Released, Stopped, settle
from tenuto.runtime.cursor import Cursor
from tenuto.runtime.executor import Attempt, Executor
from tenuto.runtime.expiry import expire
from tenuto.runtime.lending import Slots
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.runtime.parked import Parked
from tenuto.storage import store, upkeep, upstream
from tenuto.storage.database import Hint
from tenuto.storage.store import AnyJob

GRACE_FOR_STOPPED: Final = 0.5  # seconds until an attempt that was told to stop is settled without it
HALF_EMPTY_WAIT: Final = 0.005  # seconds to wait for more slots before taking fewer than half of them
GIVE_UP_AFTER: Final = 10.0  # seconds that a stopping node waits for a database that is away
PATIENT, HASTY = "500ms", "50ms"  # how long an ack waits for rows that another session holds
ACKED_AT_ONCE: Final = 1000


class Producer:
    """Runs the jobs of one queue, at most `limit` at once, until it is stopped."""

    def __init__(self, queue: str, limit: int, node: Node, executor: Executor, notifier: Notifier) -> None:
        self.queue = queue
        self.limit = limit
        self.configured = limit
        self.paused = False
        self.released = 0  # jobs given back unfinished
        self._node = node
        self._executor = executor
        self._notifier = notifier
        self._attempts: dict[tuple[str, int], Attempt] = {}  # each holds a slot until its code has ended
        self._acks: list[Ack] = []
        self._sending: list[Ack] = []
        self._parked = Parked(lambda acks: self._give_back(acks, HASTY))
        self._wanted = asyncio.Event()  # something may be due
        self._changed = asyncio.Event()  # a slot, a setting or the node's state may have changed
        self._given = asyncio.Event()  # there are acks
        self.cursor = Cursor()
        self._slots = Slots(self._changed.set, lambda: self.cursor.is_capped)
        self._suspects = True  # a suspect may be due
        self._in_doubt = False  # a claim's answer may have been lost
        self._stopping = False
        self._draining = False
        self._has_ended = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # asked for once: that looks at the process each time

    # ── from outside ──

    def start(self) -> None:
        """Take and give back from now on, on the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._take_loop(), name=f"tenuto-take-{self.queue}"),
            asyncio.create_task(self._give_loop(), name=f"tenuto-give-{self.queue}"),
        ]

    def wake(self, *, suspects: bool = False) -> None:
        """Something may be due; with `suspects` also a job that was running when a process died."""
        self._suspects |= suspects
        self._wanted.set()
        self._changed.set()

    def obey(self, *, paused: bool, limit: int | None) -> None:
        """Take up what an operator asked: paused or not, and how many at once (None: as configured)."""
        wished = self.configured if limit is None else limit
        if (paused, wished) != (self.paused, self.limit):
            self.paused, self.limit = paused, wished
            telemetry.emit("queue.signal", queue=self.queue, paused=paused, limit=wished)
            self.wake()

    def signal(self, id: str, epoch: int, *, is_cancelled: bool) -> None:
        """Tell one running attempt that an operator cancelled its job, or that somebody awaits it."""
        attempt = self._attempts.get((id, epoch))
        if attempt is None or attempt.stopped is not None:
            return
        if is_cancelled:
            self._tell(attempt, STOPPED)
        elif attempt.job.signal is not None:
            attempt.job.signal.awaited = True

    def hurry(self) -> None:
        """Claim no more, and tell every attempt to end, also one whose claim is under way; `stop` is to follow."""
        self._stopping = True
        self.release_all()

    def release_all(self) -> None:
        """Tell every attempt to end, so that its job can run elsewhere."""
        for attempt in list(self._attempts.values()):
            if attempt.stopped is None:
                self._tell(attempt, RELEASED)

    @property
    def is_stopping(self) -> bool:
        """Whether it claims no more, for good."""
        return self._stopping

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return len(self._attempts)

    async def stop(self, grace: float) -> None:
        """Claim no more; let attempts end for `grace` seconds, then release them; give everything back."""
        self._stopping = True
        self.wake()
        await self._until_empty(grace)
        self.release_all()
        await self._until_empty(GRACE_FOR_STOPPED * 2)
        if not self._tasks:  # it never started
            return
        taking, giving = self._tasks
        await asyncio.wait([taking], timeout=GIVE_UP_AFTER)
        self._draining = True
        self._given.set()
        await asyncio.wait([giving], timeout=GIVE_UP_AFTER)
        for task in self._tasks:
            task.cancel()  # the database is away: the leases will end, and others take over
        self._parked.stop()
        self._has_ended = True
        self._changed.set()

    async def settled(self) -> None:
        """Wait until the attempts that were told to stop have ended and their acks have reached the database.

        Not for those whose rows another session holds: they are fenced, and come when they can.
        """
        await self._until_empty(GRACE_FOR_STOPPED * 2)
        while (self._acks or self._sending) and not self._has_ended:
            self._changed.clear()
            await self._changed.wait()

    async def _until_empty(self, within: float) -> None:
        """Wait until no attempt that is not settled runs, at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(not attempt.is_settled for attempt in self._attempts.values()):
                    self._changed.clear()
                    await self._changed.wait()

    # ── taking ──

    async def _take_loop(self) -> None:
        while await self._has_room():
            try:
                await self._refill()
            except StorageUnavailable as error:
                self._in_doubt = True
                self._node.away(error)
                await asyncio.sleep(random.uniform(0.1, 0.5))  # before the next try
            except Exception as error:  # noqa: BLE001 - the loop must live; it is told
                self._in_doubt = True
                telemetry.emit("service.exception", service=f"producer {self.queue}", error=error)
                await asyncio.sleep(random.uniform(0.5, 1.0))

    async def _refill(self) -> None:
        """Take what there is room for; when that is all there was, wait for a hint that there is more."""
        producer = self._node.lease_on(self.queue)
        if producer is None or self._room() <= 0:  # fenced or paused while we waited for half of the slots
            self._changed.clear()
            await self._changed.wait()
            return
        if self._in_doubt:
            await self._disown(producer)
        self._wanted.clear()
        room = self._room()
        jobs = await self._claim(room, producer)
        holds = self._node.alive and self._node.holds(producer) and not self._stopping
        for job, needs in jobs:
            if holds:
                self._start(job, needs)
            else:  # claimed under a lease that is gone, or too late: back as if it had not been
                self._queue(settle(job, RELEASED))
                if self._node.suspect == job.id:
                    self._node.suspect = None
        self._node.back()
        if len(jobs) < room:
            await self._wanted.wait()

    async def _claim(self, room: int, producer: str) -> list[tuple[AnyJob, Needs]]:
        began = time.monotonic()
        suspects = await self._claim_suspect(producer)
        try:
            jobs = suspects + await self._claim_others(room - len(suspects), producer)
            needs = await self._needs([job for job in jobs if job.workflow_id is not None])
        except BaseException:
            if suspects:  # it will not run here after all
                self._node.suspect = None
            raise
        if jobs and telemetry.heard("queue.claim"):
            took = time.monotonic() - began
            telemetry.emit("queue.claim", queue=self.queue, count=len(jobs), duration=took)
        return [(job, NONE if job.workflow_id is None else needs.get(job.id) or Needs()) for job in jobs]

    async def _claim_others(self, room: int, producer: str) -> list[AnyJob]:
        if room <= 0:
            return []
        return await self.cursor.claim(self._node.database.run, self.queue, room, producer, self._node.id)

    async def _claim_suspect(self, producer: str) -> list[AnyJob]:
        """At most one job that was running when a process died, while this process runs no other such job."""
        if not self._suspects or self._node.suspect is not None:
            return []
        self._node.suspect = self.queue
        jobs: list[AnyJob] = []
        try:
            jobs = await self._node.database.run(self.cursor.claim_suspect, self.queue, producer, self._node.id)
        finally:
            self._node.suspect = jobs[0].id if jobs else None
        self._suspects = bool(jobs)
        return jobs

    async def _needs(self, steps: Sequence[AnyJob]) -> dict[str, Needs]:
        """What the claimed steps may read; where it is too much at once, step by step."""
        if not any(job.has_needs or job.epoch > 1 for job in steps):
            return {}
        found = await self._node.database.read(upstream.needs, steps, encrypted_workers())
        for job in steps:
            if job.id in found and found[job.id].deferred:
                found |= await self._node.database.read(upstream.needs, [job], encrypted_workers(), 2**62)
        return found

    async def _disown(self, producer: str) -> None:
        """Give back what the database thinks runs here and does not: the answer of a claim was lost."""
        running = [id for (id, _), attempt in self._attempts.items() if not attempt.is_settled]
        known = [*running, *(ack.id for ack in (*self._acks, *self._sending)), *self._parked.ids]
        lost = await self._node.database.run(upkeep.disown, [producer], known)
        self._in_doubt = False
        self._node.counters["repairs"] += len(lost.ids)

    def _room(self) -> int:
        unacked = len(self._acks) + len(self._sending)
        if self.paused or not self._node.alive or unacked > 2 * self.limit + ACKED_AT_ONCE:
            return 0
        return min(self.limit - len(self._attempts) + self._slots.lent_out, ACKED_AT_ONCE)

    async def _has_room(self) -> bool:
        """Wait for a free slot, and a moment longer for half of them: fewer, fuller claims. False when stopping."""
        while self._room() <= 0 and not self._stopping:
            self._changed.clear()
            await self._changed.wait()
        if self._room() * 2 < self.limit:
            with suppress(TimeoutError):
                async with asyncio.timeout(HALF_EMPTY_WAIT):
                    while self._room() * 2 < self.limit and not self._stopping:
                        self._changed.clear()
                        await self._changed.wait()
        return not self._stopping

    # ── running ──

    def _start(self, job: AnyJob, needs: Needs) -> None:
        self._attempts[job.id, job.epoch] = attempt = Attempt(job, needs, self._slots)
        attempt.task = asyncio.Task(self._run(attempt), loop=self._loop)
        if job.deadline_force:
            expire(attempt, self._tell)

    async def _run(self, attempt: Attempt) -> None:
        try:
            ack = await self._executor.run(attempt)
        except BaseException as error:  # noqa: BLE001 - a slot is never lost, whatever happens
            ack = settle(attempt.job, Failed(error))
        if not attempt.is_settled:
            self._give(attempt, ack)
        self._free(attempt)

    def _give(self, attempt: Attempt, ack: Ack) -> None:
        attempt.is_settled = True
        self._queue(ack)

    def _queue(self, ack: Ack) -> None:
        self.released += ack.state is AVAILABLE
        self._acks.append(ack)
        self._given.set()

    def _free(self, attempt: Attempt) -> None:
        id = attempt.job.id
        self._attempts.pop((id, attempt.job.epoch), None)
        if self._node.suspect == id:
            self._node.suspect = None
            self._notifier.tell([Hint("suspects")])
        self._changed.set()

    def _tell(self, attempt: Attempt, outcome: Stopped | Released | Cancel) -> None:
        attempt.stop(outcome)
        asyncio.get_running_loop().call_later(GRACE_FOR_STOPPED, self._abandon, attempt, outcome)

    def _abandon(self, attempt: Attempt, outcome: Stopped | Released | Cancel) -> None:
        """Settle an attempt that was told to stop and did not. It keeps its slot; its writes are refused.

        Not a cancelled one whose place others would take, beside it: a link of a chain, one of a queue with a limit.
        """
        is_awaited = self.cursor.is_capped or attempt.job.chain_key is not None
        if not attempt.is_settled and (outcome is RELEASED or not is_awaited):
            telemetry.emit("job.abandoned", job=attempt.job)
            self._give(attempt, attempt.ack or settle(attempt.job, outcome))
            self._changed.set()

    # ── giving back ──

    async def _give_loop(self) -> None:
        while not self._draining or self._acks:
            await self._given.wait()
            self._given.clear()
            while self._acks:
                self._sending, self._acks = self._acks[:ACKED_AT_ONCE], self._acks[ACKED_AT_ONCE:]
                await self._give_back(self._sending)
                self._sending = []
                self._changed.set()

    async def _give_back(self, acks: Sequence[Ack], patience: str = PATIENT) -> None:
        """One ack for all that finished meanwhile, however long the database is away."""
        while True:
            try:
                await self._ack(acks, patience)
                return None
            except StorageBusy:
                return await self._parked.cut(acks)
            except StorageUnavailable as error:
                self._node.away(error)
                await asyncio.sleep(random.uniform(0.05, 0.3))  # before the next try
            except StorageRejected as error:
                acks = await self._split(acks, error)
                if not acks:
                    return None
            except Exception as error:  # noqa: BLE001 - no ack is dropped, whatever happens; it is told
                telemetry.emit("service.exception", service=f"producer {self.queue}", error=error)
                await asyncio.sleep(random.uniform(0.5, 1.0))

    async def _ack(self, acks: Sequence[Ack], patience: str) -> None:
        began = time.monotonic()
        settled = await self._node.database.run(store.ack, acks, patience)
        self._node.back()
        self._parked.forget(acks)
        stale = len(acks) - len(settled.ids)
        if stale:
            self._node.counters["stale"] += stale
            known = set(settled.ids)
            telemetry.emit("queue.stale", queue=self.queue, ids=[ack.id for ack in acks if ack.id not in known])
        if telemetry.heard("queue.ack"):
            took = time.monotonic() - began
            telemetry.emit("queue.ack", queue=self.queue, count=len(acks), stale=stale, duration=took)
        if self.cursor.is_capped:
            settled.due.add(self.queue)  # there is room, for other nodes too
        tell_settled(self._notifier, settled)
        self._notifier.tell(Hint("settled", ack.id) for ack in acks if ack.is_awaited)

    async def _split(self, acks: Sequence[Ack], error: StorageRejected) -> Sequence[Ack]:
        """The database refused a batch: halve it until the bad one stands alone; what is to be sent in its place."""
        self._node.counters["split"] += 1
        telemetry.emit("queue.split", queue=self.queue, count=len(acks), error=error)
        if len(acks) > 1:
            await self._give_back(acks[: len(acks) // 2])
            return acks[len(acks) // 2 :]
        (bad,) = acks
        telemetry.emit("queue.quarantine", queue=self.queue, id=bad.id, error=error)
        plain = Job.of(bad._asdict() | {"errors": ()})
        await asyncio.sleep(random.uniform(0.05, 0.3))  # an ack is never dropped, even if this one is refused too
        return [settle(plain, Discard(f"the database refused its outcome: {error}"))._replace(ended_by="storage")]
