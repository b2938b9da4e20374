"""What an attempt came to, and what becomes of its job; nothing that user code raises can break it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import codec
from tenuto.backoff import backoff_after
from tenuto.errors import JobTimedOut
from tenuto.failure import as_text, failures
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EXECUTING,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    TRANSITIONS,
    Failure,
    Job,
)
from tenuto.outcome import (
    DONE,
    GATED,
    KEPT,
    RELEASED,
    STOPPED,
    Ack,
    Cancel,
    Discard,
    Failed,
    PutBack,
    Record,
    Snooze,
    outcome_of,
    settle,
)
from tenuto.sizes import USUAL, Sizes
from tenuto.text import size

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def running(**fields: Any) -> Job[Any, Any]:
    return Job("w").replace(state=EXECUTING, attempt=1, epoch=3, **fields)


def step(**fields: Any) -> Job[Any, Any]:
    return running(workflow_id="f", has_dependents=True, **fields)


def told(ack: Ack) -> Failure:
    """The error of an ack as it will be read, once the database has put its part in front."""
    assert ack.error is not None
    (failure,) = failures('[{"at":0,"attempt":1,' + ack.error[1:] + "]")
    return failure


def raised(error: BaseException) -> BaseException:
    """The same exception, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


# ── every outcome ─────────────────────────────────────────────────────────────────────────────────

OUTCOMES = [
    (DONE, COMPLETED, True),
    (KEPT, COMPLETED, True),
    (Record(1), COMPLETED, True),
    (Failed(ValueError("no")), RETRYABLE, True),
    (Snooze(60), SCHEDULED, False),
    (Cancel("enough"), CANCELLED, True),
    (Discard("useless"), DISCARDED, True),
    (PutBack(MINUTE), SCHEDULED, False),
    (GATED, SUSPENDED, False),
    (RELEASED, AVAILABLE, False),
    (STOPPED, CANCELLED, True),
]


@pytest.mark.parametrize(("outcome", "state", "is_spent"), OUTCOMES, ids=lambda value: type(value).__name__)
def test_every_outcome_leads_to_its_state_and_only_some_spend_the_attempt(outcome, state, is_spent):
    job = step()

    ack = settle(job, outcome)

    assert (ack.state, ack.is_spent) == (state, is_spent)
    assert (ack.id, ack.epoch, ack.workflow_id, ack.has_dependents) == (job.id, 3, "f", True)
    assert state in TRANSITIONS[EXECUTING]


def test_only_an_outcome_that_waits_has_a_delay():
    assert settle(running(), Snooze(60)).delay == MINUTE
    assert settle(running(), PutBack(MINUTE)).delay == MINUTE
    assert settle(running(), Failed(ValueError()), backoff=60).delay == MINUTE
    for outcome in (DONE, KEPT, Record(1), Cancel(), Discard(), GATED, RELEASED, STOPPED):
        assert settle(running(), outcome).delay is None


def test_the_last_attempt_that_fails_discards_the_job():
    assert settle(running(max_attempts=2), Failed(ValueError())).state == RETRYABLE
    assert settle(running(max_attempts=1), Failed(ValueError())).state == DISCARDED


@pytest.mark.parametrize(
    ("outcome", "kind", "type", "message"),
    [
        (Failed(ValueError("no")), "exception", "ValueError", "no"),
        (Failed(JobTimedOut(5)), "timeout", "JobTimedOut", "the attempt ran longer than its timeout of 5 s"),
        (Failed(SystemExit(3)), "exception", "SystemExit", "3"),
        (Cancel("enough"), "cancel", "Cancel", "enough"),
        (Discard("useless"), "discard", "Discard", "useless"),
        (STOPPED, "cancel", "Cancel", "cancelled by an operator"),
    ],
)
def test_what_ended_badly_says_why(outcome, kind, type, message):
    failure = told(settle(running(), outcome))

    assert (failure.kind, failure.type, failure.message) == (kind, type, message)


