"""Pruner: jobs, workflows, chains, usage and logs past their keep are deleted, and cron entries nobody declares."""

from datetime import timedelta
from typing import ClassVar

from tenuto import telemetry
from tenuto.runtime.node import Node
from tenuto.runtime.services.service import Service
from tenuto.storage import crons, limited, upkeep, usage


class Pruner(Service):
    """Once a minute, on one node; a thousand jobs at a time, until nothing is past its keep."""

    interval: ClassVar[float] = 60.0
    singleton: ClassVar[bool] = True

    def __init__(
        self,
        node: Node,
        keep_jobs: timedelta,
        keep_workflows: timedelta,
        keep_usage: timedelta = timedelta(days=90),
        keep_debug: timedelta = timedelta(days=7),
    ) -> None:
        super().__init__(node)
        self._keep_jobs = keep_jobs
        self._keep_workflows = keep_workflows
        self._keep_usage = keep_usage
        self._keep_debug = keep_debug

    async def tick(self) -> None:
        """Delete one batch of each, forget full buckets, and come again soon when there may be more."""
        jobs = await self.database.run(upkeep.prune_jobs, self._keep_jobs)
        chains = 0
        if jobs < upkeep.PRUNED_AT_ONCE:  # else some of their links may be left
            chains = await self.database.run(upkeep.prune_chains, self._keep_jobs)
        workflows = await self.database.run(upkeep.prune_workflows, self._keep_workflows)
        used = await self.database.run(usage.prune, self._keep_usage, self._keep_debug)
        await self.database.run(crons.prune)
        await self.database.run(limited.prune_rates)
        if jobs or chains or workflows:
            telemetry.emit("pruner.prune", jobs=jobs, workflows=workflows, chains=chains)
        if max(jobs, chains, used) >= upkeep.PRUNED_AT_ONCE or workflows >= upkeep.WORKFLOWS_PRUNED_AT_ONCE:
            self.poke()
