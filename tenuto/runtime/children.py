"""Children: tasks that a job starts on the event loop, kept from ending the loop and all that runs on it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from tenuto.context import running
from tenuto.errors import TaskExited


class Children:
    """Makes the loop's tasks while a node works on it: a SystemExit in one of a job's is that job's failure.

    asyncio lets SystemExit and KeyboardInterrupt of any task through to whoever runs the loop, past every task that
    waits for it. A loop with a task factory of its own is left alone.
    """

    def __init__(self) -> None:
        self._nodes = 0  # apps that work on this loop

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        is_of_a_job = running.get(None) is not None
        return asyncio.Task(_contained(coroutine) if is_of_a_job else coroutine, loop=loop, **options)

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


async def _contained(coroutine: Awaitable[Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExited(error) from error
