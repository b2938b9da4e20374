"""The watchdog: whatever blocks the event loop is named, the job and the line, while it still does."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tenuto import Tenuto, current_job, job, telemetry
from tenuto.runtime.watchdog import Watchdog
from tests.kit import drain, eventually

BLOCKED = 1.8  # seconds


@pytest.fixture
def lags() -> Iterator[list[dict[str, Any]]]:
    """What is told of blocked loops."""
    told: list[dict[str, Any]] = []

    def hear(event: str, payload: Any) -> None:
        told.append(dict(payload))

    telemetry.attach(hear, "node.lag")
    yield told
    telemetry.detach(hear)


def block() -> None:
    time.sleep(BLOCKED)  # the line that is told


LINE = block.__code__.co_firstlineno + 1


@job(name="watchdog.blocks")
async def blocks() -> None:
    await asyncio.sleep(0)
    block()


@job(name="watchdog.blocks_in_a_task")
async def blocks_in_a_task() -> None:
    async def below() -> None:
        block()

    async with asyncio.TaskGroup() as group:
        group.create_task(below())


@job(name="watchdog.blocks_in_a_chain")
async def blocks_in_a_chain() -> None:
    async def first() -> None:
        await second()

    async def second() -> None:
        await asyncio.sleep(0)
        await asyncio.gather(third())

    async def third() -> None:
        block()

    await first()


@pytest.mark.parametrize(
    "worker", [blocks, blocks_in_a_task, blocks_in_a_chain], ids=["itself", "in a task", "in a chain of coroutines"]
)
async def test_the_job_that_blocks_the_event_loop_is_named_with_the_line(
    app: Tenuto, lags: list[dict[str, Any]], worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tenuto")
    telemetry.attach(telemetry.log_events, "node.lag")
    try:
        made = await app.enqueue(worker.new())
        await eventually(lambda: lags and lags[-1]["seconds"] >= BLOCKED - 0.6)
        await drain(app)
    finally:
        telemetry.detach(telemetry.log_events)

    first = lags[0]
    assert first["seconds"] < BLOCKED, "it was told while the loop was blocked"
    assert {(lag["job"].id, lag["where"]) for lag in lags} == {(made.id, f"{__file__}:{LINE} in block")}
    line = json.loads(caplog.records[0].getMessage())
    assert (line["job"]["worker"], line["where"]) == (worker.definition.name, first["where"])
    assert caplog.records[0].levelno == logging.WARNING


def hold() -> None:
    ctypes.PyDLL(None).usleep(int(BLOCKED * 1e6))  # one call of C that lets no other thread run
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass


@job(name="watchdog.holds")
async def holds() -> None:
    await asyncio.sleep(0.6)  # so that the loop has given a sign
    hold()


async def test_a_call_of_c_that_keeps_every_thread_from_running_is_told_once_when_it_ends(
    app: Tenuto, lags: list[dict[str, Any]]
) -> None:
    made = await app.enqueue(holds.new())
    await drain(app)
    await eventually(lambda: lags)

    (lag,) = lags
    assert lag["job"].id == made.id
    assert lag["where"].startswith(__file__)
    assert lag["where"].endswith("in hold")
    assert lag["seconds"] > BLOCKED - 0.6


async def test_what_held_the_lock_and_is_gone_is_told_without_a_name(lags: list[dict[str, Any]]) -> None:
    Watchdog("here").look(held=10)

    assert [(lag["seconds"], lag["job"]) for lag in lags] == [(10, None)]


async def test_one_block_is_told_once_while_it_lasts_and_once_when_it_is_over(
    app: Tenuto, lags: list[dict[str, Any]]
) -> None:
    await app.enqueue(blocks.new())
    await drain(app)

    told = [lag["seconds"] for lag in lags]
    assert told == sorted(told)
    assert 1 <= len(told) <= 2  # while it lasts, where the watchdog came to it in time, and when it is over
    assert told[-1] >= BLOCKED - 0.6


async def test_what_is_no_job_is_told_by_its_line(app: Tenuto, lags: list[dict[str, Any]]) -> None:
    block()
    await eventually(lambda: lags)

    assert (lags[0]["job"], lags[0]["where"]) == (None, f"{__file__}:{LINE} in block")


async def test_a_loop_that_stays_blocked_is_told_of_ever_less_often(lags: list[dict[str, Any]]) -> None:
    watchdog = Watchdog("here")

    for seconds in (0.5, 1.5, 2, 2.9, 3.1, 5, 6.1, 7, 13, 20, 39, 100):
        watchdog._asked = time.monotonic() - seconds  # as if it had been asked then
        watchdog.look()

    assert [round(lag["seconds"], 1) for lag in lags] == [1.5, 3.1, 7, 20, 100]


async def test_an_idle_loop_is_told_of_nobody(app: Tenuto, lags: list[dict[str, Any]]) -> None:
    @job(name="watchdog.idle")
    async def idle() -> str:
        await asyncio.sleep(1.5)
        return current_job().id

    await app.enqueue(idle.new())
    await drain(app)

    assert lags == []
