"""Workflow: steps and their deps, added one by one, and turned into jobs, nodes and edges to be stored."""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass
from dataclasses import replace as changed
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Self, TypeAlias, cast
from uuid import UUID

from uuid_utils import uuid7

from tenuto import codec
from tenuto.definition import storing
from tenuto.errors import (
    ChainInWorkflow,
    DuplicateJob,
    DuplicateStep,
    EmptyWorkflow,
    ForeignStep,
    InvalidTemplate,
    InvalidWorkflow,
)
from tenuto.features.chain import Chained
from tenuto.features.encrypted import Encryption
from tenuto.features.unique import UniqueJobs
from tenuto.graph import GROUP, Edge, Growth, Head, Need, Node, order
from tenuto.job import AVAILABLE, IDENTIFIERS, SUSPENDED, Job, Result, check_name, id_of
from tenuto.llm.debugging import DEBUG
from tenuto.llm.review import quoted
from tenuto.models import checked_models, labelled, modelled, step_name
from tenuto.nesting import Flags, full, is_inside, members_of, needs_of, prefixes, renamed, short
from tenuto.reference import Reference, Waiting, references
from tenuto.sizes import ARGS_MOST
from tenuto.template import FLAGS, Planned, parsed, planned, step_as_data

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
    parent: str | None = None  # the name of the group it is in
    is_group: bool = False  # it gathers others, and nobody runs its job

    @property
    def flags(self) -> Flags:
        """Whether it forgives a dep that was cancelled, discarded, deleted."""
        return self.ignore_cancelled, self.ignore_discarded, self.ignore_deleted

    @property
    def result(self) -> Result:
        """What it will come to, as an arg for steps behind it: `new(token=fetch.result["token"])`.

        It is of the type of that result to who checks types; while the workflow is built it is a reference, which can
        be indexed and handed over, at any depth of args. The step that takes it depends on this one.
        """
        return cast("Result", Reference(self.name, (), self.workflow_id))


GRAFT: Final = "graft"
"""The member of a graft that fills it."""

Dep: TypeAlias = str | Enum | Step[Any]
"""A step by its name, by an enum member that has the name as its value, or as `add` gave it back."""


