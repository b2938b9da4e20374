"""A picture as a test reads it: steps and frames of an SVG, where they stand, and what other tools make of a text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from tenuto import draw

SVG = "{http://www.w3.org/2000/svg}"


class Area(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Area) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Area) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def parsed(drawn: draw.Drawable) -> ElementTree.Element:
    return ElementTree.fromstring(draw.svg(drawn))


def steps_of(picture: ElementTree.Element) -> list[ElementTree.Element]:
    return [each for each in picture.iter(SVG + "g") if (each.get("class") or "").startswith("step")]


def titles(picture: ElementTree.Element) -> dict[str, str]:
    """What is told of each step, by its name."""
    told = [step.findtext(SVG + "title") or "" for step in steps_of(picture)]
    return {title.split("\n")[0]: title for title in told}


def places(picture: ElementTree.Element) -> dict[str, Area]:
    """Where each step stands, by its name."""
    found = {}
    for name, step in zip(titles(picture), steps_of(picture), strict=True):
        left, top = map(float, re.findall(r"-?\d+", step.get("transform") or ""))
        found[name] = area(step.find(SVG + "rect"), left, top)
    return found


def frames_of(picture: ElementTree.Element) -> list[Area]:
    return [area(rect) for rect in picture.iter(SVG + "rect") if rect.get("class") == "frame"]


def area(rect: ElementTree.Element | None, left: float = 0, top: float = 0) -> Area:
    assert rect is not None
    x, y, width, height = (float(rect.get(name, 0)) for name in ("x", "y", "width", "height"))
    return Area(left + x, top + y, left + x + width, top + y + height)


# ── as other tools see it ─────────────────────────────────────────────────────────────────────────

dot_tool = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz' dot is not installed")
NODE_MODULES = os.environ.get("TENUTO_TEST_MERMAID", "")
mermaid_tool = pytest.mark.skipif(
    not (NODE_MODULES and shutil.which("node")),
    reason="TENUTO_TEST_MERMAID names no folder in which `npm install mermaid jsdom` was run",
)

PARSE = """
import { JSDOM } from 'jsdom';
const dom = new JSDOM('');
globalThis.window = dom.window;
globalThis.document = dom.window.document;
const mermaid = (await import('mermaid')).default;
mermaid.initialize({ maxTextSize: 1e8, maxEdges: 1e6 });
let text = '';
for await (const part of process.stdin) text += part;
const found = await mermaid.mermaidAPI.getDiagramFromText(text);
const labels = [...found.db.getVertices().values()].map((each) => each.text);
const subGraphs = found.db.getSubGraphs();
const ids = new Set(subGraphs.map((each) => each.id));
const nested = subGraphs.flatMap((each) => each.nodes).filter((id) => ids.has(id)).length;
console.log(JSON.stringify({ type: found.type, labels, edges: found.db.getEdges().length, groups: ids.size, nested }));
"""


def as_mermaid_reads(text: str) -> dict[str, Any]:
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", PARSE],
        input=text.encode(),
        cwd=NODE_MODULES,
        capture_output=True,
        check=True,
        timeout=120,
    )
    read: dict[str, Any] = json.loads(ran.stdout)
    return read


def as_graphviz_reads(text: str) -> str:
    """The text once more, as Graphviz writes what it understood; it must not warn."""
    ran = subprocess.run(["dot", "-Tcanon"], input=text.encode(), capture_output=True, check=True, timeout=120)
    assert ran.stderr == b""
    return ran.stdout.decode()
