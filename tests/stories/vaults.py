"""Encrypted workers for a process of their own: their keys come from its environment."""

from __future__ import annotations

import asyncio
import os

from tenuto import Cancel, KeyRing, current_job, job, results

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
