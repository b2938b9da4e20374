"""Every verb may die at every boundary between its statements: run again, it leaves the tables as if it had not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tenuto.errors import StorageUnavailable
from tenuto.graph import Growth, Head
from tenuto.job import Job
from tenuto.limits import Limits, Rate
from tenuto.outcome import DONE, GATED, Discard, Outcome, Record, Snooze, settle
from tenuto.storage import append, crons, limited, overdue, signals, steer, store, upkeep, workflows
from tenuto.storage.database import Database, Verb
from tenuto.waits import Waits
from tenuto.workflow import Workflow
from tests.storage.boundaries import Boundary, watched
from tests.storage.build import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    AnyJob,
    Claimer,
    Flow,
    complaints,
    diamond,
    graph,
    grouped,
    new_id,
    plain,
)
from tests.storage.conftest import only_on_postgres
from tests.storage.tables import Row, Tables

Act = partial[Verb[Any]]
Prepare = Callable[[Claimer], Awaitable[Act]]


class Died(Exception):
    """The process ends here: nothing after this point of the verb was done."""


# ── what is cut ───────────────────────────────────────────────────────────────────────────────────
# Each makes its jobs once, so that every run has the same ids; what it gives back prepares one run.


def enqueue() -> Prepare:
    jobs = plain(3)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs[:1])
        return partial(store.enqueue, jobs)

    return prepare


def alike(**options: Any) -> list[AnyJob]:
    """Two jobs of other keys, each time of the same two; the second changes what it meets."""
    kept: dict[str, Any] = {"states": "available executing", "replace": {"available": ["priority"]}}
    return [job.replace(unique_key=json.dumps({"key": f"k{n}", **kept})) for n, job in enumerate(plain(2, **options))]


def enqueue_of_unique_jobs() -> Prepare:
    first, later = alike(), alike(priority=1)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, first[:1])
        return partial(store.enqueue, later)

    return prepare


def retry_of_unique_jobs() -> Prepare:
    jobs = alike()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.database.run(steer.cancel, [job.id for job in jobs])
        return partial(steer.retry, [job.id for job in jobs])

    return prepare


def enqueue_workflow() -> Prepare:
    flow = diamond(name="sync")

    async def prepare(claimer: Claimer) -> Act:
        return partial(flow.enqueue)

    return prepare


def claim_limited() -> Prepare:
    """From two partitions, by all that a queue can say; then nothing more may start."""
    jobs = [job.replace(partition=key) for key in ("a", "b") for job in plain(2)]
    said = Limits(2, Rate(60, per=60), 2, Rate(60, per=60))

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(limited.configure, {"default": said})
        await claimer.database.run(store.enqueue, jobs)
        return partial(limited.claim, "default", 10, claimer.id, claimer.node)

    return prepare


def ack_plain() -> Prepare:
    jobs = plain(2)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        return partial(store.ack, [settle(job, DONE) for job in await claimer.claim()])

    return prepare


def ack_that_releases_cascades_and_finishes() -> Prepare:
    good, bad, last = (
        diamond(),
        graph({"a": "", "b": "a", "c": "b", "d": "c"}, forgive={"d": "cancelled"}),
        graph({"x": ""}),
    )

    async def prepare(claimer: Claimer) -> Act:
        for flow in (good, bad, last):
            await claimer.database.run(flow.enqueue)
        await claimer.claim()
        ended: dict[AnyJob, Outcome] = {good["top"]: Record("found"), bad["a"]: Discard("no"), last["x"]: DONE}
        return partial(store.ack, [settle(claimer.held[job.id], outcome) for job, outcome in ended.items()])

    return prepare


def ack_of_the_last_of_two_parents() -> Prepare:
    flow = graph({"a": "", "b": "", "c": "a b"})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.end_steps(flow, a=Record(1))
        return partial(store.ack, [settle(claimer.held[flow["b"].id], DONE)])

    return prepare


def ack_of_a_step_claimed_too_early() -> Prepare:
    flow = graph({"a": "", "b": "a"})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.claim()
        await claimer.give_back(settle(claimer.held[flow["a"].id], DONE))
        await claimer.claim()
        return partial(store.ack, [settle(claimer.held[flow["b"].id], GATED)])

    return prepare


def ack_whose_cancel_is_told_to_hooks() -> Prepare:
    jobs = plain(2, has_hooks=True)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.claim()
        await claimer.database.run(steer.cancel, [jobs[0].id])
        return partial(store.ack, [settle(claimer.held[job.id], DONE) for job in jobs])

    return prepare


def cancel_that_is_told_to_hooks() -> Prepare:
    flow = diamond(has_hooks=True)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        return partial(steer.cancel, flow.ids("top"))

    return prepare


def rescue() -> Prepare:
    flow, jobs = diamond(), plain(2)

    async def prepare(claimer: Claimer) -> Act:
        database = claimer.database
        await database.run(flow.enqueue)
        await database.run(store.enqueue, jobs)
        await claimer.claim()
        await database.run(steer.cancel, flow.ids("top"))
        database.now = NOON + TTL
        return partial(upkeep.rescue, judge=True)

    return prepare


def rescue_that_discards() -> Prepare:
    flow, deaths = diamond(), [new_id() for _ in range(2)]

    async def prepare(claimer: Claimer) -> Act:
        database = claimer.database
        await database.run(flow.enqueue)
        for id in deaths:
            victim = await Claimer(database, f"node {id}", id=id).start()
            await victim.claim()
            await victim.claim_suspect()
            await victim.die()
            await database.run(upkeep.rescue, judge=False)
        await claimer.claim_suspect()
        await claimer.die()
        return partial(upkeep.rescue, judge=False)

    return prepare


def disown() -> Prepare:
    flow, jobs = diamond(), plain(2)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.database.run(store.enqueue, jobs)
        await claimer.claim()
        await claimer.database.run(steer.cancel, flow.ids("top"))
        return partial(upkeep.disown, [claimer.id], [jobs[0].id])

    return prepare


def resign() -> Prepare:
    jobs = plain(2)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.claim()
        return partial(upkeep.resign, [claimer.id])

    return prepare


def cancel() -> Prepare:
    flow = graph({"a": "", "b": "a", "c": "a", "d": "c", "run": ""}, forgive={"b": "cancelled"})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.claim(2)
        await claimer.give_back(settle(claimer.held[flow["a"].id], Record(1)))
        return partial(steer.cancel, flow.ids("c", "run"))

    return prepare


def retry() -> Prepare:
    flow = graph({"a": "", "b": "a", "c": ""})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.end_steps(flow, a=Discard("no"), c=Record(1))
        return partial(steer.retry, flow.ids("a", "c"))

    return prepare


def delete() -> Prepare:
    flow = graph({"a": "", "b": "a", "c": "a", "d": "c"}, forgive={"b": "deleted"})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        return partial(steer.delete, flow.ids("a"))

    return prepare


def update() -> Prepare:
    jobs = plain(2, meta={"a": 1})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        return partial(steer.update, [job.id for job in jobs], {"meta": {"b": 2}, "schedule_in": SECOND})

    return prepare


def cancel_overdue() -> Prepare:
    flow = graph({"a": "", "b": "a", "c": "b", "d": "b"}, forgive={"d": "cancelled"}, deadline=SECOND)
    jobs = plain(2, deadline=SECOND)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.database.run(store.enqueue, jobs)
        claimer.database.now = NOON + SECOND
        return partial(overdue.cancel_overdue, [flow["b"].id, *(job.id for job in jobs)])

    return prepare


def prune() -> Prepare:
    flow = diamond()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.database.run(steer.cancel, flow.ids())
        claimer.database.now = NOON + DAY
        return partial(upkeep.prune_workflows, DAY)

    return prepare


def cron_fire() -> Prepare:
    jobs = plain(2)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(crons.register, [MINUTELY], [])
        row = (await claimer.database.read(crons.crons))[MINUTELY.name]
        return partial(crons.fire, row, NOON + 2 * MINUTE, jobs)

    return prepare


def cron_answer() -> Prepare:
    (job,) = plain()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(crons.register, [MINUTELY], [])
        await claimer.database.run(crons.ask, MINUTELY.name)
        return partial(crons.answer, MINUTELY.name, job)

    return prepare


MINUTELY = crons.Declared("minutely", "* * * * *", "UTC", "worker", 0)


def enqueue_links() -> Prepare:
    jobs = plain(4, chain_key="a") + plain(2, chain_key="b") + plain(1)

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs[:1])
        return partial(store.enqueue, jobs)

    return prepare


def ack_of_links() -> Prepare:
    keys = ("completed", "held", "alone", "late")
    jobs = [*plain(2, chain_key="completed"), *plain(2, chain_key="held", chain_holds="discarded")]
    jobs += [*plain(1, chain_key="alone"), *plain(2, chain_key="late"), *plain(1)]

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        ended: dict[str | None, Outcome] = {
            **dict.fromkeys([*keys, None], DONE),
            "held": Discard("no"),
            "late": Snooze(5),
        }
        return partial(store.ack, [settle(job, ended[job.chain_key]) for job in await claimer.claim()])

    return prepare


def rescue_of_a_link() -> Prepare:
    jobs = plain(2, chain_key="a") + plain(2, chain_key="b")

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.claim()
        await claimer.database.run(steer.cancel, [jobs[0].id])
        claimer.database.now = NOON + TTL
        return partial(upkeep.rescue, judge=True)

    return prepare


def cancel_links() -> Prepare:
    jobs = plain(3, chain_key="a") + plain(3, chain_key="b", chain_holds="cancelled")

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        return partial(steer.cancel, [jobs[place].id for place in (0, 1, 3)])

    return prepare


def delete_links() -> Prepare:
    jobs = plain(3, chain_key="a") + plain(2, chain_key="b", chain_holds="discarded")

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.end(jobs[3], Discard("no"))
        await claimer.give_back(settle(await claimer.claimed(jobs[0]), Snooze(5)))
        return partial(steer.delete, [jobs[place].id for place in (0, 2, 3)])

    return prepare


def retry_links() -> Prepare:
    jobs = plain(3, chain_key="a") + plain(1, chain_key="b")

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs)
        await claimer.end(jobs[0], Discard("no"))
        await claimer.end(jobs[3], Discard("no"))
        return partial(steer.retry, [jobs[0].id, jobs[3].id])

    return prepare


def prune_chains() -> Prepare:
    jobs = plain(1, chain_key="a") + plain(1, chain_key="b")

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(store.enqueue, jobs[:1])
        await claimer.end(jobs[0], DONE)
        await claimer.database.run(store.enqueue, jobs[1:])
        claimer.database.now = NOON + DAY
        return partial(upkeep.prune_chains, DAY)

    return prepare


def growing() -> tuple[Flow, Growth]:
    """A workflow with a graft that runs, and what that adds: a group, and a step behind it."""
    flow, more = Workflow(on_finished=Job("callback")), Workflow()
    flow.add("join", Job("worker"), deps=flow.add_graft("fan", Job("worker")))
    more.add("last", Job("worker"), deps=more.add_many("in", [Job("worker"), Job("worker")]))
    return grouped(flow), more.growth(Head(flow.id), "fan")


def appended_steps() -> Prepare:
    """Behind one that completed, behind one that was discarded, and an empty group."""
    flow, more = graph({"good": "", "bad": "", "open": ""}), Workflow()
    more.add("begun", Job("worker"), deps=["good", more.add_many("none", [])])
    more.add("ended", Job("worker"), deps="bad")
    growth = more.growth(Head(flow.id))

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.end_steps(flow, good=DONE, bad=Discard("no"))
        return partial(append.append, flow.id, growth)

    return prepare


def graft() -> Prepare:
    flow, growth = growing()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        return partial(append.graft, await claimer.claimed(flow["fan/graft"]), "fan", growth)

    return prepare


def graft_beside_what_is_there() -> Prepare:
    """The group that it adds to had completed, and waits again."""
    flow, growth = growing()
    kept = [place for place, node in enumerate(growth.nodes) if node.name in ("fan/in", "fan/in/0")]
    jobs = [growth.jobs[place].replace(waiting_on=min(growth.jobs[place].waiting_on, 1)) for place in kept]
    needs = [need for need in growth.needs if need.dep == "fan/in/0"]
    first = Growth(jobs, [growth.nodes[place] for place in kept], needs, {"fan/in": True})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        held = await claimer.claimed(flow["fan/graft"])
        await claimer.database.run(append.graft, held, "fan", first)
        await claimer.end(jobs[1], DONE)
        return partial(append.graft, held, "fan", growth)

    return prepare


def cancel_of_a_whole_workflow() -> Prepare:
    flow, _ = growing()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        return partial(workflows.cancel, flow.id, [])

    return prepare


def retry_of_a_whole_workflow() -> Prepare:
    flow, _ = growing()

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.end_steps(flow, **{"fan/graft": Discard("no")})
        return partial(workflows.retry, flow.id, [])

    return prepare


def park() -> Prepare:
    """One that waits, one for which the signal is there, a job, and beside them a step that ends."""
    flow, jobs = graph({"a": "", "b": "", "c": ""}), plain(1)
    ended: dict[str, Outcome] = {"a": Waits({"go": MINUTE}), "b": Waits({"early": None}), "c": DONE}

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.database.run(store.enqueue, jobs)
        await claimer.database.run(signals.send, flow.id, "early", "1")
        acks = [settle(await claimer.claimed(flow[step]), outcome) for step, outcome in ended.items()]
        return partial(store.ack, [*acks, settle(await claimer.claimed(jobs[0]), ended["a"])])

    return prepare


def signal() -> Prepare:
    flow = graph({"a": "", "b": ""})

    async def prepare(claimer: Claimer) -> Act:
        await claimer.database.run(flow.enqueue)
        await claimer.end_steps(flow, a=Waits({"go": None}), b=Waits({"go": MINUTE}))
        return partial(signals.send, flow.id, "go", "1")

    return prepare


ACTS = [
    *(
        enqueue,
        enqueue_of_unique_jobs,
        retry_of_unique_jobs,
        enqueue_workflow,
        claim_limited,
        ack_plain,
        ack_that_releases_cascades_and_finishes,
        ack_of_the_last_of_two_parents,
    ),
    *(ack_of_a_step_claimed_too_early, rescue, rescue_that_discards, disown, resign, cancel, retry, delete, update),
    *(prune, cancel_overdue, cron_fire, cron_answer),
    *(ack_whose_cancel_is_told_to_hooks, cancel_that_is_told_to_hooks),
    *(enqueue_links, ack_of_links, rescue_of_a_link, cancel_links, delete_links, retry_links, prune_chains),
    *(graft, graft_beside_what_is_there, cancel_of_a_whole_workflow, retry_of_a_whole_workflow),
    *(park, signal),
]
each_act = pytest.mark.parametrize("make", ACTS, ids=lambda make: make.__name__)
each_act_or_append = pytest.mark.parametrize("make", [*ACTS, appended_steps], ids=lambda make: make.__name__)


# ── how it is cut ─────────────────────────────────────────────────────────────────────────────────


def struck(act: Act, place: Boundary, blow: Callable[[], object]) -> Verb[Any]:
    """The verb, struck at one boundary."""
    return watched(act(), lambda boundary, _: blow() if boundary == place else None)


class Bench:
    """One verb, prepared and run on tables that were empty before, as often as asked."""

    def __init__(self, database: Database, tables: Tables, prepare: Prepare) -> None:
        self.database = database
        self.tables = tables
        self._prepare = prepare
        self._producer = new_id()

    async def ready(self) -> Act:
        """Everything as it is before the verb."""
        self.tables.clear()
        self.database.now = NOON
        return await self._prepare(await Claimer(self.database, id=self._producer).start())

    async def uncut(self) -> tuple[dict[str, list[Row]], list[Boundary]]:
        """The tables after an undisturbed run, and every boundary it came by."""
        act = await self.ready()
        passed: list[Boundary] = []
        await self.database.run(lambda: watched(act(), lambda boundary, _: passed.append(boundary)))
        assert passed
        return self.tables.all(), passed

    async def again(self, act: Act) -> dict[str, list[Row]]:
        """The tables after the verb was run again."""
        await self.database.run(act)
        return self.tables.all()


@pytest.fixture
def bench(database: Database, tables: Tables, make: Callable[[], Prepare]) -> Bench:
    return Bench(database, tables, make())


def die() -> None:
    raise Died


@each_act_or_append  # an append that is asked for again is told of its own steps: DuplicateStep
async def test_a_verb_that_died_anywhere_leaves_nothing_half_done_and_can_be_run_again(bench: Bench):
    whole, boundaries = await bench.uncut()

    for place in boundaries:
        act = await bench.ready()
        before = bench.tables.all()
        with pytest.raises(Died):
            await bench.database.run(struck, act, place, die)

        assert bench.tables.all() in (before, whole), place
        assert await bench.again(act) == whole, place

    assert await complaints(bench.database) == {}


@each_act
async def test_a_verb_whose_answer_was_lost_can_be_run_again(bench: Bench):
    whole, _ = await bench.uncut()
    act = await bench.ready()
    await bench.database.run(act)

    assert await bench.again(act) == whole


@only_on_postgres
@pytest.mark.parametrize(
    "make",
    [enqueue_workflow, claim_limited, ack_that_releases_cascades_and_finishes, rescue, enqueue_links, ack_of_links],
    ids=lambda make: make.__name__,
)
async def test_a_verb_whose_line_was_cut_anywhere_can_be_run_again_by_another_process(bench: Bench, open_database):
    whole, boundaries = await bench.uncut()

    for place in boundaries:
        act = await bench.ready()
        with pytest.raises(StorageUnavailable):
            await bench.database.run(struck, act, place, partial(cut_line, bench.tables))
        now, bench.database = bench.database.now, await open_database()
        bench.database.now = now
        await bench.database.run(act)

        assert bench.tables.all() == whole, place


def cut_line(tables: Tables) -> None:
    """End every connection but ours, as a server does that is shut down."""
    tables.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
