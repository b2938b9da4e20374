"""Encrypted: what a worker's jobs carry, return and fail with is sealed before it is stored, and opened to run."""

import time
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, ClassVar, Final, TypeVar

from tenuto import codec
from tenuto.context import running
from tenuto.errors import (
    CodecError,
    ConfigError,
    InvalidJob,
    JobTimedOut,
    KeyUnavailable,
    NotSealed,
    SealBroken,
    SealError,
    TooLarge,
    UnencodableResult,
)
from tenuto.features.feature import Feature, Process
from tenuto.features.keys import KeyProvider, KeyRing, check_library
from tenuto.features.recorded import deflated
from tenuto.features.sealing import Place, seal, text_of, unseal
from tenuto.job import Failure, Job
from tenuto.outcome import Ack, Failed, Outcome, Stopped
from tenuto.sizes import ARGS_MOST
from tenuto.tagged import Sealed

J = TypeVar("J", bound=Job[Any, Any])

ASK_EVERY: Final = 1.0  # seconds for which a provider's answer holds
_WITHHELD: Final = "not kept: it has to be sealed, and the keys were not there"
_UNSAID: Final = "of an encrypted worker, it is not told why"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """How a worker is encrypted: with which keys, and whether it runs jobs whose args were stored in the clear.

    `keys` is a KeyRing, or a function, sync or async, that gives one: it is asked at run time, again when its last
    answer is a second old, or lacks a key that is looked for. `allow_plain` is for a worker that was not encrypted
    before.
    """

    keys: KeyRing | KeyProvider
    allow_plain: bool = False


