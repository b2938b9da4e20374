"""Several apps in one process, each with its own tables, leases and queues."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tenuto import Tenuto, Workflow, current_app, job
from tenuto.errors import InvalidJob, InvalidUrl, NotMigrated, NotStarted, StorageUnavailable
from tests.kit import drain, finish, result_of


@job(name="instances.whose")
async def whose() -> str:
    name: str = current_app().name
    return name


async def ready(url: str, **options: Any) -> Tenuto:
    """A migrated app with one queue, not yet started."""
    made = Tenuto(url, queues={"default": 2}, **options)
    await made.database.open()
    await made.migrate()
    await made.database.close()
    return made


async def test_two_schemas_of_one_database_do_not_see_each_other(postgres: Any) -> None:
    with postgres.database() as url:
        left = await ready(url, schema="left", name="left")
        right = await ready(url, schema="right", name="right")
        async with left, right:
            made = await left.enqueue(whose.new())
            await drain(left)

            assert len(await left.find()) == 1
            assert await right.find() == []
            assert (await left.fetch(made)).state == "completed"


async def test_inside_a_job_the_current_app_is_the_one_that_runs_it(tmp_path: Path) -> None:
    left = await ready(f"sqlite:///{tmp_path}/left.db", name="left")
    right = await ready(f"sqlite:///{tmp_path}/right.db", name="right")
    flows = {each: Workflow() for each in (left, right)}
    for flow in flows.values():
        flow.add("whose", whose.new())

    async with left, right:
        for each, flow in flows.items():
            await finish(each, flow)
        names = [await result_of(each, flow, "whose") for each, flow in flows.items()]

    assert names == ["left", "right"]


async def test_postgres_without_tables_names_the_command_that_makes_them(postgres: Any) -> None:
    with postgres.database() as url, pytest.raises(NotMigrated, match="tenuto migrate"):
        await Tenuto(url).start()


async def test_an_empty_sqlite_file_gets_its_tables_from_whoever_opens_it(tmp_path: Path) -> None:
    async with Tenuto(f"sqlite:///{tmp_path}/new.db") as app:
        assert await app.find() == []


@pytest.mark.parametrize(
    "url",
    ["mysql://x", "jobs.db", "sqlite://jobs.db", "sqlite:///", "sqlite:///:memory:", ""],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl):
        Tenuto(url)


async def test_a_file_that_cannot_be_is_told_as_a_database_that_is_not_there() -> None:
    with pytest.raises(StorageUnavailable, match="unable to open"):
        await Tenuto("sqlite:////dev/null/jobs.db").start()


def test_a_schema_is_refused_on_sqlite(tmp_path: Path) -> None:
    with pytest.raises(InvalidUrl, match="PostgreSQL"):
        Tenuto(f"sqlite:///{tmp_path}/x.db", schema="mine")


def test_a_password_is_never_shown() -> None:
    app = Tenuto("postgresql://me:hunter2@127.0.0.1/none")

    assert "hunter2" not in repr(app)
    assert "hunter2" not in repr(app.config)


async def test_a_wait_ends_when_its_app_is_closed(tmp_path: Path) -> None:
    flow = Workflow()
    flow.add("never", whose.new())
    app = Tenuto(f"sqlite:///{tmp_path}/x.db")
    await app.start()
    await app.enqueue(flow)
    waiting = asyncio.create_task(app.workflow(flow.id).wait())
    await asyncio.sleep(0)

    await app.stop()

    with pytest.raises(NotStarted):
        await waiting


async def test_an_app_closes_while_jobs_keep_the_loop_s_own_threads_busy(tmp_path: Path) -> None:
    loop, busy = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    app = Tenuto(f"sqlite:///{tmp_path}/x.db")
    await app.start()
    held = loop.run_in_executor(None, busy.wait)

    try:
        async with asyncio.timeout(10):
            await app.stop()
    finally:
        busy.set()
        await held


@pytest.mark.parametrize("year", [1, 1969, 3000, 9999])
def test_an_instant_that_some_database_or_timezone_cannot_hold_is_refused(year: int) -> None:
    with pytest.raises(InvalidJob, match="out of range"):
        whose.options(scheduled_at=datetime(year, 1, 1, tzinfo=UTC))
