"""The state machine of test_model, with chains: the same verbs on jobs of which most are links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tenuto.job import AVAILABLE, EXECUTING, RETRYABLE, SCHEDULED, SUSPENDED, Job
from tenuto.outcome import Ack
from tenuto.storage import upkeep
from tests.storage.build import DAY, AnyJob
from tests.storage.model import Id, Model
from tests.storage.tables import Row
from tests.storage.test_model import STEPS, Verbs, deadlines, delays, on_database

LIVE = {SCHEDULED, AVAILABLE, EXECUTING, RETRYABLE}
HOLDS = [None, None, "cancelled", "discarded", "cancelled discarded"]


class Link(NamedTuple):
    """One link's place."""

    key: str
    seq: int
    holds: str


@dataclass
class ChainModel(Model):
    """The reference, with chains: whoever ends, the lowest number that is left has its turn."""

    links: dict[Id, Link] = field(default_factory=dict)
    holders: dict[str, Id | None] = field(default_factory=dict)
    freed_at: dict[str, datetime] = field(default_factory=dict)

    def enqueue(self, jobs: Iterable[AnyJob]) -> None:
        for job in jobs:
            super().enqueue([job])
            if job.chain_key is None:
                continue
            self.links[job.id] = Link(job.chain_key, len(self.links), job.chain_holds or "")
            if self.holders.get(job.chain_key) is None:
                self.holders[job.chain_key] = job.id
            else:
                self.jobs[job.id].state, self.jobs[job.id].waiting_on = SUSPENDED, 1

    def hand_on(self) -> None:
        for key, holder in self.holders.items():
            if holder is None or self._keeps_its_chain(holder):
                continue
            inline = [id for id, link in self.links.items() if link.key == key and self._is_in_line(id)]
            self.holders[key] = following = min(inline, key=lambda id: self.links[id].seq, default=None)
            if following is None:
                self.freed_at[key] = self.now
                continue
            job = self.jobs[following]
            job.waiting_on = 0
            job.state = self._waits_until(job.scheduled_at) if job.state == SUSPENDED else job.state

    def _keeps_its_chain(self, id: Id) -> bool:
        return id in self.jobs and (self.jobs[id].state in LIVE or self._is_held_up(id))

    def _is_in_line(self, id: Id) -> bool:
        return id in self.jobs and (self.jobs[id].state == SUSPENDED or self._is_held_up(id))

    def _is_held_up(self, id: Id) -> bool:
        return id in self.links and self.jobs[id].state in self.links[id].holds.split()

    # ── every verb that ends or takes away ──

    def ack(self, acks: Sequence[Ack]) -> list[Id]:
        done = super().ack(acks)
        self.hand_on()
        return done

    def cancel(self, ids: Sequence[Id]) -> list[Id]:
        done = super().cancel(ids)
        self.hand_on()
        return done

    def delete(self, ids: Sequence[Id]) -> list[Id]:
        done = super().delete(ids)
        self.hand_on()
        return done

    def retry(self, ids: Sequence[Id], *, keep_results: bool) -> list[Id]:
        for id in ids:
            if id in self.links and self.may_retry(id):
                self.jobs[id].waiting_on = int(self.holders[self.links[id].key] != id)
        done = super().retry(ids, keep_results=keep_results)
        for key in {self.links[id].key for id in done if id in self.links}:
            self.holders[key] = self.holders[key] or "nobody"  # a chain that was free is looked at again
        self.hand_on()
        return done

    def rescue(self, *, judge: bool) -> list[Id]:
        done = super().rescue(judge=judge)
        self.hand_on()
        return done

    def disown(self, producer: Id, running: Sequence[Id]) -> list[Id]:
        done = super().disown(producer, running)
        self.hand_on()
        return done

    def prune_jobs(self, keep: timedelta) -> int:
        kept = {id: job for id, job in self.jobs.items() if self._is_held_up(id)}
        self.jobs = {id: job for id, job in self.jobs.items() if id not in kept}
        pruned = super().prune_jobs(keep)
        self.jobs |= kept
        return pruned

    def prune_chains(self, keep: timedelta) -> int:
        free = {key for key, holder in self.holders.items() if holder is None}
        old = {key for key in free if self.freed_at[key] <= self.now - keep}
        self.holders = {key: holder for key, holder in self.holders.items() if key not in old}
        return len(old)


class Chains(Verbs):
    """Every verb, on links and others."""

    model: ChainModel
    model_of = ChainModel

    def _new_jobs(self, data: st.DataObject) -> list[AnyJob]:
        return [
            Job(
                "worker",
                schedule_in=data.draw(delays),
                deadline=data.draw(deadlines),
                max_attempts=2,
                chain_key=data.draw(st.sampled_from(["a", "a", "b", None])),
                chain_holds=data.draw(st.sampled_from(HOLDS)),
            )
            for _ in range(data.draw(st.integers(1, 3)))
        ]

    def _workflow(self, data: st.DataObject) -> None:
        """More links instead."""
        self._enqueue(data)

    def _store_result(self, data: st.DataObject) -> None:
        """More links instead."""
        self._enqueue(data)

    def _prune(self, data: st.DataObject) -> None:
        keep = data.draw(st.sampled_from([timedelta(seconds=20), DAY]))
        assert self.run(upkeep.prune_jobs, keep) == self.model.prune_jobs(keep)
        assert self.run(upkeep.prune_chains, keep) == self.model.prune_chains(keep)

    def _rows_are_the_models(self, after: dict[str, list[Row]]) -> None:
        super()._rows_are_the_models(after)
        assert {row["key"]: row["held_by"] for row in after["chains"]} == self.model.holders
        assert all((row["held_by"] is None) != (row["freed_at"] is None) for row in after["chains"])

    def _needs_are_met_once(self, after: dict[str, list[Row]]) -> None:
        links = [row for row in after["jobs"] if row["chain_key"] is not None]
        super()._needs_are_met_once({**after, "jobs": [row for row in after["jobs"] if row["chain_key"] is None]})
        for key in {row["chain_key"] for row in links}:
            live = [row["id"] for row in links if row["chain_key"] == key and row["state"] in LIVE]
            assert live in ([], [self.model.holders[key]])
        assert all(row["waiting_on"] == 1 for row in links if row["state"] == "suspended")


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Verbs]]:
    """The state machine on a database of its own."""
    with on_database(Chains, database_url) as machine:
        yield machine


@pytest.mark.timeout(600)
def test_the_verbs_do_to_chains_what_the_model_does(machine: type[Any]):
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
