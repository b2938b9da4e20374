"""Whole workflows steered: cancelled, retried, kept apart by name, told of at their end."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import pytest

from tenuto import Chain, Job, KeyRing, Tenuto, Unique, Workflow, blocking, job, results, telemetry
from tenuto.errors import (
    InvalidRequest,
    InvalidWorkflow,
    JobNotFound,
    NotRetried,
    NoWorkflow,
    StepNotFound,
    TooLarge,
    Unencodable,
    UniqueConflict,
    WorkflowNotFound,
    WorkflowRunning,
)
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, finish, state_of, states_of, times_run, until_paused

AnyJob = Job[Any, Any]
NOBODY = "0190f5d6-7c00-7000-8000-000000000000"


@job(name="steering.note")
async def note(mark: str = "") -> None:
    """What on_finished runs here: its job is looked at afterwards."""


@job(name="steering.context")
async def tell_context() -> Any:
    first = await results.workflow_context()
    first["changed"] = True
    return [first, await results.workflow_context()]


@job(name="steering.plain_context")
def tell_plainly() -> Any:
    return blocking.workflow_context()


@job(name="steering.context_in_a_process", runs_in="process")
def tell_from_afar() -> Any:
    return blocking.workflow_context()


@job(name="steering.context_of_none")
async def tell_nothing() -> str:
    with pytest.raises(NoWorkflow):
        await results.workflow_context()
    return "refused"


async def notes(app: Tenuto) -> list[dict[str, Any]]:
    """What each callback was told, in the order in which they were stored."""
    found = await app.find(worker="steering.note", limit=1_000)
    return [each.meta["finished"] for each in reversed(found)]


def broken(**options: Any) -> Workflow:
    """a → b, which fails → c → d; e beside them ends well."""
    flow = Workflow(**options)
    flow.add("a", Obey.value("a"))
    flow.add("b", Obey.fail_times(1, then="b", max_attempts=1), "a")
    flow.add("c", Obey.ok(), "b")
    flow.add("d", Obey.ok(), "c")
    flow.add("e", Obey.ok())
    return flow


# ── cancel ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_workflow_is_cancelled_whole_and_finishes_once(app: Tenuto) -> None:
    gate = Gate()
    flow = Workflow(on_finished=note.new())
    flow.add("runs", Obey.wait_at(gate))
    flow.add("waits", Obey.ok(), "runs")
    flow.add("later", Obey.ok(schedule_in=3600))
    flow.add("forgives", Obey.ok(), "later", ignore_cancelled=True)
    await app.enqueue(flow)
    await eventually(lambda: gate.waiting)

    changed = await app.workflow(flow.id).cancel()
    status = await app.workflow(flow.id).wait(timeout=10)

    assert changed == ["runs", "waits", "later", "forgives"]
    assert (status.outcome, status.cancelled, status.runs) == ("failed", 4, 1)
    assert [told["run"] for told in await notes(app)] == [1]
    assert times_run(flow) == {"runs": 1, "waits": 0, "later": 0, "forgives": 0}


async def test_steps_are_cancelled_by_name_with_what_waits_for_them(app: Tenuto) -> None:
    class Step(Enum):
        LATER = "later"

    flow = Workflow()
    flow.add("later", Obey.ok(schedule_in=3600))
    flow.add("behind", Obey.ok(), "later")
    flow.add("other", Obey.ok(schedule_in=3600))
    await app.enqueue(flow)

    assert await app.workflow(flow.id).cancel(Step.LATER) == ["later"]
    assert await states_of(app, flow) == {"later": "cancelled", "behind": "cancelled", "other": "scheduled"}
    assert await app.workflow(flow.id).cancel("later") == []


async def test_the_name_of_a_group_names_its_members_at_any_depth_and_nobody_else(app: Tenuto) -> None:
    flow = Workflow()
    for name in ("pages/1", "pages/in/2", "pages2", "pagesX/3", "x/pages/4"):
        flow.add(name, Obey.ok(schedule_in=3600))
    await app.enqueue(flow)

    assert await app.workflow(flow.id).cancel("pages") == ["pages/1", "pages/in/2"]


@pytest.mark.parametrize("verb", ["cancel", "retry", "delete"])
async def test_an_unknown_step_or_workflow_is_told_and_nothing_is_done(app: Tenuto, verb: str) -> None:
    flow = Workflow()
    flow.add("later", Obey.ok(schedule_in=3600))
    await app.enqueue(flow)

    with pytest.raises(StepNotFound, match="latter"):
        await getattr(app.workflow(flow.id), verb)("later", "latter")
    with pytest.raises(WorkflowNotFound):
        await getattr(app.workflow(NOBODY), verb)("later")

    assert await state_of(app, flow, "later") == "scheduled"


async def test_a_whole_workflow_that_is_not_there_is_told(app: Tenuto) -> None:
    with pytest.raises(WorkflowNotFound):
        await app.workflow(NOBODY).cancel()
    with pytest.raises(WorkflowNotFound):
        await app.workflow(NOBODY).retry()


async def test_a_cancel_that_races_the_last_steps_end_finishes_the_workflow_once(open_app: OpenApp) -> None:
    app, other = await open_app(queues={"default": 10}), await open_app()

    async def race() -> str:
        flow = Workflow(on_finished=note.new())
        flow.add("a", Obey.ok())
        flow.add("b", Obey.ok(), "a")
        await app.enqueue(flow)
        await other.workflow(flow.id).cancel()
        status = await app.workflow(flow.id).wait(timeout=20)
        assert status.completed + status.cancelled == 2
        return flow.id

    ids = [id for _ in range(5) for id in await asyncio.gather(*(race() for _ in range(8)))]

    assert sorted(told["workflow_id"] for told in await notes(app)) == sorted(ids)


# ── retry ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_retry_runs_what_failed_and_what_that_cancelled_in_order_and_nothing_else(app: Tenuto) -> None:
    flow = broken()
    await finish(app, flow)

    changed = await app.workflow(flow.id).retry()
    status = await app.workflow(flow.id).wait(timeout=10)

    assert changed == ["b", "c", "d"]
    assert (status.outcome, status.runs, status.completed) == ("completed", 2, 5)
    assert times_run(flow) == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 1}


async def test_a_failure_that_was_forgiven_is_retried_too(app: Tenuto) -> None:
    flow = Workflow(ignore_discarded=True)
    flow.add("a", Obey.fail_times(1, max_attempts=1))
    flow.add("b", Obey.ok(), "a")
    await finish(app, flow)

    assert await app.workflow(flow.id).retry() == ["a"]
    status = await app.workflow(flow.id).wait(timeout=10)
    assert (status.outcome, times_run(flow)) == ("completed", {"a": 2, "b": 1})


async def test_a_step_that_an_operator_cancelled_counts_as_failed(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.ok(schedule_in=3600))
    flow.add("b", Obey.ok(), "a")
    await app.enqueue(flow)
    await app.workflow(flow.id).cancel("a")

    assert await app.workflow(flow.id).retry() == ["a", "b"]
    assert (await app.workflow(flow.id).wait(timeout=10)).outcome == "completed"


async def test_a_workflow_is_retried_while_other_steps_still_run(app: Tenuto) -> None:
    gate = Gate()
    flow = broken(on_finished=note.new())
    flow.add("runs", Obey.wait_at(gate))
    await app.enqueue(flow)
    await eventually(lambda: _is_in(app, flow, d="cancelled"))

    assert await app.workflow(flow.id).retry() == ["b", "c", "d"]
    await eventually(lambda: _is_in(app, flow, d="completed"))
    gate.open()
    status = await app.workflow(flow.id).wait(timeout=10)

    assert (status.outcome, status.runs) == ("completed", 1)
    assert [told["run"] for told in await notes(app)] == [1]


async def test_a_retry_of_what_did_not_fail_changes_nothing(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.ok())
    await finish(app, flow)

    assert await app.workflow(flow.id).retry() == []
    assert (await app.workflow(flow.id).status()).runs == 1


async def test_a_step_that_is_named_runs_again_also_when_it_completed(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.value(1))
    flow.add("b", Obey.ok(), "a")
    await finish(app, flow)

    assert await app.workflow(flow.id).retry("a", keep_results=True) == ["a"]
    await app.workflow(flow.id).wait(timeout=10)
    assert await app.workflow(flow.id).retry("a") == ["a"]
    await app.workflow(flow.id).wait(timeout=10)

    assert times_run(flow) == {"a": 2, "b": 1}


async def test_of_a_group_only_what_ended_badly_is_retried(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("pages/1", Obey.ok())
    flow.add("pages/2", Obey.fail_times(1, max_attempts=1))
    flow.add("other", Obey.fail_times(1, max_attempts=1))
    await finish(app, flow)

    assert await app.workflow(flow.id).retry("pages") == ["pages/2"]


async def test_a_step_behind_one_that_stays_failed_is_refused_by_name_and_nothing_is_done(app: Tenuto) -> None:
    flow = broken()
    flow.add("f", Obey.fail())
    await finish(app, flow)
    before = await app.workflow(flow.id).status()

    with pytest.raises(NotRetried, match="step 'c' needs step 'b', which was discarded") as refused:
        await app.workflow(flow.id).retry("c", "f")

    assert [name for name, _ in refused.value.problems] == ["c"]
    assert await app.workflow(flow.id).status() == before


async def test_what_is_behind_a_deleted_step_cannot_be_retried(app: Tenuto) -> None:
    flow = broken()
    flow.add("gone", Obey.ok(schedule_in=3600))
    flow.add("behind", Obey.ok(), "gone")
    await app.enqueue(flow)
    assert await app.workflow(flow.id).delete("gone") == ["gone"]
    await app.workflow(flow.id).wait(timeout=10)

    with pytest.raises(NotRetried, match="step 'behind' needs step 'gone', which was deleted"):
        await app.workflow(flow.id).retry()
    assert await app.workflow(flow.id).retry("b", "c", "d") == ["b", "c", "d"]


async def test_a_step_whose_job_was_pruned_is_told_and_nothing_is_done_by_halves(app: Tenuto) -> None:
    flow = broken()
    await finish(app, flow)
    await app.delete(flow.jobs["c"])
    before = await app.workflow(flow.id).status()

    with pytest.raises(NotRetried, match="step 'c' has no job any more"):
        await app.workflow(flow.id).retry()

    assert await app.workflow(flow.id).status() == before


async def test_of_retries_at_once_one_makes_the_new_run(open_app: OpenApp) -> None:
    apps = [await open_app(queues={"default": 10}), *[await open_app() for _ in range(3)]]
    flow = Workflow(on_finished=note.new())
    for n in range(5):
        flow.add(f"a{n}", Obey.fail())
        flow.add(f"b{n}", Obey.ok(), f"a{n}")
    await finish(apps[0], flow)

    for run in range(2, 6):
        await apps[0].queue("default").pause()
        await until_paused(apps[0])
        changed = await asyncio.gather(*(app.workflow(flow.id).retry() for app in apps for _ in range(3)))
        assert sorted(map(len, changed)) == [0] * 11 + [10]
        await apps[0].queue("default").resume()
        status = await apps[0].workflow(flow.id).wait(timeout=20)
        assert status.runs == run

    assert sorted(told["run"] for told in await notes(apps[0])) == [1, 2, 3, 4, 5]


async def test_a_step_whose_unique_key_another_holds_is_not_retried(app: Tenuto) -> None:

    flow = Workflow()
    flow.add("a", Obey.fail(unique=Unique()))
    await finish(app, flow)
    await app.enqueue(Obey.fail(unique=Unique(), schedule_in=3600))

    with pytest.raises(UniqueConflict):
        await app.workflow(flow.id).retry()


# ── one step ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_is_fetched_changed_and_deleted_by_its_name(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("later", Obey.ok(schedule_in=3600))
    await app.enqueue(flow)
    handle = app.workflow(flow.id)

    assert await handle.update("later", {"priority": 7}) is True
    assert (await handle.job("later")).priority == 7
    assert await handle.delete("later") == ["later"]

    with pytest.raises(JobNotFound):
        await handle.job("later")
    with pytest.raises(StepNotFound):
        await handle.update("latter", {"priority": 7})
    with pytest.raises(InvalidRequest, match="names of steps"):
        await handle.delete()
    assert await handle.update("later", {"priority": 6}) is False


def test_an_app_that_blocks_steers_workflows_too(database_url: str) -> None:
    app = blocking.Tenuto(database_url)
    app.migrate()
    with app:
        flow = Workflow()
        flow.add("a", Obey.ok(schedule_in=3600))
        app.enqueue(flow)
        handle = app.workflow(flow.id)

        assert (handle.cancel(), handle.retry()) == (["a"], ["a"])
        assert handle.job("a").state == "available"


# ── on_finished ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("last", "outcome"), [(Obey.ok, "completed"), (Obey.fail, "failed")])
async def test_the_end_of_a_workflow_enqueues_its_job_with_what_came_of_it(
    app: Tenuto, last: Any, outcome: str
) -> None:
    callback = note.options(meta={"mine": 1}).new(mark="seen")
    flow = Workflow("nightly", on_finished=callback)
    flow.add("a", last())
    status = await finish(app, flow)

    done = await eventually(lambda: _completed(app, callback))

    told = {"workflow_id": flow.id, "name": "nightly", "outcome": outcome, "run": 1}
    assert done.meta == {"mine": 1, "finished": told}
    assert (done.args, done.workflow_id, status.total) == ({"mark": "seen"}, None, 1)


async def _completed(app: Tenuto, callback: AnyJob) -> AnyJob | None:
    found = await app.fetch(callback)
    return found if found.state == "completed" else None


async def test_each_run_of_a_workflow_enqueues_it_once(app: Tenuto) -> None:
    flow = Workflow(on_finished=note.new())
    flow.add("a", Obey.fail())
    await finish(app, flow)
    for _ in range(3):
        await app.workflow(flow.id).retry()
        await app.workflow(flow.id).wait(timeout=10)
    await drain(app)

    assert [(told["run"], told["outcome"]) for told in await notes(app)] == [(n, "failed") for n in (1, 2, 3, 4)]


async def test_the_telemetry_of_a_finish_says_which_run_it_was(app: Tenuto) -> None:
    told: list[int] = []

    def hear(_: str, payload: Any) -> None:
        told.append(payload["run"])

    telemetry.attach(hear, "workflow.finished")
    flow = Workflow()
    flow.add("a", Obey.fail())
    await finish(app, flow)
    await app.workflow(flow.id).retry()
    await app.workflow(flow.id).wait(timeout=10)

    await eventually(lambda: told == [1, 2])
    telemetry.detach(hear)


async def test_a_job_of_another_queue_is_due_at_once(open_app: OpenApp) -> None:
    app = await open_app(queues={"default": 2, "after": 1})
    callback = note.options(queue="after").new()
    flow = Workflow(on_finished=callback)
    flow.add("a", Obey.ok())
    await finish(app, flow)

    assert await eventually(lambda: _completed(app, callback))


async def test_a_callback_that_somebody_enqueued_as_well_comes_all_the_same(app: Tenuto) -> None:
    callback = note.new()
    flow = Workflow(on_finished=callback)
    flow.add("a", Obey.ok(schedule_in=3600))
    await app.enqueue(flow)
    await app.enqueue(callback)

    await app.workflow(flow.id).cancel()

    found = await app.find(worker="steering.note")
    assert [each.meta.get("finished", {}).get("run") for each in found] == [1, None]


@pytest.mark.parametrize("how", ["cancel", "delete", "cancel a step", "delete a step"])
async def test_whoever_ends_a_workflow_its_job_is_enqueued(app: Tenuto, how: str) -> None:
    flow = Workflow(on_finished=note.new())
    flow.add("a", Obey.ok(schedule_in=3600))
    flow.add("b", Obey.ok(), "a")
    await app.enqueue(flow)
    handle = app.workflow(flow.id)

    await {
        "cancel": lambda: app.cancel(workflow=flow.id),
        "delete": lambda: app.delete(workflow=flow.id),
        "cancel a step": lambda: handle.cancel("a"),
        "delete a step": lambda: handle.delete("a"),
    }[how]()

    assert [told["run"] for told in await notes(app)] == [1]


RING = KeyRing("a", {"a": KeyRing.new_key()})


@job(name="steering.encrypted", encrypted=RING)
async def secret() -> None:
    """Its args are sealed for one job alone."""


@job(name="steering.chained", chain=Chain())
async def link() -> None:
    """It waits for its turn."""


def test_a_callback_is_a_fresh_plain_job() -> None:
    other = Workflow()
    step = other.add("a", Obey.value(1))
    same = note.new()

    for given in ("note", note, other, note.new(mark=step.result), secret.new(), link.new()):
        with pytest.raises(InvalidWorkflow, match="on_finished="):
            Workflow(on_finished=given)  # type: ignore[arg-type]
    with pytest.raises(InvalidWorkflow, match="unique"):
        Workflow(on_finished=note.options(unique=Unique()).new())
    with pytest.raises(InvalidWorkflow, match="on_finished="):
        Workflow(on_finished=same).add("a", same)


async def test_a_callback_that_was_stored_or_is_too_large_is_refused(open_app: OpenApp) -> None:
    app = await open_app(sizes={"args": 200})
    stored = await app.enqueue(note.new())
    with pytest.raises(InvalidWorkflow, match="stored before"):
        Workflow(on_finished=stored)

    flow = Workflow(on_finished=note.new(mark="x" * 300))
    flow.add("a", Obey.ok())
    with pytest.raises(TooLarge):
        await app.enqueue(flow)


# ── unique by name ────────────────────────────────────────────────────────────────────────────────


def only(name: str = "sync", **options: Any) -> Workflow:
    """A unique workflow of one step, which waits."""
    flow = Workflow(name, unique=True)
    flow.add("a", Obey.ok(**{"schedule_in": 3600, **options}))
    return flow


async def test_while_a_unique_workflow_is_unfinished_another_of_its_name_is_refused(app: Tenuto) -> None:
    first = await app.enqueue(only())

    with pytest.raises(WorkflowRunning, match=first.id) as refused:
        await app.enqueue(only())

    assert (refused.value.name, refused.value.workflow_id) == ("sync", first.id)
    assert [each.id for each in await app.workflows()] == [first.id]
    assert len(await app.find()) == 1


async def test_once_it_has_finished_the_next_one_is_stored(app: Tenuto) -> None:
    first = await app.enqueue(only())
    await app.workflow(first.id).cancel()

    assert (await app.enqueue(only())).id != first.id


async def test_the_same_unique_workflow_again_is_the_same_one(app: Tenuto) -> None:
    flow = only()
    await app.enqueue(flow)

    assert (await app.enqueue(flow)).jobs["a"].existing


async def test_another_name_or_a_workflow_that_is_not_unique_is_not_kept_out(app: Tenuto) -> None:
    await app.enqueue(only())
    plain = Workflow("sync")
    plain.add("a", Obey.ok(schedule_in=3600))

    await app.enqueue(only("other"))
    await app.enqueue(plain)

    assert len(await app.workflows(state="running")) == 3


def test_a_unique_workflow_has_a_name() -> None:
    with pytest.raises(InvalidWorkflow, match="name"):
        Workflow(unique=True)


async def test_of_twenty_who_enqueue_at_once_one_is_the_first(open_app: OpenApp) -> None:
    apps = [await open_app() for _ in range(4)]

    for n in range(5):
        flows = [only(f"sync {n}") for _ in range(20)]
        told = await asyncio.gather(
            *(apps[nth % 4].enqueue(flow) for nth, flow in enumerate(flows)), return_exceptions=True
        )
        stored = [one for one in told if isinstance(one, Workflow)]
        refused = [one for one in told if isinstance(one, WorkflowRunning)]
        assert (len(stored), len(refused)) == (1, 19), [type(one) for one in told]
        assert {one.workflow_id for one in refused} == {stored[0].id}


async def test_a_retry_brings_no_second_one_to_life(app: Tenuto) -> None:
    first = await app.enqueue(only())
    await app.workflow(first.id).cancel()
    second = await app.enqueue(only())

    with pytest.raises(WorkflowRunning, match=second.id):
        await app.workflow(first.id).retry()
    with pytest.raises(WorkflowRunning, match=second.id):
        await app.retry(first.jobs["a"])
    assert await app.retry(workflow=first.id) == []

    assert (await app.workflow(first.id).status()).runs == 1
    await app.workflow(second.id).cancel()
    assert await app.workflow(first.id).retry() == ["a"]


async def test_of_retries_and_enqueues_of_one_name_at_once_one_wins(open_app: OpenApp) -> None:
    apps = [await open_app() for _ in range(4)]
    for n in range(6):
        old = [await _ended(apps[0], only(f"sync {n}")) for _ in range(4)]
        new = [only(f"sync {n}") for _ in range(4)]

        told = await asyncio.gather(
            *(app.workflow(flow.id).retry() for app, flow in zip(apps, old, strict=True)),
            *(app.enqueue(flow) for app, flow in zip(apps, new, strict=True)),
            return_exceptions=True,
        )

        assert [type(one) for one in told if isinstance(one, BaseException)] == [WorkflowRunning] * 7
        assert len(await apps[0].workflows(state="running", name=f"sync {n}")) == 1


async def _ended(app: Tenuto, flow: Workflow) -> Workflow:
    stored = await app.enqueue(flow)
    await app.workflow(flow.id).cancel()
    return stored


async def test_a_filter_that_would_revive_two_of_a_name_revives_one(app: Tenuto) -> None:
    first, second = [await _ended(app, only()) for _ in range(2)]

    await app.retry(state="cancelled")

    assert [each.id for each in await app.workflows(state="running")] == [min(first.id, second.id)]


# ── context ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reader", [tell_plainly, tell_from_afar])
async def test_every_step_reads_the_context_also_in_a_thread_or_a_process(app: Tenuto, reader: Any) -> None:
    flow = Workflow(context={"tenant": "acme", "limits": [1, 2]})
    flow.add("a", reader.new())
    flow.add("b", tell_context.new(), "a")
    await finish(app, flow)

    context = {"tenant": "acme", "limits": [1, 2]}
    assert await app.workflow(flow.id).result("a") == context
    assert await app.workflow(flow.id).result("b") == [{**context, "changed": True}, context]


async def test_without_a_context_it_is_empty(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", tell_plainly.new())
    await finish(app, flow)

    assert (await app.workflow(flow.id).result("a"), flow.context) == ({}, {})


async def test_a_job_that_is_no_step_has_no_context(app: Tenuto) -> None:
    made = await app.enqueue(tell_nothing.new())

    await eventually(lambda: _completed(app, made))


async def test_what_is_changed_later_is_not_in_the_context(app: Tenuto) -> None:
    given = {"tenant": "acme"}
    flow = Workflow(context=given)
    given["tenant"] = "other"

    flow.context["tenant"] = "third"

    assert flow.context == {"tenant": "acme"}


async def test_a_context_that_no_json_holds_or_that_is_too_large_is_refused(open_app: OpenApp) -> None:
    app = await open_app(sizes={"args": 1_000})
    with pytest.raises(Unencodable):
        Workflow(context={"what": object()})
    with pytest.raises(InvalidWorkflow, match="context="):
        Workflow(context=["a"])  # type: ignore[arg-type]

    flow = Workflow(context={"long": "x" * 1_000})
    flow.add("a", Obey.ok())
    with pytest.raises(TooLarge, match="context"):
        await app.enqueue(flow)


# ── as data ───────────────────────────────────────────────────────────────────────────────────────


def test_as_data_it_says_the_same_of_itself_as_a_whole() -> None:
    flow = Workflow("sync", unique=True, on_finished=note.options(priority=3).new(mark="x"), context={"a": [1]})
    flow.add("a", Obey.ok())

    again = Workflow.from_json(flow.to_json())

    assert again.to_dict() == flow.to_dict()
    assert (again.unique, again.context) == (True, {"a": [1]})
    assert again.on_finished is not None
    assert flow.on_finished is not None
    assert (again.on_finished.priority, again.on_finished.args) == (3, {"mark": "x"})
    assert again.on_finished.id != flow.on_finished.id


async def _is_in(app: Tenuto, flow: Workflow, **states: str) -> bool:
    now = await states_of(app, flow)
    return all(now[step] == state for step, state in states.items())


async def test_a_workflow_and_its_steps_stand_for_their_id_and_their_names(app):
    flow, other = Workflow(), Workflow()
    slow, fast = flow.add("slow", Obey.snooze(3600)), flow.add("fast", Obey.value(7))
    await app.enqueue(flow)
    await drain(app)

    handle = app.workflow(flow)

    assert await handle.result(fast) == 7
    assert (await handle.job(fast)).id == fast.job.id
    with pytest.raises(InvalidRequest, match="another workflow"):
        await handle.cancel(other.add("slow", Obey.ok()))
    assert await handle.cancel(slow) == ["slow"]
