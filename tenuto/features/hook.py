"""Hook: one function that a user wants called at one of five moments, checked when it is given."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import getattr_static, isclass, iscoroutinefunction, isfunction, signature
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from tenuto.errors import InvalidHook

MOMENTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "before_new": ("args, options",),
        "before_process": ("job",),
        "after_process": ("state, job, result", "state, job"),
        "on_cancelled": ("reason, job",),
        "on_discarded": ("reason, job",),
    }
)
"""When a hook is called, by its name, and with what: the first of these that it takes."""


class Hook(NamedTuple):
    """One function to be called at one moment."""

    moment: str
    owner: str  # what it belongs to, for logs
    function: Callable[..., Any]
    takes: int  # arguments
    is_async: bool
    worker: type[Any] | None = None  # a class worker, and then it is a method of an instance of that


def hooks_of(given: object) -> list[Hook]:
    """What an object wants called. Raises InvalidHook where it has none of the five, or one that cannot be called."""
    owner = name_of(given)
    found = [moment for moment in MOMENTS if callable(getattr(given, moment, None))]
    if not found:
        raise InvalidHook(f"{owner} is no hook: it has none of {', '.join(MOMENTS)}")
    for moment in found:
        if isclass(given) and isfunction(getattr_static(given, moment)):
            raise InvalidHook(f"{moment} of {owner} is called on an instance; give {given.__name__}(), not the class")
    return [checked(moment, owner, getattr(given, moment)) for moment in found]


def hooks_of_class(worker: type[Any]) -> list[Hook]:
    """The methods of a class worker that are hooks. Raises InvalidHook."""
    found: list[Hook] = []
    for moment in MOMENTS:
        written = getattr_static(worker, moment, None)
        if isfunction(written):  # it takes an instance first
            found.append(checked(moment, worker.__qualname__, partial(written, None))._replace(worker=worker))
        elif written is not None:
            found.append(checked(moment, worker.__qualname__, getattr(worker, moment)))
    return found


def checked(moment: str, owner: str, function: Callable[..., Any]) -> Hook:
    """One function as a hook. Raises InvalidHook where it cannot be called with what the moment gives."""
    counts = [given.count(",") + 1 for given in MOMENTS[moment]]
    takes = next((count for count in counts if can_take(function, count)), None)
    if takes is None:
        told = " or ".join(f"({given})" for given in MOMENTS[moment])
        raise InvalidHook(f"{moment} of {owner} is called with {told}, and cannot take that")
    is_async = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    if is_async and moment == "before_new":
        raise InvalidHook(f"before_new of {owner} is an async def, and new() cannot wait for it; write a def")
    return Hook(moment, owner, function, takes, is_async)


def can_take(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments."""
    try:
        signature(function).bind(*[None] * count)
    except ValueError:  # a builtin that does not say what it takes
        return True
    except TypeError:
        return False
    return True


def name_of(given: object) -> str:
    """What people call it: a class, a function or a module by its name, anything else by its type's."""
    name: str = getattr(given, "__qualname__", None) or getattr(given, "__name__", None) or type(given).__qualname__
    return name
