"""The benchmark scenarios on pgqueuer with a hard cap on the jobs that run at once."""

from __future__ import annotations

from on_pgqueuer import PgQueuerPeer
from protocol import main


class CappedPeer(PgQueuerPeer):
    """The cap is counted in the dequeue query; a batch may be half of it at most."""

    label = "pgqueuer, capped"
    setting = "asyncpg pool of 10, uvloop, max_concurrent_tasks = limit, batch_size = limit / 2"

    def options(self) -> dict[str, int]:
        limit = max(2, self.limit)
        return {"batch_size": limit // 2, "max_concurrent_tasks": limit}


if __name__ == "__main__":
    main(CappedPeer)
