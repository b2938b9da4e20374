"""Definition: one worker, worked out once, and the registry that finds it again by its name.

A name is one worker's, and so is an alias. Code that is loaded again (a reload, a prompt) takes the place of what it
was. Where a function that defines a worker is called again, the last worker has the name, and those before make no more
jobs (DuplicateWorker): they would run as the last.
"""

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
from types import CodeType, MappingProxyType
from typing import Any, TypeAlias

from uuid_utils import uuid7

from tenuto.backoff import Backoff
from tenuto.errors import DefinitionError, DuplicateWorker, UnknownWorker
from tenuto.features.aliases import canonical, learn
from tenuto.features.built import OPTIONS, built
from tenuto.features.encrypted import Encryption
from tenuto.features.feature import Feature, Process, fold_new, fold_store, nest, overriding, ranked
from tenuto.features.hooks import WorkerHooks
from tenuto.features.unique import UniqueJobs
from tenuto.graph import GROUP
from tenuto.job import Job, Result
from tenuto.naming import importable, origin_of
from tenuto.options import JobOptions, WorkerOptions, checked
from tenuto.outcome import Cancel, Discard, Record, Snooze

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
    hooks: WorkerHooks
    backoff: Backoff | None = None
    reuse_result: bool = True
    runs_in: str | None = None  # None: on the event loop, or in a thread
    module: str = ""  # where it is defined, and another process finds it

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
        given = checked(options, JobOptions.__optional_keys__, self.template)
        id = given.pop("id", None)
        return partial(self.new, template=checked_replace(self.template, **given), id=id)

    def pipeline(self, innermost: Process) -> Process:
        """`innermost` inside the features that wrap process; to be built once."""
        return nest(self.acting, innermost)

    @cached_property
    def acting(self) -> tuple[Feature, ...]:
        """Its features and what calls hooks, its own and those of every worker. Highest rank first."""
        in_thread, has_deadline = not self.is_async and self.runs_in is None, self.template.deadline is not None
        return ranked([*self.features, *self.hooks.features(in_thread=in_thread, has_deadline=has_deadline)])

    def refresh(self) -> None:
        """Work out anew what depends on hooks: there are others now."""
        for name in ("acting", "storing", "giving_back", "observing", "_makers"):
            vars(self).pop(name, None)

    @cached_property
    def encryption(self) -> Encryption | None:
        """The one of its features that seals, where it is encrypted."""
        return next((feature for feature in self.features if isinstance(feature, Encryption)), None)

    @cached_property
    def storing(self) -> tuple[Feature, ...]:
        """The features that shape what is stored, for `fold_store`."""
        return overriding(self.acting, "before_store")

    @cached_property
    def giving_back(self) -> tuple[Feature, ...]:
        """The features that shape an ack, the outermost last."""
        return overriding(self.acting, "before_ack")[::-1]

    @cached_property
    def observing(self) -> tuple[Feature, ...]:
        """The features to be told of every ack."""
        return overriding(self.acting, "after_settle")

    @cached_property
    def _makers(self) -> tuple[Feature, ...]:
        return overriding(self.acting, "before_new")


_registry: dict[str, Definition] = {}


def resolve(name: str) -> Definition:
    """The worker of that name or alias. Only what this process defined is found: a name never imports anything.

    Raises UnknownWorker.
    """
    try:
        return _registry[name]
    except KeyError:
        raise UnknownWorker(name) from None


def storing(job: Job[Any, Any]) -> tuple[Feature, ...]:
    """The features that shape what is stored of a job; of a worker that this process does not know, none of its own."""
    known = _registry.get(job.worker)
    features = known.storing if known else ()
    return (
        features
        if job.unique is None
        else (*features, UniqueJobs(canonical(job.worker), known.features if known else ()))
    )


async def sealed(jobs: Iterable[Job[Any, Any]]) -> list[Job[Any, Any]]:
    """The jobs as their workers' features want them stored."""
    return [await fold_store(features, job) if (features := storing(job)) else job for job in jobs]


def registered() -> Mapping[str, Definition]:
    """Every worker of this process by name, and by each alias; it follows later definitions."""
    return MappingProxyType(_registry)


def forget(name: str) -> None:
    """Take a worker out of the registry with its aliases, where it is there."""
    for known in [known for known, other in _registry.items() if other.name == name]:
        del _registry[known]


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
    own: dict[str, Any] = {key: given.pop(key) for key in ("backoff", "reuse_result", "runs_in") if key in given}
    own["module"] = importable(worker.__module__)
    onion = ranked((*features, *built(given)))
    for option in OPTIONS & given.keys():
        del given[option]
    hooks = WorkerHooks(worker, given.pop("hooks", ()))
    names = (name, *given.pop("aliases", ()))
    if GROUP in names:
        raise DefinitionError(f"{GROUP!r} is the name of the worker of groups; take another one")
    given.pop("name", None)
    template: Job[Any, Any] = Job(name, **given)
    origin, compiled = origin_of(worker, code), unwrap(code).__code__
    definition = Definition(template, invoke, iscoroutinefunction(code), onion, origin, compiled, hooks, **own)
    for known in (known for known in names if known in _registry):
        other = _registry[known]
        if (other.name, other.origin) != (name, origin):
            raise DuplicateWorker(known, None if known == other.name else other.name)
    forget(name)
    _registry.update(dict.fromkeys(names, definition))
    learn(names)
    return definition
