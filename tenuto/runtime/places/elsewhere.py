"""Elsewhere: jobs that run in a process of their own, or on an executor that the app was given by name."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from multiprocessing.process import current_process
from typing import Any, Final, TypeAlias

from tenuto import telemetry
from tenuto.context import running
from tenuto.definition import Definition, registered
from tenuto.errors import ConfigError, InvalidJob, JobTimedOut, ProcessDied
from tenuto.features.feature import Process
from tenuto.features.hooks import told_elsewhere
from tenuto.job import Job
from tenuto.options import check_place
from tenuto.outcome import Discard, Failed, Outcome, PutBack
from tenuto.runtime.places.afar import Call
from tenuto.runtime.places.envelope import NEEDS, OUTCOME, ask_for_keys, closed, opened
from tenuto.runtime.places.parcel import Answer, pack, pack_needs, unpack_answer, unpack_outcome
from tenuto.runtime.places.pool import Threads
from tenuto.runtime.places.spawned import Spawned, through
from tenuto.tagged import SEALED

PROCESS: Final = "process"
DEATHS: Final = 3  # of its process in a row, and the job is discarded: it is what kills
PUT_BACK: Final = timedelta(seconds=30)

AnyJob = Job[Any, Any]

Executors: TypeAlias = Mapping[str, Pool]
"""Executors by the names that workers have for them."""


class Elsewhere:
    """Where the jobs of a node run that run neither on its loop nor in its threads."""

    def __init__(self, app: str, threads: Threads, executors: Executors) -> None:
        self._threads = threads
        self._executors = executors
        self._children = Spawned(app)
        self._works: set[asyncio.Future[str]] = set()  # what runs on executors

    def process(self, definition: Definition) -> Process:
        """What runs an attempt of that worker, features and all, where it says; its timeout counts from there."""
        run = self._in_child if definition.runs_in == PROCESS else self._on_executor
        return partial(_timed, partial(run, definition))

    async def close(self) -> None:
        """End the children, and wait for executors no more: those are their owners' to shut down."""
        for work in list(self._works):
            work.cancel()
        await self._children.close()

    # ── in a child ──

    async def _in_child(self, definition: Definition, job: AnyJob, clock: "_Clock") -> Outcome:
        mine = running.get()
        text = pack(job, pack_needs(mine.needs), definition.module, mine.sizes)
        try:
            child = await self._children.take()
        except (OSError, ProcessDied) as error:  # nobody here can run it now
            telemetry.emit("service.exception", service="children", error=error)
            return PutBack(PUT_BACK)
        clock.begin()
        try:
            answer = unpack_answer(await child.run(text, mine, clock.stop))
            return _heard(job, answer, unpack_outcome(answer.outcome))
        except ProcessDied as death:
            if _deaths(job) + 1 < DEATHS:
                raise
            return Discard(f"its process died {DEATHS} times in a row; the last one {death.how}")
        finally:
            self._children.give(child)

    # ── on an executor ──

    async def _on_executor(self, definition: Definition, job: AnyJob, clock: "_Clock") -> Outcome:
        mine = running.get()
        executor = self._executors.get(definition.runs_in or "")
        if executor is None:  # the job was put into a queue of this node, and another has the executor
            telemetry.emit("job.put_back", job=job, delay=PUT_BACK.total_seconds())
            return PutBack(PUT_BACK)
        needs = await closed(job, NEEDS, pack_needs(mine.needs))
        call = Call(pack(job, needs, definition.module, mine.sizes), mine)
        futures: list[Future[str]] = []
        work = asyncio.ensure_future(self._submitted(partial(executor.submit, call), futures, clock.begin))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        try:
            return await _returned(job, unpack_answer(await asyncio.shield(work)))
        except asyncio.CancelledError:
            if job.signal is not None:
                job.signal.cancelled = True  # heard where the executor is of this process
            for future in futures:
                future.cancel()  # it may not have begun
            await through(asyncio.wait([work]))  # it cannot be ended from outside: its slot is its own
            if not work.cancelled() and work.exception() is None:
                clock.ended_in_time(unpack_answer(work.result()))
            raise

    async def _submitted(
        self, submit: Callable[[], "Future[str]"], futures: list["Future[str]"], begun: Callable[[], None]
    ) -> str:
        """The text that the executor's future comes to; `futures` holds that one as soon as there is one."""
        submitted = await self._threads.run(submit)  # in a thread: it may wait for a cluster
        if submitted.error is not None:
            raise submitted.error
        futures.append(submitted.value)
        begun()
        return await asyncio.wrap_future(futures[0])


