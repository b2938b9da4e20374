"""Worker and @job: code that makes Jobs and runs them, and the registry that finds it again by its name.

A worker's name is `module.qualname`, where a script counts by its file's name; `name=` replaces it. A name is one
worker's. Code that is loaded again (a reload, a prompt) takes the place of what it was. Where a function that defines
a worker is called again, the last worker has the name, and those before make no more jobs (DuplicateWorker): they
would run as the last.
"""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from dataclasses import replace as checked_replace
from datetime import date, time, timedelta
from decimal import Decimal
from functools import cached_property, partial, update_wrapper
from inspect import (
    Parameter,
    isasyncgenfunction,
    isclass,
    iscoroutinefunction,
    isfunction,
    isgeneratorfunction,
    signature,
    unwrap,
)
from os.path import realpath
from pathlib import PurePath
from types import CodeType, MappingProxyType
from typing import Any, ClassVar, Final, Generic, ParamSpec, TypeAlias, Unpack, cast, get_args, get_origin, overload
from uuid import UUID

from typing_extensions import TypeVar, get_original_bases
from uuid_utils import uuid7

from tenuto.errors import DefinitionError, DuplicateWorker, InvalidArgs, NoProcess, UnknownWorker
from tenuto.features.args import args_of_class, args_of_function
from tenuto.features.feature import Feature, Process, fold_new, nest, overriding, ranked
from tenuto.job import Args, Job, Result
from tenuto.options import JobOptions, WorkerOptions, checked
from tenuto.outcome import Backoff, Cancel, Discard, Record, Snooze

# ── one worker, and all of them ───────────────────────────────────────────────────────────────────


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


def registered() -> Mapping[str, Definition]:
    """Every worker of this process by name; it follows later definitions."""
    return MappingProxyType(_registry)


def forget(name: str) -> None:
    """Take a worker out of the registry, where it is there."""
    _registry.pop(name, None)


def _define(
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
    given.pop("name", None)
    template: Job[Any, Any] = Job(name, **given)
    origin, compiled = _origin(worker, code), unwrap(code).__code__
    definition = Definition(template, invoke, iscoroutinefunction(code), ranked(features), origin, compiled, **own)
    if name in _registry and _registry[name].origin != origin:
        raise DuplicateWorker(name)
    _registry[name] = definition
    return definition


def _name_of(worker: Any, options: WorkerOptions) -> str:
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


# ── functions ─────────────────────────────────────────────────────────────────────────────────────

P = ParamSpec("P")
Called = TypeVar("Called")
Whole = TypeVar("Whole")

_Storable: TypeAlias = (
    float | complex | str | bytes | date | time | timedelta | Decimal | UUID
    | Mapping[Any, Any] | Sequence[Any] | Set[Any] | None
)  # fmt: skip
Value = TypeVar("Value", bound=_Storable)

Returned: TypeAlias = Result | Record[Result] | Snooze | Cancel | Discard
"""What process may return to give a `Result`."""


class FunctionWorker(Generic[P, Called, Result]):
    """A function that can be a job: called, it is the function; `new` makes a Job of the same arguments."""

    definition: Definition

    def __init__(self, function: Callable[P, Called], options: WorkerOptions) -> None:
        _check_function(function)
        update_wrapper(self, function)
        name = _name_of(function, options)
        features = [args_of_function(name, function)]
        self._function = function
        self._positional = _names(function, Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        self.definition = _define(name, options, self, function, _caller(function), features)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Called:
        """Call the plain function, here and now."""
        return self._function(*args, **kwargs)

    def new(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any, Result]:
        """A Job that will call the function with these arguments. Raises InvalidArgs, TooLarge."""
        return self.definition.new(self._bound(args, kwargs))

    def options(self, **options: Unpack[JobOptions]) -> "FunctionOptions[P, Result]":
        """`new` with other options for the jobs it makes. Raises InvalidJob."""
        return FunctionOptions(self._bound, self.definition.maker(options))

    def __repr__(self) -> str:
        return f"<job {self.definition.name}>"

    def _bound(self, args: Sequence[Any], named: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, as a call would bind them."""
        if not args:
            return named
        if len(args) > len(self._positional):
            told = f"{len(args)} are given by position, and {len(self._positional)} taken"
            raise InvalidArgs(self.definition.name, [("", told)])
        bound = dict(zip(self._positional, args, strict=False))
        if twice := [name for name in bound if name in named]:
            raise InvalidArgs(self.definition.name, [(name, "given by position and by name") for name in twice])
        return bound | named


class FunctionOptions(Generic[P, Result]):
    """The jobs of a function with some options of their own."""

    def __init__(
        self,
        bind: Callable[[Sequence[Any], dict[str, Any]], dict[str, Any]],
        make: Callable[[Any], Job[Any, Any]],
    ) -> None:
        self._bind = bind
        self._make = make

    def new(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any, Result]:
        """A Job that will call the function with these arguments. Raises InvalidArgs, TooLarge."""
        return self._make(self._bind(args, kwargs))


class JobDecorator:
    """Makes a worker of a function; with options, a decorator that has them.

    An `async def` runs on the event loop, a plain function in a thread. The Result of its jobs is what it
    returns, without Record, Snooze, Cancel and Discard.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options

    # Four ways to read a return type. Where mypy takes a union apart it joins what is left: `int | str`
    # becomes object. The bound of Value refuses that, and the next overload takes the type whole.
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Returned[Value]]], /
    ) -> FunctionWorker[P, Coroutine[Any, Any, Value], Value]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, Whole]], /
    ) -> FunctionWorker[P, Coroutine[Any, Any, Whole], Whole]: ...
    @overload
    def __call__(self, function: Callable[P, Returned[Value]], /) -> FunctionWorker[P, Value, Value]: ...
    @overload
    def __call__(self, function: Callable[P, Whole], /) -> FunctionWorker[P, Whole, Whole]: ...
    @overload
    def __call__(self, /, **options: Unpack[WorkerOptions]) -> "JobDecorator": ...
    def __call__(self, function: Callable[..., Any] | None = None, /, **options: Unpack[WorkerOptions]) -> Any:
        """Define a worker. Raises DefinitionError, or one of its kinds."""
        given: WorkerOptions = {**self._options, **options}
        return JobDecorator(given) if function is None else FunctionWorker(function, given)


