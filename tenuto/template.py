"""Template: a workflow as data, both ways: parameters filled in, every fault with its path, nothing ever imported."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from uuid_utils import uuid7

from tenuto import codec
from tenuto.definition import Definition, resolve, storing
from tenuto.errors import (
    CodecError,
    CycleFound,
    InvalidArgs,
    InvalidJob,
    InvalidTemplate,
    InvalidWorkflow,
    TenutoError,
    UnknownWorker,
)
from tenuto.features.chain import Chained
from tenuto.features.deadline import Deadline
from tenuto.features.reasons import path_of
from tenuto.features.unique import Unique
from tenuto.graph import order
from tenuto.job import Job, check_name
from tenuto.options import JobOptions
from tenuto.reference import kind_of, references
from tenuto.tagged import Sealed
from tenuto.walk import MAX_DEPTH

AnyJob: TypeAlias = Job[Any, Any]
Document: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str | int, ...]

FLAGS: Final = ("ignore_cancelled", "ignore_discarded", "ignore_deleted")
TYPES: Final[Mapping[str, Any]] = {
    "any": Any,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list[Any],
    "dict": dict[str, Any],
    "date": date,
    "time": time,
    "datetime": datetime,
    "timedelta": timedelta,
    "decimal": Decimal,
    "uuid": UUID,
}
"""What a parameter may be, by the word that says so."""


class Planned(NamedTuple):
    """A step as it is to be added."""

    name: str
    job: AnyJob | None  # None: it is a group
    deps: list[str]
    flags: dict[str, bool]
    steps: "tuple[Planned, ...]" = ()  # of the group, which is a workflow of its own with this id
    workflow_id: str | None = None


class Plan(NamedTuple):
    """A workflow as it is to be built."""

    name: str | None
    whole: dict[str, Any]  # what it says of itself beside its name
    steps: list[Planned]


# ── to data ───────────────────────────────────────────────────────────────────────────────────────


def step_as_data(
    job: AnyJob, deps: Iterable[str], flags: Mapping[str, bool], inside: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One step, or a group of those `inside` it: only what is not as usual. Raises InvalidWorkflow for sealed args."""
    if inside is not None:
        return {"steps": dict(inside)} | ({"deps": list(deps)} if deps else {}) | dict(flags)
    if isinstance(job.args, Sealed):
        raise InvalidWorkflow(f"job {job.id} of {job.worker} was stored, and its args are sealed; make a new() one")
    args = _wire(job.args) if job.encoded is None else json.loads(job.encoded)
    parts = {"worker": job.worker, "args": args.get("$waiting", args), "deps": list(deps), "options": _options_of(job)}
    return {name: part for name, part in parts.items() if part} | dict(flags)


def _options_of(job: AnyJob) -> dict[str, Any]:
    """What its options say other than its worker does."""
    usual = _usual(job)
    found = {name: getattr(job, name) for name in _PLAIN if getattr(job, name) != getattr(usual, name)}
    if (job.deadline, job.deadline_force) != (usual.deadline, usual.deadline_force):
        after = job.deadline
        found["deadline"] = {"after": after, "force": True} if after is not None and job.deadline_force else after
    if job.unique != usual.unique:
        found["unique"] = _unique_as_data(job.unique)
    return {name: _wire(list(value) if name == "tags" else value) for name, value in found.items()}


def _usual(job: AnyJob) -> AnyJob:
    try:
        return resolve(job.worker).template
    except UnknownWorker:
        return Job(job.worker)


def _unique_as_data(unique: object) -> dict[str, Any] | bool:
    """True for one as it comes, False for none, or what it says other than that."""
    if not isinstance(unique, Unique):
        return False
    usual = Unique()
    said: dict[str, Any] = {
        name: getattr(unique, name)
        for name in ("fields", "keys", "period", "states")
        if getattr(unique, name) != getattr(usual, name)
    }
    if unique.replaced:
        said["replace"] = {state: list(named) for state, named in unique.replaced.items()}
    return {name: _listed(part) if isinstance(part, tuple) else part for name, part in said.items()} or True


def _wire(value: Any) -> Any:
    """The value as JSON, with tags for what that lacks."""
    return json.loads(codec.encode(value))


