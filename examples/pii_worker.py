"""A worker for personal data: what its jobs carry, return and fail with is sealed in the database.

    python examples/pii_worker.py [--folder DIR]

It needs the extra: pip install 'tenuto[crypto]'. The key comes from PII_KEYS as `id=key,id=key`, the newest last
(`tenuto keygen` makes one), or is made for this run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from tenuto import KeyRing, Tenuto, Workflow, job, results


def keys() -> KeyRing:
    """The keys as they are now. In production this asks a vault; here they lie in the environment."""
    ring = dict(pair.split("=", 1) for pair in os.environ["PII_KEYS"].split(","))
    return KeyRing(current=list(ring)[-1], keys=ring)


@job(encrypted=keys, recorded=True)
async def check_identity(name: str, born: str, passport: str) -> dict[str, str]:
    """Compare a passport with its register. What it gives is kept on the job, sealed as its args are."""
    return {"name": name, "passport": f"…{passport[-3:]}", "verdict": "genuine"}


@job(encrypted=keys)
async def write_letter() -> str:
    """The next step reads what the one before returned, since it runs where the keys are."""
    found = results.get_result("check")
    return f"Dear {found['name']}, your passport {found['passport']} is {found['verdict']}."


@job(encrypted=keys, max_attempts=1)
async def ask_the_bank(iban: str) -> None:
    """Fails, with the account in its message: that is sealed too."""
    raise ConnectionError(f"the bank knows no account {iban}")


async def main(folder: Path) -> None:
    """Run them, and read what they gave."""
    os.environ.setdefault("PII_KEYS", f"2026-01={KeyRing.new_key()}")
    async with Tenuto(f"sqlite:///{folder / 'pii.db'}", queues={"default": 5}) as app:
        flow = Workflow("onboarding")
        flow.add("check", check_identity.new("Ada Lovelace", "1815-12-10", "C01X00T47"))
        flow.add("letter", write_letter.new(), deps="check")
        flow.add("bank", ask_the_bank.new("DE02 1203 0000 0000 2020 51"))
        await app.enqueue(flow)
        await app.workflow(flow.id).wait(timeout=30)

        print("Who has the keys reads:")
        print("   ", await app.workflow(flow.id).result("letter"))
        print("   ", await app.recorded(flow.jobs["check"]))
        failed = await app.opened(await app.fetch(flow.jobs["bank"]))
        print("   ", failed.errors[-1].message)

        os.environ["PII_KEYS"] += f",2026-02={KeyRing.new_key()}"  # from now on this one seals
        await asyncio.sleep(1.1)  # an answer of `keys` holds for a second
        again = await app.enqueue(check_identity.new("Grace Hopper", "1906-12-09", "D07Y11U58"))
        print("After a rotation the old is read, and the new is sealed with the new key:")
        print("   ", await app.workflow(flow.id).result("letter"))
        print("   ", (await app.fetch(again)).args)


def look_into(folder: Path) -> None:
    """What somebody reads who has the file, and no key."""
    print("Who has the file reads:")
    with closing(sqlite3.connect(folder / "pii.db")) as file:
        for worker, args in file.execute("select worker, args from jobs order by id"):
            print(f"    {worker:28} {args[:64]}…")
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    for secret in ("Ada", "1815-12-10", "C01X00T47", "DE02", "genuine", "Grace"):
        print(f"    {secret!r} in any of its files: {'yes' if secret.encode() in everything else 'no'}")


def demonstrate(folder: Path) -> None:
    """Both views, one after the other."""
    asyncio.run(main(folder))
    look_into(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where the database is kept; else a temporary one")
    chosen = parser.parse_args().folder
    if chosen is not None:
        demonstrate(chosen)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            demonstrate(Path(temporary))
