"""Workers for the stories of jobs that run in processes of their own; children import this module, and no tests."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from tenuto import (
    Cancel,
    Deadline,
    Discard,
    Job,
    Record,
    Snooze,
    Worker,
    blocking,
    current_app,
    current_job,
    job,
    results,
)
from tenuto.errors import TenutoError

QUEUE = "afar"
in_process = job(queue=QUEUE, runs_in="process", backoff=0, max_attempts=5)


@in_process
def whose_process() -> int:
    return os.getpid()


@in_process
async def whose_process_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@in_process
def come_to(what: str) -> Any:
    match what:
        case "nothing":
            return None
        case "null":
            return Record(None)
        case "snooze":
            return Snooze(3600) if current_job().snoozes == 0 else "slept"
        case "cancel":
            raise Cancel("told to")
        case "discard":
            return Discard("told to")
        case "exit":
            sys.exit(3)
        case "fail":
            return deeper()
        case "odd":
            return [object()]
        case "large":
            return "x" * 17_000_000
    return what


def deeper() -> None:
    raise LookupError("in a child: ünï")


@in_process
def give_back(value: Any) -> Any:
    return value


@in_process
def die(how: int) -> None:
    if how < 0:
        os.kill(os.getpid(), -how)
        signal.pause()
    os._exit(how)


@in_process
def crash() -> None:
    """Reads where nothing is: the system ends the process."""
    ctypes.string_at(0)


@in_process
def linger(seconds: float) -> tuple[int, float, float]:
    """Where it ran, from when until when."""
    began = time.time()
    time.sleep(seconds)
    return os.getpid(), began, time.time()


@in_process
def die_once(mark: str) -> str:
    if current_job().attempt == 1:
        os._exit(7)
    return mark


@in_process
def hold(folder: str) -> None:
    """Runs until it is killed, in pure Python; its pid and that of a process it started are in the folder."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tell(folder, f"{os.getpid()} {started.pid}")
    while True:
        time.sleep(0.01)


@in_process
async def hold_async(folder: str) -> None:
    tell(folder, f"{os.getpid()}")
    await asyncio.Event().wait()


firm = job(queue=QUEUE, runs_in="process", deadline=Deadline(600, force=True), backoff=0)


@firm
def hold_firmly(folder: str) -> None:
    tell(folder, str(os.getpid()))
    while True:
        time.sleep(0.01)


def tell(folder: str, text: str) -> None:
    """Write a file that others wait for, whole."""
    path = os.path.join(folder, "pids")
    with open(path + ".part", "w") as file:
        file.write(text)
    os.replace(path + ".part", path)


@in_process
def read(steps: list[str]) -> dict[str, Any]:
    """What `get_result` gives for each of these, or the name of the refusal."""
    return {step: _read(step) for step in steps}


def _read(step: str) -> Any:
    try:
        return results.get_result(step)
    except TenutoError as refusal:
        return type(refusal).__name__


@in_process
def store_then_die(value: Any) -> None:
    blocking.store_result(value)
    os._exit(9)


@in_process
async def store_then_fail(value: Any) -> None:
    await results.store_result(value)
    raise LookupError("after storing")


@in_process
def who_am_i() -> dict[str, Any]:
    mine = current_job()
    refused = ""
    try:
        current_app().enqueue(mine)
    except TenutoError as refusal:
        refused = type(refusal).__name__
    return {
        "id": mine.id,
        "attempt": mine.attempt,
        "tags": list(mine.tags),
        "meta": mine.meta,
        "app": current_app().name,
        "refused": refused,
        "kind": type(mine.attempted_at) is datetime,
    }


class Add(Worker[dict[str, int], int], queue=QUEUE, runs_in="process"):
    """A class runs there as well, with its args as declared."""

    def process(self, job: Job[dict[str, int], int]) -> int:
        return sum(job.args.values())


@in_process
def later(when: datetime, by: timedelta) -> datetime:
    return when + by


# ── that run until they are ended ─────────────────────────────────────────────────────────────────


@job(queue=QUEUE, runs_in="process", recorded=True, max_attempts=1)
def keep(size: int) -> str:
    return "".join(chr(33 + each % 90) for each in os.urandom(size))  # which compresses little


endless = job(queue=QUEUE, deadline=600, max_attempts=1)


@endless
async def endless_on_loop() -> None:
    await asyncio.Event().wait()


@endless
def endless_in_thread() -> None:
    mine = current_job()
    while not mine.cancelled:
        time.sleep(0.01)


@endless(runs_in="process")
def endless_in_process() -> None:
    while True:
        time.sleep(0.01)


@endless(runs_in="process")
async def endless_in_process_async() -> None:
    await asyncio.Event().wait()


# ── on an executor ────────────────────────────────────────────────────────────────────────────────

on_pool = job(queue="pool", runs_in="pool", backoff=0, max_attempts=2)


@on_pool
def where() -> list[Any]:
    return [os.getpid(), threading.current_thread().name]


@on_pool
async def where_async() -> list[Any]:
    await asyncio.sleep(0)
    return [os.getpid(), current_job().attempt]


@on_pool
def fail_there() -> None:
    deeper()


@on_pool
def store_there(value: Any) -> str:
    blocking.store_result(value)
    return "not reached in another process"


@on_pool
async def store_there_async(value: Any) -> None:
    await results.store_result(value)


@on_pool
def read_there(steps: list[str]) -> dict[str, Any]:
    return {step: _read(step) for step in steps}


@on_pool
def app_there() -> str:
    return str(current_app().name)


@on_pool
def until_told(folder: str) -> None:
    """Runs until it hears that it should stop, and says so."""
    tell(folder, "runs")
    mine = current_job()
    while not mine.cancelled:
        time.sleep(0.01)
    tell(folder, "told")


@on_pool
def until_released(folder: str) -> None:
    """Runs until somebody says so, whoever cancels it."""
    tell(folder, "runs")
    while not os.path.exists(os.path.join(folder, "released")):
        time.sleep(0.01)


@on_pool
def mark(folder: str) -> None:
    tell(folder, "ran")
