"""Key rings: which keys are taken, which one seals, and that none is ever shown."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any

import pytest

from tenuto import Encrypted, KeyRing, job
from tenuto.errors import ConfigError, InvalidJob, InvalidKey, MissingExtra
from tenuto.features.sealing import Place, seal, unseal

OLD, NEW, THIRD = (KeyRing.new_key() for _ in range(3))
PLACE = Place("01900000-0000-7000-8000-000000000000", "worker", "args")


def test_a_new_key_is_32_random_bytes_in_base64():
    keys = {KeyRing.new_key() for _ in range(100)}

    assert len(keys) == 100
    assert {len(b64decode(key, validate=True)) for key in keys} == {32}
    assert {len(key) for key in keys} == {44}


def test_the_current_key_seals_and_all_of_them_open():
    before, after = KeyRing("old", {"old": OLD}), KeyRing("new", {"old": OLD, "new": NEW})

    sealed, again = seal(before, PLACE, b"secret"), seal(after, PLACE, b"secret")

    assert (sealed.key_id, again.key_id) == ("old", "new")
    assert unseal(after, PLACE, sealed) == unseal(after, PLACE, again) == b"secret"


def test_the_hash_key_stays_when_keys_are_rotated():
    before, after = KeyRing("old", {"old": OLD}), KeyRing("new", {"old": OLD, "new": NEW})

    assert before.hash_key == after.hash_key
    assert after.hash_key != KeyRing("new", {"new": NEW}).hash_key
    assert before.hash_key not in (b64decode(OLD), b64decode(NEW))


def test_a_hash_key_of_its_own_stays_when_the_oldest_key_is_dropped():
    before = KeyRing("old", {"old": OLD, "new": NEW}, hash_key=THIRD)

    assert before.hash_key == KeyRing("new", {"new": NEW}, hash_key=THIRD).hash_key == b64decode(THIRD)


def test_a_ring_tells_its_ids_and_never_its_keys():
    ring = KeyRing("new", {"old": OLD, "new": NEW}, hash_key=THIRD)

    shown = f"{ring} {ring!r}"

    assert shown == "<KeyRing of old, new; new seals> <KeyRing of old, new; new seals>"
    assert ring.ids == ("old", "new")
    assert not any(key in shown for key in (OLD, NEW, THIRD))


BAD_KEYS = {
    "no Base64": ("not a key!", "no Base64"),
    "too short": (b64encode(bytes(16)).decode(), "has 16 bytes and not 32"),
    "too long": (b64encode(bytes(33)).decode(), "has 33 bytes and not 32"),
    "empty": ("", "has 0 bytes"),
    "of another alphabet": (urlsafe_b64encode(b"\xff" * 32).decode(), "no Base64"),
    "no text": (7, "no Base64"),
}


@pytest.mark.parametrize(("key", "reason"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_be_used_is_named_by_its_id_and_not_shown(key, reason):
    with pytest.raises(InvalidKey, match=f"key 2026 cannot be used: it .*{reason}") as refused:
        KeyRing("2026", {"2026": key})

    assert refused.value.key_id == "2026"
    assert not key or str(key) not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_hash_key_that_cannot_be_used_is_refused_too():
    with pytest.raises(InvalidKey, match="key hash_key cannot be used"):
        KeyRing("a", {"a": OLD}, hash_key="short")


def test_the_key_that_seals_has_to_be_among_the_keys():
    with pytest.raises(InvalidKey, match="key b cannot be used: it is to seal, and is not among the keys"):
        KeyRing("b", {"a": OLD})


@pytest.mark.parametrize("id", ["", "a b", "a/b", "ä", "-a", "x" * 65, 'a"'])
def test_an_id_is_a_plain_word(id):
    with pytest.raises(InvalidKey, match="an id has 1 to 64"):
        KeyRing(id, {id: OLD})


NO_KEYS: dict[str, Any] = {"text": "a key", "number": 7, "bool": True, "dict": {"a": OLD}}
NO_KEYS["wrapped"] = Encrypted(NO_KEYS["text"])


@pytest.mark.parametrize("given", NO_KEYS.values(), ids=NO_KEYS)
def test_what_gives_no_keys_is_refused_when_the_worker_is_defined_and_not_shown(given):
    with pytest.raises(InvalidJob, match="encrypted= takes a KeyRing") as refused:

        @job(name="refused", encrypted=given)
        async def refused_worker() -> None: ...

    assert str(given) not in str(refused.value)


def test_without_the_extra_a_ring_says_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtra, match=r"pip install 'tenuto\[crypto\]'"):
        KeyRing("a", {"a": OLD})
    with pytest.raises(MissingExtra):

        @job(name="refused", encrypted=lambda: KeyRing("a", {"a": OLD}))
        async def refused_worker() -> None: ...

    assert issubclass(MissingExtra, ConfigError)
