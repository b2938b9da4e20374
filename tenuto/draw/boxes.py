"""Boxes: a workflow's steps as plain data to be drawn, and how each state looks, in whatever format."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from tenuto import codec
from tenuto.errors import CodecError
from tenuto.graph import order
from tenuto.standing import StepStatus, WorkflowStatus
from tenuto.tagged import Sealed
from tenuto.workflow import Step, Workflow


class Box(NamedTuple):
    """One step as it is drawn. `group` holds the titles of the frames around it, the outermost first."""

    name: str
    deps: tuple[str, ...] = ()
    state: str = ""  # of its job, or `deleted`; nothing for a step that is not stored
    forgives: tuple[str, ...] = ()  # the bad ends of its deps that it ignores
    told: tuple[str, ...] = ()  # lines to be read when somebody points at it
    group: tuple[str, ...] = ()
    frame: str = ""  # of a step that is a group: the title of its own frame, which is drawn in its place


class Look(NamedTuple):
    """How a state looks: its mark, and the colours of its box by day and by night."""

    mark: str
    day: tuple[str, str]  # fill, line
    night: tuple[str, str]


Drawable: TypeAlias = Workflow | WorkflowStatus | Iterable[Box]
"""What can be drawn: a workflow, one as it stands (its `status()`, with steps), or boxes."""

LOOKS: Final[Mapping[str, Look]] = {
    "": Look("", ("#ffffff", "#6b7280"), ("#1f2430", "#8b93a3")),
    "suspended": Look("·", ("#f3f4f6", "#9ca3af"), ("#262b36", "#6b7280")),
    "scheduled": Look("◷", ("#dbeafe", "#3b82f6"), ("#1c2f52", "#60a5fa")),
    "available": Look("○", ("#ffffff", "#475569"), ("#1f2430", "#cbd5e1")),
    "executing": Look("▶", ("#cffafe", "#0891b2"), ("#0e3a45", "#22d3ee")),
    "retryable": Look("↻", ("#fef3c7", "#d97706"), ("#452f0b", "#fbbf24")),
    "completed": Look("✓", ("#dcfce7", "#16a34a"), ("#12361f", "#4ade80")),
    "cancelled": Look("⊘", ("#f3e8ff", "#9333ea"), ("#351b4d", "#c084fc")),
    "discarded": Look("✗", ("#fee2e2", "#dc2626"), ("#4a1717", "#f87171")),
    "deleted": Look("✗", ("#fee2e2", "#7f1d1d"), ("#3a1d1d", "#fca5a5")),
}

_MOST: Final = 200  # characters of a result or of an error that are told
# What XML cannot carry, what ends a line, and what turns the direction of the text around it.
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def boxes(drawn: Drawable) -> list[Box]:
    """The boxes of what is to be drawn, as they will be, to be changed with `_replace` and drawn.

    Raises EmptyWorkflow for a workflow without steps, and UnknownDependency and CycleFound as `validate` does.
    """
    if isinstance(drawn, Workflow):
        drawn.validate()
        found = _grouped(drawn.steps.values(), _planned)
    elif isinstance(drawn, WorkflowStatus):
        found = _grouped(drawn.steps, _standing)
    else:
        found = list(drawn)
    order({box.name: box.deps for box in found})
    return found


@dataclass(slots=True)
class Frame:
    """What stands in one group, in the order in which it came: boxes, and frames with more of them."""

    path: tuple[str, ...] = ()
    members: "list[Box | Frame]" = field(default_factory=list)
    box: Box | None = None  # the step that it stands for


def framed(found: Sequence[Box]) -> Frame:
    """The boxes in their frames, in an outermost one for the whole."""
    frames: dict[tuple[str, ...], Frame] = {(): Frame()}
    own = frames_of(found)
    for box in found:
        around = own.get(box.name, box.group)
        for path in _paths(around):
            if path not in frames:
                frames[path] = Frame(path)
                frames[path[:-1]].members.append(frames[path])
        if box.name in own:
            frames[around].box = box
        else:
            frames[around].members.append(box)
    return frames[()]


def frames_of(found: Iterable[Box]) -> dict[str, tuple[str, ...]]:
    """Which boxes are not drawn, and the paths of the frames in their place: those of groups that have members."""
    boxes = list(found)
    filled = {path for box in boxes for path in _paths(box.group)}
    paths = {box.name: (*box.group, box.frame) for box in boxes if box.frame}
    return {name: path for name, path in paths.items() if path in filled}


def forgiving(box: Box, dep: Box, groups: Mapping[tuple[str, ...], Box]) -> bool:
    """Whether the arrow from `dep` forgives: what comes into a group from outside does what that group says."""
    outer = next((path for path in _paths(box.group) if dep.group[: len(path)] != path), ())
    return bool(groups.get(outer, box).forgives)


def _paths(group: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (group[:depth] for depth in range(1, len(group) + 1))


def caption(box: Box) -> str:
    """Its mark and its name, without that of the group around it."""
    return marked(box, fit(box.name.removeprefix("".join(f"{title}/" for title in box.group)) or box.name))


def marked(box: Box | None, text: str) -> str:
    """The text with the mark of the box's state before it."""
    return text if box is None else f"{LOOKS[look(box)].mark} {text}".lstrip()


