"""A parcel: whatever a job is and comes to arrives as it was sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto.context import Needs
from tenuto.errors import KeyUnavailable, NotSealed, RaisedElsewhere, ResultTooLarge, SealBroken, UnencodableResult
from tenuto.features.recorded import Recording, Unstorable
from tenuto.job import EXECUTING, Failure, Job, Signal
from tenuto.outcome import DONE, GATED, Cancel, Discard, Failed, Outcome, Record, Snooze, settle
from tenuto.runtime.places.parcel import (
    Answer,
    frame,
    length_of,
    message_of,
    pack,
    pack_answer,
    pack_needs,
    pack_outcome,
    unpack,
    unpack_answer,
    unpack_needs,
    unpack_outcome,
)
from tenuto.sizes import Sizes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLAIMED: Job[Any, Any] = Job(
    "w", {"n": (1, {2})}, tags=("a",), meta={"k": b"\0"}, timeout=timedelta(seconds=1)
).replace(
    state=EXECUTING,
    attempt=2,
    epoch=3,
    attempted_at=NOON,
    deadline_at=NOON + timedelta(hours=1),
    errors=(Failure(1, NOON, "exception", "ValueError", "no", "Traceback"),),
    signal=Signal(),
)


def test_a_job_arrives_as_it_is():
    sent = pack(CLAIMED, pack_needs(Needs({"a": '"x"', "b": None}, own="7")), "shop.jobs", Sizes(recorded=7_000))
    job, text, module, sizes = unpack(sent)
    needs = unpack_needs(text)

    assert job == CLAIMED
    assert job.signal is not CLAIMED.signal
    assert not job.cancelled
    assert (needs.results, needs.own, module) == ({"a": '"x"', "b": None}, "7", "shop.jobs")
    assert sizes == Sizes(recorded=7_000)


def test_why_a_result_stays_closed_arrives_as_it_was_told():
    faults = {"a": KeyUnavailable("k1", "w"), "b": SealBroken("7", "result"), "": NotSealed("7", "result", "w")}
    arrived = unpack_needs(pack_needs(Needs({"a": "x", "b": "x"}, "x", closed={**faults, "c": OSError("away")}))).closed

    assert {name: (type(fault), str(fault), vars(fault)) for name, fault in arrived.items() if name != "c"} == {
        name: (type(fault), str(fault), vars(fault)) for name, fault in faults.items()
    }
    assert isinstance(arrived["c"], RaisedElsewhere)
    assert (arrived["c"].original, arrived["c"].message) == ("OSError", "away")


def test_args_as_deep_as_may_be_arrive():
    deep: Any = []
    for _ in range(99):
        deep = [deep]

    job, *_ = unpack(pack(CLAIMED.replace(args=deep), "", ""))

    assert job.args == deep


KEPT_ON_ITS_JOB = Recording([1], "[1]")
TOO_LARGE = Unstorable(ResultTooLarge("the recorded result", 9, 7))


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (DONE, type(DONE)),
        (Record(None), Record),
        (Record({"a": (1,)}), Record),
        (KEPT_ON_ITS_JOB, Recording),
        (Snooze(2.5), Snooze),
        (Cancel("why"), Cancel),
        (Discard("x\0"), Discard),
        (TOO_LARGE, Discard),
    ],
    ids=lambda each: repr(each) if not isinstance(each, type) else "",
)
def test_an_outcome_arrives_as_it_is(outcome: Outcome, kind: type):
    arrived = unpack_outcome(pack_outcome(outcome))

    assert type(arrived) is kind
    assert settle(CLAIMED, arrived) == settle(CLAIMED, outcome)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    "error",
    [ValueError("ü\ud800\0"), SystemExit(3), Unspeakable(), KeyError(7)],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_it_would_be_stored(error: BaseException):
    arrived = unpack_outcome(pack_outcome(Failed(error)))

    assert isinstance(arrived, Failed)
    assert isinstance(arrived.error, RaisedElsewhere)
    assert settle(CLAIMED, arrived, backoff=1) == settle(CLAIMED, Failed(error), backoff=1)


@pytest.mark.parametrize(("value", "fault"), [({1: object()}, UnencodableResult), ("x" * 16_000_001, ResultTooLarge)])
def test_a_value_that_cannot_travel_is_what_it_would_be_here(value: Any, fault: type):
    step = CLAIMED.replace(workflow_id="w")

    arrived = unpack_outcome(pack_outcome(Record(value)))

    assert settle(step, arrived) == settle(step, Record(value))
    assert f'"type":"{fault.__name__}"' in (settle(step, arrived).error or "")
    assert settle(CLAIMED, arrived) == settle(CLAIMED, Record(value)), "a job that keeps nothing completes"


def test_what_no_attempt_comes_to_is_a_failure():
    arrived = unpack_outcome(pack_outcome(GATED))

    assert isinstance(arrived, Failed)
    assert "Gated is no outcome" in str(arrived.error)


def test_an_answer_arrives_as_it_is():
    answer = Answer(pack_outcome(Record("x" * 1000)), 1.5, is_told=True, has_heard=True)

    assert unpack_answer(pack_answer(answer)) == answer


def test_a_message_is_read_from_its_frame():
    sent = frame(["run", "ü" * 1000])

    assert length_of(sent[:4]) == len(sent) - 4
    assert message_of(sent[4:]) == ["run", "ü" * 1000]
