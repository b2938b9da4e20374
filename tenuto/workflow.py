"""Workflow: steps and their deps, added one by one, and turned into jobs, nodes and edges to be stored."""

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, NamedTuple, Self, TypeAlias, cast
from uuid import UUID

from uuid_utils import uuid7

from tenuto.definition import resolve, storing
from tenuto.errors import (
    ChainInWorkflow,
    DuplicateJob,
    DuplicateStep,
    EmptyWorkflow,
    ForeignStep,
    InvalidArgs,
    InvalidWorkflow,
    ModelNotTaken,
    UnknownWorker,
)
from tenuto.features.chain import Chained
from tenuto.graph import Edge, Head, Node, order
from tenuto.job import AVAILABLE, IDENTIFIERS, SUSPENDED, Failure, Job, Result, check_name, id_of
from tenuto.llm.debugging import DEBUG
from tenuto.llm.review import model_step
from tenuto.reference import Reference, Waiting, references
from tenuto.template import FLAGS, parsed, planned, step_as_data

# ── steps ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Step(Generic[Result]):
    """One job in its place: the steps it waits for, and which bad ends of theirs it forgives."""

    name: str
    job: Job[Any, Result]
    deps: tuple[str, ...]
    ignore_cancelled: bool
    ignore_discarded: bool
    ignore_deleted: bool
    workflow_id: str

    @property
    def flags(self) -> tuple[bool, bool, bool]:
        """Whether it forgives a dep that was cancelled, discarded, deleted."""
        return self.ignore_cancelled, self.ignore_discarded, self.ignore_deleted

    @property
    def result(self) -> Result:
        """What it will come to, as an arg for steps behind it: `new(token=fetch.result["token"])`.

        It is of the type of that result to who checks types; while the workflow is built it is a reference, which can
        be indexed and handed over, at any depth of args. The step that takes it depends on this one.
        """
        return cast("Result", Reference(self.name, (), self.workflow_id))


Dep: TypeAlias = str | Enum | Step[Any]
"""A step by its name, by an enum member that has the name as its value, or as `add` gave it back."""


class ModelSteps(NamedTuple):
    """What `fan_out_models` added: a step for each model, by the model or its label, and the one behind them all."""

    models: Mapping[str, Step[Any]]
    synthesis: Step[Any] | None


MODEL: Final = "workflow_model"  # the arg that tells a step its model


class Rows(NamedTuple):
    """A workflow as it goes into the database: in the order of adding, with every job ready to be stored."""

    head: Head
    jobs: list[Job[Any, Any]]
    nodes: list[Node]
    edges: list[Edge]


# ── the workflow ──────────────────────────────────────────────────────────────────────────────────


