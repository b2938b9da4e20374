"""`python -m tests.stories.asking URL` works on jobs that wait for a signal, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tenuto import Received, Tenuto, job, wait_for_signal
from tests.kit import LEASE


@job(name="signals-ask")
async def asks() -> Any:
    """Its result is what it was told."""
    answer = await wait_for_signal("go")
    return answer.value if isinstance(answer, Received) else None


if __name__ == "__main__":
    asyncio.run(Tenuto(sys.argv[1], queues={"default": 10}, lease=LEASE).work())
