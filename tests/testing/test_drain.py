"""Draining: all that is due runs, one after the other, and nothing else does unless a test asks for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tenuto import Chain, Queue, Rate, Worker, Workflow, current_app, job
from tenuto.definition import forget
from tenuto.doctor import Finding
from tenuto.errors import InvalidRequest, NotCompleted, NotDrained
from tenuto.testing import Clock, drain
from tests.conftest import OpenApp
from tests.kit import AnyJob, Gate, Obey, ToldTo, eventually, runs_of, states_of

# ── what runs ─────────────────────────────────────────────────────────────────────────────────────


async def test_all_that_is_due_runs_and_is_counted(app):
    await app.enqueue([Obey.ok(), Obey.value(3), Obey.snooze(60), Obey.cancel(), Obey.discard(), Obey.ok(queue="b")])

    drained = await drain(app)

    assert drained.counts == {"completed": 3, "snoozed": 1, "cancelled": 1, "discarded": 1}
    assert (drained.completed, drained.snoozed, drained.cancelled, drained.discarded) == (3, 1, 1, 1)
    assert drained.left == {"scheduled": 1}


async def test_nothing_due_is_no_error(app):
    drained = await drain(app)

    assert (drained.runs, drained.left) == ((), {})


async def test_queues_take_turns_and_the_most_urgent_comes_first(app):
    await app.enqueue(
        [Obey.value(name, queue=name[0], priority=int(name[1])) for name in ("b2", "b1", "a2", "a1", "a3")]
    )

    drained = await drain(app)

    assert [run.value for run in drained.runs] == ["a1", "b1", "a2", "b2", "a3"]


async def test_what_a_job_enqueues_runs_too_also_in_another_queue(app):
    @job(name="drain.parent")
    async def parent() -> None:
        await current_app().enqueue(Obey.value("child", queue="other"))

    await app.enqueue(parent.new())

    assert [run.job.queue for run in (await drain(app)).runs] == ["default", "other"]


async def test_only_the_queues_that_are_asked_for_are_drained(app):
    await app.enqueue([Obey.ok(queue=name) for name in ("a", "b", "c")])

    drained = await drain(app, queue=["a", "b"])

    assert (drained.completed, drained.left) == (2, {})
    assert (await drain(app, queue="c")).completed == 1


async def test_steps_of_a_workflow_run_in_their_order(app):
    flow = Workflow()
    flow.add("last", Obey.depth(), deps=["middle"])
    flow.add("middle", Obey.depth(), deps=["first"])
    flow.add("first", Obey.value(1))
    await app.enqueue(flow)

    drained = await drain(app)

    assert [run.value for run in drained.runs] == [1, 2, 3]
    assert (await app.workflow(flow.id).status()).outcome == "completed"


async def test_links_of_a_chain_follow_each_other(app):
    @job(name="drain.link", chain=Chain())
    async def link(number: int) -> int:
        return number

    await app.enqueue([link.new(number) for number in range(3)])

    assert [run.value for run in (await drain(app)).runs] == [0, 1, 2]


async def test_hooks_hear_of_jobs_that_others_ended(app):
    heard: list[str] = []

    @job(name="drain.hooked")
    async def hooked() -> None: ...

    @hooked.on_cancelled
    async def told(reason: str, job: AnyJob) -> None:
        heard.append(reason)

    await app.cancel(await app.enqueue(hooked.new()))

    await drain(app)

    assert heard == ["operator"]


# ── what waits ────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_due_later_waits_unless_it_is_asked_for_the_earliest_first(app):
    await app.enqueue([Obey.value(after, schedule_in=after) for after in (3600, 60, 86_400)])

    assert (await drain(app)).left == {"scheduled": 3}
    assert [run.value for run in (await drain(app, scheduled=True)).runs] == [60, 3600, 86_400]


async def test_what_failed_waits_unless_retries_are_asked_for(app):
    class Flaky(Worker[None, str], name="drain.flaky", backoff=600):
        async def process(self, job) -> str:
            if job.attempt < 3:
                raise ToldTo("not yet")
            return "done"

    await app.enqueue(Flaky.new())

    assert (await drain(app, keep_failures=True)).left == {"retryable": 1}
    drained = await drain(app, retries=True)
    assert (drained.failed, drained.completed, drained.left) == (1, 1, {})


async def test_a_paused_queue_is_left_also_by_those_in_a_hurry(app):
    await app.enqueue([Obey.ok(), Obey.ok(schedule_in=60)])
    await app.queue("default").pause()

    assert (await drain(app, scheduled=True)).left == {"available": 1, "scheduled": 1}
    await app.queue("default").resume()
    assert (await drain(app, scheduled=True)).completed == 2


async def test_what_limits_do_not_allow_is_left_until_the_clock_moves(open_app: OpenApp):
    node = await open_app(queues={"slow": Queue(10, rate=Rate(2, per=60))})
    await node.queue("slow").pause()
    await node.stop()
    app = await open_app()
    await app.queue("slow").resume()
    await app.enqueue([Obey.ok(queue="slow") for _ in range(5)])

    async with Clock(app) as clock:
        assert (await drain(app)).completed == 2
        await clock.advance(60)
        assert (await drain(app)).completed == 2
        await clock.advance(60)
        assert (await drain(app)).left == {}


async def test_a_job_of_an_unknown_worker_is_put_back_and_not_tried_for_ever(app):
    @job(name="drain.unknown")
    async def unknown() -> None: ...

    await app.enqueue(unknown.new())
    forget("drain.unknown")

    drained = await drain(app, scheduled=True, retries=True)

    assert (drained.counts, drained.left) == ({"put back": 1}, {"scheduled": 1})


# ── failures ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_failure_is_raised_as_it_is_once_it_is_stored(app):
    stored = await app.enqueue(Obey.fail("broken", max_attempts=3))

    with pytest.raises(ToldTo, match="broken") as raised:
        await drain(app)

    assert "attempt 1 of 3, which is now retryable" in raised.value.__notes__[0]
    assert (await app.fetch(stored)).errors[0].message == "broken"


async def test_one_that_is_tried_again_is_raised_when_its_attempts_are_spent(app):
    stored = await app.enqueue(Obey.fail("broken", max_attempts=3))

    with pytest.raises(ToldTo):
        await drain(app, retries=True)

    assert ((await app.fetch(stored)).state, len(runs_of(stored))) == ("discarded", 3)


async def test_failures_can_be_kept_and_the_others_run(app):
    await app.enqueue([Obey.fail("broken"), Obey.ok()])

    drained = await drain(app, keep_failures=True)

    assert [run.outcome for run in drained.runs] == ["failed", "completed"]


async def test_a_job_that_wants_to_end_the_interpreter_ends_only_the_drain(app):
    @job(name="drain.exits", max_attempts=1)
    async def exits() -> None:
        raise SystemExit(3)

    await app.enqueue(exits.new())

    with pytest.raises(NotCompleted, match="SystemExit"):
        await drain(app)


# ── jobs without end ──────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_goes_on_for_ever_is_stopped_by_the_limit(app):
    @job(name="drain.forever")
    async def forever() -> None:
        await current_app().enqueue(forever.new())

    await app.enqueue(forever.new())

    with pytest.raises(NotDrained, match=r"20 attempts ran.*drain.forever \(20\)"):
        await drain(app, limit=20)


async def test_a_snooze_without_end_is_stopped_by_the_limit(app):
    await app.enqueue(Obey.snooze(3600))

    with pytest.raises(NotDrained, match=r"obey \(10\)"):
        await drain(app, scheduled=True, limit=10)


async def test_a_job_that_hangs_is_named_and_given_back_unspent(app):
    gate = Gate()
    stored = await app.enqueue(Obey.wait_at(gate))

    with pytest.raises(NotDrained, match=r"none of these has ended within 0.1 s: obey \(1\)"):
        await drain(app, within=0.1)

    now = await app.fetch(stored)
    assert (now.state, now.attempt) == ("available", 0)


async def test_jobs_that_wait_for_each_other_run_at_once(app):
    @job(name="drain.waits")
    async def waits() -> str | None:
        flow = Workflow()
        flow.add("inner", Obey.value("inner"))
        await current_app().enqueue(flow)
        return (await current_app().workflow(flow.id).wait(timeout=20)).outcome

    await app.enqueue(waits.new())

    assert [run.returned for run in (await drain(app, at_once=2)).runs] == ["inner", "completed"]


async def test_an_operators_cancel_reaches_what_runs(app):
    gate = Gate()
    held = await app.enqueue(Obey.wait_at(gate))

    @job(name="drain.operator", queue="z")
    async def operator() -> None:
        await current_app().cancel(held)

    await app.enqueue(operator.new())

    drained = await drain(app, at_once=2)

    assert sorted(run.outcome for run in drained.runs) == ["cancelled", "completed"]
    assert (await app.fetch(held)).state == "cancelled"


@pytest.mark.parametrize("options", [{"at_once": 0}, {"limit": 0}, {"limit": True}])
async def test_an_option_out_of_its_range_is_refused(app, options):
    with pytest.raises(InvalidRequest, match="out of range"):
        await drain(app, **options)


# ── beside nodes ──────────────────────────────────────────────────────────────────────────────────


async def test_jobs_that_a_node_runs_are_waited_for(open_app: OpenApp):
    node = await open_app(queues={"default": 1})
    gate = Gate()
    await node.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)
    other = await node.enqueue(Obey.ok(queue="other"))

    draining = asyncio.create_task(drain(node))
    await eventually(lambda: runs_of(other))
    assert not draining.done()
    gate.open()

    assert (await draining).left == {}


def broken(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.broken]


async def test_a_drain_and_a_node_run_each_job_once_between_them(open_app: OpenApp):
    node = await open_app(queues={"default": 5})
    jobs = await node.enqueue([Obey.ok() for _ in range(100)])

    await drain(node)

    assert [len(runs_of(each)) for each in jobs] == [1] * 100
    assert broken(await node.check()) == []


async def test_it_leaves_nothing_behind(app):
    flow = Workflow()
    flow.add("a", Obey.fail_times(1))
    flow.add("b", Obey.snooze(5, 1), deps=["a"])
    await app.enqueue(flow)
    before = asyncio.all_tasks()

    await drain(app, scheduled=True, retries=True)

    assert await states_of(app, flow) == {"a": "completed", "b": "completed"}
    assert await app.nodes() == ()
    assert broken(await app.check()) == []
    assert asyncio.all_tasks() == before
    assert asyncio.get_running_loop().get_task_factory() is None


@pytest.mark.parametrize("after", [timedelta(days=1), timedelta(days=400)])
async def test_a_job_may_move_the_clock_while_it_runs(app, after):
    async with Clock(app) as clock:

        @job(name="drain.long")
        async def long() -> None:
            await clock.advance(after)

        await app.enqueue([long.new(), Obey.ok(schedule_in=after)])

        assert (await drain(app)).completed == 2
