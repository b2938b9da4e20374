"""Connections that callers lend, every kind: what is enqueued or completed there is so if it commits, and else not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tenuto import (
    Completed,
    Gone,
    Tenuto,
    Workflow,
    blocking,
    complete_in,
    current_app,
    current_job,
    job,
    telemetry,
)
from tenuto.errors import JobNotFound, WorkflowNotFound, WouldDeadlock
from tests.kit import Obey, ToldTo, drain, runs_of
from tests.lenders import LENDERS, Lender, count_effects, done, enqueue_by, make_effects, relayed_by


@pytest.fixture
def database_url(lent: tuple[type[Lender], str]) -> str:
    return lent[1]


# ── enqueue ───────────────────────────────────────────────────────────────────────────────────────


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


# ── relay ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wait_for_what_a_transaction_holds_is_refused_while_it_is_open_and_answers_after(
    app: Tenuto, lender: type[Lender]
):
    async with relayed_by(lender, app, Obey.value(7)) as (mine, conn, relay, call):
        for wait in (relay.result, relay.outcome, lambda: mine.await_many([relay, relay])):
            with pytest.raises(WouldDeadlock, match="commit, then wait"):
                await call(wait)
        await call(conn.commit)

        assert await call(relay.result, 20) == 7
        assert await call(mine.await_many, [relay]) == [Completed(7)]


async def test_what_was_relayed_in_a_transaction_that_is_rolled_back_is_gone(app: Tenuto, lender: type[Lender]):
    async with relayed_by(lender, app, Obey.value(7)) as (_, conn, relay, call):
        await call(conn.rollback)

        assert await call(relay.outcome, 20) == Gone()
        with pytest.raises(JobNotFound):
            await call(relay.result, 20)


async def test_a_relay_is_awaited_when_its_connection_is_closed(app: Tenuto, lender: type[Lender]):
    async with relayed_by(lender, app, Obey.value(7)) as (_, conn, relay, call):
        await call(conn.commit)
        await call(conn.close)

        assert await call(relay.result, 20) == 7
        await call(conn.begin)  # so that there is something to close


# ── complete ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def told() -> Iterator[list[tuple[str, Any]]]:
    """What is told of attempts and of acks, with the state each attempt came to."""
    heard: list[tuple[str, Any]] = []
    telemetry.attach(hear := lambda event, payload: heard.append((event, payload.get("state"))), *TOLD)
    yield heard
    telemetry.detach(hear)


TOLD = ("job.stop", "job.exception", "queue.ack", "queue.stale")


@job(name="completing", backoff=0, max_attempts=2)
async def completing(lender: str, hows: list[str]) -> str:
    """Do an effect and complete in one transaction, which ends as `hows` says for each attempt."""
    how = hows[current_job().attempt - 1]
    mine = LENDERS[lender](current_app().config.url)
    await done(mine.begin())
    try:
        await done(mine.effect())
        await complete_in(mine.conn, {"how": how})
        await done(mine.rollback() if how == "rollback" else mine.commit())
    finally:
        await done(mine.close())
    return _after(how)


@job(name="completing in a thread", backoff=0, max_attempts=2)
def completing_in_thread(lender: str, hows: list[str]) -> str:
    how = hows[current_job().attempt - 1]
    mine = LENDERS[lender](current_app().config.url)
    mine.begin()
    try:
        mine.effect()
        blocking.complete_in(mine.conn, {"how": how})
        _ = mine.rollback() if how == "rollback" else mine.commit()
    finally:
        mine.close()
    return _after(how)


def _after(how: str) -> str:
    if how in ("rollback", "raise"):
        raise ToldTo(how)
    return "returned"


def made_by(lender: type[Lender], *hows: str) -> Any:
    worker: Any = completing if lender.on_loop else completing_in_thread
    return worker.new(lender.__name__, list(hows))


async def test_what_it_commits_is_done_and_its_end_with_it(app: Tenuto, lender: type[Lender]):
    await make_effects(app)
    flow = Workflow()
    flow.add("first", made_by(lender, "return"))
    flow.add("second", Obey.gather(), deps=["first"])

    await app.enqueue(flow)
    status = await app.workflow(flow.id).wait(timeout=30)

    assert status.outcome == "completed"
    assert await app.workflow(flow.id).result("second") == {"first": {"how": "return"}}
    assert (await app.fetch(flow.jobs["first"])).attempt == 1
    assert await count_effects(app) == 1


async def test_what_it_commits_answers_who_awaits_it(app: Tenuto, lender: type[Lender]):
    await make_effects(app)

    relay = await app.relay(made_by(lender, "return"))

    assert await relay.outcome(timeout=20) == Completed({"how": "return"})


async def test_what_it_raises_after_the_commit_is_no_failure_and_nothing_is_settled_again(
    app: Tenuto, lender: type[Lender], told: list[tuple[str, Any]]
):
    await make_effects(app)

    await app.enqueue(made := made_by(lender, "raise"))
    await drain(app)
    now = await app.fetch(made)
    await app.stop()

    assert (now.state, now.attempt, now.errors) == ("completed", 1, ())
    assert await count_effects(app) == 1
    assert told == [("job.stop", "completed")]


async def test_what_it_rolls_back_is_as_if_it_had_not_been_said(app: Tenuto, lender: type[Lender]):
    await make_effects(app)

    await app.enqueue(made := made_by(lender, "rollback", "return"))
    await drain(app)
    now = await app.fetch(made)

    assert (now.state, now.attempt) == ("completed", 2)
    assert [failure.message for failure in now.errors] == ["rollback"]
    assert await count_effects(app) == 1