def test_a_failure_keeps_its_traceback():
    failure = told(settle(running(), Failed(raised(ValueError("no")))))

    assert failure.traceback.startswith("Traceback")
    assert "in raised" in failure.traceback


@pytest.mark.parametrize(
    ("returned", "outcome"),
    [(None, DONE), (1, Record(1)), (False, Record(False)), (Record(None), Record(None))],
)
def test_none_is_done_and_any_other_value_is_the_result(returned, outcome):
    assert outcome_of(returned) == outcome


@pytest.mark.parametrize("returned", [Snooze(1), Cancel(), Discard()])
def test_an_outcome_that_is_returned_is_itself(returned):
    assert outcome_of(returned) is returned


# ── results ───────────────────────────────────────────────────────────────────────────────────────


def test_the_result_of_a_step_is_stored_text():
    assert settle(step(), Record({"a": (1,)})).result == codec.encode({"a": (1,)})
    assert settle(step(), Record(None)).result == "null"
    assert settle(step(), DONE).result is None


def test_the_result_of_a_plain_job_has_no_place_and_is_not_even_encoded():
    ack = settle(running(), Record(object()))

    assert (ack.state, ack.result, ack.error) == (COMPLETED, None, None)


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (object(), "UnencodableResult"),
        ("\ud800", "UnencodableResult"),
        (10**5000, "UnencodableResult"),
        ("x" * (USUAL.result + 1), "ResultTooLarge"),
    ],
    ids=["object", "surrogate", "huge", "large"],
)
def test_a_result_that_cannot_be_stored_discards_the_job_and_says_why(value, type):
    ack = settle(step(), Record(value))

    assert (ack.state, ack.result) == (DISCARDED, None)
    assert told(ack).type == type


def test_a_result_may_be_as_large_as_the_sizes_say():
    large = Record("x" * 1_000)

    assert settle(step(), large, sizes=Sizes(result=1_002)).state == COMPLETED
    assert told(settle(step(), large, sizes=Sizes(result=1_001))).type == "ResultTooLarge"


# ── backoff ───────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 20))
def test_the_wait_is_fifteen_seconds_and_two_to_the_attempt_and_a_little_jitter(attempt):
    wait = backoff_after(attempt, 20).total_seconds()

    assert 15 + 2**attempt <= wait <= (15 + 2**attempt) * 1.1


@given(st.integers(21, 1000), st.data())
def test_over_twenty_attempts_the_curve_is_stretched_to_the_same_end(max_attempts, data):
    attempt = data.draw(st.integers(1, max_attempts))

    assert backoff_after(attempt, max_attempts) <= timedelta(seconds=(15 + 2**20) * 1.1)
    assert backoff_after(max_attempts, max_attempts) >= timedelta(seconds=15 + 2**20)


@given(st.integers(1, 10**6), st.integers(1, 1000))
def test_no_attempt_waits_for_ever(attempt, max_attempts):
    assert backoff_after(attempt, max_attempts) < timedelta(days=14)


def test_the_jitter_differs():
    assert len({backoff_after(10, 20) for _ in range(20)}) > 1


@pytest.mark.parametrize("backoff", [90, timedelta(seconds=90), lambda attempt: 30 * attempt])
def test_a_worker_may_have_a_backoff_of_its_own(backoff):
    assert backoff_after(3, 20, backoff) == timedelta(seconds=90)


def broken(attempt: int) -> float:
    raise ZeroDivisionError


def quitting(attempt: int) -> float:
    raise SystemExit


@pytest.mark.parametrize(
    "backoff", [broken, quitting, lambda attempt: -1, lambda attempt: "soon", lambda attempt: None]
)
def test_a_backoff_that_gives_no_duration_counts_as_none(backoff):
    assert timedelta(seconds=17) <= backoff_after(1, 20, backoff) <= timedelta(seconds=18.7)


