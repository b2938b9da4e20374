"""What commands print: tables and words for people, one JSON document for programs."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from tenuto import codec
from tenuto.errors import CodecError
from tenuto.tagged import Sealed

GLYPHS: Final[Mapping[str, tuple[str, str]]] = {
    "completed": ("✓", "green"),
    "executing": ("▶", "cyan"),
    "available": ("○", "default"),
    "scheduled": ("◷", "blue"),
    "retryable": ("↻", "yellow"),
    "suspended": ("·", "bright_black"),
    "cancelled": ("⊘", "magenta"),
    "discarded": ("✗", "red"),
    "deleted": ("✗", "red"),
    "running": ("▶", "cyan"),
    "failed": ("✗", "red"),
}
"""The mark and the colour of each state."""

FAINT: Final = "bright_black"
_PLAIN_WIDTH: Final = 100_000  # nothing is wrapped or cut for a pipe


# ── where it goes ─────────────────────────────────────────────────────────────────────────────────


def console() -> Console:
    """The terminal; or, where stdout is none, plain text as wide as it needs to be."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def say(*parts: Any) -> None:
    """Print texts, tables and trees, one below the other."""
    where = console()
    if where.is_terminal:
        where.print(*parts, sep="\n")
        return
    with where.capture() as captured:
        where.print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def note(message: str) -> None:
    """Tell a person something that is no part of the answer."""
    print(f"tenuto: {clean(message)}", file=sys.stderr)


def document(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


# ── values ────────────────────────────────────────────────────────────────────────────────────────


def plain(value: Any) -> Any:
    """The value as JSON has it: instants in ISO 8601, durations in seconds, dataclasses by their fields."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Sealed):
        return {"sealed": value.key_id}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    held: Any = value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in held.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in held]
    return value


def stored(value: Any) -> Any:
    """Args, meta or a result as JSON: what JSON lacks is tagged, as it is in the database, and what is sealed named."""
    if isinstance(value, Sealed):
        return plain(value)
    if isinstance(value, CodecError):
        return {"unreadable": str(value)}
    return json.loads(codec.encode(value))


def preview(value: Any, most: int = 200) -> str:
    """Args or a result in one line of at most `most` characters."""
    text = json.dumps(stored(value), ensure_ascii=False)
    return clean(text if len(text) <= most else text[: most - 1] + "…")


def clean(text: str, *, keep: str = "") -> str:
    """The text without what a terminal would obey: control characters other than `keep` are written out."""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


# ── time ──────────────────────────────────────────────────────────────────────────────────────────


def since(instant: datetime) -> float:
    """Seconds from an instant until now; none for one that is still to come."""
    return max(0.0, (datetime.now(UTC) - instant).total_seconds())


def ago(instant: datetime | None) -> str:
    """How long ago an instant was, or how soon it will be."""
    if instant is None:
        return ""
    distance = (datetime.now(UTC) - instant).total_seconds()
    return f"in {_roughly(-distance)}" if distance < -1 else f"{_roughly(distance)} ago"


def _roughly(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def took(seconds: float | None) -> str:
    """A length of time with as much precision as it deserves."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m {rest:02}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02}m"


def instant(at: datetime | None) -> str:
    """An instant in full, with its distance."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({ago(at)})"


# ── words and tables ──────────────────────────────────────────────────────────────────────────────


def style_of(state: str) -> str:
    """The colour of a state."""
    return GLYPHS.get(state, ("", "default"))[1]


def marked(state: str) -> Text:
    """A state with its mark."""
    glyph, style = GLYPHS.get(state, ("?", "default"))
    return Text(f"{glyph} {state}", style)


def coloured(state: str) -> Text:
    """A state without its mark."""
    return Text(state, style_of(state))


def counted(counts: Mapping[str, int]) -> str:
    """States and how many there are of each, without the empty ones: `12 completed, 1 executing`."""
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)


def table(*columns: str) -> Table:
    """An empty table without lines. A column that begins with `>` is flush right; one that begins with `~` gives
    way where the terminal is narrow: its cells are made by `cut`.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=FAINT)
    for column in columns:
        name = column.lstrip(">~")
        justify: JustifyMethod = "right" if column[0] == ">" else "left"
        made.add_column(name.upper(), justify=justify, no_wrap=column[0] != "~", overflow="ellipsis")
    return made


def cut(text: str | Text, style: str = "") -> Text:
    """A cell that is cut where its column gives way."""
    cell = text if isinstance(text, Text) else Text(clean(text), style)
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def pairs(facts: Mapping[str, Any]) -> Table:
    """Facts by name, one a line; those without a value are left out."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style=FAINT, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, ""):
            made.add_row(name, value if isinstance(value, Text) else Text(clean(str(value), keep="\n")))
    return made
