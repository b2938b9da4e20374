"""Rescue: jobs of dead processes run again, no attempt is spent, and a job that kills is found out."""

from __future__ import annotations

import pytest

from tenuto.answer import Discarded
from tenuto.job import AVAILABLE, CANCELLED, DISCARDED, EXECUTING
from tenuto.outcome import DONE, Snooze
from tenuto.storage import aftermath, relays, steer, store, upkeep
from tests.storage.build import (
    MINUTE,
    NOON,
    SECOND,
    TTL,
    Claimer,
    complaints,
    diamond,
    plain,
    reason,
    states,
    stored,
)


async def die_with(clock, *jobs, claims_all: bool = False) -> upkeep.Rescued:
    """A new process claims these jobs, dies, and is swept. Suspects run only alone unless `claims_all`."""
    node = await Claimer(clock, f"process {clock.now}").start()
    clock.now += SECOND
    if claims_all:
        while await node.claim_suspect():
            pass
    else:
        await node.claim_suspect()
    await node.claim()
    assert {job.id for job in jobs} <= node.held.keys()
    await node.die()
    return await clock.run(upkeep.rescue, judge=True)


async def test_jobs_of_a_lease_that_ended_are_due_again(clock, claimer):
    await clock.run(store.enqueue, plain(2))
    jobs = await claimer.claim()
    clock.now = NOON + TTL

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert (rescued.nodes, sorted(rescued.ids)) == ({"node-1"}, sorted(job.id for job in jobs))
    assert (rescued.discarded, rescued.settled.due) == ([], {"default"})
    assert await clock.read(upkeep.nodes) == []


