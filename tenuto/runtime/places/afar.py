"""Afar: one attempt where no node is, in a child process or on somebody's executor, from our text to our text."""

import asyncio
import importlib
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from inspect import isawaitable
from queue import SimpleQueue
from typing import Any, NamedTuple

from tenuto.context import Running, running
from tenuto.definition import Definition, resolve
from tenuto.errors import NotHere, UnknownWorker
from tenuto.features.feature import Feature
from tenuto.job import Job
from tenuto.outcome import Cancel, Discard, Failed, Outcome, Snooze, outcome_of, settle
from tenuto.runtime.places.children import Children
from tenuto.runtime.places.envelope import NEEDS, OUTCOME, closed, opened
from tenuto.runtime.places.parcel import Answer, Parcel, pack_answer, pack_outcome, unpack, unpack_needs
from tenuto.runtime.places.pool import Returned, Threads, called
from tenuto.tagged import SEALED

AnyJob = Job[Any, Any]


class Doors(NamedTuple):
    """What a running job may reach from where it is."""

    app: Any
    has_step: Callable[[AnyJob, str], bool]
    store_result: Callable[[AnyJob, str], Awaitable[None]]


class NoApp:
    """Stands where a job's app would, in a process that has none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, what: str) -> Any:
        raise NotHere(f"current_app().{what}")

    async def _context_of(self, workflow_id: str) -> str | None:
        raise NotHere("workflow_context()")


def no_step(job: AnyJob, step: str) -> bool:
    """Whether the workflow has that step is not known here."""
    raise NotHere(f"get_result({step!r}), of a step that is no declared dep,")


async def no_store(job: AnyJob, text: str) -> None:
    """Nothing is stored from here."""
    raise NotHere("store_result()")


def keep(answer: str) -> None:
    """Nobody can be told before the attempt's hooks have been."""


# ── the attempt ───────────────────────────────────────────────────────────────────────────────────


class Place:
    """Runs attempts in the thread that asks for it: plain functions there, and all else on a loop in a thread beside.

    So a plain function may block, and has the main thread of a child to itself.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._acts: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._hooks = Threads()  # plain hooks run there
        self._thread = threading.Thread(target=self.loop.run_forever, name="tenuto-afar", daemon=True)
        self._thread.start()
        Children.contain(self.loop)

    def run(self, text: str, doors: Doors, signal: Any = None, answered: Callable[[str], None] = keep) -> str:
        """One attempt from its text to that of its answer, which `answered` is given before after-hooks are told.

        Never raises what the job raises.
        """
        parcel = unpack(text)
        if signal is not None:
            parcel = parcel._replace(job=parcel.job.replace(signal=signal))
        ended = asyncio.run_coroutine_threadsafe(self._answer(parcel, doors, answered), self.loop)
        ended.add_done_callback(lambda _: self._acts.put(None))
        while (act := self._acts.get()) is not None:
            act()
        return ended.result()

    def close(self) -> None:
        """End the loop, and what jobs left on it."""
        self.loop.call_soon_threadsafe(self._end)
        self._thread.join()
        self._hooks.close()
        self.loop.close()

    def _end(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.call_soon(self.loop.stop)

    async def _answer(self, parcel: Parcel, doors: Doors, answered: Callable[[str], None]) -> str:
        job = parcel.job
        outcome, seconds = await self._come_to(parcel, doors)
        heard = job.cancelled
        hooks = () if heard or _is_late(job, seconds) else _observing(job)
        text = pack_answer(Answer(await _packed(parcel, outcome), seconds, is_told=bool(hooks), has_heard=heard))
        if hooks:
            answered(text)
            ack = settle(job, outcome, sizes=parcel.sizes)
            for feature in hooks:
                await feature.after_settle(job, outcome, ack)
        return text

    async def _come_to(self, parcel: Parcel, doors: Doors) -> tuple[Outcome, float]:
        job, needs = parcel.job, parcel.needs
        began = time.monotonic()
        try:
            definition = found(job.worker, parcel.module)
            may_read = unpack_needs(await opened(job, NEEDS, needs) if needs.startswith(SEALED) else needs)
            rest = (doors.has_step, doors.store_result, self.loop, self._hooks, parcel.sizes)
            running.set(Running(job, doors.app, may_read, *rest))
            began = time.monotonic()
            outcome = await definition.pipeline(self._innermost(definition))(job)
        except BaseException as error:  # noqa: BLE001 - user code: whatever it raises is this job's outcome
            outcome = error if isinstance(error, Snooze | Cancel | Discard) else Failed(error)
        return outcome, time.monotonic() - began

    def _innermost(self, definition: Definition) -> Callable[[AnyJob], Awaitable[Outcome]]:
        async def on_loop(job: AnyJob) -> Outcome:
            return outcome_of(await definition.invoke(job))

        async def here(job: AnyJob) -> Outcome:
            returned = await self._done_by_whom_asked(lambda: definition.invoke(job))
            if returned.error is not None:
                raise returned.error
            value = returned.value
            return outcome_of(await value if isawaitable(value) else value)

        return on_loop if definition.is_async else here

    async def _done_by_whom_asked(self, act: Callable[[], Any]) -> Returned:
        answer: Future[Returned] = Future()
        context = copy_context()
        self._acts.put(lambda: answer.set_result(called(lambda: context.run(act))))
        return await asyncio.wrap_future(answer)


def _is_late(job: AnyJob, seconds: float) -> bool:
    """Whether its node ends the attempt otherwise than it ended here, as far as can be seen."""
    return job.timeout is not None and seconds > job.timeout.total_seconds()


def _observing(job: AnyJob) -> tuple[Feature, ...]:
    """What tells the after-hooks of its worker; nothing where that was not found."""
    try:
        return resolve(job.worker).observing
    except UnknownWorker:
        return ()


async def _packed(parcel: Parcel, outcome: Outcome) -> str:
    """The text of an outcome, sealed where what the attempt was sent is; why it cannot be sealed is no secret."""
    text = pack_outcome(outcome, parcel.sizes)
    if not parcel.needs.startswith(SEALED):
        return text
    try:
        return await closed(parcel.job, OUTCOME, text)
    except BaseException as error:  # noqa: BLE001 - a provider of keys is user code
        return pack_outcome(Failed(error))


def found(worker: str, module: str) -> Definition:
    """The worker of that name; `module` is where the node that sent the job has it from. Raises UnknownWorker."""
    try:
        return resolve(worker)
    except UnknownWorker:
        importlib.import_module(module)  # named by the program of the node, and by no row
        return resolve(worker)


# ── on an executor ────────────────────────────────────────────────────────────────────────────────


class Call:
    """One attempt as an executor calls it. Pickled, it is this class and our text, and nothing of the job.

    In the process of its node it keeps hold of `mine`, so that the job reaches what it does in a thread there.
    """

    def __init__(self, text: str, mine: Running | None = None) -> None:
        self._text = text
        self._mine = mine

    def __reduce__(self) -> tuple[type["Call"], tuple[str]]:
        return Call, (self._text,)

    def __call__(self) -> str:
        """The text of its answer."""
        place = Place()
        try:
            if self._mine is None:
                return place.run(self._text, Doors(NoApp(""), no_step, no_store))
            return place.run(self._text, _doors_to(self._mine), self._mine.job.signal)
        finally:
            place.close()


def _doors_to(mine: Running) -> Doors:
    """The node's own doors, reached from another loop than the node's."""

    async def store(job: AnyJob, text: str) -> None:
        async def there() -> None:
            await mine.store_result(mine.job, text)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), mine.loop))

    return Doors(mine.app, mine.has_step, store)
