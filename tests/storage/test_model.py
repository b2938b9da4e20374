"""A state machine drives the verbs at random against the model, and looks at every row after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tenuto.job import TERMINAL, TRANSITIONS, Job, JobState
from tenuto.outcome import (
    DONE,
    GATED,
    RELEASED,
    Cancel,
    Discard,
    Failed,
    Outcome,
    PutBack,
    Record,
    Snooze,
    settle,
)
from tenuto.storage import aftermath, overdue, reading, steer, store, upkeep
from tenuto.storage.database import Database, Verb
from tests.conftest import database_at
from tests.storage.build import DAY, EVERY_VERSION, NOON, TTL, AnyJob, Claimer, Flow, complaints, graph
from tests.storage.model import Model, ModelProducer
from tests.storage.tables import Row, Tables, look_into

STEPS = 30  # verbs in a row
NODES = ("left", "right")
NAMES = "abcdef"

plain_outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        DONE,
        Record("result"),
        Snooze(0),
        Snooze(20),
        Failed(ValueError("oops")),
        Cancel("no"),
        Discard("no"),
        PutBack(timedelta(seconds=20)),
        RELEASED,
    ]
)
outcomes: st.SearchStrategy[Outcome] = plain_outcomes | st.just(GATED)  # which only a step can be
delays = st.sampled_from([timedelta(0), timedelta(seconds=20)])
deadlines = st.sampled_from([None, timedelta(seconds=30), timedelta(seconds=90)])


def _weighted(**weights: int) -> st.SearchStrategy[str]:
    return st.sampled_from([word for word, weight in weights.items() for _ in range(weight)])


MORE = {
    "steer": _weighted(cancel=4, retry=4, workflow=2, delete=2, postpone=2, enqueue=1),
    "keep": _weighted(time_passes=4, rescue=4, disown=4, sweep=2, store_result=1, resign=1, prune=1),
}


@st.composite
def graphs(draw: st.DrawFn) -> Flow:
    """A small graph: each step needs some of those before it, and forgives some endings."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    endings = st.lists(st.sampled_from(["cancelled", "discarded", "deleted"]), unique=True)
    deps = {
        name: " ".join(draw(st.lists(st.sampled_from(names[:nth]), unique=True, max_size=3))) if nth else ""
        for nth, name in enumerate(names)
    }
    options: dict[str, Any] = {"max_attempts": draw(st.integers(1, 3)), "deadline": draw(deadlines)}
    return graph(deps, forgive={name: " ".join(draw(endings)) for name in names}, **options)


