"""Pricing: what tokens of a model cost, in exact decimals; where nothing is known of a price, nothing is guessed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, TypeAlias, cast

from tenuto.errors import InvalidPrice

Amount: TypeAlias = Decimal | str | int
"""Money, exactly: no float, which is not what was written."""

EXACT: Final = Context(prec=60, traps=[Inexact])  # it refuses to round
_MOST: Final = Decimal(1_000_000_000)
_PLACES: Final = 12


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost: input, output, and input that came from its cache.

    In whatever currency all prices are in. Without a price of their own, `cached` tokens cost what input does: never
    less than is asked. It holds from `since` on (a date is its midnight in UTC); None: always. Raises InvalidPrice for
    a float, which is not exact, and for what is no amount.
    """

    input: Amount
    output: Amount
    cached: Amount | None = None
    since: datetime | date | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _amount(name, given))
        object.__setattr__(self, "since", _instant(self.since))

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Decimal:
        """What so many tokens cost, to the last digit."""
        counted = (
            (input_tokens, self.input),
            (output_tokens, self.output),
            (cached_tokens, self.input if self.cached is None else self.cached),
        )
        total = Decimal(0)
        for tokens, price in counted:
            total = EXACT.add(total, EXACT.multiply(Decimal(tokens), cast("Decimal", price)))
        return EXACT.scaleb(total, -6)


Pricing: TypeAlias = Mapping[str, Price | Sequence[Price]]
"""Prices by the names of models, one each, or several of which each holds `since` some day."""


def pricing_of(given: Any) -> dict[str, tuple[Price, ...]]:
    """Prices by models, oldest first; from code, from a table of a TOML file, or JSON. Raises ValueError."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise InvalidPrice("this is no JSON object of prices by model") from None
    if not isinstance(given, Mapping):
        raise InvalidPrice("prices are a mapping, by the names of models")
    prices = cast("Any", given)
    return {str(model): _prices(str(model), said) for model, said in prices.items()}


def _prices(model: str, said: Any) -> tuple[Price, ...]:
    several = cast("Sequence[Any]", said) if isinstance(said, list | tuple) else [said]
    try:
        prices = sorted((_price(one) for one in several), key=_begins)
    except InvalidPrice as fault:
        raise InvalidPrice(f"{model}: {fault}") from None
    if not prices or len({price.since for price in prices}) < len(prices):
        raise InvalidPrice(f"{model}: give one price, or several that hold since different days")
    return tuple(prices)


def _price(said: Any) -> Price:
    if isinstance(said, Price):
        return said
    if not isinstance(said, Mapping):
        raise InvalidPrice(f"a {type(said).__name__} is no price; give a Price(input, output, cached)")
    fields = cast("Mapping[str, Any]", said)
    if unknown := fields.keys() - {"input", "output", "cached", "since"}:
        raise InvalidPrice(f"there is no {min(map(str, unknown))!r:.80}; there are input, output, cached, since")
    if not {"input", "output"} <= fields.keys():
        raise InvalidPrice("input and output are to be said")
    return Price(**fields)


def _amount(name: str, given: Any) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, Decimal | str | int):
        raise InvalidPrice(f'{name}={given!r:.80} is not exact; give a Decimal, or its text: "0.30"')
    try:
        amount = Decimal(given)
    except InvalidOperation:
        raise InvalidPrice(f"{name}={given!r:.80} is no number") from None
    places = amount.as_tuple().exponent
    if not isinstance(places, int) or not 0 <= amount <= _MOST or places < -_PLACES:
        raise InvalidPrice(f"{name}={given!r:.80} is out of range: 0 to {_MOST:,}, with {_PLACES} decimals at most")
    return amount


def _instant(since: Any) -> datetime | None:
    if isinstance(since, str):
        try:
            since = datetime.fromisoformat(since)
        except ValueError:
            raise InvalidPrice(f"since={since!r:.80} is no instant") from None
    if since is None or (isinstance(since, datetime) and since.utcoffset() is not None):
        return since
    if isinstance(since, date) and not isinstance(since, datetime):
        return datetime.combine(since, time(), UTC)
    raise InvalidPrice(f"since={since!s:.80} has no timezone; give a date, or an aware datetime")


def _begins(price: Price) -> datetime:
    return cast("datetime | None", price.since) or _ALWAYS


_ALWAYS: Final = datetime(1, 1, 1, tzinfo=UTC)


# ── when prices change ────────────────────────────────────────────────────────────────────────────


def turns_of(pricing: Mapping[str, Sequence[Price]]) -> list[datetime]:
    """The instants at which any price changes, in order."""
    return sorted({cast("datetime", price.since) for prices in pricing.values() for price in prices if price.since})


def price_at(prices: Sequence[Price], turn: datetime | None) -> Price | None:
    """The price that holds from one turn to the next, or before the first; None where none does yet."""
    held = [price for price in prices if _begins(price) <= (turn or _ALWAYS)]
    return held[-1] if held else None
