"""Aliases: the names that once meant a worker, and the one of them that its keys are made of."""

from collections.abc import Sequence
from typing import Final

_oldest: Final[dict[str, str]] = {}


def learn(names: Sequence[str]) -> None:
    """Take note that all of these are one worker: its name now, then those it had, the oldest first."""
    name, *aliases = names
    before = _oldest.get(name)
    for known in [known for known, oldest in _oldest.items() if oldest == before]:
        del _oldest[known]
    _oldest.update(dict.fromkeys(names, aliases[0] if aliases else name))


def canonical(name: str) -> str:
    """The name that stands for all that a worker has had, in keys of chains and of unique jobs: its oldest one.

    So that what is stored under an old name and what is made under the new one meet in the same key. A name of which
    nothing is known stands for itself.
    """
    return _oldest.get(name, name)
