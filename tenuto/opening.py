"""Opening: what encrypted workers sealed, made readable with the keys of those that this process knows."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from tenuto import codec
from tenuto.answer import Answer, Cancelled, Completed, Discarded, Failed, Kept
from tenuto.context import Needs
from tenuto.definition import registered, resolve
from tenuto.errors import (
    InvalidJob,
    JobNotFound,
    KeyUnavailable,
    NothingRecorded,
    NotSealed,
    SealBroken,
    UnknownWorker,
)
from tenuto.features.encrypted import Encryption
from tenuto.features.keys import KeyRing
from tenuto.features.recorded import inflated, unpacked
from tenuto.features.sealing import Place, text_of
from tenuto.job import Failure, Job
from tenuto.llm.debugging import read
from tenuto.options import check_changes
from tenuto.sizes import USUAL, Sizes
from tenuto.tagged import SEALED, Sealed

J = TypeVar("J", bound=Job[Any, Any])

RESULT: Final = "result"
RECORDED: Final = "recorded"


# ── read ──────────────────────────────────────────────────────────────────────────────────────────


async def opened_job(job: J) -> J:
    """The job with its args and errors opened, or as it is where nothing is sealed; see `Encryption.opened_job`."""
    if not isinstance(job, Job):
        raise InvalidJob(f"opened() takes a Job, as fetch gives it, and not a {type(job).__name__}")
    encryption = encryption_of(job.worker)
    if encryption is not None:
        return await encryption.opened_job(job)
    closed = [job.args, *(failure.sealed for failure in job.errors)]
    for sealed in (each for each in closed if isinstance(each, Sealed)):
        raise KeyUnavailable(sealed.key_id, job.worker)
    return job


async def result_value(text: str, job_id: str, worker: str) -> Any:
    """The value of a step's stored result, which its job may have sealed. Raises as `_opened` does, and Undecodable."""
    return codec.decode(await _result(text, job_id, worker))


async def recorded_value(job_id: str, found: tuple[str | None, str] | None) -> Any:
    """The value of what a job recorded, found as (stored text, worker).

    Raises JobNotFound, NothingRecorded, as `_opened` does, and Undecodable.
    """
    if found is None:
        raise JobNotFound(job_id)
    text, worker = found
    if text is None:
        raise NothingRecorded(job_id)
    opened = await _opened(text, Place(job_id, worker, RECORDED))
    return codec.decode(unpacked(text) if opened is None else inflated(opened))


async def opened_answer(kept: Kept, *, with_retries: bool) -> Answer[Any]:
    """What an awaited job came to, opened. Raises as `_opened` does, and Undecodable."""
    answer = kept.read(with_retries=with_retries)
    match answer:
        case Completed(None) if kept.result is not None:
            return Completed(await result_value(kept.result, kept.id, kept.worker))
        case Completed(kept=False) if kept.recorded is not None:
            return Completed(await recorded_value(kept.id, (kept.recorded, kept.worker)))
        case Completed(value, kept=True) if kept.answer is not None:
            return Completed(await _opened_value(value, Place(kept.id, kept.worker, RESULT)))
        case Failed(error) | Discarded(error):
            return type(answer)(await _opened_failure(error, kept))
        case Cancelled(_, Failure() as error):
            return Cancelled((await _opened_failure(error, kept)).message, error)
        case _:
            return answer


async def _opened_value(value: Any, place: Place) -> Any:
    if isinstance(value, Sealed):
        return codec.decode((await _opened(text_of(value), place) or b"").decode())
    mine = encryption_of(place.worker)
    if value is not None and mine is not None and not mine.allows_plain:
        raise NotSealed(place.job_id, place.field, place.worker)
    return value


async def _opened_failure(failure: Failure, kept: Kept) -> Failure:
    encryption = encryption_of(kept.worker)
    return failure if encryption is None else await encryption.opened_error(kept.id, kept.worker, failure)


