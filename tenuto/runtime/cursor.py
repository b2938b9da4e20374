"""Cursor: where the last claim ended, so that rows which left before that point are not walked again."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final

from tenuto.storage import store
from tenuto.storage.store import AnyJob

SLOW: Final = 0.01  # seconds; a claim from the head takes 1 to 3 ms where it walks over nothing
REST: Final = 10  # times the time that a slow one took, until the next from the head
REST_AT_MOST: Final = 1.0  # seconds


class Cursor:
    """How to claim from one queue: from the head, or for a while behind the last claim where the head is slow.

    While some transaction is old, PostgreSQL keeps every row version that has left the head of the queue, and each
    claim walks over all of them. After two slow claims in a row that found something, the next ones begin where the
    last one ended. What becomes due before that place (a retry, a released step) waits for the next claim from the
    head, a second at most.
    """

    is_capped = False  # whether other nodes wait for what ends here
    claim_suspect: ClassVar[Callable[..., Any]] = staticmethod(store.claim_suspect)

    def __init__(self) -> None:
        self._places: dict[int, tuple[datetime, str]] = {}  # by priority
        self._slow_ones = 0
        self._rests_until = 0.0

    async def claim(self, run: Callable[..., Any], queue: str, demand: int, producer: str, node: str) -> list[AnyJob]:
        """What `store.claim` gives, by `run`."""
        began = time.monotonic()
        if began < self._rests_until:
            jobs: list[AnyJob] = await run(store.claim, queue, demand, producer, node, self._places)
        else:
            jobs = await run(store.claim, queue, demand, producer, node)
            now = time.monotonic()
            self._slow_ones = self._slow_ones + 1 if jobs and now - began > SLOW else 0
            if self._slow_ones > 1:
                self._rests_until = now + min(REST * (now - began), REST_AT_MOST)
            if len(jobs) == demand:
                self._places = {}  # it ended in the middle of what is due
        self._places |= {job.priority: (job.scheduled_at, job.id) for job in jobs if job.scheduled_at is not None}
        return jobs
