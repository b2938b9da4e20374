"""Queues with limits, as verbs: set their limits, and claim what these allow, from one partition after the other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from tenuto.job import Signal
from tenuto.limits import Limits, Rate, check_limits
from tenuto.storage import store
from tenuto.storage.database import Row, Verb, call, last
from tenuto.storage.store import URGENCY, AnyJob, to_job

PATIENCE: Final = "2s"
LOOKED_FURTHER: Final = 50  # partitions looked at beyond those that have room at best
LAPS: Final = 5  # times that so many are looked at in one claim, where none of them may start anything
PRUNED_AT_ONCE: Final = 10_000
AT_ONCE: Final = timedelta(0)

NONE: Final = ""  # the partition of jobs that belong to none


class Taken(NamedTuple):
    """What a claim from a queue with limits came to."""

    jobs: list[AnyJob]
    wait: timedelta | None = None  # until a token is there for more; None where nothing is known of more


class Partition(NamedTuple):
    """One partition that may start some jobs, as the statement answers it."""

    key: str
    nth: int
    free: int
    room: int  # of the whole queue
    has_keys: bool  # whether jobs of any partition are due in the queue
    at: datetime  # when that was so


class _Held(NamedTuple):
    """The limits of a queue, held until the transaction ends."""

    queue: str
    limits: Limits
    debt: int
    turn: str
    is_overdue: bool  # whether it is time to look at what may hide: jobs of no partition behind others, wrong buckets

    @property
    def is_overdrawn(self) -> bool:
        """Whether its bucket owes more than an empty one does: the clock was set back, or the rate changed."""
        return self.limits.rate is not None and self.debt > self.limits.rate.most_debt

    def room(self, demand: int) -> int:
        rate = self.limits.rate
        return demand if rate is None else min(demand, rate.tokens(self.debt))


# ── claim ─────────────────────────────────────────────────────────────────────────────────────────


def claim(queue: str, demand: int, producer: str, node: str) -> Verb[Taken]:
    """Hand up to `demand` due jobs of `queue` to `producer`, as many as the limits of the queue allow.

    Partitions are served in turn, the most urgent job of each first; the turn goes on where the last claim, by
    whichever node, ended. Claims from one queue follow each other, so that each counts what the one before took.
    """
    held = yield from _hold(queue)
    if held is None:
        return Taken((yield from store.claim(queue, demand, producer, node)))
    if held.limits.partition_rate and held.is_overdue:
        yield from _cap_rates(queue, held.limits.partition_rate)
    room, rows = held.room(demand), list[Row]()
    wait: timedelta | None = AT_ONCE
    for _ in range(LAPS):
        found = yield from _free(held, room - len(rows))
        share = _share(found)
        taken = yield from _take(held, found, share, producer, node)
        turn = _last_served(taken, found, held.turn)
        looked = held.is_overdue and _is_turn_of_none(found) and found[0].has_keys
        yield from _spend(held, turn, taken, began=found[0].at if looked else None)
        held = held._replace(turn=turn, is_overdue=held.is_overdue and not looked)
        rows += taken
        if not found or len(taken) >= found[0].room or not (_is_more(taken, share) or _is_cut(found)):
            wait = yield from _wait(held, demand, len(rows))
            break
    return Taken(sorted((to_job(row[:-1], Signal()) for row in rows), key=URGENCY), wait)


def claim_suspect(queue: str, producer: str, node: str) -> Verb[list[AnyJob]]:
    """Like `store.claim_suspect`, if the limits of the queue allow one more job."""
    held = yield from _hold(queue)
    if held is None:
        return (yield from store.claim_suspect(queue, producer, node))
    keys = [row[0] for row in (yield call("suspect_partitions", queue=queue))]
    found = (yield from _free(held, held.room(1), keys)) if keys else []
    for partition in found:
        jobs = yield from store.claim_suspect(queue, producer, node, keys=[partition.key])
        if jobs:
            yield from _spend(held, held.turn, [(partition.key,)])
            return jobs
    return []


def _hold(queue: str) -> Verb[_Held | None]:
    """The limits of a queue, which nobody else claims from until the transaction ends; None where it has none."""
    for text, *rest in (yield call("lock_limits", queue=queue, patience=PATIENCE)):
        limits = Limits.decode(text)
        if any(limits):
            return _Held(queue, limits, *rest)
    return None


def _free(held: _Held, room: int, keys: Sequence[str] | None = None) -> Verb[list[Partition]]:
    """The partitions that may start something, in turn; the last of them may be one that cannot."""
    if room <= 0:
        return []
    limits, each = held.limits, held.limits.partition_rate
    rows = yield call(
        "free_partitions",
        queue=held.queue,
        turn=held.turn,
        visits=room + LOOKED_FURTHER,
        keys=keys if keys is None else list(keys),
        room=room,
        most=limits.limit,
        each_most=limits.partition_limit,
        each_count=each and each.count,
        each_per=each and each.period,
        each_burst=each and each.burst,
    )
    return [Partition(*row) for row in rows]


def _share(found: Sequence[Partition]) -> int:
    """How many jobs each partition gives in one go; that of no key may turn out to be empty, and is not counted."""
    keys = sum(one.free > 0 and one.key != NONE for one in found)
    return -(-found[0].room // max(1, keys)) if found else 0


def _take(held: _Held, found: Sequence[Partition], share: int, producer: str, node: str) -> Verb[list[Row]]:
    """Claim from partitions, from each its share of the room."""
    asked = [{"key": one.key, "nth": one.nth, "take": min(one.free, share)} for one in found if one.free > 0]
    if not asked:
        return []
    is_deep = not found[0].has_keys or (held.is_overdue and _is_turn_of_none(found))
    inputs: dict[str, Any] = {"queue": held.queue, "partitions": asked, "room": found[0].room, "is_deep": is_deep}
    return (yield call("claim_limited", **inputs, producer=producer, node=node))


def _last_served(rows: Sequence[Row], found: Sequence[Partition], turn: str) -> str:
    """Whose turn it was last: of those that got most, the last one; of none, the last that was looked at."""
    if not rows:
        return found[-1].key if _is_cut(found) else turn
    served = Counter(map(_key, rows))
    return max((served[one.key], one.nth, one.key) for one in found)[-1]


def _is_more(rows: Sequence[Row], share: int) -> bool:
    """Whether a partition gave its whole share, and so may have more."""
    return bool(rows) and max(Counter(map(_key, rows)).values()) >= share


def _is_turn_of_none(found: Sequence[Partition]) -> bool:
    """Whether a job of no partition would be among those that are taken, if there is one."""
    return any(one.key == NONE for one in [one for one in found if one.free > 0][: found[0].room if found else 0])


def _is_cut(found: Sequence[Partition]) -> bool:
    """Whether there may be more partitions behind the last, which may start nothing."""
    return bool(found) and found[-1].free <= 0


def _key(row: Row) -> str:
    return row[-1] or NONE


def _spend(held: _Held, turn: str, rows: Sequence[Row], began: datetime | None = None) -> Verb[None]:
    """Take the tokens of what was started, keep whose turn it was, and when a look behind all others began."""
    starts, rate, each = len(rows), held.limits.rate, held.limits.partition_rate
    if not (starts or began or held.is_overdrawn or turn != held.turn):
        return
    cost, most = (rate.cost(starts), rate.most_debt) if rate else (0, 0)
    yield call("spend_limits", queue=held.queue, cost=cost, most_debt=most, turn=turn, began=began)
    if each and starts:
        served = Counter(map(_key, rows))
        costs = [{"key": key, "cost": each.cost(served[key])} for key in sorted(served)]
        yield call("spend_rates", queue=held.queue, costs=costs, most_debt=each.most_debt)


def _cap_rates(queue: str, each: Rate) -> Verb[None]:
    """No bucket of a partition owes more than an empty one: the clock may have been set back, or the rate changed."""
    yield call("cap_rates", queue=queue, most_debt=each.most_debt)


def _wait(held: _Held, demand: int, taken: int) -> Verb[timedelta | None]:
    """How long until a token is there for more; None where none is waited for."""
    if taken >= demand:
        return None
    rate, each = held.limits.rate, held.limits.partition_rate
    waits: list[timedelta] = []
    if rate is not None and taken >= held.room(demand):
        waits.append(rate.wait(min(held.debt, rate.most_debt) + rate.cost(taken)))
    if each is not None:
        rows = yield call("next_token", queue=held.queue, enough=each.enough)
        waits += [each.wait(min(debt, each.most_debt)) for (debt,) in rows]
        if any(debt > each.most_debt for (debt,) in rows):
            yield from _cap_rates(held.queue, each)
    return max(waits, default=None)


# ── set, read, prune ──────────────────────────────────────────────────────────────────────────────


def configure(queues: Mapping[str, Limits]) -> Verb[None]:
    """Keep what a program says of its queues' limits. Where an operator said something, that counts until forgotten."""
    for queue in sorted(queues):
        yield call("set_limits", queue=queue, configured=queues[queue].encode(), asked=None, forget=False)


