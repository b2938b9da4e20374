"""Texts that other tools draw: Mermaid and DOT. Ids are numbers there, so a name is only ever an escaped label."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from tenuto.draw.boxes import LOOKS, Box, Drawable, Frame, boxes, fit, framed, look, title

_INK: Final = "#111827"  # on the fills of the day, which these texts use on any page
_MEANING: Final = re.compile(r"((?<=\w)[-./](?=\w))|[^\w ]")  # what is more than a letter, outside of a word


def mermaid(drawn: Drawable) -> str:
    """A flowchart in Mermaid, for GitHub and many wikis. A dotted arrow leads to a step that forgives bad ends."""
    found = boxes(drawn)
    ids = {box.name: f"n{number}" for number, box in enumerate(found)}

    def node(box: Box) -> str:
        return f'{ids[box.name]}["{_mermaid(box.name, box)}"]' + (f":::{look(box)}" if look(box) else "")

    def opening(path: tuple[str, ...], number: int) -> str:
        return f'subgraph g{number}["{_mermaid(path[-1])}"]'

    lines = ["flowchart TD", *_lines(framed(found), opening, "end", node)]
    lines += _arrows(found, ids, "-->", "-.->", "")
    for state in dict.fromkeys(look(box) for box in found if look(box)):
        fill, line = LOOKS[state].day
        lines.append(f"    classDef {state} fill:{fill},stroke:{line},color:{_INK}")
    return "\n".join(lines) + "\n"


def dot(drawn: Drawable) -> str:
    """A digraph in DOT, for Graphviz. A dashed arrow leads to a step that forgives bad ends of its deps."""
    found = boxes(drawn)
    ids = {box.name: f"n{number}" for number, box in enumerate(found)}

    def node(box: Box) -> str:
        fill, line = LOOKS[look(box)].day
        told = "\\n".join(map(_dot, title(box)))
        return f'{ids[box.name]} [label="{_dot(_marked(box))}", tooltip="{told}", fillcolor="{fill}", color="{line}"]'

    def opening(path: tuple[str, ...], number: int) -> str:
        return f'subgraph cluster_{number} {{ label="{_dot(path[-1])}"'

    lines = [
        "digraph {",
        f'    node [shape=box, style="rounded,filled", fontname="monospace", fontsize=11, fontcolor="{_INK}"]',
        '    edge [color="#6b7280", arrowsize=0.7]',
        '    graph [fontname="monospace", fontsize=11, style=rounded, color="#9ca3af"]',
        *_lines(framed(found), opening, "}", node),
        *_arrows(found, ids, "->", "->", " [style=dashed]"),
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _lines(
    whole: Frame, opening: Callable[[tuple[str, ...], int], str], closing: str, node: Callable[[Box], str]
) -> Iterator[str]:
    """A line for each box, those of a frame between its first line, which has its number, and its last."""
    numbers = iter(range(1_000_000_000))

    def of(frame: Frame) -> Iterator[str]:
        indent = "    " * (len(frame.path) + 1)
        for member in frame.members:
            if isinstance(member, Frame):
                yield indent + opening(member.path, next(numbers))
                yield from of(member)
                yield indent + closing
            else:
                yield indent + node(member)

    return of(whole)


def _arrows(found: list[Box], ids: dict[str, str], plain: str, forgiving: str, style: str) -> list[str]:
    return [
        f"    {ids[dep]} {forgiving if box.forgives else plain} {ids[box.name]}{style if box.forgives else ''}"
        for box in found
        for dep in dict.fromkeys(box.deps)
    ]


def _marked(box: Box) -> str:
    return f"{LOOKS[look(box)].mark} {box.name}".lstrip()


def _mermaid(text: str, box: Box | None = None) -> str:
    """The text as it stands between quotes: what could mean something to Mermaid, Markdown or HTML by its number."""
    told = _MEANING.sub(lambda found: found[1] or f"#{ord(found[0])};", fit(text))
    return told if box is None else f"{LOOKS[look(box)].mark} {told}".lstrip()


def _dot(text: str) -> str:
    """The text as it stands between quotes: Graphviz knows escapes there, and the entities of HTML."""
    return fit(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