class Workflow:
    """Jobs that wait for each other, stored together or not at all.

    The three flags forgive deps that did not end well, for every step that does not say otherwise. The id (a
    UUIDv7 unless one is given) makes it the same workflow, however often it is enqueued. `models` tells steps, by their
    names, which model they are to call: as their arg `workflow_model`. With `debug` a log of its steps is kept.
    Raises InvalidJob for a name, a model or an id, and InvalidWorkflow for a flag, that cannot be.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        id: UUID | str | None = None,
        ignore_cancelled: bool = False,
        ignore_discarded: bool = False,
        ignore_deleted: bool = False,
        models: Mapping[str, str] | None = None,
        debug: bool = False,
    ) -> None:
        self.name = None if name is None else check_name("workflow", name)
        self.id = str(uuid7()) if id is None else id_of(id)
        self.ignore_cancelled = _flag("ignore_cancelled", ignore_cancelled)
        self.ignore_discarded = _flag("ignore_discarded", ignore_discarded)
        self.ignore_deleted = _flag("ignore_deleted", ignore_deleted)
        self.models: Mapping[str, str] = MappingProxyType(_checked_models(models or {}))
        self.debug = _flag("debug", debug)
        self._steps: dict[str, Step[Any]] = {}
        self._holders: dict[str, str] = {}  # the step of each job, by id

    def add(
        self,
        name: str | Enum,
        job: Job[Any, Result],
        deps: Dep | Iterable[Dep] = (),
        *,
        ignore_cancelled: bool | None = None,
        ignore_discarded: bool | None = None,
        ignore_deleted: bool | None = None,
    ) -> Step[Result]:
        """Add a job as the step `name`, to run after `deps`: one, or several; they may be added later.

        It runs after the steps whose results its args hold, too.
        Raises DuplicateStep, DuplicateJob, ForeignStep, ChainInWorkflow, and InvalidWorkflow for what is no fresh Job,
        no deps or no flag, and ModelNotTaken where `models` names the step and its worker takes no `workflow_model`;
        then nothing was added.
        """
        name = self._free(_name(name))
        fresh = self._fresh(name, job)
        step = Step(
            name,
            fresh if name not in self.models else _modelled(name, fresh, self.models[name], fresh.id),
            tuple(dict.fromkeys([*self._names(name, deps), *self._referred(name, job)])),
            _flag("ignore_cancelled", self.ignore_cancelled if ignore_cancelled is None else ignore_cancelled),
            _flag("ignore_discarded", self.ignore_discarded if ignore_discarded is None else ignore_discarded),
            _flag("ignore_deleted", self.ignore_deleted if ignore_deleted is None else ignore_deleted),
            self.id,
        )
        self._steps[name] = step
        self._holders[job.id] = name
        return step

    def fan_out_models(
        self,
        name: str | Enum,
        job: Job[Any, Any],
        models: Sequence[str] | Mapping[str, str],
        deps: Dep | Iterable[Dep] = (),
        *,
        synthesize: Job[Any, Any] | None = None,
        partial: bool = False,
        ignore_cancelled: bool | None = None,
        ignore_discarded: bool | None = None,
        ignore_deleted: bool | None = None,
    ) -> ModelSteps:
        """Add the same job once for each model, as the steps `name/model`, told which by their arg `workflow_model`.

        A mapping gives models by labels, which are then the names: so one model can be asked twice. A slash in a name
        becomes `%2F`. `synthesize` is a job behind all of them, as the step `name_synthesis`, which reads them by
        `results.get_model_results(name)`; with `partial` it forgives those that end badly. The flags are those of the
        steps of the models. Raises as `add` does, and ModelNotTaken.
        """
        name = _name(name)
        ends = {"ignore_cancelled": ignore_cancelled, "ignore_discarded": ignore_discarded}
        flags: dict[str, bool | None] = {**ends, "ignore_deleted": ignore_deleted}
        labelled = _labelled(models)
        attempt = self._copied()
        members = {
            label: attempt.add(step := model_step(name, label), _modelled(step, job, model), deps, **flags)
            for label, model in labelled.items()
        }
        synthesis = None
        if synthesize is not None:
            forgiven = dict.fromkeys(FLAGS, True) if _flag("partial", partial) else {}
            synthesis = attempt.add(f"{name}_synthesis", synthesize, list(members.values()), **forgiven)
        self._steps, self._holders = attempt._steps, attempt._holders
        return ModelSteps(MappingProxyType(members), synthesis)

    @property
    def label(self) -> str:
        """Its name, or its id."""
        return self.name or self.id

    @property
    def steps(self) -> Mapping[str, Step[Any]]:
        """The steps by name, in the order of adding."""
        return MappingProxyType(self._steps)

    @property
    def step_names(self) -> list[str]:
        """The names of the steps, in the order of adding."""
        return list(self._steps)

    @property
    def jobs(self) -> Mapping[str, Job[Any, Any]]:
        """The jobs by the names of their steps, in the order of adding; as stored, once they are."""
        return {name: step.job for name, step in self._steps.items()}

    def validate(self) -> list[str]:
        """The names in an order in which the steps can run; among those that could be next, the first added.

        Raises EmptyWorkflow, UnknownDependency, CycleFound, whichever of them is true first.
        """
        if not self._steps:
            raise EmptyWorkflow
        for name in self.models:
            if name not in self._steps:
                raise InvalidWorkflow(f"models= names {name!r}, and no step has that name")
        return order({name: step.deps for name, step in self._steps.items()})

    def rows(self) -> Rows:
        """What is to be stored; jobs with deps are suspended. Raises as `validate` does."""
        self.validate()
        steps = self._steps.values()
        needed = {dep for step in steps for dep in step.deps}
        identifiers: dict[str, Any] = dict(zip(IDENTIFIERS[:3], (self.id, self.name, self.label), strict=True))
        identifiers |= {DEBUG: True} if self.debug else {}
        ids = {step.name: step.job.id for step in steps}
        return Rows(
            Head(self.id, self.name),
            [self._member(step, identifiers, step.name in needed) for step in steps],
            [Node(s.name, s.job.id, s.deps, n, s.job.worker, *s.flags) for n, s in enumerate(steps)],
            [Edge(step.job.id, ids[dep], *step.flags) for step in steps for dep in step.deps],
        )

    def stored(self, jobs: Mapping[str, Job[Any, Any]]) -> Self:
        """The same workflow with its jobs as they were stored, by the names of their steps."""
        same = self._copied()
        same._steps = {name: changed(step, job=jobs[name]) for name, step in self._steps.items()}
        return same

    # ── as data ──

    def to_dict(self) -> dict[str, Any]:
        """The workflow as data that JSON can hold: its flags, and its steps by name, in the order of adding.

        No ids: what `from_dict` makes of it is another workflow. Args stand in it in the clear, also those of encrypted
        workers. Raises InvalidWorkflow where they are sealed already.
        """
        name = {} if self.name is None else {"name": self.name}
        flags = {flag: True for flag in (*FLAGS, "debug") if getattr(self, flag)}
        steps = {name: step_as_data(step.job, step.deps, self._own_flags(step)) for name, step in self._steps.items()}
        return {**name, **flags, "steps": steps}

    def to_json(self) -> str:
        """`to_dict` as text, to be kept in a file."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Self:
        """A new workflow made of data, with values for the parameters that it declares.

        Workers are found by their registered names, and nothing is imported. Raises InvalidTemplate with every fault.
        """
        id = str(uuid7())
        plan = planned(document, params, id)
        flow = cls(plan.name, id=id, **cast("Any", plan.flags))
        for step in plan.steps:
            flow.add(step.name, step.job, step.deps, **step.flags)
        return flow

    @classmethod
    def from_json(cls, text: str, params: Mapping[str, Any] | None = None) -> Self:
        """`from_dict` of a text, as `to_json` gives it. Raises InvalidTemplate, also for what is no JSON."""
        return cls.from_dict(parsed(text), params)

    def __repr__(self) -> str:
        return f"<Workflow {self.label!r} of {len(self._steps)} steps>"

    def _copied(self) -> Self:
        same = copy(self)
        same._steps, same._holders = dict(self._steps), dict(self._holders)
        return same

    def _own_flags(self, step: Step[Any]) -> dict[str, bool]:
        """Those of its flags that are not its workflow's."""
        return {flag: getattr(step, flag) for flag in FLAGS if getattr(step, flag) != getattr(self, flag)}

    def _free(self, name: str) -> str:
        if name in self._steps:
            raise DuplicateStep(name)
        return name

    def _fresh(self, name: str, job: Job[Any, Result]) -> Job[Any, Result]:
        """The job, if nothing else has a claim on it."""
        if not isinstance(job, Job):
            raise InvalidWorkflow(f"step {name!r} holds a {type(job).__name__}, which is no Job; make one with new()")
        if job.id in self._holders:
            raise DuplicateJob(name, self._holders[job.id])
        if job.workflow_id is not None or job.inserted_at is not None:
            raise InvalidWorkflow(f"step {name!r} holds a Job that was stored before; make a new() one")
        if job.state is not AVAILABLE and type(job.args) is not Waiting:
            raise InvalidWorkflow(f"step {name!r} holds a Job that says it is {job.state}; make one with new()")
        if any(isinstance(feature, Chained) for feature in storing(job)):
            raise ChainInWorkflow(name, job.worker)
        return job

    def _names(self, name: str, deps: Dep | Iterable[Dep]) -> tuple[str, ...]:
        """Deps as names, each once, in the order given."""
        several = (deps,) if isinstance(deps, str | Enum | Step) else deps
        if isinstance(deps, bytes | Mapping) or not isinstance(several, Iterable):
            told = "give names of steps, or Steps as add() gave them back: one, or several"
            raise InvalidWorkflow(f"step {name!r} has deps that name no steps; {told}")
        return tuple(dict.fromkeys(self._own(name, dep) for dep in several))

    def _referred(self, name: str, job: Job[Any, Any]) -> list[str]:
        """The steps whose results stand in the job's args."""
        found = list(references(job.args)) if type(job.args) is Waiting else []
        for reference in found:
            if reference.workflow_id != self.id:
                raise ForeignStep(name, reference.step)
        return [reference.step for reference in found]

    def _own(self, name: str, dep: Dep) -> str:
        if not isinstance(dep, Step):
            return _name(dep)
        if dep.workflow_id != self.id:
            raise ForeignStep(name, dep.name)
        return dep.name

    def _member(self, step: Step[Any], identifiers: Mapping[str, Any], is_needed: bool) -> Job[Any, Any]:
        job = step.job
        return job.replace(
            meta={**job.meta, **identifiers},
            workflow_id=self.id,
            state=SUSPENDED if step.deps else job.state,
            waiting_on=len(step.deps),
            has_needs=bool(step.deps),
            has_dependents=is_needed,
        )


