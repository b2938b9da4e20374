"""Completed in the worker's own transaction: all that an ack does, what is refused, and which of two ends counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tenuto import (
    Chain,
    HookState,
    Job,
    KeyRing,
    Queue,
    Record,
    Snooze,
    Tenuto,
    Workflow,
    blocking,
    complete_in,
    current_app,
    current_job,
    job,
    telemetry,
)
from tenuto.errors import (
    CancelRequested,
    InvalidRequest,
    NotHere,
    NotInJob,
    StaleAttempt,
    UnencodableResult,
    UnusableConnection,
)
from tenuto.runtime.services.poller import Poller
from tenuto.storage import reading, upkeep
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, result_of, state_of, until_paused
from tests.lenders import Lender, PsycopgAsync, SQLite3, count_effects, done, is_sqlite, make_effects
from tests.servers import PostgresServer

KEYS = KeyRing("a", {"a": KeyRing.new_key()})
Deed = Callable[[Lender], Awaitable[Any]]
deeds: dict[str, Deed] = {}
refused: list[type[Exception]] = []
told: list[tuple[HookState, Any]] = []


def lender_on(url: str) -> Lender:
    return SQLite3(url) if is_sqlite(url) else PsycopgAsync(url)


async def do(deed: str) -> Any:
    """Run a test's deed with an effect in a transaction, which it is to end."""
    mine = lender_on(current_app().config.url)
    await done(mine.begin())
    try:
        await done(mine.effect())
        return await deeds[deed](mine)
    except (StaleAttempt, CancelRequested, InvalidRequest, UnencodableResult, UnusableConnection) as error:
        refused.append(type(error))
        raise
    finally:
        await done(mine.close())


@job(name="doing", backoff=0, max_attempts=2)
async def doing(deed: str) -> Any:
    return await do(deed)


@job(name="doing recorded", recorded=True)
async def doing_recorded(deed: str) -> Any:
    return await do(deed)


@job(name="doing sealed", recorded=True, encrypted=KEYS)
async def doing_sealed(deed: str) -> Any:
    return await do(deed)


@job(name="doing in line", chain=Chain())
async def doing_in_line(deed: str) -> Any:
    return await do(deed)


@doing.after_process
def hear(state: HookState, job: Job[Any, Any], result: Any) -> None:
    told.append((state, result))


@job(name="doing elsewhere", runs_in="process", max_attempts=1)
async def doing_elsewhere() -> None:
    await complete_in("no connection")


@pytest.fixture(autouse=True)
def _forget() -> None:
    for each in (deeds, refused, told):
        each.clear()


@pytest.fixture
async def ready(app: Tenuto) -> Tenuto:
    await make_effects(app)
    return app


async def completes(mine: Lender) -> None:
    await complete_in(mine.conn, {"done": [1, 2]})
    await done(mine.commit())


# ── what an ack does ──────────────────────────────────────────────────────────────────────────────


async def test_nothing_of_it_is_seen_before_the_commit(ready: Tenuto):
    gate = Gate()
    flow = Workflow()

    async def waits(mine: Lender) -> None:
        await complete_in(mine.conn, 1)
        await gate.pass_through()
        await done(mine.commit())

    deeds["waits"] = waits
    flow.add("one", doing.new("waits"))
    flow.add("two", Obey.gather(), deps=["one"])
    await ready.enqueue(flow)
    await eventually(lambda: gate.waiting)
    states = (await ready.fetch(flow.jobs["one"])).state, await state_of(ready, flow, "two")
    effects = await count_effects(ready)
    gate.open()
    status = await ready.workflow(flow.id).wait(timeout=20)

    assert (*states, effects) == ("executing", "suspended", 0)
    assert (status.outcome, await count_effects(ready)) == ("completed", 1)
    assert await result_of(ready, flow, "two") == {"one": 1}


async def test_what_it_completes_with_is_recorded(ready: Tenuto):
    deeds["completes"] = completes
    await ready.enqueue(kept := doing_recorded.new("completes"))
    await drain(ready)

    assert await ready.recorded(kept) == {"done": [1, 2]}


async def test_what_it_completes_with_is_sealed(ready: Tenuto):
    deeds["completes"] = completes
    flow = Workflow()
    flow.add("sealed", doing_sealed.new("completes"))
    await ready.enqueue(flow)
    await ready.workflow(flow.id).wait(timeout=20)
    step = await ready.database.read(reading.step, flow.id, "sealed")

    assert step is not None
    assert step.result is not None
    assert "$sealed" in step.result
    assert "done" not in step.result
    assert await result_of(ready, flow, "sealed") == {"done": [1, 2]}
    assert await ready.recorded(flow.jobs["sealed"]) == {"done": [1, 2]}


