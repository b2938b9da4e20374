"""The schema: brought up to date once, whole, never under a live node of an older version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from tenuto.errors import InvalidUrl, LiveNodes, NotMigrated, SchemaTooNew, StorageRejected
from tenuto.storage import reading, store, upkeep
from tenuto.storage.database import Database
from tenuto.storage.postgres import Postgres
from tests.conftest import database_at
from tests.storage.build import EVERY_VERSION, NOON, TTL, Claimer, plain
from tests.storage.conftest import only_on_fresh_postgres
from tests.storage.tables import Tables, look_into

LATEST = upkeep.SCHEMA_VERSION
NEXT = LATEST + 1


async def migrate(database: Database, **options: bool) -> list[int]:
    """Bring it up to date; the versions that were run."""
    return await database.migrate(upkeep.migrate, [number for number, _ in database.scripts if number], **options)


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Database]:
    """A Database, closed at the end."""
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def fresh(fresh_url: str) -> AsyncIterator[Database]:
    """An open database without a table."""
    async with opened(database_at(fresh_url)) as database:
        yield database


@pytest.fixture
def tables(fresh_url: str) -> Iterator[Tables]:
    """The tables in it, once there are some."""
    with look_into(fresh_url) as tables:
        yield tables


@pytest.fixture
def next_version(monkeypatch, fresh):
    """Let there be one more version: call it with the statements that make it."""

    def add(*statements: str) -> None:
        name = '"tenuto".more' if isinstance(fresh, Postgres) else "more"
        script = "".join(f"{statement.format(more=name)};\n" for statement in statements)
        monkeypatch.setattr(type(fresh), "scripts", property(lambda _: [*_scripts, (NEXT, script)]))
        monkeypatch.setattr(upkeep, "SCHEMA_VERSION", NEXT)

    _scripts: Sequence[tuple[int, str]] = fresh.scripts
    return add


async def test_an_empty_database_is_not_migrated_and_told_how(fresh):
    with pytest.raises(NotMigrated, match="has no tables of Tenuto yet; run: tenuto migrate --url …"):
        await fresh.read(upkeep.check_schema, "tenuto migrate --url …")


async def test_a_migrated_database_can_be_used(fresh):
    ran = await migrate(fresh)

    assert ran == EVERY_VERSION
    assert await fresh.read(upkeep.check_schema, "") == upkeep.SCHEMA_VERSION
    assert await fresh.run(store.enqueue, plain())


async def test_migrating_twice_does_nothing(fresh, tables):
    await migrate(fresh)
    await fresh.run(store.enqueue, plain())
    before = tables.all()

    assert await migrate(fresh) == []
    assert tables.all() == before


async def test_those_that_migrate_at_once_migrate_once(fresh_url: str):
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened(database_at(fresh_url))) for _ in range(4)]

        ran = await asyncio.gather(*map(migrate, databases))

    assert sorted(ran) == [[], [], [], EVERY_VERSION]


async def test_an_older_database_is_refused_and_told_how(fresh, next_version):
    await migrate(fresh)
    next_version("create table {more} (id int)")

    with pytest.raises(NotMigrated, match=f"is at schema version {LATEST}, not {NEXT}; run: tenuto migrate"):
        await fresh.read(upkeep.check_schema, "tenuto migrate")


async def test_an_older_database_gets_only_what_is_new(fresh, next_version):
    await migrate(fresh)
    next_version("create table {more} (id int)")

    assert await migrate(fresh) == [NEXT]
    assert await fresh.read(upkeep.check_schema, "") == NEXT


async def test_an_empty_database_gets_every_version(fresh, next_version):
    next_version("create table {more} (id int)")

    assert await migrate(fresh) == [*EVERY_VERSION, NEXT]


async def test_a_migration_that_fails_leaves_nothing(fresh, tables, next_version):
    await migrate(fresh)
    next_version("create table {more} (id int check (id > 0))", "insert into {more} values (0)")

    with pytest.raises(StorageRejected):
        await migrate(fresh)

    assert await fresh.read(upkeep.schema_version) == LATEST
    next_version("create table {more} (id int)")
    assert await migrate(fresh) == [NEXT]


async def test_who_may_only_make_tables_leaves_an_older_database_alone(fresh, next_version):
    first = await migrate(fresh, only_empty=True)
    next_version("create table {more} (id int)")

    assert (first, await migrate(fresh, only_empty=True)) == (EVERY_VERSION, [])


async def test_a_newer_database_is_refused(fresh, tables):
    await migrate(fresh)
    tables.execute("insert into schema (version) values (99)")

    with pytest.raises(SchemaTooNew, match=f"version 99 and this program knows {LATEST}"):
        await fresh.read(upkeep.check_schema, "")
    with pytest.raises(SchemaTooNew):
        await migrate(fresh)


async def test_nothing_is_migrated_under_a_live_node_of_an_older_version(fresh, next_version):
    await migrate(fresh)
    fresh.now = NOON
    await Claimer(fresh, "node-1").start()
    next_version("create table {more} (id int)")

    with pytest.raises(LiveNodes, match="node-1"):
        await migrate(fresh)

    assert await fresh.read(upkeep.schema_version) == LATEST


async def test_a_node_whose_lease_ended_stops_no_migration(fresh, next_version):
    await migrate(fresh)
    fresh.now = NOON
    await Claimer(fresh, "node-1").start()
    next_version("create table {more} (id int)")
    fresh.now = NOON + TTL

    assert await migrate(fresh) == [NEXT]


# ── schemas of PostgreSQL ─────────────────────────────────────────────────────────────────────────


@only_on_fresh_postgres
async def test_a_schema_of_ones_own_holds_all_tables(fresh_url: str):
    async with opened(Postgres(fresh_url, schema="my_jobs_2")) as database:
        await migrate(database)
        await database.run(store.enqueue, plain())

    with psycopg.connect(fresh_url) as connection:
        schemas = connection.execute(
            "select distinct schemaname from pg_tables where schemaname !~ '^(pg_|information_schema)'"
        ).fetchall()
    assert schemas == [("my_jobs_2",)]


@only_on_fresh_postgres
async def test_two_schemas_side_by_side_know_nothing_of_each_other(fresh_url: str):
    async with (
        opened(Postgres(fresh_url, schema="ours")) as ours,
        opened(Postgres(fresh_url, schema="theirs")) as theirs,
    ):
        await asyncio.gather(migrate(ours), migrate(theirs))
        (job,) = await ours.run(store.enqueue, plain())

        assert await theirs.read(reading.fetch, [job.id]) == {}
        assert await (await Claimer(theirs).start()).claim() == []
        assert len(await (await Claimer(ours).start()).claim()) == 1


@only_on_fresh_postgres
async def test_no_row_of_jobs_is_checked_anew_whenever_it_changes(fresh: Database, fresh_url: str):
    await migrate(fresh)

    with psycopg.connect(fresh_url) as connection:
        checks = connection.execute(
            "select conname from pg_constraint where contype = 'c' and conrelid = 'tenuto.jobs'::regclass"
        ).fetchall()
    assert checks == []


@only_on_fresh_postgres
@pytest.mark.parametrize("change", ["state = 'done'", "max_attempts = 0", "waiting_on = -1", "priority = 10"])
async def test_what_no_job_can_be_is_refused_where_it_is_written(fresh: Database, fresh_url: str, change: str):
    await migrate(fresh)
    await fresh.run(store.enqueue, plain())

    with psycopg.connect(fresh_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update tenuto.jobs set {change}")


@only_on_fresh_postgres
async def test_what_indices_ask_of_a_plain_job_lies_before_its_args_or_is_null(fresh: Database, fresh_url: str):
    """An update compares these columns one by one, and the way to each leads over all that lie before it."""
    await migrate(fresh)
    await fresh.run(store.enqueue, plain())
    claimer = await Claimer(fresh).start()
    assert await claimer.claim()

    with psycopg.connect(fresh_url) as connection:
        places: dict[str, int] = dict(
            connection.execute(
                "select attname, attnum from pg_attribute where attrelid = 'tenuto.jobs'::regclass and attnum > 0"
            ).fetchall()
        )
        asked = connection.execute(
            "select distinct d.refobjsubid from pg_depend d join pg_index i on i.indexrelid = d.objid"
            " where d.classid = 'pg_class'::regclass and d.refobjid = 'tenuto.jobs'::regclass and d.refobjsubid > 0"
        ).fetchall()
        (row,) = connection.execute("select to_jsonb(j) from tenuto.jobs j").fetchall()
    late = {name for name, place in places.items() if (place,) in asked and place > places["args"]}
    assert {"unique_held", "limit_key", "chain_key"} <= late
    assert [row[0][name] for name in sorted(late)] == [None] * len(late)


@pytest.mark.parametrize("schema", ["", "Jobs", "my-jobs", "1st", 'a"b', "a.b", "a;drop", "x" * 49, "ünï", "a\n"])
def test_a_schema_that_is_no_plain_name_is_refused(schema):
    with pytest.raises(InvalidUrl, match="no plain name"):
        Postgres("postgresql://localhost/nowhere", schema=schema)


@pytest.mark.parametrize("schema", ["tenuto", "_", "a_1", "x" * 48, "select"])
def test_a_plain_name_is_a_schema(schema):
    assert Postgres("postgresql://localhost/nowhere", schema=schema).schema == schema
