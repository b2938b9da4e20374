"""Shaping: jobs as their workers' features want them stored, and as their owners get them back."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from tenuto.definition import sealed
from tenuto.job import Job
from tenuto.options import fitting
from tenuto.sizes import Sizes

AnyJob: TypeAlias = Job[Any, Any]


async def shaped(jobs: Sequence[AnyJob], sizes: Sizes) -> list[AnyJob]:
    """The jobs as their workers' features want them stored. Raises TooLarge for more than the sizes allow."""
    return await sealed(fitting(jobs, sizes))


def as_given(stored: Sequence[AnyJob], given: Sequence[AnyJob]) -> list[AnyJob]:
    """Jobs as stored, with the args that their owner gave: what was sealed stays readable to who made it."""
    return [
        now if now.existing or now.args is job.args else now.replace(args=job.args)
        for now, job in zip(stored, given, strict=True)
    ]
