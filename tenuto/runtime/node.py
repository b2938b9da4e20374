"""Node: what makes a process alive to others. Its leases are beaten from a thread of its own."""

import asyncio
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from uuid_utils import uuid7

from tenuto import telemetry
from tenuto.errors import StorageError
from tenuto.runtime.watchdog import Watchdog
from tenuto.storage import upkeep
from tenuto.storage.database import Blocking, Database
from tenuto.storage.upkeep import Producer

LOOK_EVERY: Final = 0.5  # seconds between two looks at the event loop


class Identity(NamedTuple):
    """One process on one machine, so that another process there can see that it is gone. All None where unknown."""

    boot: str | None
    pid: int | None
    started: str | None


def identity() -> Identity:
    """This process: the machine's boot and the pid namespace, the pid, and when the process began."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
        return Identity(f"{boot} {space}", os.getpid(), _started(os.getpid()))
    except OSError:
        return Identity(None, None, None)


def is_gone(boot: str | None, pid: int | None, started: str | None) -> bool:
    """Whether that process ran on this machine and runs no more; False where nothing can be known."""
    mine = identity()
    if boot is None or pid is None or boot != mine.boot:
        return False
    return _started(pid) != started


def _started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot: the 22nd field of its stat; None when it is gone.

    A dead one whose parent never asks for it (in many containers nobody does) is gone as well.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None


class Node:
    """One running app in the eyes of the others: an id for this start, a lease for each of its queues.

    The leases last `lease` and are renewed six times in it. When that did not succeed for five sixths of it
    (or the database says that one has ended), the node is fenced: `on_fenced` is called in the event loop, its
    attempts must stop, and it claims nothing until it has registered anew.
    """

    def __init__(self, database: Database, name: str | None, lease: timedelta) -> None:
        self.database = database
        self.name = name or socket.gethostname()
        self.id = f"{self.name}:{os.getpid()}:{uuid4().hex[:6]}"
        self.lease = lease
        self.counters: Counter[str] = Counter()
        self.suspect: str | None = None  # the one job here that was running when a process died
        self.on_fenced: Callable[[], None] = _nobody
        self.alive = False
        self.workers: tuple[str, ...] = ()
        self._producers: dict[str, str] = {}  # queue -> lease id
        self._proven = 0.0  # monotonic: when the last renewal that succeeded was asked for
        self._away_since: float | None = None
        self._judges_at = 0.0
        self._was_fenced = False
        self._watchdog: Watchdog | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def producer(self, queue: str) -> str:
        """The id of the lease under which this node works on `queue`."""
        return self._producers[queue]

    def lease_on(self, queue: str) -> str | None:
        """The id of that lease, or None between one that ended and the next."""
        return self._producers.get(queue)

    def holds(self, producer: str) -> bool:
        """Whether a lease is still this node's."""
        return producer in self._producers.values()

    @property
    def producers(self) -> list[str]:
        """The ids of all leases this node holds."""
        return list(self._producers.values())

    # ── joining and leaving ──

    async def join(self, queues: Iterable[str]) -> None:
        """Open a lease for each of `queues`, and beat all leases from now on. Raises StorageUnavailable."""
        me = identity()
        workers = json.dumps(sorted(self.workers))
        opened = [Producer(str(uuid7()), self.id, queue, upkeep.SCHEMA_VERSION, workers, *me) for queue in queues]
        asked = time.monotonic()
        await self.database.run(upkeep.register, opened, self.lease)
        self._producers.update({producer.queue: producer.id for producer in opened})
        self._proven = asked
        if self._was_fenced:
            self._was_fenced = False
            self._judges_at = asked + self.lease.total_seconds()
        self.alive = True
        self._beat_from_now_on()

    async def leave(self, leases: Iterable[str]) -> list[str]:
        """Close leases of this node; the jobs still held in their names, which go back unspent."""
        closed = set(leases)
        left = {queue: lease for queue, lease in self._producers.items() if lease in closed}
        for queue in left:
            del self._producers[queue]
        if not left:
            return []
        try:
            settled = await self.database.run(upkeep.resign, list(left.values()))
        except StorageError:
            if not self.alive:  # nobody beats them: they can wait until the next try
                self._producers.update(left)
            raise
        return settled.ids

    def end(self) -> None:
        """Stop the beating thread."""
        self.alive = False
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ── the beat ──

    def _beat_from_now_on(self) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._ended.clear()
            self._watchdog = Watchdog(self.id)
            self._thread = threading.Thread(target=self._beat_loop, name="tenuto-beat", daemon=True)
            self._thread.start()
            self._watch_lease()

    def _watch_lease(self) -> None:
        """Fence this node in time, also when the beat hangs in a dead connection."""
        if self._is_unproven():
            self._fence()
        if self._loop is not None and not self._ended.is_set():
            self._loop.call_later(self.lease.total_seconds() / 12, self._watch_lease)

    def _is_unproven(self) -> bool:
        return time.monotonic() - self._proven > self.lease.total_seconds() * 5 / 6

    def _beat_loop(self) -> None:
        assert self._watchdog is not None
        every = self.lease.total_seconds() / 6
        with closing(self.database.blocking()) as line:
            due = time.monotonic() + every
            while True:
                wait, began = max(0.0, min(LOOK_EVERY, due - time.monotonic())), time.monotonic()
                if self._ended.wait(wait):
                    return
                self._watchdog.look(held=time.monotonic() - began - wait)
                if time.monotonic() >= due:
                    if self.alive and self._producers:
                        self._beat(line)
                    due = time.monotonic() + every

    def _beat(self, line: Blocking) -> None:
        asked, ids = time.monotonic(), self.producers
        try:
            renewed = line.run(upkeep.beat, ids, self.lease, self._health())
        except (StorageError, TimeoutError):  # the lease runs on; it is judged below
            renewed = None
        # A lease that is not ours any more was closed meanwhile: its end says nothing of those we hold by now.
        ended: set[str] = set() if renewed is None else (set(ids) - renewed) & set(self.producers)
        if renewed is not None and not ended:
            self._proven = max(self._proven, asked)
        elif ended or self._is_unproven():
            self._fence()

    def _fence(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._was_fenced = True
        self.counters["fenced"] += 1
        telemetry.emit("node.fenced", node=self.id)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_fenced)

    def _tell_fenced(self) -> None:
        self.on_fenced()

    @property
    def lag(self) -> float:
        """For how many seconds the event loop was blocked, the longest time."""
        return 0.0 if self._watchdog is None else self._watchdog.lag

    def _health(self) -> str:
        return json.dumps({**self.counters, "lag": round(self.lag, 3)})

    # ── the database's absence ──

    def away(self, error: Exception) -> None:
        """The database did not answer; told once for each time it goes."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            self.counters["outages"] += 1
            telemetry.emit("storage.outage", error=error)

    def back(self) -> None:
        """The database answered. After an absence, this node waits one lease before it judges others."""
        if self._away_since is not None:
            now = time.monotonic()
            telemetry.emit("storage.back", seconds=now - self._away_since)
            self._away_since = None
            self._judges_at = now + self.lease.total_seconds()

    @property
    def may_judge(self) -> bool:
        """Whether a lease that ended is another node's death, not the database's absence."""
        return self.alive and self._away_since is None and time.monotonic() >= self._judges_at


def _nobody() -> None:
    """Nothing to stop."""
