"""The door of features: ranks decide the order, and nobody calls a method that a feature does not have."""

from itertools import permutations
from typing import Any

import pytest

from tenuto.features.feature import Feature, Process, fold_new, fold_store, nest, overriding, ranked
from tenuto.job import Job
from tenuto.outcome import DONE, Ack, Cancel, Failed, Outcome

JOB: Job[Any, Any] = Job("w", [])


class Outer(Feature):
    rank = 90

    def before_new(self, job):
        return job.replace(args=[*job.args, "outer"])

    async def before_store(self, job):
        return job.replace(args=[*job.args, "outer"])

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        outcome = await call_next(job.replace(args=[*job.args, "outer in"]))
        job.args.append("outer out")
        return outcome


class Inner(Feature):
    rank = 10

    def before_new(self, job):
        return job.replace(args=[*job.args, "inner"])

    async def before_store(self, job):
        return job.replace(args=[*job.args, "inner"])

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        return await call_next(job.replace(args=[*job.args, "inner in"]))


class Watcher(Feature):
    async def after_settle(self, job: Job[Any, Any], outcome: Outcome, ack: Ack) -> None: ...


class Stopper(Feature):
    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        return Cancel("not today")


@pytest.mark.parametrize("listed", [*permutations([Outer(), Watcher(), Inner()])])
async def test_the_order_in_which_features_are_listed_never_matters(listed):
    seen: list[Any] = []

    async def innermost(job: Job[Any, Any]) -> Outcome:
        seen.extend(job.args)
        return DONE

    features = ranked(listed)
    await nest(features, innermost)(JOB.replace(args=[]))

    assert seen == ["outer in", "inner in"]
    assert fold_new(features, JOB).args == ["outer", "inner"]
    assert (await fold_store(features, JOB)).args == ["inner", "outer"]


async def test_a_feature_may_answer_without_process():
    async def innermost(job: Job[Any, Any]) -> Outcome:
        return Failed(AssertionError("process was called"))

    outcome = await nest([Stopper()], innermost)(JOB)

    assert isinstance(outcome, Cancel)


def test_nobody_calls_a_method_that_a_feature_does_not_have():
    async def innermost(job: Job[Any, Any]) -> Outcome:
        return DONE

    features = (Outer(), Watcher(), Inner())

    assert nest([Watcher()], innermost) is innermost
    assert [type(feature) for feature in overriding(features, "after_settle")] == [Watcher]
    assert [type(feature) for feature in overriding(features, "before_store")] == [Outer, Inner]


async def test_a_feature_that_overrides_nothing_changes_nothing():
    async def innermost(job: Job[Any, Any]) -> Outcome:
        return DONE

    plain = Feature()

    assert plain.before_new(JOB) is JOB
    assert await plain.before_store(JOB) is JOB
    assert await plain.around_process(JOB, innermost) is DONE
