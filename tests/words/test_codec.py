"""Values <-> text: what travels arrives as it was, and what cannot travel is refused by name."""

import inspect
import json
import math
import sys
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from unittest.mock import Mock
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import tagged
from tenuto.codec import decode, encode
from tenuto.errors import TooLarge, Undecodable, Unencodable
from tenuto.text import clean, clip, size

# ── what the tests are made of ────────────────────────────────────────────────────────────────────


class Colour(Enum):
    RED = "red"
    CRIMSON = ("red", 2)
    ONE = 1
    LIST = [1, 2]  # noqa: RUF012 - an enum is free to


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    NOUN = "noun"


class Wandering(tzinfo):
    def utcoffset(self, instant: datetime | None) -> timedelta | None:
        return None

    def dst(self, instant: datetime | None) -> None:
        return None

    def tzname(self, instant: datetime | None) -> str:
        return "wandering"


class Failing(Wandering):
    def utcoffset(self, instant: datetime | None) -> timedelta | None:
        raise RuntimeError("no offset today")


class FailingMeta(type):
    def __hash__(cls) -> int:
        raise RuntimeError("no hash today")

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name today")


class Nameless(metaclass=FailingMeta):
    pass


class Liar:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} today")


class Point(NamedTuple):
    x: int


ODD_ZONE = timezone(timedelta(hours=-3, minutes=-30, seconds=-1, microseconds=-1))


