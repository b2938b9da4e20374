"""Costs: records of usage, summed up by what is asked for and priced; what has no price is unknown, and never zero."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from tenuto.errors import InvalidRequest
from tenuto.llm.pricing import EXACT, Price, price_at

PERIODS: Final = ("hour", "day", "month")  # of UTC
BY: Final = ("workflow", "name", "step", "worker", "model", *PERIODS)


class Which(NamedTuple):
    """What is summed up: all of it, where nothing is said; `until` is not in it."""

    workflow: str | None = None
    step: str | None = None
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Used(NamedTuple):
    """What was used of one model by one group, while no price changed."""

    workflow_id: str | None
    workflow_name: str | None
    step: str | None
    worker: str | None
    model: str
    period: str | None
    turn: int  # how many changes of price came before
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    latency: int | None  # µs, of the requests that were measured


@dataclass(frozen=True, slots=True)
class Cost:
    """What some requests used, and what that costs. What it was not asked by is None, and so is what has none.

    `cost` is None where a model of them has no price, or had none then: `unpriced` names these. `known` is what the
    others cost.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: Decimal | None
    known: Decimal
    unpriced: tuple[str, ...] = ()
    latency: timedelta | None = None  # of all that were measured, added up
    workflow: str | None = None
    name: str | None = None  # of the workflow
    step: str | None = None
    worker: str | None = None
    model: str | None = None
    period: str | None = None  # 2026-03, 2026-03-01, 2026-03-01T14


@dataclass(frozen=True, slots=True)
class Costs:
    """A row for each group, in order of what they were asked by, and all of them as one."""

    by: tuple[str, ...]
    rows: tuple[Cost, ...]
    total: Cost


def checked_by(by: str | Sequence[str]) -> tuple[str, ...]:
    """What costs are summed up by. Raises InvalidRequest."""
    asked = (by,) if isinstance(by, str) else tuple(by)
    for one in asked:
        if one not in BY:
            raise InvalidRequest(f"by={one!r:.80} is nothing to sum up by; there are {', '.join(BY)}")
    if len([one for one in asked if one in PERIODS]) > 1:
        raise InvalidRequest(f"costs are summed up by one of {', '.join(PERIODS)}")
    return tuple(dict.fromkeys(asked))


def costs_of(
    used: Iterable[Used], by: tuple[str, ...], pricing: Mapping[str, Sequence[Price]], turns: Sequence[datetime]
) -> Costs:
    """What was used, priced."""
    groups: dict[tuple[Any, ...], list[Used]] = {}
    all_of_them: list[Used] = []
    for one in used:
        groups.setdefault(tuple(_part(one, each) for each in by), []).append(one)
        all_of_them.append(one)
    names = ["period" if each in PERIODS else each for each in by]
    ordered = sorted(groups, key=_place)
    rows = [_cost(groups[key], pricing, turns, dict(zip(names, key, strict=True))) for key in ordered]
    return Costs(by, tuple(rows), _cost(all_of_them, pricing, turns, {}))


def _part(used: Used, by: str) -> str | None:
    columns = {"workflow": used.workflow_id, "name": used.workflow_name, "step": used.step, "worker": used.worker}
    return used.model if by == "model" else used.period if by in PERIODS else columns[by]


def _place(key: tuple[str | None, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is None, part or "") for part in key)


def _cost(
    used: Sequence[Used], pricing: Mapping[str, Sequence[Price]], turns: Sequence[datetime], of: Mapping[str, Any]
) -> Cost:
    known, unpriced = Decimal(0), set[str]()
    for one in used:
        price = price_at(pricing.get(one.model, ()), turns[one.turn - 1] if one.turn else None)
        if price is None:
            unpriced.add(one.model)
        else:
            known = EXACT.add(known, price.cost(one.input_tokens, one.output_tokens, one.cached_tokens))
    measured = [one.latency for one in used if one.latency is not None]
    return Cost(
        sum(one.requests for one in used),
        sum(one.input_tokens for one in used),
        sum(one.output_tokens for one in used),
        sum(one.cached_tokens for one in used),
        None if unpriced else known,
        known,
        tuple(sorted(unpriced)),
        timedelta(microseconds=sum(measured)) if measured else None,
        **of,
    )
