"""Walk: a value that is not plain JSON on its way there, step by step, so that a fault can say where it is."""

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from enum import Enum
from math import isfinite
from operator import attrgetter
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

from tenuto.errors import TooLarge, Undecodable, Unencodable
from tenuto.reference import Reference, Waiting
from tenuto.tagged import TAG_OF, TAGS, dumps, holds_nul, looks_tagged, tagged
from tenuto.text import clean, clip

MAX_DEPTH: Final = 100  # containers inside each other
MAX_DIGITS: Final = 4_000  # of one integer; Python itself stops at 4,300
SCALARS: Final = frozenset({str, int, float, bool, NoneType})
CONTAINERS: Final = frozenset({list, dict, tuple, set, frozenset})

_HUGE: Final = 10**MAX_DIGITS


class Walk:
    """One value on its way to JSON: where the walk is, and what it is inside of."""

    def __init__(self, limit: int | None, what: str, decode: Callable[[str], Any]) -> None:
        self.limit = limit
        self.decode = decode
        self.what = what
        self.steps: list[str | int] = []
        self.inside: set[int] = set()
        self.items = 0
        self.may_wait = False  # whether it is inside args that a step waits with

    def fault(self, reason: str) -> Unencodable:
        """Make the error for the place where the walk is."""
        return Unencodable(clip(self.what + "".join(map(_spelled, self.steps)), 400), reason)

    def wire(self, value: object) -> Any:
        """Give what stands for `value` in JSON."""
        kind = type(value)
        if kind in SCALARS:
            return self._scalar(kind, value)
        if kind in CONTAINERS:
            return self._container(kind, cast("Collection[Any]", value))
        if kind in _WAITS:
            return self._waiting(kind, value)
        if kind in TAG_OF:
            return self._other(kind, value)
        return self.wire(self._base(kind, value))

    def _scalar(self, kind: type, value: Any) -> Any:
        if kind is int:
            return self._bounded(value)
        if kind is str and holds_nul(self._stored(value)):
            return tagged(str, value)
        if kind is float and not isfinite(value):
            return tagged(float, value)
        return value

    def _stored(self, text: str) -> str:
        try:
            if not text.isascii():
                text.encode()
        except UnicodeEncodeError:
            raise self.fault("text with a lone surrogate cannot be encoded") from None
        return text

    def _bounded(self, number: int) -> int:
        if not -_HUGE < number < _HUGE:
            raise self.fault(f"an integer over {MAX_DIGITS:,} digits cannot be encoded")
        return number

    def _other(self, kind: type, value: Any) -> dict[str, Any]:
        try:
            return tagged(kind, value)
        except Unencodable as refusal:
            raise self.fault(refusal.reason) from None

    def _waiting(self, kind: type, value: Any) -> dict[str, Any]:
        """A reference, which only such args may hold as a step has, or those args."""
        if kind is Waiting and not self.steps:
            self.may_wait = True
            return {TAG_OF[Waiting]: self._container(dict, value)}
        if kind is Waiting or not self.may_wait:
            raise self.fault("the result of a step cannot be encoded before it is there, save in args that new() makes")
        return {TAG_OF[Reference]: [self.wire(part) for part in TAGS[TAG_OF[Reference]].write(value)]}

    def _base(self, kind: type, value: object) -> Any:
        for base, exact in _BASES.items():
            if issubclass(kind, base):
                return exact(value)
        raise self.fault(f"an object of type {name_of(kind)} cannot be encoded")

    def _container(self, kind: type, value: Collection[Any]) -> Any:
        self._enter(value)
        parts = self._keyed(value) if kind is dict else dict(enumerate(value))
        for step, item in parts.items():
            self.steps.append(step)
            parts[step] = self.wire(item)
            self.steps.pop()
        self.inside.remove(id(value))
        return self._shaped(kind, value, parts)

    def _enter(self, value: Collection[Any]) -> None:
        if id(value) in self.inside:
            raise self.fault("a cycle cannot be encoded")
        if len(self.inside) == MAX_DEPTH:
            raise self.fault(f"a depth over {MAX_DEPTH} cannot be encoded")
        self.inside.add(id(value))
        self.items += len(value)
        if self.limit is not None and self.items > self.limit:  # each takes a byte at least
            raise TooLarge(self.what, self.items, self.limit)

    def _keyed(self, value: Any) -> dict[Any, Any]:
        found: dict[str, Any] = {}
        for key, item in list(value.items()):
            text = key if type(key) is str and key.isascii() else self._key(key)
            if text in found:
                raise self.fault("two keys that become the same text cannot be encoded")
            found[text] = item
        return found

    def _key(self, key: object) -> str:
        kind = type(key)
        if kind in _KEYS:
            self._scalar(kind, key)  # for its limits
            return _KEYS[kind](key)
        if issubclass(kind, tuple(_BASES)) and not issubclass(kind, float):
            return self._key(self._base(kind, key))
        raise self.fault(f"a key of type {name_of(kind)} cannot be encoded")

    def _shaped(self, kind: type, value: Any, parts: dict[Any, Any]) -> Any:
        if kind is list:
            return list(parts.values())
        if kind is dict:
            odd = looks_tagged(parts) or holds_nul("\n".join(parts))
            return tagged(dict, parts) if odd else parts
        found = tagged(kind, parts.values())
        # The value of an enum member may be equal to its neighbour, or no member of a set at all.
        if kind is not tuple and not SCALARS.issuperset(map(type, value)):
            self._refuse_merged(found, len(value))
        return found

    def _refuse_merged(self, found: dict[str, Any], count: int) -> None:
        try:
            kept = len(self.decode(dumps(found)))
        except Undecodable:
            raise self.fault("a set of lists, sets or dicts cannot be encoded") from None
        if kept < count:
            raise self.fault("a set with members that become equal cannot be encoded")


def name_of(kind: type) -> str:
    # A metaclass may have its own idea of __name__, and fail at it.
    return clip(clean(type.__dict__["__name__"].__get__(kind)), 80)


def _spelled(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    key = clip(clean(step), 60)
    return f".{key}" if key.isidentifier() else f"[{dumps(key)}]"


_WAITS: Final = frozenset({Waiting, Reference})

_KEYS: Final[Mapping[type, Callable[[Any], str]]] = {
    str: str,
    int: str,
    bool: {True: "true", False: "false"}.__getitem__,
    NoneType: lambda _: "null",
    UUID: str,
    date: date.isoformat,
    datetime: datetime.isoformat,
}

# Each as its base gives it, so that no code of the subclass runs.
_BASES: Final[Mapping[type, Callable[[Any], Any]]] = {
    Enum: attrgetter("_value_"),
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
}
