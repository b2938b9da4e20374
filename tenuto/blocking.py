"""Blocking: verbs for plain functions, which cannot await."""

import asyncio
from typing import Any
from uuid import UUID

from tenuto import results
from tenuto.borrowing import complete_now
from tenuto.context import current
from tenuto.errors import WouldDeadlock
from tenuto.job import Job


def store_result(value: Any) -> None:
    """Keep the running step's result now, durably, before it settles: `results.store_result` for a plain function.

    Call it in a job that is a plain `def`; it waits until the result is stored. Raises as that one does, and
    WouldDeadlock in an `async def`.
    """
    loop = current("blocking.store_result()").loop
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await results.store_result(value)`")
    asyncio.run_coroutine_threadsafe(results.store_result(value), loop).result()


def recorded(job: Job[Any, Any] | UUID | str) -> Any:
    """What a job of a recorded worker returned: `app.recorded` of the app that runs this job, for a plain function.

    Raises as that one does, and WouldDeadlock in an `async def`.
    """
    mine = current("blocking.recorded()")
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await current_app().recorded(job)`")
    return asyncio.run_coroutine_threadsafe(mine.app.recorded(job), mine.loop).result()


def complete_in(conn: Any, value: Any = None) -> None:
    """Complete the running job with `value` in the transaction of `conn`: `tenuto.complete_in` for a plain function.

    It takes a plain connection, on the thread that runs the job. Raises as that one does.
    """
    complete_now(conn, value)


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
