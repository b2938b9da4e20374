"""A node is alive by its lease: beaten from its own thread, fenced when it lapses, seen to be gone when it is."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tenuto import telemetry
from tenuto.runtime.node import Node, identity, is_gone
from tenuto.storage import upkeep
from tenuto.storage.database import Database
from tests.kit import eventually

LEASE = timedelta(seconds=1)


@pytest.fixture
async def node(database: Database) -> AsyncIterator[Node]:
    """A node with a lease of one second on the queue `default`."""
    made = Node(database, "here", LEASE)
    await made.join(["default"])
    yield made
    await made.leave(made.producers)
    made.end()


async def seen(database: Database) -> list[upkeep.Seen]:
    return await database.read(upkeep.nodes)


async def test_a_lease_is_renewed_while_the_node_lives(node: Node, database: Database) -> None:
    (before,) = await seen(database)

    async def is_renewed() -> bool:
        (now,) = await seen(database)
        return now.expires_at > before.expires_at + LEASE

    await eventually(is_renewed)
    assert node.alive


async def test_a_blocked_event_loop_does_not_look_dead_and_is_told(node: Node, database: Database) -> None:
    lags: list[float] = []

    def hear(event: str, payload: Any) -> None:
        lags.append(payload["seconds"])

    telemetry.attach(hear, "node.lag")
    try:
        time.sleep(1.8)  # noqa: ASYNC251 - the loop is blocked on purpose
        told_meanwhile = list(lags)
        (one,) = await seen(database)
        await eventually(lambda: lags)
    finally:
        telemetry.detach(hear)

    assert one.alive
    assert told_meanwhile
    assert node.lag >= 1.0


async def test_a_lease_that_somebody_ended_fences_the_node(node: Node, database: Database) -> None:
    fenced = asyncio.Event()
    node.on_fenced = fenced.set

    await database.run(upkeep.expire, node.producers)

    async with asyncio.timeout(5):
        await fenced.wait()
    assert not node.alive


async def test_a_node_that_cannot_renew_is_fenced_before_its_lease_ends(
    node: Node, database: Database, monkeypatch: Any
) -> None:
    fenced = asyncio.Event()
    node.on_fenced = fenced.set
    monkeypatch.setattr(node, "_beat", lambda line: None)  # the beat hangs

    async with asyncio.timeout(5):
        await fenced.wait()

    (one,) = await seen(database)
    assert one.alive


async def test_a_node_waits_one_lease_after_an_outage_before_it_judges_others(node: Node) -> None:
    judged = [node.may_judge]
    node.away(ConnectionError())
    judged.append(node.may_judge)
    node.back()
    judged.append(node.may_judge)

    assert judged == [True, False, False]
    await eventually(lambda: node.may_judge)


def test_this_process_is_not_gone() -> None:
    assert not is_gone(*identity())


@pytest.mark.skipif(identity().boot is None, reason="this system does not tell which process is which")
def test_a_process_that_ended_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_gone(identity().boot, child.pid, began)

    child.communicate(b"\n")

    assert is_gone(identity().boot, child.pid, began)


def test_a_pid_that_belongs_to_another_process_now_is_gone() -> None:
    boot, pid, _ = identity()
    if boot is not None:
        assert is_gone(boot, pid, "12345")


def test_of_a_process_on_another_machine_nothing_is_known() -> None:
    assert not is_gone("another boot", os.getpid(), "12345")
    assert not is_gone(None, None, None)
