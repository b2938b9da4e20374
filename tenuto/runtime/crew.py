"""Crew: all that a working node runs, wired together, started and stopped as one."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from tenuto import telemetry
from tenuto.context import Needs, Running
from tenuto.definition import registered
from tenuto.errors import StaleAttempt, StorageError, StorageUnavailable
from tenuto.job import Job
from tenuto.limits import Queue
from tenuto.runtime.completion import committed
from tenuto.runtime.executor import Executor
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.places.children import Children
from tenuto.runtime.places.elsewhere import Elsewhere, Executors, check_places
from tenuto.runtime.places.pool import Threads
from tenuto.runtime.producer import GIVE_UP_AFTER, Producer
from tenuto.runtime.services.lifeline import Lifeline
from tenuto.runtime.services.outbox import Outbox
from tenuto.runtime.services.poller import Poller
from tenuto.runtime.services.pruner import Pruner
from tenuto.runtime.services.scheduler import Entries, Scheduler
from tenuto.runtime.services.service import Service
from tenuto.runtime.services.stager import Stager
from tenuto.sizes import Sizes
from tenuto.storage import limited, reading


class Crew:
    """A node at work: a producer for each queue, and the services that keep the tables in order."""

    def __init__(
        self,
        app: Any,
        node: Node,
        notifier: Notifier,
        entries: Entries,
    ) -> None:
        keep = app.config
        self.node = node
        self._app = app
        self._grace = app.config.grace.total_seconds()
        self._deaf: Callable[[], None] = _nothing
        self._notifier = notifier
        self._entries = entries
        self._threads = Threads()
        self._executors: Executors = app.executors
        self._elsewhere = Elsewhere(app.name, self._threads, self._executors)
        completed = partial(committed, node, notifier, self._is_capped)
        doors = (self._has_step, self._store_result, self._elsewhere.process, completed)
        self._executor = Executor(app, self._threads, *doors, app.config.sizes)
        self._producers: dict[str, Producer] = {}
        self._poller = Poller(node, self._producers, self._start_later, self._stop_later)
        self._scheduler = Scheduler(node, notifier, entries)
        self._services: list[Service] = [
            self._poller,
            Stager(node, notifier),
            Lifeline(node, notifier),
            self._scheduler,
            Outbox(node, self._running),
            Pruner(node, keep.keep_jobs, keep.keep_workflows, keep.keep_usage, keep.debugging.keep),
        ]
        self._asides: set[asyncio.Task[Any]] = set()
        self._starting: set[str] = set()
        self._stopping = False

    async def start(self, queues: Mapping[str, int | Queue]) -> None:
        """Join with `queues` (slots by name, or a Queue) and work until `stop`.

        What a Queue says of limits is kept before the first job is claimed. Raises StorageUnavailable, InvalidCron and
        ConfigError.
        """
        self._entries.check()
        check_places(self._executors, queues)
        slots = {name: queue if isinstance(queue, int) else queue.slots for name, queue in queues.items()}
        said = {name: queue.limits for name, queue in queues.items() if isinstance(queue, Queue)}
        self.node.on_fenced = self._fenced
        self.node.workers = tuple(registered())
        await self.node.database.run(limited.configure, said)
        await self.node.join(slots)
        telemetry.emit("node.start", node=self.node.id, queues=slots)
        await self._add(slots)
        await self._scheduler.declare()
        Children.contain(asyncio.get_running_loop())
        self._deaf = self._notifier.subscribe(self._poller.hear)
        for service in self._services:
            service.start()

    async def stop(self, grace: float) -> None:
        """Claim no more, let jobs end for `grace` seconds, release the rest unspent, and leave."""
        self._stopping = True
        self._deaf()
        self.node.on_fenced = _nothing
        await asyncio.gather(*(producer.stop(grace) for producer in self._producers.values()))
        await self._app.ledger.close(GIVE_UP_AFTER)
        await asyncio.gather(*(service.stop() for service in self._services))
        if self._asides:  # queues that were being started or stopped
            await asyncio.wait(self._asides, timeout=grace + GIVE_UP_AFTER)
        for aside in list(self._asides):
            aside.cancel()
        released = sum(producer.released for producer in self._producers.values())
        try:
            async with asyncio.timeout(GIVE_UP_AFTER):
                released += len(await self.node.leave(self.node.producers))
        except (StorageError, TimeoutError) as error:  # the lease will end by itself
            self.node.away(error)
        self.node.end()
        await self._elsewhere.close()
        self._threads.close()
        Children.let_go(asyncio.get_running_loop())
        self._producers.clear()
        telemetry.emit("node.stop", node=self.node.id, released=released)

    def hurry(self) -> None:
        """Release what still runs, without waiting for the rest of the grace."""
        for producer in self._producers.values():
            producer.hurry()

    @property
    def running(self) -> dict[str, int]:
        """How many jobs run now, by queue."""
        return {name: producer.running for name, producer in self._producers.items()}

    @property
    def paused(self) -> set[str]:
        """The queues from which this node claims nothing, because an operator paused them."""
        return {name for name, producer in self._producers.items() if producer.paused}

    # ── queues that come and go ──

    async def start_queue(self, queue: str, slots: int) -> None:
        """Work on one more queue. One that is worked on already stays as it is."""
        if queue in self._producers or queue in self._starting or self._stopping:
            return
        self._starting.add(queue)
        try:
            await self.node.join([queue])
            await self._add({queue: slots})
        finally:
            self._starting.discard(queue)

    async def stop_queue(self, queue: str, grace: float) -> None:
        """Work on a queue no more, as `stop` does for all of them. Until it has stopped, cancels still reach it."""
        producer = self._producers.get(queue)
        if producer is None or producer.is_stopping:
            return
        try:
            await producer.stop(grace)
            lease = self.node.lease_on(queue)
            await self.node.leave([lease] if lease else [])
        finally:
            self._producers.pop(queue, None)

    async def _add(self, queues: Mapping[str, int]) -> None:
        """Begin to work on queues, once it is known whether an operator paused or scaled them."""
        added = [Producer(queue, slots, self.node, self._executor, self._notifier) for queue, slots in queues.items()]
        self._producers.update({producer.queue: producer for producer in added})
        await self._poller.tick()
        for producer in added:
            producer.start()

    def _start_later(self, queue: str, slots: int) -> None:
        self._aside(self.start_queue(queue, slots))

    def _stop_later(self, queue: str) -> None:
        self._aside(self.stop_queue(queue, self._grace))

    def _aside(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, aside: "asyncio.Task[Any]") -> None:
        self._asides.discard(aside)
        if not aside.cancelled() and (error := aside.exception()) is not None:
            telemetry.emit("service.exception", service="crew", error=error)

    # ── a lease that ended ──

    def _fenced(self) -> None:
        """Stop every attempt: others may take these jobs now. Then come back under new leases."""
        for producer in self._producers.values():
            producer.release_all()
        self._aside(self._come_back())

    async def _come_back(self) -> None:
        """Give back what is done (nobody may have taken it yet), close the ended leases, open new ones."""
        ended = self.node.producers
        working = [producer for producer in self._producers.values() if not producer.is_stopping]
        await asyncio.gather(*(producer.settled() for producer in working))
        while not self._stopping:
            try:
                await self.node.leave(ended)
                await self.node.join([producer.queue for producer in working if not producer.is_stopping])
                break
            except StorageError as error:
                self.node.away(error)
                await asyncio.sleep(0.3)  # before the next try
        for producer in self._producers.values():
            producer.wake(suspects=True)
        stopped = [self.node.lease_on(producer.queue) for producer in working if producer.queue not in self._producers]
        await self.node.leave(filter(None, stopped))

    # ── what a running step may reach ──

    def _running(self, job: Job[Any, Any]) -> Running:
        """What hooks may reach that are called when no attempt is under way."""
        loop = asyncio.get_running_loop()
        sizes: Sizes = self._app.config.sizes
        return Running(job, self._app, Needs(), self._has_step, self._store_result, loop, self._threads, sizes)

    def _is_capped(self, queue: str) -> bool:
        producer = self._producers.get(queue)
        return producer is not None and producer.cursor.is_capped

    def _has_step(self, job: Job[Any, Any], step: str) -> bool:
        assert job.workflow_id is not None
        with closing(self.node.database.blocking()) as line:
            return line.run(reading.step, job.workflow_id, step) is not None

    async def _store_result(self, job: Job[Any, Any], text: str) -> None:
        """Store it however long the database is away: it is fenced by epoch, and a lease that ends stops the step."""
        while True:
            try:
                is_stored = await self.node.database.run(reading.store_result, job, text)
                break
            except StorageUnavailable as error:
                self.node.away(error)
                await asyncio.sleep(random.uniform(0.05, 0.3))  # before the next try
        if not is_stored:
            raise StaleAttempt(job.id)


def _nothing() -> None:
    """A node that stops has nothing to come back to."""
