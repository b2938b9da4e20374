"""Feature: the door through which a worker gains an ability, and how features nest around process."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, TypeAlias

from tenuto.job import Job
from tenuto.outcome import Ack, Outcome

Process: TypeAlias = Callable[[Job[Any, Any]], Awaitable[Outcome]]
"""What runs one attempt of a job, and says what it came to."""


class Feature:
    """One ability of one worker: the moments of a job's life, and it overrides those that concern it.

    `rank` is the place in the onion, and the library fixes it, so the order in which a user lists features
    never matters. Made once per worker; it keeps nothing of any job.
    """

    rank: ClassVar[int] = 50

    def before_new(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """Shape the job while it is made, or refuse it by raising; pure. Highest rank first."""
        return job

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """Shape what will be stored, at the door of enqueue. Highest rank last: who seals sees it all."""
        return job

    async def opened_job(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job as its process would read it, made of what is stored. Highest rank first."""
        return job

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run the attempt with `call_next`, or say at once what it came to. Highest rank outermost.

        What it raises fails the attempt, as if process had raised it.
        """
        return await call_next(job)

    def before_ack(self, job: Job[Any, Any], outcome: Outcome, ack: Ack) -> Ack:
        """Shape what will be stored of the attempt; the ack's state stays as it is. Highest rank last."""
        return ack

    async def after_settle(self, job: Job[Any, Any], outcome: Outcome, ack: Ack) -> None:
        """Observe what the attempt came to, and how it will be settled. Highest rank first. Never raises."""


def ranked(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """The features in the one order that counts: highest rank first, equal ranks by their names."""
    return tuple(sorted(features, key=lambda feature: (-feature.rank, type(feature).__qualname__)))


def overriding(features: Iterable[Feature], moment: str) -> tuple[Feature, ...]:
    """Those of `features` that have a method of their own for `moment`: nobody calls the others."""
    idle = getattr(Feature, moment)
    return tuple(feature for feature in features if getattr(type(feature), moment) is not idle)


def nest(features: Iterable[Feature], innermost: Process) -> Process:
    """One callable that runs `innermost` inside every ranked feature that wraps it; built once per worker."""
    process = innermost
    for feature in reversed(overriding(features, "around_process")):
        process = _wrapped(feature.around_process, process)
    return process


def _wrapped(around: Callable[[Job[Any, Any], Process], Awaitable[Outcome]], call_next: Process) -> Process:
    def process(job: Job[Any, Any]) -> Awaitable[Outcome]:
        return around(job, call_next)

    return process


def fold_new(features: Iterable[Feature], job: Job[Any, Any]) -> Job[Any, Any]:
    """The job after every ranked feature had its say while it is made."""
    for feature in features:
        job = feature.before_new(job)
    return job


async def fold_store(features: Iterable[Feature], job: Job[Any, Any]) -> Job[Any, Any]:
    """The job after every ranked feature had its say at the door of enqueue, the outermost last."""
    for feature in reversed(tuple(features)):
        job = await feature.before_store(job)
    return job
