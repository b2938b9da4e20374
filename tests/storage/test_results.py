"""Results between steps: stored with the ending or before it, read with the claim."""

from __future__ import annotations

import pytest

from tenuto.context import Needs
from tenuto.job import COMPLETED
from tenuto.outcome import DONE, KEPT, Cancel, Discard, Failed, Record, Snooze
from tenuto.storage import reading, store, upkeep, upstream
from tests.storage.build import NOON, SECOND, Claimer, Flow, chain, graph, plain, states


async def result_of(database, flow: Flow, step: str) -> str | None:
    """The stored text of a step's result."""
    found = await database.read(reading.step, flow.id, step)
    assert found is not None
    return found[2]


async def needs_of(claimer: Claimer, flow: Flow, step: str, budget: int = 16_000_000) -> Needs:
    """What a step may read, once claimed."""
    job = await claimer.claimed(flow[step])
    return (await claimer.database.read(upstream.needs, [job], budget=budget))[job.id]


# ── with the ending ───────────────────────────────────────────────────────────────────────────────


async def test_a_result_is_stored_with_the_ending(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, s0=Record({"n": 1}))

    assert await result_of(clock, flow, "s0") == '{"n":1}'


async def test_null_is_a_result_and_nothing_is_none(clock, claimer):
    flow = graph({"null": "", "nothing": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, null=Record(None), nothing=DONE)

    assert await result_of(clock, flow, "null") == "null"
    assert await result_of(clock, flow, "nothing") is None


async def test_a_large_result_in_many_alphabets_comes_back_whole(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    value = 'aß→🎵\n\\"' * 20_000

    await claimer.end_steps(flow, only=Record(value))

    (step,) = await clock.read(reading.steps, flow.id)
    stored = await result_of(clock, flow, "only")
    assert stored is not None
    assert reading._shown(stored) == value
    assert (step["has_result"], step["result"]) == (True, None)  # a list of steps leaves long ones out


async def test_a_short_result_is_shown_with_its_step(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, only=Record(["ü"]))

    (step,) = await clock.read(reading.steps, flow.id)
    assert step["result"] == ["ü"]


async def test_what_is_left_out_of_a_list_of_steps_is_measured_in_bytes(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, only=Record("ü" * 1500))

    (step,) = await clock.read(reading.steps, flow.id)
    assert (step["has_result"], step["result"]) == (True, None)


@pytest.mark.parametrize("outcome", [Cancel("no"), Discard("no"), Snooze(1), Failed(ValueError("oops"))], ids=repr)
async def test_a_step_that_did_not_complete_has_no_result(clock, claimer, outcome):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, only=outcome)

    assert await result_of(clock, flow, "only") is None


# ── before the ending ─────────────────────────────────────────────────────────────────────────────


async def test_a_result_can_be_stored_before_the_ending(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()

    taken = await clock.run(reading.store_result, job, '"early"')

    assert taken
    assert await result_of(clock, flow, "only") == '"early"'


async def test_a_later_result_replaces_an_earlier_one(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()
    await clock.run(reading.store_result, job, '"first"')
    await clock.run(reading.store_result, job, '"second"')
    second = await result_of(clock, flow, "only")

    await claimer.end(job, Record("returned"))

    assert second == '"second"'
    assert await result_of(clock, flow, "only") == '"returned"'


@pytest.mark.parametrize("outcome", [DONE, KEPT], ids=["done", "kept"])
async def test_an_ending_without_a_result_leaves_the_earlier_one(clock, claimer, outcome):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()
    await clock.run(reading.store_result, job, '"early"')

    await claimer.end(job, outcome)

    assert await result_of(clock, flow, "only") == '"early"'


async def test_an_attempt_that_was_taken_back_stores_no_result(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (stale,) = await claimer.claim()
    await clock.run(upkeep.disown, [claimer.id], [])
    await claimer.claim()

    taken = await clock.run(reading.store_result, stale, '"stale"')

    assert not taken
    assert await result_of(clock, flow, "only") is None


async def test_an_attempt_that_ended_stores_no_result(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()
    await claimer.end(job, DONE)

    assert not await clock.run(reading.store_result, job, '"late"')


async def test_a_plain_job_has_no_place_for_a_result(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()

    assert not await clock.run(reading.store_result, job, '"lost"')


# ── with the claim ────────────────────────────────────────────────────────────────────────────────


async def test_the_results_of_direct_deps_are_read_by_name(clock, claimer):
    flow = graph({"a": "", "b": "a", "c": "", "d": "b c"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record(1), c=DONE)
    await claimer.end_steps(flow, b=Record([2]))

    needs = await needs_of(claimer, flow, "d")

    assert needs == Needs(results={"b": "[2]", "c": None})


async def test_a_step_without_deps_that_runs_first_needs_nothing(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)

    assert await clock.read(upstream.needs, await claimer.claim()) == {}


async def test_a_later_attempt_reads_what_an_earlier_one_stored(clock, claimer):
    flow = graph({"only": ""})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()
    await clock.run(reading.store_result, job, '"early"')
    await claimer.end(job, Failed(ValueError("oops")), backoff=0)
    await clock.run(upkeep.stage)

    assert await needs_of(claimer, flow, "only") == Needs(results={}, own='"early"')


async def test_a_later_attempt_reads_its_deps_again(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, s0=Record(1))
    await claimer.end(flow["s1"], Snooze(0))
    await clock.run(upkeep.stage)

    assert await needs_of(claimer, flow, "s1") == Needs(results={"s0": "1"})


async def test_a_need_that_was_forgiven_has_no_result(clock, claimer):
    flow = graph({"a": "", "b": "a"}, forgive={"b": "discarded"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Discard("no"))

    assert await needs_of(claimer, flow, "b") == Needs(results={"a": None})


async def test_a_step_claimed_too_early_sees_how_many_needs_are_unmet(clock, claimer, tables):
    flow = graph({"a": "", "b": "", "c": "a b"})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record(1))
    tables.execute("update jobs set state = 'available', waiting_on = 0 where id = ?", flow["c"].id)

    assert (await needs_of(claimer, flow, "c")).unmet == 1


async def test_results_over_the_budget_are_deferred(clock, claimer):
    flow = graph({"a": "", "b": "", "both": "a b", "none": ""})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record("x" * 50), b=DONE)

    needs = await needs_of(claimer, flow, "both", budget=51)

    assert needs == Needs(results={"a": None, "b": None}, deferred=True)


async def test_results_that_just_fit_the_budget_come_along(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, s0=Record("x" * 50))

    needs = await needs_of(claimer, flow, "s1", budget=52)

    assert needs == Needs(results={"s0": '"' + "x" * 50 + '"'})


async def test_a_budget_is_counted_in_bytes(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, s0=Record("ü" * 50))

    assert (await needs_of(claimer, flow, "s1", budget=101)).deferred
    assert not (await needs_of(claimer, flow, "s1", budget=102)).deferred


async def test_a_result_outlives_its_pruned_job(clock, claimer):
    flow = chain(2)
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, s0=Record("kept"))
    clock.now = NOON + SECOND

    pruned = await clock.run(upkeep.prune_jobs, SECOND)

    assert pruned == 1
    assert await needs_of(claimer, flow, "s1") == Needs(results={"s0": '"kept"'})
    assert (await states(clock, flow))["s0"] == COMPLETED


async def test_many_claimed_steps_are_read_at_once(clock, claimer):
    flow = graph({"a": "", **{f"s{nth}": "a" for nth in range(300)}})
    await clock.run(flow.enqueue)
    await claimer.end_steps(flow, a=Record("shared"))
    jobs = await claimer.claim()

    needs = await clock.read(upstream.needs, jobs)

    assert len(needs) == 300
    assert all(each == Needs(results={"a": '"shared"'}) for each in needs.values())
