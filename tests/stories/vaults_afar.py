"""Encrypted workers that run elsewhere; children and executors import this module, and no tests."""

from __future__ import annotations

import os
from typing import Any

from tenuto import Job, KeyRing, Worker, current_job, job, results


def keys() -> KeyRing:
    return KeyRing("k1", {"k1": os.environ["VAULT_KEY"]})


@job(name="afar.vault", queue="pool", encrypted=keys, recorded=True)
def vault(secret: str) -> dict[str, str]:
    return {"kept": secret}


@job(name="afar.vault.in_process", queue="vault", runs_in="process", encrypted=keys, recorded=True)
def in_process(secret: str) -> dict[str, Any]:
    return {"pid": os.getpid(), "secret": secret}


@job(name="afar.vault.fails_in_process", queue="vault", runs_in="process", encrypted=keys, max_attempts=1)
def fails_in_process(secret: str) -> None:
    raise LookupError(f"no {secret}")


@job(name="afar.vault.on_pool", queue="pool", runs_in="pool", encrypted=keys, recorded=True, backoff=0, max_attempts=2)
def on_pool(secret: str) -> dict[str, Any]:
    if current_job().attempt == 1:
        raise LookupError(f"no {secret}")
    told = [error.message for error in current_job().errors]
    return {"pid": os.getpid(), "secret": secret, "read": results.get_all_results(), "errors": told}


class Sealing(Worker[dict[str, str], Any], name="afar.vault.hooked", queue="pool", runs_in="pool", encrypted=keys):
    """Its hooks see its args as its process does."""

    def process(self, job: Job[dict[str, str], Any]) -> str:
        return job.args["secret"]

    def after_process(self, state: str, job: Job[dict[str, str], Any], result: str) -> None:
        heard.append((state, job.args["secret"], result))


heard: list[tuple[str, str, str]] = []
