"""Limits: how many jobs of a queue may run at once over all nodes, and how many may start in a time."""

import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, Self, cast

from tenuto.errors import InvalidJob, InvalidLimit
from tenuto.job import Duration, seconds

MOST_SLOTS: Final = 100_000
MOST_AT_ONCE: Final = 1_000_000
LONGEST_PERIOD: Final = timedelta(days=31)
SHORTEST_PERIOD: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in each `per` (a timedelta or seconds), by a token bucket: `Rate(60, per=60)`.

    Each start takes a token, and one comes back every `per / count`. The bucket holds `burst` of them, `count` unless
    given: so many may start at once after a rest. With `burst=1` starts are spaced evenly. Raises InvalidLimit.
    """

    count: int
    _: KW_ONLY
    per: Duration
    burst: int = 0  # 0: as many as count

    def __post_init__(self) -> None:
        _check_whole("count", self.count)
        object.__setattr__(self, "burst", self.burst or self.count)
        if type(self.burst) is not int or not 1 <= self.burst <= self.count:
            raise InvalidLimit(f"burst={self.burst!r:.80} is out of range: 1 to count, which is {self.count:,}")
        per = _length(self.per)
        if per is None or not SHORTEST_PERIOD <= per <= LONGEST_PERIOD:
            raise InvalidLimit(
                f"per={self.per!r:.80} is out of range: a millisecond to 31 days, as timedelta or seconds"
            )
        object.__setattr__(self, "per", per)
        if self.count * _FASTEST > self.period:
            raise InvalidLimit(f"{self} is out of range: a hundred thousand a second, at most")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rate that a text says: `60/m`, `10/s`, `100/5m`, `60/m burst 1`. Raises InvalidLimit."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise InvalidLimit(f"{text!r:.80} is no rate; write it like 60/m, 10/s or 100/5m")
        per = timedelta(microseconds=round(float(found["many"] or 1) * _UNITS[found["unit"]]))
        return cls(int(found["count"]), per=per, burst=int(found["burst"] or 0))

    def __str__(self) -> str:
        unit, size = next(((unit, size) for unit, size in _UNITS.items() if self.period % size == 0), ("ms", 1000))
        many = "" if self.period == size else f"{self.period / size:.12g}"
        burst = "" if self.burst == self.count else f" burst {self.burst}"
        return f"{self.count}/{many}{unit}{burst}"

    @property
    def period(self) -> int:
        """`per` in microseconds."""
        return cast("timedelta", self.per) // _MICROSECOND

    # A bucket is kept as one instant: when it will be full again. How far off that is, in microseconds, is its debt.

    @property
    def most_debt(self) -> int:
        """The debt of an empty bucket."""
        return self.burst * self.period // self.count

    def cost(self, starts: int) -> int:
        """The debt that so many starts add, rounded up: a rate is not exceeded by it."""
        return -(-starts * self.period // self.count)

    @property
    def enough(self) -> int:
        """The debt at which there is one token."""
        return (self.burst - 1) * self.period // self.count

    def tokens(self, debt: int) -> int:
        """How many may start now."""
        return (self.burst * self.period - min(debt, self.most_debt) * self.count) // self.period

    def wait(self, debt: int) -> timedelta:
        """How long until one may start; where tokens come fast, until there are a few more."""
        return max(debt - self.enough, min(_TOGETHER, self.most_debt // 2)) * _MICROSECOND


class Limits(NamedTuple):
    """What holds for one queue over all nodes together; None is no limit."""

    limit: int | None = None  # running at once
    rate: Rate | None = None
    partition_limit: int | None = None  # running at once of each partition
    partition_rate: Rate | None = None

    @property
    def is_capped(self) -> bool:
        """Whether it matters how many run at once."""
        return self.limit is not None or self.partition_limit is not None

    def encode(self) -> str:
        """As it is stored."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        return json.dumps({name: _plain(value) for name, value in given.items()})

    @classmethod
    def decode(cls, text: str | None) -> Self:
        """As it was stored."""
        stored: dict[str, Any] = json.loads(text or "{}")
        found: dict[str, Any] = {name: _rate(value) if name in _RATES else value for name, value in stored.items()}
        return cls(**found)

    def __str__(self) -> str:
        told = [
            f"{self.limit} at once" if self.limit is not None else "",
            str(self.rate or ""),
            f"{self.partition_limit} of each partition at once" if self.partition_limit is not None else "",
            f"{self.partition_rate} of each partition" if self.partition_rate else "",
        ]
        return ", ".join(filter(None, told))


