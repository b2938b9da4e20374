"""The schema of args: what a function's signature or the `Args` of a class declares, or why it cannot be stored.

A function declares with its signature, a class worker with its `Args`: a pydantic model, a dataclass or a TypedDict.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from inspect import Parameter, isclass, signature, unwrap
from types import SimpleNamespace
from typing import Annotated, Any, Final, Literal, NotRequired, Required, cast, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from pydantic.fields import Field, FieldInfo
from pydantic_core import SchemaError, SchemaSerializer, SchemaValidator
from typing_extensions import TypedDict, is_typeddict

from tenuto.errors import DefinitionError
from tenuto.features.args import NoArgs, Shape, StructuredArgs, Unresolved
from tenuto.features.feature import Feature
from tenuto.features.reasons import path_of, reason_of


def args_of_function(worker: str, function: Callable[..., Any]) -> Feature:
    """The feature for a function's parameters. Raises DefinitionError where they cannot be stored by name."""
    parameters = signature(function).parameters
    for parameter in parameters.values():
        _check_parameter(worker, parameter)
    if not parameters:
        return NoArgs(worker)
    names = getattr(unwrap(function), "__globals__", {})
    return StructuredArgs(worker, partial(_declared, worker, partial(_shape_of_function, worker, parameters, names)))


def args_of_class(worker: str, declared: Any, names: Mapping[str, Any]) -> Feature:
    """The feature for the `Args` of a class worker; `names` are its module's. Raises DefinitionError."""
    if declared in (None, type(None)):
        return NoArgs(worker)
    return StructuredArgs(worker, partial(_declared, worker, partial(_shape_of_class, worker, declared, names)))


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
    shape = _shape(_typed_dict(hints, defaults))
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
                where = f"{path_of(part['loc'])} in {worker}"
                raise DefinitionError(f"the default of {where} does not fit: {reason_of(part)}") from None


def _shape_of_class(worker: str, declared: Any, names: Mapping[str, Any]) -> Shape:
    resolved = _resolved({"args": declared}, names)["args"]
    if resolved is Any:
        resolved = dict[str, Any]
    kind: Any = get_origin(resolved) or resolved
    if not _has_fields(kind):
        what = f"{worker} has {resolved!r} as its args"
        raise DefinitionError(f"{what}; use a pydantic model, a dataclass, a TypedDict or None")
    return _shape(resolved)


def _has_fields(kind: Any) -> bool:
    if not isclass(kind) or issubclass(kind, RootModel):
        return False
    return is_typeddict(kind) or is_dataclass(kind) or issubclass(kind, (BaseModel, dict))


