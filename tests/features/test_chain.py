"""Which jobs are links of one chain, what a worker may ask of it, and where it is refused."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tenuto import Chain, Job, KeyRing, Worker, Workflow, job
from tenuto.definition import forget, storing
from tenuto.errors import ChainInWorkflow, InvalidJob
from tenuto.features.chain import Chained
from tenuto.features.feature import Feature, fold_store
from tenuto.job import AVAILABLE, SUSPENDED


@job(name="chain.by_worker", chain=Chain())
async def by_worker(account: int = 0) -> None: ...


@job(name="chain.other", chain=Chain())
async def other(account: int = 0) -> None: ...


@job(name="chain.by_account", chain=Chain(by="args.account"))
async def by_account(account: Any = 0, cohort: int = 0) -> None: ...


@job(name="chain.by_account_too", chain=Chain(by=["args.account"], on_discarded="hold"))
async def by_account_too(account: int = 0, more: str = "") -> None: ...


@job(name="chain.by_both", chain=Chain(by=["args.account", "args.cohort"]))
async def by_both(account: int = 0, cohort: int = 0) -> None: ...


@job(name="chain.by_both_turned", chain=Chain(by=["args.cohort", "args.account", "args.cohort"]))
async def by_both_turned(account: int = 0, cohort: int = 0) -> None: ...


@job(name="chain.worker_and_account", chain=Chain(by=["worker", "args.account"]))
async def worker_and_account(account: int = 0) -> None: ...


@job(name="chain.worker_and_account_too", chain=Chain(by=["worker", "args.account"]))
async def worker_and_account_too(account: int = 0) -> None: ...


@job(name="chain.worker_and_both", chain=Chain(by=["worker", "args.account", "args.cohort"]))
async def worker_and_both(account: int = 0, cohort: int = 0) -> None: ...


@job(name="chain.by_source", chain=Chain(by="meta.source"))
async def by_source(account: int = 0) -> None: ...


@job(name="chain.by_depth", chain=Chain(by=["args.account.owner.id", "meta.a.b"]))
async def by_depth(account: dict[str, Any]) -> None: ...


async def link(made: Job[Any, Any]) -> Job[Any, Any]:
    """The job as it goes into the database."""
    return await fold_store(storing(made), made)


async def key(made: Job[Any, Any]) -> str:
    found = (await link(made)).chain_key
    assert found is not None
    return found


# ── which jobs ────────────────────────────────────────────────────────────────────────────────────


async def test_all_jobs_of_a_worker_are_one_chain_unless_it_says_otherwise():
    assert Chain() == Chain(by="worker") == Chain(by=["worker"])
    assert await key(by_worker.new(1)) == await key(by_worker.new(2))
    assert await key(by_worker.new(1)) != await key(other.new(1))


async def test_queue_priority_and_time_are_no_part_of_it():
    otherwise = by_worker.options(queue="q", priority=9, schedule_in=60, meta={"a": 1}, tags=["t"]).new(1)

    assert await key(by_worker.new(1)) == await key(otherwise)


async def test_a_key_of_the_args_makes_one_chain_of_all_workers_that_name_it():
    assert await key(by_account.new(7)) == await key(by_account.new(7, cohort=3)) == await key(by_account_too.new(7))
    assert await key(by_account.new(7)) != await key(by_account.new(8))


async def test_several_keys_of_the_args_are_compared_together_in_any_order():
    assert await key(by_both.new(1, 2)) == await key(by_both_turned.new(1, 2))
    assert len({await key(by_both.new(*pair)) for pair in ((1, 2), (2, 1), (1, 1))}) == 3


async def test_the_worker_beside_a_key_of_the_args_keeps_workers_apart():
    assert await key(worker_and_account.new(7)) == await key(worker_and_account.new(7))
    assert await key(worker_and_account.new(7)) != await key(worker_and_account.new(8))
    assert await key(worker_and_account.new(7)) != await key(worker_and_account_too.new(7))


async def test_the_worker_beside_several_keys_of_the_args():
    assert await key(worker_and_both.new(1, 2)) != await key(worker_and_both.new(1, 3))
    assert await key(worker_and_both.new(1, 2)) != await key(by_both.new(1, 2))


async def test_a_key_of_meta_makes_a_chain_whatever_the_args_are():
    ours = by_source.options(meta={"source": "a", "other": 1})

    assert await key(ours.new(1)) == await key(ours.new(2))
    assert await key(ours.new(1)) != await key(by_source.options(meta={"source": "b"}).new(1))


async def test_a_dotted_key_looks_into_what_is_nested():
    def made(owner: Any, b: Any) -> Job[Any, Any]:
        return by_depth.options(meta={"a": {"b": b}}).new({"owner": {"id": owner}})

    assert await key(made(1, 2)) == await key(made(1, 2))
    assert len({await key(made(*pair)) for pair in ((1, 2), (2, 2), (1, 1))}) == 3


async def test_a_key_that_is_not_there_counts_as_null():
    missing = [
        by_source.new(1),
        by_source.options(meta={"other": 1}).new(1),
        by_source.options(meta={"source": None}).new(),
    ]

    assert len({await key(made) for made in missing}) == 1
    assert await key(by_depth.new({"owner": 5})) == await key(by_depth.options(meta={"a": "flat"}).new({}))


async def test_values_of_other_types_are_other_chains_and_args_are_compared_as_they_are_cast():
    assert len({await key(by_account.new(value)) for value in (1, "1", 1.5, None, True, [1])}) == 6
    as_text: Any = "7"
    assert await key(by_account_too.new(as_text)) == await key(by_account_too.new(7))


async def test_a_key_tells_nothing_of_what_it_was_made_of():
    assert "ada@example.com" not in await key(by_account.new("ada@example.com"))
    assert len(await key(by_account.new("x" * 10_000))) == 64


class Secret(Feature):
    """As of a worker whose args are sealed."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    async def hash_key(self) -> bytes:
        """What its keys are made with."""
        return self._secret

    async def opened_job(self, job: Any) -> Any:
        """The job as it is: nothing of it was sealed."""
        return job


