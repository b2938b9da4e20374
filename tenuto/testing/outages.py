"""Outages: a database that is away for a moment, for an app alone, between what asks it and the driver."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

from tenuto.app import Tenuto
from tenuto.errors import InvalidRequest, StorageUnavailable
from tenuto.storage.database import Verb
from tenuto.testing.faults import whole

Drive = Callable[[Verb[Any]], Awaitable[Any]]


@contextmanager
def database_away(
    app: Tenuto, *, calls: int | None = None, after: int = 0, lost: Literal["calls", "answers"] = "calls"
) -> Generator[None]:
    """Let the app's database be away for its next so many `calls`, or to the end of the block; `after` so many first.

    Each raises StorageUnavailable. With `lost="answers"` what was asked is done, and nobody hears of it: the outage in
    which a caller cannot know. Leases of a node that works go on meanwhile.
    """
    if lost not in ("calls", "answers"):
        raise InvalidRequest(f"lost={lost!r:.80} is neither 'calls' nor 'answers'")
    if calls is not None:
        whole("calls", calls)
    whole("after", after, least=0)
    left = _Left(after, calls)
    drives = ("_drive", "_drive_read")
    reached: dict[str, Drive] = {name: getattr(app.database, name) for name in drives}
    for name in drives:
        vars(app.database)[name] = _away(reached[name], left, is_done=lost == "answers")
    try:
        yield
    finally:
        for name in drives:
            del vars(app.database)[name]


class _Left:
    """How many calls still go through, and how many are lost then; None for all."""

    def __init__(self, through: int, lost: int | None) -> None:
        self._through = through
        self._lost = lost

    def loses(self) -> bool:
        """Whether the next call is lost."""
        if self._through > 0:
            self._through -= 1
            return False
        if self._lost is not None:
            self._lost -= 1
        return self._lost is None or self._lost >= 0


def _away(drive: Drive, left: _Left, *, is_done: bool) -> Drive:
    async def away(verb: Verb[Any]) -> Any:
        if not left.loses():
            return await drive(verb)
        if is_done:
            await drive(verb)
            raise StorageUnavailable("a test lost the answer of the database: what was asked is done")
        raise StorageUnavailable("a test lets the database be away: nothing was done")

    return away
