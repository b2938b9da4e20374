"""Enqueued in the caller's own transaction: with every driver, the job is there if it commits, and never was if not."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import Tenuto, Workflow
from tenuto.errors import JobNotFound, WorkflowNotFound
from tests.kit import Obey, drain, runs_of
from tests.lenders import EVERY, LENDERS, Lender, count_effects, enqueue_by, make_effects


@pytest.fixture(params=EVERY)
def lent(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A kind of connection, and the URL of a fresh database that it speaks to."""
    name, database = request.param.split("-")
    if database == "sqlite":
        yield LENDERS[name], f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield LENDERS[name], url


@pytest.fixture
def lender(lent: tuple[type[Lender], str]) -> type[Lender]:
    return lent[0]


@pytest.fixture
def database_url(lent: tuple[type[Lender], str]) -> str:
    return lent[1]


async def test_what_is_committed_is_there_and_runs(app: Tenuto, lender: type[Lender]):
    await make_effects(app)
    job, batch = Obey.value(1), [Obey.ok(), Obey.ok()]

    stored, several = await enqueue_by(lender, app, job, batch)
    await drain(app)

    assert (stored.id, stored.state, stored.args) == (job.id, "available", job.args)
    assert stored.inserted_at is not None
    assert [one.id for one in several] == [one.id for one in batch]
    assert [(await app.fetch(one)).state for one in (job, *batch)] == ["completed"] * 3
    assert [len(runs_of(one)) for one in (job, *batch)] == [1, 1, 1]
    assert await count_effects(app) == 1


async def test_what_is_rolled_back_never_was(app: Tenuto, lender: type[Lender]):
    await make_effects(app)
    job, flow = Obey.ok(), Workflow()
    flow.add("one", Obey.ok())

    await enqueue_by(lender, app, job, flow, end="rollback")
    await enqueue_by(lender, app, later := Obey.ok())
    await drain(app)

    with pytest.raises(JobNotFound):
        await app.fetch(job)
    with pytest.raises(WorkflowNotFound):
        await app.workflow(flow.id).status()
    assert [len(runs_of(one)) for one in (job, flow.jobs["one"], later)] == [0, 0, 1]
    assert await count_effects(app) == 1


async def test_a_workflow_of_a_hundred_steps_is_there_whole(app: Tenuto, lender: type[Lender]):
    await make_effects(app)
    flow = Workflow("wide")
    for nth in range(99):
        flow.add(f"part {nth}", Obey.value(nth))
    flow.add("sum", Obey.count(), deps=[f"part {nth}" for nth in range(99)])

    (stored,) = await enqueue_by(lender, app, flow)
    status = await app.workflow(flow.id).wait(timeout=60)

    assert (stored.id, len(stored.jobs), stored.jobs["sum"].state) == (flow.id, 100, "suspended")
    assert (status.outcome, status.completed) == ("completed", 100)
    assert await app.workflow(flow.id).result("sum") == 99