class Verbs(RuleBasedStateMachine):
    """Every verb, on a database and on the model. `run`, `database` and `tables` come from the test."""

    run: Callable[..., Any]
    run_async: Callable[..., Any]
    database: Database
    tables: Tables
    model_of: ClassVar[type[Model]] = Model
    reviving: ClassVar[set[str]] = {"retry"}  # the verbs that lead out of an ending
    more: ClassVar[dict[str, st.SearchStrategy[str]]] = MORE

    @initialize(flow=graphs())
    def begin(self, flow: Flow) -> None:
        self.tables.clear()
        self.model = self.model_of(NOON)
        self.database.now = NOON
        self.before: dict[str, list[Row]] = self.tables.all()
        self.ids: list[str] = []  # every job there ever was
        self.attempts: list[AnyJob] = []  # every claim there ever was
        for node in NODES:
            self._register(node)
        self.verb = "enqueue"
        self._enqueue_workflow(flow)

    @rule(data=st.data(), verb=_weighted(claim=6, ack=8, steer=6, keep=6))
    def a_verb_is_run(self, data: st.DataObject, verb: str) -> None:
        """One rule for all: with a rule for each verb, most runs would have no claim or no ack in them."""
        while verb in self.more:
            verb = data.draw(self.more[verb])
        self.verb = verb
        self.model.finished.clear()
        getattr(self, f"_{verb}")(data)

    # ── the verbs ──

    def _claim(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(NODES))
        producer, demand = self._producer(node), data.draw(st.integers(1, 4))
        if self._suspects() and data.draw(st.booleans()):
            expected = self.model.claim(producer, 1, suspects=True)
            claimed = self.run(store.claim_suspect, "default", producer, node)
        else:
            expected = self.model.claim(producer, demand)
            claimed = self.run(store.claim, "default", demand, producer, node)
        assert [job.id for job in claimed] == expected
        self.attempts += claimed

    def _ack(self, data: st.DataObject) -> None:
        """What runs; what was taken away and runs again elsewhere; any attempt of long ago, for a second time."""
        given = [attempts for attempts in (self._running(), self._overtaken(), self.attempts) if attempts]
        if not given:
            self._claim(data)
            return
        some = st.lists(st.sampled_from(data.draw(st.sampled_from(given))), min_size=1, max_size=4)
        jobs = {job.id: job for job in data.draw(some)}.values()
        acks = [settle(job, data.draw(self._outcomes(job)), backoff=20) for job in jobs]
        expected = self.model.ack(acks)
        assert sorted(self._settled(store.ack, acks).ids) == sorted(expected)

    def _outcomes(self, job: AnyJob) -> st.SearchStrategy[Outcome]:
        return outcomes if job.workflow_id else plain_outcomes

    def _store_result(self, data: st.DataObject) -> None:
        if self.attempts:
            job = data.draw(st.sampled_from(self.attempts))
            expected = self.model.store_result(job.id, job.epoch, '"early"')
            assert self.run(reading.store_result, job, '"early"') == expected

    def _enqueue(self, data: st.DataObject) -> None:
        jobs = self._new_jobs(data)
        self.model.enqueue(jobs)
        self.run(store.enqueue, jobs)
        assert all(job.existing for job in self.run(store.enqueue, jobs))
        self.ids += [job.id for job in jobs]

    def _new_jobs(self, data: st.DataObject) -> list[AnyJob]:
        delay, count = data.draw(delays), data.draw(st.integers(1, 3))
        options: dict[str, Any] = {"schedule_in": delay, "deadline": data.draw(deadlines), "max_attempts": 2}
        return [Job("worker", priority=nth % 2, **options) for nth in range(count)]

    def _workflow(self, data: st.DataObject) -> None:
        self._enqueue_workflow(data.draw(graphs()))

    def _enqueue_workflow(self, flow: Flow) -> None:
        self.model.enqueue_workflow(flow)
        self.run(flow.enqueue)
        assert all(job.existing for job in self.run(flow.enqueue))
        self.ids += flow.ids()

    def _cancel(self, data: st.DataObject) -> None:
        ids = self._some_ids(data)
        expected = self.model.cancel(ids)
        assert sorted(self._steered(steer.cancel, ids).ids) == sorted(expected)

    def _retry(self, data: st.DataObject) -> None:
        ids, keep_results = self._some_ids(data), data.draw(st.booleans())
        refusal = self.model.refusal(ids)
        if refusal is not None:
            with pytest.raises(refusal):
                self.run(steer.retry, ids)
        expected = self.model.retry(ids, keep_results=keep_results)
        steered = self._steered(steer.retry, ids, keep_results=keep_results, strict=False)
        assert sorted(steered.ids) == sorted(expected)

    def _delete(self, data: st.DataObject) -> None:
        ids = self._some_ids(data)
        expected = self.model.delete(ids)
        assert sorted(self._steered(steer.delete, ids).ids) == sorted(expected)

    def _postpone(self, data: st.DataObject) -> None:
        ids, delay = self._some_ids(data), data.draw(delays)
        expected = self.model.postpone(ids, delay)
        assert sorted(self.run(steer.update, ids, {"schedule_in": delay}).ids) == sorted(expected)

    def _time_passes(self, data: st.DataObject) -> None:
        """Some nodes beat in the end, and what is due is staged."""
        self.model.now += timedelta(seconds=data.draw(st.sampled_from([5, 20, 40])))
        self.database.now = self.model.now
        for producer in (
            data.draw(st.sets(st.sampled_from(sorted(self.model.producers)))) if self.model.producers else ()
        ):
            alive = self.model.beat(producer, TTL)
            assert self.run(upkeep.beat, [producer], TTL, "{}") == ({producer} if alive else set())
        assert len(self.run(upkeep.stage)) == self.model.stage()

    def _sweep(self, data: st.DataObject) -> None:
        """What waits past its deadline is cancelled, with what waits for it."""
        late = self.model.overdue()
        assert sorted(self.run(overdue.overdue)) == sorted(late)
        before = {id for id, job in self.model.jobs.items() if job.state == "cancelled"}
        self.model.cancel(late)
        gone = {id for id, job in self.model.jobs.items() if job.state == "cancelled"} - before
        assert sorted(self._settled(overdue.cancel_overdue, late).ids) == sorted(gone)

    def _rescue(self, data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            producer = self._producer(data.draw(st.sampled_from(NODES)))
            self.run(upkeep.expire, [producer])
            self.model.producers[producer].expires_at = None
        judge = data.draw(st.booleans())
        expected = self.model.rescue(judge=judge)
        assert sorted(self._steered(upkeep.rescue, judge=judge).ids) == sorted(expected)

    def _disown(self, data: st.DataObject) -> None:
        producer = self._producer(data.draw(st.sampled_from(NODES)))
        running = [] if data.draw(st.booleans()) else self._some_ids(data)
        expected = self.model.disown(producer, running)
        assert sorted(self._settled(upkeep.disown, [producer], running).ids) == sorted(expected)

    def _resign(self, data: st.DataObject) -> None:
        producer = self._producer(data.draw(st.sampled_from(NODES)))
        expected = self.model.resign(producer)
        assert sorted(self._settled(upkeep.resign, [producer]).ids) == sorted(expected)

    def _prune(self, data: st.DataObject) -> None:
        keep = data.draw(st.sampled_from([timedelta(seconds=20), DAY]))
        assert self.run(upkeep.prune_jobs, keep) == self.model.prune_jobs(keep)
        assert self.run(upkeep.prune_workflows, keep) == self.model.prune_workflows(keep)

    # ── what they are made of ──

    def _settled(self, verb: Callable[..., Verb[aftermath.Settled]], *args: Any, **kwargs: Any) -> aftermath.Settled:
        """Run it; what it finished is what the model finished."""
        settled: aftermath.Settled = self.run(verb, *args, **kwargs)
        assert sorted(finished.id for finished in settled.finished) == sorted(self.model.finished)
        return settled

    def _steered(self, verb: Callable[..., Verb[Any]], *args: Any, **kwargs: Any) -> Any:
        answer = self.run(verb, *args, **kwargs)
        assert sorted(finished.id for finished in answer.settled.finished) == sorted(self.model.finished)
        return answer

    def _some_ids(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(self.ids), min_size=1, max_size=3, unique=True))

    def _suspects(self) -> bool:
        return any(job.state == "available" and job.suspicions for job in self.model.jobs.values())

    def _running(self) -> list[AnyJob]:
        return [job for job in self.attempts if self._epoch_now(job) == job.epoch]

    def _overtaken(self) -> list[AnyJob]:
        """Attempts of jobs that run again: only the epoch tells them apart."""
        return [job for job in self.attempts if self._epoch_now(job) > job.epoch]

    def _epoch_now(self, job: AnyJob) -> int:
        """The epoch under which the job runs now, or nought."""
        now = self.model.jobs.get(job.id)
        return now.epoch if now is not None and now.state == "executing" else 0

    def _register(self, node: str) -> None:
        claimer = Claimer(self.database, node)
        self.run(upkeep.register, [claimer.producer], TTL)
        self.model.producers[claimer.id] = ModelProducer(node, self.model.now + TTL)

    def _producer(self, node: str) -> str:
        """The producer of a node, alive or not; a new one if it was swept."""
        if not any(producer.node == node for producer in self.model.producers.values()):
            self._register(node)
        return next(id for id, producer in self.model.producers.items() if producer.node == node)

    # ── what must hold after each of them ──

    @invariant()
    def every_row_is_as_it_should_be(self) -> None:
        after = self.tables.all()
        self._rows_are_the_models(after)
        self._changes_are_allowed({row["id"]: row for row in self.before["jobs"]}, after["jobs"])
        self._needs_are_met_once(after)
        self._the_doctor_finds_nothing()
        self.before = after

    def _rows_are_the_models(self, after: dict[str, list[Row]]) -> None:
        assert {row["id"]: _job_row(row) for row in after["jobs"]} == {
            id: _job_model(job) for id, job in self.model.jobs.items()
        }
        assert {row["job_id"]: (row["workflow_id"], row["fate"], row["result"]) for row in after["workflow_nodes"]} == {
            id: (step.workflow, step.fate, step.result) for id, step in self.model.steps.items()
        }
        assert {row["id"]: _workflow_row(row) for row in after["workflows"]} == {
            id: self._workflow_model(id) for id in self.model.workflows
        }

    def _workflow_model(self, id: str) -> tuple[Any, ...]:
        workflow, fates = self.model.workflows[id], self.model.fates(id)
        outcome = self.model.outcome(id)
        finished = workflow.finished_at is not None
        return (
            "finished" if finished else "running",
            outcome if finished else None,
            workflow.runs,
            *[fates.count(fate) for fate in (None, "completed", "cancelled", "discarded", "deleted")],
        )

    def _changes_are_allowed(self, before: dict[str, Row], after: list[Row]) -> None:
        """Only the transitions of the table; only a retry leads out of an ending; an epoch never falls."""
        for row in after:
            was = before.get(row["id"])
            if was is None or was["state"] == row["state"]:
                continue
            old, new = JobState(was["state"]), JobState(row["state"])
            assert new in TRANSITIONS[old], f"{self.verb}: {old} to {new}"
            assert old not in TERMINAL or self.verb in self.reviving
        assert all(row["epoch"] >= before[row["id"]]["epoch"] for row in after if row["id"] in before)

    def _needs_are_met_once(self, after: dict[str, list[Row]]) -> None:
        """Only a retry unmeets an edge; who is suspended waits for as many needs as are unmet, one at least; and who
        is due or runs waits for none."""
        met = {(row["job_id"], row["needs_id"]) for row in after["edges"] if row["met"]}
        kept = {(row["job_id"], row["needs_id"]) for row in after["edges"]}
        was_met = {(row["job_id"], row["needs_id"]) for row in self.before["edges"] if row["met"]}
        assert self.verb in self.reviving or was_met & kept <= met
        assert met == self.model.met
        for job in after["jobs"]:
            unmet = [need for child, need in kept - met if child == job["id"]]
            assert job["waiting_on"] == len(unmet)
            assert unmet or job["state"] != "suspended"
            assert not unmet or job["state"] in {"suspended", *TERMINAL}

    def _the_doctor_finds_nothing(self) -> None:
        found = self.run_async(complaints(self.database))
        found.pop("doctor_executing", None)  # jobs of dead nodes wait for their rescue here as long as they must
        assert found == {}


