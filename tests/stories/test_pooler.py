"""Behind PgBouncer in transaction mode, where no session lasts: relays are answered, with a direct line and without."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tenuto import Completed, Tenuto, Workflow
from tests.kit import LEASE, Obey, finish
from tests.pooler import PROGRAM, pooled
from tests.servers import Server
from tests.stories.relaying import two_that_ask
from tests.stories.test_relay import SECONDS, cut_while_they_ask

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed: apt-get install pgbouncer")


@pytest.fixture
def direct_url(postgres: Server) -> Iterator[str]:
    """The server's own address of a fresh database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def pooled_url(direct_url: str) -> Iterator[str]:
    """The pooler's address of the same."""
    with pooled(direct_url) as url:
        yield url


@asynccontextmanager
async def two_apps(url: str, **settings: Any) -> AsyncIterator[tuple[Tenuto, Tenuto]]:
    """One that works and one that waits, each with connections of its own."""
    await Tenuto(url).migrate()
    there = Tenuto(url, queues={"default": 10}, lease=LEASE, grace=1, **settings)
    async with there, Tenuto(url, **settings) as here:
        yield there, here


async def test_it_is_a_pooler_that_gives_each_transaction_another_session(pooled_url: str):
    async with await psycopg.AsyncConnection.connect(pooled_url, autocommit=True) as one:
        cursor = await one.execute("select pg_backend_pid()", prepare=False)
        assert await cursor.fetchone() != (one.info.backend_pid,)


async def test_relays_are_answered_where_the_pooler_is_listened_to(pooled_url: str):
    async with two_apps(pooled_url) as (_, here):
        for _ in range(3):
            relays = await here.relay([Obey.value(n) for n in range(50)])

            assert await here.await_many(relays, timeout=30) == [Completed(n) for n in range(50)]


async def test_with_a_direct_line_what_others_do_is_heard_at_once(pooled_url: str, direct_url: str):
    async with two_apps(pooled_url, listen_url=direct_url) as (_, here):
        took: list[float] = []
        for n in range(10):
            began = time.monotonic()
            assert await (await here.relay(Obey.value(n))).result(timeout=30) == n
            took.append(time.monotonic() - began)

        assert sorted(took)[5] < 0.4  # polls alone: up to a second for the start, and half of one for the answer
        assert await listening(direct_url) == 2


@pytest.mark.timeout(120)
async def test_two_processes_answer_each_other_while_their_direct_lines_are_killed(pooled_url: str, direct_url: str):
    await Tenuto(pooled_url).migrate()
    with two_that_ask(pooled_url, SECONDS, TENUTO_LISTEN_URL=direct_url) as two:
        cut = await cut_while_they_ask(two, direct_url)

    assert sum(cut) >= SECONDS  # twice as many, but for lines that were not back in time


@pytest.mark.timeout(120)
async def test_two_processes_answer_each_other_with_no_line_at_all(pooled_url: str, direct_url: str):
    await Tenuto(pooled_url).migrate()
    with two_that_ask(pooled_url, 4, TENUTO_LISTEN="false") as two:
        assert await listening(direct_url) == 0
        await cut_while_they_ask(two, None)


async def test_a_workflow_runs_to_its_end_there(pooled_url: str):
    async with two_apps(pooled_url) as (there, _):
        flow = Workflow()
        for n in range(20):
            flow.add(f"part {n}", Obey.value(n))
        flow.add("sum", Obey.count(), deps=[f"part {n}" for n in range(20)])

        assert (await finish(there, flow)).outcome == "completed"
        assert await there.workflow(flow.id).result("sum") == 20


async def listening(url: str) -> int:
    """How many connections of this database listen."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'"
            " and pid <> pg_backend_pid()"
        )
        (count,) = await found.fetchone() or (0,)
        return int(count)
