"""The doors of an app: what they refuse, with a sentence that helps, and what they let in as it was meant."""

from typing import Any
from uuid import uuid4

import pytest

from tenuto import Job, JobState, Tenuto, Workflow, telemetry
from tenuto.errors import InvalidJob, InvalidRequest, InvalidWorkflow, JobNotFound
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
    "work",
    ["abc", b"abc", 5, None, [Obey.ok(), 5], {"a": Obey.ok()}, Obey, [Workflow()]],
    ids=["text", "bytes", "number", "none", "job-and-number", "mapping", "class", "workflows"],
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


# ── find ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [-1, 0, "x", "10", 1.5, True, None, 10**30], ids=str)
@pytest.mark.parametrize("verb", ["find", "workflows"])
async def test_a_limit_that_cannot_be_is_refused(door: Tenuto, verb: str, limit: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"limit=.* is out of range: 1 to 100,000"):
        await getattr(door, verb)(limit=limit)


@pytest.mark.parametrize("state", ["finshed", "completed", 5, ["running"], ""], ids=str)
async def test_a_state_that_no_workflow_has_is_refused_with_those_there_are(door: Tenuto, state: Any) -> None:
    with pytest.raises(InvalidRequest, match="no state of a workflow; there are running, finished"):
        await door.workflows(state=state)


@pytest.mark.parametrize("state", ["finished", 5, [5], [["available"]], ["available", "runing"], b"available"], ids=str)
async def test_a_state_that_no_job_has_is_refused_with_those_there_are(door: Tenuto, state: Any) -> None:
    for verb in (door.find, door.cancel):
        with pytest.raises(InvalidRequest, match=r"no state of a job; there are suspended, .*, discarded"):
            await verb(state=state)


@pytest.mark.parametrize("filter", ["queue", "worker", "workflow", "tag", "before"])
@pytest.mark.parametrize("value", [5, "", "a\0b", ["mail"]], ids=repr)
async def test_a_filter_that_no_job_can_fit_is_refused(door: Tenuto, filter: str, value: Any) -> None:
    with pytest.raises(InvalidJob):
        await door.find(**{filter: value})


@pytest.mark.parametrize("options", [{"name": 5}, {"name": ""}, {"before": 5}], ids=str)
async def test_a_filter_that_no_workflow_can_fit_is_refused(door: Tenuto, options: Any) -> None:
    with pytest.raises(InvalidJob):
        await door.workflows(**options)


# ── cancel, retry, delete, update ─────────────────────────────────────────────────────────────────

STEERED = ["cancel", "retry", "delete", "update"]


@pytest.mark.parametrize("verb", STEERED)
async def test_jobs_and_a_filter_together_are_refused_in_a_sentence(door: Tenuto, verb: str) -> None:
    made = await door.enqueue(Obey.ok())

    with pytest.raises(InvalidRequest) as refused:
        await getattr(door, verb)(made, queue="default", state="available")

    assert str(refused.value) == f"{verb} was given jobs and a filter, queue, state; name the jobs, or filter"
    assert (await door.fetch(made)).state is AVAILABLE


@pytest.mark.parametrize("verb", STEERED)
async def test_a_filter_that_is_misspelled_is_refused_with_those_there_are(door: Tenuto, verb: str) -> None:
    with pytest.raises(InvalidRequest, match="no filter is named 'quue'; there are state, queue"):
        await getattr(door, verb)(quue="default")


@pytest.mark.parametrize("verb", STEERED)
@pytest.mark.parametrize(
    "jobs",
    [5, True, object(), Workflow(), [5], ["x"], [None], "", b"x"],
    ids=["number", "truth", "object", "workflow", "numbers", "texts", "nones", "empty", "bytes"],
)
async def test_what_names_no_job_is_refused(door: Tenuto, verb: str, jobs: Any) -> None:
    with pytest.raises((InvalidRequest, InvalidJob), match=r"jobs or ids|is no id"):
        await getattr(door, verb)(jobs, **({"changes": {"priority": 3}} if verb == "update" else {}))


@pytest.mark.parametrize("verb", STEERED)
async def test_a_job_that_is_named_twice_counts_once(door: Tenuto, verb: str) -> None:
    made = await door.enqueue(Obey.ok())
    if verb == "retry":
        await door.cancel(made)
    changes = [{"priority": 3}] if verb == "update" else []

    assert await getattr(door, verb)([made, made.id, made], *changes) == [made.id]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (None, "changes are a dict"),
        ({}, "changes are a dict"),
        (5, "changes are a dict"),
        ("priority", "changes are a dict"),
        ([("priority", 3)], "changes are a dict"),
        ({"args": 5}, "args= is no mapping"),
        ({"args": "x"}, "args= is no mapping"),
        ({"args": None}, "args=None is no value"),
        ({"meta": None}, "meta=None is no value"),
        ({"meta": 5}, "meta= is no mapping"),
        ({"tags": None}, "tags=None is no value"),
        ({"tags": 5}, "tags=5 is no list"),
        ({"timeout": None}, "timeout=None is no value"),
        ({"timeout": "5"}, "timeout='5' is no duration"),
        ({"queue": 5}, "queue=5 is no text"),
        ({"priority": "high"}, "priority='high'"),
        ({"max_attempts": True}, "max_attempts=True"),
        ({"scheduled_at": "noon"}, "scheduled_at='noon'"),
        ({"state": "completed"}, "no field 'state' can be changed; there are args,"),
        ({5: 5}, "no field 5 can be changed"),
    ],
    ids=str,
)
async def test_a_change_that_cannot_be_is_refused(door: Tenuto, changes: Any, told: str) -> None:
    made = await door.enqueue(Obey.ok())

    for which in ({"jobs": made}, {"queue": "default"}, {"queue": "empty"}):
        with pytest.raises(InvalidJob) as refused:
            await door.update(**which, changes=changes)
        assert told in str(refused.value)

    assert await door.fetch(made) == made


# ── queues ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("slots", ["3", 1.5, True, -1, 0, 100_001, 10**30, [3]], ids=str)
async def test_slots_that_cannot_be_are_refused(door: Tenuto, slots: Any) -> None:
    queue = door.queue("mail")

    for verb in (queue.scale, queue.start):
        with pytest.raises(InvalidRequest, match=r"slots=.* is out of range: a whole number, 1 to 100,000"):
            await verb(slots)

    assert await door.queues() == []


@pytest.mark.parametrize("node", ["", 5, "a\0b"], ids=repr)
async def test_a_node_that_cannot_be_is_refused_and_does_not_mean_every_node(door: Tenuto, node: Any) -> None:
    with pytest.raises(InvalidJob, match="node="):
        await door.queue("mail").pause(node=node)

    assert await door.queues() == []


# ── telemetry ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("handler", [5, "job.start", None])
def test_what_cannot_be_called_is_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match="takes a function of"):
        telemetry.attach(handler)