# ── errors ────────────────────────────────────────────────────────────────────────────────────────


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("never")


class Quitter(Exception):
    def __str__(self) -> str:
        raise SystemExit


class Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__name__":
            raise RuntimeError("never")
        return super().__getattribute__(name)


class Unnamed(Exception, metaclass=Nameless):
    pass


@pytest.mark.parametrize("kind", [Mute, Quitter])
def test_an_exception_without_a_text_is_a_failure_like_any_other(kind):
    ack = settle(running(), Failed(raised(kind())))

    assert ack.state == RETRYABLE
    assert told(ack).type == kind.__name__


def test_a_type_that_hides_its_name_is_called_by_it_all_the_same():
    assert told(settle(running(), Failed(Unnamed("no")))).type == "Unnamed"


@pytest.mark.parametrize(
    "message",
    ["x" * 10_000_000, "ä" * 1_000_000, "\x01" * 100_000, '"' * 100_000, "\\" * 100_000, "\n" * 100_000],
    ids=["long", "wide", "control", "quotes", "backslashes", "lines"],
)
def test_an_error_is_small_whatever_the_exception_says(message):
    ack = settle(running(), Failed(raised(ValueError(message))))

    assert ack.error is not None
    assert size(ack.error) <= USUAL.error
    assert told(ack).type == "ValueError"


@pytest.mark.parametrize("limit", [4_000, 500_000])
def test_an_error_is_cut_to_the_size_that_is_said(limit):
    ack = settle(running(), Failed(raised(ValueError("x" * 1_000_000))), sizes=Sizes(error=limit))

    assert ack.error is not None
    assert limit / 5 < size(ack.error) <= limit


def test_a_cut_message_keeps_its_head_and_its_tail():
    message = told(settle(running(), Failed(ValueError("head" + "x" * 100_000 + "tail")))).message

    assert message.startswith("head")
    assert message.endswith("tail")


@given(st.text(st.characters(), max_size=50))
def test_any_text_of_an_exception_can_be_stored(message):
    ack = settle(running(), Failed(raised(ValueError(message))))

    assert ack.error is not None
    assert "\0" not in ack.error
    assert ack.error.encode()  # no lone surrogate
    assert "$" not in told(ack).type


def failed_before(count: int) -> tuple[Failure, ...]:
    return tuple(Failure(n, NOON, "exception", "ValueError", f"no {n}") for n in range(count))


def test_the_last_twenty_errors_are_kept():
    ack = settle(running(errors=failed_before(20)), Failed(ValueError("the newest")))

    assert ack.errors is not None
    kept = failures(ack.errors)
    assert kept == failed_before(20)[1:]
    assert len(kept) + 1 == 20


def test_fewer_errors_are_left_alone():
    assert settle(running(errors=failed_before(19)), Failed(ValueError())).errors is None
    assert settle(running(errors=failed_before(20)), DONE).errors is None


def test_of_more_errors_that_are_stored_the_last_twenty_are_read():
    assert failures(as_text(failed_before(25))) == failed_before(25)[5:]


def test_stored_errors_that_cannot_be_read_say_so():
    assert failures("[]") == ()
    for text in ("nonsense", "7", '[{"at":0}]', "{}", '[{"at":"x","attempt":1}]'):
        assert all(failure.type == "Undecodable" for failure in failures(text))


# ── what a worker asks for ────────────────────────────────────────────────────────────────────────


def test_an_outcome_can_be_raised_and_carries_what_it_says():
    for asked in (Snooze(5), Cancel("a"), Discard("b")):
        assert isinstance(asked, Exception)
    assert Snooze(timedelta(seconds=5)).delay == Snooze(5).delay == timedelta(seconds=5)


@pytest.mark.parametrize("delay", [-1, "soon", None, float("inf")])
def test_a_snooze_needs_a_duration(delay: Any):
    with pytest.raises(ValueError, match="Snooze"):
        Snooze(delay)
