"""Children: tasks that a job starts on the event loop, kept from ending the loop and all that runs on it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from inspect import getcoroutinelocals, iscoroutine
from typing import Any, Final

from tenuto.context import running
from tenuto.errors import TaskExited
from tenuto.job import Job
from tenuto.opening import encryption_of

_log: Final = logging.getLogger("tenuto")


class Children:
    """Makes the loop's tasks while a node works on it: a SystemExit in one of a job's is that job's failure.

    asyncio lets SystemExit and KeyboardInterrupt of any task through to whoever runs the loop, past every task that
    waits for it. A loop with a task factory of its own is left alone.
    """

    def __init__(self) -> None:
        self._nodes = 0  # apps that work on this loop

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        mine = running.get(None)
        if mine is None or not asyncio.iscoroutine(coroutine):
            return asyncio.Task(coroutine, loop=loop, **options)
        kind: type[asyncio.Task[Any]] = asyncio.Task if encryption_of(mine.job.worker) is None else _Discreet
        return kind(_Contained(coroutine, mine.job), loop=loop, **options)

    @staticmethod
    def contain(loop: asyncio.AbstractEventLoop) -> None:
        """From now on the exits of a job's tasks end that job alone. Call `let_go` once for each call."""
        factory = loop.get_task_factory()
        if factory is None:
            loop.set_task_factory(factory := Children())
        if isinstance(factory, Children):
            factory._nodes += 1

    @staticmethod
    def let_go(loop: asyncio.AbstractEventLoop) -> None:
        """The loop makes its tasks itself again, once nobody contains them any more."""
        factory = loop.get_task_factory()
        if isinstance(factory, Children):
            factory._nodes -= 1
            if factory._nodes == 0:
                loop.set_task_factory(None)


class _Discreet(asyncio.Task[Any]):
    """A task of an encrypted job. What it raised, and nobody asked for, is logged by its type alone."""

    def __del__(self) -> None:
        if self._log_traceback:
            self._log_traceback = False
            job, error = job_of(self), type(self.exception()).__name__
            _log.error("a task that %s left behind in job %s raised %s", job and job.worker, job and job.id, error)
        super().__del__()


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine whose exits are TaskExited. To whoever asks for its name, its frame or its code it is the user's."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], job: Job[Any, Any]) -> None:
        self._coroutine = coroutine
        self._job = job  # whose task it is

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __repr__(self) -> str:
        return repr(self._coroutine)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        return _step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return _step(self._coroutine.throw, *error)

    def close(self) -> None:
        _step(self._coroutine.close)


def job_of(task: "asyncio.Task[Any]") -> Job[Any, Any] | None:
    """The job whose attempt this task is, or which started it; None for a task of anybody else."""
    coroutine = task.get_coro()
    if isinstance(coroutine, _Contained):
        return coroutine._job  # pyright: ignore[reportPrivateUsage]
    attempt = getcoroutinelocals(coroutine).get("attempt") if iscoroutine(coroutine) else None
    return getattr(attempt, "job", None)


def _step(step: Callable[..., Any], *sent: Any) -> Any:
    try:
        return step(*sent)
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExited(error) from error
