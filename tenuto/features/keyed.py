"""Keyed: one short text for all jobs that are alike in some of their parts: worker, queue, args, meta."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from hmac import digest
from typing import Any, Final, Protocol, TypeVar, cast

from tenuto import codec
from tenuto.errors import InvalidJob, NotEncrypted
from tenuto.features.feature import Feature
from tenuto.job import Job
from tenuto.reference import Waiting, references
from tenuto.tagged import Sealed

J = TypeVar("J", bound=Job[Any, Any])

PARTS: Final = ("worker", "queue", "args", "meta")


class Hashing(Protocol):
    """The feature of an encrypted worker, as those see it that make keys of its args."""

    async def hash_key(self) -> bytes:
        """The secret that every key of the worker is made with. It outlives the keys that seal."""
        ...

    async def opened_job(self, job: J) -> J:
        """The job with its args opened. Raises KeyUnavailable and SealBroken."""
        ...


async def key_for(job: Job[Any, Any], worker: str | None, names: Sequence[str], features: Iterable[Feature]) -> str:
    """The key of a job that is to be stored, made of these parts, and of this worker, unless it is None.

    Where one of the worker's features seals its args, it is made with a secret of that one; and a job that was fetched,
    whose args are sealed already, has the key that it had before. Raises NotEncrypted where nothing here opens them,
    and what the feature raises.
    """
    hashing = hashing_of(features)
    if isinstance(job.args, Sealed) and any(name.partition(".")[0] == "args" for name in names):
        if hashing is None:
            raise NotEncrypted(job.id, job.worker)
        job = await hashing.opened_job(job)
    parts = parts_of(job, names)
    if type(job.args) is Waiting:
        _refuse_references(job, parts)
    return key_of(worker, parts, None if hashing is None else await hashing.hash_key())


def _refuse_references(job: Job[Any, Any], parts: Mapping[str, Any]) -> None:
    """A key is made when a job is stored, and would be the same for every value that comes later."""
    for name, value in parts.items():
        if (reference := next(references(value), None)) is not None:
            told = "which is not known when its key is made; count other parts of it"
            raise InvalidJob(f"{name} of job {job.id} ({job.worker}) holds {reference!r}, {told}")


def hashing_of(features: Iterable[Feature]) -> Hashing | None:
    """The one of a worker's features that seals its args; None where they are stored in the clear."""
    return next((cast("Hashing", feature) for feature in features if hasattr(feature, "hash_key")), None)


def check_parts(option: str, names: str | Iterable[str], whole: Collection[str] = PARTS) -> tuple[str, ...]:
    """The parts that `option` names, sorted, each once: one of `whole`, or a key in args or meta (`args.account.id`).

    Raises InvalidJob for another word, or for none.
    """
    found = tuple(sorted({_checked(option, name, whole) for name in listed(names)}))
    if not found:
        raise InvalidJob(f"{option}= names nothing; give at least one of {_shown(whole)}")
    return found


def listed(given: Any) -> list[Any]:
    """What an option was given, as a list: one text is one, and what is no list of anything is itself the one."""
    if isinstance(given, str):
        return [given]
    try:
        return list(given)
    except TypeError:
        return [given]


def _checked(option: str, name: Any, whole: Collection[str]) -> str:
    if isinstance(name, str):
        head, dot, keys = name.partition(".")
        if name in whole or (dot and head in ("args", "meta") and all(keys.split("."))):
            return name
    raise InvalidJob(f"{option}= names {name!r:.80}, which is no part of a job; there are {_shown(whole)}")


def _shown(whole: Collection[str]) -> str:
    return ", ".join([*whole, "args.key", "meta.key"])


def parts_of(job: Job[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    """What the job has in these parts, save the worker, by name. A key that is not there counts as null."""
    return {name: _part(job, *name.split(".")) for name in names if name != "worker"}


def _part(job: Job[Any, Any], field: str, *keys: str) -> Any:
    found: Any = getattr(job, field)
    for key in keys:
        found = cast("Mapping[str, Any]", found).get(key) if isinstance(found, Mapping) else None
    return found


def key_of(worker: str | None, parts: Mapping[str, Any], hash_key: bytes | None = None) -> str:
    """One text of 64 letters for all jobs that are alike in these parts, and of this worker, unless it is None.

    Alike means equal once stored; the order of keys in a dict is no difference. With a `hash_key` nobody who lacks it
    can tell what was hashed by trying. Raises Unencodable.
    """
    told = json.loads(codec.encode([worker, dict(parts)], what="key"), object_hook=_ordered)
    text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    return sha256(text).hexdigest() if hash_key is None else digest(hash_key, text, "sha256").hex()


def _ordered(found: dict[str, Any]) -> dict[str, Any]:
    """What the codec holds as a list of keys and values, in the order of the keys."""
    if found.keys() != {"$dict"}:
        return found
    items = found["$dict"]
    return {"$dict": sorted(zip(items[::2], items[1::2], strict=True), key=json.dumps)}
