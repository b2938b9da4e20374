"""Notifier: one listener per app, fanned out to whoever subscribed; hints told at once here, together elsewhere."""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from tenuto import telemetry
from tenuto.errors import StorageError, StorageUnavailable
from tenuto.runtime.node import Node
from tenuto.storage.aftermath import Settled
from tenuto.storage.database import ANYTHING, Hint

Subscriber: TypeAlias = Callable[[Hint], None]

TOGETHER: Final = 0.02  # seconds over which hints to other processes are collected, after the first
CARRIES: Final = 7_900  # bytes of subjects in one notification; PostgreSQL takes 8,000 with the channel's name
OURS_FIRST: Final = 0.003  # seconds that this process's own claim has the database to itself: it starts 0.9 ms sooner


class Notifier:
    """Hints, in and out. Losing one costs latency and nothing else: everybody who listens also polls.

    After the line was cut and stands again, ANYTHING is heard: whatever was told meanwhile may have been missed.
    """

    def __init__(self, node: Node, *, listens: bool = True) -> None:
        self._node = node
        self._listens = listens
        self._subscribers: set[Subscriber] = set()
        self._outgoing: set[Hint] = set()
        self._told = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Listen, unless told not to, and pass hints on."""
        self._told = asyncio.Event()  # of this loop
        self._tasks = [asyncio.create_task(self._tell_others())]
        if self._listens:
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        """Hear and tell no more. What was told last is still passed on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with suppress(StorageError):
            await self._flush()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` for every hint, in the event loop, until the function that comes back is called."""
        self._subscribers.add(subscriber)
        return lambda: self._subscribers.discard(subscriber)

    def tell(self, hints: Iterable[Hint]) -> None:
        """Say that something changed: at once in this process, within some 20 ms in others."""
        for hint in hints:
            self._hear(hint)
            self._outgoing.add(hint)
            self._told.set()

    def _hear(self, hint: Hint) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(hint)

    def _hear_others(self, hint: Hint) -> None:
        for subject in hint.subject.split(_BETWEEN):
            self._hear(Hint(hint.channel, subject))

    async def _listen(self) -> None:
        while True:
            try:
                await self._node.database.hear(self._hear_others)
            except StorageUnavailable:
                self._node.counters["reconnects"] += 1
            except Exception as error:  # noqa: BLE001 - the listener must live; it is told
                telemetry.emit("service.exception", service="notifier", error=error)
            await asyncio.sleep(random.uniform(0.1, 0.5))  # between two tries: the database may be away
            self._hear(ANYTHING)

    async def _tell_others(self) -> None:
        while True:
            await self._told.wait()
            if self._subscribers:
                await asyncio.sleep(OURS_FIRST)
            self._told.clear()
            with suppress(StorageError):
                await self._flush()
            await asyncio.sleep(TOGETHER)  # what is told meanwhile goes out together

    async def _flush(self) -> None:
        hints, self._outgoing = sorted(self._outgoing), set()
        if hints:
            await self._node.database.tell(packed(hints))


def packed(hints: Iterable[Hint]) -> list[Hint]:
    """Hints of one channel as few, each with as many subjects as a notification carries."""
    few: list[Hint] = []
    size = 0
    for channel, subject in hints:
        size += len(subject.encode()) + len(_BETWEEN)
        if few and few[-1].channel == channel and size <= CARRIES:
            few[-1] = Hint(channel, few[-1].subject + _BETWEEN + subject)
        else:
            few.append(Hint(channel, subject))
            size = len(subject.encode())
    return few


_BETWEEN: Final = "\n"  # which no subject holds


def tell_settled(notifier: Notifier, settled: Settled) -> None:
    """Say what follows from jobs that ended: queues in which something became due, workflows that finished."""
    notifier.tell(Hint("insert", queue) for queue in settled.due)
    for workflow in settled.finished:
        telemetry.emit(
            "workflow.finished",
            workflow_id=workflow.id,
            name=workflow.name,
            outcome=workflow.outcome,
            run=workflow.run,
            failed=workflow.failed,
        )
    notifier.tell(Hint("settled", workflow.id) for workflow in settled.finished)
