"""Unique: what may be asked for, what counts as the same, and what the key is made of."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from tenuto import Unique, Worker, job
from tenuto.definition import Definition, storing
from tenuto.errors import InvalidJob
from tenuto.features.feature import Feature, fold_store, ranked
from tenuto.features.unique import UniqueJobs
from tenuto.job import DISCARDED, Job, JobState


class Sealed(Feature):
    """As an encrypted worker has one: it replaces the args last, and knows a secret."""

    rank = 90

    async def hash_key(self) -> bytes:
        return b"secret"

    async def opened_job(self, job: Any) -> Any:
        return job

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        return job.replace(args={"sealed": job.id})


def stored(
    asked: object, args: Any = None, *, worker: str = "w", sealed: bool = False, **options: Any
) -> Job[Any, Any]:
    """A job as the features leave it for enqueue."""
    features = ranked([Sealed()] if sealed else [])
    made: Job[Any, Any] = Job(worker, args or {"a": 1, "b": 2}, unique=asked, **options)
    return asyncio.run(fold_store(ranked([*features, UniqueJobs(worker, features)]), made))


def key(asked: object, args: Any = None, **options: Any) -> str:
    return str(json.loads(stored(asked, args, **options).unique_key or "")["key"])


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────


def test_a_unique_as_it_comes_counts_worker_queue_and_args_in_all_states_but_the_two_bad_ends():
    unique = Unique()

    assert unique.fields == ("args", "queue", "worker")
    assert unique.states == tuple(state for state in JobState if state not in ("cancelled", "discarded"))
    assert (unique.keys, unique.period, dict(unique.replaced)) == ((), None, {})


@pytest.mark.parametrize(
    ("given", "states"),
    [
        ("incomplete", "suspended scheduled available executing retryable"),
        ("successful", "suspended scheduled available executing retryable completed"),
        ("all", "suspended scheduled available executing retryable completed cancelled discarded"),
        ("scheduled", "scheduled"),
        (["executing", "available", "available"], "available executing"),
        ([JobState.AVAILABLE, DISCARDED], "available discarded"),
    ],
)
def test_states_are_named_one_by_one_or_by_their_group(given: Any, states: str):
    assert Unique(states=given).states == tuple(states.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fields": ["tags"]}, r"fields= names 'tags', which is no part of a job; there are worker, queue, args, meta"),
        ({"fields": []}, "fields= names nothing"),
        ({"keys": ["a"], "fields": ["worker"]}, "fields= names neither of them"),
        ({"keys": [7]}, "keys= holds 7; it takes names"),
        ({"keys": 7}, "keys= holds 7"),
        ({"keys": ["a.."]}, "no part of a job"),
        ({"period": 0.5}, "period=0.5 is out of range: a second at least"),
        ({"period": "1 day"}, "period='1 day' is no duration"),
        ({"states": "finished"}, "states= names 'finished', which is no state of a job; there are suspended"),
        ({"states": ["completed"]}, "states= holds none in which a job begins"),
        ({"states": []}, "states= holds none in which a job begins"),
        ({"replace": {"executing": ["args"]}}, "replace= names 'executing'.*what runs or has ended is not changed"),
        ({"replace": {"scheduled": ["worker"]}}, "replace= names 'worker'; there are args, meta"),
        ({"replace": ["args"], "fields": ["args.a"]}, "replace= of args needs 'worker' in fields="),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_said(options: Any, told: str):
    with pytest.raises(InvalidJob, match=told):
        Unique(**options)


def test_what_is_replaced_is_said_for_all_states_or_for_each():
    waiting = ["suspended", "scheduled", "available", "retryable"]

    assert Unique(replace=["args", "meta"]).replaced == dict.fromkeys(waiting, ("args", "meta"))
    assert Unique(replace={"scheduled": ["scheduled_at"], "available": []}).replaced == {"scheduled": ("scheduled_at",)}


def test_a_unique_is_a_value():
    assert Unique(keys=["a"], period=60) == Unique(keys=("a",), period=timedelta(minutes=1))


# ── what counts as the same ───────────────────────────────────────────────────────────────────────


def test_jobs_alike_in_their_fields_have_one_key():
    assert key(Unique()) == key(Unique(), priority=4, meta={"x": 1})
    assert key(Unique(), {"a": 1, "b": 2}) == key(Unique(), {"b": 2, "a": 1})


@pytest.mark.parametrize("other", [{"worker": "v"}, {"queue": "slow"}, {"args": {"a": 2, "b": 2}}])
def test_jobs_that_differ_in_a_field_have_not(other: Any):
    assert key(Unique()) != key(Unique(), **other)


@pytest.mark.parametrize("other", [{"worker": "v"}, {"queue": "slow"}, {"args": {"a": 1, "b": 3}}])
def test_what_is_not_named_does_not_count(other: Any):
    by_key = Unique(fields=["args"], keys=["a"])

    assert key(by_key) == key(by_key, **other)


def test_keys_narrow_args_and_meta_and_may_be_written_with_their_field():
    assert key(Unique(keys=["a"])) == key(Unique(fields=["worker", "queue", "args.a"]))
    assert key(Unique(fields=["args", "meta"], keys=["a"])) == key(Unique(fields=["args.a", "meta.a"]))


def test_a_key_that_is_missing_counts_as_null():
    unique = Unique(keys=["c"])

    assert key(unique, {"a": 1}) == key(unique, {"c": None})


def test_what_is_stored_are_key_states_period_and_what_to_replace():
    asked = Unique(period=60, states="scheduled", replace={"scheduled": ["args"]})

    kept = json.loads(stored(asked).unique_key or "")

    assert kept == {
        "key": key(Unique()),
        "states": "scheduled",
        "period": 60_000_000,
        "replace": {"scheduled": ["args"]},
    }


# ── where args are sealed ─────────────────────────────────────────────────────────────────────────


def test_the_key_of_sealed_args_is_made_before_they_are_and_under_a_secret():
    one, other = stored(Unique(), sealed=True), stored(Unique(), sealed=True)

    assert one.args != other.args
    assert one.unique_key == other.unique_key
    assert one.unique_key != stored(Unique()).unique_key


def test_sealed_args_are_put_into_no_other_job():
    with pytest.raises(InvalidJob, match=r"w seals its args for one job each; leave args out of replace="):
        stored(Unique(replace=["args"]), sealed=True)


# ── where it is said ──────────────────────────────────────────────────────────────────────────────


@job(unique=True)
async def once(n: int) -> None: ...


@job
async def plain(n: int) -> None: ...


class Webhook(Worker[None], unique=Unique(fields=["worker"]), name="hook"):
    async def process(self, job: Job[None]) -> None: ...


def test_a_worker_says_it_for_its_jobs_and_one_job_for_itself():
    assert once.new(1).unique == Unique()
    assert once.options(unique=False).new(1).unique is None
    assert once.options(unique=None).new(1).unique is None
    assert once.options(unique=Unique(keys=["n"])).new(1).unique == Unique(keys=["n"])
    assert plain.options(unique=True).new(1).unique == Unique()
    assert Webhook.new().unique == Unique(fields=["worker"])


def test_a_job_that_is_not_unique_passes_no_feature():
    assert storing(plain.new(1)) == ()
    assert storing(Job("nobody")) == ()


@pytest.mark.parametrize("asked", [7, "yes", Unique, {"fields": ["args"]}])
def test_what_is_no_unique_is_refused(asked: Any):
    with pytest.raises(InvalidJob, match="unique= is a Unique, True or False, and nothing of type"):
        plain.options(unique=asked)
    with pytest.raises(InvalidJob, match="unique= is a Unique"):
        asyncio.run(fold_store(storing(Job("nobody", unique=asked)), Job("nobody", unique=asked)))


def test_a_job_made_by_hand_is_unique_by_what_it_names():
    definition: Definition = Webhook.definition
    by_hand: Job[Any, Any] = Job("hook", unique=Unique(fields=["worker"]))

    (made,) = [asyncio.run(fold_store(storing(one), one)) for one in [by_hand]]
    (usual,) = [asyncio.run(fold_store(storing(one), one)) for one in [Webhook.new()]]

    assert definition.name == "hook"
    assert made.unique_key == usual.unique_key
