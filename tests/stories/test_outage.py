"""The database goes away and comes back: workers go on by themselves, and nothing is lost or settled twice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tenuto import Tenuto, Workflow
from tenuto.errors import StorageUnavailable
from tests.kit import eventually
from tests.servers import PostgresServer
from tests.soaking.audit import settled_twice, watch
from tests.stories.workers import Crew, dwell, keep, linger, note

pytestmark = pytest.mark.timeout(300)

AWAY = 10.0  # seconds
RECOVERED = 5.0  # seconds after the database is back
SHORT, LONG = 2.0, 30.0  # seconds, leases that end during the outage and that do not
AT_A_TIME = 50


@pytest.fixture
async def app(own_postgres: PostgresServer) -> AsyncIterator[Tenuto]:
    """An app that works on nothing; what settles in its database is written down."""
    await Tenuto(own_postgres.url).migrate()
    watch(own_postgres.url)
    async with Tenuto(own_postgres.url) as app:
        yield app


@pytest.fixture
def crew(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Crew]:
    """Worker processes on the test's database."""
    with Crew(own_postgres.url, tmp_path) as crew:
        yield crew


class Load:
    """Somebody who stores jobs without a pause, and the same ones again where it is in doubt."""

    def __init__(self, app: Tenuto, first: int = 0) -> None:
        self._app = app
        self._first = self.stored = first
        self._is_enough = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._is_enough:
            jobs = [note.new(self.stored + nth) for nth in range(AT_A_TIME)]
            await eventually(lambda jobs=jobs: self._is_stored(jobs), within=60)  # type: ignore[misc]
            self.stored += len(jobs)
            await asyncio.sleep(0.02)  # some thousand jobs a second are enough

    async def _is_stored(self, jobs: list[Any]) -> bool:
        with suppress(StorageUnavailable):
            await self._app.enqueue(jobs)
            return True
        return False

    async def end(self) -> set[int]:
        """Store no more; the numbers of all jobs that were stored."""
        self._is_enough = True
        await self._task
        return set(range(self._first, self.stored))


async def is_done(app: Tenuto) -> bool:
    return {state for counted in (await app.counts()).values() for state in counted} == {"completed"}


async def two_nodes(app: Tenuto) -> bool:
    return len((await app.health()).nodes) == 2


def has_ended_since(crew: Crew, pid: int, instant: float) -> bool:
    return any(line.at > instant for line in crew.log.lines("end") if line.pid == pid)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_workers_go_on_by_themselves_after_an_outage(app, crew, own_postgres, end):
    short, long = crew.work(lease=SHORT, own="short"), crew.work(lease=LONG, own="long")
    moved = await app.enqueue([linger.options(queue="short").new(nth, SHORT * 2) for nth in range(-10, -5)])
    unmoved = await app.enqueue([linger.options(queue="long").new(nth, AWAY + 2) for nth in range(-5, 0)])
    await eventually(lambda: len(crew.log.lines("begin")) == 10, within=60)
    load = Load(app)
    await eventually(lambda: len(crew.log.lines("end")) > 500)

    getattr(own_postgres, end)()
    await asyncio.sleep(AWAY)
    own_postgres.start()
    back_at = time.time()
    await eventually(lambda: all(has_ended_since(crew, node.pid, back_at) for node in (short, long)))
    recovered_at = time.time()
    numbers = await load.end()
    await eventually(lambda: is_done(app), within=60)

    assert recovered_at - back_at < RECOVERED
    assert [node.poll() for node in (short, long)] == [None, None]
    assert set(crew.log.ends()) == numbers | set(range(-10, 0))
    assert settled_twice(own_postgres.url) == {}
    assert {(await app.fetch(job)).attempt for job in [*moved, *unmoved]} == {1}
    assert {(await app.fetch(job)).epoch for job in unmoved} == {1}
    assert [finding for finding in await app.check() if not finding.is_well] == []


