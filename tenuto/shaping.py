"""Shaping: jobs as their workers' features want them stored, and as their owners get them back."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from tenuto.definition import storing
from tenuto.features.feature import fold_store
from tenuto.job import Job

AnyJob: TypeAlias = Job[Any, Any]


async def shaped(jobs: Sequence[AnyJob]) -> list[AnyJob]:
    """The jobs as their workers' features want them stored."""
    return [await fold_store(features, job) if (features := storing(job)) else job for job in jobs]


def as_given(stored: Sequence[AnyJob], given: Sequence[AnyJob]) -> list[AnyJob]:
    """Jobs as stored, with the args that their owner gave: what was sealed stays readable to who made it."""
    return [
        now if now.existing or now.args is job.args else now.replace(args=job.args)
        for now, job in zip(stored, given, strict=True)
    ]
