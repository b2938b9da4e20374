"""Blocking: verbs for plain functions, which cannot await."""

import asyncio
from typing import Any

from tenuto import results
from tenuto.context import current


def store_result(value: Any) -> None:
    """Keep the running step's result now, durably, before it settles: `results.store_result` for a plain function.

    Call it in a job that is a plain `def`; it waits until the result is stored. Raises as that one does.
    """
    loop = current("blocking.store_result()").loop
    asyncio.run_coroutine_threadsafe(results.store_result(value), loop).result()