def fit(text: str) -> str:
    """The text in one line, without what no format takes."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"\s*[\r\n]+\s*", " ", text))


def look(box: Box) -> str:
    """The name of the look of its state; none for a state that nobody knows."""
    return box.state if box.state in LOOKS else ""


def title(box: Box) -> list[str]:
    """What is read when somebody points at it: its whole name, how it stands, and what it forgives."""
    forgives = [f"forgives deps that were {' or '.join(box.forgives)}"] if box.forgives else []
    return [fit(line) for line in (box.name, *box.told, *forgives)]


def _grouped(steps: Iterable[Any], box_of: Callable[[Any], Box]) -> list[Box]:
    """The steps as boxes in the frames of the groups that they are members of."""
    found = list(steps)
    parents: dict[str, str | None] = {step.name: step.parent for step in found}
    groups = {*parents.values(), *(step.name for step in found if step.is_group)}

    def around(name: str) -> tuple[str, ...]:
        parent = parents.get(name)
        return () if parent is None else (*around(parent), _short(parent, parents.get(parent)))

    frames = {name: _short(name, parents[name]) for name in parents if name in groups}
    return [box_of(step)._replace(group=around(step.name), frame=frames.get(step.name, "")) for step in found]


def _short(name: str, parent: str | None) -> str:
    """A member's name within its group."""
    return name if parent is None else name.removeprefix(f"{parent}/") or name


def _planned(step: Step[Any]) -> Box:
    return Box(step.name, step.deps, "", _forgiven(step), (step.job.worker,))


def _standing(step: StepStatus) -> Box:
    attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
    told = [step.worker, f"{step.state}{attempt}{_took(step)}"]
    if step.error is not None and step.state != "completed":
        told.append(f"{step.error.type}: {step.error.message}"[:_MOST])
    if step.result is not None:
        told.append(f"result: {_preview(step.result)}")
    return Box(step.name, step.deps, step.state, _forgiven(step), tuple(told))


def _forgiven(step: Step[Any] | StepStatus) -> tuple[str, ...]:
    return tuple(fate for fate in ("cancelled", "discarded", "deleted") if getattr(step, f"ignore_{fate}"))


def _took(step: StepStatus) -> str:
    if step.attempted_at is None or step.finished_at is None:
        return ""
    return f", took {max(0.0, (step.finished_at - step.attempted_at).total_seconds()):,.3g} s"


def _preview(result: object) -> str:
    """A result as it is stored, cut; of what is sealed or cannot be read, that it is."""
    if isinstance(result, Sealed):
        return "sealed"
    if isinstance(result, CodecError):
        return "unreadable"
    text = json.dumps(json.loads(codec.encode(result)), ensure_ascii=False)
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"
