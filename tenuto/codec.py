"""Values <-> text for args, results and errors; every limit on bad input.

The text is JSON. A value that JSON lacks is an object with one member whose name begins with `$`:

    {"$uuid":"0192…"}   {"$tuple":[1,2]}   {"$datetime":"2026-01-01T09:00:00+00:00"}   {"$float":"nan"}

`_TAGS` lists them all. Nothing else is ever built from a text: no pickle, no import.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import chain
from math import isfinite
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NamedTuple, NoReturn, cast
from uuid import UUID

from tenuto.errors import CodecError, TooLarge, Undecodable, Unencodable

MAX_DEPTH: Final = 100  # containers inside each other
MAX_DIGITS: Final = 4_000  # of one integer; Python itself stops at 4,300

_SCALARS: Final = frozenset({str, int, float, bool, NoneType})
_CONTAINERS: Final = frozenset({list, dict, tuple, set, frozenset})
_STR: Final = frozenset({str})
_DICT: Final = frozenset({dict})
_LIST: Final = frozenset({list})
_HUGE: Final = 10**MAX_DIGITS
_TICK: Final = timedelta(microseconds=1)
_MANY_DIGITS: Final = re.compile(f"[0-9]{{{MAX_DIGITS // 100}}}")

# µs to encode / decode, and of json.dumps / json.loads for the same value (CPython 3.11, one shared core):
# None 1.0 / 0.8 (1.6 / 0.8) · a flat dict of five 3.2 / 1.5 (2.7 / 1.5) · a list of 20 dicts of four 28 / 12
# (19 / 11) · a dict of a UUID, a datetime and an int 10 / 4.
_dumps: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


# ── a value becomes text ──────────────────────────────────────────────────────────────────────────


def encode(value: Any, *, limit: int | None = None, what: str = "value") -> str:
    """Give the text that `decode` turns back into `value`, type by type.

    What changes on the way: an enum member arrives as its value, a subclass of str, int or float as its
    base, a key of a dict as text, a named time zone as its offset. The text is compact, equal for equal
    sets, and holds no NUL, raw or escaped. `limit` is in bytes of it; errors call the value `what`.
    Raises TooLarge, or Unencodable with the path of the fault and never its value: a lone surrogate, an
    integer over 4,000 digits, depth over 100, a cycle, a key or an object of a type that is not in the
    tables (a bytearray or an OrderedDict among them: they would come back as another type).
    """
    text = _plain(value, limit)
    if text is None:
        text = _walked(value, limit, what)
    if limit is not None and size(text) > limit:
        raise TooLarge(what, size(text), limit)
    return text


def _plain(value: Any, limit: int | None) -> str | None:
    """Give the text of a value that is JSON as it stands, or None when it must be walked."""
    try:
        if type(value) not in _SCALARS and not _is_plain(value, limit):
            return None
        text = _dumps(value)
        if not text.isascii():
            text.encode()  # refuses a lone surrogate
    except Exception:  # noqa: BLE001 - the walk will meet it again, and say where
        return None
    return None if _may_look_tagged(text) or _holds_nul(text) or _may_hold_huge(text) else text


def _is_plain(value: Any, limit: int | None) -> bool:
    """Tell whether it holds only lists, dicts with text keys, and scalars, to the depth allowed.

    Layer by layer, so that only containers cost a turn of a Python loop.
    """
    layer, count = [value], 0
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for held in layer:
            if type(held) in _DICT:
                if not _STR.issuperset(map(type, held)):
                    return False
            elif type(held) not in _LIST:
                return False
            items = _members(held)
            count += len(items)
            if limit is not None and count > limit:  # one list, held in many places, is written many times
                return False
            if not _SCALARS.issuperset(map(type, items)):
                inner += [item for item in items if type(item) not in _SCALARS]
        if not inner:
            return True
        layer = inner
    return False


def _members(container: Any) -> Collection[Any]:
    members: Collection[Any] = container.values() if type(container) in _DICT else container
    return members


def _may_look_tagged(text: str) -> bool:
    """Tell whether the first key of an object begins with `$`: compact JSON has these three nowhere else."""
    return "$" in text and '{"$' in text  # one character is found forty times faster than three


def _may_hold_huge(text: str) -> bool:
    """Tell whether a run of digits may be over the limit: then every hundredth character shows it."""
    return len(text) > MAX_DIGITS and _MANY_DIGITS.search(text[::100]) is not None


def _walked(value: Any, limit: int | None, what: str) -> str:
    walk = _Walk(limit, what)
    try:
        return _dumps(walk.wire(value))
    except CodecError:
        raise
    except Exception as error:  # noqa: BLE001 - the code of a metaclass or a tzinfo; or no stack is left
        fault = walk.fault(f"{_name(type(error))} was raised while it was being encoded")
    raise fault


class _Walk:
    """One value on its way to JSON: where the walk is, and what it is inside of."""

    def __init__(self, limit: int | None, what: str) -> None:
        self.limit = limit
        self.what = what
        self.steps: list[str | int] = []
        self.inside: set[int] = set()
        self.items = 0

    def fault(self, reason: str) -> Unencodable:
        """Make the error for the place where the walk is."""
        return Unencodable(clip(self.what + "".join(map(_spelled, self.steps)), 400), reason)

    def wire(self, value: object) -> Any:
        """Give what stands for `value` in JSON."""
        kind = type(value)
        if kind in _SCALARS:
            return self._scalar(kind, value)
        if kind in _CONTAINERS:
            return self._container(kind, cast("Collection[Any]", value))
        if kind in _TAG_OF:
            return self._other(kind, value)
        return self.wire(self._base(kind, value))

    def _scalar(self, kind: type, value: Any) -> Any:
        if kind is int:
            return self._bounded(value)
        if kind is str and _holds_nul(self._stored(value)):
            return _tagged(str, value)
        if kind is float and not isfinite(value):
            return _tagged(float, value)
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
            return _tagged(kind, value)
        except Unencodable as refusal:
            raise self.fault(refusal.reason) from None

    def _base(self, kind: type, value: object) -> Any:
        for base, exact in _BASES.items():
            if issubclass(kind, base):
                return exact(value)
        raise self.fault(f"an object of type {_name(kind)} cannot be encoded")

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
        raise self.fault(f"a key of type {_name(kind)} cannot be encoded")

    def _shaped(self, kind: type, value: Any, parts: dict[Any, Any]) -> Any:
        if kind is list:
            return list(parts.values())
        if kind is dict:
            odd = _looks_tagged(parts) or _holds_nul("\n".join(parts))
            return _tagged(dict, parts) if odd else parts
        found = _tagged(kind, parts.values())
        # The value of an enum member may be equal to its neighbour, or no member of a set at all.
        if kind is not tuple and not _SCALARS.issuperset(map(type, value)):
            self._refuse_merged(found, len(value))
        return found

    def _refuse_merged(self, found: dict[str, Any], count: int) -> None:
        try:
            kept = len(decode(_dumps(found)))
        except Undecodable:
            raise self.fault("a set of lists, sets or dicts cannot be encoded") from None
        if kept < count:
            raise self.fault("a set with members that become equal cannot be encoded")


def _tagged(kind: type, value: Any) -> dict[str, Any]:
    tag = _TAG_OF[kind]
    return {tag: _TAGS[tag].write(value)}


def _looks_tagged(found: Mapping[str, Any]) -> bool:
    return len(found) == 1 and next(iter(found)).startswith("$")


def _holds_nul(text: str) -> bool:
    """Tell whether JSON would show an escaped NUL; that is so for the six characters themselves, too."""
    return "\0" in text or ("\\" in text and "\\u0000" in text)


def _name(kind: type) -> str:
    # A metaclass may have its own idea of __name__, and fail at it.
    return clip(clean(type.__dict__["__name__"].__get__(kind)), 80)


def _spelled(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    key = clip(clean(step), 60)
    return f".{key}" if key.isidentifier() else f"[{_dumps(key)}]"


# ── text becomes a value ──────────────────────────────────────────────────────────────────────────


def decode(text: str) -> Any:
    """Give the value that `encode` made `text` from; any other JSON within the same limits is read as JSON.

    What it gives can be encoded again. Raises Undecodable, and nothing else, for every other text.
    """
    try:
        value = _reader(text)(text)
        _refuse_deep(text, value)
        _refuse_surrogates(text, value)
    except Undecodable:
        raise
    except json.JSONDecodeError as error:  # holds the text, so it is not chained
        reason = f"{error.msg} at character {error.pos}"
    except RecursionError:
        reason = "it is nested too deeply"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"a part has the wrong form ({type(error).__name__})"
    else:
        return value
    raise Undecodable(reason)


def _reader(text: str) -> Callable[[str], Any]:
    if _may_hold_huge(text):
        return _read_wary
    # A tag's name begins with `$`; JSON of another hand may write that as an escape.
    may_hold_tags = ("$" in text and '"$' in text) or ("\\" in text and "\\u" in text)
    return _read_tagged if may_hold_tags else _read_plain


def _refuse_deep(text: str, value: Any) -> None:
    if len(text) < 2 * MAX_DEPTH or text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    layer = [value]
    for _ in range(MAX_DEPTH + 1):
        if _CONTAINERS.isdisjoint(map(type, layer)):
            return
        layer = list(chain.from_iterable(_members(held) for held in layer if type(held) in _CONTAINERS))
    raise Undecodable(f"it has a depth over {MAX_DEPTH}")


def _refuse_surrogates(text: str, value: Any) -> None:
    if not text.isascii():
        text.encode()
    if "\\" in text and ("\\ud" in text or "\\uD" in text):  # JSON of another hand, with half a pair perhaps
        encode(value)


def _revive(found: dict[str, Any]) -> Any:
    if not _looks_tagged(found):
        return found
    [(tag, body)] = found.items()
    if tag not in _TAGS:
        raise Undecodable(f"the tag {clip(clean(tag), 60)!r} is not known")
    if type(body) is not _TAGS[tag].form:
        raise Undecodable(f"the tag {tag} holds another form than it should")
    return _TAGS[tag].read(body)


def _read_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise Undecodable(f"it has an integer over {MAX_DIGITS:,} digits")
    return int(digits)


def _read_constant(name: str) -> NoReturn:
    raise Undecodable(f"{name} is not JSON")


_read_plain: Final = json.JSONDecoder(parse_constant=_read_constant).decode
_read_tagged: Final = json.JSONDecoder(parse_constant=_read_constant, object_hook=_revive).decode
_read_wary: Final = json.JSONDecoder(parse_constant=_read_constant, object_hook=_revive, parse_int=_read_int).decode


# ── the tables: each type, and its form in JSON ───────────────────────────────────────────────────


class _Tag(NamedTuple):
    kind: type
    form: type  # of what the tag holds
    write: Callable[[Any], Any]  # gets a container with its items written already
    read: Callable[[Any], Any]


def _write_moment(value: datetime | time) -> str:
    kind, text = type(value), value.isoformat() + "f" * value.fold  # isoformat leaves the fold out
    if value.tzinfo is not None and value.tzinfo is not UTC:
        offset = value.utcoffset()
        if offset is None or _read_moment(kind, text).utcoffset() != offset:
            raise Unencodable("", f"a {kind.__name__} in a zone without a fixed offset cannot be encoded")
    return text


def _read_moment(kind: type[datetime] | type[time], text: str) -> datetime | time:
    moment = kind.fromisoformat(text.removesuffix("f"))
    return moment.replace(fold=1) if text.endswith("f") else moment


def _write_span(span: timedelta) -> int:
    return span // _TICK


def _write_bytes(data: bytes) -> str:
    return b64encode(data).decode()


def _write_text(text: str) -> str:
    return text.translate({ord("~"): "~~", ord("\0"): "~0", ord("\\"): "~b"})


def _read_text(text: str) -> str:
    return re.sub("~(.?)", lambda found: {"~": "~", "0": "\0", "b": "\\"}[found[1]], text)


def _write_set(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=_dumps)


def _write_dict(items: Mapping[str, Any]) -> list[Any]:
    keys = [_tagged(str, key) if _holds_nul(key) else key for key in items]
    return list(chain.from_iterable(zip(keys, items.values(), strict=True)))


def _read_dict(items: list[Any]) -> dict[str, Any]:
    keys = items[::2]
    if any(type(key) is not str for key in keys):
        raise Undecodable("a key is not text")
    return dict(zip(keys, items[1::2], strict=True))


_TAGS: Final[Mapping[str, _Tag]] = {
    "$datetime": _Tag(datetime, str, _write_moment, partial(_read_moment, datetime)),
    "$date": _Tag(date, str, date.isoformat, date.fromisoformat),
    "$time": _Tag(time, str, _write_moment, partial(_read_moment, time)),
    "$timedelta": _Tag(timedelta, int, _write_span, _TICK.__mul__),
    "$decimal": _Tag(Decimal, str, str, Decimal),
    "$uuid": _Tag(UUID, str, str, UUID),
    "$bytes": _Tag(bytes, str, _write_bytes, partial(b64decode, validate=True)),
    "$complex": _Tag(complex, str, repr, complex),
    "$float": _Tag(float, str, repr, float),  # one that JSON has no digits for
    "$text": _Tag(str, str, _write_text, _read_text),  # with NUL
    "$tuple": _Tag(tuple, list, list, tuple),
    "$set": _Tag(set, list, _write_set, set),
    "$frozenset": _Tag(frozenset, list, _write_set, frozenset),
    "$dict": _Tag(dict, list, _write_dict, _read_dict),  # with NUL in a key, or itself like a tag
}
_TAG_OF: Final = {tag.kind: name for name, tag in _TAGS.items()}

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


# ── text made storable ────────────────────────────────────────────────────────────────────────────


def size(text: str) -> int:
    """Count the bytes that `text` takes when it is stored."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))


def clean(text: str) -> str:
    """Make any text storable: NUL becomes `\\x00`, a lone surrogate `\\udc80`, to be seen. Never raises."""
    text = str.__str__(text)  # the text of an exception can be of a subclass with a mind of its own
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def clip(text: str, limit_bytes: int) -> str:
    """Cut the middle out of a text over `limit_bytes`, and say there how much is gone.

    Head and tail keep equal shares and whole characters. A limit too small for the note keeps the head only.
    """
    if size(text) <= limit_bytes:
        return text
    stored = text.encode("utf-8", "backslashreplace")
    half = (limit_bytes - len(_note(len(stored)))) // 2
    if half <= 0:
        return stored[: max(limit_bytes, 0)].decode("utf-8", "ignore")
    head, tail = (part.decode("utf-8", "ignore") for part in (stored[:half], stored[-half:]))
    return head + _note(len(stored) - size(head) - size(tail)) + tail


def _note(cut: int) -> str:
    return f" ... [{cut:,} bytes cut] ... "
