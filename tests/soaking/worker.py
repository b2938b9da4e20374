"""The worker that is killed: its steps write what they do into a log that nobody rewrites."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from tenuto import Snooze, Tenuto, current_job, job, results, telemetry
from tenuto.errors import StorageUnavailable

LEASE = 2.0  # seconds
SLOTS = 10
NO_SERVER = 75  # the exit code of one that found no database: EX_TEMPFAIL


class ToldTo(Exception):
    """The failure of a step that fails once."""


class Log:
    """One JSON line an event, appended whole; what was written outlives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, event: str, **fields: Any) -> None:
        """Add a line; it is there when this returns."""
        line = {"at": round(time.time(), 3), "pid": os.getpid(), "event": event, **fields}
        os.write(self._file, json.dumps(line).encode() + b"\n")


_log: Log | None = None


def tell(event: str, name: str, **fields: Any) -> None:
    """Write of the running attempt."""
    assert _log is not None
    running = current_job()
    _log.write(event, step=name, attempt=running.attempt, epoch=running.epoch, **fields)


def value_of(seed: str, name: str, deps: Mapping[str, str]) -> str:
    """What a step must come to: nobody gets there without the right values of all its deps."""
    text = json.dumps([seed, name, sorted(deps.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ── the steps ─────────────────────────────────────────────────────────────────────────────────────


@job(name="soak.step", backoff=0)
async def step(seed: str, name: str, deed: str, millis: int) -> Any:
    """One step on the event loop."""
    value = _begun(seed, name)
    await asyncio.sleep(millis / 2000)
    if deed == "stores":
        tell("end", name, value=value["value"])
        await results.store_result(value)
        await asyncio.sleep(millis / 2000)
        return value if millis % 2 else None
    await asyncio.sleep(millis / 2000)
    return _ended(name, deed, value)


@job(name="soak.plain_step", backoff=0)
def plain_step(seed: str, name: str, deed: str, millis: int) -> Any:
    """One step in a thread."""
    value = _begun(seed, name)
    time.sleep(millis / 1000)
    return _ended(name, deed, value)


def _begun(seed: str, name: str) -> dict[str, Any]:
    """Write what the step sees of its deps; its value, marked with the epoch of this attempt."""
    seen = results.get_all_results()
    tell("begin", name, seen={dep: [result["value"], result["epoch"]] for dep, result in seen.items()})
    value = value_of(seed, name, {dep: result["value"] for dep, result in seen.items()})
    return {"value": value, "epoch": current_job().epoch}


def _ended(name: str, deed: str, value: dict[str, Any]) -> Any:
    if deed == "fails" and current_job().attempt == 1:
        tell("fail", name)
        raise ToldTo(name)
    if deed == "snoozes" and current_job().snoozes == 0:
        tell("snooze", name)
        return Snooze(0.01)
    tell("end", name, value=value["value"])
    return value


# ── the process ───────────────────────────────────────────────────────────────────────────────────


def work(url: str, folder: Path) -> None:
    """Work on the database until killed; the log, and what is said on the way, go into `folder`."""
    global _log  # noqa: PLW0603 - one process, one log
    _log = Log(folder / "log")
    _speak_into(folder / "said")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts means the soak, which lets the run end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    telemetry.attach(_tell_finished, "workflow.finished")
    telemetry.attach(_tell_fault, "service.exception", "queue.split", "queue.quarantine")
    telemetry.attach(telemetry.log_events)
    try:
        asyncio.run(_work(url))
    except StorageUnavailable:
        sys.exit(NO_SERVER)


async def _work(url: str) -> None:
    assert _log is not None
    _log.write("start")
    async with Tenuto(url, queues={"default": SLOTS}, lease=LEASE):
        await asyncio.Event().wait()


def _tell_finished(event: str, payload: Mapping[str, Any]) -> None:
    assert _log is not None
    _log.write("finished", workflow=payload["workflow_id"], outcome=payload["outcome"])


def _tell_fault(event: str, payload: Mapping[str, Any]) -> None:
    assert _log is not None
    _log.write("fault", what=f"{event}: {payload.get('service', '')} {payload['error']!r}")


def _speak_into(path: Path) -> None:
    """Warnings and logs of this process go into a file of the run."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, sys.stderr.fileno())
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(asctime)s %(message)s")


def _end_with_parent() -> None:
    """Leave nothing behind when whoever kills us is killed itself."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
