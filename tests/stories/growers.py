"""Workers that fill the groups of grafts. `python -m tests.stories.growers URL` works on a database with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tenuto import Tenuto, Workflow, blocking, current_job, graft, job
from tests.kit import LEASE, Obey


@job(name="growers.fan", backoff=0)
async def fan(width: int) -> None:
    """Adds so many steps."""
    await graft([Obey.value(nth) for nth in range(width)])


@job(name="growers.plain")
def plain(width: int) -> None:
    """The same, as a plain function."""
    blocking.graft([Obey.value(nth) for nth in range(width)])


@job(name="growers.twice", backoff=0)
async def twice() -> None:
    """Adds some steps, and fails; the second attempt adds one more than the first."""
    attempt = current_job().attempt
    await graft({f"n{nth}": Obey.value([attempt, nth]) for nth in range(attempt + 1)})
    if attempt == 1:
        raise ValueError("not yet")


@job(name="growers.dying", backoff=0)
async def dying(width: int) -> None:
    """Adds steps; the process of the first attempt dies then."""
    await graft([Obey.value(nth) for nth in range(width)])
    if os.environ.pop("GROWERS_DIE", ""):
        os.kill(os.getpid(), signal.SIGKILL)


@job(name="growers.nested")
async def nested(depth: int) -> None:
    """Adds a chain and, so deep, a graft that does the same."""
    flow = Workflow()
    flow.add("b", Obey.value("b"), deps=flow.add("a", Obey.value("a")))
    if depth:
        flow.add("after", Obey.value(depth), deps=flow.add_graft("deeper", nested.new(depth=depth - 1), deps="b"))
    await graft(flow)


@job(name="growers.failing", max_attempts=1)
async def failing() -> None:
    """Adds one that ends well and one that does not."""
    await graft({"good": Obey.value("good"), "bad": Obey.fail()})


if __name__ == "__main__":
    asyncio.run(Tenuto(sys.argv[1], queues={"default": 10}, lease=LEASE).work())