def ask(queue: str, changes: Mapping[str, int | Rate | None]) -> Verb[Limits]:
    """Keep what an operator said of a queue's limits, and give what holds now; what is not named stays as it is.

    Raises InvalidLimit for a limit that cannot be.
    """
    given: dict[str, Any] = dict(changes)
    check_limits(Limits()._replace(**given))
    rows = yield call("lock_limits", queue=queue, patience=PATIENCE)
    wished = Limits.decode(rows[0][0] if rows else None)._replace(**given)
    yield call("set_limits", queue=queue, configured=None, asked=wished.encode(), forget=False)
    return wished


def forget(queue: str) -> Verb[None]:
    """Take back what an operator said: what the program says counts again."""
    yield last("set_limits", queue=queue, configured=None, asked=None, forget=True)


class QueueLimits(NamedTuple):
    """The limits of one queue, who said them, and how many jobs it may start at once by its rate."""

    limits: Limits
    is_asked: bool
    tokens: int | None


def limits() -> Verb[dict[str, QueueLimits]]:
    """The limits of every queue that has some, or was told by an operator to have none."""
    found: dict[str, QueueLimits] = {}
    for queue, text, is_asked, debt in (yield last("limits")):
        known = Limits.decode(text)
        if any(known) or is_asked:
            found[queue] = QueueLimits(known, is_asked, None if known.rate is None else known.rate.tokens(debt))
    return found


def prune_rates() -> Verb[int]:
    """Forget buckets of partitions that are full again, at most `PRUNED_AT_ONCE`; how many."""
    return len((yield last("prune_rates", max=PRUNED_AT_ONCE)))
