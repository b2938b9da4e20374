"""What a job recorded: written with its ending, by the attempt that has the job, and cleared by an operator's retry."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.features.recorded import Recording
from tenuto.outcome import DONE, RELEASED, Discard, Record, Snooze, settle
from tenuto.storage import reading, steer, store
from tenuto.storage.database import Database
from tests.storage.build import AnyJob, graph, plain

VALUE = Recording({"a": 1}, '{"a":1}')


async def recorded(database: Database, job: AnyJob) -> Any:
    found = await database.read(reading.recorded, job.id)
    assert found is not None
    text, worker = found
    assert worker == job.worker
    return text


async def test_it_is_written_with_the_ending(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())

    assert await recorded(clock, job) is None
    await claimer.end(job, VALUE)
    assert await recorded(clock, job) == '{"a":1}'


async def test_a_step_has_a_result_and_records_it_too(clock, claimer):
    flow = graph({"a": ""})
    await clock.run(flow.enqueue)

    await claimer.end_steps(flow, a=VALUE)

    assert await recorded(clock, flow["a"]) == '{"a":1}'
    found = await clock.read(reading.step, flow.id, "a")
    assert found is not None
    assert found[2] == '{"a":1}'


@pytest.mark.parametrize("outcome", [DONE, Record(1), Discard("no"), Snooze(60)], ids=["none", "plain", "bad", "later"])
async def test_every_other_ending_writes_nothing(clock, claimer, outcome):
    (job,) = await clock.run(store.enqueue, plain())

    await claimer.end(job, outcome)

    assert await recorded(clock, job) is None


async def test_one_that_recorded_beside_many_that_did_not_is_the_only_one(clock, claimer):
    jobs = await clock.run(store.enqueue, plain(20))
    await claimer.claim()

    outcomes = [VALUE if nth == 7 else DONE for nth in range(20)]
    await clock.run(store.ack, [settle(claimer.held[job.id], out) for job, out in zip(jobs, outcomes, strict=True)])

    assert [await recorded(clock, job) for job in jobs] == [None] * 7 + ['{"a":1}'] + [None] * 12


async def test_an_attempt_that_was_taken_back_records_nothing(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    (late,) = await claimer.claim()
    await claimer.give_back(settle(late, RELEASED))

    assert (await claimer.give_back(settle(late, VALUE))).ids == []
    assert await recorded(clock, job) is None


async def test_what_was_cancelled_first_records_nothing(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.claim()
    await clock.run(steer.cancel, [job.id])

    await claimer.end(job, VALUE)

    assert await recorded(clock, job) is None


async def test_an_operators_retry_clears_it(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.end(job, VALUE)

    await clock.run(steer.retry, [job.id])

    assert await recorded(clock, job) is None


async def test_a_retry_keeps_it_when_asked_to_until_there_is_another(clock, claimer):
    (job,) = await clock.run(store.enqueue, plain())
    await claimer.end(job, VALUE)

    await clock.run(steer.retry, [job.id], keep_results=True)
    (again,) = await claimer.claim()
    await claimer.give_back(settle(again, Snooze(0)))
    assert await recorded(clock, job) == '{"a":1}'

    await clock.run(steer.retry, [job.id], keep_results=True)
    (again,) = await claimer.claim()
    await claimer.give_back(settle(again, Recording(2, "2")))
    assert await recorded(clock, job) == "2"


def test_the_document_of_a_plain_ack_does_not_know_of_it():
    (job,) = plain()

    (document,) = store._documents([settle(job, DONE)])

    assert document == {"id": job.id, "epoch": 0, "state": "completed"}


async def test_of_a_job_that_is_not_there_nothing_is_found(clock):
    (job,) = plain()

    assert await clock.read(reading.recorded, job.id) is None
