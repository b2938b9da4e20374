"""Draining: all that is due, run for a test until nothing is, in an order that is the same each time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from tenuto.app import Tenuto
from tenuto.errors import NotCompleted, NotDrained
from tenuto.job import DISCARDED, EXECUTING, RETRYABLE, SCHEDULED, Duration, Job, JobState, check_name, seconds
from tenuto.storage import upkeep
from tenuto.storage.upkeep import QueuePoll
from tenuto.testing.faults import whole
from tenuto.testing.hand import Hand, Slot
from tenuto.testing.performing import WITHIN
from tenuto.testing.tried import Tried

LIMIT: Final = 1000  # attempts of one drain
LOOK_EVERY: Final = 0.02  # seconds between two looks at jobs that run on a node
STAGE_EVERY: Final = 0.1  # seconds, while jobs run and there is room for more
LOOKED_AT: Final = 10_000  # waiting jobs, of which the one that is due first is next
SHOWN: Final = 5


@dataclass(frozen=True)
class Drained:
    """What a drain ran, in that order, and what it left waiting, by state."""

    runs: tuple[Tried[Any], ...] = field(repr=False)
    left: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """How many attempts came to what."""
        return dict(Counter(run.outcome for run in self.runs))

    @property
    def completed(self) -> int:
        """How many completed their job."""
        return self.counts.get("completed", 0)

    @property
    def failed(self) -> int:
        """How many raised, or ran out of time."""
        return self.counts.get("failed", 0)

    @property
    def snoozed(self) -> int:
        """How many put their job off."""
        return self.counts.get("snoozed", 0)

    @property
    def cancelled(self) -> int:
        """How many cancelled their job, or ended with it."""
        return self.counts.get("cancelled", 0)

    @property
    def discarded(self) -> int:
        """How many discarded their job by what they returned. Those that failed for the last time are `failed`."""
        return self.counts.get("discarded", 0)


async def drain(
    app: Tenuto,
    *,
    queue: str | Iterable[str] | None = None,
    scheduled: bool = False,
    retries: bool = False,
    keep_failures: bool = False,
    at_once: int = 1,
    limit: int = LIMIT,
    within: Duration = WITHIN,
) -> Drained:
    """Run all that is due, and what becomes due by that, until nothing is; what it ran, and what it left.

    One job at a time: queues in turn, by their names, and in each the most urgent first. With `scheduled` also what is
    due later, and with `retries` what waits for another attempt, each when nothing else is due, the earliest first, as
    if an operator had asked for it now; the clock stays where it is. The exception of an attempt that failed and is
    not tried again here is raised, once the job is stored as failed, unless `keep_failures`.

    It works beside nodes that run, and waits for what they have begun. Queues that are paused, and what limits do not
    allow, are left. Jobs that wait for each other need `at_once=2` or more. Raises NotDrained after `limit` attempts,
    or when none has ended `within` so many seconds.
    """
    rules = Rules(_names(queue), scheduled, retries, keep_failures, whole("at_once", at_once), whole("limit", limit))
    async with Hand(app) as hand:
        runs = await Rounds(hand, rules, seconds("within", within).total_seconds()).go()
        return Drained(tuple(runs), _left(await hand.patiently(app.counts), rules.queues))


@dataclass(frozen=True)
class Rules:
    """What a drain runs, and when it is over."""

    queues: frozenset[str] | None = None  # None: all
    scheduled: bool = False
    retries: bool = False
    keep_failures: bool = False
    at_once: int = 1
    limit: int = LIMIT
    workflow: UUID | str | None = None  # whose steps alone are hurried
    is_over: Callable[[], Awaitable[bool]] | None = None

    @property
    def hurried(self) -> list[JobState]:
        """In which states jobs are not left to wait."""
        return [SCHEDULED] * self.scheduled + [RETRYABLE] * self.retries


class Rounds:
    """Claims and runs one job after the other, by the rules."""

    def __init__(self, hand: Hand, rules: Rules, within: float) -> None:
        self.runs: list[Tried[Any]] = []
        self._hand = hand
        self._app = hand.app
        self._rules = rules
        self._within = within
        self._turn: list[str] = []  # queues, the one that was served last at the end
        self._closed: set[str] = set()  # queues whose limits allow nothing, until something ends
        self._put_back: set[str] = set()  # jobs that nobody here can run, or that wait for signals
        self._until = self._soon()  # when something must have ended, by the loop's clock

    async def go(self) -> list[Tried[Any]]:
        """Run until nothing is left that the rules want. Raises NotDrained, and what a job raised."""
        await self._look()
        while not (self._rules.is_over and await self._rules.is_over()):
            await self._fill()
            if self._hand.under_way:
                await self._next()
            elif not await self._more():
                break
        return self.runs

    async def _look(self) -> None:
        """Let services do their work, and see which queues there are."""
        await self._hand.tend()
        wanted = self._rules.queues
        found = await self._hand.queues()
        self._turn += sorted(name for name in found - set(self._turn) if wanted is None or name in wanted)

    async def _due(self) -> dict[str, QueuePoll]:
        polled = await self._hand.poll(self._turn)
        return {queue.name: queue for queue in polled if (queue.due or queue.suspect) and queue.name in self._turn}

    # ── run ──

    async def _fill(self) -> None:
        """Start what is due, for as long as there is room."""
        while len(self._hand.under_way) < self._rules.at_once:
            due = await self._due()
            name = next((name for name in self._turn if name in due and name not in self._closed), None)
            if name is None:
                return
            slot = self._free(name)
            job = await self._hand.claim(due[name], slot)
            if job is None:
                self._closed.add(name)
                continue
            self._turn.remove(name)
            self._turn.append(name)
            await self._hand.begin(job, slot)

    def _free(self, queue: str) -> Slot:
        taken = {slot for slot, _ in self._hand.under_way.values()}
        return next(slot for slot in (Slot(queue, number) for number in range(len(taken) + 1)) if slot not in taken)

    async def _next(self) -> None:
        """Take in what has ended, or wait for that: until there may be more to start, where there is room for it."""
        if run := await self._hand.ended():
            self._take_in(run)
            return
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            jobs = await self._hand.let_go()
            told = "they may wait for each other (at_once= runs several), or for something that a test must let happen"
            raise NotDrained(f"none of these has ended within {self._within:g} s: {_named(jobs)}; {told}")
        has_room = len(self._hand.under_way) < self._rules.at_once
        if not await self._hand.wait(min(left, STAGE_EVERY) if has_room else left) and has_room:
            await self._look()

    def _take_in(self, run: Tried[Any]) -> None:
        self.runs.append(run)
        self._closed.clear()
        self._until = self._soon()
        if run.outcome in ("put back", "waiting"):
            self._put_back.add(run.job.id)
        if not self._rules.keep_failures:
            self._raise_failure(run)
        if len(self.runs) >= self._rules.limit:
            last = _named([run.job for run in self.runs[-100:]])
            raise NotDrained(f"{len(self.runs):,} attempts ran, and there may be more; of the last ones: {last}")

    def _raise_failure(self, run: Tried[Any]) -> None:
        error = run.error
        if error is None or (self._rules.retries and run.state is not DISCARDED):
            return
        job = run.job
        if not isinstance(error, Exception):  # it would end the test run, and not this test
            raise NotCompleted(f"job {job.worker}", run.outcome, f"since it raised {type(error).__name__}") from error
        error.add_note(
            f"Raised by job {job.id} of {job.worker}, attempt {job.attempt} of {job.max_attempts}, which is now "
            f"{job.state}. keep_failures=True goes on."
        )
        raise error

    # ── what else there is ──

    async def _more(self) -> bool:
        """Whether there is more to run, once nothing is due: what services, nodes, and the rules make due."""
        await self._look()
        if (await self._due()).keys() - self._closed:
            return True
        return await self._hurry() or await self._wait_for_nodes()

    async def _hurry(self) -> bool:
        """Let the waiting job that would be due first be due now."""
        states = self._rules.hurried
        if not states:
            return False
        find = partial(self._app.find, state=states, workflow=self._rules.workflow, limit=LOOKED_AT)
        waiting = await self._hand.patiently(find)
        paused = set(self._turn) - {queue.name for queue in await self._hand.poll(self._turn)}
        mine = [job for job in waiting if job.queue in self._turn and job.queue not in paused]
        first = min((job for job in mine if job.id not in self._put_back), key=_when, default=None)
        if first is None:
            return False
        await self._hand.patiently(partial(self._app.update, first, {"schedule_in": 0}))
        await self._hand.tend()
        return True

    async def _wait_for_nodes(self) -> bool:
        """Wait a moment for jobs that nodes run; False when there are none. Raises NotDrained after `within`."""
        running = await self._hand.patiently(partial(self._app.find, state=EXECUTING, limit=LOOKED_AT))
        mine = [job for job in running if job.queue in self._turn]
        read = partial(self._app.database.read, upkeep.nodes)
        seen = await self._hand.patiently(read) if mine else []
        if not any(one.alive and one.node != self._hand.node.id for one in seen):
            return False
        if asyncio.get_running_loop().time() > self._until:
            raise NotDrained(f"a node runs for longer than {self._within:g} s: {_named(mine)}")
        await asyncio.sleep(LOOK_EVERY)  # another node's: nothing tells when they end
        return True

    def _soon(self) -> float:
        return asyncio.get_running_loop().time() + self._within


def _when(job: Job[Any, Any]) -> tuple[Any, str]:
    return job.scheduled_at, job.id


def _left(counts: Mapping[str, Mapping[str, int]], queues: frozenset[str] | None) -> dict[str, int]:
    left: Counter[str] = Counter()
    for queue, states in counts.items():
        if queues is None or queue in queues:
            left.update({state: jobs for state, jobs in states.items() if not JobState(state).is_terminal})
    return dict(left)


def _named(jobs: Iterable[Job[Any, Any]]) -> str:
    """Jobs by their workers, those with the most first."""
    counted = Counter(job.worker for job in jobs).most_common()
    more = f" and {len(counted) - SHOWN} more workers" if len(counted) > SHOWN else ""
    return ", ".join(f"{worker} ({count:,})" for worker, count in counted[:SHOWN]) + more


def _names(queue: str | Iterable[str] | None) -> frozenset[str] | None:
    if queue is None:
        return None
    return frozenset(check_name("queue", name) for name in ([queue] if isinstance(queue, str) else queue))
