"""Recorded jobs, from the door in: what process returns is kept, and read again from anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from tenuto import (
    Cancel,
    Discard,
    Job,
    Record,
    Recorded,
    Snooze,
    Tenuto,
    Worker,
    Workflow,
    blocking,
    current_app,
    job,
    results,
)
from tenuto.errors import JobNotFound, NothingRecorded, WouldDeadlock
from tests.kit import drain, eventually, finish, reason_of, result_of

VALUE = {
    "total": Decimal("9.90"),
    "at": datetime(2026, 3, 1, tzinfo=UTC),
    "ids": (UUID(int=7),),
    "none": None,
    "raw": b"\x00\xff",
}
ANSWERS: dict[str, Any] = {
    "value": VALUE,
    "null": Record(None),
    "nothing": None,
    "snooze": Snooze(60),
    "cancel": Cancel("no"),
    "discard": Discard("no"),
    "fail": ValueError("no"),
    "large": "".join(map(str, range(60_000))),
    "object": {"at": object()},
}
ran: list[str] = []


@job(name="tape", recorded=True, backoff=0)
async def tape(what: str) -> Any:
    ran.append(what)
    answer = ANSWERS[what]
    if isinstance(answer, ValueError):
        raise answer
    return answer


@job(name="tape in a thread", recorded=Recorded(limit=1_000_000))
def tape_in_a_thread(what: str) -> Any:
    return ANSWERS[what]


class Taping(Worker[None, int], name="taping", recorded=True):
    async def process(self, job: Job[None, int]) -> int:
        return job.attempt


@job(name="no tape")
async def no_tape() -> int:
    return 1


async def done(app: Tenuto, job: Job[Any, Any]) -> Job[Any, Any]:
    """Store the job, and give it as it is once nothing more happens to it."""
    stored = await app.enqueue(job)
    await drain(app)
    return await app.fetch(stored)


async def test_what_was_returned_comes_back_type_by_type(app):
    stored = await done(app, tape.new("value"))

    assert await app.recorded(stored) == await app.recorded(stored.id) == await app.recorded(UUID(stored.id)) == VALUE


async def test_a_thread_and_a_class_record_too(app):
    in_thread, of_class = await done(app, tape_in_a_thread.new("large")), await done(app, Taping.new())

    assert await app.recorded(in_thread) == ANSWERS["large"]
    assert await app.recorded(of_class) == 1


async def test_null_is_recorded_and_none_records_nothing(app):
    null, nothing = await done(app, tape.new("null")), await done(app, tape.new("nothing"))

    assert await app.recorded(null) is None
    with pytest.raises(NothingRecorded, match=f"job {nothing.id} has recorded nothing"):
        await app.recorded(nothing)


@pytest.mark.parametrize("what", ["snooze", "cancel", "discard", "fail"])
async def test_an_outcome_is_not_recorded(app, what):
    stored = await done(app, tape.options(max_attempts=1).new(what))

    with pytest.raises(NothingRecorded):
        await app.recorded(stored)


async def test_a_worker_that_is_not_recorded_records_nothing(app):
    stored = await done(app, no_tape.new())

    with pytest.raises(NothingRecorded) as refused:
        await app.recorded(stored)
    assert refused.value.job_id == stored.id


async def test_a_job_that_is_not_there_is_told_from_one_that_recorded_nothing(app):
    with pytest.raises(JobNotFound):
        await app.recorded(uuid4())


@pytest.mark.parametrize(("what", "name"), [("large", "ResultTooLarge"), ("object", "UnencodableResult")])
async def test_what_cannot_be_recorded_discards_the_job_and_does_not_run_it_again(app, what, name):
    ran.clear()

    stored = await done(app, tape.new(what))

    assert (stored.state, stored.errors[-1].type) == ("discarded", name)
    assert ran == [what]
    assert "the recorded result takes" in await reason_of(app, stored) or "result.at" in await reason_of(app, stored)
    with pytest.raises(NothingRecorded):
        await app.recorded(stored)


async def test_a_larger_limit_keeps_more(app):
    stored = await done(app, tape_in_a_thread.new("large"))

    assert stored.state == "completed"


async def test_a_retry_by_an_operator_clears_what_was_recorded(app):
    stored = await done(app, Taping.new())
    await app.queue("default").pause()
    await eventually(lambda: app._crew is not None and app._crew.paused)

    await app.retry(stored)
    with pytest.raises(NothingRecorded):
        await app.recorded(stored)
    await app.queue("default").resume()
    await drain(app)

    assert await app.recorded(stored) == 2


async def test_a_step_records_what_it_gives_to_the_next_one(app):
    @job(name="next")
    async def add_one() -> int:
        return int(results.get_result("first")) + 1

    flow = Workflow()
    first = flow.add("first", Taping.new())
    flow.add("next", add_one.new(), deps=first)
    await finish(app, flow)

    assert await app.recorded(first.job) == 1
    assert await result_of(app, flow, "next") == 2


async def test_a_step_that_is_retried_with_its_results_keeps_what_it_recorded(app):
    flow = Workflow()
    first = flow.add("first", Taping.new())
    await finish(app, flow)

    await app.retry(first.job, keep_results=True)
    await app.workflow(flow.id).wait(timeout=30)

    assert (await app.fetch(first.job)).attempt == 2
    assert await app.recorded(first.job) == 1


async def test_another_job_reads_what_was_recorded(app):
    @job(name="reader")
    async def read(of: str) -> Any:
        return await current_app().recorded(of)

    @job(name="plain reader")
    def read_in_a_thread(of: str) -> Any:
        return blocking.recorded(of)

    stored = await done(app, tape.new("value"))
    flow = Workflow()
    flow.add("reader", read.new(stored.id))
    flow.add("plain", read_in_a_thread.new(stored.id))
    await finish(app, flow)

    assert await result_of(app, flow, "reader") == await result_of(app, flow, "plain") == VALUE


async def test_an_async_job_is_told_to_await_it(app):
    @job(name="wrong reader", max_attempts=1)
    async def read(of: str) -> Any:
        return blocking.recorded(of)

    stored = await done(app, read.new(str(uuid4())))

    assert stored.errors[-1].type == WouldDeadlock.__name__


async def test_any_process_reads_it_also_one_that_does_not_know_the_worker(app, open_app):
    stored = await done(app, tape.new("value"))
    elsewhere = await open_app()

    assert await elsewhere.recorded(stored.id) == VALUE
