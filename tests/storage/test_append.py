"""Appends and grafts as verbs: what they add is waited for by whoever should, also where others are at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import pytest

from tenuto.graph import Growth, Head
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, SUSPENDED, Job
from tenuto.outcome import DONE, Discard, Outcome
from tenuto.storage import append, steer, workflows
from tenuto.storage.database import Database, Verb
from tenuto.workflow import Workflow
from tests.storage.boundaries import Boundary, watched
from tests.storage.build import AnyJob, Claimer, Flow, complaints, graph, grouped, states, workflow_of
from tests.storage.conftest import only_on_postgres


def job() -> AnyJob:
    return Job("worker")


def graft() -> Flow:
    """A group `fan` that its first member fills, and a step behind it."""
    flow = Workflow()
    flow.add("join", job(), deps=flow.add_graft("fan", job()))
    return grouped(flow)


def filling(flow: Flow, *inside: str) -> Growth:
    """What an attempt adds: a group `in` of these members, and a step behind that."""
    more = Workflow()
    more.add("last", job(), deps=more.add_many("in", {name: job() for name in inside}))
    return more.growth(Head(flow.id), "fan")


def one(flow: Flow, name: str, deps: Iterable[str] = ()) -> Growth:
    """One more step of a workflow."""
    more = Workflow()
    more.add(name, job(), deps=deps)
    return more.growth(Head(flow.id))


async def end_all(claimer: Claimer, *, but: str = "") -> None:
    """Complete what is due, and what that makes due, without one job."""
    while [each for each in await claimer.claim() if each.id != but]:
        for held in [held for held in claimer.held.values() if held.id != but]:
            await claimer.end(held, DONE)


# ── a second attempt fills a group inside ─────────────────────────────────────────────────────────


async def test_a_group_inside_waits_for_a_member_that_a_later_attempt_adds(clock, claimer):
    flow = graft()
    await clock.run(flow.enqueue)
    first = await claimer.claimed(flow["fan/graft"])
    await clock.run(append.graft, first, "fan", filling(flow, "a"))

    await clock.run(append.graft, first, "fan", filling(flow, "a", "b"))
    (a, b) = await claimer.claim()
    await claimer.end(a, DONE)
    between = await states(clock, flow)
    await claimer.end(b, DONE)

    assert (between["fan/in"], between["fan/last"]) == (SUSPENDED, SUSPENDED)
    after = await states(clock, flow)
    assert (after["fan/in"], after["fan/last"], after["fan"]) == (COMPLETED, AVAILABLE, SUSPENDED)
    assert await complaints(clock) == {}


async def test_a_group_inside_that_had_completed_waits_again(clock, claimer):
    flow = graft()
    await clock.run(flow.enqueue)
    first = await claimer.claimed(flow["fan/graft"])
    await clock.run(append.graft, first, "fan", filling(flow, "a"))
    await end_all(claimer, but=first.id)
    before = await states(clock, flow)

    await clock.run(append.graft, first, "fan", filling(flow, "a", "b"))

    between, row = await states(clock, flow), await workflow_of(clock, flow)
    assert (before["fan/in"], between["fan/in"]) == (COMPLETED, SUSPENDED)
    assert (row.completed, row.unfinished, row.runs) == (2, 5, 1)
    assert await complaints(clock) == {}
    await end_all(claimer)
    assert set((await states(clock, flow)).values()) == {COMPLETED}
    assert await complaints(clock) == {}


async def test_a_new_step_behind_a_group_that_waits_again_waits_as_well(clock, claimer):
    flow, only_the_group = graft(), Workflow()
    only_the_group.add_many("in", {"a": job()})
    await clock.run(flow.enqueue)
    first = await claimer.claimed(flow["fan/graft"])
    await clock.run(append.graft, first, "fan", only_the_group.growth(Head(flow.id), "fan"))
    await end_all(claimer, but=first.id)

    await clock.run(append.graft, first, "fan", filling(flow, "a", "b"))

    between = await states(clock, flow)
    assert (between["fan/in"], between["fan/last"]) == (SUSPENDED, SUSPENDED)
    assert await complaints(clock) == {}


async def test_what_a_cancelled_group_inside_cannot_wait_for_the_outer_one_does(clock, claimer):
    built = Workflow()
    built.add("join", job(), deps=built.add_graft("fan", job(), ignore_cancelled=True))
    flow = grouped(built)
    await clock.run(flow.enqueue)
    first = await claimer.claimed(flow["fan/graft"])
    await clock.run(append.graft, first, "fan", filling(flow, "a"))
    await clock.run(workflows.cancel, flow.id, ["fan/in"])

    await clock.run(append.graft, first, "fan", filling(flow, "a", "b"))
    await claimer.end(first, DONE)
    between = await states(clock, flow)
    await end_all(claimer)

    assert (between["fan/in"], between["fan"]) == (CANCELLED, SUSPENDED)
    after = await states(clock, flow)
    assert (after["fan/in/b"], after["fan"], after["join"]) == (COMPLETED, COMPLETED, COMPLETED)
    assert await complaints(clock) == {}


# ── a member is retried ───────────────────────────────────────────────────────────────────────────


async def failed_fan(clock: Database, claimer: Claimer) -> Flow:
    """A group that a failed member has cancelled, with what is behind it."""
    built = Workflow()
    built.add("join", job(), deps=built.add_many("fan", [job(), job()]))
    flow = grouped(built)
    await clock.run(flow.enqueue)
    ended: dict[str, Outcome] = {"fan/0": Discard("no"), "fan/1": DONE}
    await claimer.end_steps(flow, **ended)
    return flow


async def test_a_member_that_is_retried_alone_leaves_its_cancelled_group_as_it_is(clock, claimer):
    flow = await failed_fan(clock, claimer)

    await clock.run(workflows.retry, flow.id, ["fan/0"])
    await end_all(claimer)

    after = await states(clock, flow)
    assert (after["fan/0"], after["fan"], after["join"]) == (COMPLETED, CANCELLED, CANCELLED)
    assert await complaints(clock) == {}


@pytest.mark.parametrize("names", [[], ["fan", "join"]], ids=["all", "by-names"])
@pytest.mark.parametrize("is_alone", [False, True], ids=["at-once", "after-its-member"])
async def test_a_retry_of_the_group_or_of_all_brings_it_to_its_end(clock, claimer, names, is_alone):
    flow = await failed_fan(clock, claimer)
    if is_alone:
        await clock.run(workflows.retry, flow.id, ["fan/0"])
        await end_all(claimer)

    await clock.run(workflows.retry, flow.id, names)
    await end_all(claimer)

    assert set((await states(clock, flow)).values()) == {COMPLETED}
    assert (await workflow_of(clock, flow)).outcome == "completed"
    assert await complaints(clock) == {}


# ── others are at it ──────────────────────────────────────────────────────────────────────────────


async def run_beside(
    database: Database, growth: Growth, behind: str, verb: Callable[..., Verb[Any]], *args: Any
) -> None:
    """Run a verb on a workflow; others add to it once the statement `behind` has answered for the first time."""
    others = [growth]

    def look(at: Boundary, name: str) -> None:
        if at.has_rows and name == behind and others:
            with closing(database.blocking()) as line:
                line.run(append.append, args[0], others.pop())

    await database.run(lambda: watched(verb(*args), look))
    assert not others


@only_on_postgres
async def test_a_step_that_is_added_while_the_whole_is_cancelled_is_cancelled_too(clock, claimer):
    flow = graph({"a": "", "b": "a"})
    await clock.run(flow.enqueue)

    await run_beside(clock, one(flow, "c"), "members", workflows.cancel, flow.id, [])

    assert set((await states(clock, flow)).values()) == {CANCELLED}
    assert (await workflow_of(clock, flow)).state == "finished"
    assert await complaints(clock) == {}


@only_on_postgres
async def test_a_step_that_is_added_while_the_whole_is_retried_is_retried_too(clock, claimer):
    flow = graph({"a": "", "b": ""})
    await clock.run(flow.enqueue)
    await clock.run(steer.cancel, flow.ids("a"))

    await run_beside(clock, one(flow, "c", ["a"]), "members", workflows.retry, flow.id, [])

    assert (await states(clock, flow))["c"] == SUSPENDED
    assert await complaints(clock) == {}


@only_on_postgres
async def test_a_step_whose_need_is_added_at_the_same_time_is_released_by_it(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)

    await run_beside(clock, one(flow, "need"), "steps_named", append.append, flow.id, one(flow, "later", ["need"]))
    await end_all(claimer)

    assert set((await states(clock, flow)).values()) == {COMPLETED}
    assert await complaints(clock) == {}
