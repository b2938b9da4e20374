"""Cron: which expressions there are, when they are due, and what becomes of times that clocks skip or show twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.cron import MINUTE, WORDS, Cron
from tenuto.errors import InvalidCron

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def due(expression: str, after: str, count: int = 3, timezone: str = "UTC") -> list[str]:
    """The next minutes of UTC in which it is due, as texts."""
    cron, found = Cron(expression, timezone), [datetime.fromisoformat(after).replace(tzinfo=UTC)]
    while len(found) <= count and (at := cron.after(found[-1])) is not None:
        found.append(at)
    return [f"{at:%m-%d %H:%M}" for at in found[1:]]


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("* * * * *", ["01-01 00:01", "01-01 00:02", "01-01 00:03"]),
        ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
        ("5,10-11 3 * * *", ["01-01 03:05", "01-01 03:10", "01-01 03:11"]),
        ("0 8-18/5 * * *", ["01-01 08:00", "01-01 13:00", "01-01 18:00"]),
        ("0 0 * * MON-FRI", ["01-02 00:00", "01-05 00:00", "01-06 00:00"]),
        ("0 0 * * sat-sun", ["01-03 00:00", "01-04 00:00", "01-10 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 1 jan,JUL *", ["07-01 00:00", "01-01 00:00", "07-01 00:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        ("0 0 * * MON#1", ["01-05 00:00", "02-02 00:00", "03-02 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("  0   12  * * * ", ["01-01 12:00", "01-02 12:00", "01-03 12:00"]),
    ],
)
def test_five_fields_say_when(expression, minutes):
    assert due(expression, "2026-01-01") == minutes


@pytest.mark.parametrize(("word", "fields"), WORDS.items())
def test_a_word_stands_for_five_fields(word, fields):
    assert due(word, "2026-01-01", 10) == due(fields, "2026-01-01", 10)
    assert due(word.upper(), "2026-01-01") == due(fields, "2026-01-01")


def test_day_and_weekday_given_both_mean_either():
    assert due("0 0 13 * FRI", "2026-02-06", 4) == ["02-13 00:00", "02-20 00:00", "02-27 00:00", "03-06 00:00"]
    assert due("0 0 14 * FRI", "2026-02-06", 3) == ["02-13 00:00", "02-14 00:00", "02-20 00:00"]


def test_beside_a_star_the_other_of_day_and_weekday_decides():
    assert due("0 0 * * FRI", "2026-02-06", 2) == ["02-13 00:00", "02-20 00:00"]
    assert due("0 0 13 * *", "2026-02-06", 2) == ["02-13 00:00", "03-13 00:00"]


def test_seconds_of_the_instant_that_is_asked_about_do_not_matter():
    cron = Cron("*/5 * * * *")

    assert cron.after(NEW_YEAR + timedelta(seconds=299)) == NEW_YEAR + 5 * MINUTE
    assert cron.after(NEW_YEAR + 5 * MINUTE) == NEW_YEAR + 10 * MINUTE


def test_the_minutes_between_two_instants_come_in_order_and_as_many_as_asked_for():
    cron = Cron("*/5 * * * *")

    assert cron.between(NEW_YEAR, NEW_YEAR + 10 * MINUTE, 9) == [NEW_YEAR + 5 * MINUTE, NEW_YEAR + 10 * MINUTE]
    assert cron.between(NEW_YEAR, NEW_YEAR + DAY, 1) == [NEW_YEAR + 5 * MINUTE]
    assert cron.between(NEW_YEAR, NEW_YEAR, 9) == []


def test_it_can_be_said_in_english():
    assert Cron("30 2 * * *").explain() == "At 02:30 every day"
    assert Cron("@hourly").explain() == "At the start of every hour"


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "it has 0 fields"),
        ("* * * *", "it has 4 fields, not minute hour day month weekday"),
        ("0 * * * * *", "it has 6 fields.*there are no seconds"),
        ("60 * * * *", "its minute cannot be; there are 0 to 59"),
        ("* 24 * * *", "its hour cannot be; there are 0 to 23"),
        ("* * 0 * *", "its day cannot be"),
        ("* * * 13 *", "its month cannot be; there are 1 to 12"),
        ("* * * * 8", "its weekday cannot be; there are 0 to 7"),
        ("* * * * MOON", "its weekday cannot be"),
        ("5-1 * * * *", "its minute cannot be"),
        ("- * * * *", "its minute cannot be"),
        (", * * * *", "its minute cannot be"),
        ("*/0 * * * *", "minute has the step '0'; 1 to 59 can be"),
        ("*/60 * * * *", "minute has the step '60'"),
        ("* 0,*/24 * * *", "hour has the step '24'; 1 to 23 can be"),
        ("*/² * * * *", "minute has the step '²'"),
        ("*/5/5 * * * *", "minute has the step '5/5'"),
        ("0 0 30 2 *", "its day cannot be, or never comes"),
        ("0 0 31 4,6 *", "its day cannot be, or never comes"),
        ("0 0 * 2 MON#6", "its weekday cannot be"),
        ("@reboot", "enqueue the job where your program starts"),
        ("@every 5m", "the words are @hourly, @daily"),
        (f"{'9' * 240} * * * *", "its minute cannot be"),
        (f"{'1,' * 1_000_000}1 * * * *", "has 2000009 characters; 255 are allowed"),
        ("\x00 * * * *", "its minute cannot be"),
        ("\ud800 * * * *", "its minute cannot be"),
    ],
    ids=lambda text: text[:20].encode("ascii", "backslashreplace").decode(),
)
def test_what_cannot_be_is_refused_with_the_reason(expression, why):
    with pytest.raises(InvalidCron, match=why):
        Cron(expression)


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", ["*"] * 5])
def test_what_is_no_text_is_refused(expression):
    with pytest.raises(InvalidCron, match="is no text; give one like"):
        Cron(expression)


@pytest.mark.parametrize(
    "timezone", ["", "Berlin", "Europe", "../UTC", "/etc/localtime", "UTC\x00", 7, None, "x" * 999]
)
def test_a_timezone_that_is_not_known_is_refused(timezone):
    with pytest.raises(InvalidCron, match="is not known here; give one like Europe/Berlin"):
        Cron("* * * * *", timezone)


def test_a_long_expression_is_not_shown_whole():
    with pytest.raises(InvalidCron) as refused:
        Cron("7" * 5000)

    assert len(str(refused.value)) < 300


# ── clocks that are turned ────────────────────────────────────────────────────────────────────────
# In Berlin 02:00 becomes 03:00 on 29 March 2026 (01:00 UTC), and 03:00 becomes 02:00 on 25 October (01:00 UTC).


def test_a_local_time_that_does_not_exist_is_due_at_the_next_that_does():
    assert due("30 2 * * *", "2026-03-28", 3, "Europe/Berlin") == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_several_times_that_do_not_exist_are_due_once():
    assert due("0,15,30 2 * * *", "2026-03-29", 2, "Europe/Berlin") == ["03-29 01:00", "03-30 00:00"]
    assert due("0 2,3 * * *", "2026-03-29", 2, "Europe/Berlin") == ["03-29 01:00", "03-30 00:00"]


def test_a_midnight_that_does_not_exist_is_due_at_one():
    assert due("@daily", "2026-09-05T12:00", 2, "America/Santiago") == ["09-06 04:00", "09-07 03:00"]


def test_a_local_time_that_comes_twice_is_due_once():
    assert due("30 2 * * *", "2026-10-24", 3, "Europe/Berlin") == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]


def test_after_the_clocks_were_put_back_nothing_is_due_again():
    assert due("45 2 * * *", "2026-10-25T01:10", 1, "Europe/Berlin") == ["10-26 01:45"]


def test_every_so_many_minutes_go_by_the_time_that_passes():
    spring = due("*/30 * * * *", "2026-03-29T00:00", 4, "Europe/Berlin")
    autumn = due("*/30 * * * *", "2026-10-25T00:00", 4, "Europe/Berlin")

    assert spring == ["03-29 00:30", "03-29 01:00", "03-29 01:30", "03-29 02:00"]
    assert autumn == ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]


def test_every_hour_written_out_is_every_hour():
    for hours in ("*", "0-23", "*/1", "0-11,12-23"):
        assert due(f"7 {hours} * * *", "2026-10-24T23:30", 4, "Europe/Berlin") == [
            "10-25 00:07",
            "10-25 01:07",
            "10-25 02:07",
            "10-25 03:07",
        ]


def test_every_so_many_hours_are_due_both_times_and_never_skipped():
    assert due("0 */2 * * *", "2026-10-24T22:00", 3, "Europe/Berlin") == ["10-25 00:00", "10-25 01:00", "10-25 03:00"]
    assert due("0 */2 * * *", "2026-03-28T23:30", 2, "Europe/Berlin") == ["03-29 01:00", "03-29 02:00"]


# An oracle that looks at every minute. ────────────────────────────────────────────────────────────

TURNS = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # by half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),  # at midnight
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),  # by two hours
    ("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # by a day
    ("Asia/Kathmandu", datetime(2026, 3, 29, tzinfo=UTC)),  # never
    ("UTC", datetime(2026, 3, 29, tzinfo=UTC)),
]

Field = tuple[str, frozenset[int]]


def fields(least: int, most: int) -> st.SearchStrategy[Field]:
    """One field, with the values it means."""
    every = range(least, most + 1)
    numbers = st.integers(least, most)
    stars = st.just(("*", frozenset(every)))
    steps = st.integers(1, most - least).map(lambda step: (f"*/{step}", frozenset(every[::step])))
    lists = st.lists(numbers, min_size=1, max_size=4).map(lambda given: (",".join(map(str, given)), frozenset(given)))
    ranges = st.tuples(numbers, numbers, st.integers(1, most - least)).map(lambda given: _range(*given))
    return st.one_of(stars, steps, lists, ranges)


def _range(one: int, other: int, step: int) -> Field:
    first, last = sorted((one, other))
    return f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))


def expected(zone: ZoneInfo, minute: Field, hour: Field, start: datetime, end: datetime) -> Iterator[datetime]:
    """By looking at every minute: what clocks show in it, whether they showed it before, and what they skipped."""
    is_hourly = len(hour[1]) == 24
    is_fixed = not (minute[0].startswith("*") or hour[0].startswith("*") or is_hourly)

    def fits(local: datetime) -> bool:
        return local.minute in minute[1] and local.hour in hour[1]

    at, before = start, start.astimezone(zone).replace(tzinfo=None)
    while (at := at + MINUTE) <= end:
        shown = at.astimezone(zone)
        local = shown.replace(tzinfo=None, fold=0)
        skipped = (before + MINUTE * nth for nth in range(1, (local - before) // MINUTE))
        if (fits(local) and not (is_fixed and shown.fold)) or (not is_hourly and any(map(fits, skipped))):
            yield at
        before = local


@given(st.sampled_from(TURNS), fields(0, 59), fields(0, 23), st.integers(0, 3000))
def test_it_is_due_in_just_the_minutes_in_which_clocks_say_so(turn, minute, hour, earlier):
    timezone, at = turn
    start, end = at - earlier * MINUTE, at + 2 * DAY

    found = Cron(f"{minute[0]} {hour[0]} * * *", timezone).between(start, end, 100_000)

    assert found == list(expected(ZoneInfo(timezone), minute, hour, start, end))


@given(fields(1, 31), fields(1, 12), fields(0, 7))
def test_a_day_fits_by_day_and_month_and_weekday(day, month, weekday):
    try:
        cron = Cron(f"0 0 {day[0]} {month[0]} {weekday[0]}")
    except InvalidCron:
        return
    either = not (day[0].startswith("*") or weekday[0].startswith("*"))
    weekdays = {number % 7 for number in weekday[1]}

    def fits(at: datetime) -> bool:
        days = (at.day in day[1], at.isoweekday() % 7 in weekdays)
        return at.month in month[1] and (any(days) if either else all(days))

    every_day = (NEW_YEAR + nth * DAY for nth in range(1, 800))
    assert cron.between(NEW_YEAR, NEW_YEAR + 799 * DAY, 1000) == list(filter(fits, every_day))


@given(st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)))
def test_whatever_is_accepted_has_a_next_minute_and_can_be_explained(five):
    expression = " ".join(text for text, _ in five)
    try:
        cron = Cron(expression)
    except InvalidCron:
        return

    assert cron.after(NEW_YEAR) is not None
    assert cron.explain()


@given(st.text(max_size=30) | st.from_regex(r"[0-9*/,\-A-Z#L]{1,9}( [0-9*/,\-A-Z#L]{1,9}){4}", fullmatch=True))
def test_any_text_is_an_expression_or_refused(text):
    try:
        cron = Cron(text)
    except InvalidCron:
        return

    assert cron.after(NEW_YEAR) is not None
