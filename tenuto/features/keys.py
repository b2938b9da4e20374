"""Keys of encrypted workers: a ring of them by their ids, one of which seals, while the others still open."""

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any, Final, TypeAlias

from tenuto.errors import InvalidKey, MissingExtra

KEY_SIZE: Final = 32  # bytes
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyRing:
    """Keys of one or more encrypted workers, each a text as `tenuto keygen` prints it, by an id of your own.

    `current` names the one that seals; the others open what they sealed before. Ids are stored in the clear. What has
    to be equal for equal args (the keys of chains, unique jobs and partitions) is hashed under a key of its own, which
    must not change when keys do: `hash_key`, or else one derived from the first of `keys`, so let the oldest stand
    first. Raises InvalidKey, and MissingExtra without the extra `crypto`.
    """

    __slots__ = ("_ciphers", "_hash_key", "current")

    def __init__(self, current: str, keys: Mapping[str, str], *, hash_key: str | None = None) -> None:
        cipher = _library("ciphers.aead").AESGCM
        raw = {_checked_id(id): _bytes_of(id, key) for id, key in keys.items()}
        if current not in raw:
            raise InvalidKey(str(current), "it is to seal, and is not among the keys")
        self.current = current
        self._ciphers: Mapping[str, Any] = {id: cipher(key) for id, key in raw.items()}
        self._hash_key = _derived(next(iter(raw.values()))) if hash_key is None else _bytes_of("hash_key", hash_key)

    @staticmethod
    def new_key() -> str:
        """A new random key, as `tenuto keygen` prints one."""
        return b64encode(secrets.token_bytes(KEY_SIZE)).decode()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all its keys, in the order given."""
        return tuple(self._ciphers)

    @property
    def hash_key(self) -> bytes:
        """What keyed hashes are made with; the same for as long as the first key, or the one given, is."""
        return self._hash_key

    def cipher(self, id: str) -> Any:
        """The AES-256-GCM of one key, or None where the ring has no such key."""
        return self._ciphers.get(id)

    def __repr__(self) -> str:
        return f"<KeyRing of {', '.join(self._ciphers)}; {self.current} seals>"


KeyProvider: TypeAlias = Callable[[], KeyRing | Awaitable[KeyRing]]
"""A function, sync or async, that gives the keys when they are needed."""


def check_library() -> None:
    """Raise MissingExtra where the library of the extra `crypto` is not installed."""
    _library("ciphers.aead")


def _library(part: str) -> Any:
    try:
        return import_module(f"cryptography.hazmat.primitives.{part}")
    except ImportError:
        raise MissingExtra("an encrypted worker", "crypto") from None


def _checked_id(id: str) -> str:
    if not _ID.fullmatch(str(id)):
        raise InvalidKey(f"{id!r:.80}", "an id has 1 to 64 letters, digits, dots, dashes and underscores")
    return id


def _bytes_of(id: str, key: str) -> bytes:
    try:
        raw = b64decode(key, validate=True)
    except (ValueError, TypeError):
        raise InvalidKey(id, "it is no Base64; make one with `tenuto keygen`") from None
    if len(raw) != KEY_SIZE:
        raise InvalidKey(id, f"it has {len(raw)} bytes and not {KEY_SIZE}; make one with `tenuto keygen`")
    return raw


def _derived(key: bytes) -> bytes:
    """A hash key from one that seals."""
    hkdf, hashes = _library("kdf.hkdf"), _library("hashes")
    derived: bytes = hkdf.HKDF(hashes.SHA256(), KEY_SIZE, salt=None, info=b"tenuto hash key").derive(key)
    return derived
