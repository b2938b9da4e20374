"""A state machine drives unique jobs at random against a model of who holds which key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tenuto.job import TERMINAL, Job
from tenuto.outcome import DONE, RELEASED, Cancel, Discard, Failed, Outcome, Snooze, settle
from tenuto.storage import steer, store, upkeep
from tenuto.storage.database import Database
from tests.conftest import database_at
from tests.storage.build import DAY, EVERY_VERSION, NOON, SECOND, AnyJob, complaints, new_id
from tests.storage.tables import Tables, look_into

STEPS = 30  # verbs in a row
KEYS = "ab"
STATES = (
    "suspended scheduled available executing retryable completed",
    "scheduled available",
    "available executing cancelled",
    "suspended scheduled available executing retryable completed cancelled discarded",
)
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [DONE, Snooze(0), Snooze(20), Failed(ValueError("oops")), Cancel("no"), Discard("no"), RELEASED]
)


@dataclass
class Known:
    """One unique job as the model has it."""

    id: str
    key: str
    states: str
    holds: bool


@st.composite
def jobs(draw: st.DrawFn) -> AnyJob:
    kept = {"key": draw(st.sampled_from(KEYS)), "states": draw(st.sampled_from(STATES))}
    delay = draw(st.sampled_from([None, 20 * SECOND]))
    made: AnyJob = Job("worker", schedule_in=delay, max_attempts=draw(st.integers(1, 2)))
    return made.replace(unique_key=json.dumps(kept))


class Keys(RuleBasedStateMachine):
    """Every verb that changes a state. `run`, `run_async`, `database` and `tables` come from the test."""

    run: Callable[..., Any]
    run_async: Callable[..., Any]
    database: Database
    tables: Tables

    @initialize()
    def begin(self) -> None:
        self.tables.clear()
        self.database.now = NOON
        self.known: dict[str, Known] = {}
        self.running: dict[str, AnyJob] = {}
        self.producer = new_id()
        node = upkeep.Producer(self.producer, "node", "default", upkeep.SCHEMA_VERSION, "[]", None, None, None)
        self.run(upkeep.register, [node], DAY)

    def _states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in self.tables.rows("select id, state from jobs")}

    def _holder(self, key: str) -> Known | None:
        return next((job for job in self.known.values() if job.holds and job.key == key), None)

    def _look(self) -> None:
        """Whoever has left its states has given its key up for good."""
        states = self._states()
        self.known = {id: job for id, job in self.known.items() if id in states}
        for job in self.known.values():
            job.holds = job.holds and states[job.id] in job.states.split()

    @rule(batch=st.lists(jobs(), min_size=1, max_size=4))
    def enqueue(self, batch: list[AnyJob]) -> None:
        expected: dict[str, str] = {}
        for job in sorted(batch, key=lambda one: one.id):
            kept = json.loads(job.unique_key or "")
            counts = ("scheduled" if job.schedule_in else "available") in kept["states"].split()
            holder = self._holder(kept["key"]) if counts else None
            expected[job.id] = holder.id if holder else job.id
            if holder is None:
                self.known[job.id] = Known(job.id, kept["key"], kept["states"], counts)

        answers = self.run(store.enqueue, batch)

        assert [job.id for job in answers] == [expected[job.id] for job in batch]
        assert [job.existing for job in answers] == [expected[job.id] != job.id for job in batch]

    @rule(demand=st.integers(1, 3))
    def claim(self, demand: int) -> None:
        self.running |= {job.id: job for job in self.run(store.claim, "default", demand, self.producer, "node")}
        self._look()

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(sorted(self.running) or [""]), unique=True, max_size=3))
        given = [self.running.pop(id) for id in some if id]
        self.run(store.ack, [settle(job, data.draw(outcomes), backoff=20) for job in given])
        self._look()

    @rule(data=st.data(), verb=st.sampled_from([steer.cancel, steer.delete]))
    def end(self, data: st.DataObject, verb: Any) -> None:
        self.run(verb, data.draw(self._some()))
        self._look()

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        asked = data.draw(self._some())
        states = self._states()
        may = [id for id in asked if states[id] in TERMINAL or states[id] in ("scheduled", "retryable")]
        expected = {id for id in may if not self._has_rival(id, may)}

        retried = self.run(steer.retry, asked, strict=False)

        assert set(retried.ids) == expected
        for id in expected:
            self.known[id].holds = "available" in self.known[id].states.split()

    def _has_rival(self, id: str, asked: list[str]) -> bool:
        mine = self.known[id]
        if "available" not in mine.states.split():
            return False
        holder = self._holder(mine.key)
        if holder is not None:
            return holder.id != id
        others = [self.known[other] for other in asked]
        return id != min(job.id for job in others if job.key == mine.key and "available" in job.states.split())

    def _some(self) -> st.SearchStrategy[list[str]]:
        return st.lists(st.sampled_from(sorted(self.known)), unique=True, max_size=3) if self.known else st.just([])

    @rule()
    def time_passes(self) -> None:
        assert self.database.now is not None
        self.database.now += 21 * SECOND
        self.run(upkeep.stage)
        self._look()

    @rule()
    def the_node_dies(self) -> None:
        self.run(upkeep.disown, [self.producer], [])
        self.running.clear()
        self._look()

    @invariant()
    def the_rows_are_as_the_model_has_them(self) -> None:
        if not hasattr(self, "known"):
            return
        rows = self.tables.rows("select id, unique_key, unique_held from jobs")
        assert {row["id"]: bool(row["unique_held"]) for row in rows} == {
            job.id: job.holds for job in self.known.values()
        }
        held = [row["unique_key"] for row in rows if row["unique_held"]]
        assert len(held) == len(set(held))
        assert self.run_async(complaints(self.database)) == {}


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Keys]]:
    """The state machine on a database of its own."""
    database = database_at(database_url)
    with asyncio.Runner() as runner, look_into(database_url) as tables:
        runner.run(database.open())
        runner.run(database.migrate(upkeep.migrate, EVERY_VERSION))
        yield type(
            "Keys",
            (Keys,),
            {
                "database": database,
                "tables": tables,
                "run": lambda _, *args, **kwargs: runner.run(database.run(*args, **kwargs)),
                "run_async": lambda _, coroutine: runner.run(coroutine),
            },
        )
        runner.run(database.close())


@pytest.mark.timeout(600)
def test_keys_are_held_as_the_model_has_them(machine: type[Keys]):
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
