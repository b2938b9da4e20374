"""Values <-> text for args, results and errors; every limit on bad input.

The text is JSON. A value that JSON lacks is an object with one member whose name begins with `$`:

    {"$uuid":"0192…"}   {"$tuple":[1,2]}   {"$datetime":"2026-01-01T09:00:00+00:00"}   {"$float":"nan"}

`TAGS` lists them all. Nothing else is ever built from a text: no pickle, no import.
"""

import json
import re
from collections.abc import Callable, Collection
from itertools import chain
from typing import Any, Final, NoReturn

from tenuto.errors import CodecError, TooLarge, Undecodable
from tenuto.tagged import TAGS, dumps, holds_nul, looks_tagged
from tenuto.text import clean, clip, size
from tenuto.walk import CONTAINERS, MAX_DEPTH, MAX_DIGITS, SCALARS, Walk, name_of

_STR: Final = frozenset({str})
_DICT: Final = frozenset({dict})
_LIST: Final = frozenset({list})
_MANY_DIGITS: Final = re.compile(f"[0-9]{{{MAX_DIGITS // 100}}}")

# µs to encode / decode, and of json.dumps / json.loads for the same value (CPython 3.11, one shared core):
# None 1.0 / 0.8 (1.6 / 0.8) · a flat dict of five 3.2 / 1.5 (2.7 / 1.5) · a list of 20 dicts of four 28 / 12
# (19 / 11) · a dict of a UUID, a datetime and an int 10 / 4.


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
        if type(value) not in SCALARS and not _is_plain(value, limit):
            return None
        text = dumps(value)
        if not text.isascii():
            text.encode()  # refuses a lone surrogate
    except Exception:  # noqa: BLE001 - the walk will meet it again, and say where
        return None
    return None if _may_look_tagged(text) or holds_nul(text) or _may_hold_huge(text) else text


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
            if not SCALARS.issuperset(map(type, items)):
                inner += [item for item in items if type(item) not in SCALARS]
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
    walk = Walk(limit, what, decode)
    try:
        return dumps(walk.wire(value))
    except CodecError:
        raise
    except Exception as error:  # noqa: BLE001 - the code of a metaclass or a tzinfo; or no stack is left
        fault = walk.fault(f"{name_of(type(error))} was raised while it was being encoded")
    raise fault


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
        if CONTAINERS.isdisjoint(map(type, layer)):
            return
        layer = list(chain.from_iterable(_members(held) for held in layer if type(held) in CONTAINERS))
    raise Undecodable(f"it has a depth over {MAX_DEPTH}")


def _refuse_surrogates(text: str, value: Any) -> None:
    if not text.isascii():
        text.encode()
    if "\\" in text and ("\\ud" in text or "\\uD" in text):  # JSON of another hand, with half a pair perhaps
        encode(value)


def _revive(found: dict[str, Any]) -> Any:
    if not looks_tagged(found):
        return found
    [(tag, body)] = found.items()
    if tag not in TAGS:
        raise Undecodable(f"the tag {clip(clean(tag), 60)!r} is not known")
    if type(body) is not TAGS[tag].form:
        raise Undecodable(f"the tag {tag} holds another form than it should")
    return TAGS[tag].read(body)


def _read_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise Undecodable(f"it has an integer over {MAX_DIGITS:,} digits")
    return int(digits)


def _read_constant(name: str) -> NoReturn:
    raise Undecodable(f"{name} is not JSON")


def _read_by(decoder: json.JSONDecoder) -> Callable[[str], Any]:
    """How it reads a whole text. One without blanks around it, as ours are, takes half the time."""

    def read(text: str) -> Any:
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            return decoder.decode(text)
        return value if end == len(text) else decoder.decode(text)

    return read


_read_plain: Final = _read_by(json.JSONDecoder(parse_constant=_read_constant))
_read_tagged: Final = _read_by(json.JSONDecoder(parse_constant=_read_constant, object_hook=_revive))
_read_wary: Final = _read_by(json.JSONDecoder(parse_constant=_read_constant, object_hook=_revive, parse_int=_read_int))
