"""Worker: a class that makes Jobs, and runs them by its process."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from inspect import getattr_static, isclass, isfunction
from typing import Any, ClassVar, Final, Generic, Unpack, cast, get_args, get_origin, overload

from typing_extensions import TypeVar, get_original_bases

from tenuto.definition import Definition, Returned, define
from tenuto.errors import DefinitionError, InvalidArgs, NoProcess
from tenuto.features.check import faults_of
from tenuto.features.hook import can_take
from tenuto.features.hooks import instance_of
from tenuto.features.schema import args_of_class
from tenuto.job import Args, Job, Result
from tenuto.naming import name_of
from tenuto.options import JobOptions, WorkerOptions


class _Undefined:
    def __get__(self, _: object, owner: type) -> Definition:
        raise NoProcess(owner.__qualname__)


class Worker(Generic[Args, Result]):
    """A worker as a class: `class Webhook(Worker[WebhookArgs, int], queue="webhooks")`, and its `process`.

    Each attempt has an instance of its own. A class without a process, or with a type variable for its Args,
    only hands its options down; of several bases the nearest that says something of an option decides, as for
    attributes. Name and aliases are never inherited.
    before_new, before_process, after_process, on_cancelled and on_discarded, where a class has them, are its hooks.
    The class statement raises DefinitionError for what cannot be a worker, and InvalidJob for an option that cannot be.
    """

    definition: ClassVar[Definition] = cast("Definition", _Undefined())
    _options: ClassVar[WorkerOptions] = {}  # what one class says itself

    def __init_subclass__(cls, **options: Unpack[WorkerOptions]) -> None:
        super().__init_subclass__()
        cls._options = options
        declared = _declared_args(cls)
        if _is_whole(cls) and not isinstance(declared, TypeVar):
            cls.definition = _define_class(cls, _all_options(cls), declared)

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
    def check(cls, /, *args: Any, **fields: Any) -> tuple[tuple[str, str], ...]:
        """What `new` would refuse of these args, as (path, reason) pairs without values; empty when they fit."""
        return faults_of(cls.new, *args, **fields)

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
    name = name_of(cls, options)
    _check_class(name, cls)
    args = args_of_class(name, declared, vars(sys.modules[cls.__module__]))
    return define(name, options, cls, cls.process, lambda job: instance_of(cls, job).process(job), [args])


def _all_options(cls: type[Worker[Any, Any]]) -> WorkerOptions:
    """What it says itself, and what its bases hand down."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        found |= {key: value for key, value in vars(base).get("_options", {}).items() if key not in _OWN}
    return cast("WorkerOptions", found | vars(cls)["_options"])


_OWN: Final = ("name", "aliases")  # never inherited


def _check_class(name: str, cls: type[Worker[Any, Any]]) -> None:
    """Each attempt makes an instance, and hands a job to its process. Raises DefinitionError where that cannot be."""
    making, process = getattr_static(cls, "__init__"), getattr_static(cls, "process")
    if isfunction(making) and not can_take(making, 1):
        raise DefinitionError(f"each attempt makes a {name} of its own, and its __init__ asks for more than itself")
    if isfunction(process) and not can_take(process, 2):
        raise DefinitionError(f"the process of {name} is called with a job, and cannot take that")


def _declared_args(cls: type[Any]) -> Any:
    """The Args in `Worker[Args]`, also where it comes through bases of the user's own, the first that says any."""
    return next((found for base in get_original_bases(cls) if (found := _args_in(base)) is not Any), Any)


def _args_in(base: Any) -> Any:
    origin: Any = get_origin(base) or base
    if origin is Worker:
        return next(iter(get_args(base)), Any)
    if not _is_worker(origin):
        return Any
    declared = _declared_args(origin)
    parameters: Sequence[Any] = getattr(origin, "__parameters__", ())
    filled = dict(zip(parameters, get_args(base), strict=False))
    return filled.get(declared, Any) if isinstance(declared, TypeVar) else declared


def _is_whole(cls: type[Worker[Any, Any]]) -> bool:
    return cls.process is not Worker.process and not getattr(cls.process, "__isabstractmethod__", False)


def _is_worker(kind: Any) -> bool:
    return isclass(kind) and issubclass(kind, Worker)


def _raw(definition: Definition, args: Sequence[Any], fields: dict[str, Any]) -> Any:
    if not args:
        return fields
    if fields or len(args) > 1:
        raise InvalidArgs(definition.name, [("", "give one instance of them, or their fields by name")])
    return args[0]
