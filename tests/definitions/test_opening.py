"""What encrypted workers gave is opened as it was stored, and refused as anything else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tenuto import KeyRing, codec, job
from tenuto.definition import forget
from tenuto.errors import InvalidJob, TenutoError
from tenuto.features.encrypted import Encryption
from tenuto.features.recorded import deflated, packed
from tenuto.features.sealing import Place, seal, text_of
from tenuto.opening import encrypted_workers, encryption_of, opened_job, recorded_value, result_value

ID = "01900000-0000-7000-8000-000000000000"
RING = KeyRing("k", {"k": KeyRing.new_key()})
VALUE = {"iban": "DE02 1203 0000"}


@pytest.fixture
async def encryption() -> AsyncIterator[Encryption]:
    """How one encrypted worker, `opening.vault`, is encrypted."""

    @job(name="opening.vault", encrypted=lambda: RING, recorded=True)
    async def vault(iban: str) -> Any: ...

    found = encryption_of("opening.vault")
    assert found is not None
    yield found
    forget("opening.vault")


def result_text() -> str:
    return text_of(seal(RING, Place(ID, "opening.vault", "result"), codec.encode(VALUE).encode()))


def recorded_text(value: Any = VALUE) -> str:
    return text_of(seal(RING, Place(ID, "opening.vault", "recorded"), deflated(packed(codec.encode(value)))))


async def read_result(text: str) -> Any:
    return await result_value(text, ID, "opening.vault")


async def read_recorded(text: str) -> Any:
    return await recorded_value(ID, (text, "opening.vault"))


async def test_what_was_sealed_is_opened(encryption):
    large = ["DE02"] * 1000

    assert await read_result(result_text()) == await read_recorded(recorded_text()) == VALUE
    assert await read_recorded(recorded_text(large)) == large
    assert len(recorded_text(large)) < 400


@pytest.mark.parametrize(("text", "read"), [(result_text(), read_result), (recorded_text(), read_recorded)])
async def test_every_single_bit_that_is_flipped_is_refused(
    encryption, text: str, read: Callable[[str], Awaitable[Any]]
):
    opened = []
    for bit in range(len(text.encode()) * 8):
        altered = bytearray(text.encode())
        altered[bit // 8] ^= 1 << bit % 8
        try:
            opened.append(await read(altered.decode()))
        except (TenutoError, UnicodeDecodeError):
            continue

    assert opened == []


@pytest.mark.parametrize("text", ['"plain"', '{"$sealed":["k","w","x","y"],"more":1}', "", "null"])
async def test_what_is_no_seal_is_refused(encryption, text: str):
    for read in (read_result, read_recorded):
        with pytest.raises(TenutoError):
            await read(text)


async def test_keyed_hashes_are_made_under_the_rings_hash_key(encryption):
    assert await encryption.hash_key() == RING.hash_key


@pytest.mark.parametrize("given", ["0192f0c1-0000-7000-8000-000000000000", None])
async def test_only_a_fetched_job_can_be_opened(given: Any):
    with pytest.raises(InvalidJob, match="takes a Job, as fetch gives it"):
        await opened_job(given)


async def test_the_names_of_encrypted_workers_are_known(encryption):
    assert "opening.vault" in encrypted_workers()
    assert "obey" not in encrypted_workers()
