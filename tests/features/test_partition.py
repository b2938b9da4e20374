"""Partition: jobs that are alike in what the worker names share a key, and others do not."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto import Worker, job
from tenuto.definition import storing
from tenuto.errors import InvalidJob
from tenuto.features.feature import Feature, fold_store
from tenuto.features.partition import Partitioned
from tenuto.job import Job


@job(name="by account", partition=["worker", "args.account", "meta.tenant"])
def by_account(account: int, text: str = "") -> None:
    """Of one account's and tenant's share."""


@job(name="other by account", partition=["args.account", "worker", "meta.tenant"])
def other_by_account(account: int) -> None:
    """Another worker with the same parts."""


@job(name="any by account", partition="args.account")
def any_by_account(account: int) -> None:
    """Whatever the worker."""


class AlsoAny(Worker[dict[str, Any]], name="also any", partition=("args.account",)):
    """A class with the same part."""

    async def process(self, job: Job[Any, Any]) -> None: ...


@job(name="of none")
def of_none(account: int) -> None:
    """Without a partition."""


async def key(made: Job[Any, Any]) -> str | None:
    return (await fold_store(storing(made), made)).partition


async def test_jobs_that_are_alike_in_what_is_named_share_a_partition():
    meta = {"tenant": "t", "more": 1}

    keys = {
        await key(by_account.options(meta=meta).new(7, "a")),
        await key(by_account.options(meta={**meta, "more": 2}, queue="other").new(7, "b")),
    }

    assert len(keys) == 1


async def test_a_difference_in_any_part_is_another_partition():
    jobs = [
        by_account.new(7),
        by_account.new(8),
        by_account.options(meta={"tenant": "t"}).new(7),
        other_by_account.new(7),
    ]

    assert len({await key(made) for made in jobs}) == len(jobs)


async def test_without_the_worker_all_that_name_the_same_share_it():
    assert await key(any_by_account.new(7)) == await key(AlsoAny.new({"account": 7}))


async def test_a_key_that_is_not_there_counts_as_null():
    missing, null = AlsoAny.new({}), AlsoAny.new({"account": None})

    assert await key(missing) == await key(null) is not None


async def test_a_worker_without_one_has_none():
    assert await key(of_none.new(7)) is None


async def test_the_key_of_sealed_args_needs_the_secret():
    class Seals(Feature):
        async def hash_key(self) -> bytes:
            return b"secret"

        async def opened_job(self, job: Any) -> Any:
            return job

    made = any_by_account.new(7)
    sealed = await Partitioned(("args.account",), [Seals()]).before_store(made)

    assert sealed.partition not in (None, await key(made))


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("account", "partition= names 'account', which is no part of a job; there are worker, args.key, meta.key"),
        (["args"], "partition= names 'args'"),
        ([], "partition= names nothing"),
        (["args."], "no part of a job"),
    ],
)
def test_what_is_no_part_of_a_job_is_refused(by, told):
    with pytest.raises(InvalidJob) as caught:

        @job(name="never", partition=by)
        def never() -> None: ...

    assert told in str(caught.value)
