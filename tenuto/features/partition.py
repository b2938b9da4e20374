"""Partition: which jobs share one part of their queue's limits."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from tenuto.features.aliases import canonical
from tenuto.features.feature import Feature
from tenuto.features.keyed import check_parts, key_for
from tenuto.job import Job


class Partitioned(Feature):
    """Gives each job of its worker the key of its partition, made of what `by` names: args that are not sealed yet."""

    rank: ClassVar[int] = 20

    def __init__(self, by: tuple[str, ...], features: Iterable[Feature] = ()) -> None:
        self._by = by
        self._features = tuple(features)

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with its key. Where one of the worker's features seals its args, nobody can guess them from it."""
        worker = canonical(job.worker) if "worker" in self._by else None
        return job.replace(partition=await key_for(job, worker, self._by, self._features))


def partitioned(by: str | Iterable[str] | None, features: Iterable[Feature] = ()) -> Feature | None:
    """The feature that `partition=` asks for, beside others. Raises InvalidJob for what is no part of a job."""
    return None if by is None else Partitioned(check_parts("partition", by, _WHOLE), features)


_WHOLE: Final = ("worker",)
