"""Chain: one job at a time of those that are alike, in the order in which they were stored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

from tenuto.errors import InvalidJob
from tenuto.features.aliases import canonical
from tenuto.features.feature import Feature
from tenuto.features.keyed import check_parts, key_for
from tenuto.job import Job

OnBadEnd: TypeAlias = Literal["ignore", "hold"]
"""What a chain does when one of its links was cancelled or discarded: go on, or wait until that one has completed."""

_WHOLE: Final = ("worker",)
_HOLDS: Final = {"ignore": False, "hold": True}


@dataclass(frozen=True)
class Chain:
    """Which jobs run one after the other, in the order of the commits that stored them.

    `by` names what those of one chain have in common: `worker`, keys of args (`args.account_id`) and of meta
    (`meta.tenant.id`), or several of these. Without `worker` any worker that names the same is in the chain; the queue
    is no part of it; a key that is not there counts as null. After `hold` nothing of the chain runs until the link that
    was cancelled or discarded has completed, or was deleted. Raises InvalidJob.
    """

    by: str | Iterable[str] = "worker"
    on_cancelled: OnBadEnd = "ignore"
    on_discarded: OnBadEnd = "ignore"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", check_parts("by", self.by, _WHOLE))
        for option in ("on_cancelled", "on_discarded"):
            if (asked := getattr(self, option)) not in tuple(_HOLDS):
                raise InvalidJob(f"{option}={asked!r:.80} is nothing a chain can do; there are ignore, hold")

    @property
    def parts(self) -> tuple[str, ...]:
        """What `by` names, sorted, each once."""
        return tuple(self.by)

    @property
    def holds(self) -> str | None:
        """The endings after which it waits, as they are stored with each link; None where there is none."""
        endings = {"cancelled": self.on_cancelled, "discarded": self.on_discarded}
        return " ".join(ending for ending, asked in endings.items() if _HOLDS[asked]) or None


class Chained(Feature):
    """Gives each job of its worker the key of its chain. A step of a workflow has deps instead, and gets none."""

    rank: ClassVar[int] = 40

    def __init__(self, chain: Chain, beside: Sequence[Feature] = ()) -> None:
        self._chain = chain
        self._beside = beside  # where one of them seals the args, the key is made with a secret of its

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job as a link. One that was stored before keeps its key, whatever its args are now."""
        if job.workflow_id is not None:
            return job
        return job.replace(chain_key=job.chain_key or await self._key(job), chain_holds=self._chain.holds)

    async def _key(self, job: Job[Any, Any]) -> str:
        worker = canonical(job.worker) if "worker" in self._chain.parts else None
        return await key_for(job, worker, self._chain.parts, self._beside)


def chained(option: Chain | None, beside: Sequence[Feature] = ()) -> Feature | None:
    """The feature that `chain=` asks for, beside others. Raises InvalidJob for what is no Chain."""
    if option is None:
        return None
    if not isinstance(option, Chain):
        raise InvalidJob(f"chain={option!r:.80} is no Chain; give Chain(), or Chain(by=['args.account_id'])")
    return Chained(option, beside)
