"""Envelope: what an encrypted worker's attempt reads and comes to, sealed between its node and somebody's executor."""

from typing import Any, Final

from tenuto import codec
from tenuto.errors import NotSealed, SealBroken
from tenuto.features.encrypted import Encryption
from tenuto.features.sealing import Place, seal, text_of
from tenuto.job import Job
from tenuto.opening import encryption_of
from tenuto.tagged import SEALED, Sealed

AnyJob = Job[Any, Any]

NEEDS: Final = "needs"  # what goes there beside the args, which are sealed as they are stored
OUTCOME: Final = "outcome"  # what comes back


async def ask_for_keys(job: AnyJob) -> None:
    """Ask for the keys before an attempt that runs elsewhere, since what it gives back is sealed here.

    Raises what the provider raises; nothing has been done yet.
    """
    if (encryption := encryption_of(job.worker)) is not None:
        await encryption.ring()


async def closed(job: AnyJob, field: str, text: str) -> str:
    """The text sealed for this attempt alone, where its worker is encrypted; else as it is."""
    encryption = encryption_of(job.worker)
    if encryption is None:
        return text
    return text_of(seal(await encryption.ring(), _place(job, field), text.encode()))


async def opened(job: AnyJob, field: str, text: str) -> str:
    """What `closed` was given there. Raises NotSealed, KeyUnavailable and SealBroken."""
    encryption = encryption_of(job.worker)
    if encryption is None:
        return text
    if not text.startswith(SEALED):
        raise NotSealed(job.id, field, job.worker)
    return await _opened(encryption, job, field, text)


async def _opened(encryption: Encryption, job: AnyJob, field: str, text: str) -> str:
    sealed = codec.decode(text)
    if not isinstance(sealed, Sealed):
        raise SealBroken(job.id, field)
    return (await encryption.opened(sealed, _place(job, field))).decode()


def _place(job: AnyJob, field: str) -> Place:
    return Place(job.id, job.worker, f"{field} {job.epoch}")
