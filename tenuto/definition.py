"""Definition: one worker, worked out once, and the registry that finds it again by its name.

A worker's name is `module.qualname`, where a script counts by its file's name; `name=` replaces it. A name is one
worker's. Code that is loaded again (a reload, a prompt) takes the place of what it was. Where a function that defines
a worker is called again, the last worker has the name, and those before make no more jobs (DuplicateWorker): they
would run as the last.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import replace as checked_replace
from functools import cached_property, partial
from inspect import (
    isasyncgenfunction,
    iscoroutinefunction,
    isgeneratorfunction,
    unwrap,
)
from os.path import realpath
from pathlib import PurePath
from types import CodeType, MappingProxyType
from typing import Any, TypeAlias

from uuid_utils import uuid7

from tenuto.errors import DefinitionError, DuplicateWorker, UnknownWorker
from tenuto.features.built import BUILT, built
from tenuto.features.feature import Feature, Process, fold_new, nest, overriding, ranked
from tenuto.job import Job, Result
from tenuto.options import JobOptions, WorkerOptions, checked
from tenuto.outcome import Backoff, Cancel, Discard, Record, Snooze

Returned: TypeAlias = Result | Record[Result] | Snooze | Cancel | Discard
"""What process may return to give a `Result`."""


@dataclass(frozen=True, eq=False)
class Definition:
    """One worker, worked out once: what its jobs begin with, and how they are run."""

    template: Job[Any, Any]  # a job of it as its options say, without args
    invoke: Callable[[Job[Any, Any]], Any]  # the user's code, for a job whose args are cast
    is_async: bool
    features: tuple[Feature, ...]  # highest rank first
    origin: tuple[str, str, int]  # qualname, file, line: the same again is the same worker
    code: CodeType
    backoff: Backoff | None = None
    reuse_result: bool = True

    @property
    def name(self) -> str:
        """What its jobs call it, for as long as they are stored."""
        return self.template.worker

    def new(self, args: Any, template: Job[Any, Any] | None = None, id: str | None = None) -> Job[Any, Any]:
        """A job with these raw args, and the options of the template. Raises InvalidArgs, TooLarge, DuplicateWorker."""
        if self.has_twin(_registry.get(self.name, self)):
            raise DuplicateWorker(self.name)
        job = (template or self.template).replace(args=args, id=id or str(uuid7()))
        return fold_new(self._makers, job)

    def has_twin(self, other: "Definition") -> bool:
        """Whether one piece of code inside a function made both. Code that is loaded again is another object."""
        return other is not self and other.code is self.code and "<locals>" in self.code.co_qualname

    def maker(self, options: JobOptions) -> Callable[[Any], Job[Any, Any]]:
        """`new` with other options, checked once for all the jobs it makes. Raises InvalidJob."""
        given = checked(options, JobOptions.__optional_keys__)
        id = given.pop("id", None)
        return partial(self.new, template=checked_replace(self.template, **given), id=id)

    def pipeline(self, innermost: Process) -> Process:
        """`innermost` inside the features that wrap process; to be built once."""
        return nest(self.features, innermost)

    @cached_property
    def storing(self) -> tuple[Feature, ...]:
        """The features that shape what is stored, for `fold_store`."""
        return overriding(self.features, "before_store")

    @cached_property
    def giving_back(self) -> tuple[Feature, ...]:
        """The features that shape an ack, the outermost last."""
        return overriding(self.features, "before_ack")[::-1]

    @cached_property
    def observing(self) -> tuple[Feature, ...]:
        """The features to be told of every ack."""
        return overriding(self.features, "after_settle")

    @cached_property
    def _makers(self) -> tuple[Feature, ...]:
        return overriding(self.features, "before_new")


_registry: dict[str, Definition] = {}


def resolve(name: str) -> Definition:
    """The worker of that name. Only what this process defined is found: a name never imports anything.

    Raises UnknownWorker.
    """
    try:
        return _registry[name]
    except KeyError:
        raise UnknownWorker(name) from None


def storing(name: str) -> tuple[Feature, ...]:
    """The features that shape what that worker's jobs store; none of a worker that this process does not know."""
    return _registry[name].storing if name in _registry else ()


def registered() -> Mapping[str, Definition]:
    """Every worker of this process by name; it follows later definitions."""
    return MappingProxyType(_registry)


def forget(name: str) -> None:
    """Take a worker out of the registry, where it is there."""
    _registry.pop(name, None)


def define(
    name: str,
    options: WorkerOptions,
    worker: Any,
    code: Callable[..., Any],
    invoke: Callable[[Job[Any, Any]], Any],
    features: Iterable[Feature],
) -> Definition:
    """Register a worker. Raises InvalidJob for its options, DuplicateWorker for its name."""
    if isgeneratorfunction(code) or isasyncgenfunction(code):
        raise DefinitionError(f"{name} is a generator; return a list, or make a job of each item")
    if not hasattr(unwrap(code), "__code__"):
        raise DefinitionError(f"the process of {name} is no function or method of Python; write a def")
    given = checked(options, WorkerOptions.__optional_keys__)
    own = {key: given.pop(key) for key in ("backoff", "reuse_result") if key in given}
    asked = {key: given.pop(key) for key in BUILT if key in given}
    given.pop("name", None)
    template: Job[Any, Any] = Job(name, **given)
    origin, compiled = _origin(worker, code), unwrap(code).__code__
    every = ranked([*features, *built(asked)])
    definition = Definition(template, invoke, iscoroutinefunction(code), every, origin, compiled, **own)
    if name in _registry and _registry[name].origin != origin:
        raise DuplicateWorker(name)
    _registry[name] = definition
    return definition


def name_of(worker: Any, options: WorkerOptions) -> str:
    """A script counts by its file, and a module run with -m by the name it is imported with."""
    if "name" in options:
        return options["name"]
    module: str = worker.__module__
    if module in ("__main__", "__mp_main__"):
        found = sys.modules[module]
        spec, file = getattr(found, "__spec__", None), getattr(found, "__file__", None)
        module = spec.name if spec is not None else PurePath(file).stem if file else module
    return f"{module}.{worker.__qualname__}"


def _origin(worker: Any, code: Callable[..., Any]) -> tuple[str, str, int]:
    """Where a worker is written: a module that is loaded twice defines the same ones again."""
    name: str = worker.__qualname__
    if worker.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        return (name, "", 0)  # at a prompt or in a notebook, where the last one counts
    place = unwrap(code).__code__
    return (name, realpath(place.co_filename), place.co_firstlineno)