def _flag(what: str, flag: bool) -> bool:
    if not isinstance(flag, bool):
        raise InvalidWorkflow(f"{what}={flag!r:.80} is neither True nor False")
    return flag


# ── models ────────────────────────────────────────────────────────────────────────────────────────


def _modelled(step: str, job: Job[Any, Result], model: str, id: str | None = None) -> Job[Any, Result]:
    """The job, made anew with its model among its args. Raises ModelNotTaken."""
    if type(job.args) not in (dict, Waiting):
        raise ModelNotTaken(step, job.worker, "its args are no dict")
    args: dict[str, Any] = {**job.args, MODEL: model}
    try:
        return resolve(job.worker).new(args, job.replace(state=AVAILABLE), id)
    except InvalidArgs as refused:
        raise ModelNotTaken(step, job.worker, refused.problems[0][1]) from None
    except UnknownWorker:
        raise ModelNotTaken(step, job.worker, "no worker of that name is registered here") from None


def _checked_models(models: Any) -> dict[str, str]:
    if not isinstance(models, Mapping):
        raise InvalidWorkflow("models= takes names of models by the names of steps")
    given = cast("Any", models)
    return {_name(step): check_name("model", model) for step, model in given.items()}


def _labelled(models: Any) -> dict[str, str]:
    """Models by their labels. Raises InvalidWorkflow for none, and DuplicateStep for one that is named twice."""
    if isinstance(models, Mapping):
        found = _checked_models(models)
    elif isinstance(models, str) or not isinstance(models, Iterable):
        raise InvalidWorkflow("models are names of models in a list, or by labels of yours")
    else:
        given = cast("Any", models)
        listed = [check_name("model", model) for model in given]
        found = dict(zip(listed, listed, strict=True))
        if len(found) < len(listed):
            twice = next(model for model in listed if listed.count(model) > 1)
            raise InvalidWorkflow(f"model {twice!r} is named twice; give models by labels to ask one twice")
    if not found:
        raise InvalidWorkflow("there is no model to ask")
    return found


