"""A worker that runs in a process of its own, which has to find it in a module."""

import os

from tenuto import job


@job(name="testing.pid", runs_in="process")
def pid() -> int:
    return os.getpid()
