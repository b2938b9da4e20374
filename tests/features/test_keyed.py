"""Keys: one text for all jobs that are alike in some parts, the same in every process, and secret where it must be."""

import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tenuto.errors import InvalidJob, NotEncrypted, Unencodable
from tenuto.features.feature import Feature
from tenuto.features.keyed import check_parts, key_for, key_of, parts_of
from tenuto.job import Job
from tenuto.tagged import Sealed

JOB: Job[Any, Any] = Job("mail", {"to": "a", "place": {"city": "B", "zip": None}}, queue="q", meta={"tenant": 7})


class Seals(Feature):
    """As an encrypted worker has one, whose jobs all carry the same."""

    async def hash_key(self) -> bytes:
        return b"secret"

    async def opened_job(self, job: Any) -> Any:
        return job.replace(args={"to": "a"})


SEALED: Job[Any, Any] = Job("mail", Sealed("k", "mail", "sealed"), queue="q")


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_parts_of_a_job_are_read_by_their_names():
    names = ["queue", "args", "args.to", "args.place.city", "meta.tenant"]

    assert parts_of(JOB, names) == {
        "queue": "q",
        "args": JOB.args,
        "args.to": "a",
        "args.place.city": "B",
        "meta.tenant": 7,
    }


@pytest.mark.parametrize("name", ["args.nobody", "args.to.deeper", "args.place.zip", "meta.x.y"])
def test_a_key_that_is_not_there_counts_as_null(name: str):
    assert parts_of(JOB, [name]) == {name: None}


def test_the_worker_is_no_part_but_stands_beside_them():
    assert parts_of(JOB, ["worker", "queue"]) == {"queue": "q"}


def test_names_come_back_sorted_and_once():
    assert check_parts("by", ["worker", "args.b", "args.a", "worker"]) == ("args.a", "args.b", "worker")
    assert check_parts("by", "worker") == ("worker",)


@pytest.mark.parametrize(
    "names", ["tags", "args.", "args..a", "worker.name", "", ["worker", "id"], [7], [["args"]], 7, []]
)
def test_what_names_no_part_is_refused(names: Any):
    with pytest.raises(InvalidJob, match=r"by= names .*there are|by= names nothing; give at least one of"):
        check_parts("by", names)


def test_a_whole_part_that_an_option_does_not_take_is_refused():
    with pytest.raises(InvalidJob, match=r"by= names 'queue'.*there are worker, args\.key, meta\.key"):
        check_parts("by", ["worker", "queue"], whole=["worker"])


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────

ALIKE = [
    ({"a": {"x": 1, "y": [{"p": 1, "q": 2}]}}, {"a": {"y": [{"q": 2, "p": 1}], "x": 1}}),
    ({"a": {3, 1, 2}}, {"a": {2, 3, 1}}),
    ({"a": {"x\0": 1, "b": 2}}, {"a": {"b": 2, "x\0": 1}}),
    ({"a": (1, 2)}, {"a": (1, 2)}),
]
DIFFERENT = [
    ({"a": 1}, {"a": "1"}),
    ({"a": None}, {"b": None}),
    ({"a": [1, 2]}, {"a": [2, 1]}),
    ({"a": (1,)}, {"a": [1]}),
    ({"a": {}}, {"a": []}),
    ({"args.a": 1}, {"args.b": 1}),
    ({"a": date(2026, 1, 1)}, {"a": "2026-01-01"}),
    ({"a": Decimal(1)}, {"a": 1}),
    ({"a": "x", "b": ""}, {"a": "", "b": "x"}),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_is_alike_has_one_key(one: Any, other: Any):
    assert key_of("w", one) == key_of("w", other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_has_another_key(one: Any, other: Any):
    assert key_of("w", one) != key_of("w", other)


def test_the_worker_counts_where_it_is_given():
    keys = {key_of(worker, {"a": 1}) for worker in ("w", "v", None)}

    assert len(keys) == 3


def test_a_key_says_nothing_and_is_short():
    key = key_of("w", {"a": "x" * 100_000})

    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


def test_a_key_is_the_same_in_another_process():
    parts = "{'a': {'x', 'y', 'z', 'q'}, 'b': {'k': 1.5}}"
    program = f"from tenuto.features.keyed import key_of; print(key_of('w', {parts}), end='')"

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert told == key_of("w", {"a": {"x", "y", "z", "q"}, "b": {"k": 1.5}})


def test_under_a_secret_the_key_is_another_one():
    keys = {key_of("w", {"a": 1}, secret) for secret in (None, b"one", b"two")}

    assert len(keys) == 3
    assert key_of("w", {"a": 1}, b"one") in keys


def test_what_cannot_be_stored_has_no_key():
    with pytest.raises(Unencodable, match="key"):
        key_of("w", {"a": object()})


async def test_the_secret_is_asked_of_the_feature_that_seals():
    assert await key_for(JOB, "w", ["args.to"], [Feature(), Seals()]) == key_of("w", {"args.to": "a"}, b"secret")
    assert await key_for(JOB, "w", ["args.to"], [Feature()]) == key_of("w", {"args.to": "a"})


async def test_the_key_of_a_job_that_is_sealed_already_is_that_of_what_is_in_it():
    assert await key_for(SEALED, "w", ["args.to"], [Seals()]) == await key_for(JOB, "w", ["args.to"], [Seals()])
    assert await key_for(SEALED, "w", ["args"], [Seals()]) == key_of("w", {"args": {"to": "a"}}, b"secret")


async def test_what_is_sealed_has_no_key_where_nothing_opens_it():
    with pytest.raises(NotEncrypted, match=r"args of job .* are sealed, and mail is not encrypted"):
        await key_for(SEALED, None, ["args.to"], [])

    assert await key_for(SEALED, None, ["queue"], []) == key_of(None, {"queue": "q"})
