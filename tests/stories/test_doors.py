"""The doors of an app: what they refuse, with a sentence that helps, and what they let in as it was meant."""

from typing import Any
from uuid import uuid4

import pytest

from tenuto import Job, JobState, Tenuto, Workflow
from tenuto.errors import InvalidJob, InvalidWorkflow, JobNotFound
from tenuto.job import AVAILABLE, COMPLETED, EXECUTING, SCHEDULED
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, finish, runs_of

AnyJob = Job[Any, Any]


@pytest.fixture
async def door(open_app: OpenApp) -> Tenuto:
    """An app that works on nothing."""
    return await open_app()


def by_hand(**fields: Any) -> AnyJob:
    """A Job made without its worker."""
    return Job("obey", {"does": "nothing"}, **fields)


# ── enqueue ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "work", ["abc", b"abc", 5, None, [Obey.ok(), 5], {"a": Obey.ok()}, Obey, [Workflow()]], ids=str
)
async def test_what_is_no_job_is_not_enqueued(door: Tenuto, work: Any) -> None:
    with pytest.raises(InvalidJob, match=r"enqueue takes one Workflow, or a Job or several, and not .*new\(\)"):
        await door.enqueue(work)

    assert await door.find() == []


async def test_jobs_come_from_any_iterable(door: Tenuto) -> None:
    made = await door.enqueue(Obey.ok() for _ in range(3))  # type: ignore[call-overload]

    assert {each.id for each in await door.find()} == {each.id for each in made}


@pytest.mark.parametrize("state", [state for state in JobState if state is not AVAILABLE])
async def test_a_new_job_in_another_state_than_available_is_refused(door: Tenuto, state: JobState) -> None:
    with pytest.raises(InvalidJob, match=f"never stored and says that it is {state}"):
        await door.enqueue([Obey.ok(), by_hand(state=state)])
    with pytest.raises(InvalidWorkflow, match=f"'a' holds a Job that says it is {state}"):
        Workflow().add("a", by_hand(state=state))

    assert await door.find() == []


async def test_a_step_is_not_enqueued_without_its_workflow(door: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps="a")

    for step in flow.rows().jobs:
        with pytest.raises(InvalidJob, match=f"{step.id} is a step.*; enqueue the Workflow"):
            await door.enqueue(step)
    with pytest.raises(InvalidJob, match="enqueue the Workflow"):
        await door.enqueue(by_hand(waiting_on=1))

    assert await door.find() == []


async def test_a_job_made_by_hand_is_stored_as_a_worker_makes_it(door: Tenuto) -> None:
    id = uuid4()

    await door.enqueue(by_hand(id=str(id).upper(), tags=[" Mail", "MAIL"], timeout=5, schedule_in=60))

    stored = await door.fetch(id)
    assert (stored.tags, stored.state, stored.timeout and stored.timeout.seconds) == (("mail",), SCHEDULED, 5)
    assert [each.id for each in await door.find(tag="mail")] == [str(id)]


# ── enqueue what was stored ───────────────────────────────────────────────────────────────────────


async def test_a_job_that_was_fetched_comes_back_as_it_is_now(app: Tenuto) -> None:
    gate = Gate()
    made = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)
    running = await app.fetch(made)

    assert running.state is EXECUTING
    again = await app.enqueue(running)
    assert (again.existing, again.state, again.attempt) == (True, EXECUTING, 1)

    gate.open()
    await drain(app)
    again = await app.enqueue(running)
    assert (again.existing, again.state) == (True, COMPLETED)
    assert (await app.enqueue(again)).existing
    assert len(runs_of(made)) == 1


async def test_a_job_that_was_fetched_and_is_gone_begins_again(app: Tenuto) -> None:
    made = await app.enqueue(Obey.fail_times(1, tags=["kept"]))
    await drain(app)
    ended = await app.fetch(made)
    await app.delete(made)

    again = await app.enqueue(ended)

    assert (again.existing, again.state, again.attempt, again.errors) == (False, AVAILABLE, 0, ())
    await drain(app)
    stored = await app.fetch(made)
    assert (stored.state, stored.attempt, stored.tags, len(stored.errors)) == (COMPLETED, 2, ("kept",), 1)


async def test_a_step_that_was_fetched_comes_back_as_it_is_now_and_is_never_stored_alone(app: Tenuto) -> None:
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps="a")
    stored = await app.enqueue(flow)
    waiting = stored.jobs["b"]
    await finish(app, flow)

    again = await app.enqueue(waiting)
    assert (again.existing, again.state) == (True, COMPLETED)

    await app.delete(waiting)
    with pytest.raises(JobNotFound):
        await app.enqueue([Obey.ok(), waiting])
    assert [each.id for each in await app.find()] == [flow.jobs["a"].id]
