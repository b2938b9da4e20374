"""Relays, as verbs: jobs become awaited, and what those came to is read."""

from collections.abc import Sequence

from tenuto.answer import Kept
from tenuto.job import EXECUTING
from tenuto.storage.aftermath import PATIENCE
from tenuto.storage.database import Verb, last
from tenuto.storage.store import STATES


def await_jobs(ids: Sequence[str]) -> Verb[list[str]]:
    """Have jobs keep their answers from now on; the ids of those that are executing, whose nodes are to be told."""
    rows = yield last("await_jobs", ids=sorted(ids), patience=PATIENCE)
    return [id for id, state in rows if state == EXECUTING]


def kept(ids: Sequence[str]) -> Verb[dict[str, Kept]]:
    """What is stored of how jobs stand, by id; one that is gone is not in the answer."""
    rows = yield last("kept", ids=list(ids))
    return {row[0]: Kept(row[0], STATES[row[1]], *row[2:]) for row in rows}
