"""A state machine drives the verbs at random against the model, and looks at every row after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tenuto.errors import NeedsUnmet
from tenuto.job import TERMINAL, TRANSITIONS, Job, JobState
from tenuto.outcome import DONE, GATED, RELEASED, Cancel, Discard, Failed, PutBack, Record, Snooze, settle
from tenuto.storage import reading, steer, store, upkeep
from tenuto.storage.database import Database, Verb
from tests.conftest import database_at
from tests.storage.build import DAY, NOON, TTL, Claimer, Flow, complaints, graph
from tests.storage.model import Model, ModelProducer
from tests.storage.tables import Row, Tables, look_into

STEPS = 30  # verbs in a row
NODES = ("left", "right")
NAMES = "abcdef"

outcomes = st.sampled_from(
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
        GATED,
    ]
)
delays = st.sampled_from([timedelta(0), timedelta(seconds=20)])


@st.composite
def graphs(draw: st.DrawFn) -> Flow:
    """A small graph: each step needs some of those before it, and forgives some endings."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    endings = st.lists(st.sampled_from(["cancelled", "discarded", "deleted"]), unique=True)
    deps = {
        name: " ".join(draw(st.lists(st.sampled_from(names[:nth]), unique=True, max_size=3))) if nth else ""
        for nth, name in enumerate(names)
    }
    return graph(deps, forgive={name: " ".join(draw(endings)) for name in names}, max_attempts=draw(st.integers(1, 3)))


