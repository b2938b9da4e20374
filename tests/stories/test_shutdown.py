"""A worker that is told to end: claims stop at once, running jobs get the grace, what is left goes back unspent."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenuto import Tenuto
from tests.kit import eventually
from tests.stories.workers import NEVER, Crew, dwell, linger

SLOTS = 5
ENDS_WITHIN = 5.0  # seconds, for all that is not the grace


@pytest.fixture
async def app(database_url: str):
    """An app that works on nothing."""
    await Tenuto(database_url).migrate()
    async with Tenuto(database_url) as app:
        yield app


@pytest.fixture
def crew(database_url: str, tmp_path: Path) -> Iterator[Crew]:
    """Worker processes on the test's database."""
    with Crew(database_url, tmp_path) as crew:
        yield crew


async def runs_full(crew: Crew, node: subprocess.Popen[bytes]) -> None:
    """Wait until every slot of the node is taken."""
    await eventually(lambda: len(crew.log.running(node.pid)) == SLOTS)


async def exit_code(node: subprocess.Popen[bytes], *, within: float) -> int:
    """Wait for the end of the process."""
    await eventually(lambda: node.poll() is not None, within=within)
    return node.returncode


async def by_state(app: Tenuto) -> dict[str, int]:
    return (await app.counts()).get("default", {})


async def are_untouched(app: Tenuto, state: str) -> bool:
    """Whether the jobs in that state look as if they had never been tried."""
    jobs = await app.find(state=state)
    return all((job.attempt, job.suspicions, job.rescues, job.errors) == (0, 0, 0, ()) for job in jobs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_runs_may_end_and_nothing_new_begins(app, crew, number):
    node = crew.work(slots=SLOTS)
    await app.enqueue([linger.new(nth, 1.0) for nth in range(30)])
    await runs_full(crew, node)

    node.send_signal(number)

    assert await exit_code(node, within=1.0 + ENDS_WITHIN) == 0
    assert await by_state(app) == {"completed": SLOTS, "available": 30 - SLOTS}
    assert await are_untouched(app, "available")
    assert len(crew.log.lines("begin")) == SLOTS


@pytest.mark.parametrize("stay", [linger, dwell], ids=["on the loop", "in threads"])
async def test_what_does_not_end_within_the_grace_goes_back_unspent(app, crew, stay):
    node = crew.work(slots=SLOTS, grace=0.5)
    await app.enqueue([stay.new(nth, NEVER) for nth in range(SLOTS)])
    await runs_full(crew, node)

    node.terminate()

    assert await exit_code(node, within=0.5 + ENDS_WITHIN) == 0
    assert await by_state(app) == {"available": SLOTS}
    assert await are_untouched(app, "available")


async def test_a_second_signal_hurries(app, crew):
    node = crew.work(slots=SLOTS, grace=NEVER)
    await app.enqueue([linger.new(nth, NEVER) for nth in range(SLOTS)])
    await runs_full(crew, node)

    node.send_signal(signal.SIGTERM)
    node.send_signal(signal.SIGINT)  # of two signals of one kind the second can be lost

    assert await exit_code(node, within=ENDS_WITHIN) == 0
    assert await by_state(app) == {"available": SLOTS}
    assert await are_untouched(app, "available")


async def test_what_it_gave_back_runs_at_once_elsewhere(app, crew):
    leaving = crew.work(slots=SLOTS, grace=0)
    await app.enqueue([linger.new(nth, 2.0) for nth in range(SLOTS)])
    await runs_full(crew, leaving)
    staying = crew.work(slots=SLOTS, lease=30)
    await eventually(lambda: two_nodes(app))

    leaving.terminate()
    left_at = time.time()
    await eventually(lambda: all_completed(app))

    taken = [line.at for line in crew.log.lines("begin") if line.pid == staying.pid]
    assert len(taken) == SLOTS
    assert max(taken) - left_at < ENDS_WITHIN


async def two_nodes(app: Tenuto) -> bool:
    return len((await app.health()).nodes) == 2


async def all_completed(app: Tenuto) -> bool:
    return await by_state(app) == {"completed": SLOTS}


async def test_a_node_without_work_ends_at_once(app, crew):
    node = crew.work(grace=NEVER)
    await eventually(lambda: has_node(app))

    node.terminate()

    assert await exit_code(node, within=ENDS_WITHIN) == 0
    assert (await app.health()).nodes == ()


async def has_node(app: Tenuto) -> bool:
    return bool((await app.health()).nodes)
