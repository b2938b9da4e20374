"""Relays, from the door in: a job is enqueued here, runs anywhere, and its answer is awaited."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from inspect import signature
from subprocess import Popen
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tenuto import (
    Cancelled,
    Chain,
    Completed,
    Discarded,
    Failed,
    Failure,
    Gone,
    Record,
    Relay,
    Snoozed,
    Tenuto,
    TimedOut,
    TooLarge,
    Workflow,
    current_app,
    current_job,
    job,
)
from tenuto.errors import (
    InvalidJob,
    InvalidRequest,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    JobNotFound,
    JobSnoozed,
    NotStarted,
    RelayTimedOut,
    ResultTooLarge,
    TenutoError,
)
from tenuto.relay import OURS_FIRST
from tenuto.runtime.notifier import packed
from tenuto.storage.database import Hint
from tenuto.storage.relays import kept
from tenuto.storage.upkeep import prune_jobs
from tests.kit import LEASE, Gate, Obey, drain, eventually, finish, worker_process
from tests.servers import PostgresServer
from tests.storage.build import Claimer
from tests.stories.relaying import held_meanwhile, killed_while_it_waits, tally_of, two_that_ask

RACES = int(os.environ.get("TENUTO_RACES", "1000"))  # between a commit and a wait that begins; 10,000 take a minute


@job(name="double")
async def double(n: int) -> int:
    return 2 * n


@job(name="double in a thread")
def double_in_a_thread(n: int) -> int:
    return 2 * n


@job(name="parent")
async def parent(n: int, queue: str = "default") -> int:
    relay = await current_app().relay(double.options(queue=queue).new(n))
    return int(await relay.result(timeout=20)) + 1


@job(name="grandparent")
async def grandparent(n: int) -> int:
    relay = await current_app().relay(parent.new(n))
    return int(await relay.result(timeout=20)) + 1


@job(name="selfish")
async def selfish() -> Any:
    relay = await current_app().relay_to(current_job())
    return await relay.result()


# ── what a wait gives ─────────────────────────────────────────────────────────────────────────────


async def test_the_value_of_a_job_comes_back_to_who_relayed_it(app):
    relay = await app.relay(double.new(21))

    assert await relay.result() == 42
    assert (relay.id, relay.job.awaited) == (relay.job.id, True)


async def test_a_function_in_a_thread_and_a_class_are_relayed_too(app):
    in_thread, of_class = await app.relay(double_in_a_thread.new(2)), await app.relay(Obey.value([1, 2]))

    assert (await in_thread.result(), await of_class.result()) == (4, [1, 2])


@pytest.mark.parametrize("value", [None, 0, "", {"a": (1, 2)}, Record(None)], ids=repr)
async def test_a_value_comes_back_as_it_was(app, value):
    relay = await app.relay(Obey.value(value.value if isinstance(value, Record) else value))

    assert await relay.outcome() == Completed(value.value if isinstance(value, Record) else value)


async def test_every_ending_has_an_outcome_to_match_and_an_error_to_catch(app):
    endings: list[tuple[Any, Any, type[TenutoError]]] = [
        (Obey.fail("no", max_attempts=2), Failed, JobFailed),
        (Obey.fail("no"), Discarded, JobDiscarded),
        (Obey.discard("no"), Discarded, JobDiscarded),
        (Obey.cancel("no"), Cancelled, JobCancelled),
        (Obey.snooze(3600), Snoozed, JobSnoozed),
    ]
    for work, kind, error in endings:
        relay = await app.relay(work)
        outcome = await relay.outcome()

        assert type(outcome) is kind
        with pytest.raises(error):
            await relay.result()


async def test_an_exception_arrives_as_data(app):
    relay = await app.relay(Obey.fail("no luck"))
    match await relay.outcome():
        case Discarded(Failure(type=kind, message=message, traceback=trace, attempt=attempt)):
            assert (kind, message, attempt) == ("ToldTo", "no luck", 1)
            assert "raise ToldTo" in trace
        case other:
            pytest.fail(repr(other))


async def test_a_snooze_says_for_how_long(app):
    assert await (await app.relay(Obey.snooze(90))).outcome() == Snoozed(timedelta(seconds=90))


async def test_a_cancel_says_why(app):
    assert await (await app.relay(Obey.cancel("too late"))).outcome() == Cancelled("too late")


async def test_a_timeout_stops_only_the_waiting(app):
    gate = Gate()
    relay = await app.relay(Obey.wait_at(gate))

    with pytest.raises(RelayTimedOut, match="it goes on"):
        await relay.result(timeout=0.05)
    assert await relay.outcome(timeout=0) == TimedOut()
    gate.open()
    assert await relay.outcome() == Completed(None)
    assert await relay.outcome(timeout=0) == Completed(None)  # no wait is needed


async def test_a_wait_is_as_long_as_it_was_told_to_be(app):
    relay = await app.relay(Obey.wait_at(gate := Gate()))
    long, endless = [asyncio.create_task(relay.outcome(timeout)) for timeout in (timedelta(minutes=1), None)]
    began = time.monotonic()

    assert await relay.outcome(timeout=0.2) == TimedOut()
    assert await relay.outcome(timeout=timedelta(seconds=0.3)) == TimedOut()
    assert time.monotonic() - began >= 0.5
    assert not long.done()
    assert not endless.done()
    gate.open()
    assert (await long, await endless) == (Completed(None), Completed(None))


async def test_a_timeout_is_a_timeout_error(app):
    with pytest.raises(TimeoutError):
        await (await app.relay(Obey.ok(schedule_in=3600))).result(timeout=0.01)


# ── the first attempt, or the last ────────────────────────────────────────────────────────────────


async def test_the_first_attempt_answers_unless_retries_are_waited_for(app):
    relay = await app.relay(Obey.fail_times(2, then="done", max_attempts=3))

    first = await relay.outcome()
    assert type(first) is Failed
    assert await relay.result(with_retries=True) == "done"
    assert await relay.outcome() == first
    assert (first.error.attempt, first.error.message) == (1, "done")


async def test_with_retries_a_snooze_is_waited_for_too(app):
    relay = await app.relay(Obey.snooze(0.05, times=2))

    assert await relay.outcome(with_retries=True) == Completed(None)
    assert await relay.outcome() == Snoozed(timedelta(seconds=0.05))


async def test_with_retries_the_last_failure_is_the_answer(app):
    relay = await app.relay(Obey.fail("again", max_attempts=2))

    outcome = await relay.outcome(with_retries=True)
    assert isinstance(outcome, Discarded)
    assert outcome.error.attempt == 2


# ── many ──────────────────────────────────────────────────────────────────────────────────────────


async def test_many_are_relayed_in_one_insert_and_awaited_in_their_order(app):
    three = await app.relay([double.new(n) for n in (1, 2, 3)])

    assert await app.await_many(three) == [Completed(2), Completed(4), Completed(6)]


async def test_when_the_time_is_over_those_that_are_done_are_kept(app):
    gate = Gate()
    some = await app.relay([double.new(1), Obey.wait_at(gate), double.new(3)])

    assert await app.await_many(some, timeout=0.5) == [Completed(2), TimedOut(), Completed(6)]
    gate.open()


async def test_many_may_be_waited_for_with_their_retries(app):
    some = await app.relay([Obey.fail_times(1, then=n, max_attempts=2) for n in range(3)])

    assert await app.await_many(some, with_retries=True) == [Completed(0), Completed(1), Completed(2)]


async def test_to_await_nothing_is_done_at_once(app):
    assert await app.await_many([]) == []
    assert await app.relay([]) == []


async def test_the_same_relay_may_stand_in_a_list_twice(app):
    relay = await app.relay(double.new(1))

    assert await app.await_many([relay, relay]) == [Completed(2), Completed(2)]


# ── the edges, as the guide's table has them ──────────────────────────────────────────────────────


async def test_awaiting_twice_gives_the_same_answer(app):
    relay = await app.relay(double.new(4))

    assert list(await asyncio.gather(relay.result(), relay.result())) == [8, 8]
    assert await relay.result() == 8


async def test_an_answer_is_there_after_a_restart(open_app):
    first = await open_app(queues={"default": 1})
    relay = await first.relay(double.new(4))
    await drain(first)
    await first.stop()
    second = await open_app()

    assert await (await second.relay_to(relay.id)).result() == 8


async def test_who_waits_may_be_killed_and_ask_again(open_app, database_url):
    app = await open_app()
    id = await asyncio.to_thread(killed_while_it_waits, database_url)
    assert await (await app.relay_to(id)).outcome(timeout=0) == TimedOut()
    await open_app(queues={"default": 1})

    assert await (await app.relay_to(id)).result(timeout=20) == 7


async def test_a_job_that_nobody_awaited_has_kept_no_value(app):
    stored = await app.enqueue(double.new(4))
    await drain(app)

    assert await (await app.relay_to(stored)).outcome() == Completed(None, kept=False)


async def test_a_running_job_may_be_awaited_from_now_on(app, open_app):
    gate = Gate()
    stored = await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting == 1)
    relay = await (await open_app()).relay_to(stored.id)
    await eventually(lambda: all(attempt.job.signal.awaited for attempt in attempts(app)))
    gate.open()

    assert await relay.outcome() == Completed(None)


async def test_what_a_recorded_job_kept_answers_also_where_nobody_awaited(app):
    stored = await app.enqueue(recorded_double.new(4))
    await drain(app)

    assert await (await app.relay_to(stored)).outcome() == Completed(8)


async def test_what_a_step_kept_answers_also_where_nobody_awaited(app):
    flow = Workflow()
    flow.add("first", double.new(4))
    await finish(app, flow)

    assert await (await app.relay_to(flow.jobs["first"])).outcome() == Completed(8)


@job(name="recorded double", recorded=True)
async def recorded_double(n: int) -> int:
    return 2 * n


async def test_a_step_is_awaited_from_outside_like_any_job(app):
    flow = Workflow()
    flow.add("first", double.new(1))
    await app.enqueue(flow)

    assert await (await app.relay_to(flow.jobs["first"])).result() == 2
    assert await app.workflow(flow.id).result("first") == 2


async def test_an_operators_cancel_answers(app):
    waiting, running = await app.relay(Obey.ok(schedule_in=3600)), await app.relay(Obey.wait_at(gate := Gate()))
    await eventually(lambda: gate.waiting == 1)
    await app.cancel([waiting.id, running.id])

    assert await app.await_many([waiting, running]) == [Cancelled("cancelled by an operator")] * 2


async def test_a_rescued_job_answers_when_it_has_run_after_all(open_app):
    app = await open_app()
    relay = await app.relay(double.new(4))
    dead = await Claimer(app.database, "dead").start()
    await dead.claim()
    await dead.die()
    assert await relay.outcome(timeout=0.1) == TimedOut()
    await open_app(queues={"default": 1})

    assert await relay.result(timeout=20) == 8
    assert (await app.fetch(relay.id)).epoch > 1


@pytest.mark.parametrize("how", ["pruned", "deleted"])
async def test_a_job_that_was_pruned_or_deleted_is_gone(app, how):
    relay = await app.relay(double.new(4))
    await relay.result()
    await (app.database.run(prune_jobs, timedelta(0)) if how == "pruned" else app.delete(relay.id))

    assert await relay.outcome() == Gone()
    with pytest.raises(JobNotFound):
        await relay.result()
    with pytest.raises(JobNotFound):
        await app.relay_to(relay.id)


async def test_a_wait_ends_when_its_job_is_deleted(app):
    relay = await app.relay(Obey.ok(schedule_in=3600))
    wait = asyncio.create_task(relay.outcome(timeout=20))
    await eventually(lambda: app.waiting._waits)
    await app.delete(relay.id)

    assert await wait == Gone()


async def test_whose_unique_key_is_taken_awaits_the_one_that_has_it(app):
    gate = Gate()
    first = await app.enqueue(Obey.wait_at(gate, unique=True))
    second = await app.relay(Obey.wait_at(gate, unique=True))

    assert (second.id, second.job.existing) == (first.id, True)
    await eventually(lambda: gate.waiting == 1 and all(one.job.signal.awaited for one in attempts(app)))
    gate.open()
    assert await second.outcome() == Completed(None)


async def test_a_job_waits_for_another_one_of_its_own_full_queue(open_app):
    app = await open_app(queues={"default": 1})

    assert await (await app.relay(parent.new(1))).result(timeout=20) == 3
    assert await (await app.relay(grandparent.new(1))).result(timeout=20) == 4
    await eventually(lambda: all(each._slots.lent_out == 0 for each in app._crew._producers.values()))


async def test_twenty_jobs_wait_for_others_of_their_own_queue_of_two(open_app):
    app = await open_app(queues={"default": 2})
    twenty = await app.relay([parent.new(n) for n in range(20)])

    assert await app.await_many(twenty, timeout=30) == [Completed(2 * n + 1) for n in range(20)]


async def test_a_wait_that_a_limit_over_all_nodes_would_make_endless_is_refused(app):
    await app.queue("default").limit(1)
    await eventually(lambda: all(each.cursor.is_capped for each in app._crew._producers.values()))
    outcome = await (await app.relay(parent.options(max_attempts=1).new(1))).outcome()

    assert isinstance(outcome, Discarded)
    assert outcome.error.type == "WouldDeadlock"
    assert "let one of the two run on another queue" in outcome.error.message


async def test_a_job_that_waits_for_itself_is_refused(app):
    outcome = await (await app.relay(selfish.options(max_attempts=1).new())).outcome()

    assert isinstance(outcome, Discarded)
    assert outcome.error.type == "WouldDeadlock"


async def test_a_job_that_waits_for_a_later_link_of_its_own_chain_is_refused(app):
    outcome = await (await app.relay(impatient.new(2))).outcome(timeout=20)

    assert isinstance(outcome, Discarded)
    assert outcome.error.type == "WouldDeadlock"
    assert "its own chain" in outcome.error.message


@job(name="impatient", chain=Chain(), max_attempts=1)
async def impatient(links: int) -> Any:
    return links and await (await current_app().relay(impatient.new(links - 1))).result()


async def test_five_megabytes_come_back_whole(app):
    relay = await app.relay(Obey.value("x" * 100))
    large = await app.relay(big.new(5_000_000))

    assert len(await large.result()) == 5_000_000
    assert len(await relay.result()) == 100


@job(name="big")
async def big(size: int) -> str:
    return "x" * size


async def test_a_value_that_is_too_large_is_told_and_its_job_has_completed(app):
    relay = await app.relay(big.new(16_000_001))

    assert await relay.outcome() == TooLarge(16_000_003)
    with pytest.raises(ResultTooLarge, match="16,000,003"):
        await relay.result()
    assert (await app.fetch(relay.id)).state == "completed"


@job(name="unstorable")
async def unstorable() -> Any:
    return {"at": object()}


async def test_a_value_that_cannot_be_stored_is_told_and_its_job_has_completed(app):
    relay = await app.relay(unstorable.new())
    outcome = await relay.outcome()

    assert isinstance(outcome, Failed)
    assert outcome.error.type == "UnencodableResult"
    assert (await app.fetch(relay.id)).state == "completed"


async def test_a_wait_ends_when_the_app_is_closed(open_app):
    app = await open_app()
    relay = await app.relay(double.new(1))
    wait = asyncio.create_task(relay.result(timeout=None))
    await eventually(lambda: app.waiting._waits)
    await app.stop()

    with pytest.raises(NotStarted):
        await wait
    with pytest.raises(NotStarted):
        await relay.result()


async def test_a_wait_goes_on_when_the_database_is_back(own_postgres: PostgresServer):
    await Tenuto(own_postgres.url).migrate()
    async with Tenuto(own_postgres.url, queues={"default": 1}, lease=LEASE, grace=1) as app:
        gate = Gate()
        relay = await app.relay(Obey.wait_at(gate))
        await eventually(lambda: gate.waiting)
        wait = asyncio.create_task(relay.outcome(timeout=60))
        await eventually(lambda: app.waiting._waits)
        own_postgres.stop()
        gate.open()
        own_postgres.start()

        assert await wait == Completed(None)


# ── between processes ─────────────────────────────────────────────────────────────────────────────


async def test_who_only_looks_is_told_what_is_there(app):
    relay = await app.relay(double.new(4))
    await relay.result(timeout=20)

    assert [await (await app.relay_to(relay.id)).result(timeout=0) for _ in range(20)] == [8] * 20
    assert await app.await_many([relay] * 3, timeout=0) == [Completed(8)] * 3


async def test_who_only_looks_does_not_wait_for_a_database_that_is_silent(app, monkeypatch):
    relay = await app.relay(Obey.ok(schedule_in=3600))
    read, answers = app.database.read, asyncio.Event()

    async def silent(*args: Any) -> Any:
        await answers.wait()
        return await read(*args)

    monkeypatch.setattr(app.database, "read", silent)
    async with asyncio.timeout(20):
        assert await relay.outcome(timeout=0) == TimedOut()
    answers.set()
    await eventually(lambda: not app.waiting._looks)


async def test_five_seconds_are_waited_unless_told_otherwise(app):
    assert signature(Relay.result).parameters["timeout"].default == 5.0
    assert signature(Relay.outcome).parameters["timeout"].default == 5.0
    assert signature(Tenuto.await_many).parameters["timeout"].default == 5.0


async def test_what_cannot_be_enqueued_cannot_be_relayed(app):
    with pytest.raises(InvalidJob):
        await app.relay("no job")
    with pytest.raises(InvalidJob):
        await app.relay([double.new(1), 5])
    with pytest.raises(InvalidJob, match=r"app\.workflow\(id\)\.wait\(\)"):
        await app.relay(Workflow())
    with pytest.raises(InvalidJob):
        await app.relay_to("no id")


async def test_what_is_no_relay_of_this_app_cannot_be_awaited_by_it(tmp_path, app, open_app):
    other = await open_app(url=f"sqlite:///{tmp_path / 'other.db'}", queues={}, name="other")
    mine, foreign = await app.relay(double.new(1)), await other.relay(double.new(1))

    for given, told in ((None, "NoneType"), (mine, "Relay"), ([mine, mine.id], "str"), ([mine.job], "Job")):
        with pytest.raises(InvalidRequest, match=told):
            await app.await_many(given)
    with pytest.raises(InvalidRequest, match="another app's"):  # and not Gone, as it is where nobody stored it
        await app.await_many([mine, foreign])


async def test_each_app_answers_for_its_own_jobs(tmp_path, open_app):
    one = await open_app(url=f"sqlite:///{tmp_path / 'one.db'}", queues={"default": 1}, name="one")
    two = await open_app(url=f"sqlite:///{tmp_path / 'two.db'}", queues={"default": 1}, name="two")
    relays = await one.relay(Obey.app()), await two.relay(Obey.app())

    assert [await relay.result() for relay in relays] == ["one", "two"]
    with pytest.raises(JobNotFound):
        await two.relay_to(relays[0].id)


async def test_a_wait_needs_no_notification(open_app, database_url):
    app = await open_app(listen=False)
    with worker_process(database_url):
        relays = await app.relay([Obey.value(n) for n in range(20)])

        assert await app.await_many(relays, timeout=30) == [Completed(n) for n in range(20)]


async def test_hints_of_other_jobs_do_not_put_off_the_poll(open_app):
    here, _ = await open_app(listen=False), await open_app(queues={"default": 1}, listen=False)
    never, relay = await here.relay([Obey.ok(schedule_in=3600), Obey.value(7)])

    async def chatter() -> None:
        while True:
            here._notifier.tell([Hint("settled", never.id)])
            await asyncio.sleep(0.05)

    talking = [asyncio.create_task(never.outcome(timeout=None)), asyncio.create_task(chatter())]
    assert await relay.result(timeout=10) == 7
    for each in talking:
        each.cancel()


SECONDS = 8.0  # for which two processes ask each other while the line of each is cut


@pytest.mark.timeout(120)
async def test_two_processes_answer_each_others_relays_while_listen_is_killed(database_url):
    await Tenuto(database_url).migrate()
    is_listening = database_url.startswith("postgresql")  # an SQLite file has no line to cut
    with two_that_ask(database_url, SECONDS if is_listening else 3) as two:
        cut = await cut_while_they_ask(two, database_url if is_listening else None)

    assert sum(cut) >= (SECONDS if is_listening else 0)  # twice as many, but for lines that were not back in time


async def cut_while_they_ask(two: list[Popen[str]], url: str | None) -> list[int]:
    """End what listens there every second until both have asked enough, and check their answers; how many each time."""
    tallies = asyncio.gather(*(asyncio.to_thread(tally_of, each) for each in two))
    cut: list[int] = []
    while not tallies.done():
        if url is not None:
            cut.append(await cut_the_listeners(url))
        await asyncio.wait([tallies], timeout=1)
    for tally in await tallies:
        assert tally.wrong == []
        assert tally.answered == tally.relayed > 40
    return cut


async def cut_the_listeners(url: str) -> int:
    """End every connection of this database that listens; how many there were."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await connection.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and query ilike 'listen %' and pid <> pg_backend_pid()"
        )
        (count,) = await found.fetchone() or (0,)
        return int(count)


