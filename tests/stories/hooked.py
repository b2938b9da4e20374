"""Workers with hooks that run in other processes; children import this module, and no tests."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenuto import Cancel, Discard, Job, Snooze, Worker
from tenuto.features.hooks import HookState


@dataclass
class Deed:
    """What a job is to do, and in which folder its hooks write down what they are told."""

    folder: str
    does: str = "nothing"


class Hooked(Worker[Deed, Any], name="hooked", queue="hooked", runs_in="process", backoff=0, max_attempts=2):
    """Its hooks share what they leave in their instance, and write down what they are told."""

    def before_process(self, job: Job[Deed]) -> Job[Deed]:
        self.seen = [os.getpid()]
        return job

    def process(self, job: Job[Deed, Any]) -> Any:
        self.seen.append(os.getpid())
        return deeds(job.args.does)

    def after_process(self, state: HookState, job: Job[Deed], result: Any) -> None:
        tell(job, self, state, result)


class HookedOnPool(Hooked, name="hooked on a pool", runs_in="pool"):
    """The same on somebody's executor."""


class Quiet(Worker[Deed, Any], name="hooked by nobody", queue="hooked", runs_in="process", max_attempts=1):
    """Has no hooks of its own."""

    def process(self, job: Job[Deed, Any]) -> Any:
        return deeds(job.args.does)


class Fatal(Quiet, name="hooked fatally"):
    """Its hook takes the process along."""

    def after_process(self, state: HookState, job: Job[Deed]) -> None:
        os._exit(9)


class Slow(Quiet, name="hooked slowly", timeout=1.0):
    """Its hook takes longer than the job may."""

    async def after_process(self, state: HookState, job: Job[Deed]) -> None:
        tell(job, self, state, None)
        await asyncio.Event().wait()


class SlowOnPool(Quiet, name="hooked slowly on a pool", runs_in="pool", timeout=1.0):
    """The same on somebody's executor, in a plain function."""

    def after_process(self, state: HookState, job: Job[Deed]) -> None:
        tell(job, self, state, None)
        time.sleep(1.5)


def deeds(does: str) -> Any:
    match does:
        case "nothing":
            return None
        case "snooze":
            raise Snooze(3600)
        case "cancel":
            return Cancel("told to")
        case "discard":
            return Discard("told to")
        case "fail":
            raise LookupError("told to")
        case "die":
            os._exit(7)
        case "hang":
            threading.Event().wait()
    return does


def tell(job: Job[Deed], hook: object, state: str, result: Any) -> None:
    """One line more in the folder."""
    args: Any = job.args
    folder = args.folder if isinstance(args, Deed) else args["folder"]
    error = job.error
    frames = [] if error is None or error.__traceback__ is None else _frames(error)
    line = {
        "state": state,
        "result": result if isinstance(result, str | None) else type(result).__name__,
        "pid": os.getpid(),
        "seen": getattr(hook, "seen", []),
        "error": None if error is None else type(error).__name__,
        "frames": frames,
    }
    with Path(folder, "told").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _frames(error: BaseException) -> list[str]:
    found: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        found.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return found


def all_told(folder: Path) -> list[dict[str, Any]]:
    """What hooks wrote down, in their order."""
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
