"""Relays of every kind of worker and of every other ending: what is sealed, chained, limited, far away, or ended by
somebody else answers as any job does.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tenuto import (
    Cancel,
    Cancelled,
    Chain,
    Completed,
    Discard,
    Discarded,
    Encrypted,
    Failed,
    KeyRing,
    Queue,
    Snooze,
    Snoozed,
    Tenuto,
    TooLarge,
    Unique,
    Workflow,
    current_job,
    job,
)
from tenuto.definition import forget, registered
from tenuto.errors import JobFailed, KeyUnavailable
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, ToldTo, eventually
from tests.storage.tables import Tables, look_into
from tests.stories import afar_workers as afar

SECRET = "DE02 1203"
KEYS = {"old": KeyRing.new_key(), "new": KeyRing.new_key()}
RING = KeyRing("new", KEYS)


@job(name="relayed vault", encrypted=RING, backoff=0, max_attempts=2)
async def vault(secret: str, does: str = "return") -> Any:
    match does:
        case "return":
            return {"kept": secret}
        case "fail":
            raise ToldTo(secret)
        case "unstorable":
            return {secret: object()}
        case "much":
            return secret * 2_000_000
        case "cancel":
            return Cancel(f"no more of {secret}")
        case "discard":
            return Discard(f"never again {secret}")
        case _:
            return Snooze(60)


@job(name="relayed link", chain=Chain(by=["args.account"]))
async def link(account: int, n: int) -> int:
    return n


@job(name="relayed much", recorded=True)
async def much(size: int) -> str:
    return "".join(chr(33 + (n * n * 31 + n // 7) % 5000) for n in range(size))


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    with look_into(database_url) as tables:
        yield tables


@pytest.fixture(autouse=True)
def own_workers() -> Iterator[None]:
    """Workers that a test defines are its own."""
    before = set(registered())
    yield
    for name in set(registered()) - before:
        forget(name)


def row_of(tables: Tables) -> str:
    """All that is stored of the one job."""
    (row,) = tables.rows("select * from jobs")
    return str(dict(row))


# ── sealed ────────────────────────────────────────────────────────────────────────────────────────


async def test_an_encrypted_workers_answer_is_sealed_at_rest_and_opened_where_it_is_awaited(
    app: Tenuto, tables: Tables
):
    relay = await app.relay(vault.new(SECRET))

    assert await relay.result() == {"kept": SECRET}
    assert await (await app.relay_to(relay.id)).result() == {"kept": SECRET}
    (row,) = tables.rows("select answer from jobs")
    assert str(row["answer"]).startswith('{"completed":{"$sealed":')
    assert SECRET not in row_of(tables)


SAID = {"fail": Failed, "discard": Discarded, "cancel": Cancelled}


@pytest.mark.parametrize("does", SAID)
async def test_what_it_says_of_another_ending_is_sealed_and_opened_too(app: Tenuto, tables: Tables, does: str):
    outcome = await (await app.relay(vault.new(SECRET, does))).outcome()

    assert isinstance(outcome, Failed | Discarded | Cancelled)
    assert type(outcome) is SAID[does]
    assert SECRET in (outcome.reason if isinstance(outcome, Cancelled) else outcome.error.message)
    assert SECRET not in row_of(tables)


async def test_with_retries_its_last_failure_is_opened(app: Tenuto, tables: Tables):
    relay = await app.relay(vault.new(SECRET, "fail"))
    outcome = await relay.outcome(with_retries=True)

    assert isinstance(outcome, Discarded)
    assert (outcome.error.attempt, outcome.error.message) == (2, SECRET)
    assert SECRET in outcome.error.traceback
    with pytest.raises(JobFailed, match=SECRET):  # the first one, as it was
        await relay.result()
    assert SECRET not in row_of(tables)


async def test_a_value_that_cannot_be_kept_gives_nothing_of_itself_away(app: Tenuto, tables: Tables):
    outcome = await (await app.relay(vault.new(SECRET, "unstorable"))).outcome()

    assert isinstance(outcome, Failed)
    assert outcome.error.type == "UnencodableResult"
    assert SECRET not in outcome.error.message
    assert SECRET not in row_of(tables)


async def test_of_a_value_that_is_too_large_its_size_is_told_and_nothing_else(app: Tenuto, tables: Tables):
    assert await (await app.relay(vault.new(SECRET, "much"))).outcome() == TooLarge(18_000_002)
    assert SECRET not in row_of(tables)


async def test_its_snooze_is_no_secret(app: Tenuto):
    assert await (await app.relay(vault.new(SECRET, "snooze"))).outcome() == Snoozed(timedelta(minutes=1))


async def test_an_answer_is_opened_after_its_key_was_rotated(app: Tenuto, tables: Tables):
    rings = [KeyRing("old", {"old": KEYS["old"]})]

    @job(name="relayed rotating", encrypted=Encrypted(lambda: rings[-1]))
    async def rotating(secret: str) -> str:
        return secret

    relay = await app.relay(rotating.new(SECRET))
    await relay.result()
    rings.append(RING)

    assert await relay.result() == SECRET
    assert "old" in row_of(tables)


async def test_who_waits_without_the_key_is_told_which_one_it_lacks(app: Tenuto):
    @job(name="relayed elsewhere", encrypted=KeyRing("other", {"other": KeyRing.new_key()}))
    async def theirs(secret: str) -> str:
        return secret

    relay = await app.relay(theirs.new(SECRET))
    await relay.result()
    forget("relayed elsewhere")

    for wait in (relay.result, relay.outcome):
        with pytest.raises(KeyUnavailable, match="other") as refused:
            await wait()
        assert (refused.value.key_id, refused.value.worker) == ("other", "relayed elsewhere")


# ── by name alone ─────────────────────────────────────────────────────────────────────────────────


async def test_who_waits_need_not_know_the_worker_nor_anything_of_its_values(app: Tenuto):
    at = datetime(2026, 1, 2, tzinfo=UTC)

    @job(name="relayed unknown")
    async def unknown() -> Any:
        return {"at": at, "size": Decimal("1.50"), "pair": (1, {2})}

    relay = await app.relay(unknown.new())
    await relay.result()
    forget("relayed unknown")

    assert await (await app.relay_to(relay.id)).result() == {"at": at, "size": Decimal("1.50"), "pair": (1, {2})}


# ── by what their worker says ─────────────────────────────────────────────────────────────────────


async def test_links_of_one_chain_answer_each_with_their_own(app: Tenuto):
    links = await app.relay([link.new(1, n) for n in range(20)])

    assert await app.await_many(links, timeout=30) == [Completed(n) for n in range(20)]


async def test_two_that_relay_the_same_unique_job_get_one_answer(app: Tenuto):
    same = [await app.relay(Obey.value(7, unique=Unique(fields=["worker", "args"]), schedule_in=0.2)) for _ in range(2)]

    assert same[0].id == same[1].id
    assert await app.await_many(same) == [Completed(7), Completed(7)]


async def test_jobs_of_a_limited_queue_answer_in_their_turn(open_app: OpenApp):
    app = await open_app(queues={"default": Queue(10, limit=1)})
    ten = await app.relay([Obey.value(n) for n in range(10)])

    assert await app.await_many(ten, timeout=30) == [Completed(n) for n in range(10)]


async def test_a_recorded_value_that_is_too_large_discards_its_job_and_says_so(app: Tenuto):
    outcome = await (await app.relay(much.new(200_000))).outcome()

    assert isinstance(outcome, Discarded)
    assert outcome.error.type == "ResultTooLarge"


async def test_a_step_that_failed_answers_as_its_workflow_goes_on(app: Tenuto):
    flow = Workflow(ignore_discarded=True)
    flow.add("fails", Obey.fail("no luck"))
    flow.add("after", Obey.value(2), deps=["fails"])
    await app.enqueue(flow)
    fails, after = [await app.relay_to(flow.jobs[name]) for name in ("fails", "after")]

    outcome = await fails.outcome()
    assert isinstance(outcome, Discarded)
    assert outcome.error.message == "no luck"
    assert await after.result() == 2


async def test_a_job_of_a_cron_entry_is_awaited_by_its_id(open_app: OpenApp):
    gate = Gate()
    app = await open_app(queues={"default": 1}, cron={})
    app.cron.add("nightly", "0 0 1 1 *", Obey.wait_at(gate))
    await app.stop()
    await app.start()

    async def is_declared() -> bool:
        return any(not entry.is_stale for entry in await app.cron.list())

    await eventually(is_declared)
    await app.cron.run("nightly")
    await eventually(lambda: gate.waiting)
    (stored,) = await app.find(state="executing")
    relay = await app.relay_to(stored.id)
    gate.open()

    assert await relay.result(timeout=20) is None


async def test_jobs_in_other_processes_and_on_somebodys_executor_answer(open_app: OpenApp):
    with ThreadPoolExecutor(1) as pool:
        app = await open_app(queues={afar.QUEUE: 2, "pool": 1}, executors={"pool": pool})

        @job(name="relayed pool", queue="pool", runs_in="pool")
        def on_pool(n: int) -> int:
            return n * 2

        there, discarded = await app.relay([afar.come_to.new("null"), afar.come_to.new("discard")])
        assert await there.outcome(timeout=30) == Completed(None)
        outcome = await discarded.outcome(timeout=30)
        assert isinstance(outcome, Discarded)
        assert await (await app.relay(afar.whose_process.new())).result(timeout=30) > 1
        assert await (await app.relay(on_pool.new(4))).result(timeout=30) == 8


# ── ended by something else ───────────────────────────────────────────────────────────────────────


async def test_who_is_past_its_deadline_is_cancelled_and_says_so(open_app: OpenApp):
    app = await open_app(queues={"another": 1})  # nobody takes it: a sweep ends it

    @job(name="relayed overdue", deadline=timedelta(seconds=0.2))
    async def late() -> None: ...

    outcome = await (await app.relay(late.new())).outcome(timeout=30)
    assert isinstance(outcome, Cancelled)
    assert "deadline" in outcome.reason


async def test_a_step_whose_need_ended_badly_is_cancelled_and_names_it(app: Tenuto):
    gate = Gate()
    flow = Workflow()
    flow.add("gate", Obey.wait_at(gate))
    flow.add("need", Obey.fail(SECRET), deps=["gate"])
    flow.add("after", Obey.ok(), deps=["need"])
    await app.enqueue(flow)
    relay = await app.relay_to(flow.jobs["after"])
    await eventually(lambda: gate.waiting)
    gate.open()

    outcome = await relay.outcome(timeout=20)
    assert isinstance(outcome, Cancelled)
    assert "need" in outcome.reason
    assert SECRET not in outcome.reason


@job(name="relayed twice", max_attempts=1)
async def twice(first: str) -> int:
    if current_job().epoch == 1 and first == "fails":
        raise ToldTo(first)
    return current_job().epoch


async def test_an_operators_retry_keeps_a_value_that_answered_and_with_retries_gives_the_new_one(app: Tenuto):
    relay = await app.relay(twice.new("returns"))
    await relay.result()
    await app.retry(relay.id)

    assert await relay.result(with_retries=True) == 2
    assert await relay.result() == 1


async def test_an_operators_retry_of_what_ended_badly_gives_it_another_answer(app: Tenuto):
    relay = await app.relay(twice.new("fails"))
    assert isinstance(await relay.outcome(), Discarded)
    await app.retry(relay.id)

    assert await relay.result() == 2
    assert await relay.result(with_retries=True) == 2
