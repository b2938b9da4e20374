"""Enqueued in the caller's transaction: all that an enqueue does, and who hears of it when."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tenuto import Chain, Deadline, Gone, KeyRing, Tenuto, Unique, Workflow, job
from tenuto.borrowing import enqueue_now
from tenuto.errors import InvalidJob, JobNotFound, NotStarted, UniqueConflict, UnusableConnection, WouldDeadlock
from tenuto.storage import relays
from tenuto.storage.database import ANYTHING, Hint
from tests.conftest import OpenApp
from tests.kit import Gate, Obey, drain, eventually, runs_of
from tests.lenders import Lender, PsycopgAsync, SQLite3, done, is_sqlite, path_of

RING = KeyRing("a", {"a": KeyRing.new_key()})


async def keys_from_afar() -> KeyRing:
    await asyncio.sleep(0)
    return RING


@job(name="lent unique", unique=Unique(fields=["worker", "args"]), partition="args.account", deadline=Deadline(60))
async def once(account: int) -> None: ...


@job(name="lent chained", chain=Chain(by=["args.account"]), tags=["lent"], timeout=5)
async def in_line(account: int) -> int:
    return account


@job(name="lent sealed", encrypted=keys_from_afar)
async def sealed(secret: str) -> None: ...


@in_line.before_new
def double(args: Any, options: Any) -> Any:
    return {"account": 2 * args["account"]}, options


@pytest.fixture
async def mine(app: Tenuto, database_url: str) -> Any:
    """A connection in a transaction, for each of the two databases."""
    lender: Lender = SQLite3(database_url) if is_sqlite(database_url) else PsycopgAsync(database_url)
    await done(lender.begin())
    yield lender
    await done(lender.close())


def plain_connection(url: str) -> Any:
    return sqlite3.connect(path_of(url)) if is_sqlite(url) else psycopg.connect(url)


# ── what is stored ────────────────────────────────────────────────────────────────────────────────


async def test_the_app_need_not_be_open(app: Tenuto, mine: Lender):
    unopened = Tenuto(app.config.url)

    stored = await unopened.enqueue(Obey.ok(), conn=mine.conn)
    await done(mine.commit())
    await drain(app)

    assert len(runs_of(stored)) == 1
    with pytest.raises(NotStarted):
        await unopened.enqueue(Obey.ok())


async def test_a_database_without_tables_is_said_to_have_none(database_url: str, tmp_path: Any):
    app = Tenuto(database_url)
    conn = plain_connection(database_url)

    with pytest.raises(UnusableConnection, match="tenuto migrate"):
        await app.enqueue(Obey.ok(), conn=conn)
    conn.close()


SAME = ("queue", "worker", "args", "meta", "tags", "max_attempts", "priority", "timeout", "unique_key", "chain_key")


async def test_what_is_stored_of_it_is_what_an_enqueue_stores(app: Tenuto, mine: Lender):
    await app.queue("default").pause()
    for make in (once.new, in_line.new, once.options(schedule_in=60, priority=3, meta={"a": 1}).new):
        usual = await app.fetch(await app.enqueue(make(1)))
        await app.delete(usual)
        lent = await app.enqueue(make(1), conn=mine.conn)
        await done(mine.commit())
        now = await app.fetch(lent)
        await app.delete(now)

        assert {name: getattr(now, name) for name in SAME} == {name: getattr(usual, name) for name in SAME}
        assert (lent.state, lent.scheduled_at, lent.deadline_at) == (now.state, now.scheduled_at, now.deadline_at)
        assert (now.deadline_at is None) == (usual.deadline_at is None)
        if now.deadline_at is not None and now.scheduled_at is not None:
            assert now.deadline_at - now.scheduled_at == timedelta(seconds=60)


async def test_who_holds_the_unique_key_comes_back(app: Tenuto, mine: Lender):
    await app.queue("default").pause()
    first = await app.enqueue(once.new(7))

    again, other = await app.enqueue([once.new(7), once.new(8)], conn=mine.conn)
    await done(mine.commit())

    assert (again.id, again.existing, other.existing) == (first.id, True, False)


async def test_links_are_in_the_order_of_the_list(app: Tenuto, mine: Lender):
    await app.queue("default").pause()

    links = await app.enqueue([in_line.new(5) for _ in range(3)], conn=mine.conn)
    await done(mine.commit())

    assert [(link.state, link.args) for link in links] == [
        ("available", {"account": 10}),
        ("suspended", {"account": 10}),
        ("suspended", {"account": 10}),
    ]


async def test_sealed_args_come_back_to_their_owner_alone(app: Tenuto, mine: Lender):
    await app.queue("default").pause()

    stored = await app.enqueue(sealed.new("swordfish"), conn=mine.conn)
    await done(mine.commit())
    now = await app.fetch(stored)

    assert stored.args == {"secret": "swordfish"}
    assert "swordfish" not in repr(now.args)
    assert (await app.opened(now)).args == stored.args


async def test_plain_code_may_have_keys_that_are_awaited(app: Tenuto, database_url: str):
    def store() -> Any:
        plain: Any = (
            sqlite3.connect(path_of(database_url)) if is_sqlite(database_url) else psycopg.connect(database_url)
        )
        try:
            stored = enqueue_now(app.database, app.config.sizes, plain, sealed.new("swordfish"))
            plain.commit()
            return stored
        finally:
            plain.close()

    stored = await asyncio.to_thread(store)
    await drain(app)

    assert stored.args == {"secret": "swordfish"}
    assert (await app.fetch(stored)).state == "completed"
    with pytest.raises(WouldDeadlock):
        store()


async def test_an_empty_list_asks_nothing_of_the_connection(app: Tenuto):
    assert await app.enqueue([], conn="no connection") == []


async def test_what_cannot_be_enqueued_is_refused_before_the_connection_is_asked(app: Tenuto):
    with pytest.raises(InvalidJob):
        await app.enqueue("no job", conn="no connection")  # type: ignore[type-var]


async def test_a_step_that_is_gone_is_not_stored_without_its_workflow(app: Tenuto, mine: Lender):
    flow = Workflow()
    flow.add("one", Obey.ok())
    await app.enqueue(flow)
    await drain(app)
    step = await app.fetch(flow.jobs["one"])
    await app.delete(step)

    with pytest.raises(JobNotFound):
        await app.enqueue(step, conn=mine.conn)


async def test_a_workflow_that_is_refused_leaves_the_transaction_as_it_was(app: Tenuto, mine: Lender):
    await app.queue("default").pause()
    await app.enqueue(once.new(9))
    flow = Workflow()
    flow.add("free", Obey.ok())
    flow.add("taken", once.new(9))

    kept = await app.enqueue(Obey.ok(), conn=mine.conn)
    with pytest.raises(UniqueConflict):
        await app.enqueue(flow, conn=mine.conn)
    await done(mine.commit())

    assert (await app.fetch(kept)).state == "available"
    with pytest.raises(JobNotFound):
        await app.fetch(flow.jobs["free"])


# ── relays ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_that_goes_on_to_another_transaction_hinders_no_wait(app: Tenuto, mine: Lender):
    relay = await app.relay(Obey.value(7), conn=mine.conn)
    await done(mine.commit())
    await done(mine.conn.execute("begin" if is_sqlite(app.config.url) else "select 1"))

    assert await relay.result(timeout=20) == 7


async def test_a_read_from_before_the_commit_is_no_answer_to_who_waits_since_then(
    app: Tenuto, mine: Lender, monkeypatch: pytest.MonkeyPatch
):
    relay = await app.relay(Obey.value(7), conn=mine.conn)
    is_read, go_on = asyncio.Event(), asyncio.Event()
    read = app.database.read

    async def slowly(verb: Any, *args: Any) -> Any:
        found = await read(verb, *args)
        if verb is relays.kept and not is_read.is_set():
            is_read.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(app.database, "read", slowly)
    early = asyncio.create_task(relay.result(timeout=20))
    await is_read.wait()
    await done(mine.commit())
    late = asyncio.create_task(relay.result(timeout=20))
    await asyncio.sleep(0)
    go_on.set()

    with pytest.raises(WouldDeadlock):
        await early
    assert await late == 7


async def test_of_many_one_that_is_not_committed_is_refused_at_once(app: Tenuto, mine: Lender):
    others = [await app.relay(Obey.ok(schedule_in=3600)), await app.relay(Obey.value(1))]
    held = await app.relay([Obey.value(7), Obey.value(8)], conn=mine.conn)

    async with asyncio.timeout(20):
        with pytest.raises(WouldDeadlock):
            await app.await_many([*others, *held], timeout=None)
    assert not app.waiting._waits


async def test_a_failed_transaction_is_open_until_it_is_rolled_back(app: Tenuto, mine: Lender):
    if is_sqlite(app.config.url):
        pytest.skip("an error fails no transaction there")
    relay = await app.relay(Obey.value(7), conn=mine.conn)
    with pytest.raises(psycopg.Error):
        await mine.conn.execute("select 1 / 0")

    with pytest.raises(WouldDeadlock):
        await relay.result(timeout=20)
    await done(mine.rollback())
    assert await relay.outcome(timeout=20) == Gone()


async def test_a_relay_of_who_holds_the_unique_key_makes_it_keep_its_answer_if_it_commits(app: Tenuto, mine: Lender):
    for end, awaited in ((mine.rollback, False), (mine.commit, True)):
        first = await app.enqueue(Obey.ok(schedule_in=3600, unique=Unique(fields=["worker", "args"])))
        relay = await app.relay(Obey.ok(schedule_in=60, unique=Unique(fields=["worker", "args"])), conn=mine.conn)
        await done(end())

        assert (relay.id, relay.job.existing) == (first.id, True)
        assert (await app.fetch(first)).awaited is awaited


async def test_to_relay_nothing_asks_nothing_of_the_connection(app: Tenuto):
    assert await app.relay([], conn="no connection") == []


# ── who hears of it ───────────────────────────────────────────────────────────────────────────────


async def test_an_idle_node_hears_of_it_with_the_commit_and_not_before(app: Tenuto, mine: Lender):
    heard: list[Hint] = []
    await eventually(lambda: app._crew is not None)
    app._notifier.subscribe(heard.append)
    async with asyncio.timeout(20):
        await app.enqueue(Obey.ok(queue="rolled back"), conn=mine.conn)
        await done(mine.rollback())
        await app.enqueue(Obey.ok(queue="silent"), conn=mine.conn, notify=False)
        await done(mine.commit())
        await app.enqueue(Obey.ok(queue="told"), conn=mine.conn)
        before = list(heard)
        await done(mine.commit())
        await eventually(lambda: heard)

    if is_sqlite(app.config.url):
        assert set(heard) == {ANYTHING}  # the file has changed
    else:
        assert Hint("insert", "told") not in before
        assert [hint for hint in heard if hint.channel == "insert"] == [Hint("insert", "told")]


async def test_notify_goes_for_an_enqueue_without_a_connection_too(app: Tenuto):
    heard: list[Hint] = []
    app._notifier.subscribe(heard.append)

    await app.enqueue(Obey.ok(queue="silent"), notify=False)
    await app.enqueue(Obey.ok(queue="told"))

    assert Hint("insert", "told") in heard
    assert Hint("insert", "silent") not in heard


async def test_other_writers_wait_for_the_transaction_and_go_on(app: Tenuto, mine: Lender):
    gate = Gate()
    await app.enqueue(Obey.wait_at(gate))
    await eventually(lambda: gate.waiting)

    lent = await app.enqueue(Obey.ok(), conn=mine.conn)
    gate.open()  # its ack has to wait on SQLite
    others = [asyncio.create_task(app.enqueue(Obey.ok())) for _ in range(5)]
    await asyncio.sleep(0)  # they have asked
    await done(mine.commit())
    stored = await asyncio.gather(*others)
    await drain(app)

    assert [len(runs_of(one)) for one in (lent, *stored)] == [1] * 6


async def test_two_apps_in_one_database_keep_their_jobs_apart(open_app: OpenApp, database_url: str, mine: Lender):
    if is_sqlite(database_url):
        pytest.skip("an app has a file of its own on SQLite")
    other = await open_app(schema="another", queues={"default": 1})

    stored = await other.enqueue(Obey.ok(), conn=mine.conn)
    await done(mine.commit())
    await drain(other)

    assert (await other.fetch(stored)).state == "completed"
