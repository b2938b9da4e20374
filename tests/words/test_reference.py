"""References: what stands for a result that is not there yet, and all that nobody can do with it."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.codec import decode, encode
from tenuto.errors import NotYetKnown, Undecodable, Unencodable
from tenuto.reference import Reference, Waiting, holds_reference, references

FETCH = Reference("fetch")


class Key(StrEnum):
    TOKEN = "token"


@dataclass
class Pair:
    first: Any
    second: Any


# ── what it is ────────────────────────────────────────────────────────────────────────────────────


def test_keys_lead_deeper_and_leave_it_as_it_was():
    deeper = FETCH["token"][0][Key.TOKEN]

    assert deeper == Reference("fetch", ("token", 0, "token"))
    assert type(deeper.path[2]) is str
    assert FETCH.path == ()
    assert deeper != FETCH
    assert len({deeper, FETCH["token"][0]["token"]}) == 1


def test_it_says_what_it_stands_for():
    assert repr(FETCH['a "b"'][-1]) == """the result of step 'fetch' at ["a \\"b\\""][-1]"""


COMPUTED: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "format": lambda reference: f"Bearer {reference}",
    "truth": bool,
    "attribute": lambda reference: reference.get("token"),
    "slice": lambda reference: reference[1:],
    "bool key": lambda reference: reference[True],
    "length": len,
    "iteration": list,
    "membership": lambda reference: "token" in reference,
    "sum": lambda reference: reference + "x",
    "order": lambda reference: reference < 3,
    "index": lambda reference: [1, 2][reference],
    "call": lambda reference: reference(),
}


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_nothing_can_be_computed_with_it(compute):
    with pytest.raises(TypeError):
        compute(FETCH)


def test_who_tries_is_told_of_which_result_and_what_to_do():
    with pytest.raises(NotYetKnown, match=r"the result of step 'fetch' at \[\"token\"\] is not known .* hand it over"):
        f"{FETCH['token']}"


def test_it_can_be_copied_and_pickled():
    deeper = Reference("fetch", ("token",), "w")

    assert copy.deepcopy(deeper) == pickle.loads(pickle.dumps(deeper)) == deeper
    assert copy.copy(deeper).workflow_id == "w"


# ── where it is ───────────────────────────────────────────────────────────────────────────────────


def test_every_one_is_found_in_order_at_any_depth():
    a, b, c = Reference("a"), Reference("b"), Reference("c")

    assert list(references({"x": a, "y": [Pair(1, (b,)), {"z": {c}}]})) == [a, b, c]
    assert not holds_reference({"x": [1, {"y": "fetch"}], "z": Pair(None, "")})


def test_looking_ends_in_a_cycle():
    ring: list[Any] = [FETCH]
    ring.append(ring)

    assert list(references(ring)) == [FETCH]


# ── as text ───────────────────────────────────────────────────────────────────────────────────────


def test_args_that_wait_say_so_in_the_row():
    text = encode(Waiting({"url": "a", "token": FETCH["token"]}))

    assert text == '{"$waiting":{"url":"a","token":{"$ref":["fetch","token"]}}}'
    assert type(decode(text)) is Waiting


words = st.text() | st.text(alphabet="\0\\u0~$b{\"'é")
found = st.builds(Reference, st.text(min_size=1), st.lists(words | st.integers(), max_size=3).map(tuple))
trees = st.recursive(
    found | st.none() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(words, inner),
)


@given(st.dictionaries(st.text() | st.sampled_from(["$ref", "$waiting"]), trees, max_size=3))
def test_they_travel(args):
    text = encode(Waiting(args))
    there = decode(text)

    assert there == args
    assert type(there) is Waiting
    assert encode(there) == text
    assert "\0" not in text
    assert "\\u0000" not in text.replace("\\\\", "")


@pytest.mark.parametrize("value", [FETCH, [FETCH], {"a": (FETCH,)}, [Waiting(a=FETCH)], {"a": Waiting()}])
def test_no_other_value_holds_one(value):
    with pytest.raises(Unencodable, match="before it is there"):
        encode(value)


@pytest.mark.parametrize(
    "text",
    ['{"$ref":[]}', '{"$ref":"a"}', '{"$ref":[1]}', '{"$ref":["a",true]}', '{"$ref":["a",[]]}', '{"$waiting":[]}'],
)
def test_what_somebody_wrote_by_hand_is_refused(text):
    with pytest.raises(Undecodable):
        decode(text)


def test_a_users_dict_that_looks_like_one_stays_a_dict():
    value = {"$ref": ["fetch", "token"]}

    assert decode(encode(value)) == value
    assert not holds_reference(decode(encode([value])))