class Encryption(Feature):
    """Seals last at the door of enqueue, opens first when the job runs, and seals what the attempt gives back."""

    rank: ClassVar[int] = 90

    def __init__(self, option: Encrypted) -> None:
        self._keys = option.keys
        self.allows_plain = option.allow_plain
        self._ring = option.keys if isinstance(option.keys, KeyRing) else None
        self._asked_at = 0.0

    # ── the keys ──

    async def ring(self, key_id: str | None = None) -> KeyRing:
        """The keys as they are now; with a `key_id` asked for anew where it is not among them.

        Raises what the provider raises, and ConfigError when it gives no KeyRing.
        """
        if isinstance(self._keys, KeyRing):
            return self._keys
        is_old = time.monotonic() - self._asked_at > ASK_EVERY
        if self._ring is None or is_old or (key_id is not None and self._ring.cipher(key_id) is None):
            self._asked_at = time.monotonic()  # who comes meanwhile goes on with the last answer
            try:
                self._ring = await _answer(self._keys)
            except BaseException:
                self._asked_at = 0.0
                raise
        return self._ring

    async def hash_key(self) -> bytes:
        """The secret for keyed hashes of what its jobs carry. Raises as `ring` does."""
        return (await self.ring()).hash_key

    def sealed_args(self, ring: KeyRing, job: Job[Any, Any], text: str) -> Sealed:
        """The text of a job's args sealed, and marked so that the same can be told from others."""
        return seal(ring, Place(job.id, job.worker, "args"), text.encode(), marked=True)

    async def opened(self, sealed: Sealed, place: Place) -> bytes:
        """What is in it. Raises KeyUnavailable and SealBroken, and what the provider raises."""
        return unseal(await self.ring(sealed.key_id), place, sealed)

    async def opened_job(self, job: J) -> J:
        """The job with its args and errors opened; an error that cannot be opened stays as it is.

        Raises as `opened` does.
        """
        errors = (
            tuple([await self.opened_error(job.id, job.worker, failure) for failure in job.errors])
            if job.errors
            else ()
        )
        if not isinstance(job.args, Sealed):
            return job.replace(args=job.args, errors=errors)
        ring = await self.ring(job.args.key_id)
        text = unseal(ring, Place(job.id, job.worker, "args"), job.args).decode()
        return job.replace(args=codec.decode(text), errors=errors)

    # ── the moments of a job ──

    async def before_store(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with its args sealed; one that was fetched has them sealed already. Raises TooLarge."""
        if isinstance(job.args, Sealed):
            return job
        text = job.encoded or codec.encode(job.args, limit=ARGS_MOST, what="args")
        sealed = self.sealed_args(await self.ring(), job, text)
        return job.replace(args=sealed, encoded=text_of(sealed))

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Open the job, and run it; what cannot be opened fails the attempt, and process is not called."""
        if not isinstance(job.args, Sealed):
            await self.ring()  # for what the attempt will give back
            if not self.allows_plain:
                raise NotSealed(job.id, "args", job.worker)
        opened = await self.opened_job(job)
        mine = running.get(None)
        if mine is not None:
            mine.job = opened
        return await call_next(opened)

    def before_ack(self, job: Job[Any, Any], outcome: Outcome, ack: Ack) -> Ack:
        """The ack with its error, its result and what is recorded sealed. What Tenuto itself says stays readable."""
        sealed: dict[str, Any] = {}
        if ack.error is not None:
            sealed["error"] = self._sealed_error(job, outcome, ack.error)
        if ack.result is not None:
            sealed["result"] = self.given_back(job, "result", ack.result.encode())
        if ack.recorded is not None:
            sealed["recorded"] = self.given_back(job, "recorded", deflated(ack.recorded))
        if ack.unkept is not None:
            sealed["unkept"] = _without_reason(ack.unkept)
        return ack._replace(**sealed) if sealed else ack

    def given_back(self, job: Job[Any, Any], field: str, data: bytes) -> str:
        """What a running attempt gives, as it is stored: sealed with the keys that were there when one began last.

        Nothing is asked here: what has been done must not be lost because a vault is away.
        """
        assert self._ring is not None  # around_process asked for it
        return text_of(seal(self._ring, Place(job.id, job.worker, field), data))

    # ── errors ──

    def _sealed_error(self, job: Job[Any, Any], outcome: Outcome, entry: str) -> str:
        """The entry with its message and traceback as one sealed text in the message's place."""
        fields = codec.decode(entry)
        told: Any = fields["message"]
        if not _is_ours(outcome):
            told = _WITHHELD
            if self._ring is not None:
                said = codec.encode([fields["message"], fields["traceback"]])
                told = seal(self._ring, _place_of_error(job.id, job.worker, job.attempt), said.encode())
        return codec.encode({**fields, "message": told, "traceback": ""})

    async def opened_error(self, job_id: str, worker: str, failure: Failure) -> Failure:
        """An entry of a job's errors opened, or as it is where it cannot be."""
        if failure.sealed is None:
            return failure
        try:
            said = await self.opened(failure.sealed, _place_of_error(job_id, worker, failure.attempt))
        except SealError:
            return failure
        message, traceback = codec.decode(said.decode())
        return Failure(failure.attempt, failure.at, failure.kind, failure.type, message, traceback)


def encryption(option: Any) -> Feature | None:
    """The feature that `encrypted=` asks for. Raises InvalidJob, and MissingExtra without the extra `crypto`."""
    if option is None:
        return None
    asked = option if isinstance(option, Encrypted) else Encrypted(option)
    keys: Any = asked.keys
    if not (isinstance(keys, KeyRing) or callable(keys)):
        raise InvalidJob("encrypted= takes a KeyRing, a function that gives one, or Encrypted(…)")  # and shows none
    check_library()
    return Encryption(asked)


async def _answer(provider: KeyProvider) -> KeyRing:
    answer: Any = provider()
    if isawaitable(answer):
        answer = await answer
    if not isinstance(answer, KeyRing):
        raise ConfigError(f"what encrypted= was given is to give a KeyRing, and gave a {type(answer).__name__}")
    return answer


def _without_reason(fault: CodecError) -> CodecError:
    """Why a value could not be kept, without what it says of the value."""
    return fault if isinstance(fault, TooLarge) else UnencodableResult("$", _UNSAID)


def _place_of_error(job_id: str, worker: str, attempt: int) -> Place:
    return Place(job_id, worker, f"error {attempt}")


def _is_ours(outcome: Outcome) -> bool:
    """Whether its text is Tenuto's own and holds nothing of the job; its traceback may, and is left out."""
    return isinstance(outcome, Stopped) or (isinstance(outcome, Failed) and type(outcome.error) in _OURS)


_OURS: Final = frozenset({KeyUnavailable, SealBroken, NotSealed, JobTimedOut})
