"""What an operator does to whole workflows, and to steps by their names, as verbs: cancel, retry and delete."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tenuto import codec
from tenuto.errors import NeedsUnmet, NotRetried, StepNotFound, WorkflowNotFound
from tenuto.graph import GROUP
from tenuto.job import TERMINAL
from tenuto.storage import steer
from tenuto.storage.aftermath import Settled
from tenuto.storage.database import LostRace, Verb, call
from tenuto.storage.steer import Steered


class Member(NamedTuple):
    """One step as the verbs see it; it has no state once its job is gone."""

    name: str
    id: str
    worker: str
    deps: str  # as stored
    fate: str | None
    state: str | None


def cancel(workflow_id: str, names: Sequence[str]) -> Verb[Steered]:
    """Cancel steps, of no names all: at once those that do not run; running ones are told."""
    chosen = yield from members(workflow_id, names)
    steered = yield from steer.cancel([step.id for step in chosen])
    yield from _refuse_more(workflow_id, names, chosen)
    return _named(steered, chosen)


def retry(workflow_id: str, names: Sequence[str], *, keep_results: bool = False) -> Verb[Steered]:
    """Make steps due again, in their order: of no names, or of a group, all that ended badly, forgiven or not.

    A step that is named is retried also when it completed. Nothing happens to one that runs, is due or waits. All or
    none: raises NotRetried where one cannot be, UniqueConflict and WorkflowRunning.
    """
    found = yield from members(workflow_id, names)
    chosen = _to_retry(found, set(names))
    if not chosen:
        return Steered([], [], Settled([], set(), []))
    gone = [(step.name, "has no job any more: that was pruned or deleted") for step in chosen if step.state is None]
    if gone:
        raise NotRetried(gone)
    ids = [step.id for step in chosen]
    try:
        steered = yield from steer.retry(ids, keep_results=keep_results, together=True)
    except NeedsUnmet:
        raise NotRetried((yield from _unmet(workflow_id, ids))) from None
    yield from _refuse_more(workflow_id, names, found)
    return _named(steered, chosen)


def _to_retry(found: Sequence[Member], names: set[str]) -> list[Member]:
    """Of these steps those that ended badly, and those that are named, which groups are for their members."""
    groups = {group for step in found for group in groups_of(step.name)}
    groups |= {step.name for step in found if step.worker == GROUP}
    return [step for step in found if step.fate in _FAILED or step.name in names - groups]


def _unmet(workflow_id: str, ids: Sequence[str]) -> Verb[list[tuple[str, str]]]:
    """Why those of these steps that are still ended cannot live again."""
    steps = {step.name: step for step in (yield from members(workflow_id, ()))}
    problems: list[tuple[str, str]] = []
    for step in steps.values():
        if step.id in ids and step.state in TERMINAL:
            lost = [steps[dep] for dep in codec.decode(step.deps) if _is_lost(steps[dep])]
            needs = ", ".join(f"{dep.name!r}, which was {dep.fate}" for dep in lost) or "others that did not end well"
            problems.append((step.name, f"needs step {needs}"))
    return problems


def _is_lost(dep: Member) -> bool:
    """Whether it ended badly and stays so."""
    return dep.fate not in (None, "completed")


def _refuse_more(workflow_id: str, names: Sequence[str], found: Sequence[Member]) -> Verb[None]:
    """Steps may have been added after they were read and before they were locked; then all is done again with them."""
    if len((yield from members(workflow_id, names))) != len(found):
        raise LostRace("steps were added to the workflow at the same time")


def delete(workflow_id: str, names: Sequence[str]) -> Verb[Steered]:
    """Delete the jobs of steps that do not run."""
    chosen = yield from members(workflow_id, names)
    return _named((yield from steer.delete([step.id for step in chosen])), chosen)


def members(workflow_id: str, names: Sequence[str]) -> Verb[list[Member]]:
    """The steps of these names and those of groups of these names; of no names, all. In the order of adding.

    Raises StepNotFound, WorkflowNotFound.
    """
    rows = yield call("members", workflow_id=workflow_id, names=list(names) or None)
    found = [Member(*row) for row in rows]
    known = {step.name for step in found} | {group for step in found for group in groups_of(step.name)}
    unknown = [name for name in names if name not in known]
    if (unknown or not found) and not (yield call("workflow", id=workflow_id)):
        raise WorkflowNotFound(workflow_id)
    if unknown:
        raise StepNotFound(unknown[0])
    return found


def groups_of(name: str) -> list[str]:
    """The groups around a step, as its name says them: `a/b/c` is in `a/b`, and that in `a`."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _named(steered: Steered, chosen: Iterable[Member]) -> Steered:
    return steered._replace(names={step.id: step.name for step in chosen})


_FAILED: Final = ("cancelled", "discarded")
