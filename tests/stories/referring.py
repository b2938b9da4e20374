"""Workers that take results as args; children and executors import this module, and no tests."""

from __future__ import annotations

import os
from typing import Any

from tenuto import KeyRing, current_job, job


def keys() -> KeyRing:
    return KeyRing("k1", {"k1": os.environ["REFERRING_KEY"]})


@job(name="referring.fetch")
async def fetch(value: Any) -> Any:
    return value


@job(name="referring.use", backoff=0, max_attempts=2)
async def use(token: str, n: int = 0, rest: Any = None) -> list[Any]:
    return [token, n, rest]


@job(name="referring.in_thread")
def in_thread(token: str) -> list[Any]:
    return [token, current_job().args["token"]]


@job(name="referring.twice", backoff=0, max_attempts=3)
async def twice(token: str) -> list[Any]:
    if current_job().attempt == 1:
        raise RuntimeError("once more")
    return [token, current_job().attempt]


@job(name="referring.afar", runs_in="process")
def afar(token: str, n: int) -> list[Any]:
    return [token, n, os.getpid()]


@job(name="referring.pool", runs_in="pool", queue="pool")
def on_pool(token: str, n: int) -> list[Any]:
    return [token, n]


@job(name="referring.sealed_fetch", encrypted=keys)
async def sealed_fetch(value: Any) -> Any:
    return value


@job(name="referring.sealed", encrypted=keys)
async def sealed(secret: str, token: str) -> list[Any]:
    return [secret, token, current_job().args["token"]]


@job(name="referring.sealed_afar", encrypted=keys, runs_in="process")
def sealed_afar(secret: str, token: str) -> list[Any]:
    return [secret, token]


@job(name="referring.sealed_pool", encrypted=keys, runs_in="pool", queue="pool")
def sealed_pool(secret: str, token: str) -> list[Any]:
    return [secret, token]