def told(value: Any) -> Any:
    """Spell a value so that two spellings are equal only for the same types, signs, offsets and folds."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return (kind, [(told(key), told(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (kind, [told(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return (kind, sorted(map(repr, map(told, value))))
    if isinstance(value, (datetime, time)):
        return (kind, value.isoformat(), value.fold)
    return (kind, repr(value))


def travelled(value: Any) -> Any:
    return decode(encode(value))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


zones = st.none() | st.just(UTC) | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
texts = st.text() | st.text(alphabet="\0\\u0~$b{\"é'")
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
folds = st.sampled_from([0, 1])
zoned = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds)
clocked = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
values = st.recursive(
    hashables | st.decimals() | zoned | clocked | st.integers(-(10**4000) + 1, 10**4000 - 1),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(texts | st.sampled_from(["$uuid", "$dict", "$", "$text"]), inner, max_size=5)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=20,
)


def has_lasting_offset(value: Any) -> bool:
    """Python loses an offset of less than a second, written or read."""
    if isinstance(value, (datetime, time)) and value.utcoffset():
        return abs(value.utcoffset() or timedelta()) >= timedelta(seconds=1)
    if isinstance(value, dict):
        return all(map(has_lasting_offset, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(has_lasting_offset, value))


# ── what travels ──────────────────────────────────────────────────────────────────────────────────


@given(values.filter(has_lasting_offset))
def test_any_value_arrives_as_it_was(value):
    assert told(travelled(value)) == told(value)


@given(values.filter(has_lasting_offset))
def test_no_text_holds_nul_raw_or_escaped(value):
    text = encode(value)

    assert "\0" not in text
    assert "\\u0000" not in text


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, 1, -0.0, 0.0, 1.0, 1e308, 5e-324, 10**4000 - 1, 1 - 10**4000,
        math.inf, -math.inf, math.nan, complex(-0.0, -0.0), complex(math.inf, -math.inf),
        Decimal("-0"), Decimal("1.10"), Decimal("sNaN12"), Decimal("-Infinity"),
        "", "\0", "a\0b", "\\u0000", "\\\0~0~b", b"", UUID(int=0),
        [], {}, (), set(), frozenset(),
        date.min, date.max, datetime.min, datetime.max, timedelta.min, timedelta.max,  # noqa: DTZ901
        datetime(2026, 10, 25, 2, 30, fold=1), time(2, 30, fold=1),  # noqa: DTZ001
        datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=ODD_ZONE), time(1, tzinfo=ODD_ZONE),
    ],
    ids=lambda value: f"{type(value).__name__}-{repr(value)[:30]}",
)  # fmt: skip
def test_the_corners_of_each_type_arrive_as_they_were(value):
    assert told(travelled(value)) == told(value)


@pytest.mark.parametrize("naive", [datetime(2026, 1, 1), time(9)])  # noqa: DTZ001 - naive on purpose
def test_naive_and_aware_stay_apart(naive):
    aware = naive.replace(tzinfo=UTC)

    assert travelled(naive).tzinfo is None
    assert travelled(aware).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        {"$uuid": "not one"}, {"$": 1}, {"$dict": [1]}, {"$dict": {"$dict": []}}, {"$tuple": [1]},
        {"$unknown": None}, {"$uuid": 1, "other": 2}, {"\0": 1}, {"a": {"$text": "~0"}},
        {"\\u0000": 1, "b": 2}, [{"$set": ({"$x": ()},)}],
    ],
    ids=repr,
)  # fmt: skip
def test_a_dict_that_looks_like_a_tag_arrives_as_a_dict(value):
    assert told(travelled(value)) == told(value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a", "a"), (7, "7"), (-(10**30), "-1" + "0" * 30), (True, "true"), (False, "false"), (None, "null"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"), (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (Word.NOUN, "noun"), (Level.HIGH, "3"), (Colour.RED, "red"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_key_arrives_as_text(key, text):
    assert told(travelled({key: 1})) == told({text: 1})


def test_a_dict_keeps_its_order():
    assert list(travelled({"b": 1, "a": 2, 0: 3})) == ["b", "a", "0"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (Colour.RED, "red"),
        (Colour.CRIMSON, ("red", 2)),
        (Colour.LIST, [1, 2]),
        (Level.HIGH, 3),
        (Word.NOUN, "noun"),
    ],
)
def test_an_enum_member_travels_as_its_value(member, value):
    assert told(travelled([member])) == told([value])


@pytest.mark.parametrize("base", [str, int, float])
def test_a_subclass_travels_as_its_base_without_its_own_code(base):
    def fail(*_: object) -> None:
        raise AssertionError("the code of the subclass ran")

    own = dict.fromkeys(["__str__", "__repr__", "__int__", "__index__", "__float__", "__eq__"], fail)
    subclass = type("Subclass", (base,), own)

    assert told(travelled([subclass(12)])) == told([base(12)])


def test_equal_sets_give_equal_texts():
    ascending, descending = set(range(0, 800, 8)), set(range(792, -8, -8))  # they collide, so order shows
    assert list(ascending) != list(descending)

    assert encode(ascending) == encode(descending)


def test_the_text_is_compact_and_keeps_letters_as_they_are():
    assert encode({"été": [1, None, "→"]}) == '{"été":[1,null,"→"]}'


def test_a_value_used_twice_is_no_cycle():
    shared = [1]

    assert travelled([shared, {"a": shared}, (shared,)]) == [[1], {"a": [1]}, ([1],)]


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}, lambda x: (x,), lambda x: {"$k": x}])
def test_a_depth_of_a_hundred_travels(wrap):
    value: Any = 1
    for _ in range(100):
        value = wrap(value)

    assert travelled(value) == value


# ── what is refused, by name and place ────────────────────────────────────────────────────────────


def refusal(value: Any) -> Unencodable:
    with pytest.raises(Unencodable) as caught:
        encode(value, what="result")
    return caught.value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("\ud800", "lone surrogate"),
        (10**4000, "over 4,000 digits"),
        (-(10**5000), "over 4,000 digits"),
        (object(), "object of type object"),
        (bytearray(b"x"), "object of type bytearray"),
        (memoryview(b"x"), "object of type memoryview"),
        (OrderedDict(a=1), "object of type OrderedDict"),
        (Point(1), "object of type Point"),
        (range(3), "object of type range"),
        (nested(101), "depth over 100"),
        ({1.5: 1}, "key of type float"),
        ({(1,): 1}, "key of type tuple"),
        ({b"k": 1}, "key of type bytes"),
        ({"\udfff": 1}, "lone surrogate"),
        ({10**4000: 1}, "over 4,000 digits"),
        ({1: "a", "1": "b"}, "two keys that become the same text"),
        ({True: "a", "true": "b"}, "two keys that become the same text"),
        ({Colour.LIST}, "a set of lists"),
        ({Colour.ONE, 1}, "members that become equal"),
        (time(1, tzinfo=Wandering()), "zone without a fixed offset"),
        (datetime(1, 1, 1, tzinfo=Wandering()), "zone without a fixed offset"),
        (datetime(1, 1, 1, tzinfo=Failing()), "RuntimeError was raised"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else type(value).__name__,
)  # fmt: skip
def test_what_cannot_travel_is_refused_by_name(value, reason):
    assert reason in refusal(value).reason


def test_an_offset_that_python_would_lose_is_refused():
    zone = timezone(timedelta(microseconds=1))
    text = datetime(2026, 1, 1, tzinfo=zone).isoformat()
    if datetime.fromisoformat(text).utcoffset() == zone.utcoffset(None):
        pytest.skip("this Python keeps it")

    assert "zone" in refusal(datetime(2026, 1, 1, tzinfo=zone)).reason


def test_a_cycle_is_refused():
    a_list: list[Any] = []
    a_list.append({"again": a_list})

    error = refusal(a_list)

    assert (error.path, error.reason) == ("result[0].again", "a cycle cannot be encoded")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"items": [0, 1, 2, {Colour.LIST}]}, "result.items[3]"),
        ({"a b": {"c": object()}}, 'result["a b"].c'),
        (((1, object()),), "result[0][1]"),
        ({3: {"x": b"", "y": object()}}, 'result["3"].y'),
        ({"deep": {2.5: 1}}, "result.deep"),
        (object(), "result"),
    ],
)
def test_a_refusal_says_where(value, path):
    assert refusal(value).path == path


@pytest.mark.parametrize(
    "value",
    [
        {"token": ["hunter2", object()]},
        ["hunter2\ud800"],
        {"hunter2": 1, 1.5: 2},
        [type("T", (), {"__repr__": lambda self: "hunter2"})()],
    ],
)
def test_a_refusal_never_shows_the_value(value):
    assert "hunter2" not in str(refusal(value))


def test_the_path_of_a_refusal_is_short_and_storable():
    value: Any = object()
    for _ in range(90):
        value = {"a long key with \0 in it " * 10: value}

    path = refusal(value).path

    assert size(path) <= 400
    assert clean(path) == path


def test_a_value_over_its_limit_is_refused_with_both_sizes():
    with pytest.raises(TooLarge) as caught:
        encode("é" * 10, limit=21, what="args")

    assert (caught.value.what, caught.value.size, caught.value.limit) == ("args", 22, 21)


def test_a_value_of_its_limit_is_not_refused():
    assert encode("é" * 10, limit=22) == '"éééééééééé"'


@pytest.mark.parametrize("leaf", [1, b"x"])
def test_a_small_value_that_would_be_written_without_end_is_too_large(leaf):
    bomb: list[Any] = [leaf]
    for _ in range(90):
        bomb = [bomb, bomb]

    with pytest.raises(TooLarge):
        encode(bomb, limit=100_000)


GARBAGE: list[Any] = [
    object(), object, Nameless(), Nameless, Liar(), Mock(), Mock(spec=int), Mock(spec=dict), ..., lambda: 0,
    NotImplemented, print, sys, ValueError("x"), range(2), iter([]), bytearray(), OrderedDict(), nested(150),
    "\ud800", "a\udfffb", 10**4000, Colour.LIST,
    datetime(1, 1, 1, tzinfo=Failing()), time(1, tzinfo=Wandering()),
]  # fmt: skip
garbage = st.integers(0, len(GARBAGE) - 1).map(lambda n: GARBAGE[n])  # some have no repr
heaps = st.recursive(
    garbage | hashables,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.floats() | st.text() | st.tuples() | st.just(Colour.LIST) | st.just("\ud800"), inner)
    ),
    max_leaves=8,
)


@given(heaps)
def test_no_object_can_break_the_codec(value):
    try:
        text = encode(value, limit=10_000)
    except (Unencodable, TooLarge):
        return
    decode(text)


def test_a_stack_that_is_nearly_used_up_is_a_refusal():
    value: Any = ()
    for _ in range(99):
        value = (value,)

    def dig(frames: int) -> str:
        return dig(frames - 1) if frames else encode(value)

    with pytest.raises(Unencodable, match="RecursionError was raised"):
        dig(sys.getrecursionlimit() - len(inspect.stack(0)) - 60)


# ── what is read ──────────────────────────────────────────────────────────────────────────────────


bodies = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1e999", "-1", "~", "2026-02-30"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        | st.dictionaries(st.sampled_from([*tagged.TAGS, "$", "$x"]), inner, min_size=1, max_size=1)
    ),
    max_leaves=10,
)
fragments = [*'{}[],:"-.1 ', '"$', "\\", "\\ud800", "\\u0024", "tuple", '":', "NaN"]


@given(
    st.text(alphabet=st.characters())
    | st.lists(st.sampled_from(fragments)).map("".join)
    | bodies.map(json.dumps)
    | bodies.map(lambda body: json.dumps(body, ensure_ascii=False))
)
def test_any_text_is_read_or_refused_and_what_is_read_can_be_written(text):
    try:
        value = decode(text)
    except Undecodable:
        return
    assert told(travelled(value)) == told(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "{", "nul", "\0", "\ufeff1", '{"a":1}x', "NaN", "[Infinity]", "-Infinity",
        '"\ud800"', '"\\ud800"', '["\\uDfff\\ud800"]', '{"$unknown":1}', '{"$":1}',
        '{"$uuid":1}', '{"$uuid":"x"}', '{"\\u0024uuid":"x"}', '{ "$uuid" : 1 }',
        '{"$tuple":"abc"}', '{"$tuple":{"$tuple":[]}}', '{"$set":[[]]}', '{"$dict":["a"]}', '{"$dict":[1,2]}',
        '{"$bytes":"é"}', '{"$bytes":"a"}', '{"$text":"~x"}', '{"$text":"~"}', '{"$decimal":"x"}',
        '{"$timedelta":true}', '{"$timedelta":' + "9" * 40 + "}", '{"$datetime":"yesterday"}',
        '{"$complex":"1+"}', '{"$float":[]}',
    ],
)  # fmt: skip
def test_a_text_of_another_hand_is_refused(text):
    with pytest.raises(Undecodable):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 101 + "]" * 101,
        '{"a":' * 101 + "1" + "}" * 101,
        "[" * 1_000_000,
        '{"$tuple":[' * 101 + "]}" * 101,
    ],
    ids=["lists", "dicts", "unclosed", "tuples"],
)
def test_a_text_nested_too_deeply_is_refused(text):
    with pytest.raises(Undecodable):
        decode(text)


@pytest.mark.parametrize("digits", [4_001, 4_200, 5_000, 1_000_000])
@pytest.mark.parametrize("shape", ["{}", "-{}", "[1,{}]", '{{"a":"$","b":{}}}'])
def test_an_integer_of_too_many_digits_is_not_read(digits, shape):
    with pytest.raises(Undecodable):
        decode(shape.format("7" * digits))


def test_many_digits_in_text_are_no_integer():
    text = "7" * 10_000

    assert travelled([text]) == [text]


def test_json_of_another_hand_is_read_as_it_stands():
    assert decode(' {"a": ["\\u00e9", 1.0, {"$x": 1, "y": 2}, "\\ud83d\\ude00"]} ') == {
        "a": ["é", 1.0, {"$x": 1, "y": 2}, "😀"]
    }


def test_a_tag_is_known_however_json_spells_it():
    assert decode('{ "\\u0024tuple" : [ 1 ] }') == (1,)


def test_a_refusal_to_read_holds_nothing_of_the_text():
    with pytest.raises(Undecodable) as caught:
        decode('{"password":"hunter2",}')

    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


# ── text made storable ────────────────────────────────────────────────────────────────────────────


@given(st.text(alphabet=st.characters()))
def test_any_text_becomes_storable(text):
    stored = clean(text)

    assert "\0" not in stored
    assert travelled(stored) == stored


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_storable_text_stays_as_it_is(text):
    assert clean(text) == text


def test_what_is_not_storable_stays_visible():
    assert clean("a\0b\ud800c") == "a\\x00b\\ud800c"


@given(st.text(alphabet=st.characters()), st.integers(-1, 200))
def test_a_clipped_text_keeps_its_limit(text, limit):
    clipped = clip(text * 3, limit)

    assert size(clipped) <= max(limit, 0)


@given(st.text(alphabet="aé😀", min_size=100), st.integers(60, 99))
def test_a_clipped_text_keeps_head_and_tail_and_says_what_is_gone(text, limit):
    head, tail = clip(text, limit).split(" ... [")
    cut, tail = tail.split(" bytes cut] ... ")

    assert text.startswith(head)
    assert text.endswith(tail)
    assert size(head) + int(cut.replace(",", "")) + size(tail) == size(text)


def test_a_text_within_the_limit_is_not_clipped():
    assert clip("é" * 50, 100) == "é" * 50


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_size_counts_bytes(text):
    assert size(text) == len(text.encode())


@pytest.mark.parametrize("text", [' {"n":[1]}', '{"n":[1]} ', '\n\t{"n": [1]}\r\n'])
def test_json_of_another_hand_may_have_blanks_around_it(text: str):
    assert decode(text) == {"n": [1]}


@pytest.mark.parametrize("text", ["", " ", '{"n":1}{"n":2}', '{"n":1} x', ' {"n":1'])
def test_more_or_less_than_one_document_is_refused(text: str):
    with pytest.raises(Undecodable, match="at character"):
        decode(text)
