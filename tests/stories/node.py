"""`python -m tests.stories.node URL QUEUE` works on one queue of jobs that run elsewhere, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from tenuto import Tenuto
from tests.kit import LEASE
from tests.stories import afar_workers, endless

QUEUES = (afar_workers.QUEUE, endless.QUEUE)

if __name__ == "__main__":
    _, url, queue = sys.argv
    assert queue in QUEUES
    executors = {"somebody's": ThreadPoolExecutor(1)}
    asyncio.run(Tenuto(url, queues={queue: 2}, executors=executors, lease=LEASE).work())
