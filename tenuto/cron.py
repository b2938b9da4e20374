"""Cron: one expression in one timezone: parsed, bounded, and when it is due, minute by minute of UTC."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tenuto.errors import InvalidCron

MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_LONGEST: Final = 255  # characters of an expression or a name
_SHORT: Final = 80  # of them in a message

WORDS: Final[Mapping[str, str]] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""The words that stand for five fields."""

_FIELDS: Final[Mapping[str, tuple[str, int, int]]] = {  # by the name that cronsim gives them
    "minute": ("minute", 0, 59),
    "hour": ("hour", 0, 23),
    "day-of-month": ("day", 1, 31),
    "month": ("month", 1, 12),
    "day-of-week": ("weekday", 0, 7),
}


@dataclass(frozen=True)
class Cron:
    """When something is due: five fields (minute, hour, day, month, weekday), or a word like @daily, read on the
    clocks of one timezone. Raises InvalidCron.

    Due is a whole minute of UTC. A local time that is skipped, where clocks are put forward, is due in the first
    minute that exists after it, once; unless every hour is named, since then the next one is as good. A local time
    that comes twice, where they are put back, is due the first time only; with a `*` at the head of the minute or the
    hour, both times. Where day and weekday are both given (none begins with `*`), one of the two is enough, as POSIX
    has it.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", _one_line(self.expression))
        if self.after(_SOME_DAY) is None:
            raise _refusal(self.expression, "such a day never comes")

    def after(self, instant: datetime) -> datetime | None:
        """The first minute after `instant` in which it is due; None where there is none within fifty years."""
        at = instant.astimezone(UTC).replace(second=0, microsecond=0)
        offset = self._offset(at)
        read = at.replace(tzinfo=None) + offset  # what a clock on the wall shows
        while (local := self._match(read)) is not None:
            found = (local - offset).replace(tzinfo=UTC)
            turned = self._turned(at, found, offset)
            if turned is None:
                if not (self._is_fixed and self._came_before(local, found)):
                    return found
                at, read = found, local
                continue
            shown = turned.replace(tzinfo=None) + (new := self._offset(turned))
            if local < shown and not self._is_hourly:  # the clocks were put forward over it
                return turned
            at, offset, read = turned, new, shown - MINUTE
        return None

    def between(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """The minutes in which it is due after `after` and not after `until`, the first `most` of them."""
        return list(islice(self._between(after, until), most))

    def explain(self) -> str:
        """What it says, in English: `At 02:30 every day`."""
        return CronSim(self._fields, _SOME_DAY).explain()

    def _between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        while (due := self.after(after)) is not None and due <= until:
            yield due
            after = due

    # ── the expression ──

    @cached_property
    def _fields(self) -> str:
        """The five fields, as cronsim takes them. Raises InvalidCron."""
        word = self.expression.lower()
        if word == "@reboot":
            raise _refusal(self.expression, "many nodes start at many times; enqueue the job where your program starts")
        if word.startswith("@") and word not in WORDS:
            raise _refusal(self.expression, f"the words are {', '.join(WORDS)}")
        fields = WORDS.get(word, self.expression.upper()).split()
        if len(fields) != len(_FIELDS):
            more = "; there are no seconds" if len(fields) == len(_FIELDS) + 1 else ""
            raise _refusal(self.expression, f"it has {len(fields)} fields, not minute hour day month weekday{more}")
        kinds = _FIELDS.values()
        fields = [",".join(self._terms(field, *kind)) for field, kind in zip(fields, kinds, strict=True)]
        fields[4] = fields[4].replace("-SUN", "-7")  # SAT-SUN: the last day of a week
        return " ".join(fields)

    def _terms(self, field: str, name: str, least: int, most: int) -> Iterator[str]:
        """The field's terms, bounded before anything is made of them. Raises InvalidCron."""
        for term in field.split(","):
            whole, slash, step = term.partition("/")
            if slash and not (step.isascii() and step.isdecimal() and len(step) < 3 and 1 <= int(step) <= most - least):
                raise _refusal(self.expression, f"{name} has the step {step!r}; 1 to {most - least} can be")
            first, _, end = whole.partition("-")
            yield first if first and first == end else term  # cronsim takes 5-5/2 for 5/2

    @cached_property
    def _parsed(self) -> CronSim:
        try:
            return CronSim(self._fields, _SOME_DAY)
        except CronSimError as error:
            fault = str(error).removeprefix("Bad ")
        if fault not in _FIELDS:
            raise _refusal(self.expression, "it is not five fields")
        name, least, most = _FIELDS[fault]
        never = ", or never comes" if name == "day" else ""
        raise _refusal(self.expression, f"its {name} cannot be{never}; there are {least} to {most}, names, * - , and /")

    @cached_property
    def _is_hourly(self) -> bool:
        """Whether it names every hour: then it goes by the time that passes, and not by what clocks show."""
        return len(self._parsed.hours) == 24

    @cached_property
    def _is_fixed(self) -> bool:
        """Whether it names its hours and its minutes, as what should happen once a day does."""
        minute, hour = self._fields.split()[:2]
        return not (minute.startswith("*") or hour.startswith("*") or self._is_hourly)

    def _match(self, read: datetime) -> datetime | None:
        """The first local time after `read` that fits, on clocks that are never turned."""
        _ = self._parsed  # refused in our words, the first time
        return next(CronSim(self._fields, read), None)

    # ── the timezone ──

    @cached_property
    def _zone(self) -> tzinfo:
        """Raises InvalidCron."""
        if self.timezone == "UTC":
            return UTC
        try:
            return ZoneInfo(self.timezone[:_LONGEST])
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            told = "give one like Europe/Berlin; where the system knows none, pip install tzdata"
            raise InvalidCron(f"timezone={str(self.timezone)[:_SHORT]!r} is not known here; {told}") from None

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self._zone).utcoffset() or timedelta(0)

    def _came_before(self, local: datetime, found: datetime) -> bool:
        """Whether clocks showed `local` earlier than at `found`, and were put back since."""
        return local.replace(tzinfo=self._zone, fold=0).astimezone(UTC) < found

    def _turned(self, at: datetime, until: datetime, offset: timedelta) -> datetime | None:
        """The first minute after `at` and not after `until` in which clocks show another offset; None without one."""
        if self._zone is UTC:
            return None
        while at < until:
            late = min(at + _DAY, until)
            if self._offset(late) != offset:
                while late - at > MINUTE:
                    middle = at + (late - at) // MINUTE // 2 * MINUTE
                    at, late = (middle, late) if self._offset(middle) == offset else (at, middle)
                return late
            at = late
        return None


def _one_line(expression: str) -> str:
    if not isinstance(expression, str):
        raise InvalidCron(f"cron={expression!r:.80} is no text; give one like '30 2 * * *'")
    if len(expression) > _LONGEST:
        raise _refusal(expression, f"it has {len(expression)} characters; {_LONGEST} are allowed")
    return " ".join(expression.split())


def _refusal(expression: str, why: str) -> InvalidCron:
    shown = expression if len(expression) <= _SHORT else expression[:_SHORT] + "…"
    return InvalidCron(f"{shown!r} is no cron expression: {why}")


_SOME_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
