"""Seals: what was sealed for a place is opened there, whole and unaltered, and nowhere else."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import Encrypted, Job, KeyRing, codec
from tenuto.errors import CodecError, KeyUnavailable, NotSealed, SealBroken, SealError
from tenuto.failure import _fields, failures
from tenuto.features.encrypted import Encryption
from tenuto.features.sealing import Place, seal, text_of, unseal
from tenuto.outcome import DONE, Ack, Failed, Outcome, settle
from tenuto.tagged import SEALED, Sealed, holds_same, read_sealed

RING = KeyRing("b", {"a": KeyRing.new_key(), "b": KeyRing.new_key()})
ID = "01900000-0000-7000-8000-000000000000"
PLACE = Place(ID, "app.pay", "args")


def sealed_text(data: bytes = b'{"iban":"DE02"}', place: Place = PLACE, ring: KeyRing = RING) -> str:
    return text_of(seal(ring, place, data, marked=place.field == "args"))


# ── what is sealed ────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=2000))
def test_what_is_sealed_comes_back_as_it_was(data: bytes):
    assert unseal(RING, PLACE, codec.decode(sealed_text(data))) == data


def test_the_same_is_sealed_differently_every_time():
    texts = {sealed_text() for _ in range(200)}

    assert len(texts) == 200


def test_a_seal_says_its_key_and_worker_and_is_what_the_codec_would_write():
    sealed = seal(RING, PLACE, b"1")

    assert (sealed.key_id, sealed.worker) == ("b", "app.pay")
    assert text_of(sealed) == codec.encode(sealed)
    assert codec.decode(text_of(sealed)) == sealed
    assert repr(sealed) == "<sealed with key 'b'>"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_seal_is_read_fast_as_the_codec_reads_it_or_not_at_all(worker: str, other: str):
    text = codec.encode(Sealed("a", worker, "bm9uY2U=", "bQ=="))

    assert read_sealed(text) in (codec.decode(text), None)
    assert read_sealed(codec.encode(Sealed("a", "app.pay", "bm9uY2U=", ""))) == Sealed("a", "app.pay", "bm9uY2U=")
    assert read_sealed(f"{SEALED}[{other}]}}") is None
    assert read_sealed(text + other) is None or not other


@pytest.mark.parametrize("text", ['{"$sealed":["a","b","c"]}', '{"$sealed":["a","b",3,"d"]}', '{"$sealed":"a"}'])
def test_a_seal_of_another_form_is_not_read(text):
    with pytest.raises(CodecError):
        codec.decode(text)


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


async def called_with(text: str, ring: KeyRing = RING, job_id: str = ID, worker: str = "app.pay") -> list[Any]:
    """The args with which process is called for a job with this text stored; none where it is refused."""
    called: list[Any] = []

    async def process(job: Job[Any, Any]) -> Outcome:
        called.append(job.args)
        return DONE

    try:
        job: Job[Any, Any] = Job(worker, codec.decode(text), id=job_id)
        await Encryption(Encrypted(ring)).around_process(job, process)
    except (CodecError, SealError):
        assert called == []
    return called


async def test_the_untouched_text_is_opened():
    assert await called_with(sealed_text()) == [{"iban": "DE02"}]


async def test_every_single_bit_that_is_flipped_is_refused():
    stored = sealed_text(b"{}").encode()
    opened = []

    for bit in range(len(stored) * 8):
        altered = bytearray(stored)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            text = altered.decode()
        except UnicodeDecodeError:  # no database would have taken it as text
            continue
        opened += await called_with(text)

    assert opened == []


async def test_every_truncation_is_refused():
    stored = json.loads(sealed_text())["$sealed"]
    cut = [[*stored[:n], part[:end], *stored[n + 1 :]] for n, part in enumerate(stored) for end in range(len(part))]

    opened = [await called_with(json.dumps({"$sealed": parts}, separators=(",", ":"))) for parts in cut]

    assert [args for args in opened if args] == []
    assert len(cut) == sum(map(len, stored))


@given(st.data())
async def test_no_change_of_any_kind_is_opened(data):
    stored = sealed_text(codec.encode(data.draw(st.dictionaries(st.text(max_size=5), st.integers()))).encode())
    at = data.draw(st.integers(0, len(stored)))
    width = data.draw(st.integers(0, len(stored) - at))
    altered = stored[:at] + data.draw(st.text(max_size=20)) + stored[at + width :]

    opened = await called_with(altered)

    assert opened == [] or altered == stored or _says_the_same(altered, stored)


def _says_the_same(altered: str, stored: str) -> bool:
    """Whether only the spelling of the JSON around it differs: a space, or an escape."""
    return bool(json.loads(altered) == json.loads(stored))


PLACES = {
    "another job": PLACE._replace(job_id=str(UUID(int=UUID(ID).int + 1))),
    "another worker": PLACE._replace(worker="app.log"),
    "another field": PLACE._replace(field="recorded"),
    "another error": PLACE._replace(field="error 2"),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_was_sealed_for_one_place_is_refused_in_another(place: Place):
    elsewhere = seal(RING, place, b"secret")

    with pytest.raises(SealBroken):
        unseal(RING, PLACE, elsewhere)
    with pytest.raises(SealBroken):
        unseal(RING, PLACE, Sealed(elsewhere.key_id, PLACE.worker, elsewhere.data))


@given(st.tuples(*[st.sampled_from("xyz")] * 3), st.tuples(*[st.sampled_from("xyz")] * 3))
def test_a_seal_opens_in_its_own_place_alone(there, here):
    sealed = seal(RING, Place(*there), b"secret")

    try:
        opened = unseal(RING, Place(*here), sealed)
    except SealBroken:
        assert there != here
    else:
        assert (there, opened) == (here, b"secret")


def test_a_place_is_told_apart_from_one_whose_parts_run_together():
    with pytest.raises(SealBroken):
        unseal(RING, Place("a", "b", "cd"), Sealed("b", "b", seal(RING, Place("a", "b", "c"), b"d").data))


def test_another_key_of_the_same_id_is_refused():
    with pytest.raises(SealBroken):
        unseal(KeyRing("b", {"b": KeyRing.new_key()}), PLACE, seal(RING, PLACE, b"secret"))


def test_another_key_of_the_ring_is_refused():
    with pytest.raises(SealBroken):
        unseal(RING, PLACE, Sealed("a", "app.pay", seal(RING, PLACE, b"secret").data))


def test_a_key_that_is_not_there_is_told_by_its_id():
    with pytest.raises(KeyUnavailable, match="the key 'b' is not here") as refused:
        unseal(KeyRing("c", {"c": KeyRing.new_key()}), PLACE, seal(RING, PLACE, b"secret"))

    assert (refused.value.key_id, refused.value.worker) == ("b", "app.pay")


async def test_args_in_the_clear_are_refused_where_they_ought_to_be_sealed():
    called: list[Any] = []

    async def process(job: Job[Any, Any]) -> Outcome:
        called.append(job.args)
        return DONE

    job: Job[Any, Any] = Job("app.pay", {"iban": "forged"})
    with pytest.raises(NotSealed, match=f"what is stored as args of job {job.id} is not sealed"):
        await Encryption(Encrypted(RING)).around_process(job, process)
    await Encryption(Encrypted(RING, allow_plain=True)).around_process(job, process)

    assert called == [{"iban": "forged"}]


# ── errors ────────────────────────────────────────────────────────────────────────────────────────


async def test_of_many_failures_the_newest_stay_sealed_as_they_were():
    encryption = Encryption(Encrypted(RING))
    job: Job[Any, Any] = Job("app.pay", max_attempts=100)
    for attempt in range(1, 24):
        outcome = Failed(ValueError(f"DE02, attempt {attempt}"))
        running = job.replace(attempt=attempt)
        ack = encryption.before_ack(running, outcome, settle(running, outcome))
        assert ack.error is not None
        assert "DE02" not in f"{ack.error} {ack.errors}"
        job = running.replace(errors=failures(_as_stored(job, attempt, ack)))

    opened = await encryption.opened_job(job)

    assert [error.message for error in job.errors] == ["<sealed with key 'b'>"] * 20
    assert [error.message for error in opened.errors] == [f"DE02, attempt {nth}" for nth in range(4, 24)]


def _as_stored(job: Job[Any, Any], attempt: int, ack: Ack) -> str:
    """The errors of the job as the database would put them together."""
    before = ack.errors or codec.encode([_fields(failure) for failure in job.errors])
    entries = [*codec.decode(before), {"at": attempt, "attempt": attempt, **codec.decode(ack.error or "")}]
    return codec.encode(entries)


# ── the same again ────────────────────────────────────────────────────────────────────────────────


def test_a_mark_tells_the_same_from_another_without_a_key():
    one, same, other = sealed_text(b"1"), sealed_text(b"1"), sealed_text(b"2")

    assert one != same
    assert holds_same(one, same)
    assert not holds_same(one, other)
    assert not holds_same(one, "1")


def test_a_mark_tells_nothing_of_two_jobs():
    elsewhere = sealed_text(b"1", PLACES["another job"])

    assert not holds_same(sealed_text(b"1"), elsewhere)


def test_a_mark_outlives_a_rotation_of_keys():
    keys = {"old": KeyRing.new_key(), "new": KeyRing.new_key()}

    before = sealed_text(b"1", ring=KeyRing("old", {"old": keys["old"]}))
    after = sealed_text(b"1", ring=KeyRing("new", keys))

    assert holds_same(before, after)


def test_texts_without_a_mark_are_never_the_same():
    recorded = PLACE._replace(field="recorded")

    assert not holds_same(sealed_text(b"1", recorded), sealed_text(b"1", recorded))
    assert not holds_same('{"$sealed":["a"]}', '{"$sealed":["a"] }')
    assert not holds_same('{"$sealed":', '{"$sealed": ')