class ModelSteps(NamedTuple):
    """What `fan_out_models` added: a step for each model, by the model or its label, and the one behind them all."""

    models: Mapping[str, Step[Any]]
    synthesis: Step[Any] | None


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
    UUIDv7 unless one is given) makes it the same workflow, however often it is enqueued. While a `unique` one is
    unfinished, another unique one of its name is refused. The job `on_finished` is enqueued once it has finished, well
    or not, and again after each retry of it; `meta["finished"]` tells it what came of it. Every step may read the
    `context` by `await workflow_context()`. `models` tells steps, by their names, which model they are to call: as
    their arg `workflow_model`. With `debug` a log of its steps is kept. Raises InvalidJob for a name, a model or an id,
    Unencodable and TooLarge for a context, and InvalidWorkflow for all else, that cannot be.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        id: UUID | str | None = None,
        unique: bool = False,
        on_finished: Job[Any, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        ignore_cancelled: bool = False,
        ignore_discarded: bool = False,
        ignore_deleted: bool = False,
        models: Mapping[str, str] | None = None,
        debug: bool = False,
    ) -> None:
        self.name = None if name is None else check_name("workflow", name)
        self.id = str(uuid7()) if id is None else id_of(id)
        self.unique = _flag("unique", unique)
        if unique and name is None:
            raise InvalidWorkflow("unique=True keeps others of the same name out; give the workflow a name")
        self.on_finished = None if on_finished is None else _callback(on_finished)
        self._context = None if context is None else _encoded(context)
        self.ignore_cancelled = _flag("ignore_cancelled", ignore_cancelled)
        self.ignore_discarded = _flag("ignore_discarded", ignore_discarded)
        self.ignore_deleted = _flag("ignore_deleted", ignore_deleted)
        self.models: Mapping[str, str] = MappingProxyType(checked_models(models or {}))
        self.debug = _flag("debug", debug)
        self._steps: dict[str, Step[Any]] = {}
        self._holders: dict[str, str] = {}  # the step of each job, by id
        self._prefixes = set[str]()  # what names of groups would be mistaken for
        self._outer: frozenset[str] = frozenset()  # the ids of workflows that it is to be a group of

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
        name = self._free(step_name(name))
        flags = self._flags(ignore_cancelled, ignore_discarded, ignore_deleted)
        fresh = self._fresh(name, job)
        needs = tuple(dict.fromkeys([*self._names(name, deps), *self._referred(name, job)]))
        return self._take(Step(name, fresh, needs, *flags, self.id))

    # ── grow ──

    def add_workflow(
        self,
        name: str | Enum,
        flow: "Workflow",
        deps: Dep | Iterable[Dep] = (),
        *,
        ignore_cancelled: bool | None = None,
        ignore_discarded: bool | None = None,
        ignore_deleted: bool | None = None,
    ) -> Step[dict[str, Any]]:
        """Add all steps of another workflow as a group: one step that begins after `deps` and ends with the last.

        They are named `name/step` here, and are those that it has now; it may hold groups itself. The flags say which
        bad ends the group forgives, those of its deps and those of its last members. Raises as `add` does, and
        InvalidWorkflow for one that is `unique` or has a `context` or a job `on_finished`: this one alone can.
        """
        if not isinstance(flow, Workflow):
            raise InvalidWorkflow(f"group {name!r:.80} is made of a {type(flow).__name__}, which is no Workflow")
        flow.check_is_part(self.debug)
        group = self._group(name, deps, self._flags(ignore_cancelled, ignore_discarded, ignore_deleted))
        return self._gathered(group, [self._nested(group.name, step) for step in flow.steps.values()])

    def add_many(
        self,
        name: str | Enum,
        jobs: Sequence[Job[Any, Result]] | Mapping[str, Job[Any, Result]],
        deps: Dep | Iterable[Dep] = (),
        *,
        ignore_cancelled: bool | None = None,
        ignore_discarded: bool | None = None,
        ignore_deleted: bool | None = None,
    ) -> Step[dict[str, Result]]:
        """Add jobs that run side by side as a group: one step that begins after `deps` and ends with the last of them.

        They are named `name/0`, `name/1`, …, or by their keys; there may be none. Flags and refusals are as those of
        `add_workflow`.
        """
        group = self._group(name, deps, self._flags(ignore_cancelled, ignore_discarded, ignore_deleted))
        return self._gathered(group, [self._one_of_many(group, each, job) for each, job in named(jobs).items()])

    def add_graft(
        self,
        name: str | Enum,
        job: Job[Any, Any],
        deps: Dep | Iterable[Dep] = (),
        *,
        ignore_cancelled: bool | None = None,
        ignore_discarded: bool | None = None,
        ignore_deleted: bool | None = None,
    ) -> Step[dict[str, Any]]:
        """Add a group that its first member fills while it runs: `name/graft` runs `job`, which calls `graft(steps)`.

        What depends on the group waits for all of them. Flags and refusals are as those of `add_workflow`.
        """
        group = self._group(name, deps, self._flags(ignore_cancelled, ignore_discarded, ignore_deleted))
        return self._gathered(group, [self._one_of_many(group, GRAFT, job)])

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
        """Add the same job once for each model, as the group `name`, told which by their arg `workflow_model`.

        A mapping gives models by labels, which are then the names: so one model can be asked twice. A slash in a name
        becomes `%2F`. `synthesize` is a job behind all of them, as the step `name_synthesis`, which reads them by
        `results.get_model_results(name)`; with `partial` it forgives those that end badly. The flags are those of the
        group. Raises as `add` does, and ModelNotTaken.
        """
        name, attempt = step_name(name), self._copied()
        jobs: dict[str, Job[Any, Any]] = {}
        labels: dict[str, str] = {}
        for label, model in labelled(models).items():
            labels[label] = quoted(label)
            jobs[labels[label]] = modelled(full(name, labels[label]), job, model)
        ends = {"ignore_cancelled": ignore_cancelled, "ignore_discarded": ignore_discarded}
        attempt.add_many(name, jobs, deps, ignore_deleted=ignore_deleted, **ends)
        members = {label: attempt._steps[full(name, short)] for label, short in labels.items()}
        synthesis = None
        if synthesize is not None:
            forgiven = dict.fromkeys(FLAGS, True) if _flag("partial", partial) else {}
            synthesis = attempt.add(f"{name}_synthesis", synthesize, list(members.values()), **forgiven)
        self._steps, self._holders, self._prefixes = attempt._steps, attempt._holders, attempt._prefixes
        return ModelSteps(MappingProxyType(members), synthesis)

    @property
    def label(self) -> str:
        """Its name, or its id."""
        return self.name or self.id

    @property
    def context(self) -> dict[str, Any]:
        """What all of its steps may read; a copy, for it never changes. Empty where nothing was given."""
        return {} if self._context is None else codec.decode(self._context)

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
        return self._validated()[0]

    def check_is_part(self, is_logged: bool) -> None:
        """Raise InvalidWorkflow for what would be lost when these steps become a part of another workflow.

        `is_logged` says whether a log is kept of that one.
        """
        self._check_models()
        said = {"unique": self.unique, "on_finished": self.on_finished, "context": self._context}
        for word, what in {**said, "debug": self.debug and not is_logged}.items():
            if what:
                raise InvalidWorkflow(f"{word}= is said of a whole workflow, and this one is to be a part of another")

    def _check_models(self) -> None:
        for name in self.models:
            if name not in self._steps:
                raise InvalidWorkflow(f"models= names {name!r}, and no step has that name")

    def rows(self) -> Rows:
        """What is to be stored; jobs with deps are suspended. Raises as `validate` does."""
        needs = self._validated()[1]
        steps = self._steps.values()
        return Rows(
            Head(self.id, self.name, self.on_finished, self._context, self.unique, self.debug),
            self._stored_as(steps, needs, {dep for named in needs.values() for dep in named}),
            [node_of(step, needs[step.name], place) for place, step in enumerate(steps)],
            [edge for step in steps for edge in edges_of(step, needs[step.name], self._steps)],
        )

    def growth(self, head: Head, group: str | None = None) -> Growth:
        """What is to be stored to add these steps to a workflow that is there, in a group of it or in none.

        What they depend on and do not hold themselves is to be there. Raises CycleFound, and InvalidWorkflow for what
        is said of a whole one.
        """
        self.check_is_part(head.is_logged)
        whole = Workflow(head.name, id=head.id, debug=head.is_logged)
        whole._steps = {each.name: each for each in (whole._nested(group, step) for step in self._steps.values())}
        needs = needs_of(whole._steps)
        inside = {name: [dep for dep in found if dep in needs] for name, found in needs.items()}
        if any(inside.values()):
            order(inside)
        members = {} if group is None else members_of(group, whole._steps)
        steps = list(whole._steps.values())
        return Growth(
            whole._stored_as(steps, needs, {*members, *(dep for found in needs.values() for dep in found)}),
            [node_of(step, needs[step.name], place) for place, step in enumerate(steps)],
            [Need(name, dep, flags) for name, found in needs.items() for dep, flags in found.items()],
            members,
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
        name: dict[str, Any] = {} if self.name is None else {"name": self.name}
        if self.unique:
            name["unique"] = True
        if self.on_finished is not None:
            name["on_finished"] = step_as_data(self.on_finished, (), {})
        if self._context is not None:
            name["context"] = json.loads(self._context)
        flags = {flag: True for flag in (*FLAGS, "debug") if getattr(self, flag)}
        return {**name, **flags, "steps": self._as_data(None)}

    def to_json(self) -> str:
        """`to_dict` as text, to be kept in a file."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Self:
        """A new workflow made of data, with values for the parameters that it declares.

        Workers are found by their registered names, and nothing is imported. Its jobs are new ones, so `before_new` of
        hooks is called for each, as by `new()`. Raises InvalidTemplate with every fault.
        """
        id = str(uuid7())
        plan = planned(document, params, id)
        place = "on_finished"
        try:
            flow = cls(plan.name, id=id, **plan.whole)
            place = "steps"
            flow._plan(plan.steps)
            flow.validate()
        except InvalidWorkflow as refused:  # what only the whole of it shows
            raise InvalidTemplate([(place, str(refused))]) from None
        return flow

    @classmethod
    def from_json(cls, text: str, params: Mapping[str, Any] | None = None) -> Self:
        """`from_dict` of a text, as `to_json` gives it. Raises InvalidTemplate, for no JSON too, and TooLarge."""
        return cls.from_dict(parsed(text), params)

    def __repr__(self) -> str:
        return f"<Workflow {self.label!r} of {len(self._steps)} steps>"

    def _plan(self, steps: Iterable[Planned]) -> None:
        """Add what a document says."""
        for step in steps:
            if step.job is not None:
                self.add(step.name, step.job, step.deps, **step.flags)
                continue
            inner = Workflow(**{flag: getattr(self, flag) for flag in FLAGS}, id=step.workflow_id)
            inner._outer = self._outer | {self.id}
            inner._plan(step.steps)
            self.add_workflow(step.name, inner, step.deps, **step.flags)

    def _as_data(self, group: str | None) -> dict[str, Any]:
        """The steps of one group, or those that are in none, by the names that they have there."""
        data: dict[str, Any] = {}
        for step in self._steps.values():
            if step.parent == group:
                inside = self._as_data(step.name) if step.is_group else None
                deps = [short(group, dep) for dep in step.deps if is_inside(group, dep)]
                job = step.job.replace(args=renamed(step.job.args, partial(self._spelled, group)))
                data[short(group, step.name)] = step_as_data(job, deps, self._own_flags(step), inside)
        return data

    def _spelled(self, group: str | None, reference: Reference) -> Reference:
        """A reference as a document says it in a group. Raises InvalidWorkflow where that would name another step."""
        name = short(group, reference.step)
        if not is_inside(group, reference.step) and full(group, name) in self._steps:
            raise InvalidWorkflow(f"{reference!r} is taken in group {group!r}, which has a step of that name itself")
        return Reference(name, reference.path)

    def _validated(self) -> tuple[list[str], dict[str, dict[str, Flags]]]:
        """What `validate` gives, and what each step waits for."""
        if not self._steps:
            raise EmptyWorkflow
        self._check_models()
        needs = needs_of(self._steps)
        return order({name: tuple(found) for name, found in needs.items()}), needs

    def _copied(self) -> Self:
        same = copy(self)
        same._steps, same._holders = dict(self._steps), dict(self._holders)
        same._prefixes = set(self._prefixes)
        return same

    def _own_flags(self, step: Step[Any]) -> dict[str, bool]:
        """Those of its flags that are not its workflow's."""
        return {flag: getattr(step, flag) for flag in FLAGS if getattr(step, flag) != getattr(self, flag)}

    def _free(self, name: str) -> str:
        if name in self._steps:
            raise DuplicateStep(name)
        for prefix in prefixes(name):
            if prefix in self._steps and self._steps[prefix].is_group:
                raise InvalidWorkflow(f"step {name!r} is named as a member of group {prefix!r}, and is none")
        return name

    def _fresh(self, name: str, job: Job[Any, Result]) -> Job[Any, Result]:
        """The job, if nothing else has a claim on it."""
        if not isinstance(job, Job):
            raise InvalidWorkflow(f"step {name!r} holds a {type(job).__name__}, which is no Job; make one with new()")
        if job.id in self._holders:
            raise DuplicateJob(name, self._holders[job.id])
        if self.on_finished is not None and job.id == self.on_finished.id:
            raise InvalidWorkflow(f"step {name!r} holds the Job of on_finished=; make a new() one for each")
        if job.workflow_id is not None or job.inserted_at is not None:
            raise InvalidWorkflow(f"step {name!r} holds a Job that was stored before; make a new() one")
        if job.state is not AVAILABLE and type(job.args) is not Waiting:
            raise InvalidWorkflow(f"step {name!r} holds a Job that says it is {job.state}; make one with new()")
        if job.worker == GROUP:
            raise InvalidWorkflow(f"step {name!r} is made like a group; add it by add_workflow() or add_many()")
        if any(isinstance(feature, Chained) for feature in storing(job)):
            raise ChainInWorkflow(name, job.worker)
        return job

    def _names(self, name: str, deps: Dep | Iterable[Dep]) -> tuple[str, ...]:
        """Deps as names, each once, in the order given."""
        if deps == ():
            return ()
        several = (deps,) if isinstance(deps, str | Enum | Step) else deps
        if isinstance(deps, bytes | Mapping) or not isinstance(several, Iterable):
            told = "give names of steps, or Steps as add() gave them back: one, or several"
            raise InvalidWorkflow(f"step {name!r} has deps that name no steps; {told}")
        return tuple(dict.fromkeys(self._own(name, dep) for dep in several))

    def _referred(self, name: str, job: Job[Any, Any]) -> list[str]:
        """The steps whose results stand in the job's args."""
        found = list(references(job.args)) if type(job.args) is Waiting else []
        for reference in found:
            if reference.workflow_id != self.id and reference.workflow_id not in self._outer:
                raise ForeignStep(name, reference.step)
        return [reference.step for reference in found if reference.workflow_id == self.id]

    def _own(self, name: str, dep: Dep) -> str:
        if not isinstance(dep, Step):
            return step_name(dep)
        if dep.workflow_id != self.id:
            raise ForeignStep(name, dep.name)
        return dep.name

    def _flags(self, cancelled: bool | None, discarded: bool | None, deleted: bool | None) -> Flags:
        """What is said of a step's flags, or what the workflow says."""
        if cancelled is discarded is deleted is None:
            return self.ignore_cancelled, self.ignore_discarded, self.ignore_deleted
        return (
            _flag("ignore_cancelled", self.ignore_cancelled if cancelled is None else cancelled),
            _flag("ignore_discarded", self.ignore_discarded if discarded is None else discarded),
            _flag("ignore_deleted", self.ignore_deleted if deleted is None else deleted),
        )

    def _take(self, *steps: Step[Any]) -> Step[Any]:
        """Add steps that nothing speaks against any more; the first of them."""
        for step in [self._told(step) for step in steps]:
            self._steps[step.name] = step
            self._holders[step.job.id] = step.name
            self._prefixes.update(prefixes(step.name))
        return self._steps[steps[0].name]

    def _told(self, step: Step[Any]) -> Step[Any]:
        """The step with its model among its args, where there is one for it."""
        if step.name not in self.models:
            return step
        return changed(step, job=modelled(step.name, step.job, self.models[step.name], step.job.id))

    def _group(self, name: str | Enum, deps: Dep | Iterable[Dep], flags: Flags) -> Step[Any]:
        named = self._free(step_name(name))
        if named in self._prefixes:
            raise InvalidWorkflow(f"group {named!r} cannot be told from steps whose names begin with '{named}/'")
        needs = self._names(named, deps)
        return Step(named, Job(GROUP), needs, *flags, self.id, is_group=True)

    def _gathered(self, group: Step[Any], members: Sequence[Step[Any]]) -> Step[Any]:
        """Add a group with its members. Raises DuplicateJob for one that is there already."""
        holders: dict[str, str] = {}
        for member in members:
            earlier = self._holders.get(member.job.id) or holders.get(member.job.id)
            if earlier is not None:
                raise DuplicateJob(member.name, earlier)
            if self.on_finished is not None and member.job.id == self.on_finished.id:
                raise InvalidWorkflow(f"step {member.name!r} holds the Job of on_finished=; make a new() one for each")
            holders[member.job.id] = check_name("step", member.name)
        return self._take(group, *members)

    def _nested(self, group: str | None, step: Step[Any]) -> Step[Any]:
        """A step of another workflow as one of this, in a group of it or in none."""
        name = full(group, step.name)
        parent = group if step.parent is None else full(group, step.parent)
        if not step.deps and type(step.job.args) is not Waiting:
            return Step(name, step.job, (), *step.flags, self.id, parent, step.is_group)

        def rename(name: str) -> str:
            return full(group, name)

        def of(each: Reference) -> Reference:
            return Reference(rename(each.step), each.path, self.id) if each.workflow_id == step.workflow_id else each

        args = renamed(step.job.args, of)
        held = references(step.job.args) if args is not step.job.args else ()
        outside = [each.step for each in held if each.workflow_id == self.id]
        return changed(
            step,
            name=name,
            job=step.job if args is step.job.args else step.job.replace(args=args),
            deps=tuple(dict.fromkeys([*map(rename, step.deps), *outside])),
            workflow_id=self.id,
            parent=parent,
        )

    def _one_of_many(self, group: Step[Any], name: str, job: Job[Any, Any]) -> Step[Any]:
        named = full(group.name, step_name(name))
        fresh = self._fresh(named, job)
        return Step(named, fresh, tuple(dict.fromkeys(self._referred(named, job))), *group.flags, self.id, group.name)

    def _stored_as(
        self, steps: Iterable[Step[Any]], needs: Mapping[str, Mapping[str, Flags]], needed: Set[str]
    ) -> list[Job[Any, Any]]:
        """The jobs of steps as they are to be stored. Those of one group share their meta, where they have no own."""
        metas: dict[str | None, dict[str, Any]] = {}
        jobs: list[Job[Any, Any]] = []
        for step in steps:
            meta = metas.get(step.parent) or metas.setdefault(step.parent, self._meta(step.parent))
            count, job = len(needs[step.name]), step.job
            waits = {"waiting_on": count, "has_needs": count > 0, "has_dependents": step.name in needed}
            state = SUSPENDED if count or step.is_group else job.state
            own = {**job.meta, **meta} if job.meta else meta
            jobs.append(job.replace(meta=own, workflow_id=self.id, state=state, **waits))
        return jobs

    def _meta(self, group: str | None) -> dict[str, Any]:
        """What the meta of its jobs says of it, and of the group that they are in."""
        values = (self.id, self.name, self.label, *([] if group is None else [group]))
        return dict(zip(IDENTIFIERS, values, strict=False)) | ({DEBUG: True} if self.debug else {})


def named(jobs: Sequence[Job[Any, Any]] | Mapping[str, Job[Any, Any]]) -> dict[str, Job[Any, Any]]:
    """Jobs by their names; those of a sequence are numbered. Raises InvalidWorkflow for what is neither."""
    if isinstance(jobs, Mapping):
        return dict(jobs)
    if not isinstance(jobs, Sequence):
        raise InvalidWorkflow(f"several jobs are a list of them, or a dict by name, and no {type(jobs).__name__}")
    return {str(nth): job for nth, job in enumerate(jobs)}


def node_of(step: Step[Any], needs: Iterable[str], position: int) -> Node:
    """A step as it is stored beside its job: a group with the deps it was given, all others with all they wait for."""
    deps = step.deps if step.is_group else tuple(needs)
    return Node(step.name, step.job.id, deps, position, step.job.worker, *step.flags, step.parent)


def edges_of(step: Step[Any], needs: Mapping[str, Flags], steps: Mapping[str, Step[Any]]) -> list[Edge]:
    """What a step waits for, by the ids of jobs."""
    return [Edge(step.job.id, steps[dep].job.id, *flags, step.is_group) for dep, flags in needs.items()]


def _callback(job: Job[Any, Any]) -> Job[Any, Any]:
    """A job that the end of a workflow may enqueue, in a transaction that holds others' rows and knows no keys."""
    if not isinstance(job, Job):
        raise InvalidWorkflow(f"on_finished= is a {type(job).__name__}, which is no Job; make one with new()")
    if job.workflow_id is not None or job.inserted_at is not None:
        raise InvalidWorkflow("on_finished= is a Job that was stored before; make a new() one")
    if type(job.args) is Waiting:
        raise InvalidWorkflow("on_finished= takes results of steps, and is none; it may read them by meta['finished']")
    if job.state is not AVAILABLE:
        raise InvalidWorkflow(f"on_finished= is a Job that says it is {job.state}; make one with new()")
    for feature in storing(job):
        for kind, told in _REFUSED.items():
            if isinstance(feature, kind):
                raise InvalidWorkflow(
                    f"on_finished= is a job of {job.worker}, which is {told}; let a plain one enqueue it"
                )
    return job


_REFUSED: Final[Mapping[type, str]] = {Chained: "chained", Encryption: "encrypted", UniqueJobs: "unique"}


def _encoded(context: Mapping[str, Any]) -> str:
    if not isinstance(context, Mapping):
        raise InvalidWorkflow(f"context= is a {type(context).__name__}; give a dict")
    return codec.encode(dict(context), limit=ARGS_MOST, what="context")


def _flag(what: str, flag: bool) -> bool:
    if not isinstance(flag, bool):
        raise InvalidWorkflow(f"{what}={flag!r:.80} is neither True nor False")
    return flag