def _job_row(row: Row) -> tuple[Any, ...]:
    return (
        *(row["state"], row["attempt"], row["max_attempts"], row["epoch"], row["waiting_on"], row["snoozes"]),
        *(row["rescues"], row["suspicions"], row["errors"].count('"at":')),
        *(_instant(row["scheduled_at"]), _instant(row["finished_at"]), _instant(row["cancel_requested_at"])),
        row["producer_id"] if row["state"] == "executing" else None,
    )


def _job_model(job: Any) -> tuple[Any, ...]:
    return (
        *(job.state, job.attempt, job.max_attempts, job.epoch, job.waiting_on, job.snoozes),
        *(job.rescues, job.suspicions, job.errors),
        *(job.scheduled_at, job.finished_at, job.told_at),
        job.holder if job.state == "executing" else None,
    )


def _workflow_row(row: Row) -> tuple[Any, ...]:
    counts = [row[name] for name in ("unfinished", "completed", "cancelled", "discarded", "deleted")]
    return (row["state"], row["outcome"], row["runs"], *counts)


def _instant(stored: Any) -> Any:
    """SQLite keeps microseconds, PostgreSQL instants."""
    return _EPOCH + timedelta(microseconds=stored) if isinstance(stored, int) else stored


_EPOCH = NOON - timedelta(microseconds=NOON.timestamp() * 1_000_000)


@contextmanager
def on_database(verbs: type[Verbs], database_url: str) -> Iterator[type[Verbs]]:
    """The state machine on this database."""
    database = database_at(database_url)
    with asyncio.Runner() as runner, look_into(database_url) as tables:
        runner.run(database.open())
        runner.run(database.migrate(upkeep.migrate, EVERY_VERSION))
        yield type(
            verbs.__name__,
            (verbs,),
            {
                "database": database,
                "tables": tables,
                "run": lambda _, *args, **kwargs: runner.run(database.run(*args, **kwargs)),
                "run_async": lambda _, coroutine: runner.run(coroutine),
            },
        )
        runner.run(database.close())


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Verbs]]:
    """The state machine on a database of its own."""
    with on_database(Verbs, database_url) as machine:
        yield machine


@pytest.mark.timeout(600)
def test_the_verbs_do_what_the_model_does(machine: type[Verbs]):
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
