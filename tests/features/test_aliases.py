"""Aliases: names that once meant a worker still find it, belong to it alone, and stand for one key."""

from typing import Any

import pytest

from tenuto.definition import forget, registered, resolve
from tenuto.errors import DuplicateWorker, InvalidJob, UnknownWorker
from tenuto.features.aliases import canonical
from tenuto.function import job
from tenuto.job import Job
from tenuto.worker import Worker


@pytest.fixture(autouse=True)
def scratch():
    """The names defined by a test are forgotten after it."""
    before = set(registered())
    yield
    for name in set(registered()) - before:
        forget(name)


def work() -> None: ...
def other() -> None: ...


def test_a_worker_is_found_by_each_of_its_aliases():
    purge = job(name="data.purge", aliases=["user.purge", "account.purge"])(work)

    assert resolve("user.purge") is resolve("account.purge") is resolve("data.purge") is purge.definition
    assert {"data.purge", "user.purge", "account.purge"} <= set(registered())


def test_new_jobs_carry_the_new_name():
    assert job(name="data.purge", aliases=["user.purge"])(work).new().worker == "data.purge"


def test_a_class_has_aliases_too_and_hands_them_down_to_nobody():
    class Purge(Worker[None], name="data.purge", aliases=["user.purge"]):
        def process(self, job: Job[None]) -> None: ...

    class Deep(Purge, name="data.deep"):
        pass

    assert resolve("user.purge") is Purge.definition
    assert Deep.definition is not Purge.definition


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"name": "a"}, {"name": "b", "aliases": ["a"]}, "a worker named 'a' is already defined"),
        ({"name": "b", "aliases": ["a"]}, {"name": "a"}, "'a' is an alias of 'b' already"),
        ({"name": "b", "aliases": ["a"]}, {"name": "c", "aliases": ["a"]}, "'a' is an alias of 'b' already"),
    ],
    ids=["an alias is a name", "a name is an alias", "an alias is an alias"],
)
def test_two_workers_cannot_claim_one_name(first: Any, second: Any, told: str):
    taken = job(**first)(work)

    with pytest.raises(DuplicateWorker, match=told):
        job(**second)(other)

    assert resolve("a") is taken.definition
    assert canonical("a") == "a"


def test_workers_that_one_function_makes_cannot_share_an_alias():
    def make(city: str) -> Any:
        return job(name=f"send.{city}", aliases=["send"])(lambda: None)

    make("Rome")

    with pytest.raises(DuplicateWorker, match=r"'send' is an alias of 'send\.Rome'"):
        make("Oslo")


def test_a_worker_that_is_loaded_again_has_the_aliases_it_has_now():
    job(name="data.purge", aliases=["user.purge", "old.purge"])(work)

    again = job(name="data.purge", aliases=["user.purge"])(work)

    assert resolve("user.purge") is again.definition
    with pytest.raises(UnknownWorker):
        resolve("old.purge")
    assert canonical("old.purge") == "old.purge"


def test_an_alias_is_forgotten_with_its_worker():
    job(name="data.purge", aliases=["user.purge"])(work)

    forget("data.purge")

    with pytest.raises(UnknownWorker):
        resolve("user.purge")


@pytest.mark.parametrize("aliases", ["user.purge", [""], [7], 7, ["a\nb"]])
def test_an_alias_that_cannot_be_a_name_is_refused(aliases: Any):
    with pytest.raises(InvalidJob, match="alias"):
        job(name="data.purge", aliases=aliases)(work)


def test_all_names_of_a_worker_stand_for_its_oldest_one():
    job(name="purge.all", aliases=["user.purge", "data.purge"])(work)
    job(name="alone")(other)

    assert {canonical(name) for name in ("purge.all", "user.purge", "data.purge")} == {"user.purge"}
    assert (canonical("alone"), canonical("unheard.of")) == ("alone", "unheard.of")
