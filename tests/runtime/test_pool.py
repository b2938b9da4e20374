"""Threads: as many as ever ran at once, kept for the next job, never in the way of a process that ends."""

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from tenuto.job import Job
from tenuto.runtime.places.pool import Threads
from tests.kit import eventually

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

from tenuto.runtime.places.pool import Threads

async def main():
    Threads().run(threading.Event().wait)
    await asyncio.sleep(0)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)

    assert ended.returncode == 0


AnyJob = Job[Any, Any]


async def test_the_calls_of_a_seat_run_one_after_the_other_in_one_thread() -> None:
    threads = Threads()
    seat, job = threads.seat(), AnyJob("w")

    idents = {await seat.call(threading.get_ident, job) for _ in range(20)}

    assert len(idents) == 1
    assert threading.get_ident() not in idents
    seat.leave()
    threads.close()


async def test_a_seat_that_was_left_gives_its_thread_back() -> None:
    threads, job = Threads(), AnyJob("w")
    idents = set()
    for _ in range(20):
        seat = threads.seat()
        idents.add(await seat.call(threading.get_ident, job))
        seat.leave()
        await eventually(lambda: threads._idle)

    assert len(idents) <= 2
    threads.close()


async def test_what_a_seat_is_given_to_do_raises_what_it_raises_in_its_own_context() -> None:
    threads = Threads()
    seat = threads.seat()
    colour.set("red")

    with pytest.raises(ValueError, match="red"):
        await seat.call(lambda: _raise(ValueError(colour.get())), AnyJob("w"))

    seat.leave()
    threads.close()


async def test_a_call_of_a_seat_is_answered_when_the_node_ends_though_it_never_ends() -> None:
    threads, may_end = Threads(), threading.Event()
    seat = threads.seat()
    call = asyncio.create_task(seat.call(may_end.wait, AnyJob("w")))
    await asyncio.sleep(0)

    threads.close()

    with pytest.raises(RuntimeError, match="the node ended"):
        await call
    may_end.set()


def _raise(error: Exception) -> None:
    raise error


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