async def test_where_args_are_sealed_the_key_is_made_with_a_secret():
    async def sealed(account: int, secret: bytes) -> str | None:
        feature = Chained(Chain(by="args.account"), [Secret(secret)])
        return (await feature.before_store(by_account.new(account))).chain_key

    assert await sealed(7, b"a" * 32) == await sealed(7, b"a" * 32)
    assert len({await sealed(7, b"a" * 32), await sealed(8, b"a" * 32), await sealed(7, b"b" * 32)}) == 3
    assert await sealed(7, b"a" * 32) != await key(by_account.new(7))


async def test_a_worker_that_is_encrypted_makes_its_keys_with_the_hash_key_of_its_ring():
    async def made_with(option: Any) -> str:
        @job(name="chain.sealed", chain=Chain(by="args.account"), encrypted=option)
        async def sealed(account: int) -> None: ...

        return await key(sealed.new(7))

    one, other = (KeyRing("k", {"k": b64encode(byte * 32).decode()}) for byte in (b"a", b"b"))

    assert await made_with(one) == await made_with(one)
    assert len({await made_with(one), await made_with(other), await made_with(None)}) == 3


async def test_a_worker_that_was_renamed_stays_in_its_chain():
    async def renamed() -> None: ...

    before = await key(job(name="chain.before", chain=Chain())(renamed).new())
    forget("chain.before")

    assert await key(job(name="chain.after", aliases=["chain.before"], chain=Chain())(renamed).new()) == before


async def test_args_that_are_changed_later_leave_a_link_in_its_chain(open_app):
    app = await open_app()
    first = await app.enqueue(by_account.new(1))
    waiting = await app.enqueue(by_account.new(1))

    await app.update(waiting, {"args": {"account": 2}})

    assert (await app.fetch(waiting)).chain_key == first.chain_key
    again = await app.enqueue(await app.fetch(waiting))
    assert (again.existing, again.state) == (True, SUSPENDED)


async def test_a_link_that_is_gone_and_stored_again_comes_back_into_its_chain(open_app):
    app = await open_app()
    first, second = await app.enqueue([by_account.new(1), by_account.new(1)])
    seen = await app.fetch(first)
    await app.delete(first)

    again = await app.enqueue(seen)

    assert (again.chain_key, again.state, again.existing) == (second.chain_key, SUSPENDED, False)
    assert (await app.fetch(second)).state is AVAILABLE


