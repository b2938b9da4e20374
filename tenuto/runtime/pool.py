"""Threads for plain functions: kept for the next job, and never in the way of a process that ends."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, NamedTuple


class Returned(NamedTuple):
    """What a call came to: its value, or what it raised. Some exceptions cannot travel through a future."""

    value: Any
    error: BaseException | None


class Threads:
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
        """Run `act` in a thread, in a copy of this context. The future never raises what `act` raised."""
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


def called(act: Callable[[], Any]) -> Returned:
    """What a call comes to, also where it raises what no future carries."""
    try:
        return Returned(act(), None)
    except BaseException as error:  # noqa: BLE001 - user code: whatever it raises is that job's outcome
        return Returned(None, error)
