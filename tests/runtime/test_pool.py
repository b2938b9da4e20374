"""Threads: as many as ever ran at once, kept for the next job, never in the way of a process that ends."""

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from tenuto.runtime.pool import Threads

colour: ContextVar[str] = ContextVar("colour")


async def test_a_call_runs_in_a_thread_and_in_this_context() -> None:
    threads = Threads()
    colour.set("green")

    returned = await threads.run(lambda: (threading.current_thread().name, colour.get()))

    assert returned.value == ("tenuto-job", "green")
    threads.close()


async def test_calls_at_once_run_side_by_side() -> None:
    threads, meeting = Threads(), threading.Barrier(8, timeout=10)

    await asyncio.gather(*(threads.run(meeting.wait) for _ in range(8)))

    threads.close()


async def test_an_idle_thread_is_used_again() -> None:
    threads = Threads()

    names = {(await threads.run(threading.get_ident)).value for _ in range(20)}

    assert len(names) <= 2  # the first may still be on its way back to idleness
    threads.close()


async def test_an_exception_that_no_future_carries_comes_back_as_data() -> None:
    threads = Threads()

    returned = await threads.run(lambda: next(iter(())))

    assert isinstance(returned.error, StopIteration)
    threads.close()


def test_a_job_that_never_returns_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
import pytest

from tenuto.runtime.pool import Threads

async def main():
    Threads().run(threading.Event().wait)
    await asyncio.sleep(0)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)

    assert ended.returncode == 0


async def test_a_call_for_which_the_system_has_no_thread_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, ran = Threads(), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError, match="no thread left"):
            threads.run(lambda: ran.append("refused"))

    await threads.run(lambda: ran.append("later"))

    assert ran == ["later"]
    threads.close()


def _refuse(thread: threading.Thread) -> None:
    raise RuntimeError("no thread left")
