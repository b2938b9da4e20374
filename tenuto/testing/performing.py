"""Performing: one job run for a test, whole: its args, features, hooks and keys, its encoding, and a store."""

import asyncio
from contextlib import suppress
from typing import Any, Final, TypeVar

from tenuto.app import Tenuto
from tenuto.errors import InvalidJob, InvalidRequest, NotDrained
from tenuto.job import AVAILABLE, RETRYABLE, SCHEDULED, Duration, Job, seconds
from tenuto.testing.hand import Hand, Slot
from tenuto.testing.temporary import temporary_app
from tenuto.testing.tried import Tried

T = TypeVar("T")

WITHIN: Final = 60.0  # real seconds that one attempt may take


async def perform(job: Job[Any, T], *, app: Tenuto | None = None, within: Duration = WITHIN) -> Tried[T]:
    """Store a job and run one attempt of it, now, whatever else is due and whenever it is; what that came to.

    In the store of `app`, which need not work on any queue, or in one of its own. A job that is stored already, a step
    too, is run where it is. What process raises is in the answer, and is not raised. Raises what `enqueue` does,
    InvalidRequest for a job that cannot run now (it waits for others, runs, or has ended), and NotDrained for one that
    takes longer than `within`.
    """
    if not isinstance(job, Job):
        raise InvalidJob(f"perform takes one Job, and not something of type {type(job).__name__}; make one with new()")
    if app is not None:
        return await _perform(app, job, within)
    async with temporary_app() as own:
        return await _perform(own, job, within)


async def _perform(app: Tenuto, job: Job[Any, T], within: Duration) -> Tried[T]:
    limit = seconds("within", within).total_seconds()
    stored = await app.enqueue(job)
    async with Hand(app) as hand:
        if stored.state in (SCHEDULED, RETRYABLE):
            await app.update(stored, {"schedule_in": 0})
            await hand.tend()
            stored = await app.fetch(stored)
        slot = Slot(stored.queue)
        claimed = await hand.claim_this(stored, slot) if stored.state is AVAILABLE else None
        if claimed is None:
            raise InvalidRequest(f"job {stored.id} of {stored.worker} cannot run now: it is {stored.state}")
        await hand.begin(claimed, slot)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not (done := await hand.ended()):
                    await hand.wait(limit)
                return done
        raise NotDrained(f"{stored.worker} has not ended within {limit:g} s; within= gives it longer")