async def open_results(job: Job[Any, Any], needs: Needs) -> None:
    """Before a job runs: open the results that came sealed with its claim; in `closed` stands why one could not be."""
    for name, (job_id, worker) in list(needs.sealed.items()):
        is_own = job_id == job.id
        held = needs.members if name in needs.members else needs.results
        text = needs.own if is_own else held[name]
        try:
            plain = await _result(text or "", job_id, worker)
        except Exception as fault:  # noqa: BLE001 - a provider is user code; it is told to who asks for the result
            needs.closed["" if is_own else name] = fault
            continue
        if is_own:
            needs.own = plain
        else:
            held[name] = plain


async def _result(text: str, job_id: str, worker: str) -> str:
    opened = await _opened(text, Place(job_id, worker, RESULT))
    return text if opened is None else opened.decode()


async def _opened(text: str, place: Place) -> bytes | None:
    """What is in a sealed text, with the keys of its worker, or of any where this process does not know that one.

    None for a text in the clear of a worker that is not encrypted here. Raises NotSealed where it is, KeyUnavailable,
    SealBroken, and what a provider raises.
    """
    mine = encryption_of(place.worker)
    if not text.startswith(SEALED):
        if mine is None or mine.allows_plain:
            return None
        raise NotSealed(place.job_id, place.field, place.worker)
    sealed = codec.decode(text)
    if not isinstance(sealed, Sealed):
        raise SealBroken(place.job_id, place.field)
    if mine is not None:
        return await mine.opened(sealed, place)
    for other in _known():
        with suppress(Exception):  # it lacks the key, has another of that id, or cannot be asked
            return await other.opened(sealed, place)
    raise KeyUnavailable(sealed.key_id, sealed.worker)


def encrypted_workers() -> list[str]:
    """The names of the workers of this process that are encrypted."""
    return [name for name, definition in registered().items() if definition.encryption is not None]


async def logged_value(text: str, field: str, job_id: str, worker: str) -> Any:
    """What an entry of a debug log holds; sealed still where its key is not here. Raises SealBroken, NotSealed."""
    try:
        opened = await _opened(text, Place(job_id, worker, field))
    except KeyUnavailable:
        return codec.decode(text)
    return read(text if opened is None else opened.decode())


# ── write ─────────────────────────────────────────────────────────────────────────────────────────


def result_text(job: Job[Any, Any], text: str) -> str:
    """A running step's result as it is to be stored before it settles: sealed, where its worker is encrypted."""
    encryption = encryption_of(job.worker)
    return text if encryption is None else encryption.given_back(job, RESULT, text.encode())


async def args_of(
    changes: Mapping[str, Any] | None, sizes: Sizes = USUAL
) -> Callable[[Job[Any, Any], str], str] | None:
    """How changed args are stored for each job: sealed, where its worker is encrypted. None where none are changed.

    Raises TooLarge for changes over the `sizes`. What it gives raises KeyUnavailable for sealed args of a worker that
    this process does not know as encrypted, and what the provider of its keys raised.
    """
    if isinstance(changes, Mapping):
        check_changes(changes, sizes)
    if not isinstance(changes, Mapping) or "args" not in changes:
        return None  # and what is no mapping is refused by who takes it
    rings = {each: await _asked(each) for each in _known()}

    def text_for(job: Job[Any, Any], text: str) -> str:
        encryption = encryption_of(job.worker)
        if encryption is None:
            if isinstance(job.args, Sealed):
                raise KeyUnavailable(job.args.key_id, job.worker)
            return text
        ring = rings[encryption]
        if isinstance(ring, Exception):
            raise ring
        return text_of(encryption.sealed_args(ring, job, text))

    return text_for


async def _asked(encryption: Encryption) -> KeyRing | Exception:
    try:
        return await encryption.ring()
    except Exception as fault:  # noqa: BLE001 - a provider is user code, and perhaps not asked for this job
        return fault


def encryption_of(worker: str) -> Encryption | None:
    """How the worker of that name is encrypted; None when it is not, or is not known here."""
    try:
        return resolve(worker).encryption
    except UnknownWorker:
        return None


def _known() -> list[Encryption]:
    return [definition.encryption for definition in registered().values() if definition.encryption is not None]
