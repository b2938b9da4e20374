"""Standing: how a workflow, its groups and its steps stand, as they were read at one moment."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tenuto.errors import StepNotFound
from tenuto.job import Failure


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
    waits_for: tuple[str, ...] = ()  # signals
    parent: str | None = None  # the name of the group it is in
    is_group: bool = False  # it gathers others, and nobody runs its job


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group as it stands, with its members at any depth counted by what became of them; groups are not counted."""

    name: str
    fate: Literal["completed", "cancelled", "discarded", "deleted"] | None  # None while it is unfinished
    total: int
    unfinished: int
    completed: int
    cancelled: int
    discarded: int
    deleted: int


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

    @property
    def groups(self) -> dict[str, GroupStatus]:
        """The groups in `steps` by name, in order, with their members counted."""
        counts: dict[str, Counter[str]] = {step.name: Counter() for step in self.steps if step.is_group}
        parents = {step.name: step.parent for step in self.steps}
        for step in self.steps:
            group = None if step.is_group else step.parent
            while group is not None:
                counts[group][step.fate or "unfinished"] += 1
                group = parents[group]
        return {step.name: _group_status(step, counts[step.name]) for step in self.steps if step.is_group}

    def group(self, name: str) -> GroupStatus:
        """One of them. Raises StepNotFound."""
        if name not in (found := self.groups):
            raise StepNotFound(name)
        return found[name]


def _group_status(group: StepStatus, counts: Counter[str]) -> GroupStatus:
    fates = ("unfinished", "completed", "cancelled", "discarded", "deleted")
    return GroupStatus(group.name, group.fate, counts.total(), *(counts[fate] for fate in fates))
