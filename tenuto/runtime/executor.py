"""Executor: one job through its features and its process, to an ack. No storage."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Final

from tenuto import telemetry
from tenuto.context import Needs, Running, running
from tenuto.definition import Definition, resolve
from tenuto.errors import JobTimedOut, NotEncrypted, Undecodable, UnknownWorker
from tenuto.features.feature import Feature, Process
from tenuto.job import EPOCH, Job
from tenuto.opening import open_results
from tenuto.outcome import (
    GATED,
    KEPT,
    Ack,
    Cancel,
    Discard,
    Failed,
    Outcome,
    PutBack,
    Released,
    Snooze,
    Stopped,
    outcome_of,
    settle,
)
from tenuto.runtime.lending import Slots
from tenuto.runtime.places.pool import Threads
from tenuto.sizes import USUAL, Sizes
from tenuto.tagged import Sealed
from tenuto.waits import Waits, ungrouped

PUT_BACK_FIRST: Final = timedelta(seconds=30)
PUT_BACK_MOST: Final = timedelta(minutes=5)

AnyJob = Job[Any, Any]


class Attempt:
    """One claimed job on this node: what it needs, and what it was told from outside."""

    __slots__ = ("ack", "completions", "is_settled", "job", "needs", "on_loop", "slots", "stopped", "task")

    def __init__(self, job: AnyJob, needs: Needs, slots: Slots | None = None) -> None:
        self.job = job
        self.needs = needs
        self.slots = slots
        self.task: asyncio.Task[None] | None = None
        self.stopped: Stopped | Released | Cancel | None = None
        self.on_loop = False  # whether cancelling its task reaches the user's code
        self.is_settled = False
        self.completions: list[Any] = []  # made in transactions of its own
        self.ack: Ack | None = None  # what it came to, while its hooks are told

    def stop(self, outcome: Stopped | Released | Cancel) -> None:
        """Tell the attempt to end: an async one is cancelled at its next await, a plain function is told."""
        self.stopped = outcome
        if self.job.signal is not None:
            self.job.signal.cancelled = True
        if self.on_loop and self.task is not None:
            self.task.cancel()


class Executor:
    """Runs attempts. What user code raises, BaseException included, becomes an outcome of that job alone."""

    def __init__(
        self,
        app: Any,
        threads: Threads,
        has_step: Callable[[AnyJob, str], bool],
        store_result: Callable[[AnyJob, str], Awaitable[None]],
        elsewhere: Callable[[Definition], Process] | None = None,
        committed: Callable[[Attempt], Awaitable[Outcome | None]] | None = None,
        sizes: Sizes = USUAL,
    ) -> None:
        self._app = app
        self._threads = threads
        self._has_step = has_step
        self._store_result = store_result
        self._elsewhere = elsewhere
        self._rest = (asyncio.get_running_loop(), threads, sizes)
        self._sizes = sizes
        self._committed = committed
        self._pipelines: dict[tuple[Feature, ...], Process] = {}  # those of a worker are nobody else's

    async def run(self, attempt: Attempt) -> Ack:
        """One attempt from its claim to its ack. Never raises."""
        job = attempt.job
        if attempt.stopped is not None:  # told to before it began
            return settle(job, attempt.stopped)
        try:
            definition = resolve(job.worker)
        except UnknownWorker:
            return _put_back(job)
        if attempt.needs.unmet:
            telemetry.emit("job.gated", job=job, unmet=attempt.needs.unmet)
            return settle(job, GATED)
        if attempt.needs.own is not None and definition.reuse_result:
            return settle(job, KEPT)
        began = _started(job)
        outcome = _in_time(attempt, await self._outcome(attempt, definition))
        if attempt.completions and self._committed is not None:
            outcome = await self._committed(attempt) or outcome
        told = ack = settle(job, outcome, backoff=definition.backoff, sizes=self._sizes)
        for feature in definition.giving_back:
            ack = feature.before_ack(job, outcome, ack)
        attempt.ack = ack
        for feature in definition.observing:
            await feature.after_settle(job, _told(attempt, outcome), told)
        _stopped(job, ack, outcome, began)
        return ack

    async def _outcome(self, attempt: Attempt, definition: Definition) -> Outcome:
        job = attempt.job
        attempt.on_loop = definition.is_async or definition.runs_in is not None
        doors = (self._has_step, self._store_result, *self._rest, attempt.slots, attempt.completions)
        running.set(Running(job, self._app, attempt.needs, *doors))
        process = self._pipelines.get(definition.acting) or self._pipeline(definition)
        limit: asyncio.Timeout | None = None
        try:
            if type(job.args) is not dict:
                _check_readable(job, definition)
            if attempt.needs.sealed:
                await open_results(job, attempt.needs)
            if job.timeout is None or definition.runs_in is not None:  # there it counts from when it has begun
                return await process(job)
            async with asyncio.timeout(job.timeout.total_seconds()) as limit:
                outcome = await process(job)
        except BaseException as error:  # noqa: BLE001 - user code: whatever it raises is this job's outcome
            return _raised(attempt, error, limit)
        return _timed_out(job) if limit.expired() else outcome

    def _pipeline(self, definition: Definition) -> Process:
        """The worker's features around its process, built once."""

        async def on_loop(job: AnyJob) -> Outcome:
            return outcome_of(await definition.invoke(job))

        async def in_thread(job: AnyJob) -> Outcome:
            value = await running.get().threads.call(lambda: definition.invoke(job), job)
            return outcome_of(await value if isawaitable(value) else value)

        made = definition.pipeline(on_loop if definition.is_async else in_thread)
        if definition.runs_in is not None and self._elsewhere is not None:
            made = self._elsewhere(definition)
        self._pipelines[definition.acting] = made
        return made


