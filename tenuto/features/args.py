"""Structured args: what a worker declares is what its jobs carry, checked when made and cast before process.

A function declares with its signature, a class worker with its `Args`: a pydantic model, a dataclass or a
TypedDict. A job carries the cast form as plain data, in which every field has its own name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property, partial
from inspect import Parameter, isclass, signature, unwrap
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Final, NotRequired, Required, get_args, get_origin, get_type_hints

from pydantic import AnyUrl, BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from pydantic.fields import Field, FieldInfo
from pydantic_core import ErrorDetails, SchemaError
from typing_extensions import TypedDict, is_typeddict

from tenuto import codec
from tenuto.errors import DefinitionError, InvalidArgs, Unencodable
from tenuto.features.feature import Feature, Process
from tenuto.job import ARGS_LIMIT, Job
from tenuto.outcome import Outcome


class StructuredArgs(Feature):
    """Casts and checks the args of one worker's jobs, with a validator that is built once."""

    rank: ClassVar[int] = 80

    def __init__(self, worker: str, declare: Callable[[], "Shape"]) -> None:
        self._worker = worker
        self._declare = declare
        with suppress(_Unresolved):  # its module may define the name further down: asked again at first use
            _ = self.shape

    @cached_property
    def shape(self) -> "Shape":
        """What the worker declares. Raises DefinitionError where it cannot be understood."""
        try:
            return self._declare()
        except (NameError, PydanticUserError, SchemaError, TypeError) as fault:
            raise _refusal(self._worker, fault) from None

    def before_new(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with its args cast and encoded. Raises InvalidArgs, or TooLarge over 1,000,000 bytes."""
        stored, text = self._encoded(self._plain(job.args))
        return job.replace(args=stored, encoded=text)

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Cast what was stored to what process takes; args that no longer fit fail the attempt."""
        return await call_next(job.replace(args=self._cast(job.args)))

    def _cast(self, args: Any) -> Any:
        try:
            return self.shape.cast(args)
        except ValidationError as fault:  # it holds values, so it is not chained
            problems = [(_path(part["loc"]), _reason(part)) for part in fault.errors(include_url=False)]
        raise InvalidArgs(self._worker, problems)

    def _plain(self, args: Any) -> dict[str, Any]:
        """The cast form as plain data, of raw args or of an instance, which nobody may have checked."""
        shape = self.shape
        try:
            raw = args if _kind(args) is dict else shape.dump(args)
            plain: dict[str, Any] = shape.dump(self._cast(raw))
        except InvalidArgs:
            raise
        except (ValueError, RecursionError):  # what pydantic says of a cycle
            raise InvalidArgs(self._worker, [("", "a cycle or a depth that cannot be stored")]) from None
        if empty := [name for name in shape.texts if plain.get(name) == ""]:
            raise InvalidArgs(self._worker, [(name, _EMPTY) for name in empty])
        return plain

    def _encoded(self, plain: Any) -> tuple[Any, str]:
        try:
            return plain, codec.encode(plain, limit=ARGS_LIMIT, what="args")
        except Unencodable as refused:
            fault = refused
        try:  # a path or an address has a text instead
            plain = _with_texts(plain)
            return plain, codec.encode(plain, limit=ARGS_LIMIT, what="args")
        except Unencodable as refused:
            fault = refused
        except RecursionError:  # then the first fault was a cycle, or the depth
            pass
        raise InvalidArgs(self._worker, [(fault.path.removeprefix("args").removeprefix("."), fault.reason)])


class NoArgs(Feature):
    """The args of a worker that declares none: nothing to cast, and nothing may come."""

    rank: ClassVar[int] = StructuredArgs.rank

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def before_new(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The same job. Raises InvalidArgs when it carries anything."""
        if job.args:
            raise InvalidArgs(self._worker, [(str(name), _UNKNOWN) for name in job.args])
        return job

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it as it is; args from a time when the worker had some fail the attempt."""
        return await call_next(self.before_new(job))


# ── what a worker declares ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Shape:
    """A declaration, made ready to use: `cast` checks plain data, `dump` is its reverse."""

    cast: Callable[[Any], Any]
    dump: Callable[[Any], Any]
    texts: tuple[str, ...]  # required fields that are str: there an empty text is none


class _Unresolved(DefinitionError):
    """An annotation names a type that is not there (yet)."""


def args_of_function(worker: str, function: Callable[..., Any]) -> Feature:
    """The feature for a function's parameters. Raises DefinitionError where they cannot be stored by name."""
    parameters = signature(function).parameters
    for parameter in parameters.values():
        _check_parameter(worker, parameter)
    if not parameters:
        return NoArgs(worker)
    names = getattr(unwrap(function), "__globals__", {})
    return StructuredArgs(worker, partial(_shape_of_function, worker, parameters, names))


def args_of_class(worker: str, declared: Any, names: Mapping[str, Any]) -> Feature:
    """The feature for the `Args` of a class worker; `names` are its module's. Raises DefinitionError."""
    if declared in (None, type(None)):
        return NoArgs(worker)
    return StructuredArgs(worker, partial(_shape_of_class, worker, declared, names))


def _check_parameter(worker: str, parameter: Parameter) -> None:
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        raise DefinitionError(f"{worker} takes {parameter}; args are stored by name, so declare each of them")
    if isinstance(parameter.default, FieldInfo):
        raise DefinitionError(f"{worker} has a Field as default of {parameter.name}; put it in an Annotated[...]")


def _shape_of_function(worker: str, parameters: Mapping[str, Parameter], names: Mapping[str, Any]) -> Shape:
    hints = {name: parameter.annotation for name, parameter in parameters.items()}
    hints = _resolved({name: Any if hint is Parameter.empty else hint for name, hint in hints.items()}, names)
    given = {name: parameter.default for name, parameter in parameters.items()}
    defaults = {name: default for name, default in given.items() if default is not Parameter.empty}
    required = ((name, hint) for name, hint in hints.items() if name not in defaults)
    shape = _shape(_typed_dict(hints, defaults), required)
    _check_defaults(worker, shape, defaults)
    return shape


def _typed_dict(hints: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """A TypedDict of the parameters: any name may be a key, and what it is cast to are the keywords."""
    keys: dict[str, Any] = {name: Required[hint] for name, hint in hints.items()}
    for name, default in defaults.items():
        keys[name] = NotRequired[Annotated[hints[name], Field(default=default)]]
    make: Any = TypedDict
    # An instance of a plain dataclass comes unchecked, so it is looked into as well.
    config = ConfigDict(extra="forbid", revalidate_instances="always")
    return with_config(config)(make("Parameters", keys))


def _check_defaults(worker: str, shape: Shape, defaults: Mapping[str, Any]) -> None:
    """A default is stored like any other value, so it has to fit: `x: int = None` does not."""
    try:
        shape.cast(dict(defaults))
    except ValidationError as fault:
        for part in fault.errors(include_url=False):
            if part["loc"][0] in defaults:
                where = f"{_path(part['loc'])} in {worker}"
                raise DefinitionError(f"the default of {where} does not fit: {_reason(part)}") from None


def _shape_of_class(worker: str, declared: Any, names: Mapping[str, Any]) -> Shape:
    resolved = _resolved({"args": declared}, names)["args"]
    if resolved is Any:
        resolved = dict[str, Any]
    kind: Any = get_origin(resolved) or resolved
    if not _has_fields(kind):
        what = f"{worker} has {resolved!r} as its args"
        raise DefinitionError(f"{what}; use a pydantic model, a dataclass, a TypedDict or None")
    return _shape(resolved, _required_fields(kind))


def _has_fields(kind: Any) -> bool:
    if not isclass(kind) or issubclass(kind, RootModel):
        return False
    return is_typeddict(kind) or is_dataclass(kind) or issubclass(kind, (BaseModel, dict))


def _required_fields(kind: Any) -> Iterator[tuple[str, Any]]:
    """The fields without a default, each with its type."""
    if is_typeddict(kind):
        yield from ((name, hint) for name, hint in get_type_hints(kind).items() if name in kind.__required_keys__)
    elif issubclass(kind, BaseModel):
        yield from ((name, at.annotation) for name, at in kind.model_fields.items() if at.is_required())
    elif is_dataclass(kind):
        hints = get_type_hints(kind)
        required = (at for at in fields(kind) if at.default is MISSING and at.default_factory is MISSING)
        yield from ((at.name, hints[at.name]) for at in required)


def _resolved(hints: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The hints with every name looked up. Raises NameError."""
    return get_type_hints(SimpleNamespace(__annotations__=dict(hints)), dict(names), include_extras=True)


def _shape(declared: Any, required: Iterable[tuple[str, Any]]) -> Shape:
    adapter: TypeAdapter[Any] = TypeAdapter(declared)
    # Straight to the core: for a small dict the adapter's own methods cost as much again.
    check = partial(
        adapter.validator.validate_python,
        extra=None if _is_open(adapter.core_schema) else "forbid",
        by_alias=True,
        by_name=True,
    )
    dump = partial(adapter.serializer.to_python, by_alias=False, round_trip=True, warnings=False)
    return Shape(check, dump, tuple(name for name, hint in required if _bare(hint) is str))


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_open(schema: Any) -> bool:
    """Whether a model in it asks for unknown keys; then each model says for itself what may come."""
    kind = _kind(schema)
    if kind is dict:
        return schema.get("extra_fields_behavior") == "allow" or any(map(_is_open, schema.values()))
    return kind is list and any(map(_is_open, schema))


def _refusal(worker: str, fault: Exception) -> DefinitionError:
    """What is wrong with a declaration, in one line."""
    if isinstance(fault, NameError) or getattr(fault, "code", "") == "class-not-fully-defined":
        name = getattr(fault, "name", None)
        what = f"{name!r}, which is not there" if name else "a type that is not complete"
        return _Unresolved(
            f"args of {worker} name {what}; define it at the top of its module, "
            "and import it at run time, not only under TYPE_CHECKING"
        )
    return DefinitionError(f"args of {worker} cannot be checked: {str(fault).splitlines()[0]}")


# ── what does not fit, and why ────────────────────────────────────────────────────────────────────

_UNKNOWN: Final = "unknown; the worker takes no such arg"
_EMPTY: Final = "required, and an empty text counts as none; give the field a default to allow it"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": _UNKNOWN,
    "unexpected_keyword_argument": _UNKNOWN,
}
_VALIDATORS: Final = frozenset({"value_error", "assertion_error"})
_COLLECTIONS: Final = frozenset({list, tuple, set, frozenset})
_TEXT_INSTEAD: Final = (
    *(PurePath, AnyUrl),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)


def _path(steps: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _reason(fault: ErrorDetails) -> str:
    """Why a part does not fit, without any of its value: reasons are stored and logged."""
    kind, message, details = fault["type"], fault["msg"], fault.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "union_tag_invalid":
        return f"its {details['discriminator']} is none of {details['expected_tags']}"
    if kind not in _VALIDATORS and "error" in details:
        return message.partition(",")[0]  # after the comma a parser quotes what it met
    given = fault["input"]
    is_told = isinstance(given, str) and len(given) > 3 and given in message
    return "refused by its validator" if is_told else message


def _with_texts(value: Any) -> Any:
    """Plain data with its paths and addresses as text; the cast before process makes them anew."""
    kind = _kind(value)
    if kind is dict:
        return {key: _with_texts(item) for key, item in value.items()}
    if kind in _COLLECTIONS:
        return kind(map(_with_texts, value))
    return str(value) if isinstance(value, _TEXT_INSTEAD) else value


def _kind(value: object) -> type[Any]:
    return type(value)
