"""A verb with somebody at each boundary between its statements: there it can be cut, counted or disturbed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple, TypeVar

from tenuto.storage.database import Verb

T = TypeVar("T")


class Boundary(NamedTuple):
    """Before the nth statement of a verb is asked, or with its rows in hand."""

    nth: int
    has_rows: bool


Look = Callable[[Boundary, str], object]


def watched(verb: Verb[T], look: Look) -> Verb[T]:
    """The verb, with `look` called at each boundary, with the statement's name."""
    rows: Any = None
    for nth in count():
        try:
            asked = verb.send(rows)
        except StopIteration as end:
            return end.value
        look(Boundary(nth, has_rows=False), asked.name)
        rows = yield asked
        look(Boundary(nth, has_rows=True), asked.name)
    raise AssertionError("a verb has an end")