_PLAIN: Final = ("queue", "max_attempts", "priority", "tags", "timeout", "meta", "schedule_in", "scheduled_at")

# ── from data ─────────────────────────────────────────────────────────────────────────────────────


def parsed(text: str) -> Any:
    """What a text of JSON holds. Raises InvalidTemplate, also for a key that is there twice."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as fault:
        reason = str(fault)
    raise InvalidTemplate([("", f"it is no JSON: {reason}")])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is none of its numbers")


def planned(document: Any, params: Mapping[str, Any] | None, workflow_id: str) -> Plan:
    """What a document says, with these parameters. Raises InvalidTemplate with all that is wrong with it."""
    return _Reading(workflow_id).plan(document, params or {})


class _Reading:
    """One document, and all that was found wrong with it."""

    def __init__(self, workflow_id: str) -> None:
        self._scopes: list[tuple[str, Mapping[str, Any]]] = [(workflow_id, {})]  # the innermost last
        self._params: dict[str, Any] = {}  # as JSON
        self._problems: list[tuple[str, str]] = []

    def plan(self, document: Any, params: Mapping[str, Any]) -> Plan:
        """The plan. Raises InvalidTemplate."""
        whole = self._object(document, (), ("name", "params", "steps", "unique", "on_finished", "context", *FLAGS))
        self._take(self._object(whole.get("params", {}), ("params",)), params)
        if not self._problems:
            whole = {key: self._filled(part, (key,)) for key, part in whole.items() if key != "params"}
        name = whole.get("name")
        if name is not None:
            self._tried(("name",), lambda: check_name("workflow", name))
        flags = self._flags(whole, ())
        rest = {**self._rest(whole), **flags}  # before there are names of steps, which it cannot take results of
        steps = self._steps(self._object(whole.get("steps", {}), ("steps",)), ("steps",))
        if self._problems:
            raise InvalidTemplate(self._problems)
        return Plan(name, rest, steps)

    def _rest(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """What it says of itself as a whole: unique, on_finished, context."""
        found: dict[str, Any] = {}
        if "unique" in whole:
            found["unique"] = whole["unique"]
            if not isinstance(whole["unique"], bool):
                self._fault(("unique",), "it is neither true nor false")
            elif whole["unique"] and whole.get("name") is None:
                self._fault(("unique",), "it keeps others of the same name out, and there is no name")
        if "context" in whole:
            found["context"] = self._decoded(self._object(whole["context"], ("context",)), ("context",))
        if "on_finished" in whole:
            found["on_finished"] = self._callback(whole["on_finished"], ("on_finished",))
        return found

    def _callback(self, said: Any, path: Path) -> AnyJob | None:
        known = self._object(said, path, ("worker", "args", "options"))
        options = self._options(known.get("options", {}), (*path, "options"))
        args = self._args(known.get("args", {}), (*path, "args"))
        worker = self._worker(known.get("worker"), (*path, "worker"))
        return None if worker is None else self._job(worker, options, args, path)

    # ── parameters ──

    def _take(self, declared: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in declared:
                self._fault(("params", name), f"there is no such parameter; there are {', '.join(declared) or 'none'}")
        for name, said in declared.items():
            path = ("params", name)
            known = self._object(said, path, ("type", "default", "help"))
            kind = known.get("type", "any")
            if not isinstance(kind, str) or kind not in TYPES:
                self._fault((*path, "type"), f"no type of a parameter; there are {', '.join(TYPES)}")
            elif name in given:
                self._keep(name, path, kind, given[name])
            elif "default" in known:
                default = self._decoded(known["default"], (*path, "default"))
                self._keep(name, (*path, "default"), kind, default)
            else:
                self._fault(path, "required; it has no default")

    def _keep(self, name: str, path: Path, kind: str, value: Any) -> None:
        try:
            given = parsed(value) if kind in ("list", "dict") and isinstance(value, str) else value  # of a command line
            self._params[name] = _wire(TypeAdapter(TYPES[kind]).validate_python(given))
        except (ValidationError, InvalidTemplate):  # which hold the value
            self._fault(path, f"it is no {kind}")
        except CodecError as fault:
            self._fault(path, str(fault))

    def _filled(self, held: Any, path: Path) -> Any:
        """The same with the values of parameters in their places."""
        if len(path) > 2 * MAX_DEPTH:
            self._fault(path[:5], "it is nested too deeply")
            return None
        if isinstance(held, list):
            return [self._filled(item, (*path, n)) for n, item in enumerate(_listed(held))]
        if not isinstance(held, dict):
            return held
        found = cast("dict[str, Any]", held)
        if found.keys() != {"$param"}:
            return {key: self._filled(item, (*path, key)) for key, item in found.items()}
        name = found["$param"]
        if not isinstance(name, str) or name not in self._params:
            self._fault(path, f"there is no parameter {name!r:.80}")
            return None
        return self._params[name]

    # ── steps ──

    def _steps(self, steps: Mapping[str, Any], path: Path) -> list[Planned]:
        if not steps and len(path) == 1:
            self._fault(path, "there is none")
        self._scopes[-1] = (self._scopes[-1][0], steps)
        found = [step for name, said in steps.items() if (step := self._step(name, said, steps, path)) is not None]
        if not self._problems:
            self._tried(path, lambda: order({step.name: [n for n in _needed(step) if n in steps] for step in found}))
        return found

    def _step(self, name: str, said: Any, steps: Mapping[str, Any], inside: Path) -> Planned | None:
        path = (*inside, name)
        before = len(self._problems)
        if issubclass(kind_of(said), Mapping) and "steps" in said:
            return self._group(name, said, steps, path)
        known = self._object(said, path, ("worker", "args", "deps", "options", *FLAGS))
        self._tried(path, lambda: check_name("step", name))
        deps = self._deps(known.get("deps", []), (*path, "deps"), steps)
        flags = self._flags(known, path)
        options = self._options(known.get("options", {}), (*path, "options"))
        args = self._args(known.get("args", {}), (*path, "args"))
        worker = self._worker(known.get("worker"), (*path, "worker"))
        job = None if worker is None else self._job(worker, options, args, path)
        return Planned(name, job, deps, flags) if job is not None and len(self._problems) == before else None

    def _group(self, name: str, said: Any, steps: Mapping[str, Any], path: Path) -> Planned | None:
        if len(path) > MAX_DEPTH:
            self._fault(path[:5], "it is nested too deeply")
            return None
        known = self._object(said, path, ("steps", "deps", *FLAGS))
        self._tried(path, lambda: check_name("step", name))
        deps = self._deps(known.get("deps", []), (*path, "deps"), steps)
        flags = self._flags(known, path)
        workflow_id = str(uuid7())
        self._scopes.append((workflow_id, {}))
        inside = self._steps(self._object(known.get("steps", {}), (*path, "steps")), (*path, "steps"))
        self._scopes.pop()
        return Planned(name, None, deps, flags, tuple(inside), workflow_id)

    def _deps(self, said: Any, path: Path, steps: Mapping[str, Any]) -> list[str]:
        names = [said] if isinstance(said, str) else _listed(said) if isinstance(said, list) else [None]
        for n, name in enumerate(names):
            if not isinstance(name, str):
                self._fault(path, "deps are names of steps, in a list")
            elif not _names(steps, name):
                self._fault((*path, n), f"no step is named {name!r:.80}")
        return [name for name in names if isinstance(name, str)]

    def _worker(self, said: Any, path: Path) -> Definition | None:
        if not isinstance(said, str):
            self._fault(path, "required; the name of a worker")
            return None
        try:
            return resolve(said)
        except UnknownWorker:
            self._fault(path, f"no worker named {said!r:.80} is registered here; import its module before")
            return None

    def _args(self, said: Any, path: Path) -> dict[str, Any]:
        args: Any = self._decoded({"$waiting": self._object(said, path)}, path) or {}
        for reference in references(args):
            found = [id for id, names in self._scopes if _names(names, reference.step)]
            reference.workflow_id = found[-1] if found else self._scopes[-1][0]
            if not found:
                self._fault(path, f"{reference!r} is taken, and no step has that name")
        return dict(args)

    def _options(self, said: Any, path: Path) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for name, value in self._object(said, path, sorted(JobOptions.__optional_keys__ - {"id"})).items():
            decoded = self._decoded(value, (*path, name))
            made = self._tried((*path, name), lambda: _READ.get(name, _as_it_is)(decoded))  # noqa: B023 - called here
            options[name] = made
        return options

    def _job(self, worker: Definition, options: dict[str, Any], args: dict[str, Any], path: Path) -> AnyJob | None:
        before = len(self._problems)
        for name, value in options.items():
            self._tried((*path, "options", name), lambda: worker.maker(cast("JobOptions", {name: value})))  # noqa: B023
        fitting = options if len(self._problems) == before else {}
        try:
            job = worker.maker(cast("JobOptions", fitting))(args)
        except InvalidArgs as refused:
            self._problems += [(path_of((*path, "args", *([at] if at else []))), why) for at, why in refused.problems]
            return None
        except TenutoError as refused:
            self._fault((*path, "options"), str(refused))
            return None
        if any(isinstance(feature, Chained) for feature in storing(job)):
            self._fault((*path, "worker"), f"{job.worker} is chained, and a step has deps instead")
        return job

    # ── parts ──

    def _object(self, held: Any, path: Path, known: Iterable[str] | None = None) -> dict[str, Any]:
        """What an object holds under its known names; nothing of what is none."""
        kind = kind_of(held)
        found: dict[str, Any] = dict(held) if issubclass(kind, Mapping) else {"": held}
        if not all(isinstance(key, str) for key in found) or not issubclass(kind, Mapping):
            self._fault(path, f"it is to be an object with texts as keys, and is of type {kind.__name__}")
            return {}
        if known is None:
            return found
        names = tuple(known)
        for name in found.keys() - set(names):
            self._fault((*path, name), f"unknown; there are {', '.join(names)}")
        return {name: found[name] for name in found if name in names}

    def _flags(self, held: Mapping[str, Any], path: Path) -> dict[str, bool]:
        flags = {flag: held[flag] for flag in FLAGS if flag in held}
        for flag, value in flags.items():
            if not isinstance(value, bool):
                self._fault((*path, flag), "it is neither true nor false")
        return flags

    def _decoded(self, said: Any, path: Path) -> Any:
        """The value that JSON with tags stands for; None where there is none."""
        try:
            return codec.decode(json.dumps(said, ensure_ascii=False))
        except CodecError as fault:
            self._fault(path, str(fault))
        except (TypeError, ValueError, RecursionError):
            self._fault(path, "it is no JSON")
        return None

    def _tried(self, path: Path, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (InvalidJob, CycleFound, CodecError) as fault:
            self._fault(path, str(fault))
            return None

    def _fault(self, path: Path, reason: str) -> None:
        self._problems.append((path_of(path), reason))


def _listed(held: Any) -> list[Any]:
    return list(held)


def _needed(step: Planned) -> tuple[str, ...]:
    args = None if step.job is None else step.job.args
    return (*step.deps, *(reference.step for reference in references(args)))


def _names(steps: Mapping[str, Any], name: str) -> bool:
    """Whether there is a step of that name among these, or in their groups."""
    if name in steps:
        return True
    for group, said in steps.items():
        if name.startswith(f"{group}/") and issubclass(kind_of(said), Mapping):
            inside = said.get("steps")
            if issubclass(kind_of(inside), Mapping) and _names(inside, name.removeprefix(f"{group}/")):
                return True
    return False


def _as_it_is(value: Any) -> Any:
    return value


def _deadline(said: Any) -> Any:
    if kind_of(said) is not dict:
        return said
    if "after" not in _known(said, ("after", "force")):
        raise InvalidJob("it says nothing of `after`")
    return Deadline(**said)


def _unique(said: Any) -> Any:
    return Unique(**_known(said, ("fields", "keys", "period", "states", "replace"))) if kind_of(said) is dict else said


def _known(said: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in said.keys() - set(names):
        raise InvalidJob(f"no part of it is named {name!r:.80}; there are {', '.join(names)}")
    return said


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {"deadline": _deadline, "unique": _unique}