async def test_jobs_of_a_live_lease_are_left_alone_however_old(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()
    for _ in range(10):
        clock.now += TTL - SECOND
        await clock.run(upkeep.beat, [claimer.id], TTL, "{}")

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert (rescued.nodes, rescued.ids) == (set(), [])
    assert (await stored(clock, job)).state is EXECUTING


async def test_a_rescue_costs_no_attempt(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    await die_with(clock, job)

    after = await stored(clock, job)
    assert (after.state, after.attempt, after.rescues, after.suspicions) == (AVAILABLE, 0, 1, 1)
    assert after.errors == ()


async def test_a_rescued_attempt_settles_nothing_more(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()
    clock.now = NOON + TTL
    await clock.run(upkeep.rescue, judge=True)

    settled = await claimer.end(job, DONE)

    assert settled.ids == []
    assert (await stored(clock, job)).state is AVAILABLE


async def test_an_attempt_may_settle_after_its_lease_until_it_is_rescued(clock, claimer):
    await clock.run(store.enqueue, plain())
    (job,) = await claimer.claim()
    clock.now = NOON + TTL + MINUTE

    settled = await claimer.end(job, DONE)
    rescued = await clock.run(upkeep.rescue, judge=True)

    assert settled.ids == [job.id]
    assert rescued.ids == []


async def test_who_may_not_judge_takes_back_only_from_processes_known_to_be_gone(clock, claimer):
    await clock.run(store.enqueue, plain(2))
    (slow,) = await claimer.claim(1)
    gone = await Claimer(clock, "node-2").start()
    (lost,) = await gone.claim(1)
    await clock.run(upkeep.expire, [gone.id])
    clock.now = NOON + TTL + MINUTE

    rescued = await clock.run(upkeep.rescue, judge=False)

    assert (rescued.nodes, rescued.ids) == ({"node-2"}, [lost.id])
    assert (await stored(clock, slow)).state is EXECUTING


async def test_jobs_held_by_nobody_are_taken_back(clock, claimer, tables):
    await clock.run(store.enqueue, plain())
    (stray,) = await claimer.claim()
    tables.execute("delete from producers")

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert rescued.ids == [stray.id]
    assert (await stored(clock, stray)).state is AVAILABLE


async def test_a_sweep_with_nothing_to_do_changes_nothing(clock, claimer, tables):
    await clock.run(store.enqueue, plain())
    before = tables.all()

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert rescued == upkeep.Rescued(set(), [], [], aftermath.Settled([], set(), []))
    assert tables.all() == before


async def test_a_node_of_several_queues_is_swept_whole(clock, claimer):
    mail = await Claimer(clock, claimer.node, "mail").start()
    await clock.run(store.enqueue, [*plain(), *plain(queue="mail")])
    await claimer.claim()
    await mail.claim()
    clock.now = NOON + TTL

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert len(rescued.ids) == 2
    assert rescued.settled.due == {"default", "mail"}


async def test_what_an_operator_cancelled_is_cancelled_by_its_rescue(clock, claimer):
    flow = diamond()
    await clock.run(flow.enqueue)
    await claimer.claim()
    await clock.run(steer.cancel, flow.ids("top"))
    clock.now = NOON + TTL

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert rescued.discarded == []
    assert set((await states(clock, flow)).values()) == {CANCELLED}
    assert await reason(clock, flow["top"]) == "cancelled by an operator"
    assert [finished.id for finished in rescued.settled.finished] == [flow.id]
    assert await complaints(clock) == {}


# ── poison ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_third_death_of_the_only_suspect_discards_it(clock):
    (poison,) = await clock.run(store.enqueue, plain())

    deaths = [await die_with(clock, poison) for _ in range(3)]

    assert [rescued.discarded for rescued in deaths] == [[], [], [poison.id]]
    after = await stored(clock, poison)
    assert (after.state, after.attempt, after.suspicions) == (DISCARDED, 0, 3)
    assert after.errors[-1].type == "Poisoned"


async def test_who_awaits_it_is_told_that_it_was_discarded_and_why(clock):
    (poison,) = await clock.run(store.enqueue, [job.replace(awaited=True) for job in plain()])
    for _ in range(3):
        await die_with(clock, poison)

    kept = (await clock.read(relays.kept, [poison.id]))[poison.id]
    assert kept.is_answer(with_retries=False)
    for with_retries in (False, True):
        answer = kept.read(with_retries=with_retries)
        assert isinstance(answer, Discarded)
        assert answer.error.type == "Poisoned"


async def test_its_neighbours_are_innocent(clock):
    (poison,) = await clock.run(store.enqueue, plain())
    for _ in range(2):
        await die_with(clock, poison)
    (neighbour,) = await clock.run(store.enqueue, plain())

    await die_with(clock, poison, neighbour)

    assert (await stored(clock, poison)).state is DISCARDED
    assert (await stored(clock, neighbour)).state is AVAILABLE


async def test_beside_another_suspect_nobody_is_discarded(clock):
    first, second = await clock.run(store.enqueue, plain(2))

    for _ in range(4):
        await die_with(clock, first, second, claims_all=True)

    assert [(await stored(clock, job)).state for job in (first, second)] == [AVAILABLE, AVAILABLE]
    assert (await stored(clock, first)).suspicions == 4


async def test_suspects_of_other_processes_do_not_count(clock):
    first, second = await clock.run(store.enqueue, plain(2))
    for _ in range(2):
        await die_with(clock, first, second, claims_all=True)
    one, other = [await Claimer(clock, name).start() for name in ("one", "other")]
    await one.claim_suspect()
    await other.claim_suspect()
    await one.die()
    await other.die()

    rescued = await clock.run(upkeep.rescue, judge=True)

    assert sorted(rescued.discarded) == sorted([first.id, second.id])


async def test_a_normal_settling_clears_the_suspicion(clock):
    (job,) = await clock.run(store.enqueue, plain())
    for _ in range(2):
        await die_with(clock, job)
    node = await Claimer(clock, "calm").start()
    await node.claim_suspect()

    await node.end(job, Snooze(0))
    await clock.run(upkeep.stage)
    await die_with(clock, job)

    after = await stored(clock, job)
    assert (after.state, after.suspicions) == (AVAILABLE, 1)


async def test_a_poisoned_step_cancels_those_behind_it(clock):
    flow = diamond()
    await clock.run(flow.enqueue)

    for _ in range(3):
        last = await die_with(clock, flow["top"])

    assert last.discarded == flow.ids("top")
    assert await states(clock, flow) == {
        "top": DISCARDED,
        "left": CANCELLED,
        "right": CANCELLED,
        "bottom": CANCELLED,
    }
    assert [finished.outcome for finished in last.settled.finished] == ["failed"]
    assert await complaints(clock) == {}


@pytest.mark.parametrize("deaths", [1, 2])
async def test_a_suspect_gets_another_chance(clock, deaths):
    (job,) = await clock.run(store.enqueue, plain())
    for _ in range(deaths):
        await die_with(clock, job)
    node = await Claimer(clock, "calm").start()

    (suspect,) = await node.claim_suspect()
    await node.end(suspect, DONE)

    assert suspect.suspicions == deaths
    assert (await stored(clock, job)).suspicions == 0