job: Final = JobDecorator({})


def _check_function(function: Any) -> None:
    if not isfunction(function):
        raise DefinitionError(f"@job is for functions, and {function!r} is none; for a class derive from Worker")
    if _names(function)[:1] in (("self",), ("cls",)):
        raise DefinitionError(f"{function.__qualname__} is a method; @job is for functions, or derive from Worker")


def _names(function: Callable[..., Any], *kinds: Any) -> tuple[str, ...]:
    """The names of its parameters, all or those of some kinds."""
    parameters = signature(function).parameters
    return tuple(name for name, parameter in parameters.items() if not kinds or parameter.kind in kinds)


def _caller(function: Callable[..., Any]) -> Callable[[Job[Any, Any]], Any]:
    first = _names(function, Parameter.POSITIONAL_ONLY)
    if not first:
        return lambda job: function(**job.args)

    def call(job: Job[Any, Any]) -> Any:
        named = dict(job.args)
        return function(*[named.pop(name) for name in first], **named)

    return call


# ── classes ───────────────────────────────────────────────────────────────────────────────────────


class _Undefined:
    def __get__(self, _: object, owner: type) -> Definition:
        raise NoProcess(owner.__qualname__)


class Worker(Generic[Args, Result]):
    """A worker as a class: `class Webhook(Worker[WebhookArgs, int], queue="webhooks")`, and its `process`.

    Each attempt has an instance of its own. A class without a process, or with a type variable for its Args,
    only hands its options down; the name is never inherited.
    """

    definition: ClassVar[Definition] = cast("Definition", _Undefined())
    _options: ClassVar[WorkerOptions] = {}

    def __init_subclass__(cls, **options: Unpack[WorkerOptions]) -> None:
        super().__init_subclass__()
        inherited = {key: value for key, value in cls._options.items() if key != "name"}
        cls._options = cast("WorkerOptions", {**inherited, **options})
        declared = _declared_args(cls)
        if cls.process is not Worker.process and not isinstance(declared, TypeVar):
            cls.definition = _define_class(cls, cls._options, declared)

    def process(self, job: Job[Args, Result]) -> Returned[Result] | Awaitable[Returned[Result]]:
        """Do the work, as `async def` or in a thread; `job.args` is an instance of `Args`."""
        raise NotImplementedError

    @overload
    @classmethod
    def new(cls, args: Args, /) -> Job[Args, Result]: ...
    @overload
    @classmethod
    def new(cls, /, **fields: Any) -> Job[Args, Result]: ...
    @classmethod
    def new(cls, /, *args: Any, **fields: Any) -> Job[Any, Any]:
        """A Job with these args: an instance, or the fields by name. Raises InvalidArgs, TooLarge."""
        return cls.definition.new(_raw(cls.definition, args, fields))

    @classmethod
    def options(cls, **options: Unpack[JobOptions]) -> "ClassOptions[Args, Result]":
        """`new` with other options for the jobs it makes. Raises InvalidJob."""
        return ClassOptions(cls.definition, cls.definition.maker(options))


class ClassOptions(Generic[Args, Result]):
    """The jobs of a class worker with some options of their own."""

    def __init__(self, definition: Definition, make: Callable[[Any], Job[Any, Any]]) -> None:
        self._definition = definition
        self._make = make

    @overload
    def new(self, args: Args, /) -> Job[Args, Result]: ...
    @overload
    def new(self, /, **fields: Any) -> Job[Args, Result]: ...
    def new(self, /, *args: Any, **fields: Any) -> Job[Any, Any]:
        """A Job with these args: an instance, or the fields by name. Raises InvalidArgs, TooLarge."""
        return self._make(_raw(self._definition, args, fields))


def _define_class(cls: type[Worker[Any, Any]], options: WorkerOptions, declared: Any) -> Definition:
    name = _name_of(cls, options)
    args = args_of_class(name, declared, vars(sys.modules[cls.__module__]))
    return _define(name, options, cls, cls.process, lambda job: cls().process(job), [args])


def _declared_args(cls: type[Any]) -> Any:
    """The Args in `Worker[Args]`, also where it comes through generic bases of the user's own."""
    for base in get_original_bases(cls):
        origin: Any = get_origin(base) or base
        if origin is Worker:
            return next(iter(get_args(base)), Any)
        if _is_worker(origin):
            declared = _declared_args(origin)
            parameters: Sequence[Any] = getattr(origin, "__parameters__", ())
            filled = dict(zip(parameters, get_args(base), strict=False))
            return filled.get(declared, Any) if isinstance(declared, TypeVar) else declared
    return Any


def _is_worker(kind: Any) -> bool:
    return isclass(kind) and issubclass(kind, Worker)


def _raw(definition: Definition, args: Sequence[Any], fields: dict[str, Any]) -> Any:
    if not args:
        return fields
    if fields or len(args) > 1:
        raise InvalidArgs(definition.name, [("", "give one instance of them, or their fields by name")])
    return args[0]
