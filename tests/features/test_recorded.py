"""Recorded results as text: packed where that is shorter, and unpacked to what they were, whatever stands there."""

from __future__ import annotations

import random
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import Discard, Job, Record, Recorded, Worker, codec, job
from tenuto.errors import InvalidJob, Undecodable
from tenuto.features.recorded import Recorder, deflated, inflated, packed, recorder, unpacked
from tenuto.job import COMPLETED, DISCARDED
from tenuto.outcome import DONE, Ack, Outcome, Snooze, settle
from tenuto.sizes import RECORDED_MOST, RESULT_MOST, Sizes
from tenuto.text import size

RUNNING: Job[Any, Any] = Job("w").replace(attempt=1, epoch=1)


async def settled(value: Outcome, limit: int = 32_000) -> Ack:
    """What becomes of the job of a recorded worker that came to this."""

    async def process(job: Job[Any, Any]) -> Outcome:
        return value

    return settle(RUNNING, await Recorder(limit).around_process(RUNNING, process))


# ── the text ──────────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=2000).map(lambda text: codec.encode(text * 3)))
def test_what_is_packed_comes_back_and_is_never_longer(text: str):
    assert unpacked(packed(text)) == inflated(deflated(packed(text))) == text
    assert size(packed(text)) <= size(text)


def test_what_repeats_is_compressed_and_what_does_not_is_left_as_it_is():
    repeating = codec.encode({"rows": [{"name": "ada", "paid": True}] * 500})
    noise = codec.encode(b64encode(random.Random(7).randbytes(600)).decode())

    assert len(packed(repeating)) < len(repeating) / 20
    assert packed(noise) == noise
    assert packed(codec.encode("short")) == '"short"'


BOMB = zlib.compress(b"0" * (RESULT_MOST + 1))
BROKEN = {
    "no Base64": "z%%%",
    "no zlib": "z" + b64encode(b"nothing of the kind").decode(),
    "zlib that is cut": "z" + b64encode(zlib.compress(b"1" * 1000)[:-3]).decode(),
    "no text": "z" + b64encode(zlib.compress(b"\xff\xfe" * 100)).decode(),
    "a bomb": "z" + b64encode(BOMB).decode(),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_was_not_packed_here_is_refused(text: str):
    with pytest.raises(Undecodable):
        unpacked(text)


# ── the outcome ───────────────────────────────────────────────────────────────────────────────────


async def test_a_result_is_recorded_and_null_is_one():
    assert (await settled(Record({"a": 1}))).recorded == '{"a":1}'
    assert (await settled(Record(None))).recorded == "null"


@pytest.mark.parametrize("outcome", [DONE, Snooze(5), Discard("no")], ids=["none", "snooze", "discard"])
async def test_nothing_else_is_recorded(outcome: Outcome):
    assert (await settled(outcome)).recorded is None


async def test_the_limit_is_of_the_text_compressed_and_encoded():
    large = "x" * 1_000_000

    assert len((await settled(Record(large))).recorded or "") < 2_000
    assert (await settled(Record(large), limit=500)).state is DISCARDED


async def test_a_result_just_at_the_limit_is_kept():
    text = random.Random(7).randbytes(40).hex()

    assert (await settled(Record(text), limit=82)).state is COMPLETED
    assert (await settled(Record(text), limit=81)).state is DISCARDED


@pytest.mark.parametrize(
    ("value", "name"), [(object(), "UnencodableResult"), (random.Random(7).randbytes(60_000), "ResultTooLarge")]
)
async def test_what_cannot_be_recorded_discards_with_its_reason(value, name):
    ack = await settled(Record(value))

    assert (ack.state, ack.recorded) == (DISCARDED, None)
    assert codec.decode(ack.error or "")["type"] == name


# ── the option ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, -1, RECORDED_MOST + 1, 1.5, True, "1"])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(InvalidJob, match="is out of range: 1 to 16,000,000 bytes"):
        Recorded(limit=limit)


@pytest.mark.parametrize("option", [1, "yes", None, Recorded])
def test_what_is_no_answer_to_recorded_is_refused_when_the_worker_is_defined(option):
    with pytest.raises(InvalidJob, match="neither True nor a Recorded"):

        @job(name="refused", recorded=option)
        async def refused() -> None: ...


def test_a_class_worker_hands_the_option_down_and_can_take_it_back():
    class Base(Worker[None, int], recorded=True):
        async def process(self, job: Job[None, int]) -> int:
            return 1

    class Below(Base):
        pass

    class Not(Base, recorded=False):
        pass

    def has_recorder(worker: type[Worker[None, int]]) -> bool:
        return any(isinstance(feature, Recorder) for feature in worker.definition.features)

    assert [has_recorder(worker) for worker in (Base, Below, Not)] == [True, True, False]


def test_the_default_limit_is_the_seeds():
    assert Sizes().recorded == 32_000
    assert Recorded().limit is None
    assert recorder(False) is None
