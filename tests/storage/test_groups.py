"""Groups: steps whose jobs nobody runs, which complete with the last of their members."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tenuto.errors import NeedsUnmet
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, SUSPENDED, Job
from tenuto.outcome import DONE, Discard, Failed
from tenuto.storage import aftermath, reading, steer
from tenuto.workflow import Workflow
from tests.storage.build import AnyJob, Flow, complaints, grouped, reason, states, workflow_of


def job() -> AnyJob:
    return Job("worker")


def fan(width: int = 2, **flags: Any) -> Flow:
    """So many members of a group `fan`, and a step `join` behind it."""
    flow = Workflow()
    flow.add("join", job(), deps=flow.add_many("fan", [job() for _ in range(width)], **flags))
    return grouped(flow)


def nested() -> Flow:
    """outer(inner(a, b) -> c), and z behind it."""
    inner, outer, flow = Workflow(), Workflow(), Workflow()
    inner.add("a", job())
    inner.add("b", job(), deps="a")
    outer.add("c", job(), deps=outer.add_workflow("inner", inner))
    flow.add("z", job(), deps=flow.add_workflow("outer", outer))
    return grouped(flow)


async def done(claimer, flow: Flow, *steps: str) -> aftermath.Settled:
    return await claimer.end_steps(flow, **dict.fromkeys(steps, DONE))


# ── ended ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_group_completes_with_the_last_of_its_members_and_releases_what_is_behind(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)

    await done(claimer, flow, "fan/0")
    before = await states(clock, flow)
    settled = await done(claimer, flow, "fan/1")

    assert (before["fan"], before["join"]) == (SUSPENDED, SUSPENDED)
    assert settled.due == {"default"}
    assert await states(clock, flow) == {"join": AVAILABLE, "fan": COMPLETED, "fan/0": COMPLETED, "fan/1": COMPLETED}
    assert await complaints(clock) == {}


async def test_a_group_is_never_claimed(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)

    first = [each.id for each in await claimer.claim()]
    await done(claimer, flow, "fan/0", "fan/1")
    second = [each.id for each in await claimer.claim()]

    assert first == flow.ids("fan/0", "fan/1")
    assert second == flow.ids("join")


async def test_groups_in_groups_complete_in_one_transaction(clock, claimer):
    flow = nested()
    await clock.run(flow.enqueue)
    await done(claimer, flow, "outer/inner/a")
    await done(claimer, flow, "outer/inner/b")
    before = await states(clock, flow)

    await done(claimer, flow, "outer/c")

    assert (before["outer/inner"], before["outer/c"], before["outer"]) == (COMPLETED, AVAILABLE, SUSPENDED)
    after = await states(clock, flow)
    assert (after["outer"], after["z"]) == (COMPLETED, AVAILABLE)
    assert await complaints(clock) == {}


async def test_a_workflow_whose_last_step_is_a_group_is_finished_by_its_last_member_once(clock, claimer):
    built = Workflow()
    built.add_many("fan", [job(), job()])
    flow = grouped(built)
    await clock.run(flow.enqueue)

    told = [await done(claimer, flow, "fan/0"), await done(claimer, flow, "fan/1")]

    assert [settled.finished for settled in told] == [[], [aftermath.Finished(flow.id, None, "completed", [])]]
    row = await workflow_of(clock, flow)
    assert (row.completed, row.unfinished) == (3, 0)


async def test_an_empty_group_is_complete_when_it_is_stored(clock, claimer):
    flow = fan(0)

    stored = await clock.run(flow.enqueue)

    assert [each.state for each in stored] == [COMPLETED, AVAILABLE]
    assert await states(clock, flow) == {"join": AVAILABLE, "fan": COMPLETED}
    assert await complaints(clock) == {}


async def test_an_empty_group_waits_for_its_deps(clock, claimer):
    built = Workflow()
    built.add("first", job())
    built.add("last", job(), deps=built.add_many("none", [], deps="first"))
    flow = grouped(built)
    await clock.run(flow.enqueue)

    await done(claimer, flow, "first")

    assert await states(clock, flow) == {"first": COMPLETED, "last": AVAILABLE, "none": COMPLETED}


async def test_members_wait_for_the_deps_of_their_group(clock, claimer):
    built = Workflow()
    built.add("first", job())
    built.add_many("fan", [job(), job()], deps="first")
    flow = grouped(built)
    await clock.run(flow.enqueue)
    before = await states(clock, flow)

    await done(claimer, flow, "first")

    assert {before["fan/0"], before["fan/1"]} == {SUSPENDED}
    after = await states(clock, flow)
    assert (after["fan"], after["fan/0"], after["fan/1"]) == (SUSPENDED, AVAILABLE, AVAILABLE)


async def test_members_that_end_at_the_same_time_complete_their_group_once(clock, claimer):
    flow = fan(40)
    await clock.run(flow.enqueue)
    jobs = await claimer.claim()

    answers = await asyncio.gather(*[claimer.end(each, DONE) for each in jobs])

    assert [answer.due for answer in answers if answer.due] == [{"default"}]
    assert (await states(clock, flow))["join"] == AVAILABLE
    assert await complaints(clock) == {}


# ── ended badly ───────────────────────────────────────────────────────────────────────────────────


async def test_a_member_that_fails_cancels_its_group_and_what_is_behind(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, **{"fan/0": Discard("no")})

    after = await states(clock, flow)
    assert (after["fan"], after["join"], after["fan/1"]) == (CANCELLED, CANCELLED, "executing")
    assert await reason(clock, flow["fan"]) == "it needs step fan/0, which was discarded"
    await done(claimer, flow, "fan/1")
    assert await complaints(clock) == {}


async def test_a_group_that_forgives_completes_without_the_member_that_failed(clock, claimer):
    flow = fan(ignore_discarded=True)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, **{"fan/0": Discard("no")})
    await done(claimer, flow, "fan/1")

    after = await states(clock, flow)
    assert (after["fan"], after["join"]) == (COMPLETED, AVAILABLE)
    assert await complaints(clock) == {}


async def test_a_member_that_others_need_may_fail_where_those_forgive_it(clock, claimer):
    inner, built = Workflow(), Workflow()
    inner.add("a", job())
    inner.add("b", job(), deps="a", ignore_discarded=True)
    built.add_workflow("group", inner)
    flow = grouped(built)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, **{"group/a": Discard("no")})
    await done(claimer, flow, "group/b")

    assert (await states(clock, flow))["group"] == COMPLETED


async def test_a_dep_of_a_group_that_fails_cancels_members_and_group(clock, claimer):
    built = Workflow()
    built.add("first", job())
    built.add("last", job(), deps=built.add_many("fan", [job(), job()], deps="first"))
    flow = grouped(built)
    await clock.run(flow.enqueue)

    settled = await claimer.end_steps(flow, first=Discard("no"))

    assert set((await states(clock, flow)).values()) == {"discarded", CANCELLED}
    assert [finished.outcome for finished in settled.finished] == ["failed"]
    assert await complaints(clock) == {}


async def test_a_forgiven_failure_goes_on_through_the_group_in_one_transaction(clock, claimer):
    inner, built = Workflow(), Workflow()
    inner.add("a", job())
    inner.add("b", job(), deps="a")
    built.add("z", job(), deps=built.add_workflow("group", inner, ignore_cancelled=True))
    flow = grouped(built)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, **{"group/a": Discard("no")})

    after = await states(clock, flow)
    assert (after["group/b"], after["group"], after["z"]) == (CANCELLED, COMPLETED, AVAILABLE)
    assert await complaints(clock) == {}


# ── steered ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_member_that_is_retried_makes_its_groups_wait_again_and_all_that_is_behind_count_it(clock, claimer):
    flow = nested()
    await clock.run(flow.enqueue)
    for step in ("outer/inner/a", "outer/inner/b", "outer/c", "z"):
        await done(claimer, flow, step)

    steered = await clock.run(steer.retry, flow.ids("outer/inner/b"))
    between, row = await states(clock, flow), await workflow_of(clock, flow)
    settled = await done(claimer, flow, "outer/inner/b")

    assert steered.settled.finished == []
    assert (between["outer/inner"], between["outer"], between["outer/c"]) == (SUSPENDED, SUSPENDED, COMPLETED)
    assert (row.state, row.runs, row.unfinished) == ("running", 2, 3)
    assert [finished.outcome for finished in settled.finished] == ["completed"]
    assert set((await states(clock, flow)).values()) == {COMPLETED}
    assert await complaints(clock) == {}


async def test_a_leaf_that_is_retried_opens_only_the_group_it_is_in(clock, claimer):
    flow = nested()
    await clock.run(flow.enqueue)
    for step in ("outer/inner/a", "outer/inner/b", "outer/c"):
        await done(claimer, flow, step)
    await claimer.end_steps(flow, z=Failed(ValueError("oops")))

    await clock.run(steer.retry, flow.ids("outer/c"))

    between = await states(clock, flow)
    assert (between["outer"], between["outer/inner"]) == (SUSPENDED, COMPLETED)
    assert await complaints(clock) == {}


async def test_a_group_whose_members_are_done_completes_at_once_when_it_is_retried(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)
    await clock.run(steer.cancel, flow.ids("fan"))
    await done(claimer, flow, "fan/0", "fan/1")

    steered = await clock.run(steer.retry, flow.ids("fan"))

    assert steered.settled.finished  # its join was cancelled before, and is retried by itself
    assert (await states(clock, flow))["fan"] == COMPLETED
    await clock.run(steer.retry, flow.ids("join"))
    assert (await states(clock, flow))["join"] == AVAILABLE
    assert await complaints(clock) == {}


async def test_a_group_that_is_retried_with_a_member_waits_for_it(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)
    await done(claimer, flow, "fan/0", "fan/1")

    await clock.run(steer.retry, flow.ids("fan", "fan/0"))

    after = await states(clock, flow)
    assert (after["fan"], after["fan/0"]) == (SUSPENDED, AVAILABLE)
    assert await complaints(clock) == {}


async def test_a_group_whose_member_failed_is_not_retried_alone(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, **{"fan/0": Discard("no")})

    with pytest.raises(NeedsUnmet):
        await clock.run(steer.retry, flow.ids("fan"))


async def test_a_group_that_was_cancelled_takes_back_no_member(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)

    await clock.run(steer.cancel, flow.ids("fan"))

    assert await states(clock, flow) == {
        "join": CANCELLED,
        "fan": CANCELLED,
        "fan/0": AVAILABLE,
        "fan/1": AVAILABLE,
    }
    await done(claimer, flow, "fan/0", "fan/1")
    assert (await workflow_of(clock, flow)).state == "finished"
    assert await complaints(clock) == {}


async def test_a_deleted_member_counts_as_one_that_ended_so(clock, claimer):
    flow = fan(ignore_deleted=True)
    await clock.run(flow.enqueue)
    await clock.run(steer.delete, flow.ids("fan/0"))

    await done(claimer, flow, "fan/1")

    assert (await states(clock, flow))["join"] == AVAILABLE
    assert await complaints(clock) == {}


async def test_a_deleted_group_cancels_what_is_behind_it(clock, claimer):
    flow = fan()
    await clock.run(flow.enqueue)

    await clock.run(steer.delete, flow.ids("fan"))

    assert (await states(clock, flow))["join"] == CANCELLED
    await done(claimer, flow, "fan/0", "fan/1")
    assert await complaints(clock) == {}


# ── read ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_knows_its_group(clock):
    flow = nested()
    await clock.run(flow.enqueue)

    listed = {step["name"]: (step["parent"], step["is_group"]) for step in await clock.read(reading.steps, flow.id)}

    assert listed == {
        "outer": (None, True),
        "outer/inner": ("outer", True),
        "outer/inner/a": ("outer/inner", False),
        "outer/inner/b": ("outer/inner", False),
        "outer/c": ("outer", False),
        "z": (None, False),
    }


async def test_no_node_has_to_know_the_worker_of_groups(clock):
    await clock.run(fan().enqueue)

    assert set(await clock.read(reading.waiting_workers)) == {"worker"}
