"""Waiting: args in which results of other steps stand, filled in from what came with the claim, just before the run."""

from collections.abc import Iterable
from typing import Any, Final

from tenuto import codec
from tenuto.context import NONE, Needs, running
from tenuto.errors import InvalidArgs
from tenuto.features.reasons import path_of
from tenuto.outcome import Discard
from tenuto.reference import Reference, Waiting, kind_of

Path = tuple[int | str, ...]


class Unfilled(Discard):
    """There is nothing in the place of a reference: discarded, since the results of its deps stay what they are."""

    def __init__(self, refused: InvalidArgs) -> None:
        super().__init__(str(refused))
        self.name = type(refused).__name__
        self.problems = refused.problems


def filled(worker: str, args: Any) -> tuple[Any, dict[str, Reference]]:
    """The args with results in the place of references, and by their paths the references that stood there.

    Raises Unfilled with every one that has no value, and for a result that is sealed what kept it so.
    """
    mine = running.get(None)
    filling = _Filling(NONE if mine is None else mine.needs)
    values = filling.value(args, ())
    if filling.problems:
        raise Unfilled(InvalidArgs(worker, filling.problems))
    if mine is not None:
        mine.job = mine.job.replace(args=values)  # for current_job()
    return values, filling.found


def gathered(needs: Needs, tree: dict[str, Any]) -> dict[str, Any]:
    """The results of a group's members by their short names, those of groups in it as such dicts; what stored none is
    left out. Raises what kept a result sealed."""
    found: dict[str, Any] = {}
    for name, at in tree.items():
        if isinstance(at, str) and at in needs.closed:
            raise needs.closed[at]
        if not isinstance(at, str):
            found[name] = gathered(needs, at)
        elif at in needs.members:
            found[name] = codec.decode(needs.members[at])
    return found


def told_whence(refused: InvalidArgs, found: dict[str, Reference]) -> InvalidArgs:
    """The same refusal, which says of each part from which result it came."""
    return InvalidArgs(refused.worker, [(path, reason + _whence(path, found)) for path, reason in refused.problems])


def _whence(path: str, found: dict[str, Reference]) -> str:
    whole = next((at for at in found if path == at or path.startswith((f"{at}.", f"{at}["))), None)
    return "" if whole is None else f" ({found[whole]!r})"


class _Filling:
    """Args on the way to their values: what was found, and what was not."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._results: dict[str, Any] = {}  # each is decoded once, however often it is named
        self.found: dict[str, Reference] = {}
        self.problems: list[tuple[str, str]] = []

    def value(self, held: Any, path: Path) -> Any:
        """What it is with results in the place of references."""
        kind = kind_of(held)
        if kind is Reference:
            return self._referred(held, path_of(path))
        if kind is dict or kind is Waiting:
            return {key: self.value(item, (*path, key)) for key, item in held.items()}
        if kind in _COLLECTIONS:
            return self._collected(kind, [self.value(item, (*path, n)) for n, item in enumerate(held)], path)
        return held

    def _collected(self, kind: type, items: Iterable[Any], path: Path) -> Any:
        try:
            return kind(items)
        except TypeError:
            self.problems.append((path_of(path), "the result of a step is a list or a dict, which no set can hold"))
            return None

    def _referred(self, reference: Reference, path: str) -> Any:
        self.found[path] = reference
        if reference.step in self._needs.closed:
            raise self._needs.closed[reference.step]
        try:
            value = self._result(reference.step)
            for key in reference.path:
                value = _item(value, key)
        except LookupError:
            self.problems.append((path, f"there is no such thing as {reference!r}{self._why(reference.step)}"))
            return None
        return value

    def _result(self, step: str) -> Any:
        if step in self._needs.groups:
            self._results.setdefault(step, gathered(self._needs, self._needs.groups[step]))
        elif step not in self._results:
            text = self._needs.results[step]
            if text is None:
                raise LookupError
            self._results[step] = codec.decode(text)
        return self._results[step]

    def _why(self, step: str) -> str:
        if step not in self._needs.results:
            return ": that step is no dep of this job"
        return ": it has stored no result" if self._needs.results[step] is None else ""


def _item(value: Any, key: str | int) -> Any:
    """What a key or an index leads to. Keys that were numbers are text by now. Raises LookupError."""
    kind = kind_of(value)
    if kind is dict:
        return value[str(key)]
    if kind in _INDEXED and isinstance(key, int):
        return value[key]
    raise LookupError


_COLLECTIONS: Final = frozenset({list, tuple, set, frozenset})
_INDEXED: Final = frozenset({list, tuple, str, bytes})
