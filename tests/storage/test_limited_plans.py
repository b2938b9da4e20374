"""What a claim from a queue with limits costs where 100,000 jobs wait: no more than what it hands out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tenuto.job import Job
from tenuto.limits import Limits, Rate
from tenuto.outcome import RELEASED, settle
from tenuto.storage import limited, store, upkeep
from tests.conftest import database_at
from tests.storage.build import EVERY_VERSION, MINUTE, NOON, AnyJob, new_id
from tests.storage.examine import Examiner, Seen, examiner_of
from tests.storage.workload import TTL, spend_rates

WAITING = 100_000
pytestmark = pytest.mark.timeout(300)


def jobs(count: int, key: str | None, **options: Any) -> list[AnyJob]:
    return [Job("w", {"n": n}, **options).replace(partition=key) for n in range(count)]


class Queue:
    """A queue in which 100,000 jobs of one partition wait, then 2,000 of 100 others, and ten of none."""

    def __init__(self, examiner: Examiner) -> None:
        self.examiner = examiner
        self.producer = new_id()
        producer = upkeep.Producer(self.producer, "node", "default", 1, "[]", None, None, None)
        examiner.fill(upkeep.register, [producer], TTL)
        examiner.fill(store.enqueue, jobs(WAITING, "many", scheduled_at=NOON - MINUTE))
        self.others = [job for key in range(100) for job in jobs(20, f"{key:03}")] + jobs(10, None)
        examiner.fill(store.enqueue, self.others)
        examiner.analyse()

    def claim(self, demand: int, **limits: Any) -> tuple[list[AnyJob], dict[str, Seen]]:
        """Claim under these limits: the jobs, and what each statement was."""
        self.examiner.fill(limited.configure, {"default": Limits(**limits)})
        self.examiner.change("update {schema}.limits set looked_at = changed_at")  # just now: it is not time again
        self.examiner.seen = {}
        taken = self.examiner.run(limited.claim, "default", demand, self.producer, "node")
        return taken.jobs, self.examiner.seen

    def give_back(self, claimed: list[AnyJob]) -> None:
        self.examiner.fill(store.ack, [settle(job, RELEASED) for job in claimed])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def queue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """The queue, on each of the two."""
    folder = tmp_path_factory.mktemp("limited")
    if request.param == "sqlite":
        yield from _queue(f"sqlite:///{folder / 'jobs.db'}")
        return
    with request.getfixturevalue("postgres").database() as url:
        yield from _queue(url)


def _queue(url: str) -> Iterator[Queue]:
    examiner = examiner_of(database_at(url))
    try:
        examiner.run(upkeep.migrate, EVERY_VERSION)
        yield Queue(examiner)
    finally:
        examiner.close()


LIMITS = pytest.mark.parametrize(
    "limits",
    [
        {"limit": 5000},
        {"limit": 5000, "partition_limit": 50},
        {"rate": Rate(5000, per=1), "partition_rate": Rate(50, per=1)},
    ],
    ids=["limit", "of each", "rates"],
)


READS_ALL = re.compile(r"Seq Scan on jobs|SCAN (jobs|[jk])$", re.MULTILINE)


@LIMITS
@pytest.mark.parametrize("demand", [1, 1000])
def test_a_claim_looks_at_little_more_than_it_takes(queue: Queue, limits, demand):
    claimed, seen = queue.claim(demand, **limits)
    work = {name: one.work for name, one in seen.items()}
    queue.give_back(claimed)

    assert len(claimed) == demand
    assert {name: steps for name, steps in work.items() if steps > 40_000 + 600 * demand} == {}


@LIMITS
def test_its_statements_find_their_rows_by_the_indexes_of_partitions(queue: Queue, limits):
    claimed, seen = queue.claim(1000, **limits)
    queue.give_back(claimed)

    assert "jobs_partition" in seen["free_partitions"].plan
    assert "jobs_partition" in seen["claim_limited"].plan
    assert {name: one.plan for name, one in seen.items() if READS_ALL.search(one.plan)} == {}


def test_the_others_have_their_turn_before_the_many(queue: Queue):
    claimed, _ = queue.claim(150, limit=150)
    known = {job.id: job.partition for job in queue.others}
    taken = Counter(known.get(job.id, "many") for job in claimed)
    queue.give_back(claimed)

    assert min(taken[job.partition] for job in queue.others if job.partition) == 1
    assert taken["many"] <= 2


def test_a_claim_does_not_look_at_every_bucket_that_is_empty(queue: Queue):
    """Three thousand partitions have no token and nothing due; one that has something due waits for its own."""
    queue.examiner.change("delete from {schema}.rates")
    idle = [{"key": f"idle{n:04}", "cost": 10**9} for n in range(3_000)]
    queue.examiner.fill(spend_rates, "default", idle)

    claimed, seen = queue.claim(5000, partition_rate=Rate(1, per=3600))
    queue.give_back(claimed)
    queue.examiner.change("delete from {schema}.rates")

    assert len(claimed) == 101
    assert seen["next_token"].work < 200_000
