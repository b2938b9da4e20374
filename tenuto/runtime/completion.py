"""Completion: a job that was completed in a transaction of its own code's, and whether that was committed."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tenuto.errors import StorageUnavailable
from tenuto.job import COMPLETED
from tenuto.outcome import Outcome, is_awaited
from tenuto.runtime.executor import Attempt
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.storage import reading
from tenuto.storage.aftermath import Settled
from tenuto.storage.database import Hint


class Completion(NamedTuple):
    """What a job was completed with, and what followed from it in that transaction."""

    outcome: Outcome
    settled: Settled


async def committed(
    node: Node, notifier: Notifier, is_capped: Callable[[str], bool], attempt: Attempt
) -> Outcome | None:
    """What an attempt completed its job with, once its code has ended; None where that was rolled back.

    Then nothing is left to settle, whatever the code returned or raised afterwards. The row says it, for only this
    attempt can complete its epoch; and it is asked for however long the database is away.
    """
    while True:
        try:
            found = await node.database.read(reading.fetch, [attempt.job.id])
            break
        except StorageUnavailable as error:
            node.away(error)
            try:
                await asyncio.sleep(random.uniform(0.05, 0.3))  # before the next try
            except asyncio.CancelledError:  # told to stop meanwhile: the fence of the ack will know
                return None
    now: Any = found.get(attempt.job.id)
    if now is None or (now.state, now.epoch) != (COMPLETED, attempt.job.epoch):
        return None
    last: Completion = attempt.completions[-1]
    if not attempt.is_settled:  # it was not given up meanwhile
        attempt.is_settled, attempt.stopped = True, None
    if is_capped(attempt.job.queue):
        last.settled.due.add(attempt.job.queue)  # there is room, for other nodes too
    tell_settled(notifier, last.settled)
    if is_awaited(attempt.job):
        notifier.tell([Hint("settled", attempt.job.id)])  # what its transaction told is heard only by who listens
    return last.outcome
