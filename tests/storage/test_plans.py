"""What a statement costs: it finds its rows by the index it names, and twice the rows are twice the work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenuto.job import COMPLETED
from tenuto.outcome import Ack
from tenuto.storage import postgres, reading, steer, store, upkeep
from tenuto.storage.postgres import PREPARED, Postgres
from tests.conftest import database_at
from tests.storage.build import EVERY_VERSION, chain, graph, new_id, plain
from tests.storage.conftest import Examined, only_on_fresh_postgres
from tests.storage.examine import Examiner, examiner_of
from tests.storage.test_twins import NAMES, lock_of
from tests.storage.workload import Work

READS_EVERYTHING = {name for name in NAMES if name.startswith("doctor_")} | {"counts", "find", "match", "costs"}
HOT = (
    "ack",
    "claim",
    "claim_behind",
    "lock_limits",
    "free_partitions",
    "claim_limited",
    "meet",
    "release",
    "settle_nodes",
    "settle_workflows",
    "reach",
    "needs",
    "gate",
    "poll_queues",
    "overdue",
    "cancel_overdue",
    "enqueue_links",
    "advance_chains",
    "release_links",
)


def test_a_statement_uses_the_index_it_names(examined: Examined):
    missed = {
        name: seen.plan
        for name, seen in examined.few.items()
        if seen.statement.plan is not None and seen.statement.plan not in seen.plan
    }

    assert missed == {}


def test_four_times_the_batch_is_no_more_than_some_five_times_the_work(examined: Examined):
    works = {name: (examined.some[name].work, examined.many[name].work) for name in NAMES}

    steep = {name: (some, many) for name, (some, many) in works.items() if many > 5 * some + 100_000}
    assert {name: work for name, work in steep.items() if name not in READS_EVERYTHING} == {}


def test_what_runs_all_the_time_does_not_read_every_job_for_a_few(examined: Examined):
    plans = {name: examined.few[name].plan for name in HOT}

    assert {name: plan for name, plan in plans.items() if "Seq Scan on jobs" in plan or "SCAN jobs" in plan} == {}


def test_what_promises_to_lock_in_order_of_ids_does(examined: Examined):
    """On PostgreSQL. SQLite has one lock."""
    promised = [name for name in NAMES if "by id" in lock_of("postgres", name)]
    plans = {name: examined.few[name].plan for name in promised}

    assert promised
    assert {name: plan for name, plan in plans.items() if "LockRows" in plan and not LOCKS_BY_ID.search(plan)} == {}


@pytest.mark.parametrize("examined", ["postgres"], indirect=True)
def test_what_promises_to_lock_in_order_of_keys_does(examined: Examined):
    """In the order of their bytes, whatever language the database speaks."""
    promised = [name for name in NAMES if "by key" in lock_of("postgres", name)]
    plans = {name: examined.few[name].plan for name in promised}

    assert promised
    assert {name: plan for name, plan in plans.items() if not LOCKS_BY_KEY.search(plan)} == {}


LOCKS_BY_KEY = re.compile(
    r'LockRows.*\n +->  Index Scan using chains_pkey |Insert on chains (?:.*\n)* +Sort Key: .*"C"'
)
LOCKS_BY_ID = re.compile(
    r"^(?P<depth> *)(?:->  )?LockRows.*\n(?:.*\n)*?"
    r"(?:(?P=depth)(?:  |      )->  Result .*\n +One-Time Filter: .*\n)?"  # it only says how long a lock is waited for
    r"(?P=depth) {2,12}->  (?:Sort .*\n +Sort Key: \w+\.id\n|Index Scan using \w+_pkey )",
    re.MULTILINE,
)


# ── where the planner was misled ──────────────────────────────────────────────────────────────────


@pytest.fixture
def examiner(fresh_url: str) -> Iterator[Examiner]:
    """A driver that measures, on a fresh database."""
    examiner = examiner_of(database_at(fresh_url))
    try:
        examiner.run(upkeep.migrate, EVERY_VERSION)
        yield examiner
    finally:
        examiner.close()


@pytest.mark.parametrize(
    "part", ["plain", "limited", "release", "groups", "cascade", "gate", "rescue", "deadlines", "chains"]
)
def test_no_statement_is_a_loop_of_loops_when_the_house_was_idle_as_statistics_were_taken(examiner: Examiner, part):
    _idle_house(examiner)

    getattr(Work(examiner, 1000), part)()

    work = {name: seen.work for name, seen in examiner.seen.items() if name not in BUILDERS}
    assert {name: rows for name, rows in work.items() if rows > 700_000} == {}


BUILDERS = {"enqueue", "enqueue_nodes", "enqueue_edges"}


def _idle_house(examiner: Examiner) -> None:
    """Nothing runs or waits in it: every job has ended, every edge is met, every step has its fate."""
    examiner.fill(store.enqueue, plain(1000, queue="idle"))
    pairs = range(500)
    examiner.fill(graph({f"a{n}": "" for n in pairs} | {f"b{n}": f"a{n}" for n in pairs}).enqueue)
    examiner.change("update {schema}.jobs set state = 'completed', finished_at = inserted_at, waiting_on = 0")
    examiner.change("update {schema}.edges set met = (1 = 1)")
    examiner.change("update {schema}.workflow_nodes set fate = 'completed'")
    examiner.analyse()


def test_a_long_cascade_reads_its_own_edges_and_not_all(examiner: Examiner):
    others = range(6000)
    examiner.fill(graph({f"a{n}": "" for n in others} | {f"b{n}": f"a{n}" for n in others}, queue="idle").enqueue)
    flow = chain(200)
    examiner.fill(flow.enqueue)

    examiner.run(steer.cancel, flow.ids("s0"))

    assert examiner.seen["reach"].work < 10_000
    assert examiner.seen["cascade"].work < 100_000


# ── where PostgreSQL keeps its plans ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("examined", ["postgres"], indirect=True)
def test_a_plan_that_is_kept_for_all_inputs_uses_the_index_too(examined: Examined):
    kept = {name: examined.few[name] for name in PREPARED if examined.few[name].kept}
    if not kept:
        pytest.skip("PostgreSQL before 16 does not show the plan it would keep")

    missed = {name for name, seen in kept.items() if seen.statement.plan and seen.statement.plan not in seen.kept}
    assert missed == set()
    assert {name for name, seen in kept.items() if "Seq Scan on jobs" in seen.kept} == set()


@pytest.fixture
async def line(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Postgres]:
    """A database of one connection, which prepares from the first run on and keeps its first plan."""
    monkeypatch.setattr(postgres, "BUSY", 0)
    database = Postgres(fresh_url, connections=1)
    await database.open()
    await database.migrate(upkeep.migrate, EVERY_VERSION)
    async with database._pool.connection() as connection:
        await connection.execute("set plan_cache_mode = force_generic_plan")
    yield database
    await database.close()


async def prepared(database: Postgres) -> dict[str, str]:
    """The statements that are prepared on its one connection: the name by the text."""
    async with database._pool.connection() as connection:
        cursor = await connection.execute("select statement, name from pg_prepared_statements")
        return {row[0]: row[1] for row in await cursor.fetchall()}


@only_on_fresh_postgres
async def test_what_a_job_runs_through_is_prepared_and_nothing_else(line: Postgres):
    for _ in range(10):
        await line.run(store.enqueue, plain(1))
        await line.read(reading.fetch, [new_id()])

    assert [text.split()[0:2] for text in await prepared(line)] == [["with", "t"]]
    assert "insert into" in next(iter(await prepared(line)))


@only_on_fresh_postgres
async def test_a_line_that_is_seldom_used_prepares_nothing(line: Postgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "BUSY", 4)
    for _ in range(4):
        await line.run(store.enqueue, plain(1))
    assert await prepared(line) == {}

    await line.run(store.enqueue, plain(1))
    assert len(await prepared(line)) == 1


@only_on_fresh_postgres
async def test_a_plan_of_an_empty_table_is_not_kept_for_a_full_one(line: Postgres, monkeypatch: pytest.MonkeyPatch):
    async def plan() -> str:
        (name,) = [name for text, name in (await prepared(line)).items() if "snoozes +" in text]
        async with line._pool.connection() as connection:
            cursor = await connection.execute(f"explain execute {name} (null, null, null, null)")
            return "\n".join(row[0] for row in await cursor.fetchall())

    async with line._pool.connection() as connection:
        await connection.execute("alter table tenuto.jobs set (autovacuum_enabled = off)")
    monkeypatch.setattr(postgres, "PLANS_SERVE", 600.0)
    await line.run(store.ack, [Ack(new_id(), 1, COMPLETED)])
    await line.run(store.enqueue, plain(25_000))
    assert "Seq Scan on jobs" in await plan()

    monkeypatch.setattr(postgres, "PLANS_SERVE", 0.0)
    await line.run(store.ack, [Ack(new_id(), 1, COMPLETED)])
    assert "Seq Scan on jobs" not in await plan()


@only_on_fresh_postgres
@pytest.mark.parametrize(
    "trouble",
    [
        "deallocate all",
        "alter table tenuto.jobs alter column worker type varchar(300)",
        "deallocate all; prepare _pg3_0 (int) as select $1",
    ],
    ids=["forgotten", "of another shape", "another's"],
)
async def test_a_prepared_statement_that_the_server_refuses_is_run_without_and_none_is_prepared_again(
    line: Postgres, trouble: str
):
    producer = new_id()
    await line.run(store.claim, "default", 1, producer, "n")
    async with line._pool.connection() as connection:
        connection.pgconn.exec_(trouble.encode())  # behind the driver's back

    assert await line.run(store.claim, "default", 1, producer, "n") == []
    before = await prepared(line)
    await line.run(store.enqueue, plain(1))
    assert await prepared(line) == before


@only_on_fresh_postgres
async def test_behind_a_pooler_nothing_is_prepared(fresh_url: str):
    async with pooler(fresh_url) as url:
        database = Postgres(url, connections=1)
        await database.open()
        await database.migrate(upkeep.migrate, EVERY_VERSION)
        for _ in range(10):
            await database.run(store.enqueue, plain(1))

        assert await prepared(database) == {}
        await database.close()


@asynccontextmanager
async def pooler(url: str) -> AsyncIterator[str]:
    """What stands between a client and the server, and gives out ids of sessions of its own, as poolers do."""
    told = conninfo_to_dict(url)

    handlers: set[Any] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        try:
            while chunk := await reader.read(65536):
                at = chunk.find(KEY_DATA) if is_answer else -1
                writer.write(chunk if at < 0 else chunk[: at + 5] + b"\0\0\0\7" + chunk[at + 9 :])
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        answers, asks = await asyncio.open_connection(str(told["host"]), int(str(told["port"])))
        async with asyncio.TaskGroup() as both:
            both.create_task(pass_on(reader, asks, is_answer=False))
            both.create_task(pass_on(answers, writer, is_answer=True))

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        yield make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable", max_protocol_version="3.0")
    await asyncio.wait(handlers)


KEY_DATA = b"K\0\0\0\x0c"  # BackendKeyData of protocol 3.0, before the id and its secret
