"""Assertions on what is enqueued: what fits is found as it is stored, and a failure shows what is there instead."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY
from uuid import UUID

import pytest

from tenuto import Job, KeyRing, Worker, Workflow, job
from tenuto.definition import forget
from tenuto.errors import InvalidArgs, InvalidRequest, UnknownWorker
from tenuto.testing import Clock, all_enqueued, assert_enqueued, drain, refute_enqueued
from tests.kit import Obey

RING = KeyRing("k1", {"k1": b64encode(b"a key of 32 bytes, for this test").decode()})
ID = UUID("01890000-0000-7000-8000-000000000000")


@job(name="enqueued.mail", queue="mail", aliases=["enqueued.letter"], tags=["post"])
async def mail(to: str, subject: str = "Hello", at: datetime | None = None, id: UUID | None = None) -> None: ...


@dataclass
class Order:
    item: str
    number: int = 1


class Ship(Worker[Order, None], name="enqueued.ship"):
    async def process(self, job: Job[Order, None]) -> None: ...


@job(name="enqueued.secret", encrypted=RING)
async def secret(pin: str) -> None: ...


# ── what fits ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_found_by_all_that_can_be_said_of_it(app):
    when = datetime(2099, 1, 1, tzinfo=UTC)
    stored = await app.enqueue(
        mail.options(priority=3, tags=["Urgent", "b"], meta={"tenant": {"id": 7}, "x": 1}, scheduled_at=when).new("ada")
    )

    found = await assert_enqueued(
        app,
        worker=mail,
        args={"to": "ada"},
        queue="mail",
        state="scheduled",
        priority=3,
        tags=["urgent"],
        meta={"tenant": {"id": 7}},
        scheduled_at=when,
        where=lambda job: job.max_attempts == 20,
    )

    assert found.id == stored.id


@pytest.mark.parametrize(
    "wanted",
    [
        {"worker": Ship},
        {"args": {"to": "bob"}},
        {"args": {"to": "ada", "subject": "Bye"}},
        {"args": {"pin": 1}},
        {"queue": "default"},
        {"state": "available"},
        {"priority": 1},
        {"tags": ["post", "other"]},
        {"meta": {"tenant": 8}},
        {"meta": {"nothing": None}},
        {"scheduled_at": datetime(2099, 1, 2, tzinfo=UTC)},
        {"workflow": ID},
        {"where": lambda job: job.priority},
    ],
)
async def test_one_thing_that_differs_is_enough_not_to_fit(app, wanted):
    await app.enqueue(mail.options(meta={"tenant": 7}, scheduled_at=datetime(2099, 1, 1, tzinfo=UTC)).new("ada"))

    await refute_enqueued(app, **wanted)
    with pytest.raises(AssertionError):
        await assert_enqueued(app, **wanted)


async def test_args_are_compared_as_they_are_stored(app):
    at = datetime(2030, 1, 1, tzinfo=UTC)
    await app.enqueue(mail.new("ada", at=at, id=ID))

    await assert_enqueued(app, worker=mail, args={"at": at, "id": ID})
    await assert_enqueued(app, worker=mail, args={"to": ANY, "subject": "Hello"})


async def test_an_instance_of_a_workers_args_means_all_of_them(app):
    await app.enqueue(Ship.new(item="tea", number=2))

    await assert_enqueued(app, worker=Ship, args=Order("tea", 2))
    await refute_enqueued(app, worker=Ship, args=Order("tea"))
    await assert_enqueued(app, worker=Ship, args={"item": "tea"})


async def test_a_worker_is_found_by_its_name_and_under_the_names_it_had(app):
    for name in ("enqueued.old", "enqueued.new"):
        forget(name)

    @job(name="enqueued.old")
    async def old() -> None: ...

    await app.enqueue(old.new())
    forget("enqueued.old")

    @job(name="enqueued.new", aliases=["enqueued.old"])
    async def new() -> None: ...

    for worker in (new, "enqueued.new", "enqueued.old"):
        await assert_enqueued(app, worker=worker)


async def test_args_of_encrypted_workers_are_opened(app):
    await app.enqueue(secret.new("1234"))

    await assert_enqueued(app, worker=secret, args={"pin": "1234"})
    await refute_enqueued(app, worker=secret, args={"pin": "0000"})


async def test_steps_are_found_by_their_workflow(app):
    flow = Workflow()
    flow.add("a", mail.new("ada"))
    flow.add("b", mail.new("bob"), deps=["a"])
    await app.enqueue(flow)
    await app.enqueue(mail.new("eve"))

    assert [job.args["to"] for job in await all_enqueued(app, workflow=flow.id)] == ["ada", "bob"]


async def test_what_ended_is_enqueued_no_more_unless_it_is_asked_for(app):
    await app.enqueue(Obey.value(1))
    await drain(app)

    await refute_enqueued(app, worker=Obey)
    await assert_enqueued(app, worker=Obey, state="completed")


async def test_an_instant_is_exact_by_a_clock_that_stands_still(app):
    async with Clock(app) as clock:
        await app.enqueue(mail.options(schedule_in=timedelta(hours=1)).new("ada"))

        await assert_enqueued(app, scheduled_at=clock.now + timedelta(hours=1))
        await refute_enqueued(app, scheduled_at=clock.now + timedelta(hours=1, seconds=2))


async def test_all_of_many_are_found_the_first_one_first(app):
    await app.enqueue([mail.new(str(number)) for number in range(2345)])

    assert [job.args["to"] for job in await all_enqueued(app)] == [str(number) for number in range(2345)]


# ── what is counted, and said ─────────────────────────────────────────────────────────────────────


async def test_how_many_there_are_can_be_asserted(app):
    await app.enqueue([mail.new("ada"), mail.new("ada"), mail.new("bob")])

    await assert_enqueued(app, args={"to": "ada"}, count=2)
    with pytest.raises(AssertionError, match="2 jobs are enqueued, and not 1, with args="):
        await assert_enqueued(app, args={"to": "ada"}, count=1)
    with pytest.raises(InvalidRequest, match="use refute_enqueued"):
        await assert_enqueued(app, count=0)


async def test_a_failure_shows_what_is_there_instead_and_why_it_does_not_fit(app):
    await app.enqueue([Obey.ok(), mail.new("bob"), mail.options(queue="slow", schedule_in=60).new("ada")])
    await app.enqueue(mail.options(priority=1).new("ada"))
    await app.cancel((await all_enqueued(app, priority=1))[0])

    with pytest.raises(AssertionError) as failed:
        await assert_enqueued(app, worker=mail, args={"to": "ada"}, queue="mail")

    first, *there = str(failed.value).splitlines()
    assert first == "no job is enqueued with worker='enqueued.mail', args={'to': 'ada'}, queue='mail'"
    assert there[0].startswith("  enqueued.mail is available, queue='mail' args={'to': 'bob', 'subject': 'Hello'")
    assert there[0].endswith("<- args.to is 'bob'")
    assert there[1].startswith("  enqueued.mail is scheduled for ")
    assert there[1].endswith("<- queue is 'slow'")
    assert "obey is available" in there[2]
    assert there[2].endswith("<- another worker; args.to is not there; queue is 'default'")
    assert there[3] == "these fit, and wait no more:"
    assert "is cancelled" in there[4]


async def test_a_refuted_one_shows_which_are_there(app):
    await app.enqueue([mail.new("ada") for _ in range(20)])

    with pytest.raises(AssertionError, match=r"20 jobs are enqueued with worker='enqueued.mail'\n") as failed:
        await refute_enqueued(app, worker=mail)

    assert str(failed.value).endswith("  and 5 more")


async def test_an_empty_store_says_so(app):
    with pytest.raises(AssertionError, match="no job is suspended or scheduled or available or retryable"):
        await assert_enqueued(app)


# ── what can never fit ────────────────────────────────────────────────────────────────────────────


async def test_a_typo_is_told_and_refutes_nothing(app):
    with pytest.raises(UnknownWorker, match=r"enqueued\.mial"):
        await refute_enqueued(app, worker="enqueued.mial")
    with pytest.raises(InvalidArgs, match="too: it has no arg of this name"):
        await refute_enqueued(app, worker=mail, args={"too": "ada"})
    with pytest.raises(InvalidArgs, match="itme"):
        await refute_enqueued(app, worker=Ship, args={"itme": "tea"})
    with pytest.raises(InvalidRequest, match="waiting"):
        await refute_enqueued(app, state="waiting")
    with pytest.raises(InvalidRequest, match="nothing is called 'quue'"):
        await refute_enqueued(app, quue="mail")  # type: ignore[call-arg]
    with pytest.raises(InvalidRequest, match="name the worker"):
        await refute_enqueued(app, args=Order("tea"))