def _check_readable(job: AnyJob, definition: Definition) -> None:
    if isinstance(job.args, Undecodable):
        raise job.args
    if isinstance(job.args, Sealed) and definition.encryption is None:
        raise NotEncrypted(job.id, job.worker)


def _in_time(attempt: Attempt, outcome: Outcome) -> Outcome:
    """What it came to, unless its deadline came before: a plain function may have returned because it heard that."""
    return attempt.stopped if isinstance(attempt.stopped, Cancel) else outcome


def _told(attempt: Attempt, outcome: Outcome) -> Outcome:
    """What observers hear: a job that an operator cancelled ends so, whatever it returned meanwhile."""
    return attempt.stopped if isinstance(attempt.stopped, Stopped) else outcome


def _raised(attempt: Attempt, error: BaseException, limit: asyncio.Timeout | None) -> Outcome:
    """What an exception means: an answer if we asked for it, an outcome if it is one, else a failure."""
    if attempt.stopped is not None:
        return attempt.stopped
    if limit is not None and limit.expired():
        return _timed_out(attempt.job)
    error = ungrouped(error)
    return error if isinstance(error, Snooze | Cancel | Discard | Waits) else Failed(error)


def _timed_out(job: AnyJob) -> Outcome:
    assert job.timeout is not None
    return Failed(JobTimedOut(job.timeout.total_seconds()))


def _put_back(job: AnyJob) -> Ack:
    """Later, on whichever node knows the worker: after 30 s, and each time twice that, up to 5 minutes."""
    delay = min(PUT_BACK_FIRST * 2 ** min(job.snoozes, 10), PUT_BACK_MOST)
    telemetry.emit("job.put_back", job=job, delay=delay.total_seconds())
    return settle(job, PutBack(delay))


def _started(job: AnyJob) -> float:
    if telemetry.heard("job.start"):
        waited = (job.attempted_at or EPOCH) - (job.scheduled_at or EPOCH)  # a claimed job has both
        telemetry.emit("job.start", job=job, queue_time=waited.total_seconds())
    return time.monotonic()


def _stopped(job: AnyJob, ack: Ack, outcome: Outcome, began: float) -> None:
    event = "job.exception" if isinstance(outcome, Failed) else "job.stop"
    if not telemetry.heard(event):
        return
    told: dict[str, Any] = {"job": job, "state": ack.state, "duration": time.monotonic() - began}
    if isinstance(outcome, Failed):
        told["error"] = outcome.error
    telemetry.emit(event, **told)
