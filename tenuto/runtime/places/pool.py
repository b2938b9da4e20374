"""Threads for plain functions: kept for the next job, and never in the way of a process that ends."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple

from tenuto.job import Job


class Returned(NamedTuple):
    """What a call came to: its value, or what it raised. Some exceptions cannot travel through a future."""

    value: Any
    error: BaseException | None


class _Callable(ABC):
    """Where plain functions are called: `call` waits for one as a job has to."""

    @abstractmethod
    def run(self, act: Callable[[], Any]) -> "asyncio.Future[Returned]":
        """Run `act` in a thread, in a copy of this context. The future never raises what `act` raised."""

    async def call(self, act: Callable[[], Any], job: Job[Any, Any]) -> Any:
        """What `act` returns, or raise what it raised, from a thread.

        A timeout of the job, or whoever cancels it, tells it to stop, and then waits all the same: a thread cannot be
        ended from outside, and its slot is the thread's.
        """
        called = self.run(act)
        try:
            returned = await asyncio.shield(called)
        except asyncio.CancelledError:
            if job.signal is not None:
                job.signal.cancelled = True
            while not called.done():
                with suppress(asyncio.CancelledError):  # told again
                    await asyncio.wait([called])
            raise
        if returned.error is not None:
            raise returned.error
        return returned.value


class Threads(_Callable):
    """Daemon threads that run plain functions. There are as many as ever ran at once; slots bound that.

    concurrent.futures' own pool joins its threads when the interpreter ends, so that one job that never
    returns would keep the process alive for ever.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Future[Returned]]] = deque()
        self._unanswered: set[Future[Returned]] = set()
        self._ready = threading.Condition()
        self._idle = 0
        self._closed = False

    def run(self, act: Callable[[], Any]) -> "asyncio.Future[Returned]":
        context = copy_context()
        answer: Future[Returned] = Future()
        with self._ready:
            self._unanswered.add(answer)
            self._waiting.append((lambda: context.run(act), answer))
            if self._idle >= len(self._waiting):
                self._ready.notify()
            else:
                self._begin_thread(answer)
        return asyncio.wrap_future(answer)

    def seat(self) -> "Seat":
        """A thread for several calls of one attempt."""
        return Seat(self)

    def _begin_thread(self, answer: "Future[Returned]") -> None:
        """One more thread. Where the system has none left, the call is taken back: it must not run unseen later."""
        try:
            threading.Thread(target=self._serve, name="tenuto-job", daemon=True).start()
        except RuntimeError:
            self._unanswered.discard(answer)
            self._waiting.pop()
            raise

    def close(self) -> None:
        """Let the threads end once they are idle; one inside a job is left to itself, and nobody waits for it."""
        with self._ready:
            self._closed = True
            self._waiting.clear()
            left = list(self._unanswered)
            self._ready.notify_all()
        for answer in left:
            self._answer(answer, Returned(None, RuntimeError("the node ended before this call did")))

    def _serve(self) -> None:
        self._become_idle()
        while (taken := self._take()) is not None:
            act, answer = taken
            returned = called(act)
            self._become_idle()  # before the answer, so that whoever gets it finds this thread free
            self._answer(answer, returned)

    def _become_idle(self) -> None:
        with self._ready:
            self._idle += 1

    def _answer(self, answer: "Future[Returned]", returned: Returned) -> None:
        """Answer a call, once: by its thread, or by `close`."""
        with self._ready:
            if answer not in self._unanswered:
                return
            self._unanswered.discard(answer)
        if not answer.cancelled():
            answer.set_result(returned)

    def _take(self) -> tuple[Callable[[], Any], "Future[Returned]"] | None:
        with self._ready:
            while not self._waiting and not self._closed:
                self._ready.wait()
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None


class Seat(_Callable):
    """One thread that an attempt keeps for its hooks and its process, until it leaves."""

    def __init__(self, threads: Threads) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Returned]] | None] = SimpleQueue()
        self._unanswered: Future[Returned] | None = None
        threads.run(self._serve).add_done_callback(self._ended)

    def run(self, act: Callable[[], Any]) -> "asyncio.Future[Returned]":
        context = copy_context()
        answer = self._unanswered = Future()
        self._calls.put((lambda: context.run(act), answer))
        return asyncio.wrap_future(answer)

    def leave(self) -> None:
        """Give the thread back once the call under way has ended."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (taken := self._calls.get()) is not None:
            act, answer = taken
            _answer(answer, called(act))

    def _ended(self, served: "asyncio.Future[Returned]") -> None:
        """Answer a call that nobody will: the node has ended, and left the thread to itself."""
        if self._unanswered is not None and not served.cancelled():
            _answer(self._unanswered, served.result())


def _answer(answer: "Future[Returned]", returned: Returned) -> None:
    with suppress(InvalidStateError):  # answered already, or nobody waits any more
        answer.set_result(returned)


def called(act: Callable[[], Any]) -> Returned:
    """What a call comes to, also where it raises what no future carries."""
    try:
        return Returned(act(), None)
    except BaseException as error:  # noqa: BLE001 - user code: whatever it raises is that job's outcome
        return Returned(None, error)
