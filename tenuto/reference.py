"""Reference: a place in the result of another step, which stands in args until that step has run."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, NoReturn

from tenuto.errors import NotYetKnown


class Reference:
    """What `step.result` and `step.result["token"]` are while a workflow is built: to be handed over as args.

    Nothing can be computed with it: that raises NotYetKnown, or TypeError.
    """

    __slots__ = ("path", "step", "workflow_id")  # and no dataclass: who dumps args must leave it as it is

    def __init__(self, step: str, path: tuple[str | int, ...] = (), workflow_id: str | None = None) -> None:
        self.step = step
        self.path = path
        self.workflow_id = workflow_id  # None once it was stored

    __iter__ = None  # with __getitem__ alone it could be iterated over for ever
    __contains__ = None

    def __getitem__(self, key: Any) -> "Reference":
        named = key.value if isinstance(key, Enum) else key
        if type(named) not in (str, int):
            raise self._refusal(f"[{key!r:.80}]; a key is a text or a number")
        return Reference(self.step, (*self.path, named), self.workflow_id)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(name) if name.startswith("__") else self._refusal(f".{name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is Reference and (other.step, other.path) == (self.step, self.path)

    def __hash__(self) -> int:
        return hash((self.step, self.path))

    def __bool__(self) -> NoReturn:
        raise self._refusal("being true or false")

    def __str__(self) -> NoReturn:
        raise self._refusal("its text")

    def __format__(self, _: str) -> NoReturn:
        raise self._refusal("its text")

    def __repr__(self) -> str:
        spelled = "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in self.path)
        return f"the result of step {self.step!r}" + (f" at {spelled}" if spelled else "")

    def _refusal(self, asked: str) -> NotYetKnown:
        return NotYetKnown(repr(self), asked)


class Waiting(dict[str, Any]):
    """Args in which references stand: those of a step that waits for more than the end of its deps."""


def references(value: object) -> Iterator[Reference]:
    """Every reference in a value, at any depth, in order. Keys hold none."""
    left, seen = [value], set[int]()
    while left:
        held = left.pop()
        if type(held) is Reference:
            yield held
        elif id(held) not in seen:
            seen.add(id(held))
            left.extend(reversed(_parts(held)))


def holds_reference(value: object) -> bool:
    """Whether there is one in it."""
    return next(references(value), None) is not None


def kind_of(value: object) -> type[Any]:
    """Its exact type, of which a type checker is to think nothing."""
    return type(value)


def opened(held: Any) -> Any:
    """The same with dicts of what they were given in place of dataclasses and models: these have no say of it yet.

    Raises RecursionError for a cycle.
    """
    kind = kind_of(held)
    if issubclass(kind, dict):
        return {key: opened(value) for key, value in held.items()}
    if kind in _EXACTLY:
        return kind(map(opened, held))
    if is_dataclass(kind):
        return {each.name: opened(getattr(held, each.name)) for each in fields(kind) if each.init}
    return opened(held.__dict__) if hasattr(kind, "__pydantic_fields__") else held


def _parts(held: Any) -> list[Any]:
    """What a container, a dataclass or a model holds; nothing of all else."""
    kind = kind_of(held)
    if issubclass(kind, dict):
        return list(held.values())
    if issubclass(kind, _COLLECTIONS):
        return list(held)
    if is_dataclass(kind):
        return [getattr(held, each.name, None) for each in fields(kind)]
    return list(held.__dict__.values()) if hasattr(kind, "__pydantic_fields__") else []


_COLLECTIONS: Final = (list, tuple, set, frozenset)
_EXACTLY: Final[frozenset[type[Any]]] = frozenset(_COLLECTIONS)
