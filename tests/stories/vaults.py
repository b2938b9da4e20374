"""Encrypted workers for a process of their own: their keys come from its environment."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from tenuto import Cancel, Chain, Discard, Job, KeyRing, Unique, Worker, current_job, job, results

READY = "the workers of vaults"


def keys() -> KeyRing:
    return KeyRing("k1", {"k1": os.environ["VAULT_KEY"]})


class Refused(Exception):
    """The failure of a vault; its text holds what the job held."""


@job(name="vaults.keep", encrypted=keys, recorded=True)
async def keep(secret: str, rows: int = 1) -> dict[str, list[str]]:
    return {"kept": [secret] * rows}


@job(name="vaults.keep_in_a_thread", encrypted=keys, recorded=True)
def keep_in_a_thread(secret: str) -> str:
    return f"kept {secret}"


@job(name="vaults.fail", encrypted=keys, backoff=0, max_attempts=2)
async def fail(secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError as fault:
        raise Refused(f"the account {secret} is closed") from fault


@job(name="vaults.refuse", encrypted=keys)
async def refuse(secret: str) -> None:
    raise Cancel(f"no more of {secret}")


@job(name="vaults.hang", encrypted=keys, timeout=0.2, max_attempts=1)
async def hang(secret: str) -> None:
    await asyncio.sleep(60)


@job(name="vaults.wrong", encrypted=keys, recorded=True)
async def wrong(secret: str) -> object:
    return {secret: object()}


@job(name="vaults.early", encrypted=keys, backoff=0, max_attempts=2)
async def early(secret: str) -> None:
    if current_job().attempt == 1:
        await results.store_result({"early": secret})
        raise Refused(secret)


@job(name="vaults.read", encrypted=keys)
async def read() -> int:
    return len(str(results.get_all_results()))


# ── with every other option ───────────────────────────────────────────────────────────────────────


class Talkative:
    """Hooks that look at what they are told, and fail with it."""

    def before_process(self, job: Job[Any, Any]) -> Job[Any, Any]:
        return job.replace(args={**job.args, "secret": job.args["secret"]})

    def after_process(self, state: str, job: Job[Any, Any], result: Any) -> None:
        raise Refused(f"{state}: {job.args} {result}")

    async def on_cancelled(self, reason: str, job: Job[Any, Any]) -> None:
        raise Refused(f"{reason}: {job.args}")

    def on_discarded(self, reason: str, job: Job[Any, Any]) -> None:
        raise Refused(f"{reason}: {job.args}")


@job(
    name="vaults.keyed",
    encrypted=keys,
    recorded=True,
    unique=Unique(keys=["secret", "nth"]),
    chain=Chain(by="args.secret"),
    partition="args.secret",
    hooks=[Talkative()],
)
async def keyed(secret: str, nth: int) -> str:
    if nth == 1:
        raise Discard(f"no more of {secret}")
    return f"kept {secret}"


@job(name="vaults.keep_afar", encrypted=keys, recorded=True, runs_in="process", hooks=[Talkative()])
def keep_afar(secret: str) -> dict[str, str]:
    return {"kept": secret}


@job(name="vaults.fail_afar", encrypted=keys, runs_in="process", backoff=0, max_attempts=2)
def fail_afar(secret: str) -> None:
    error = Refused(f"the account {secret} is closed")
    error.add_note(f"see the file of {secret}")
    raise error


@job(name="vaults.die_afar", encrypted=keys, runs_in="process", backoff=0, max_attempts=1)
def die_afar(secret: str) -> None:
    held = [secret] * 10
    os._exit(len(held))


@job(name="vaults.fail_in_a_thread", encrypted=keys, max_attempts=1, hooks=[Talkative()])
def fail_in_a_thread(secret: str) -> None:
    raise ExceptionGroup(f"all of {secret}", [Refused(secret), KeyError({secret: secret})])


@job(name="vaults.exit", encrypted=keys, max_attempts=1)
async def leave(secret: str) -> None:
    sys.exit(f"no more of {secret}")


@job(name="vaults.leaves_a_task", encrypted=keys)
async def leaves_a_task(secret: str) -> None:
    async def fails() -> None:
        raise Refused(secret)

    current_job()
    asyncio.get_running_loop().create_task(fails())
    await asyncio.sleep(0)


@job(name="vaults.late", encrypted=keys, deadline=0.5)
async def late(secret: str) -> None: ...


class Nightly(Worker[dict[str, str], str], name="vaults.nightly", encrypted=keys, recorded=True):
    """A class, of a cron entry in the settings."""

    async def process(self, job: Job[dict[str, str], str]) -> str:
        return job.args["secret"]