async def test_hints_of_a_batch_go_out_as_one_notification():
    ids = [Hint("settled", str(UUID(int=n))) for n in range(300)]
    few = packed([Hint("insert", "a"), Hint("insert", "b"), *ids])

    assert len(few) == 3  # a batch of 300 ids is more than one can carry
    assert few[0] == Hint("insert", "a\nb")
    assert [id for hint in few[1:] for id in hint.subject.split("\n")] == [hint.subject for hint in ids]
    assert all(len(hint.subject) <= 7_900 for hint in few)


async def test_nothing_is_told_of_jobs_that_nobody_awaits(app):
    told: list[Hint] = []
    app._notifier.subscribe(told.append)
    await app.enqueue(double.new(1))
    await drain(app)
    assert not [hint for hint in told if hint.channel == "settled"]
    relay = await app.relay(double.new(1))
    await relay.result()

    assert {hint.subject for hint in told if hint.channel == "settled"} == {relay.id}  # the server may have said it too


async def test_what_was_relayed_just_now_is_not_asked_for_while_it_runs(app, monkeypatch):
    reads: list[float] = []
    read = app.database.read

    async def counted(*asked: Any) -> Any:
        if asked[0] is kept:
            reads.append(time.monotonic())
        return await read(*asked)

    monkeypatch.setattr(app.database, "read", counted)
    relay = await app.relay(Obey.ok(schedule_in=3600))
    relay.stored_at = began = time.monotonic() + 1  # however slow this machine is

    assert await relay.outcome(timeout=0.4) == TimedOut()
    assert reads.pop() >= began - 1 + OURS_FIRST
    assert not reads  # the first poll is later
    assert (await app.relay_to(relay.id)).stored_at == 0


