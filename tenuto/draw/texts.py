"""Texts that other tools draw: Mermaid and DOT. Ids are numbers there, so a name is only ever an escaped label."""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tenuto.draw.boxes import LOOKS, Box, Drawable, Frame, boxes, fit, forgiving, framed, frames_of, look, marked, title

_INK: Final = "#111827"  # on the fills of the day, which these texts use on any page
_MEANING: Final = re.compile(r"((?<=\w)[-./](?=\w))|[^\w ]")  # what is more than a letter, outside of a word


def mermaid(drawn: Drawable) -> str:
    """A flowchart in Mermaid, for GitHub and many wikis. A dotted arrow leads to a step that forgives bad ends."""
    found = boxes(drawn)
    whole, ends = _numbered(found)
    ids = {name: f"n{end.box}" if end.frame is None else f"g{end.frame}" for name, end in ends.items()}

    def node(box: Box) -> str:
        return f'{ids[box.name]}["{marked(box, _mermaid(box.name))}"]' + (f":::{look(box)}" if look(box) else "")

    def opening(frame: Frame, number: int) -> str:
        return f'subgraph g{number}["{marked(frame.box, _mermaid(frame.path[-1]))}"]'

    lines = ["flowchart TD", *_lines(whole, opening, "end", node)]
    for start, end, forgives in _arrows(found):
        lines.append(f"    {ids[start]} {'-.->' if forgives else '-->'} {ids[end]}")
    for state in dict.fromkeys(look(box) for box in found if look(box)):
        fill, line = LOOKS[state].day
        lines.append(f"    classDef {state} fill:{fill},stroke:{line},color:{_INK}")
    return "\n".join(lines) + "\n"


def dot(drawn: Drawable) -> str:
    """A digraph in DOT, for Graphviz. A dashed arrow leads to a step that forgives bad ends of its deps."""
    found = boxes(drawn)
    whole, ends = _numbered(found)

    def node(box: Box) -> str:
        fill, line = LOOKS[look(box)].day
        label = _dot(marked(box, box.name))
        return f'n{ends[box.name].box} [label="{label}", tooltip="{_told(box)}", fillcolor="{fill}", color="{line}"]'

    def opening(frame: Frame, number: int) -> str:
        told = "" if frame.box is None else f' tooltip="{_told(frame.box)}"'
        return f'subgraph cluster_{number} {{ label="{_dot(marked(frame.box, frame.path[-1]))}"{told}'

    lines = [
        "digraph {",
        f'    node [shape=box, style="rounded,filled", fontname="monospace", fontsize=11, fontcolor="{_INK}"]',
        '    edge [color="#6b7280", arrowsize=0.7]',
        '    graph [fontname="monospace", fontsize=11, style=rounded, color="#9ca3af", labeljust=l, compound=true]',
        *_lines(whole, opening, "}", node),
        *(_edge(ends[start], ends[end], forgives) for start, end, forgives in _arrows(found)),
    ]
    return "\n".join([*lines, "}"]) + "\n"


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


class _End(NamedTuple):
    """Where an arrow begins or ends: the number of a box, and of a frame which is meant where that box stands in it."""

    box: int
    frame: int | None = None


def _numbered(found: list[Box]) -> tuple[Frame, dict[str, _End]]:
    """The boxes in their frames, and the numbers of both by the names of the steps."""
    whole = framed(found)
    ends = {box.name: _End(number) for number, box in enumerate(found)}
    for number, frame in enumerate(_frames(whole)):
        if frame.box is not None:
            ends[frame.box.name] = _End(ends[_last(frame).name].box, number)
    return whole, ends


def _frames(whole: Frame) -> Iterator[Frame]:
    for member in whole.members:
        if isinstance(member, Frame):
            yield member
            yield from _frames(member)


def _last(frame: Frame) -> Box:
    last = frame.members[-1]
    return _last(last) if isinstance(last, Frame) else last


def _lines(
    whole: Frame, opening: Callable[[Frame, int], str], closing: str, node: Callable[[Box], str]
) -> Iterator[str]:
    """A line for each box, those of a frame between its first line, which has its number, and its last."""
    numbers = iter(range(1_000_000_000))

    def of(frame: Frame) -> Iterator[str]:
        indent = "    " * (len(frame.path) + 1)
        for member in frame.members:
            if isinstance(member, Frame):
                yield indent + opening(member, next(numbers))
                yield from of(member)
                yield indent + closing
            else:
                yield indent + node(member)

    return of(whole)


# ── arrows ────────────────────────────────────────────────────────────────────────────────────────


def _arrows(found: list[Box]) -> Iterator[tuple[str, str, bool]]:
    """From where to where, and whether it forgives. A frame has those alone that none of its members has."""
    own = frames_of(found)
    named = {box.name: box for box in found}
    groups = {path: named[name] for name, path in own.items()}
    inside = {(dep, box.group[:depth]) for box in found for dep in box.deps for depth in range(1, len(box.group) + 1)}
    for box in found:
        path = own.get(box.name)
        for dep in dict.fromkeys(box.deps):
            if path is None or (named[dep].group[: len(path)] != path and (dep, path) not in inside):
                yield dep, box.name, forgiving(box, named[dep], groups)


def _edge(start: _End, end: _End, forgives: bool) -> str:
    options = [] if start.frame is None else [f"ltail=cluster_{start.frame}"]
    options += [] if end.frame is None else [f"lhead=cluster_{end.frame}"]
    options += ["style=dashed"] if forgives else []
    return f"    n{start.box} -> n{end.box}" + (f" [{', '.join(options)}]" if options else "")


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


def _told(box: Box) -> str:
    return "\\n".join(map(_dot, title(box)))


def _mermaid(text: str) -> str:
    """The text as it stands between quotes: what could mean something to Mermaid, Markdown or HTML by its number."""
    return _MEANING.sub(lambda found: found[1] or f"#{ord(found[0])};", fit(text))


def _dot(text: str) -> str:
    """The text as it stands between quotes: Graphviz knows escapes there, and the entities of HTML."""
    return fit(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