def _deaths(job: AnyJob) -> int:
    """How many of its last attempts ended with their process."""
    kinds = [failure.type == ProcessDied.__name__ for failure in reversed(job.errors)]
    return kinds.index(False) if False in kinds else len(kinds)


async def _returned(job: AnyJob, answer: Answer) -> Outcome:
    """The outcome that an executor gave back. Raises NotSealed, KeyUnavailable, SealBroken and Undecodable."""
    text = answer.outcome
    if not text.startswith(SEALED) and isinstance(failed := unpack_outcome(text), Failed):  # it may have had no keys
        return _heard(job, answer, failed)
    return _heard(job, answer, unpack_outcome(await opened(job, OUTCOME, text)))


def _heard(job: AnyJob, answer: Answer, outcome: Outcome) -> Outcome:
    if answer.is_told:
        told_elsewhere(job)
    return outcome


# ── in time ───────────────────────────────────────────────────────────────────────────────────────


class _Clock:
    """The timeout of one attempt, which counts from when its process begins until it ends; not for its after-hooks."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.timer = asyncio.timeout(None)
        self.answer: Answer | None = None  # that came in time, though it was known too late

    def begin(self) -> None:
        """It runs now."""
        if self.limit is not None:
            self._set(asyncio.get_running_loop().time() + self.limit)

    def stop(self) -> None:
        """It has ended."""
        self._set(None)

    def _set(self, when: float | None) -> None:
        with suppress(RuntimeError):  # it is over already
            self.timer.reschedule(when)

    def ended_in_time(self, answer: Answer) -> None:
        """Keep an answer that came after the limit, if it was the after-hooks that took so long, or the way there.

        What heard that its time was over is none, however late it began: it may have ended because it heard.
        """
        if self.limit is not None and answer.seconds <= self.limit and not answer.has_heard:
            self.answer = answer


async def _timed(run: Callable[[AnyJob, _Clock], Awaitable[Outcome]], job: AnyJob) -> Outcome:
    """Run it within its timeout. Raises JobTimedOut."""
    await ask_for_keys(job)
    clock = _Clock(None if job.timeout is None else job.timeout.total_seconds())
    try:
        async with clock.timer:
            return await run(job, clock)
    except TimeoutError:
        if not clock.timer.expired():
            raise
        if clock.answer is not None:
            return await _returned(job, clock.answer)
        raise JobTimedOut(clock.limit or 0) from None


# ── at the start ──────────────────────────────────────────────────────────────────────────────────


def check_executors(executors: Executors) -> Executors:
    """The same executors by name. Raises ConfigError for a name of our own, and for what cannot be submitted to."""
    for name, executor in executors.items():
        try:
            check_place(name)
        except InvalidJob as error:
            raise ConfigError(f"executors: {error}") from None
        if name == PROCESS:
            raise ConfigError("executors: 'process' is where Tenuto has children of its own; choose another name")
        if not callable(getattr(executor, "submit", None)):
            told = f"{name!r} is of type {type(executor).__name__}; give a concurrent.futures.Executor"
            raise ConfigError(f"executors: {told}")
    return dict(executors)


def check_places(executors: Collection[str], queues: Collection[str]) -> None:
    """Refuse to work on queues whose workers run on an executor that is not there, and to work at all in a process
    that only imports its program yet. Raises ConfigError.
    """
    if getattr(current_process(), "_inheriting", False):
        raise ConfigError(
            "this process was started to run jobs, and imports the program for its workers; "
            'write `if __name__ == "__main__":` before what starts the app'
        )
    for definition in registered().values():
        place = definition.runs_in
        if place in (None, PROCESS, *executors) or definition.template.queue not in queues:
            continue
        known = ", ".join(map(repr, sorted(executors))) or "none"
        raise ConfigError(
            f"worker {definition.name} runs in {place!r}, and this app has no executor of that name "
            f"(there are: {known}); give Tenuto(executors={{{place!r}: ...}})"
        )