class Verbs(RuleBasedStateMachine):
    """Every verb, on a database and on the model. `run` and `tables` come from the test."""

    run: Callable[..., Any]
    database: Database
    tables: Tables

    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    @initialize(target=jobs, flow=graphs())
    def begin(self, flow: Flow) -> Any:
        self.tables.clear()
        self.model = Model(NOON)
        self.database.now = NOON
        self.verb = ""
        self.claimed: list[Any] = []
        self.before: dict[str, list[Row]] = self.tables.all()
        for node in NODES:
            self._register(node)
        return self.enqueue_workflow(flow)

    def _register(self, node: str) -> None:
        claimer = Claimer(self.database, node)
        self.run(upkeep.register, [claimer.producer], TTL)
        self.model.producers[claimer.id] = ModelProducer(node, self.model.now + TTL)

    def _both(self, verb: Callable[..., Verb[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run it on the database; what it finished is what the model finished."""
        answer = self.run(verb, *args, **kwargs)
        settled = getattr(answer, "settled", answer)
        if isinstance(settled, store.Settled):
            assert sorted(finished.id for finished in settled.finished) == sorted(self.model.finished)
        return answer

    def _producer(self, node: str) -> str:
        """The youngest producer of a node, alive or not; a new one if all were swept."""
        if not any(producer.node == node for producer in self.model.producers.values()):
            self._register(node)
        *_, newest = [id for id, producer in self.model.producers.items() if producer.node == node]
        return newest

    def _due(self, *, suspects: bool) -> bool:
        return any(
            job.state == "available" and (job.suspicions > 0) == suspects for job in self.model.jobs.values()
        )

    def _overtaken(self) -> list[Any]:
        """Attempts of jobs that are running again."""
        running = {job.id: job.epoch for job in self.model.jobs.values() if job.state == "executing"}
        return [job for job in self.claimed if job.epoch < running.get(job.id, 0)]

    def _starts(self, verb: str) -> None:
        self.verb = verb
        self.model.finished.clear()

    # ── the rules ──

    @rule(target=jobs, delay=delays, priority=st.integers(0, 1), count=st.integers(1, 3))
    def enqueue(self, delay: timedelta, priority: int, count: int) -> Any:
        self._starts("enqueue")
        jobs = [Job("worker", schedule_in=delay, priority=priority, max_attempts=2) for _ in range(count)]
        self.model.enqueue(jobs)
        self.run(store.enqueue, jobs)
        assert all(job.existing for job in self.run(store.enqueue, jobs))
        return multiple(*[job.id for job in jobs])

    @rule(target=jobs, flow=graphs())
    def enqueue_workflow(self, flow: Flow) -> Any:
        self._starts("enqueue")
        self.model.enqueue_workflow(flow)
        self.run(flow.enqueue)
        return multiple(*flow.ids())

    @precondition(lambda self: self._due(suspects=False))
    @rule(target=attempts, node=st.sampled_from(NODES), demand=st.integers(1, 4))
    def claim(self, node: str, demand: int) -> Any:
        self._starts("claim")
        producer = self._producer(node)
        expected = self.model.claim(producer, demand)
        claimed = self.run(store.claim, "default", demand, producer, node)
        assert [job.id for job in claimed] == expected
        self.claimed += claimed
        return multiple(*claimed)

    @precondition(lambda self: self._due(suspects=True))
    @rule(target=attempts, node=st.sampled_from(NODES))
    def claim_suspect(self, node: str) -> Any:
        self._starts("claim")
        producer = self._producer(node)
        expected = self.model.claim(producer, 1, suspects=True)
        claimed = self.run(store.claim_suspect, "default", producer, node)
        assert [job.id for job in claimed] == expected
        self.claimed += claimed
        return multiple(*claimed)

    @rule(batch=st.lists(st.tuples(attempts, outcomes), min_size=1, max_size=4, unique_by=lambda pair: pair[0].id))
    def ack(self, batch: list[tuple[Any, Any]]) -> None:
        """Attempts of now and of long ago: late, stale, or for the second time."""
        self._starts("ack")
        acks = [settle(job, outcome, backoff=20) for job, outcome in batch]
        expected = self.model.ack(acks)
        settled = self._both(store.ack, acks)
        assert sorted(settled.ids) == sorted(expected)

    @precondition(lambda self: self._overtaken())
    @rule(data=st.data(), outcome=outcomes)
    def ack_what_was_taken_away(self, data: st.DataObject, outcome: Any) -> None:
        """An attempt whose job runs again, elsewhere or here: the one that only the epoch tells apart."""
        self.ack([(data.draw(st.sampled_from(self._overtaken())), outcome)])

    @rule(job=attempts)
    def store_result(self, job: Any) -> None:
        self._starts("store_result")
        assert self.run(reading.store_result, job, '"early"') == self.model.store_result(job.id, job.epoch, '"early"')

    @rule(ids=st.lists(jobs, min_size=1, max_size=3, unique=True))
    def cancel(self, ids: list[str]) -> None:
        self._starts("cancel")
        expected = self.model.cancel(ids)
        assert sorted(self._both(steer.cancel, ids).ids) == sorted(expected)

    @rule(ids=st.lists(jobs, min_size=1, max_size=3, unique=True), keep_results=st.booleans())
    def retry(self, ids: list[str], keep_results: bool) -> None:
        self._starts("retry")
        if any(map(self.model.is_refused, ids)):
            with pytest.raises(NeedsUnmet):
                self.run(steer.retry, ids)
        expected = self.model.retry(ids, keep_results=keep_results)
        steered = self._both(steer.retry, ids, keep_results=keep_results, strict=False)
        assert sorted(steered.ids) == sorted(expected)

    @rule(ids=st.lists(jobs, min_size=1, max_size=2, unique=True))
    def delete(self, ids: list[str]) -> None:
        self._starts("delete")
        expected = self.model.delete(ids)
        assert sorted(self._both(steer.delete, ids).ids) == sorted(expected)

    @rule(ids=st.lists(jobs, min_size=1, max_size=3, unique=True), delay=delays)
    def postpone(self, ids: list[str], delay: timedelta) -> None:
        self._starts("update")
        expected = self.model.postpone(ids, delay)
        assert sorted(self.run(steer.update, ids, {"schedule_in": delay}).ids) == sorted(expected)

    @rule(seconds=st.sampled_from([5, 20, 40]), beating=st.sets(st.sampled_from(NODES)))
    def time_passes(self, seconds: int, beating: set[str]) -> None:
        """Time passes; some nodes beat in the end, and what is due is staged."""
        self._starts("stage")
        self.model.now = self.database.now = self.model.now + timedelta(seconds=seconds)
        for node in sorted(beating):
            producer = self._producer(node)
            alive = self.model.beat(producer, TTL)
            assert self.run(upkeep.beat, [producer], TTL, "{}") == ({producer} if alive else set())
        assert len(self.run(upkeep.stage)) == self.model.stage()

    @rule(node=st.sampled_from(NODES), judge=st.booleans(), dies=st.booleans())
    def rescue(self, node: str, judge: bool, dies: bool) -> None:
        self._starts("rescue")
        if dies:
            producer = self._producer(node)
            self.run(upkeep.expire, [producer])
            self.model.producers[producer].expires_at = None
        expected = self.model.rescue(judge=judge)
        assert sorted(self._both(upkeep.rescue, judge=judge).ids) == sorted(expected)

    @rule(node=st.sampled_from(NODES), running=st.lists(jobs, max_size=2))
    def disown(self, node: str, running: list[str]) -> None:
        self._starts("disown")
        producer = self._producer(node)
        expected = self.model.disown(producer, running)
        assert sorted(self._both(upkeep.disown, [producer], running).ids) == sorted(expected)

    @rule(node=st.sampled_from(NODES))
    def resign(self, node: str) -> None:
        self._starts("resign")
        producer = self._producer(node)
        expected = self.model.resign(producer)
        assert sorted(self._both(upkeep.resign, [producer]).ids) == sorted(expected)

    @rule(workflows=st.booleans(), keep=st.sampled_from([timedelta(seconds=20), DAY]))
    def prune(self, workflows: bool, keep: timedelta) -> None:
        self._starts("prune")
        if workflows:
            assert self.run(upkeep.prune_workflows, keep) == self.model.prune_workflows(keep)
        else:
            assert self.run(upkeep.prune_jobs, keep) == self.model.prune_jobs(keep)

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
        outcome = "completed" if fates.count("completed") == len(fates) else "failed"
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
            assert old not in TERMINAL or self.verb == "retry"
        assert all(row["epoch"] >= before[row["id"]]["epoch"] for row in after if row["id"] in before)

    def _needs_are_met_once(self, after: dict[str, list[Row]]) -> None:
        """An edge that was met stays met; who is suspended waits for as many needs as are unmet, and for one at least."""
        met = {(row["job_id"], row["needs_id"]) for row in after["edges"] if row["met"]}
        kept = {(row["job_id"], row["needs_id"]) for row in after["edges"]}
        was_met = {(row["job_id"], row["needs_id"]) for row in self.before["edges"] if row["met"]}
        assert was_met & kept <= met
        assert met == self.model.met
        for job in after["jobs"]:
            unmet = [need for child, need in kept - met if child == job["id"]]
            assert job["waiting_on"] == len(unmet)
            assert unmet or job["state"] != "suspended"
            assert not unmet or job["state"] in {"suspended", "cancelled"}

    def _the_doctor_finds_nothing(self) -> None:
        found = self.run_async(complaints(self.database))
        found.pop("doctor_executing", None)  # jobs of dead nodes wait for their rescue here as long as they must
        assert found == {}

    run_async: Callable[..., Any]


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


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Verbs]]:
    """The state machine on a database of its own."""
    database = database_at(database_url)
    with asyncio.Runner() as runner, look_into(database_url) as tables:
        runner.run(database.open())
        runner.run(database.migrate(upkeep.migrate, [1]))
        yield type(
            "Verbs",
            (Verbs,),
            {
                "database": database,
                "tables": tables,
                "run": lambda _, *args, **kwargs: runner.run(database.run(*args, **kwargs)),
                "run_async": lambda _, coroutine: runner.run(coroutine),
            },
        )
        runner.run(database.close())


@pytest.mark.timeout(600)
def test_the_verbs_do_what_the_model_does(machine: type[Verbs]):
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
