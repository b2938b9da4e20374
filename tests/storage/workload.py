"""Every statement of storage, run in batches of a chosen size beside many rows of other jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

from tenuto.errors import WorkflowRunning
from tenuto.graph import Head
from tenuto.job import Job
from tenuto.limits import Limits, Rate
from tenuto.llm.costs import Which
from tenuto.llm.usage import Usage, documents_of
from tenuto.outcome import DONE, GATED, Discard, Outcome, Record, settle
from tenuto.storage import (
    append,
    crons,
    limited,
    overdue,
    reading,
    relays,
    signals,
    steer,
    store,
    upkeep,
    upstream,
    usage,
    workflows,
)
from tenuto.storage.crons import Declared
from tenuto.storage.database import Verb, last
from tenuto.waits import Waits
from tenuto.workflow import Workflow
from tests.storage.build import DAY, NOON, AnyJob, Flow, graph, grouped, new_id
from tests.storage.examine import Examiner

TTL = timedelta(hours=1)
STATES = {
    "completed": 10_000,
    "available": 4_000,
    "scheduled": 2_000,
    "executing": 2_000,
    "discarded": 1_000,
    "retryable": 1_000,
}  # how the crowd's jobs that wait for nothing are spread

SOME_ARE_UNIQUE = """
update {schema}.jobs
set unique_key = id, unique_held = not unique_held, unique_states = 'available completed', unique_until = scheduled_at
where state in ('available', 'completed') and queue < 'crowd15'
"""
ONE_STEP_EACH = (
    "update {schema}.jobs set workflow_id = id",
    """
    insert into {schema}.workflows (id, name, state, steps, unfinished, inserted_at)
    select id, 'crowd', 'running', 1, 1, inserted_at from {schema}.jobs
    """,
    """
    insert into {schema}.workflow_nodes (
        workflow_id, name, job_id, position, worker, deps, ignore_cancelled, ignore_discarded, ignore_deleted)
    select id, 'only', id, 0, worker, '[]', has_needs, has_needs, has_needs from {schema}.jobs
    """,
)

A_WORD_FOR_EACH = """
    insert into {schema}.hook_outbox (worker, at, job_id, state, reason)
    select worker, inserted_at, id, 'cancelled', 'operator' from {schema}.jobs
    """

SIGNALS_OF_EACH = (
    """
    insert into {schema}.signals (owner_id, name, value, sent_at)
    select id, 'crowd', '1', inserted_at from {schema}.jobs
    """,
    """
    insert into {schema}.signal_waits (job_id, name, owner_id, epoch, deadline_at)
    select id, 'crowd', id, 0, inserted_at from {schema}.jobs
    """,
)

SOME_TOKENS_EACH = (
    """
    insert into {schema}.usage (
        id, job_id, worker, attempt, model, input_tokens, output_tokens, cached_tokens, at, workflow_id)
    select id, id, worker, 1, 'm', 1, 2, 3, inserted_at, id from {schema}.jobs
    """,
    """
    insert into {schema}.debug_log (id, workflow_id, step, job_id, worker, attempt, kind, content, size, at)
    select id, id, 'only', id, worker, 1, 'request', 'null', 4, inserted_at from {schema}.jobs
    """,
)


def crowd(examiner: Examiner) -> None:
    """Fill the tables with 40,000 jobs of others, each of them a step, and tell the planner."""
    producers = [new_id() for _ in range(1_000)]
    examiner.fill(upkeep.register, [_producer(id, "crowd") for id in producers], TTL)
    jobs = [Job("crowd", {"n": n}, queue=f"crowd{n % 20}") for n in range(sum(STATES.values()))]
    examiner.fill(store.enqueue, jobs)
    for state, count_of in STATES.items():
        ids, jobs = [job.id for job in jobs[:count_of]], jobs[count_of:]
        examiner.change(
            "update {schema}.jobs set state = ?, producer_id = ?, finished_at = scheduled_at where id between ? and ?",
            *(state, producers[0], ids[0], ids[-1]),
        )
    examiner.change(SOME_ARE_UNIQUE)
    for statement in (*ONE_STEP_EACH, *SOME_TOKENS_EACH):
        examiner.change(statement)
    examiner.change(A_WORD_FOR_EACH)
    halves = range(10_000)
    steps = {f"a{n}": "" for n in halves} | {f"b{n}": f"a{n}" for n in halves}
    examiner.fill(graph(steps, queue="crowd").enqueue)
    examiner.fill(store.enqueue, [Job("crowd", queue="crowd", chain_key=f"crowd{n % 2_000}") for n in range(6_000)])
    for statement in SIGNALS_OF_EACH:
        examiner.change(statement)
    for n in range(200):
        examiner.fill(upkeep.lease, f"crowd{n}", "node", TTL)
        examiner.fill(steer.set_queue, f"crowd{n}", paused=True)
    examiner.fill(crons.register, [_declared(f"crowd{n}") for n in range(1_000)], [])
    examiner.fill(limited.configure, {f"crowd{n}": Limits(1) for n in range(1_000)})
    examiner.fill(spend_rates, "crowd", [{"key": str(n), "cost": 10**9} for n in range(4_000)])
    examiner.analyse()


def _declared(name: str) -> Declared:
    return Declared(name, "* * * * *", "UTC", "w", 0)


def _producer(id: str, node: str, queue: str = "default") -> upkeep.Producer:
    return upkeep.Producer(id, node, queue, 1, "[]", None, None, None)


def spend_rates(queue: str, costs: list[dict[str, Any]]) -> Verb[None]:
    """Take tokens of partitions."""
    yield last("spend_rates", queue=queue, costs=costs, most_debt=10**10)


class Work:
    """One node that does everything there is to do, in batches."""

    def __init__(self, examiner: Examiner, batch: int) -> None:
        self.examiner = examiner
        self.batch = batch
        self._queues: Iterator[str] = (f"work{n}" for n in count())

    def everything(self) -> None:
        """Run every verb."""
        self.plain()
        self.behind()
        self.limited()
        parts = (
            self.release,
            self.groups,
            self.many_workflows,
            self.cascade,
            self.gate,
            self.steer,
            self.hooks,
            self.unique,
        )
        for part in (*parts, self.whole, self.relays, self.signals, self.upkeep, self.cron, self.deadlines):
            part()
        self.chains()
        self.rescue()
        self.models()
        self.prune()
        self.read()

    def plain(self) -> None:
        """Plain jobs: enqueued, claimed, given back."""
        queue = next(self._queues)
        self.examiner.run(store.enqueue, [Job("w", {"n": n}, queue=queue) for n in range(self.batch)])
        self._ack(self._claim(queue), DONE)

    def behind(self) -> None:
        """Jobs of two priorities, claimed behind a place in one of them."""
        queue = next(self._queues)
        self.examiner.run(store.enqueue, [Job("w", {"n": n}, queue=queue, priority=n % 2) for n in range(self.batch)])
        self._ack(self._claim(queue, behind={0: (NOON - DAY, new_id())}), DONE)

    def unique(self) -> None:
        """Unique jobs, and as many that are alike and change the first ones."""
        queue, first, period = next(self._queues), new_id(), 10**15
        for meta in ({}, {"by": "another"}):
            keys = [
                {
                    "key": f"{first}{n}",
                    "states": "available executing",
                    "period": period,
                    "replace": {"available": ["meta"]},
                }
                for n in range(self.batch)
            ]
            jobs = [Job("w", queue=queue, meta=meta).replace(unique_key=json.dumps(key)) for key in keys]
            self.examiner.run(store.enqueue, jobs)
        self._ack(self._claim(queue), DONE)

    def limited(self) -> None:
        """Jobs of many partitions and of none, claimed as the limits of their queue allow."""
        queue, jobs = next(self._queues), self._partitioned
        said = Limits(2 * self.batch, Rate(10**5, per=1), self.batch, Rate(10**5, per=1))
        self.examiner.run(limited.configure, {queue: said})
        self.examiner.run(limited.ask, queue, {"limit": 3 * self.batch})
        self.examiner.run(limited.forget, queue)
        self.examiner.run(store.enqueue, jobs(queue, 10))
        claimed = self._claim_limited(queue)
        self.examiner.run(store.enqueue, jobs(queue, self.batch))
        self._ack([*claimed, *self._claim_limited(queue)], DONE)
        self._paced()
        self.examiner.run(limited.limits)
        self.examiner.run(limited.prune_rates)

    def _paced(self) -> None:
        """As many partitions as the batch has jobs, each of which has started one and has no token for the other."""
        queue = f"paced{self.batch}"  # nobody else's: its buckets stay empty
        self.examiner.run(limited.configure, {queue: Limits(partition_rate=Rate(1, per=TTL))})
        for _ in range(2):
            self.examiner.run(store.enqueue, self._partitioned(queue, self.batch))
        assert len(self._claim_limited(queue)) >= self.batch * 9 // 10
        assert self._claim_limited(queue) == []

    def _partitioned(self, queue: str, partitions: int) -> list[AnyJob]:
        """A batch of jobs of so many partitions, and some of none."""
        jobs = [Job("w", {"n": n}, queue=queue) for n in range(self.batch)]
        return [job.replace(partition=f"{n % partitions:x}" if n % 10 else None) for n, job in enumerate(jobs)]

    def _claim_limited(self, queue: str, *, suspect: bool = False) -> list[AnyJob]:
        self.producer = new_id()
        self.examiner.run(upkeep.register, [_producer(self.producer, "node", queue)], TTL)
        if suspect:
            return list(self.examiner.run(limited.claim_suspect, queue, self.producer, "node"))
        return list(self.examiner.run(limited.claim, queue, self.batch + 1, self.producer, "node").jobs)

    def release(self) -> None:
        """A workflow as wide as the batch: each step releases one, and all of them a join."""
        steps = range(self.batch)
        deps = (
            {f"p{n}": "" for n in steps} | {f"c{n}": f"p{n}" for n in steps} | {"z": " ".join(f"p{n}" for n in steps)}
        )
        flow = self._flow(deps)
        jobs = self._claim(flow["p0"].queue)
        self.examiner.run(reading.store_result, jobs[0], '"early"')
        self._ack(jobs, Record("result"))
        behind = self._claim(flow["p0"].queue)
        self.examiner.run(upstream.needs, behind)
        self._ack(behind, DONE)

    def groups(self) -> None:
        """As many groups as the batch has jobs, each in another one, with a step behind it; a member runs again."""
        queue, flow = next(self._queues), Workflow()
        for n in range(self.batch):
            inner = Workflow()
            inner.add_many("in", [Job("w", queue=queue)])
            flow.add(f"z{n}", Job("w", queue=queue), deps=flow.add_workflow(f"g{n}", inner))
        self.examiner.run(grouped(flow).enqueue)
        jobs = self._claim(queue)
        self._ack(jobs, DONE)
        self.examiner.run(upstream.needs, self._claim(queue))
        self.examiner.run(steer.retry, [job.id for job in jobs])
        more = Workflow()
        for n in range(self.batch):
            more.add(f"more{n}", Job("w", queue=queue), deps=f"g{n}/in/0")
        self.examiner.run(append.append, flow.id, more.growth(Head(flow.id)))

    def many_workflows(self) -> None:
        """As many workflows as the batch has jobs, finished by one ack."""
        queue = next(self._queues)
        for _ in range(self.batch):
            self.examiner.fill(graph({"only": ""}, queue=queue).enqueue)
        self._ack(self._claim(queue), DONE)

    def cascade(self) -> None:
        """Each job of the batch fails, with two steps behind it."""
        deps: dict[str, str] = {}
        for n in range(self.batch):
            deps |= {f"a{n}": "", f"b{n}": f"a{n}", f"c{n}": f"b{n}"}
        flow = self._flow(deps)
        self._ack(self._claim(flow["a0"].queue), Discard("no"))
        roots = flow.ids(*[f"a{n}" for n in range(self.batch)])
        self.examiner.run(steer.retry, roots)

    def gate(self) -> None:
        """Each job of the batch was claimed too early."""
        flow = self._flow({"a": "", **{f"b{n}": "a" for n in range(self.batch)}})
        self.examiner.change(
            "update {schema}.jobs set state = 'available', waiting_on = 0 where workflow_id = ?", flow.id
        )
        jobs = [job for job in self._claim(flow["a"].queue) if job.id != flow["a"].id]
        self._ack(jobs, GATED)

    def chains(self) -> None:
        """As many chains as the batch has jobs, with two links each: both end, and one runs again."""
        queue = next(self._queues)
        keys = [f"{queue}.{n}" for n in range(self.batch)]
        self.examiner.run(store.enqueue, [Job("w", queue=queue, chain_key=key) for key in 2 * keys])
        self._ack(self._claim(queue), DONE)
        jobs = self._claim(queue)
        self._ack(jobs, Discard("no"))
        self.examiner.run(steer.retry, [job.id for job in jobs])

    def steer(self) -> None:
        """What an operator does to a batch."""
        queue = next(self._queues)
        jobs = self.examiner.run(store.enqueue, [Job("w", {"n": n}, queue=queue) for n in range(self.batch)])
        ids = [job.id for job in jobs]
        self.examiner.run(store.enqueue, jobs)
        self.examiner.run(steer.update, ids, {"schedule_in": timedelta(0), "meta": {"by": "me"}})
        self.examiner.run(steer.cancel, ids)
        self.examiner.run(steer.retry, ids)
        self.examiner.run(steer.delete, ids)
        self.examiner.run(steer.match, steer.Filter(worker="crowd"), None)
        self.examiner.run(steer.set_queue, "work", paused=True)

    def whole(self) -> None:
        """A unique workflow as large as the batch, cancelled and retried as a whole, and refused a second time."""
        name = new_id()
        flow, second = (graph({f"g/{n}": "" for n in range(self.batch)}, name=name) for _ in range(2))
        head = Head(flow.id, name, Job("w"), "{}", is_unique=True)
        self.examiner.run(store.enqueue_workflow, head, list(flow.jobs.values()), flow.nodes, flow.edges)
        with suppress(WorkflowRunning):
            head = head._replace(id=second.id)
            self.examiner.run(store.enqueue_workflow, head, list(second.jobs.values()), second.nodes, second.edges)
        assert self.examiner.run(reading.context, flow.id) == "{}"
        assert len(self.examiner.run(workflows.cancel, flow.id, []).settled.finished) == 1
        assert len(self.examiner.run(workflows.retry, flow.id, ["g"]).ids) == self.batch
        self.examiner.run(workflows.cancel, flow.id, [f"g/{n}" for n in range(10)])

    def hooks(self) -> None:
        """Others end a batch whose worker wants to hear of it."""
        jobs = self.examiner.run(store.enqueue, [Job("hooked", has_hooks=True) for _ in range(self.batch)])
        self.examiner.run(steer.cancel, [job.id for job in jobs])
        told = self.examiner.run(upkeep.take_hooks, ["hooked", "w"], self.batch)
        assert len(told) == self.batch

    def relays(self) -> None:
        """A batch that is stored already is awaited, and asked for its answers."""
        ids = [job.id for job in self.examiner.run(store.enqueue, [Job("w") for _ in range(self.batch)])]
        self.examiner.run(relays.await_jobs, ids)
        assert len(self.examiner.run(relays.kept, ids)) == self.batch

    def signals(self) -> None:
        """A batch begins to wait for one signal, which comes; others of theirs time out, and all goes with them."""
        flow = self._flow({f"s{n}": "" for n in range(self.batch)})
        self._ack(self._claim(flow["s0"].queue), Waits({"go": None}))
        assert len(self.examiner.run(signals.send, flow.id, "go", "1").settled.ids) == self.batch
        names = [f"late{n}" for n in range(self.batch)]
        self._ack(self._claim(flow["s0"].queue), Waits({name: timedelta(0) for name in names[:100]}))
        self.examiner.run(signals.look, flow["s0"].id, flow.id, names)
        assert self.examiner.run(signals.time_out, flow["s0"].id, flow.id, names[:100]).open == []
        self.examiner.run(signals.waits, flow["s0"].id)
        (alone,) = self.examiner.run(store.enqueue, [Job("w")])
        self.examiner.run(signals.send, alone.id, "go", "1")
        self.examiner.run(signals.forget, [flow.id, alone.id])
        self._ack(self._claim(flow["s0"].queue), DONE)

    def upkeep(self) -> None:
        """Leases, polls and staging."""
        queue = next(self._queues)
        self.examiner.run(store.enqueue, [Job("w", queue=queue, schedule_in=TTL) for _ in range(self.batch)])
        self.examiner.change("update {schema}.jobs set scheduled_at = inserted_at where queue = ?", queue)
        self.examiner.run(upkeep.stage)
        claimed = self._claim(queue)
        self.examiner.run(steer.cancel, [job.id for job in claimed[::2]])
        self.examiner.run(upkeep.poll_signals, [self.producer])
        self.examiner.run(upkeep.poll, "node", [f"crowd{n}" for n in range(10)])
        self.examiner.run(upkeep.disown, [self.producer], [job.id for job in claimed[:10]])
        self.examiner.run(upkeep.beat, [self.producer], TTL, "{}")
        self.examiner.run(upkeep.lease, "work", "node", TTL)
        self.examiner.run(upkeep.nodes)

    def cron(self) -> None:
        """A node that declares a batch of entries, one of which is fired for as many minutes, paused and run."""
        first = new_id()
        declared = [_declared(first), *(_declared(f"{first}-{n}") for n in range(1, self.batch))]
        self.examiner.run(crons.register, declared[:1], declared)
        rows = self.examiner.run(crons.crons, [each.name for each in declared])
        self.examiner.run(crons.crons)
        self.examiner.run(crons.look, [each.name for each in declared])
        queue = next(self._queues)
        minutes = [Job("w", {"n": n}, queue=queue) for n in range(self.batch)]
        assert self.examiner.run(crons.fire, rows[first], rows[first].now, minutes)
        assert self.examiner.run(crons.ask, first)
        assert self.examiner.run(crons.answer, first, Job("w"))
        assert self.examiner.run(crons.pause, first, True)
        self.examiner.run(crons.prune)

    def deadlines(self) -> None:
        """A batch waits past its deadline, and each job of it has a step behind it."""
        deps = {f"a{n}": "" for n in range(self.batch)} | {f"b{n}": f"a{n}" for n in range(self.batch)}
        flow = graph(deps, queue=next(self._queues), deadline=DAY)
        self.examiner.run(flow.enqueue)
        self.examiner.change(
            "update {schema}.jobs set deadline_at = inserted_at where has_dependents and workflow_id = ?", flow.id
        )
        late = self.examiner.run(overdue.overdue)
        assert len(late) == self.batch
        assert len(self.examiner.run(overdue.cancel_overdue, late).ids) == 2 * self.batch

    def rescue(self) -> None:
        """A process dies with a whole batch."""
        queue = next(self._queues)
        self.examiner.run(store.enqueue, [Job("w", queue=queue) for _ in range(self.batch)])
        self._claim(queue)
        self.examiner.run(upkeep.expire, [self.producer])
        self.examiner.run(upkeep.rescue, judge=True)
        self._claim(queue, suspect=True)
        self.examiner.run(limited.configure, {queue: Limits(self.batch)})
        self._claim_limited(queue, suspect=True)

    def models(self) -> None:
        """A batch of steps tells what it used of models and what it asked them; it is summed up and read."""
        flow = self._flow({f"s{n}": "" for n in range(self.batch)})
        jobs = [Job("w", workflow_id=flow.id, id=id) for id in flow.ids()]
        for job in jobs:
            self.examiner.fill(usage.log, _logged(job))
        self.examiner.run(usage.log, _logged(jobs[0]))
        used = [Usage("m", 1, 2)] * self.batch
        self.examiner.run(usage.record, [documents_of(job, used[:1], [new_id()])[0] for job in jobs])
        every = ("workflow", "name", "step", "worker", "model", "day")
        assert len(self.examiner.run(usage.used, every, [NOON], Which(flow.id))) == self.batch
        assert self.examiner.run(usage.used, ("hour",), [], Which())
        assert len(self.examiner.run(usage.logged, flow.id, None, None)) == self.batch + 1

    def prune(self) -> None:
        """What is old goes."""
        self.examiner.change("update {schema}.usage set workflow_id = null")
        self.examiner.run(usage.prune, timedelta(0), timedelta(0))
        self.examiner.run(upkeep.prune_jobs, DAY)
        self.examiner.run(upkeep.prune_chains, timedelta(0))
        self.examiner.run(upkeep.prune_workflows, timedelta(0), self.batch)

    def read(self) -> None:
        """What only reads."""
        flow = self._flow({f"s{n}": "" for n in range(self.batch)})
        self.examiner.run(reading.fetch, flow.ids())
        self.examiner.run(reading.recorded, flow.ids()[0])
        self.examiner.run(reading.find, steer.Filter(queue="crowd1"), 100)
        self.examiner.run(reading.counts)
        self.examiner.run(reading.queues)
        self.examiner.run(reading.workflow, flow.id)
        self.examiner.run(reading.head, flow.id)
        self.examiner.run(reading.find_workflows, "running", None, 100)
        self.examiner.run(reading.steps, flow.id)
        self.examiner.run(reading.step, flow.id, "s1")
        self.examiner.run(reading.waiting_workers)
        for check in reading.CHECKS:
            self.examiner.run(reading.check, check)

    def _flow(self, deps: dict[str, str]) -> Flow:
        flow = graph(deps, queue=next(self._queues))
        self.examiner.run(flow.enqueue)
        return flow

    def _claim(self, queue: str, *, suspect: bool = False, behind: Any = None) -> list[AnyJob]:
        self.producer = new_id()
        self.examiner.run(upkeep.register, [_producer(self.producer, "node", queue)], TTL)
        if suspect:
            return list(self.examiner.run(store.claim_suspect, queue, self.producer, "node"))
        return list(self.examiner.run(store.claim, queue, self.batch + 1, self.producer, "node", behind))

    def _ack(self, jobs: list[AnyJob], outcome: Outcome) -> Any:
        assert len(jobs) >= self.batch
        return self.examiner.run(store.ack, [settle(job, outcome) for job in jobs])


def _logged(job: AnyJob) -> dict[str, Any]:
    entry = {"id": new_id(), "workflow_id": job.workflow_id, "job_id": job.id, "worker": job.worker, "attempt": 1}
    return {**entry, "kind": "request", "content": '"why?"', "size": 6, "note": None}
