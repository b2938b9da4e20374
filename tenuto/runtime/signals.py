"""Signals: SIGTERM and SIGINT tell a working process to stop, and a second one to hurry."""

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(hurry: Callable[[], None] | None) -> Generator[asyncio.Event]:
    """An event that the first signal sets; each one after it calls `hurry`, if there is one, in the event loop."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        if told.is_set() and hurry is not None:
            hurry()
        told.set()

    for number in STOPPING:
        loop.add_signal_handler(number, tell)
    try:
        yield told
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