@dataclass(frozen=True, slots=True)
class Queue:
    """How a node works on a queue, and what holds for the queue over all nodes: `queues={"mail": Queue(10, limit=3)}`.

    `slots` are this node's alone. `limit` is how many run at once everywhere, `rate` how many start;
    `partition_limit` and `partition_rate` say the same of each partition (`@job(partition=…)`). What is left out is no
    limit. Raises InvalidLimit.
    """

    slots: int = 10
    _: KW_ONLY
    limit: int | None = None
    rate: Rate | None = None
    partition_limit: int | None = None
    partition_rate: Rate | None = None

    def __post_init__(self) -> None:
        if type(self.slots) is not int or not 1 <= self.slots <= MOST_SLOTS:
            raise InvalidLimit(f"slots={self.slots!r:.80} is out of range: 1 to {MOST_SLOTS:,}")
        check_limits(self.limits)

    @property
    def limits(self) -> Limits:
        """What holds over all nodes."""
        return Limits(self.limit, self.rate, self.partition_limit, self.partition_rate)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """From a table of a TOML file, in which a rate is a text or a table of its own. Raises InvalidLimit."""
        unknown = fields.keys() - {"slots", *Limits._fields}
        if unknown:
            raise InvalidLimit(f"a queue has no {min(unknown)!r}; it has slots, {', '.join(Limits._fields)}")
        return cls(**{name: as_rate(value) if name in _RATES else value for name, value in fields.items()})


def as_rate(given: Any) -> Any:
    """A rate from its text, or from a table of its fields; anything else as it is, to be checked."""
    if isinstance(given, str):
        return Rate.parse(given)
    if isinstance(given, Mapping):
        fields = cast("Mapping[str, Any]", given)
        if not {"count", "per"} <= fields.keys() <= {"count", "per", "burst"}:
            raise InvalidLimit("a rate has count and per, and may have burst")
        return Rate(fields["count"], per=fields["per"], burst=fields.get("burst", 0))
    return given


def check_limits(limits: Limits) -> Limits:
    """The same limits, if they can be. Raises InvalidLimit."""
    for name, value in limits._asdict().items():
        if value is None:
            continue
        if name not in _RATES:
            _check_whole(name, value)
        elif not isinstance(value, Rate):
            raise InvalidLimit(f"{name}={value!r:.80} is no rate; give Rate(60, per=60)")
    return limits


def _check_whole(what: str, number: Any) -> None:
    if type(number) is not int or not 1 <= number <= MOST_AT_ONCE:
        instead = "; to run nothing, pause the queue" if number == 0 else ""
        raise InvalidLimit(f"{what}={number!r:.80} is out of range: a whole number, 1 to {MOST_AT_ONCE:,}{instead}")


def _length(per: Any) -> timedelta | None:
    try:
        return seconds("per", per)
    except InvalidJob:
        return None


def _plain(value: int | Rate) -> Any:
    return [value.count, value.period, value.burst] if isinstance(value, Rate) else value


def _rate(stored: Any) -> Rate:
    count, period, burst = stored
    return Rate(count, per=period * _MICROSECOND, burst=burst)


_MICROSECOND: Final = timedelta(microseconds=1)
_TOGETHER: Final = 50_000  # microseconds: so rarely is a queue asked whose tokens come faster
_FASTEST: Final = 10  # microseconds between two tokens
_RATES: Final = ("rate", "partition_rate")
_UNITS: Final[Mapping[str, int]] = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
}
_TEXT: Final = re.compile(
    r"(?P<count>\d{1,9})\s*/\s*(?P<many>\d{1,9}(?:\.\d{1,9})?)?\s*(?P<unit>ms|[smhd])(?:\s+burst\s+(?P<burst>\d{1,9}))?"
)
