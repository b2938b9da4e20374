"""Background: an open app on an event loop and a thread of its own, for threads that wait and cannot await."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

from tenuto.app import Tenuto
from tenuto.errors import NotStarted
from tenuto.job import Duration

T = TypeVar("T")

LAST_WAIT: Final = 2.0  # seconds for what still runs on the loop after a stop; then the thread is left to itself
STILL_WITHIN: Final = 1.0  # seconds that a fork waits for the loop to stand still; a job may block it

AfterFork = Callable[[bool], None]
"""What is to be done when a fork is over, told whether this is the child."""


class Front(ABC):
    """An app that blocks, for those who know none of its verbs."""

    @abstractmethod
    def configure(self, **settings: Any) -> None:
        """Change settings before it is opened. Raises ConfigError, also when it is open."""

    @abstractmethod
    def _anew(self) -> Tenuto:
        """An app that is awaited, not open, with its settings, executors and cron entries."""


def to_work_for(front: Front, settings: Mapping[str, Any]) -> Tenuto:
    """An app that works as that one would. That one only enqueues and awaits from now on, where `settings` say.

    Raises ConfigError when it is open.
    """
    app = front._anew()  # pyright: ignore[reportPrivateUsage] - users are offered the names of the awaited app alone
    front.configure(**settings, queues={})
    return app


class Loop:
    """An event loop of another thread, in which this one waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine comes to, in a copy of this context. Who is interrupted while waiting cancels it."""
        return self._result(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def soon(self, act: Callable[[], None]) -> None:
        """Call it in the loop, without waiting."""
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(act)

    def _result(self, future: "Future[T]") -> T:
        try:
            return future.result()
        except CancelledError:
            raise NotStarted("the app was stopped while this waited for it; whether it was done is not known") from None
        finally:
            future.cancel()


class Background(Loop):
    """An app that is open on a loop of its own. The thread is a daemon: no process lives on because of it."""

    def __init__(self, app: Tenuto) -> None:
        super().__init__(asyncio.new_event_loop())
        self._app = app
        self._told = asyncio.Event()
        self._lock = threading.Lock()
        self.is_over = False
        self._is_last = False  # the process ends with it
        self._waiting: set[Future[Any]] = set()
        self._thread = threading.Thread(target=self._serve, name=f"tenuto-{app.name}", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Start the app. Its loops are not in the context of whoever happens to ask first."""
        try:
            Context().run(self.wait, self._app.start())
        except BaseException:
            self._end()
            raise

    def close(self, grace: Duration | None = None) -> None:
        """Stop the app as it does itself, then the loop. Whoever still waits gets NotStarted."""
        try:
            self.wait(self._app.stop(grace))
        finally:
            self._end()

    def close_last(self) -> None:
        """Close it as the process ends: within the grace, and without a word to daemon threads, which end as well."""
        self._is_last = True
        stopping = self._ask(self._app.stop())
        try:
            with suppress(TimeoutError, CancelledError):  # its leases will end by themselves; or it was closed already
                stopping.result(self._app.config.grace.total_seconds() + LAST_WAIT)
        finally:
            self._end()

    def leave(self) -> None:
        """Close it without waiting: nobody holds the app any more."""
        self.soon(self._leave)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = self._ask(coroutine)
        try:
            return self._result(future)
        except Exception:
            if self._is_last and threading.current_thread().daemon:
                threading.Event().wait()  # for the end of the process, in which this thread has no more to say
            raise
        finally:
            self._waiting.discard(future)

    def _ask(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """What the coroutine will come to; cancelled where the loop has ended, or ends before it does."""
        with self._lock:
            if not self.is_over:
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
                self._waiting.add(future)
                return future
        coroutine.close()
        never: Future[T] = Future()
        never.cancel()
        return never

    # ── its thread ──

    def _leave(self) -> None:
        self._leaving = self._loop.create_task(self._app.stop())
        self._leaving.add_done_callback(lambda _: self._told.set())

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._until_told())
        finally:
            for future in tuple(self._waiting):
                future.cancel()  # what came too late for the loop

    async def _until_told(self) -> None:
        """On the loop: what was asked before it is over still reaches the loop, and is cancelled there."""
        try:
            await self._told.wait()
        finally:
            with self._lock:
                self.is_over = True

    def _end(self) -> None:
        self.soon(self._told.set)
        self._thread.join(LAST_WAIT)

    # ── a fork ──

    def before_fork(self) -> AfterFork:
        """Let the loop stand still, in no library's hands, and the database hold nothing that a child could harm."""
        held, go_on = threading.Event(), threading.Event()
        if threading.get_ident() != self._thread.ident and not self.is_over:
            tasks = asyncio.all_tasks(self._loop)
            self.soon(lambda: _stand_still(held, go_on, (self, tasks)))
            held.wait(STILL_WITHIN)
        database_after = self._app.database.before_fork()

        def after(is_child: bool) -> None:
            database_after(is_child)
            if not is_child:
                go_on.set()

        return after


def _stand_still(held: threading.Event, go_on: threading.Event, kept: object) -> None:
    """In a child this frame never ends, so what is `kept` is never let go there: no task, and no connection."""
    held.set()
    go_on.wait()