# ── at scale ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
async def test_of_ten_thousand_relays_half_are_let_go_and_nothing_is_left_of_them(database_url):
    await Tenuto(database_url).migrate()
    before, once, twice = await asyncio.to_thread(held_meanwhile, database_url)

    for after in (once, twice):
        assert (after.waits, after.subscribers) == (0, before.subscribers)
        assert after.tasks < before.tasks + 10  # a service may tick at that moment
        assert after.futures < before.futures + 10
        assert after.objects < before.objects * 1.05
        assert after.table <= before.table
    # The first time fills caches for good: SQLite's pages, the driver's buffers, asyncio's set of tasks.
    assert twice.in_use <= once.in_use * 1.05
    assert twice.resident < once.resident * 1.05


@pytest.mark.timeout(600)
async def test_no_wait_is_longer_than_a_second_whenever_its_job_settles(open_app):
    app, other = await open_app(queues={"default": 20}), await open_app()
    late: list[float] = []

    async def race(n: int) -> None:
        job = await app.enqueue(double.new(n))
        relay = await other.relay_to(job.id)  # before it runs, while it does, or when it has ended a moment ago
        asked = datetime.now(UTC)
        assert await relay.outcome(timeout=30) in (Completed(2 * n), Completed(None, kept=False))
        answered, settled = datetime.now(UTC), (await other.fetch(job)).finished_at
        assert settled is not None
        late.append((answered - max(asked, settled)).total_seconds())

    for start in range(0, RACES, 20):
        await asyncio.gather(*(race(n) for n in range(start, start + 20)))

    assert len(late) == RACES
    assert max(late) < 1


def attempts(app: Tenuto) -> list[Any]:
    """What runs on this node."""
    assert app._crew is not None
    return [attempt for each in app._crew._producers.values() for attempt in each._attempts.values()]
