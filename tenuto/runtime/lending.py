"""Lending: a job that waits for another one lends its slot, so that a full queue does not wait for itself."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from tenuto.errors import WouldDeadlock
from tenuto.job import Job

AnyJob = Job[Any, Any]


class Slots:
    """Those of one queue on this node that running jobs have lent.

    A job goes on at once when its wait is over; until then-running others have ended, more may run than there are
    slots, and nothing is claimed.
    """

    def __init__(self, changed: Callable[[], None], is_capped: Callable[[], bool]) -> None:
        self.lent_out = 0
        self._changed = changed
        self._is_capped = is_capped

    @contextmanager
    def lent(self, mine: AnyJob, awaited: Sequence[AnyJob]) -> Generator[None]:
        """While `mine` waits for other jobs. Raises WouldDeadlock where those could wait for `mine` all the same."""
        for job in awaited:
            self._check(mine, job)
        self.lent_out += 1
        self._changed()
        try:
            yield
        finally:
            self.lent_out -= 1

    def _check(self, mine: AnyJob, awaited: AnyJob) -> None:
        if awaited.id == mine.id:
            raise WouldDeadlock(f"job {mine.id} would wait for itself")
        if mine.chain_key is not None and awaited.chain_key == mine.chain_key:
            raise WouldDeadlock(f"job {mine.id} would wait for a later link of its own chain, which waits for it")
        if awaited.queue == mine.queue and self._is_capped():
            raise WouldDeadlock(
                f"job {mine.id} counts for the limit of its queue {mine.queue!r} while it waits for another one of it; "
                "let one of the two run on another queue"
            )
