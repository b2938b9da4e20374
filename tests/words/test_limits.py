"""Limits: what a rate means in tokens and in words, and what no limit can be."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import ConfigError, InvalidLimit
from tenuto.limits import Limits, Queue, Rate

MINUTE = timedelta(minutes=1)

rates = st.builds(
    lambda count, period, burst: Rate(count, per=timedelta(microseconds=period), burst=min(burst, count)),
    st.integers(1, 1_000_000),
    st.integers(10_000_000, 31 * 86_400_000_000),
    st.integers(1, 1_000_000),
)


def refusal(make: Any) -> str:
    with pytest.raises(InvalidLimit) as caught:
        make()
    assert isinstance(caught.value, ConfigError)
    return str(caught.value)


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_bucket_holds_its_burst_and_an_empty_one_nothing():
    rate = Rate(60, per=MINUTE, burst=10)

    assert (rate.tokens(0), rate.tokens(rate.most_debt)) == (10, 0)


def test_each_start_takes_a_token_which_comes_back_when_its_time_has_passed():
    rate = Rate(60, per=MINUTE)
    debt = rate.cost(60)

    assert [rate.tokens(debt), rate.tokens(debt - 999_999), rate.tokens(debt - 1_000_000)] == [0, 0, 1]
    assert rate.wait(debt) == timedelta(seconds=1)


@given(rates, st.integers(0, 1_000_000))
def test_no_more_may_start_than_the_burst_and_a_debt_never_gives_tokens(rate: Rate, debt: int):
    assert 0 <= rate.tokens(debt) <= rate.burst
    assert rate.tokens(debt + 1) <= rate.tokens(debt)


@given(rates, st.data())
def test_after_the_wait_there_is_a_token(rate: Rate, data: st.DataObject):
    debt = data.draw(st.integers(0, rate.most_debt + rate.cost(1)))
    waited = rate.wait(debt) // timedelta(microseconds=1)

    assert rate.tokens(max(0, debt - waited - 1)) >= 1


@given(rates, st.lists(st.integers(0, 50), max_size=20))
def test_over_any_time_no_more_start_than_the_burst_and_what_the_time_gives(rate: Rate, pauses: list[int]):
    """As a node would: take all there is, wait, and take again."""
    full_at = now = started = 0
    for pause in pauses:
        tokens = rate.tokens(max(0, full_at - now))
        started += tokens
        full_at = max(full_at, now) + rate.cost(tokens)
        now += pause * rate.period // 10

    assert started <= rate.burst + now * rate.count / rate.period


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/m", Rate(60, per=MINUTE)),
        ("10/s", Rate(10, per=1)),
        ("100 / 5m", Rate(100, per=5 * MINUTE)),
        ("60/m burst 1", Rate(60, per=MINUTE, burst=1)),
        ("5/1.5s", Rate(5, per=1.5)),
        ("1/d", Rate(1, per=timedelta(days=1))),
        ("7/250ms", Rate(7, per=0.25)),
    ],
)
def test_a_rate_is_written_in_few_letters_and_read_again(text: str, rate: Rate):
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@given(rates)
def test_whatever_a_rate_is_it_is_stored_and_read_again(rate: Rate):
    limits = Limits(3, rate, None, rate)

    assert Limits.decode(limits.encode()) == limits


def test_no_limits_are_stored_as_nothing():
    assert (Limits().encode(), str(Limits())) == ("{}", "")
    assert Limits.decode("{}") == Limits.decode(None) == Limits()


def test_limits_are_told_in_words():
    said = str(Limits(3, Rate(60, per=MINUTE), 1, Rate(10, per=1, burst=1)))

    assert said == "3 at once, 60/m, 1 of each partition at once, 10/s burst 1 of each partition"


# ── what cannot be ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Rate(0, per=1), "count=0 is out of range"),
        (lambda: Rate(True, per=1), "count=True is out of range"),
        (lambda: Rate(1, per=0), "per=0 is out of range: a millisecond to 31 days"),
        (lambda: Rate(1, per=timedelta(days=32)), "out of range"),
        (lambda: Rate(1, per="1"), "per='1' is out of range"),  # type: ignore[arg-type]
        (lambda: Rate(200, per=0.001), "200/ms is out of range: a hundred thousand a second, at most"),
        (lambda: Rate(5, per=1, burst=6), "burst=6 is out of range: 1 to count, which is 5"),
        (lambda: Rate.parse("60"), "'60' is no rate; write it like 60/m"),
        (lambda: Rate.parse("60/w"), "'60/w' is no rate"),
        (lambda: Queue(0), "slots=0 is out of range"),
        (lambda: Rate(-1, per=1), "count=-1 is out of range: a whole number, 1 to 1,000,000"),
        (lambda: Rate(10**12, per=1), "count=1000000000000 is out of range"),
        (lambda: Rate(1, per=-5), "per=-5 is out of range"),
        (lambda: Rate(1, per=float("nan")), "per=nan is out of range"),
        (lambda: Rate(1, per=None), "per=None is out of range"),  # type: ignore[arg-type]
        (lambda: Rate.parse("5/0s"), "per=datetime.timedelta(0) is out of range: a millisecond to 31 days"),
        (lambda: Queue(10, limit=0), "limit=0 is out of range: a whole number, 1 to 1,000,000; to run nothing, pause"),
        (lambda: Queue(10, limit=-3), "limit=-3 is out of range: a whole number, 1 to 1,000,000"),
        (lambda: Queue(10, limit=10**9), "limit=1000000000 is out of range"),
        (lambda: Queue(10, rate=5), "rate=5 is no rate; give Rate(60, per=60)"),  # type: ignore[arg-type]
        (lambda: Queue(10, partition_limit=1.5), "partition_limit=1.5 is out of range"),  # type: ignore[arg-type]
        (lambda: Queue(10, rate="60/m"), "rate='60/m' is no rate; give Rate(60, per=60)"),  # type: ignore[arg-type]
        (lambda: Queue.of({"slot": 3}), "a queue has no 'slot'; it has slots, limit, rate"),
        (lambda: Queue.of({"rate": {"count": 3}}), "a rate has count and per"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_and_told_why(make: Any, told: str):
    assert told in refusal(make)


def test_a_queue_is_read_from_a_table():
    table = {"slots": 5, "limit": 3, "rate": "60/m", "partition_rate": {"count": 1, "per": 2}}

    assert Queue.of(table) == Queue(5, limit=3, rate=Rate(60, per=60), partition_rate=Rate(1, per=2))