async def test_the_next_link_of_its_chain_runs(ready: Tenuto):
    deeds["completes"] = completes
    links = await ready.enqueue([doing_in_line.new("completes") for _ in range(3)])
    await drain(ready)

    assert [(await ready.fetch(link)).state for link in links] == ["completed"] * 3


async def test_hooks_hear_that_it_is_complete_and_with_what(ready: Tenuto):
    async def raises(mine: Lender) -> None:
        await completes(mine)
        raise ValueError

    deeds["raises"] = raises
    await ready.enqueue(doing.new("raises"))
    await eventually(lambda: told)

    assert told == [("complete", {"done": [1, 2]})]


async def test_the_end_of_its_workflow_is_told(ready: Tenuto):
    finished: list[str] = []
    telemetry.attach(hear := lambda _, payload: finished.append(payload["outcome"]), "workflow.finished")
    deeds["completes"] = completes
    flow = Workflow()
    flow.add("only", doing.new("completes"))
    await ready.enqueue(flow)
    await eventually(lambda: finished)
    telemetry.detach(hear)

    assert finished == ["completed"]


async def test_its_place_under_a_limit_is_taken_by_another_node_at_once(open_app: OpenApp, monkeypatch):
    """The node that frees it is paused, and nobody polls: only the hint tells."""
    apps = {name: await open_app(queues={"default": Queue(5, limit=1)}, node=name) for name in ("left", "right")}
    await make_effects(apps["left"])
    gate = Gate()

    async def waits(mine: Lender) -> None:
        await done(mine.rollback())
        await gate.pass_through()
        await completes(mine)

    deeds["waits"] = waits
    operator = await open_app()
    first, second = await operator.enqueue([doing.new("waits"), Obey.app()])
    await eventually(lambda: gate.waiting)
    monkeypatch.setattr(Poller, "interval", 600.0)
    by = (await operator.fetch(first)).attempted_by or ""
    holder = next(name for name in apps if by.startswith(name))
    await operator.queue("default").pause(node=holder)
    await until_paused(apps[holder])
    gate.open()
    await eventually(lambda: _is_ended(operator, second))

    assert not ((await operator.fetch(second)).attempted_by or "").startswith(holder)


@pytest.mark.parametrize("value", [None, Record(None), Record(3), "text"], ids=repr)
async def test_a_value_is_what_it_would_be_returned(ready: Tenuto, value: Any):
    async def completes_with(mine: Lender) -> None:
        await complete_in(mine.conn, value)
        await done(mine.commit())

    deeds["with"] = completes_with
    flow = Workflow()
    flow.add("one", doing.new("with"))
    flow.add("next", Obey.count(), deps=["one"])
    await ready.enqueue(flow)
    await ready.workflow(flow.id).wait(timeout=20)

    assert await result_of(ready, flow, "next") == (0 if value is None else 1)


# ── which of two ends counts ──────────────────────────────────────────────────────────────────────


async def test_after_a_rollback_what_it_returns_counts(ready: Tenuto):
    async def thinks_again(mine: Lender) -> str:
        await complete_in(mine.conn, "completed")
        await done(mine.rollback())
        return "returned"

    deeds["thinks again"] = thinks_again
    flow = Workflow()
    flow.add("one", doing.new("thinks again"))
    await ready.enqueue(flow)
    await ready.workflow(flow.id).wait(timeout=20)

    assert (await result_of(ready, flow, "one"), await count_effects(ready)) == ("returned", 0)


async def test_a_transaction_that_is_run_again_completes_it(ready: Tenuto):
    async def twice(mine: Lender) -> None:
        await complete_in(mine.conn, 1)
        await done(mine.rollback())
        await done(mine.effect())
        await complete_in(mine.conn, 2)
        await done(mine.commit())

    deeds["twice"] = twice
    flow = Workflow()
    flow.add("one", doing.new("twice"))
    await ready.enqueue(flow)
    await ready.workflow(flow.id).wait(timeout=20)

    assert (await result_of(ready, flow, "one"), await count_effects(ready)) == (2, 1)


async def test_one_that_runs_out_of_time_after_the_commit_is_complete(ready: Tenuto):
    async def lingers(mine: Lender) -> None:
        await completes(mine)
        await asyncio.Event().wait()

    deeds["lingers"] = lingers
    await ready.enqueue(late := doing.options(timeout=0.5).new("lingers"))
    await eventually(lambda: told)

    assert (told, (await ready.fetch(late)).state) == ([("complete", {"done": [1, 2]})], "completed")


