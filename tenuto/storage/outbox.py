"""Outbox: a word for the hooks of jobs that others end, left in the transaction that ends them."""

from collections.abc import Iterable, Sequence

from tenuto.job import CANCELLED, SUSPENDED
from tenuto.outcome import Ack
from tenuto.storage.database import Row, Verb, call


def tell_hooks(ids: Iterable[str], reason: str) -> Verb[None]:
    """Leave a word for the hooks of these jobs, where they have any: `reason` ended them.

    It is operator, dependency, deadline, rescue or storage; where an operator had asked to cancel, it was that.
    """
    if told := [{"id": id, "reason": reason} for id in ids]:
        yield call("tell_hooks", told=told)


def tell_acked(acks: Sequence[Ack], rows: Sequence[Row]) -> Verb[None]:
    """Leave a word for the hooks of jobs that these acks ended otherwise than their process said."""
    hooked = {ack.id: ack for ack in acks if ack.has_hooks}
    ended = [hooked[id] for id, state, *_ in rows if id in hooked and (state == CANCELLED or hooked[id].ended_by)]
    if ended:
        yield call("tell_hooks", told=[{"id": ack.id, "reason": _reason(ack)} for ack in ended])


def _reason(ack: Ack) -> str:
    """What ended it, unless an operator asked first: a need of a step that was gated, else its deadline."""
    return ack.ended_by or ("dependency" if ack.state is SUSPENDED else "deadline")
