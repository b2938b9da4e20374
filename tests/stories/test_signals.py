"""Signals: jobs that wait for something outside take no slot, survive everything, and go on when it comes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from enum import Enum
from typing import Any

import pytest

from tenuto import (
    Chain,
    Completed,
    KeyRing,
    Queue,
    Received,
    Tenuto,
    TimedOut,
    Workflow,
    blocking,
    current_app,
    current_job,
    job,
    telemetry,
    wait_for_signal,
)
from tenuto.errors import (
    InvalidJob,
    JobEnded,
    JobNotFound,
    NotInJob,
    TooLarge,
    Unencodable,
    WorkflowFinished,
    WorkflowNotFound,
)
from tests.kit import ROOT, Obey, drain, eventually, finish, kill, reason_of, result_of
from tests.stories.asking import asks

RACES = int(os.environ.get("TENUTO_SIGNAL_RACES", "200"))
RUNS: Counter[str] = Counter()


class Word(Enum):
    GO = "go"


@job(name="signals-wait", max_attempts=1)
async def wait(name: str = "go", timeout: float | None = None) -> list[Any]:
    """What came of the wait for one signal: the value, or None, and how often this was run."""
    RUNS[current_job().id] += 1
    match await wait_for_signal(name, timeout=timeout):
        case Received(value):
            return ["received", value, current_job().attempt, current_job().snoozes]
        case TimedOut():
            return ["timed out", None, current_job().attempt, current_job().snoozes]


@job(name="signals-wait-plainly", max_attempts=1)
def wait_plainly(name: str = "go") -> Any:
    match blocking.wait_for_signal(name):
        case Received(value):
            return value
        case TimedOut():
            return "timed out"


async def until_it_waits(app: Tenuto, *jobs: Any) -> None:
    """Wait until each of these jobs waits for a signal."""

    async def all_wait() -> bool:
        return all([await app.waits(each) for each in jobs])

    await eventually(all_wait)


# ── received ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("worker", [wait, wait_plainly], ids=["awaited", "plain function"])
async def test_a_job_waits_for_a_signal_and_goes_on_with_its_value(app, worker):
    relay = await app.relay(worker.new())
    await until_it_waits(app, relay.job)

    assert await app.signal(relay.id, "go", {"by": "ada"}) is True

    value = await relay.result(timeout=20)
    assert value in (["received", {"by": "ada"}, 1, 0], {"by": "ada"})
    after = await app.fetch(relay.id)
    assert (after.attempt, after.snoozes, after.errors, after.rescues) == (1, 0, (), 0)


async def test_an_early_signal_is_received_without_a_wait(app):
    waiting = await app.enqueue(wait.options(schedule_in=3600).new())
    await app.signal(waiting, Word.GO, 7)
    relay = await app.relay_to(waiting)

    await app.update(waiting, {"schedule_in": 0})

    assert await relay.result(timeout=20) == ["received", 7, 1, 0]
    assert RUNS[waiting.id] == 1


async def test_none_is_a_value_as_any_other(app):
    relay = await app.relay(wait.new())
    await app.signal(relay.id, "go")

    assert (await relay.result(timeout=20))[:2] == ["received", None]


async def test_only_the_first_signal_of_a_name_counts(app):
    relay = await app.relay(wait.options(schedule_in=0.2).new())

    first, second = await app.signal(relay.id, "go", "first"), await app.signal(relay.id, "go", "second")

    assert (first, second) == (True, False)
    assert (await relay.result(timeout=20))[1] == "first"


async def test_a_job_that_waits_takes_no_slot(open_app):
    app = await open_app(queues={"default": 1})
    waiting = await app.enqueue([wait.new() for _ in range(3)])
    await until_it_waits(app, *waiting)

    relay = await app.relay(Obey.value("through"))

    assert await relay.result(timeout=20) == "through"


async def test_a_link_that_waits_is_not_overtaken(app):
    first, second = await app.enqueue([link.new("first"), link.new("second")])
    await until_it_waits(app, first)

    assert (await app.fetch(second)).state == "suspended"
    await app.signal(first, "go")
    await until_it_waits(app, second)

    assert (await app.fetch(first)).state == "completed"


@job(name="signals-link", chain=Chain())
async def link(name: str) -> None:
    await wait_for_signal("go")


async def test_a_signal_of_a_workflow_reaches_every_step_that_waits_now_or_later(app):
    flow = Workflow()
    flow.add("a", wait.new())
    flow.add("b", wait.new())
    flow.add("c", wait.new(), deps=["a"])
    await app.enqueue(flow)
    await until_it_waits(app, flow.jobs["a"], flow.jobs["b"])

    assert await app.signal(flow, "go", 1) is True

    status = await app.workflow(flow.id).wait(timeout=30)
    assert status.outcome == "completed"
    assert RUNS[flow.jobs["c"].id] == 1


async def test_the_status_says_what_a_step_waits_for(app):
    flow = Workflow()
    flow.add("ask", wait.new("approved", timeout=3600))
    flow.add("after", wait.new(), deps=["ask"])
    await app.enqueue(flow)
    await until_it_waits(app, flow.jobs["ask"])

    told = {step.name: step.waits_for for step in (await app.workflow(flow.id).status()).steps}

    assert told == {"ask": ("approved",), "after": ()}
    (known,) = await app.waits(flow.jobs["ask"])
    assert known.name == "approved"
    assert known.until is not None


async def test_a_step_that_is_retried_hears_the_same_again(app):
    flow = Workflow()
    flow.add("ask", wait.new())
    await app.enqueue(flow)
    await app.signal(flow, "go", "yes")
    await app.workflow(flow.id).wait(timeout=20)

    await app.retry(flow.jobs["ask"])
    await app.workflow(flow.id).wait(timeout=20)

    assert (await result_of(app, flow, "ask"))[1] == "yes"


# ── several ───────────────────────────────────────────────────────────────────────────────────────


@job(name="signals-both")
async def both(at_once: str) -> list[Any]:
    RUNS[current_job().id] += 1
    if at_once == "gathered":
        answers = list(await asyncio.gather(wait_for_signal("a"), wait_for_signal("b")))
    elif at_once == "grouped":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait_for_signal(name)) for name in "ab"]
        answers = [task.result() for task in tasks]
    else:
        answers = [await wait_for_signal("a"), await wait_for_signal("b")]
    return [answer.value if isinstance(answer, Received) else None for answer in answers]


@pytest.mark.parametrize("how", ["one after the other", "gathered", "grouped"])
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_a_job_waits_for_two_signals_in_whatever_order_they_come(app, how, order):
    relay = await app.relay(both.new(how))
    await until_it_waits(app, relay.job)
    for nth, name in enumerate(order):
        await app.signal(relay.id, name, name.upper())
        if nth == 0:
            await eventually(lambda: waits_for_one(app, relay.id))

    assert await relay.result(timeout=20) == ["A", "B"]


async def waits_for_one(app: Tenuto, id: str) -> bool:
    return len(await app.waits(id)) == 1


@job(name="signals-either")
async def either() -> list[Any]:
    answer = await wait_for_signal("approved", "rejected", timeout=3600)
    return [answer.name, answer.value] if isinstance(answer, Received) else []


async def test_a_job_waits_for_the_first_of_several_signals(app):
    relay = await app.relay(either.new())
    await until_it_waits(app, relay.job)

    await app.signal(relay.id, "rejected", "too dear")

    assert await relay.result(timeout=20) == ["rejected", "too dear"]


# ── timed out ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_wait_whose_time_is_over_is_an_outcome(app):
    relay = await app.relay(wait.new(timeout=0.2))

    assert await relay.result(timeout=20) == ["timed out", None, 1, 0]


async def test_a_wait_that_timed_out_stays_so_whatever_comes_later(app):
    flow = Workflow()
    flow.add("ask", wait.new(timeout=0.2))
    flow.add("hold", wait.new("other"))
    await app.enqueue(flow)
    await eventually(lambda: has_ended(app, flow.jobs["ask"]))

    assert await app.signal(flow, "go", "late") is True
    await app.retry(flow.jobs["ask"])
    await eventually(lambda: has_ended(app, flow.jobs["ask"]))

    assert (await result_of(app, flow, "ask"))[0] == "timed out"


async def has_ended(app: Tenuto, waiting: Any) -> bool:
    return (await app.fetch(waiting)).state.is_terminal


async def test_no_time_at_all_only_looks(app):
    relay = await app.relay(wait.new(timeout=0))

    assert await relay.result(timeout=20) == ["timed out", None, 1, 0]
    assert RUNS[relay.id] == 1


async def test_who_only_looked_may_wait_afterwards(app):
    relay = await app.relay(looks_first.new())
    await until_it_waits(app, relay.job)
    await app.signal(relay.id, "go", 1)

    assert await relay.result(timeout=20) == 1


@job(name="signals-look-first")
async def looks_first() -> Any:
    await wait_for_signal("go", timeout=0)
    answer = await wait_for_signal("go")
    return answer.value if isinstance(answer, Received) else None


# ── what else may happen ──────────────────────────────────────────────────────────────────────────


async def test_who_waits_survives_the_death_of_its_node(open_app, database_url):
    app = await open_app()
    relay = await app.relay(asks.new())
    node = begin_to_ask(database_url)
    try:
        await until_it_waits(app, relay.job)
    finally:
        kill(node)
    await app.signal(relay.id, "go", "after a death")
    await open_app(queues={"default": 1})

    assert await relay.result(timeout=20) == "after a death"
    assert (await app.fetch(relay.id)).rescues == 0


def begin_to_ask(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.stories.asking", url], cwd=ROOT)


async def test_who_waits_can_be_cancelled_and_deleted(app):
    cancelled, deleted = await app.enqueue([wait.new(), wait.new()])
    await until_it_waits(app, cancelled, deleted)

    await app.cancel(cancelled)
    await app.delete(deleted)

    with pytest.raises(JobEnded, match="cancelled; retry it"):
        await app.signal(cancelled, "go")
    with pytest.raises(JobNotFound):
        await app.signal(deleted, "go")


async def test_who_is_retried_while_it_waits_waits_again(app):
    waiting = await app.enqueue(wait.new())
    await until_it_waits(app, waiting)

    await app.retry(waiting)
    await eventually(lambda: RUNS[waiting.id] == 2)
    await until_it_waits(app, waiting)
    await app.signal(waiting, "go")

    await drain(app)
    assert (await app.fetch(waiting)).state == "completed"


async def test_a_relay_is_not_answered_by_a_wait(app):
    relay = await app.relay(wait.new())
    await until_it_waits(app, relay.job)

    assert isinstance(await relay.outcome(timeout=0.2), TimedOut)


async def test_a_job_may_signal_another_one(app):
    waiting = await app.relay(wait.new())
    await app.enqueue(tells.new(waiting.id))

    assert (await waiting.result(timeout=20))[1] == "from a job"


@job(name="signals-tell")
async def tells(target: str) -> None:
    await current_app().signal(target, "go", "from a job")


async def test_it_is_told_what_waits_and_what_was_sent(app):
    told: list[tuple[str, Any]] = []
    keep = lambda event, payload: told.append((event, payload))  # noqa: E731
    telemetry.attach(keep, "job.wait", "signal.sent")
    try:
        waiting = await app.enqueue(wait.new())
        await until_it_waits(app, waiting)
        await app.signal(waiting, "go", 1)
    finally:
        telemetry.detach(keep)

    assert [(event, payload.get("names") or payload["woken"]) for event, payload in told] == [
        ("job.wait", ["go"]),
        ("signal.sent", [waiting.id]),
    ]


async def test_on_two_nodes_no_signal_is_missed_that_comes_while_a_job_begins_to_wait(open_app):
    nodes = [await open_app(queues={"default": 10}, node=f"node-{nth}") for nth in range(2)]
    relays = await nodes[0].relay([wait.new() for _ in range(RACES)])

    for nth, relay in enumerate(relays):
        assert await nodes[nth % 2].signal(relay.id, "go", nth)

    answers = await nodes[0].await_many(relays, timeout=60)
    assert [answer.value[1] for answer in answers if isinstance(answer, Completed)] == list(range(RACES))


async def test_a_job_that_waits_gives_its_place_under_a_limit_back(open_app):
    app = await open_app(queues={"default": Queue(10, limit=1)})
    waiting = await app.enqueue([wait.new() for _ in range(3)])

    await until_it_waits(app, *waiting)


async def test_an_encrypted_job_waits_as_any_other(app):
    relay = await app.relay(keeps_secret.new("secret"))
    await until_it_waits(app, relay.job)
    await app.signal(relay.id, "go", 1)

    assert await relay.result(timeout=20) == "secret 1"


@job(name="signals-secret", encrypted=KeyRing("1", {"1": KeyRing.new_key()}))
async def keeps_secret(secret: str) -> str:
    answer = await wait_for_signal("go")
    return f"{secret} {answer.value if isinstance(answer, Received) else None}"


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("", 1, InvalidJob),
        ("n" * 256, 1, InvalidJob),
        ("a\nb", 1, InvalidJob),
        (7, 1, InvalidJob),
        ("go", object(), Unencodable),
        ("go", "x" * 1_000_001, TooLarge),
    ],
)
async def test_a_signal_that_cannot_be_is_refused(app, name, value, refusal):
    waiting = await app.enqueue(wait.options(schedule_in=3600).new())

    with pytest.raises(refusal):
        await app.signal(waiting, name, value)


async def test_a_target_that_is_not_there_or_has_ended_is_refused(app):
    flow = Workflow()
    flow.add("a", Obey.ok())
    await finish(app, flow)

    with pytest.raises(WorkflowFinished, match="retry a step of it first"):
        await app.signal(flow, "go")
    with pytest.raises(WorkflowFinished):
        await app.signal(flow.jobs["a"], "go")
    with pytest.raises(WorkflowNotFound):
        await app.signal("01890000-0000-7000-8000-000000000000", "go")
    with pytest.raises(WorkflowNotFound):
        await app.signal(Workflow(), "go")
    with pytest.raises(JobNotFound):
        await app.signal(wait.new(), "go")
    with pytest.raises(InvalidJob, match="no id"):
        await app.signal("nobody", "go")


@job(name="signals-wrongly", max_attempts=1)
async def waits_wrongly(how: str) -> None:
    match how:
        case "no name":
            await wait_for_signal()
        case "negative":
            await wait_for_signal("go", timeout=-1)
        case "blocking":
            blocking.wait_for_signal("go")
        case _:
            await wait_for_signal("a\x00b")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no name", "takes the name of a signal"),
        ("negative", "out of range: zero to a hundred years"),
        ("blocking", "use `await wait_for_signal"),
        ("control", "control character"),
    ],
)
async def test_a_wait_that_cannot_be_fails_and_says_why(app, how, said):
    waiting = await app.enqueue(waits_wrongly.new(how))

    await eventually(lambda: has_ended(app, waiting))

    assert said in await reason_of(app, waiting)


async def test_nobody_waits_outside_of_a_job():
    with pytest.raises(NotInJob):
        await wait_for_signal("go")
    with pytest.raises(NotInJob):
        await asyncio.to_thread(blocking.wait_for_signal, "go")


@job(name="signals-elsewhere", runs_in="process", max_attempts=1)
async def waits_elsewhere() -> None:
    await wait_for_signal("go")


async def test_a_job_that_runs_elsewhere_cannot_wait_and_says_so(app):
    waiting = await app.enqueue(waits_elsewhere.new())

    await eventually(lambda: has_ended(app, waiting))

    assert "wait_for_signal() is not to be had" in await reason_of(app, waiting)
