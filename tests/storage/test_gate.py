"""The gate: a step that was claimed too early goes back to wait, and is never stuck there.

The verbs never let it come to this, so the tests spoil the row's count by hand.
"""

from __future__ import annotations

import pytest

from tenuto.job import AVAILABLE, CANCELLED, EXECUTING, SUSPENDED
from tenuto.outcome import DONE, GATED, Discard, settle
from tenuto.storage import steer, upkeep
from tests.storage.build import Claimer, complaints, graph, reason, states, stored


@pytest.fixture
async def flow(clock, claimer, tables):
    """Step c needs a and b; all three were claimed, c by mistake. And d needs c."""
    flow = graph({"a": "", "b": "", "c": "a b", "d": "c"})
    await clock.run(flow.enqueue)
    tables.execute("update jobs set state = 'available', waiting_on = 0 where id = ?", flow["c"].id)
    await claimer.claim()
    return flow


async def test_it_goes_back_to_wait_with_its_count_repaired(clock, claimer, flow):
    settled = await claimer.end_steps(flow, c=GATED)

    after = await stored(clock, flow["c"])
    assert settled.ids == flow.ids("c")
    assert (after.state, after.waiting_on) == (SUSPENDED, 2)


async def test_it_spends_no_attempt(clock, claimer, flow):
    await claimer.end_steps(flow, c=GATED)

    assert (await stored(clock, flow["c"])).attempt == 0


async def test_it_is_released_by_its_needs_as_if_nothing_had_been(clock, claimer, flow):
    await claimer.end_steps(flow, c=GATED)

    await claimer.end_steps(flow, a=DONE)
    before = await stored(clock, flow["c"])
    await claimer.end_steps(flow, b=DONE)

    assert (before.state, before.waiting_on) == (SUSPENDED, 1)
    assert (await stored(clock, flow["c"])).state is AVAILABLE


async def test_a_need_that_completed_meanwhile_is_not_counted(clock, claimer, flow):
    await claimer.end_steps(flow, a=DONE)

    await claimer.end_steps(flow, c=GATED)

    assert (await stored(clock, flow["c"])).waiting_on == 1


async def test_it_is_due_when_all_its_needs_completed_meanwhile(clock, claimer, flow):
    await claimer.end_steps(flow, a=DONE, b=DONE)

    settled = await claimer.end_steps(flow, c=GATED)

    assert settled.due == {"default"}
    assert (await stored(clock, flow["c"])).state is AVAILABLE


async def test_it_is_cancelled_when_a_need_ended_badly_meanwhile(clock, claimer, flow):
    await claimer.end_steps(flow, a=Discard("no"))

    await claimer.end_steps(flow, c=GATED)

    assert await states(clock, flow) == {"a": "discarded", "b": EXECUTING, "c": CANCELLED, "d": CANCELLED}
    assert await reason(clock, flow["c"]) == "it needs step a, which was discarded"
    assert await complaints(clock) == {}


async def test_a_cancel_that_came_first_cancels_it_and_says_so(clock, claimer, flow):
    await clock.run(steer.cancel, flow.ids("c"))

    await claimer.end_steps(flow, c=GATED)

    assert (await states(clock, flow))["d"] == CANCELLED
    assert await reason(clock, flow["c"]) == "cancelled by an operator"


async def test_an_attempt_that_was_taken_back_is_not_gated(clock, claimer, tables, flow):
    early = await claimer.claimed(flow["c"])
    await claimer.die()
    await clock.run(upkeep.rescue, judge=True)
    before = tables.all()

    settled = await claimer.give_back(settle(early, GATED))

    assert settled.ids == []
    assert tables.all() == before


async def test_an_attempt_that_was_taken_back_does_not_gate_the_next_one(clock, claimer, tables, flow):
    early = await claimer.claimed(flow["c"])
    await clock.run(upkeep.disown, [claimer.id], [])
    await claimer.claim()
    before = tables.all()

    settled = await claimer.give_back(settle(early, GATED))

    assert settled.ids == []
    assert tables.all() == before


async def test_the_attempt_that_was_gated_settles_nothing_more(clock, claimer, flow):
    early = await claimer.claimed(flow["c"])
    await claimer.end_steps(flow, c=GATED)

    late = await claimer.give_back(settle(early, DONE))

    assert late.ids == []
    assert (await stored(clock, flow["c"])).state is SUSPENDED


async def test_gated_steps_and_endings_share_a_batch(clock, claimer, flow):
    settled = await claimer.end_steps(flow, a=DONE, b=DONE, c=GATED)

    assert sorted(settled.ids) == sorted(flow.ids("a", "b", "c"))
    assert (await states(clock, flow))["c"] == AVAILABLE
    assert await complaints(clock) == {}


async def test_a_gated_step_runs_once_its_needs_are_met(clock, claimer, flow):
    await claimer.end_steps(flow, a=DONE, b=DONE, c=GATED)
    other = await Claimer(clock, "node-2").start()

    await other.end_steps(flow, c=DONE)

    assert (await states(clock, flow))["d"] == AVAILABLE