def _name(name: Any) -> str:
    return check_name("step", name.value if isinstance(name, Enum) else name)


# ── how it stands ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StepStatus:
    """One step as it stands. It outlives its job: then `state` is its fate, and the rest may be unknown."""

    name: str
    job_id: str
    worker: str
    deps: tuple[str, ...]
    state: str  # its job's; `deleted` where somebody deleted that unfinished
    fate: Literal["completed", "cancelled", "discarded", "deleted"] | None  # None while it is unfinished
    attempt: int = 0
    has_result: bool = False
    result: Any = field(default=None, repr=False)  # what it stored, where that is short
    error: Failure | None = field(default=None, repr=False)  # the last one
    attempted_at: datetime | None = None
    finished_at: datetime | None = None
    ignore_cancelled: bool = False
    ignore_discarded: bool = False
    ignore_deleted: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """A workflow as it stands, with its steps counted by what became of them, and listed when asked for."""

    id: str
    name: str | None
    state: Literal["running", "finished"]
    outcome: Literal["completed", "failed"] | None  # failed: some step has another fate than completed
    runs: int  # how often it was begun: once, and again at each retry of a finished one
    total: int
    unfinished: int
    completed: int
    cancelled: int
    discarded: int
    deleted: int
    inserted_at: datetime
    finished_at: datetime | None = None
    steps: tuple[StepStatus, ...] = field(default=(), repr=False)

    @property
    def is_finished(self) -> bool:
        """Whether no step is left to settle."""
        return self.state == "finished"

    @property
    def duration(self) -> timedelta | None:
        """From when it was stored to its end; None while it runs."""
        return None if self.finished_at is None else self.finished_at - self.inserted_at

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the steps that did not complete, forgiven or not, of those in `steps`."""
        return tuple(step.name for step in self.steps if step.fate not in (None, "completed"))
