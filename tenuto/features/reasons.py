"""Reasons: where a part of args does not fit and why, without any of its value."""

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic_core import ErrorDetails

UNKNOWN: Final = "unknown; the worker takes no such arg"
_EMPTY: Final = "required, and an empty text counts as none; give the field a default to allow it"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": UNKNOWN,
    "unexpected_keyword_argument": UNKNOWN,
}
_VALIDATORS: Final = frozenset({"value_error", "assertion_error"})


def path_of(steps: Iterable[int | str]) -> str:
    """Where a part is, as people write it: `lines[0].sku`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def reason_of(fault: ErrorDetails) -> str:
    """Why a part does not fit, without any of its value: reasons are stored and logged."""
    kind, message, details = fault["type"], fault["msg"], fault.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "string_too_short" and fault["input"] == "":
        return _EMPTY
    if kind == "union_tag_invalid":
        return f"its {details['discriminator']} is none of {details['expected_tags']}"
    if kind not in _VALIDATORS and "error" in details:
        return message.partition(",")[0]  # after the comma a parser quotes what it met
    given = fault["input"]
    is_told = isinstance(given, str) and len(given) > 3 and given in message
    return "refused by its validator" if is_told else message
