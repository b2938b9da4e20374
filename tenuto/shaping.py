"""Shaping: jobs as their workers' features want them stored, and as their owners get them back."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from tenuto import codec
from tenuto.definition import sealed
from tenuto.errors import TooLarge
from tenuto.graph import Head
from tenuto.job import Job
from tenuto.options import fitting
from tenuto.sizes import META_MOST, Sizes
from tenuto.text import size

AnyJob: TypeAlias = Job[Any, Any]

ROOM: Final = 10_000  # bytes of meta that say how a workflow finished


async def shaped(jobs: Sequence[AnyJob], sizes: Sizes) -> list[AnyJob]:
    """The jobs as their workers' features want them stored. Raises TooLarge for more than the sizes allow."""
    return await sealed(fitting(jobs, sizes))


async def shaped_head(head: Head, sizes: Sizes) -> Head:
    """A workflow's own row likewise. Its context may be as large as a job's args, and the meta of the job that its end
    enqueues leaves room for what is written there. Raises TooLarge.
    """
    if head.context is not None and size(head.context) > sizes.args:
        raise TooLarge("context", size(head.context), sizes.args)
    if head.on_finished is None:
        return head
    codec.encode(head.on_finished.meta, limit=META_MOST - ROOM, what="meta")
    (job,) = await shaped([head.on_finished], sizes)
    return head._replace(on_finished=job)


def as_given(stored: Sequence[AnyJob], given: Sequence[AnyJob]) -> list[AnyJob]:
    """Jobs as stored, with the args that their owner gave: what was sealed stays readable to who made it."""
    return [
        now if now.existing or now.args is job.args else now.replace(args=job.args)
        for now, job in zip(stored, given, strict=True)
    ]