def _resolved(hints: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The hints with every name looked up. Raises NameError."""
    return get_type_hints(SimpleNamespace(__annotations__=dict(hints)), dict(names), include_extras=True)


def _shape(declared: Any) -> Shape:
    adapter: TypeAdapter[Any] = TypeAdapter(declared)
    return _shape_of(adapter.core_schema, extra=None if _is_open(adapter.core_schema) else "forbid")


def _shape_of(core: Any, extra: Literal["forbid"] | None) -> Shape:
    # Straight to the core: for a small dict the adapter's own methods cost as much again. A validator that a nested
    # model has already would be one without our demands.
    schema = _demanding(core)
    validator = SchemaValidator(schema, _use_prebuilt=False)
    serializer = SchemaSerializer(schema, _use_prebuilt=False)
    check = partial(
        validator.validate_python,
        extra=extra,
        by_alias=True,
        by_name=True,
    )
    dump = partial(serializer.to_python, by_alias=False, round_trip=True, warnings=False)

    @lru_cache
    def without(names: frozenset[str]) -> Shape:
        return _shape_of(_without(core, names), extra)

    return Shape(check, dump, without)


# ── args of which some are not there yet ──


def _without(core: Any, names: frozenset[str]) -> Any:
    """The schema of the same fields in a dict, in which anything may stand for these `names`.

    What a user's code checks of all fields together is not asked: that is for when they are there.
    """
    if core["type"] == "definitions":
        inner = core["schema"]
        if inner["type"] == "definition-ref":
            inner = next(each for each in core["definitions"] if each.get("ref") == inner["schema_ref"])
        return {**core, "schema": _without(inner, names)}
    if core["type"] in _WHOLE:
        return _without(core["schema"], names)
    if core["type"] == "dict":
        return {"type": "dict", "keys_schema": {"type": "str"}}
    inside = core
    while inside["type"] not in _OF_FIELDS:
        inside = inside["schema"]
    config: Any = core.get("config", {})
    known = {"extra_behavior": config["extra_fields_behavior"]} if "extra_fields_behavior" in config else {}
    return {"type": "typed-dict", "fields": dict(_fields_without(inside["fields"], names)), "config": config, **known}


def _fields_without(fields: dict[str, Any] | list[dict[str, Any]], names: frozenset[str]) -> Iterator[tuple[str, Any]]:
    several = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    for name, field in several:
        if field.get("init") is False:  # which a dataclass works out itself
            continue
        kept: dict[str, Any] = {key: field[key] for key in ("schema", "required", "validation_alias") if key in field}
        if names & {name, *_texts(field.get("validation_alias"))}:
            kept["schema"] = {"type": "any"}
        else:
            kept["schema"] = _serialized_alone(kept["schema"])
            if field["schema"]["type"] == "default":
                kept["required"] = False
        yield name, {"type": "typed-dict-field", **kept}


def _serialized_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field without a serializer that is handed the whole model, of which parts are not there yet."""
    if schema.get("serialization", {}).get("is_field_serializer"):
        return {name: part for name, part in schema.items() if name != "serialization"}
    return schema


def _texts(alias: Any) -> set[str]:
    """The names in an alias, which may have several, and paths."""
    if isinstance(alias, list | tuple):
        return {name for part in cast("Sequence[Any]", alias) for name in _texts(part)}
    return {alias} if isinstance(alias, str) else set()


def _demanding(schema: Any, *, required: bool = False) -> Any:
    """The schema with two demands more, at every depth: a required text is not empty, an instance is checked again.

    And one less: what a dataclass works out itself (`init=False`) is not stored, since it may not be given.
    """
    if isinstance(schema, list | tuple):
        return [_demanding(part, required=required) for part in cast("Sequence[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    parts = cast("dict[str, Any]", schema)
    kind = parts.get("type")
    if not isinstance(kind, str):  # names with their schemas
        return {name: _demanding(part) for name, part in parts.items()}
    if kind == "str":
        return {**parts, "min_length": max(1, parts.get("min_length") or 0)} if required else parts
    inside = parts.get("required", True) if kind in _FIELDS else required and kind in _WRAPPERS
    more: dict[str, Any] = {"revalidate_instances": "always"} if kind in _MODELS else {}
    if parts.get("init") is False:
        more["serialization_exclude"] = True
    same = {name: part if name in _NO_SCHEMA else _demanding(part, required=inside) for name, part in parts.items()}
    return _given_alone({**same, **more}) if kind == "dataclass" else {**same, **more}


def _given_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass, for which an instance is no more than what it was given: its other fields it works out
    itself, and refuses to be given them."""
    kind = schema["cls"]
    given = [each.name for each in fields(kind) if each.init]
    if len(given) == len(fields(kind)):
        return schema

    def parts(value: Any) -> Any:
        return {name: getattr(value, name) for name in given} if isinstance(value, kind) else value

    ref = {"ref": schema.pop("ref")} if "ref" in schema else {}
    return {"type": "function-before", "function": {"type": "no-info", "function": parts}, "schema": schema, **ref}


def _is_open(schema: Any) -> bool:
    """Whether a model in it asks for unknown keys; then each model says for itself what may come."""
    if isinstance(schema, dict):
        parts = cast("dict[str, Any]", schema)
        return parts.get("extra_fields_behavior") == "allow" or any(map(_is_open, parts.values()))
    return isinstance(schema, list) and any(map(_is_open, cast("Sequence[Any]", schema)))


_WHOLE: Final = frozenset({"function-after", "function-before", "function-wrap"})
_OF_FIELDS: Final = frozenset({"model-fields", "typed-dict", "dataclass-args"})
_FIELDS: Final = frozenset({"model-field", "typed-dict-field", "dataclass-field"})
_WRAPPERS: Final = frozenset({"function-after", "function-before", "function-wrap", "lax-or-strict", "union"})
_MODELS: Final = frozenset({"model", "dataclass"})
_NO_SCHEMA: Final = frozenset({"metadata", "serialization", "default", "cls", "config"})


def _declared(worker: str, shape: Callable[[], Shape]) -> Shape:
    """The shape, or what is wrong with the declaration, in one line."""
    try:
        return shape()
    except (NameError, PydanticUserError, SchemaError, TypeError) as fault:
        raise _refusal(worker, fault) from None


def _refusal(worker: str, fault: Exception) -> DefinitionError:
    """What is wrong with a declaration, in one line."""
    if isinstance(fault, NameError) or getattr(fault, "code", "") == "class-not-fully-defined":
        name = getattr(fault, "name", None)
        what = f"{name!r}, which is not there" if name else "a type that is not complete"
        return Unresolved(
            f"args of {worker} name {what}; define it at the top of its module, "
            "and import it at run time, not only under TYPE_CHECKING"
        )
    said = str(fault).splitlines()[0].partition(". Set `arbitrary_types_allowed")[0]  # which would not help here
    return DefinitionError(f"args of {worker} cannot be checked: {said}")
