"""What a statement costs: it finds its rows by the index it names, and twice the rows are twice the work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tenuto.storage import reading, steer, store, upkeep
from tenuto.storage.postgres import Postgres
from tests.conftest import database_at
from tests.storage.build import chain, graph, new_id, plain
from tests.storage.conftest import Examined, only_on_fresh_postgres
from tests.storage.examine import Examiner, examiner_of
from tests.storage.test_twins import NAMES, lock_of
from tests.storage.workload import Work

READS_EVERYTHING = {name for name in NAMES if name.startswith("doctor_")} | {"counts", "find", "match"}
HOT = (
    "ack",
    "claim",
    "claim_behind",
    "meet",
    "release",
    "settle_nodes",
    "settle_workflows",
    "reach",
    "needs",
    "gate",
    "poll_queues",
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
        examiner.run(upkeep.migrate, [1])
        yield examiner
    finally:
        examiner.close()


@pytest.mark.parametrize("part", ["plain", "release", "cascade", "gate", "rescue"])
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


@only_on_fresh_postgres
async def test_no_plan_of_an_empty_table_is_kept_for_a_full_one(fresh_url: str):
    database = Postgres(fresh_url, connections=1)
    await database.open()
    await database.migrate(upkeep.migrate, [1])
    for _ in range(10):
        await database.read(reading.fetch, [new_id()])

    async with database._pool.connection() as connection:
        prepared = await (await connection.execute("select statement from pg_prepared_statements")).fetchall()
    await database.close()

    assert prepared == []