async def test_a_server_that_hangs_fences_a_node_in_time(app, crew, own_postgres):
    node = crew.work(lease=SHORT)
    await app.enqueue([linger.new(nth, 60) for nth in range(5)])
    await eventually(lambda: len(crew.log.running(node.pid)) == 5)

    with hanging(own_postgres):
        await asyncio.sleep(SHORT * 2)
    jobs = await app.enqueue([note.new(nth) for nth in range(5, 10)])
    await eventually(lambda: len(crew.log.lines("end")) >= len(jobs))

    assert await eventually(lambda: counter(app, "fenced")) == 1
    assert all(job.attempt <= 1 for job in await app.find(limit=100))
    assert settled_twice(own_postgres.url) == {}


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Every process of the server stands still: no answer, and no error either."""
    with psycopg.connect(server.url) as connection:
        (data,) = connection.execute("show data_directory").fetchone() or ("",)
    postmaster = psutil.Process(int((Path(data) / "postmaster.pid").read_text().splitlines()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def counter(app: Tenuto, name: str) -> int:
    """A counter over all live nodes."""
    return sum(node.counters.get(name, 0) for node in (await app.health()).nodes)


async def test_a_step_stores_its_result_when_the_database_is_back(app, crew, own_postgres):
    node = crew.work(lease=LONG)
    flow = Workflow()
    flow.add("keep", keep.new(0, 1.0))
    stored = await app.enqueue(flow)
    await eventually(lambda: crew.log.running(node.pid))

    own_postgres.kill()
    await asyncio.sleep(2.0)
    own_postgres.start()
    status = await app.workflow(flow.id).wait(timeout=20)

    assert status.outcome == "completed"
    assert await app.workflow(flow.id).result("keep") == 0
    assert (await app.fetch(stored.jobs["keep"])).errors == ()
    assert len(crew.log.lines("begin")) == 1


async def test_a_worker_told_to_end_during_an_outage_ends_and_others_take_over(app, crew, own_postgres):
    ending = crew.work(lease=SHORT, grace=0.5)
    jobs = await app.enqueue([linger.new(nth, 1.0) for nth in range(5)])
    await eventually(lambda: len(crew.log.running(ending.pid)) == 5)

    own_postgres.kill()
    ending.terminate()
    await eventually(lambda: ending.poll() is not None, within=30)
    own_postgres.start()
    crew.work(lease=SHORT)
    await eventually(lambda: is_done(app), within=30)

    assert ending.returncode == 0
    assert {(await app.fetch(job)).attempt for job in jobs} == {1}
    assert settled_twice(own_postgres.url) == {}


@pytest.mark.parametrize("whose", ["%listen%", "%"], ids=["the listening ones", "all of them"])
async def test_connections_that_are_cut_cost_latency_only(app, crew, own_postgres, whose):
    nodes = crew.work(), crew.work()
    await eventually(lambda: two_nodes(app))
    load = Load(app)
    await eventually(lambda: len(crew.log.lines("end")) > 500)

    cut = terminate(own_postgres.url, whose)
    cut_at = time.time()
    await eventually(lambda: all(has_ended_since(crew, node.pid, cut_at) for node in nodes))
    going_on_after = time.time() - cut_at
    numbers = await load.end()
    await eventually(lambda: is_done(app), within=60)

    assert cut >= 2
    assert going_on_after < RECOVERED
    assert [node.poll() for node in nodes] == [None, None]
    assert set(crew.log.ends()) == numbers
    await eventually(lambda: have_reconnected(app, len(nodes)))
    assert settled_twice(own_postgres.url) == {}


async def have_reconnected(app: Tenuto, count: int) -> bool:
    """Whether so many live nodes tell that they listen again. Each tells with its own next beat, seconds apart."""
    told = [node.counters.get("reconnects", 0) for node in (await app.health()).nodes]
    return len(told) == count and all(told)


def terminate(url: str, statements: str) -> int:
    """Cut every connection of Tenuto whose last statement is like that; how many."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'tenuto' and pid <> pg_backend_pid() and query ilike %s",
            [statements],
        ).fetchall()
    return len(rows)


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_only_reads_for_a_while_costs_latency_only(own_postgres, app, crew):
    node = crew.work(lease=LONG)
    await app.enqueue([dwell.new(nth, 1.0) for nth in range(10)])
    await eventually(lambda: len(crew.log.running(node.pid)) == 10)

    with read_only(own_postgres):
        await eventually(lambda: len(crew.log.ends()) == 10)
        await asyncio.sleep(1.0)  # acks are refused, again and again
        states = {job.state for job in await app.find()}
    await eventually(lambda: is_done(app))

    assert states == {"executing"}
    assert {job.state for job in await app.find()} == {"completed"}
    assert settled_twice(own_postgres.url) == {}


@contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """A server that takes no writes, as a standby does until it is promoted."""
    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute("alter system set default_transaction_read_only = on")
        other.execute("select pg_reload_conf()")
        yield
        other.execute("alter system reset default_transaction_read_only")
        other.execute("select pg_reload_conf()")


@pytest.mark.parametrize("lease", [SHORT, LONG])
async def test_a_file_that_somebody_else_locks_costs_latency_only(tmp_path, lease):
    file = tmp_path / "jobs.db"
    url = f"sqlite:///{file}"
    await Tenuto(url).migrate()
    watch(url)
    with Crew(url, tmp_path) as crew:
        node = crew.work(lease=lease)
        async with Tenuto(url) as app:
            await app.enqueue([linger.new(nth, 1.0) for nth in range(5)])
            await app.enqueue([dwell.new(nth, 1.0) for nth in range(5, 10)])
            await eventually(lambda: len(crew.log.running(node.pid)) == 10)

            with locked(file):
                late = asyncio.create_task(app.enqueue([note.new(nth) for nth in range(10, 20)]))
                await asyncio.sleep(3.0)
                was_held = not late.done()
            unlocked_at = time.time()
            await late
            await eventually(lambda: is_done(app))

            assert was_held
            assert time.time() - unlocked_at < RECOVERED
            assert node.poll() is None
            assert set(crew.log.ends()) == set(range(20))
            assert {(job.attempt, job.rescues) for job in await app.find(limit=100)} == {(1, 0)}
            assert settled_twice(url) == {}
            assert "locked" not in crew.said


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Somebody else is in the middle of a write."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")
