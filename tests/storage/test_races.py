"""Several databases at once on the same tables: nothing is done twice, nothing is forgotten, nobody is told to wait."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import islice
from typing import Any, TypeVar

import pytest

from tenuto import telemetry
from tenuto.errors import StorageBusy
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, EXECUTING
from tenuto.outcome import DONE, GATED, RELEASED, Cancel, Discard, Failed, Outcome, Record, Snooze, settle
from tenuto.storage import aftermath, reading, steer, store, upkeep
from tenuto.storage.database import Database, LostRace, Verb, call
from tests.kit import eventually
from tests.storage.boundaries import Boundary, watched
from tests.storage.build import (
    MINUTE,
    NOON,
    Claimer,
    Flow,
    complaints,
    fan_in,
    graph,
    is_stored,
    plain,
    states,
    stored,
    workflow_of,
)
from tests.storage.conftest import only_on_postgres, only_on_sqlite
from tests.storage.tables import Tables

LAST_STEPS = 100  # times the two last steps of a workflow do
PAIRS = 1000  # times two parents settle at the same instant
TOGETHER = 5  # of these pairs in one batch
AT_ONCE = 20  # such races under way at the same time
ENQUEUERS = 64
TURNS = 60  # of each of those who tangle
NEIGHBOURS = {"enqueue": 4, "work": 2}
JOBS_EACH = 250
LONG = "10s"  # an ack waits for rows: to stand in line behind others is no deadlock, which takes a second to be found

T = TypeVar("T")
Pair = tuple[Database, Database]


@pytest.fixture
async def pair(database: Database, open_database) -> Pair:
    """Two databases on the same tables."""
    return database, await open_database()


@contextmanager
def lost_races() -> Iterator[list[object]]:
    """Every race that was lost and run again meanwhile."""
    lost: list[object] = []

    def keep(event: str, payload: Mapping[str, Any]) -> None:
        if event == "storage.retry":
            lost.append(payload["error"])

    telemetry.attach(keep)
    try:
        yield lost
    finally:
        telemetry.detach(keep)


# ── one child, two parents ────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
async def test_two_parents_that_settle_at_the_same_instant_release_their_child_once(pair: Pair):
    ours, theirs = pair
    flows = [_pairs(PAIRS // AT_ONCE) for _ in range(AT_ONCE)]
    for flow in flows:
        await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start(10 * MINUTE)
    await claimer.claim(2 * PAIRS)

    async def race(flow: Flow, pairs: range) -> None:
        lefts, rights = (
            [settle(claimer.held[flow[f"{side}{nth}"].id], Record(side)) for nth in pairs] for side in ("left", "right")
        )
        await asyncio.gather(ours.run(store.ack, lefts), theirs.run(store.ack, rights))

    batches = [range(nth, nth + TOGETHER) for nth in range(0, PAIRS // AT_ONCE, TOGETHER)]
    await _a_few_at_a_time(race(flow, pairs) for pairs in batches for flow in flows)

    ended = [state for flow in flows for state in (await states(ours, flow)).values()]
    assert Counter(ended) == {COMPLETED: 2 * PAIRS, AVAILABLE: PAIRS}
    assert len({job.id for job in await claimer.claim(2 * PAIRS)}) == PAIRS
    assert await complaints(ours) == {}


@pytest.mark.timeout(120)
async def test_two_last_steps_that_settle_at_the_same_instant_finish_their_workflow_once(pair: Pair):
    ours, theirs = pair
    flows = [graph({"left": "", "right": ""}) for _ in range(LAST_STEPS)]
    for flow in flows:
        await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start(10 * MINUTE)
    await claimer.claim(2 * LAST_STEPS)
    told: Counter[str] = Counter()

    async def race(flow: Flow) -> None:
        left, right = (settle(claimer.held[flow[step].id], DONE) for step in ("left", "right"))
        for settled in await asyncio.gather(ours.run(store.ack, [left]), theirs.run(store.ack, [right])):
            told.update(finished.id for finished in settled.finished)

    await _a_few_at_a_time(race(flow) for flow in flows)

    assert told == Counter(flow.id for flow in flows)
    assert {(await workflow_of(ours, flow)).state for flow in flows} == {"finished"}


def _pairs(count: int) -> Flow:
    """So many steps with two needs each."""
    return graph(
        {f"{side}{nth}": "" for nth in range(count) for side in ("left", "right")}
        | {f"child{nth}": f"left{nth} right{nth}" for nth in range(count)}
    )


async def _a_few_at_a_time(races: Iterable[Awaitable[Any]]) -> list[Any]:
    """What each of them came to, in their order."""
    answers: list[Any] = []
    races = iter(races)
    while some := list(islice(races, AT_ONCE)):
        answers += await asyncio.gather(*some)
    return answers


async def test_a_good_and_a_bad_ending_at_the_same_instant_cancel_their_child_once(pair: Pair):
    ours, theirs = pair
    flows = [fan_in(2) for _ in range(60)]
    for flow in flows:
        await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start(10 * MINUTE)
    await claimer.claim()

    async def race(flow: Flow) -> list[aftermath.Finished]:
        good = settle(claimer.held[flow["p0"].id], DONE)
        bad = settle(claimer.held[flow["p1"].id], Discard("no"))
        answers = await asyncio.gather(ours.run(store.ack, [good]), theirs.run(store.ack, [bad]))
        return [finished for settled in answers for finished in settled.finished]

    told = await _a_few_at_a_time(map(race, flows))

    assert [[finished.id for finished in each] for each in told] == [[flow.id] for flow in flows]
    assert {(await states(ours, flow))["join"] for flow in flows} == {CANCELLED}


async def test_a_cancel_and_an_ending_at_the_same_instant_agree(pair: Pair):
    ours, theirs = pair
    flows = [graph({"a": "", "b": "a", "c": "b"}) for _ in range(60)]
    for flow in flows:
        await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start(10 * MINUTE)
    await claimer.claim()

    async def race(flow: Flow) -> dict[str, str]:
        done = settle(claimer.held[flow["a"].id], DONE)
        await asyncio.gather(ours.run(store.ack, [done]), theirs.run(steer.cancel, flow.ids("a")))
        return await states(ours, flow)

    ended = await _a_few_at_a_time(map(race, flows))

    assert {(flow["a"], flow["b"], flow["c"]) for flow in ended} <= {
        (COMPLETED, AVAILABLE, "suspended"),
        (CANCELLED, CANCELLED, CANCELLED),
    }
    assert await complaints(ours) == {}


# ── many workflows in each batch ──────────────────────────────────────────────────────────────────


async def test_batches_across_the_same_workflows_wait_for_each_other_in_one_order(pair: Pair, open_database):
    databases = [*pair, await open_database()]
    flows = [graph({f"s{nth}": "" for nth in range(12)}) for _ in range(30)]
    for flow in flows:
        await databases[0].run(flow.enqueue)
    claimer = await Claimer(databases[0]).start(10 * MINUTE)
    await claimer.claim()

    async def finish(database: Database, steps: Sequence[str]) -> None:
        for step in steps:
            jobs = [claimer.held[flow[step].id] for flow in random.sample(flows, len(flows))]
            await database.run(store.ack, [settle(job, DONE) for job in jobs], LONG)

    with lost_races() as lost:
        await asyncio.gather(
            *[finish(database, [f"s{nth}" for nth in range(start, 12, 3)]) for start, database in enumerate(databases)]
        )

    assert lost == []
    assert {(await workflow_of(databases[0], flow)).state for flow in flows} == {"finished"}


# ── everybody at everything ───────────────────────────────────────────────────────────────────────


class Tangle:
    """Workflows that several databases settle, cancel, retry, delete and rescue at random, all at once."""

    OUTCOMES: tuple[Outcome, ...] = (
        DONE,
        DONE,
        DONE,
        Discard("no"),
        Cancel("no"),
        Snooze(0),
        Failed(ValueError("oops")),
        RELEASED,
    )

    def __init__(self, databases: Sequence[Database]) -> None:
        self.databases = databases
        self.flows = [self._flow() for _ in range(6)]
        self.ids = [id for flow in self.flows for id in flow.ids()]

    def _flow(self) -> Flow:
        names = [f"s{nth}" for nth in range(12)]
        deps = {name: " ".join(random.sample(names[:nth], min(nth, 2))) for nth, name in enumerate(names)}
        return graph(deps, forgive=dict.fromkeys(names[::4], "cancelled deleted"))

    async def run(self) -> None:
        for flow in self.flows:
            await self.databases[0].run(flow.enqueue)
        await asyncio.gather(
            *[self._work(database, f"node-{nth}") for nth, database in enumerate(self.databases)],
            *[self._steer(database) for database in self.databases],
            self._sweep(self.databases[0]),
        )

    async def _work(self, database: Database, node: str) -> None:
        claimer = await Claimer(database, node).start(10 * MINUTE)
        for turn in range(TURNS):
            jobs = [*await claimer.claim(4), *await claimer.claim_suspect()]
            await database.run(upkeep.stage)
            if turn % 10 == 9:
                await claimer.die()
                claimer = await Claimer(database, node).start(10 * MINUTE)
            acks = [settle(job, random.choice(self.OUTCOMES), backoff=0) for job in jobs]
            await database.run(store.ack, acks, LONG)

    async def _steer(self, database: Database) -> None:
        verbs: list[tuple[Callable[..., Verb[Any]], dict[str, Any]]] = [
            *[(steer.cancel, {})] * 4,
            *[(steer.retry, {"strict": False})] * 6,
            (steer.delete, {}),
        ]
        for _ in range(TURNS):
            verb, options = random.choice(verbs)
            await database.run(verb, random.sample(self.ids, 3), **options)

    async def _sweep(self, database: Database) -> None:
        for _ in range(TURNS // 2):
            await database.run(upkeep.rescue, judge=True)


@pytest.mark.timeout(120)
async def test_whatever_is_done_to_a_graph_at_once_leaves_it_in_order(pair: Pair, open_database):
    tangle = Tangle([*pair, await open_database()])

    with lost_races() as lost:
        await tangle.run()

    assert lost == []
    assert await complaints(pair[0]) == {}


async def test_a_tangle_can_be_worked_off_to_its_end(pair: Pair):
    tangle = Tangle(pair)
    await tangle.run()
    ours, _ = pair
    await ours.run(steer.cancel, tangle.ids)
    await ours.run(upkeep.resign, [seen.id for seen in await ours.read(upkeep.nodes)])
    await ours.run(upkeep.rescue, judge=True)

    assert {(await workflow_of(ours, flow)).state for flow in tangle.flows} == {"finished"}
    assert await complaints(ours) == {}


# ── one id, many hands ────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_many_enqueue_at_once_is_stored_once(pair: Pair, tables):
    (job,) = plain()

    answers = await asyncio.gather(*[pair[nth % 2].run(store.enqueue, [job]) for nth in range(ENQUEUERS)])

    assert Counter(stored.existing for (stored,) in answers) == {False: 1, True: ENQUEUERS - 1}
    assert len(tables.rows("select id from jobs")) == 1


async def test_a_workflow_that_many_enqueue_at_once_is_stored_once(pair: Pair, tables):
    flow = fan_in(3)

    answers = await asyncio.gather(*[pair[nth % 2].run(flow.enqueue) for nth in range(ENQUEUERS)])

    assert Counter(all(job.existing for job in jobs) for jobs in answers) == {False: 1, True: ENQUEUERS - 1}
    assert len(tables.rows("select job_id from edges")) == 3


async def test_batches_that_share_their_jobs_in_opposite_orders_are_all_stored(pair: Pair, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 10)
    ours, theirs = pair
    jobs = plain(200)

    with lost_races() as lost:
        first, second = await asyncio.gather(ours.run(store.enqueue, jobs), theirs.run(store.enqueue, jobs[::-1]))

    assert lost == []
    assert [job.id for job in first] == [job.id for job in second[::-1]] == [job.id for job in jobs]
    assert sum(not job.existing for job in (*first, *second)) == 200


async def test_batches_of_the_same_keys_in_opposite_orders_are_all_stored(pair: Pair, tables):
    ours, theirs = pair
    keys = [json.dumps({"key": f"{nth:04}", "states": "available"}) for nth in range(3000)]
    jobs, others = (
        [job.replace(unique_key=key) for job, key in zip(plain(3000), each, strict=True)] for each in (keys, keys[::-1])
    )

    with lost_races() as lost:
        first, second = await asyncio.gather(ours.run(store.enqueue, jobs), theirs.run(store.enqueue, others))

    assert lost == []
    assert [job.id for job in first] == [job.id for job in second[::-1]]
    assert len(tables.rows("select id from jobs")) == 3000


# ── between two statements ────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def paused(database: Database, behind: str, verb: Callable[..., Verb[T]], *args: Any) -> AsyncIterator[None]:
    """A verb on a line of its own, which stands still once the statement `behind` has answered, until the end."""
    reached, goes_on = threading.Event(), threading.Event()

    def look(at: Boundary, name: str) -> None:
        if at.has_rows and name == behind:
            reached.set()
            assert goes_on.wait(30)

    def run() -> None:
        with closing(database.blocking()) as line:
            line.run(lambda: watched(verb(*args), look))

    running = asyncio.create_task(asyncio.to_thread(run))
    assert await asyncio.to_thread(reached.wait, 30)
    try:
        yield
    finally:
        goes_on.set()
        await running


def somebody_waits(tables: Tables) -> bool:
    """Whether a statement waits for a lock."""
    waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(tables.rows(waits))


@only_on_postgres
async def test_a_step_is_not_gated_for_ever_while_its_last_need_is_being_met(pair: Pair, tables):
    ours, theirs = pair
    flow = graph({"a": "", "b": "a"})
    await ours.run(flow.enqueue)
    tables.execute("update jobs set state = 'available', waiting_on = 0 where workflow_id = ?", flow.id)
    claimer = await Claimer(ours).start()
    await claimer.claim()
    done, gated = settle(claimer.held[flow["a"].id], DONE), settle(claimer.held[flow["b"].id], GATED)

    async with paused(ours, "release", store.ack, [done]):
        gating = asyncio.create_task(theirs.run(store.ack, [gated]))
        await eventually(lambda: somebody_waits(tables))
    await gating

    assert await states(ours, flow) == {"a": COMPLETED, "b": AVAILABLE}
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["reach", "ack", "settle_nodes", "meet", "release", "settle_workflows"])
async def test_a_parent_that_stands_still_anywhere_does_not_hide_from_the_other(pair: Pair, tables, behind):
    ours, theirs = pair
    flow = fan_in(2)
    await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start()
    await claimer.claim()
    first, second = (settle(claimer.held[flow[step].id], DONE) for step in ("p0", "p1"))

    async with paused(ours, behind, store.ack, [first]):
        settling = asyncio.create_task(theirs.run(store.ack, [second]))
        await eventually(lambda: somebody_waits(tables))
    await settling

    assert (await states(ours, flow))["join"] == AVAILABLE
    assert await complaints(ours) == {}


@only_on_postgres
@pytest.mark.parametrize("behind", ["reach", "ack", "cascade", "settle_nodes", "settle_workflows"])
async def test_a_cascade_that_stands_still_anywhere_does_not_hide_from_a_completion(pair: Pair, tables, behind):
    ours, theirs = pair
    flow = graph({"bad": "", "good": "", "join": "bad good", "end": "join"})
    await ours.run(flow.enqueue)
    claimer = await Claimer(ours).start()
    await claimer.claim()
    bad, good = settle(claimer.held[flow["bad"].id], Discard("no")), settle(claimer.held[flow["good"].id], DONE)

    async with paused(ours, behind, store.ack, [bad]):
        settling = asyncio.create_task(theirs.run(store.ack, [good]))
        await eventually(lambda: somebody_waits(tables))
    settled = await settling

    assert settled.due == set()
    assert (await workflow_of(ours, flow)).state == "finished"
    assert await complaints(ours) == {}


def meanwhile(verb: Callable[..., Verb[T]], behind: str, act: Callable[[], object]) -> Callable[..., Verb[T]]:
    """The verb, with something done by others once the statement `behind` has answered."""

    def disturbed(*args: Any, **kwargs: Any) -> Verb[T]:
        return watched(verb(*args, **kwargs), lambda at, name: act() if at.has_rows and name == behind else None)

    return disturbed


@only_on_postgres
async def test_a_rescue_leaves_alone_what_the_living_claimed_meanwhile(clock, claimer, tables):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.claim()
    living = await Claimer(clock, "node-2").start()
    await claimer.die()

    def claimed_by_the_living() -> None:
        tables.execute("update jobs set producer_id = ?, epoch = epoch + 2 where id = ?", living.id, job.id)

    rescued = await clock.run(meanwhile(upkeep.rescue, "held", claimed_by_the_living), judge=True)

    after = await stored(clock, job)
    assert rescued.ids == []
    assert (after.state, after.suspicions) == (EXECUTING, 0)


@only_on_postgres
async def test_a_node_gives_back_nothing_that_another_claimed_meanwhile(clock, claimer, tables):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.claim()
    living = await Claimer(clock, "node-2").start()

    def claimed_by_another() -> None:
        tables.execute("update jobs set producer_id = ?, epoch = epoch + 2 where id = ?", living.id, job.id)

    settled = await clock.run(meanwhile(upkeep.disown, "held", claimed_by_another), [claimer.id], [])

    assert settled.ids == []
    assert (await stored(clock, job)).state is EXECUTING


@only_on_postgres
async def test_a_job_that_is_deleted_while_it_is_enqueued_again_is_stored_anew(clock, tables):
    (job,) = plain()
    await clock.run(store.enqueue, [job])
    deletions = iter([lambda: tables.execute("delete from jobs where id = ?", job.id)])

    def deleted_once() -> None:
        next(deletions, lambda: None)()

    (again,) = await clock.run(meanwhile(store.enqueue, "enqueue", deleted_once), [job])

    assert not again.existing
    assert await is_stored(clock, job)


@only_on_postgres
async def test_an_operator_who_cancels_while_an_ending_is_on_its_way_cancels_all_that_is_behind(clock, claimer, tables):
    flow = graph({"a": "", "b": "a", "c": "b", "d": "c"})
    await clock.run(flow.enqueue)
    (job,) = await claimer.claim()

    def told_to_stop() -> None:
        tables.execute("update jobs set cancel_requested_at = ? where id = ?", NOON, job.id)

    def ack(acks: Sequence[Any]) -> Verb[aftermath.Settled]:
        told_to_stop()  # after the batch was made, before its first statement
        return store.ack(acks)

    await clock.run(ack, [settle(job, DONE)])

    assert set((await states(clock, flow)).values()) == {CANCELLED}
    assert await complaints(clock) == {}


async def test_a_race_that_is_lost_again_and_again_is_reported_as_busy(database: Database):
    def never() -> Verb[None]:
        yield call("nodes")
        raise LostRace("deadlock detected")

    with lost_races() as lost, pytest.raises(StorageBusy, match="8 times in a row"):
        await database.run(never)

    assert len(lost) == LostRace.TRIES - 1


# ── processes ─────────────────────────────────────────────────────────────────────────────────────


@only_on_sqlite
@pytest.mark.timeout(120)
async def test_processes_that_share_a_file_never_find_it_locked(database: Database, database_url: str):
    path = database_url.removeprefix("sqlite:///")
    jobs = NEIGHBOURS["enqueue"] * JOBS_EACH
    loads = {"enqueue": JOBS_EACH, "work": jobs}

    neighbours = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.storage.neighbour", path, task, str(loads[task])),
            stderr=asyncio.subprocess.PIPE,
        )
        for task, count in NEIGHBOURS.items()
        for _ in range(count)
    ]
    said = [(await neighbour.communicate())[1].decode() for neighbour in neighbours]

    assert said == [""] * len(neighbours)
    counts = [(count.state, count.jobs) for count in await database.read(reading.counts)]
    assert counts == [(COMPLETED, jobs)]