async def test_a_database_that_goes_away_after_the_commit_is_asked_when_it_is_back(own_postgres: PostgresServer):
    await Tenuto(own_postgres.url).migrate()
    away = Gate()

    async def loses_it(mine: Lender) -> None:
        await completes(mine)
        await asyncio.to_thread(own_postgres.stop, "immediate")
        await away.pass_through()
        raise ValueError

    deeds["loses it"] = loses_it
    async with Tenuto(own_postgres.url, queues={"default": 1}, grace=1) as app:
        await make_effects(app)
        await app.enqueue(made := doing.new("loses it"))
        await eventually(lambda: away.waiting)
        away.open()
        await asyncio.to_thread(own_postgres.start)
        await eventually(lambda: told)
        now = await app.fetch(made)

    assert (told, now.state, now.errors) == ([("complete", {"done": [1, 2]})], "completed", ())


async def test_one_that_is_completed_twice_is_refused_the_second_time(ready: Tenuto):
    async def twice(mine: Lender) -> None:
        await completes(mine)
        await done(mine.effect())
        await complete_in(mine.conn, "again")

    deeds["twice"] = twice
    await ready.enqueue(made := doing.new("twice"))
    await eventually(lambda: told)

    assert (refused, await count_effects(ready)) == ([StaleAttempt], 1)
    assert ((await ready.fetch(made)).state, told) == ("completed", [("complete", {"done": [1, 2]})])


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


async def test_an_attempt_that_lost_its_job_commits_nothing(ready: Tenuto):
    async def is_late(mine: Lender) -> None:
        if current_job().epoch == 1:
            await done(mine.rollback())
            node = current_app()._node
            await ready.database.run(upkeep.disown, node.producers, [])  # as when its lease had ended
            await done(mine.effect())
        await completes(mine)

    deeds["late"] = is_late
    await ready.enqueue(made := doing.new("late"))
    await drain(ready)

    assert refused == [StaleAttempt]
    assert ((await ready.fetch(made)).state, await count_effects(ready)) == ("completed", 1)


async def test_a_job_that_was_cancelled_commits_nothing(ready: Tenuto):
    async def is_cancelled(mine: Lender) -> None:
        await done(mine.rollback())
        await asyncio.shield(ready.cancel(current_job()))
        await done(mine.effect())
        await completes(mine)

    deeds["cancelled"] = is_cancelled
    await ready.enqueue(made := doing.new("cancelled"))
    await eventually(lambda: _is_ended(ready, made))

    assert ((await ready.fetch(made)).state, await count_effects(ready)) == ("cancelled", 0)


async def _is_ended(app: Tenuto, made: Any) -> bool:
    return (await app.fetch(made)).state.is_terminal


@pytest.mark.parametrize(
    ("value", "error"), [(Snooze(5), InvalidRequest), (object(), UnencodableResult)], ids=["snooze", "object"]
)
async def test_what_completes_nothing_is_refused_and_rolled_back(ready: Tenuto, value: Any, error: type[Exception]):
    async def completes_with(mine: Lender) -> None:
        await complete_in(mine.conn, value)
        await done(mine.commit())

    deeds["with"] = completes_with
    await ready.enqueue(doing.options(max_attempts=1).new("with"))
    await eventually(lambda: told)

    assert (refused, told[0][0], await count_effects(ready)) == ([error], "discard", 0)


async def test_only_a_running_job_completes():
    with pytest.raises(NotInJob):
        await complete_in("no connection")
    with pytest.raises(NotInJob):
        blocking.complete_in("no connection")


async def test_a_job_in_a_process_of_its_own_cannot_complete_there(app: Tenuto):
    await app.enqueue(made := doing_elsewhere.new())
    await drain(app)

    assert (await app.fetch(made)).errors[-1].type == NotHere.__name__


async def test_a_transaction_that_is_left_open_decides_in_the_end(ready: Tenuto):
    left: list[Lender] = []

    async def leaves_it_open(_: Lender) -> str:
        own = PsycopgAsync(ready.config.url)
        await own.begin()
        await done(own.effect())
        await complete_in(own.conn, "left open")
        left.append(own)
        return "returned"

    if is_sqlite(ready.config.url):
        pytest.skip("there nobody else writes until it is ended")
    deeds["leaves"] = leaves_it_open
    flow = Workflow()
    flow.add("one", doing.new("leaves"))
    await ready.enqueue(flow)
    await eventually(lambda: told)
    await left[0].commit()
    await ready.workflow(flow.id).wait(timeout=20)
    await left[0].close()

    assert (await result_of(ready, flow, "one"), await count_effects(ready)) == ("left open", 1)