# ── options ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"by": []}, "by= names nothing"),
        ({"by": "queue"}, "by= names 'queue', which is no part"),
        ({"by": ["worker", "args."]}, "by= names 'args.'"),
        ({"by": "args..a"}, "by= names 'args..a'"),
        ({"by": "args"}, "by= names 'args'"),
        ({"by": ["tags.a"]}, "by= names 'tags.a'"),
        ({"by": 7}, "by= names 7"),
        ({"by": [7]}, "by= names 7"),
        ({"on_cancelled": "stop"}, "on_cancelled='stop' is nothing a chain can do; there are ignore, hold"),
        ({"on_discarded": True}, "on_discarded=True is nothing a chain can do"),
    ],
)
def test_what_no_chain_can_be_is_refused_by_its_name(asked, told):
    with pytest.raises(InvalidJob) as refused:
        Chain(**asked)

    assert told in str(refused.value)


@pytest.mark.parametrize("asked", [True, "worker", ["worker"], {"by": "worker"}])
def test_a_worker_takes_a_chain_and_nothing_else(asked):
    async def wrong() -> None: ...

    with pytest.raises(InvalidJob, match="is no Chain"):
        job(name="chain.wrong", chain=asked)(wrong)


async def test_bad_ends_are_ignored_unless_they_are_to_hold():
    assert (Chain().on_cancelled, Chain().on_discarded) == ("ignore", "ignore")
    assert (await link(by_worker.new())).chain_holds is None
    assert (await link(by_account_too.new())).chain_holds == "discarded"
    assert Chain(on_cancelled="hold").holds == "cancelled"
    assert Chain(on_cancelled="hold", on_discarded="hold").holds == "cancelled discarded"


def test_a_chain_is_a_value():
    chain = Chain(by=["args.b", "args.a", "args.b"], on_cancelled="hold")

    assert chain == Chain(by=("args.a", "args.b"), on_cancelled="hold")
    assert replace(chain, on_cancelled="ignore") == Chain(by=["args.a", "args.b"])
    assert hash(chain) == hash(Chain(by=["args.a", "args.b"], on_cancelled="hold"))


@dataclass
class Event:
    account: int


async def test_a_class_worker_has_a_chain_and_hands_it_down():
    class Webhook(Worker[Event, None], name="chain.webhook", chain=Chain(by=["args.account"])):
        async def process(self, job: Job[Event, None]) -> None: ...

    class Louder(Webhook, name="chain.louder"): ...

    class Free(Webhook, name="chain.free", chain=None): ...

    assert await key(Webhook.new(account=7)) == await key(Louder.new(Event(7))) == await key(by_account.new(7))
    assert (await link(Free.new(account=7))).chain_key is None


async def test_a_worker_without_a_chain_has_no_feature_of_it():
    @job(name="chain.none")
    async def none() -> None: ...

    assert [feature for feature in none.definition.features if isinstance(feature, Chained)] == []
    assert (await link(none.new())).chain_key is None


# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


def test_a_chained_job_is_refused_as_a_step_at_once():
    flow = Workflow()

    with pytest.raises(ChainInWorkflow, match=r"step 'a' holds a job of chain\.by_worker, which is chained") as refused:
        flow.add("a", by_worker.new())

    assert (refused.value.step, refused.value.worker) == ("a", "chain.by_worker")
    assert flow.step_names == []


async def test_a_step_whose_worker_is_chained_since_stays_a_step(open_app):
    async def changed() -> None: ...

    app = await open_app()
    flow = Workflow()
    flow.add("a", job(name="chain.changed")(changed).new())
    job(name="chain.changed", chain=Chain())(changed)

    stored = await app.enqueue(flow)

    assert stored.jobs["a"].chain_key is None
    assert (await app.enqueue(await app.fetch(stored.jobs["a"]))).existing


async def test_callers_who_enqueue_at_once_are_stored_in_one_line(open_app):
    app = await open_app()

    stored = await asyncio.gather(*[app.enqueue(by_worker.new(nth)) for nth in range(50)])

    assert sorted(made.state for made in stored) == [AVAILABLE, *[SUSPENDED] * 49]
