"""Parking: attempts that are given back to wait: steps claimed before their needs were met, and jobs for signals."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from tenuto.job import SUSPENDED
from tenuto.outcome import Ack
from tenuto.storage.database import Row, Verb, call


def to_wait(acks: Sequence[Ack], cancelled: str, patience: str) -> Verb[list[Row]]:
    """Give back those of `acks` that are to wait, as rows of an ack. The jobs are locked by `reach`.

    `cancelled` is the entry for the errors of those that an operator cancelled meanwhile.
    """
    rows: list[Row] = []
    gated = [{"id": ack.id, "epoch": ack.epoch} for ack in acks if ack.state is SUSPENDED]
    if gated:
        rows += yield call("gate", acks=gated, cancelled=cancelled)
    parked = [ack for ack in acks if ack.waits is not None]
    if parked:
        rows += yield from _park(acks, parked, cancelled, patience)
    return rows


def _park(acks: Sequence[Ack], parked: Sequence[Ack], cancelled: str, patience: str) -> Verb[list[Row]]:
    """Let jobs wait for signals, unless one is there.

    A signal and a job that begins to wait for it lock the same row, the owner's: its job, or its workflow. Whoever is
    second sees in a later statement what the first one has done. All workflows that this transaction may count in are
    locked here at once: one by one, two such transactions could wait for each other.
    """
    workflows = sorted({ack.workflow_id for ack in acks if ack.workflow_id is not None})
    if workflows:
        yield call("lock_workflows", ids=workflows, patience=patience)
    yield call("begin_waits", waits=[each for ack in parked for each in _waits(ack)])
    return (yield call("park", acks=[{"id": ack.id, "epoch": ack.epoch} for ack in parked], cancelled=cancelled))


def _waits(ack: Ack) -> list[dict[str, object]]:
    mine = {"id": ack.id, "epoch": ack.epoch, "owner": ack.workflow_id or ack.id}
    return [
        {**mine, "name": name, "timeout": None if length is None else length // _MICROSECOND}
        for name, length in (ack.waits or {}).items()
    ]


_MICROSECOND: Final = timedelta(microseconds=1)
