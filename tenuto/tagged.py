"""Values that JSON lacks, as it holds them: an object with one member whose name begins with `$`."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

from tenuto.errors import Undecodable, Unencodable
from tenuto.reference import Reference, Waiting

_TICK: Final = timedelta(microseconds=1)

dumps: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """What was encrypted before it was stored: the key and the worker that can open it, and the ciphertext.

    `mark` is a keyed digest of what is inside and of where it belongs: it tells without a key whether two of them
    hold the same. Empty where nobody compares.
    """

    key_id: str
    worker: str
    data: str  # Base64
    mark: str = ""

    def __repr__(self) -> str:
        return f"<sealed with key {self.key_id!r}>"


def holds_same(text: str, other: str) -> bool:
    """Whether two stored texts of one place hold the same: equal, or sealed with one mark."""
    return text == other or (text.startswith(SEALED) and _mark_of(text) == _mark_of(other) is not None)


def _mark_of(text: str) -> str | None:
    if not text.startswith(SEALED):
        return None
    try:
        return json.loads(text)["$sealed"][3] or None
    except (ValueError, LookupError, TypeError):  # somebody wrote there by hand
        return None


SEALED: Final = '{"$sealed":'
"""What the stored text of something sealed begins with."""

_WORD: Final = r'"([^"\\\0-\x1f]*)"'
_DATA: Final = r'"([A-Za-z0-9+/=]*)"'
_BARE: Final = re.compile(rf'\{{"\$sealed":\[{_WORD},{_WORD},{_DATA},{_DATA}\]\}}')


def read_sealed(text: str) -> Sealed | None:
    """What `decode` makes of the text of something sealed, five times as fast; None for any other text."""
    found = _BARE.fullmatch(text) if text.startswith(SEALED) else None
    return None if found is None else Sealed(*found.groups())


class Tag(NamedTuple):
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
    return sorted(items, key=dumps)


def _write_dict(items: Mapping[str, Any]) -> list[Any]:
    keys = [tagged(str, key) if holds_nul(key) else key for key in items]
    return list(chain.from_iterable(zip(keys, items.values(), strict=True)))


def _read_dict(items: list[Any]) -> dict[str, Any]:
    keys = items[::2]
    if any(type(key) is not str for key in keys):
        raise Undecodable("a key is not text")
    return dict(zip(keys, items[1::2], strict=True))


def _write_sealed(sealed: Sealed) -> list[str]:
    return [sealed.key_id, sealed.worker, sealed.data, sealed.mark]


def _read_sealed(parts: list[Any]) -> Sealed:
    if [type(part) for part in parts] != [str] * 4:
        raise Undecodable("what was sealed is not four texts")
    return Sealed(*parts)


def _write_reference(reference: Reference) -> list[str | int]:
    return [reference.step, *reference.path]


def _read_reference(parts: list[Any]) -> Reference:
    if [type(part) for part in parts[:1]] != [str] or any(type(part) not in (str, int) for part in parts):
        raise Undecodable("a reference is not a step with keys")
    return Reference(parts[0], tuple(parts[1:]))


TAGS: Final[Mapping[str, Tag]] = {
    "$datetime": Tag(datetime, str, _write_moment, partial(_read_moment, datetime)),
    "$date": Tag(date, str, date.isoformat, date.fromisoformat),
    "$time": Tag(time, str, _write_moment, partial(_read_moment, time)),
    "$timedelta": Tag(timedelta, int, _write_span, _TICK.__mul__),
    "$decimal": Tag(Decimal, str, str, Decimal),
    "$uuid": Tag(UUID, str, str, UUID),
    "$bytes": Tag(bytes, str, _write_bytes, partial(b64decode, validate=True)),
    "$complex": Tag(complex, str, repr, complex),
    "$float": Tag(float, str, repr, float),  # one that JSON has no digits for
    "$text": Tag(str, str, _write_text, _read_text),  # with NUL
    "$tuple": Tag(tuple, list, list, tuple),
    "$set": Tag(set, list, _write_set, set),
    "$frozenset": Tag(frozenset, list, _write_set, frozenset),
    "$dict": Tag(dict, list, _write_dict, _read_dict),  # with NUL in a key, or itself like a tag
    "$sealed": Tag(Sealed, list, _write_sealed, _read_sealed),
    "$waiting": Tag(Waiting, dict, dict, Waiting),  # args with references, and nothing else
    "$ref": Tag(Reference, list, _write_reference, _read_reference),
}
TAG_OF: Final = {tag.kind: name for name, tag in TAGS.items()}


def tagged(kind: type, value: Any) -> dict[str, Any]:
    tag = TAG_OF[kind]
    return {tag: TAGS[tag].write(value)}


def looks_tagged(found: Mapping[str, Any]) -> bool:
    return len(found) == 1 and next(iter(found)).startswith("$")


def holds_nul(text: str) -> bool:
    """Tell whether JSON would show an escaped NUL; that is so for the six characters themselves, too."""
    return "\0" in text or ("\\" in text and "\\u0000" in text)
