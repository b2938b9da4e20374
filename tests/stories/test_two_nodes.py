"""Two worker processes on one database: they share the work, and one takes over when the other dies or sleeps."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tenuto import Tenuto
from tests.kit import drain, eventually, kill
from tests.soaking.audit import settled_twice, watch
from tests.stories.workers import Crew, deadly, dwell, linger, note

pytestmark = pytest.mark.timeout(300)

LEASE, LONG = 2.0, 30.0  # seconds
TAKEN_OVER = 5.0  # seconds after the lease


@pytest.fixture
async def app(database_url: str):
    """An app that works on nothing; what settles in its database is written down."""
    await Tenuto(database_url).migrate()
    watch(database_url)
    async with Tenuto(database_url) as app:
        yield app


@pytest.fixture
def crew(database_url: str, tmp_path: Path) -> Iterator[Crew]:
    """Worker processes on the test's database."""
    with Crew(database_url, tmp_path) as crew:
        yield crew


async def all_completed(app: Tenuto, jobs: int) -> bool:
    return (await app.counts())["default"] == {"completed": jobs}


async def test_twenty_thousand_jobs_on_two_nodes_run_exactly_once(app, crew, database_url):
    first, second = crew.work(slots=100), crew.work(slots=100)
    await both_live(app)

    await app.enqueue([note.new(nth) for nth in range(20_000)])
    await eventually(lambda: all_completed(app, 20_000), within=60)

    assert Counter(crew.log.ends().values()) == {1: 20_000}
    assert {line.pid for line in crew.log.lines()} == {first.pid, second.pid}
    assert settled_twice(database_url) == {}


async def both_live(app: Tenuto) -> None:
    """Wait until two nodes hold leases."""

    async def are_two() -> bool:
        return len((await app.health()).nodes) == 2

    await eventually(are_two, within=60)


@pytest.mark.parametrize(
    ("lease", "unknown", "bury"),
    [(LEASE, "yes", kill), (LONG, "", kill), (LONG, "", subprocess.Popen.kill)],
    ids=["on another machine", "gone", "gone and not asked for by its parent"],
)
async def test_the_jobs_of_a_killed_node_run_on_the_other_one(app, crew, database_url, lease, unknown, bury):
    """A process of this machine is seen to be gone, whatever is left of its lease; elsewhere its lease must end."""
    victim, heir = crew.work(lease=lease, unknown=unknown), crew.work(lease=lease, unknown=unknown)
    await both_live(app)
    await app.enqueue([linger.new(nth, 0.1) for nth in range(300)])
    await crew.halt(victim, holding=3)

    bury(victim)
    died_at, orphans = time.time(), crew.log.running(victim.pid)
    await eventually(lambda: all_completed(app, 300), within=60)

    again = [line for line in crew.log.lines("begin") if line.nth in orphans and line.pid == heir.pid]
    assert {line.nth for line in again} == orphans
    assert min(line.at for line in again) - died_at < (lease if unknown else 0) + TAKEN_OVER + 1
    rescued = {job.args["nth"] for job in await app.find(limit=1000) if job.rescues}
    assert orphans <= rescued
    begun = Counter(line.nth for line in crew.log.lines("begin"))
    assert begun == {nth: 2 if nth in rescued else 1 for nth in range(300)}
    assert settled_twice(database_url) == {}


async def test_what_a_sleeping_node_did_is_refused_when_it_wakes(app, crew, database_url):
    sleeper, _ = crew.work(node="sleeper", slots=8), crew.work(node="heir")
    await both_live(app)
    jobs = await app.enqueue([linger.new(nth, 0.3) for nth in range(40)])

    await crew.halt(sleeper, holding=3)
    await eventually(lambda: all_completed(app, len(jobs)), within=30)
    sleeper.send_signal(signal.SIGCONT)
    await eventually(lambda: counted(app, "sleeper", "stale"))

    assert set(crew.log.ends()) == set(range(40))
    assert settled_twice(database_url) == {}
    assert all(job.attempt == 1 for job in await app.find(limit=100))


async def test_a_node_that_wakes_settles_nothing_that_another_one_runs_by_now(app, crew, database_url):
    sleeper = crew.work(node="sleeper", slots=3)
    jobs = await app.enqueue([linger.new(nth, 1.5) for nth in range(3)])
    await crew.halt(sleeper, holding=3)
    heir = crew.work(node="heir", slots=3)

    await eventually(lambda: crew.log.running(heir.pid), within=60)
    sleeper.send_signal(signal.SIGCONT)
    await eventually(lambda: counted(app, "sleeper", "stale"))
    await eventually(lambda: all_completed(app, 3))
    await both_live(app)

    assert await counted(app, "heir", "stale") == 0
    assert await counted(app, "sleeper", "fenced") == 1
    assert Counter(line.nth for line in crew.log.lines("begin")) == dict.fromkeys(range(3), 2)
    assert {((await app.fetch(job)).attempt, (await app.fetch(job)).epoch) for job in jobs} == {(1, 3)}
    assert settled_twice(database_url) == {}


async def counted(app: Tenuto, node: str, counter: str) -> int:
    """What the node of that name counts of itself."""
    nodes = (await app.health()).nodes
    return sum(seen.counters.get(counter, 0) for seen in nodes if seen.node.startswith(node))


async def test_a_job_that_kills_its_process_is_discarded_and_its_neighbours_complete(app, crew, database_url):
    poison = await app.enqueue(deadly.new(-1))
    await app.enqueue([linger.new(nth, 0.05) for nth in range(60)])
    await app.enqueue([dwell.new(nth, 0.05) for nth in range(60, 99)])

    deaths = 0
    while (await app.fetch(poison)).state != "discarded":
        node = crew.work(slots=10)
        await eventually(partial(ended, app, node, poison), within=60)
        deaths += node.poll() is not None
    await eventually(lambda: is_idle(app))

    assert deaths == 3
    assert (await app.fetch(poison)).errors[-1].type == "Poisoned"
    assert (await app.counts())["default"] == {"completed": 99, "discarded": 1}
    assert len([line for line in crew.log.lines("begin") if line.nth == -1]) == 3
    assert settled_twice(database_url) == {}


async def ended(app: Tenuto, node: subprocess.Popen[bytes], poison) -> bool:
    """Whether the process died, or there is nothing left that could kill it."""
    return node.poll() is not None or (await app.fetch(poison)).state == "discarded"


async def is_idle(app: Tenuto) -> bool:
    return not await app.find(state=["available", "executing", "retryable"], limit=1)


async def test_four_that_enqueue_and_two_that_work_share_one_file(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    await Tenuto(url).migrate()
    with Crew(url, tmp_path) as crew:
        nodes = [crew.work(), crew.work()]
        writers = [crew.enqueue(first=nth * 1000, jobs=250) for nth in range(4)]
        await eventually(lambda: all(writer.poll() is not None for writer in writers), within=60)
        async with Tenuto(url) as app:
            await drain(app)

        assert [writer.poll() for writer in writers] == [0] * 4
        assert [node.poll() for node in nodes] == [None] * 2
        assert "locked" not in crew.said
        assert "Traceback" not in crew.said
        assert Counter(crew.log.ends().values()) == {1: 1000}
