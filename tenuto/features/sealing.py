"""Sealing: text to ciphertext and back, by AES-256-GCM. A seal holds in one place only: a job, its worker, a field."""

import os
from base64 import b64decode, b64encode
from hmac import digest
from typing import Final, NamedTuple

from tenuto.errors import KeyUnavailable, SealBroken
from tenuto.features.keys import KeyRing
from tenuto.tagged import Sealed, dumps, tagged

NONCE_SIZE: Final = 12  # bytes
MARK_SIZE: Final = 16

# µs to seal / open a kilobyte, the associated data included (CPython 3.11, one shared core): 6 / 5.


class Place(NamedTuple):
    """Where something sealed belongs; `field` is args, recorded, result, or `error` with the number of its attempt."""

    job_id: str
    worker: str
    field: str


def seal(ring: KeyRing, place: Place, data: bytes, *, marked: bool = False) -> Sealed:
    """The data sealed for its place with the current key, under a fresh nonce; `marked` also for comparing."""
    mark = _mark(ring, place, data) if marked else ""
    nonce = os.urandom(NONCE_SIZE)
    ciphertext: bytes = ring.cipher(ring.current).encrypt(nonce, data, _bound(place, ring.current, mark))
    return Sealed(ring.current, place.worker, b64encode(nonce + ciphertext).decode(), mark)


def unseal(ring: KeyRing, place: Place, sealed: Sealed) -> bytes:
    """What was sealed for this place. Raises KeyUnavailable, and SealBroken for anything but exactly that."""
    cipher = ring.cipher(sealed.key_id)
    if cipher is None:
        raise KeyUnavailable(sealed.key_id, sealed.worker)
    try:
        stored = b64decode(sealed.data, validate=True)
        if sealed.worker != place.worker or b64encode(stored).decode() != sealed.data:  # of two spellings one is false
            raise ValueError
        bound = _bound(place, sealed.key_id, sealed.mark)
        opened: bytes = cipher.decrypt(stored[:NONCE_SIZE], stored[NONCE_SIZE:], bound)
    except (ValueError, _invalid_tag()):
        raise SealBroken(place.job_id, place.field) from None
    return opened


def text_of(sealed: Sealed) -> str:
    """How it is stored: what the codec makes of it, sooner."""
    return dumps(tagged(Sealed, sealed))


def _bound(place: Place, key_id: str, mark: str) -> bytes:
    """The associated data: what must be as it was, though it is not secret."""
    return dumps(["tenuto 1", key_id, *place, mark]).encode()


def _mark(ring: KeyRing, place: Place, data: bytes) -> str:
    where = dumps(["tenuto mark", *place]).encode()
    return b64encode(digest(ring.hash_key, where + b"\0" + data, "sha256")[:MARK_SIZE]).decode()


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
