"""@job: a function that makes Jobs, and is run for them."""

from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from functools import update_wrapper
from inspect import (
    Parameter,
    isfunction,
    signature,
)
from typing import Any, Final, Generic, ParamSpec, TypeAlias, Unpack, overload
from uuid import UUID

from typing_extensions import TypeVar

from tenuto.definition import Returned, define
from tenuto.errors import DefinitionError, InvalidArgs
from tenuto.features.check import faults_of
from tenuto.features.schema import args_of_function
from tenuto.hooking import HookDecorators
from tenuto.job import Job, Result
from tenuto.naming import name_of
from tenuto.options import JobOptions, WorkerOptions

P = ParamSpec("P")
Called = TypeVar("Called")
Whole = TypeVar("Whole")

_Storable: TypeAlias = (
    float | complex | str | bytes | date | time | timedelta | Decimal | UUID
    | Mapping[Any, Any] | Sequence[Any] | Set[Any] | None
)  # fmt: skip
Value = TypeVar("Value", bound=_Storable)


class FunctionWorker(HookDecorators, Generic[P, Called, Result]):
    """A function that can be a job: called, it is the function; `new` makes a Job of the same arguments."""

    def __init__(self, function: Callable[P, Called], options: WorkerOptions) -> None:
        _check_function(function)
        update_wrapper(self, function)
        name = name_of(function, options)
        features = [args_of_function(name, function)]
        self._function = function
        self._positional = _names(function, Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        self.definition = define(name, options, self, function, _caller(function), features)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Called:
        """Call the plain function, here and now."""
        return self._function(*args, **kwargs)

    def new(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[Any, Result]:
        """A Job that will call the function with these arguments. Raises InvalidArgs, TooLarge."""
        return self.definition.new(self._bound(args, kwargs))

    def check(self, /, *args: Any, **named: Any) -> tuple[tuple[str, str], ...]:
        """What `new` would refuse of these args, as (path, reason) pairs without values; empty when they fit."""
        return faults_of(self.new, *args, **named)

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

    def new(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[Any, Result]:
        """A Job that will call the function with these arguments. Raises InvalidArgs, TooLarge."""
        return self._make(self._bind(args, kwargs))


class JobDecorator:
    """Makes a worker of a function; with options, a decorator that has them.

    An `async def` runs on the event loop, a plain function in a thread. The Result of its jobs is what it
    returns, without Record, Snooze, Cancel and Discard. Raises DefinitionError for what cannot be a worker, and
    InvalidJob, one of its kinds, for an option that cannot be.
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
