"""A workflow as a picture: what each format holds, whatever its steps are called, and where they stand in an SVG."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import Failure, StepStatus, Workflow, WorkflowStatus, draw
from tenuto.draw import Box
from tenuto.draw.boxes import LOOKS
from tenuto.errors import CycleFound, EmptyWorkflow, UnknownDependency
from tenuto.job import JobState
from tests.edges.picture import (
    SVG,
    Area,
    as_mermaid_reads,
    dot_tool,
    frames_of,
    mermaid_tool,
    parsed,
    places,
    steps_of,
    titles,
)
from tests.kit import Obey

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

HOSTILE = [
    "end",
    "subgraph",
    "default",
    "q\"uo'te",
    "<script>document.title = 'broken into'</script>",
    "</text></svg><img src=x onerror=alert(1)>",
    "]]><!-- --> <![CDATA[",
    "&lt;b&gt; &#34; #quot; &quot;",
    "`md **bold**`",
    "1. one",
    "- x",
    "x[y](z){w}|p|",
    "%%{init: {}}%% %%c",
    "\\n \\N \\G \\",
    "a\nb\r\nc\x00\x1b[31m\ud800\ufffe",
    "\u202egnitirw\u202c \u2028",
    "ü 漢字 é 🎉 عربى",
    "fa:fa-car $$x^2$$ --> o--x",
    "a-b.c/d_e",
    "{{ 7 * 7 }} ${x}",
]


def hostile_boxes() -> list[Box]:
    """Each name on a step, on its worker, and on frames around it."""
    return [
        Box(
            name,
            tuple(HOSTILE[:number][-1:]),
            state,
            ("cancelled",) * (number % 2),
            (name,),
            (name, "in")[: number % 3],
        )
        for (number, name), state in zip(enumerate(HOSTILE), list(LOOKS) * 9, strict=False)
    ]


# ── what is drawn ─────────────────────────────────────────────────────────────────────────────────


def diamond() -> Workflow:
    flow = Workflow("report")
    fetch = flow.add("fetch", Obey.ok())
    flow.add("a", Obey.ok(), deps=fetch)
    flow.add("b", Obey.ok(), deps=fetch, ignore_cancelled=True, ignore_deleted=True)
    flow.add("join", Obey.ok(), deps=["a", "b"])
    return flow


def test_a_workflow_that_is_not_stored_is_drawn_as_mermaid():
    assert draw.mermaid(diamond()).splitlines() == [
        "flowchart TD",
        '    n0["fetch"]',
        '    n1["a"]',
        '    n2["b"]',
        '    n3["join"]',
        "    n0 --> n1",
        "    n0 -.-> n2",
        "    n1 --> n3",
        "    n2 --> n3",
    ]


def test_a_dep_whose_bad_end_is_forgiven_is_drawn_in_another_way_in_each_format():
    assert "n0 -> n2 [style=dashed]" in draw.dot(diamond())
    assert "n0 -> n1\n" in draw.dot(diamond())
    picture = parsed(diamond())
    assert [path.get("class") for path in picture.iter(SVG + "path")] == ["way", "way forgiving", "head"]
    assert "forgives deps that were cancelled or deleted" in titles(picture)["b"]


def stood() -> WorkflowStatus:
    took: dict[str, Any] = {"attempted_at": NOON, "finished_at": NOON + timedelta(seconds=1.5)}
    error = Failure(2, NOON, "exception", "ValueError", "too <few> rows")
    steps = (
        StepStatus("fetch", "1", "shop.fetch", (), "completed", "completed", 1, True, {"rows": 3}, **took),
        StepStatus("check", "2", "shop.check", ("fetch",), "discarded", "discarded", 2, error=error, **took),
        StepStatus("send", "3", "shop.send", ("check",), "suspended", None, ignore_discarded=True),
    )
    return WorkflowStatus("0192", "report", "running", None, 1, 3, 1, 1, 0, 1, 0, NOON, steps=steps)


def test_a_stored_workflow_is_drawn_as_it_stands():
    assert 'n0["✓ fetch"]:::completed' in draw.mermaid(stood())
    assert "classDef discarded fill:#fee2e2" in draw.mermaid(stood())
    told = r"check\nshop.check\ndiscarded, attempt 2, took 1.5 s\nValueError: too <few> rows"
    assert f'[label="✗ check", tooltip="{told}"' in draw.dot(stood())
    assert [each.get("class") for each in steps_of(parsed(stood()))] == [
        "step completed",
        "step discarded",
        "step suspended",
    ]


def test_the_title_of_a_step_tells_its_state_attempt_time_and_result():
    told = titles(parsed(stood()))

    assert told["fetch"] == 'fetch\nshop.fetch\ncompleted, took 1.5 s\nresult: {"rows": 3}'
    assert told["check"] == "check\nshop.check\ndiscarded, attempt 2, took 1.5 s\nValueError: too <few> rows"
    assert told["send"] == "send\nshop.send\nsuspended\nforgives deps that were discarded"


def test_the_head_of_the_picture_counts_the_steps_by_state():
    assert parsed(stood()).findtext(SVG + "title") == "report  · 1 suspended  ✓ 1 completed  ✗ 1 discarded"


def test_groups_are_not_counted_as_steps():
    picture = parsed(stored_with_groups())

    assert picture.findtext(SVG + "title") == "report  · 2 suspended  ▶ 1 executing  ✓ 2 completed"


def test_every_state_has_a_look_of_its_own():
    assert set(LOOKS) == {"", *JobState, "deleted"}
    assert len({look.day for look in LOOKS.values()}) == len({look.night for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize("drawn", [draw.mermaid, draw.dot, draw.svg])
def test_what_is_no_workflow_is_refused_as_validate_does(drawn):
    with pytest.raises(EmptyWorkflow):
        drawn(Workflow())
    with pytest.raises(UnknownDependency):
        drawn([Box("a", ("nobody",))])
    with pytest.raises(CycleFound):
        drawn([Box("a", ("b",)), Box("b", ("a",))])


def stored_with_groups() -> WorkflowStatus:
    """A group with a group in it, a group behind it, and one without members yet."""
    rows: list[tuple[str, tuple[str, ...], str, str | None]] = [
        ("fetch", (), "completed", None),
        ("pages", ("pages/0", "pages/sub"), "suspended", None),
        ("pages/0", ("fetch",), "completed", "pages"),
        ("pages/sub", ("pages/sub/a",), "suspended", "pages"),
        ("pages/sub/a", ("fetch",), "executing", "pages/sub"),
        ("grown", (), "suspended", None),
        ("many", ("pages", "many/0"), "suspended", None),
        ("many/0", ("pages",), "suspended", "many"),
        ("send", ("many", "grown"), "suspended", None),
    ]
    groups = ("pages", "pages/sub", "grown", "many")
    steps = [
        StepStatus(name, "1", "shop.do", deps, state, None, parent=parent, is_group=name in groups)
        for name, deps, state, parent in rows
    ]
    return replace(stood(), steps=tuple(steps))


def test_a_step_that_is_a_group_is_the_frame_around_its_members_at_any_depth():
    found = {box.name: box for box in draw.boxes(stored_with_groups())}

    assert found["pages"].frame == "pages"
    assert (found["pages/sub"].group, found["pages/sub"].frame) == (("pages",), "sub")
    assert found["pages/sub/a"].group == ("pages", "sub")
    assert (found["fetch"].group, found["fetch"].frame) == ((), "")
    picture = parsed(stored_with_groups())
    shown = {name: step.findtext(SVG + "text") for name, step in zip(titles(picture), steps_of(picture), strict=True)}
    assert shown == {
        "fetch": "✓ fetch",
        "pages/0": "✓ 0",
        "pages/sub/a": "▶ a",
        "grown": "· grown",
        "many/0": "· 0",
        "send": "· send",
    }
    names = [text for text in picture.iter(SVG + "text") if text.get("class") == "name"]
    assert ["".join(text.itertext()) for text in names] == [
        "pages\nshop.do\nsuspended· pages",
        "pages/sub\nshop.do\nsuspended· sub",
        "many\nshop.do\nsuspended· many",
    ]


def test_groups_of_a_workflow_that_is_not_stored_are_frames_too():
    pages = Workflow()
    pages.add("a", Obey.ok())
    pages.add_many("each", [Obey.ok(), Obey.ok()], deps="a")
    flow = Workflow()
    flow.add("fetch", Obey.ok())
    flow.add_workflow("pages", pages, deps="fetch")
    flow.add("send", Obey.ok(), deps="pages")

    assert [line.strip() for line in draw.mermaid(flow).splitlines()[2:]] == [
        'subgraph g0["pages"]',
        'n2["pages/a"]',
        'subgraph g1["each"]',
        'n4["pages/each/0"]',
        'n5["pages/each/1"]',
        "end",
        "end",
        'n6["send"]',
        "n0 --> g0",
        "n2 --> g1",
        "g0 --> n6",
    ]
    assert "n0 -> n5 [lhead=cluster_0]" in draw.dot(flow)
    assert len(frames_of(parsed(flow))) == 2


def test_arrows_lead_to_a_group_as_one_thing_in_each_format():
    assert [line.strip() for line in draw.mermaid(stored_with_groups()).splitlines() if "-->" in line] == [
        "n0 --> n2",
        "n0 --> n4",
        "g0 --> n7",
        "g2 --> n8",
        "n5 --> n8",
    ]
    assert [line.strip() for line in draw.dot(stored_with_groups()).splitlines() if "->" in line] == [
        "n0 -> n2",
        "n0 -> n4",
        "n4 -> n7 [ltail=cluster_0]",
        "n7 -> n8 [ltail=cluster_2]",
        "n5 -> n8",
    ]
    heads = next(
        path.get("d") or "" for path in parsed(stored_with_groups()).iter(SVG + "path") if path.get("class") == "head"
    )
    assert heads.count("M") == 7  # two frames and a box below, and what is entered in them


def test_what_comes_into_a_group_is_forgiven_by_the_group_in_each_format():
    """Its first members have its deps as theirs when they are stored."""
    steps = [replace(step, ignore_discarded=step.name == "pages") for step in stored_with_groups().steps]
    stored = replace(stood(), steps=tuple(steps))

    assert [line.strip() for line in draw.mermaid(stored).splitlines() if "-.->" in line] == [
        "n0 -.-> n2",
        "n0 -.-> n4",
    ]
    assert [line.strip() for line in draw.dot(stored).splitlines() if "dashed" in line] == [
        "n0 -> n2 [style=dashed]",
        "n0 -> n4 [style=dashed]",
    ]
    assert "way forgiving" in [path.get("class") for path in parsed(stored).iter(SVG + "path")]


def test_the_boxes_of_a_group_stand_in_one_frame_in_each_format():
    boxes = [Box("a", group=("x",)), Box("b", ("a",)), Box("c", ("b",), group=("x", "y"))]

    assert draw.mermaid(boxes).splitlines()[1:7] == [
        '    subgraph g0["x"]',
        '        n0["a"]',
        '        subgraph g1["y"]',
        '            n2["c"]',
        "        end",
        "    end",
    ]
    assert [line.strip() for line in draw.dot(boxes).splitlines() if "cluster" in line or line.strip() == "}"] == [
        'subgraph cluster_0 { label="x"',
        'subgraph cluster_1 { label="y"',
        *"}}}",
    ]
    assert len(frames_of(parsed(boxes))) == 2


PICTURE = Path(__file__).parent.parent.parent / "docs" / "guides" / "drawing.svg"


def test_the_picture_of_the_guide_is_one_as_they_are_drawn_now():
    boxes = [
        Box("fetch", (), "completed"),
        Box("clean", ("fetch",), "completed", group=("parts",)),
        Box("count", ("clean",), "executing", group=("parts",)),
        Box("check", ("fetch",), "discarded", group=("parts",)),
        Box("send", ("count", "check"), "suspended", ("discarded",)),
    ]

    assert PICTURE.read_text(encoding="utf-8") == draw.svg(boxes)


# ── whatever they are called ──────────────────────────────────────────────────────────────────────


def test_no_name_becomes_an_element_or_an_attribute_of_the_svg():
    picture = parsed(hostile_boxes())

    assert {each.tag.removeprefix(SVG) for each in picture.iter()} == {
        *("svg", "title", "style", "rect", "text", "tspan", "g", "path")
    }
    allowed = {"class", "role", "width", "height", "viewBox", "x", "y", "rx", "d", "transform"}
    assert {name for each in picture.iter() for name in each.attrib} <= allowed
    assert picture.findtext(SVG + "style") == parsed(diamond()).findtext(SVG + "style")
    assert len(titles(picture)) == len(HOSTILE)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8, unique=True))
def test_any_text_may_be_a_name(names):
    boxes = [Box(name, tuple(names[:number]), group=(name,)) for number, name in enumerate(names)]

    assert len(steps_of(parsed(boxes))) == len(names)
    nodes = [line for line in draw.mermaid(boxes).splitlines() if re.fullmatch(r' +n\d+\["[^"\[\]<>`]*"\]', line)]
    assert len(nodes) == len(names)
    strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", draw.dot(boxes), flags=re.DOTALL)
    assert '"' not in strings
    assert strings.count("{") == strings.count("}") == 1 + len(names)


def test_a_long_name_is_cut_in_its_middle_and_whole_in_its_title():
    name = "a-very-long-name-of-a-step-of-a-workflow-number-17"
    picture = parsed([Box(name), Box("漢" * 40)])

    shown = [step.findtext(SVG + "text") for step in steps_of(picture)]
    assert shown == ["a-very-long-…w-number-17", "漢" * 6 + "…" + "漢" * 5]
    assert name in titles(picture)


# ── where it stands ───────────────────────────────────────────────────────────────────────────────


GROUPS = [(), (), ("x",), ("x",), ("x", "y"), ("z",)]


@st.composite
def any_boxes(pick: st.DrawFn) -> list[Box]:
    """Steps with deps among those before them, some of them in frames, which may need each other in turn."""
    many = pick(st.integers(1, 24))
    deps = [pick(st.sets(st.integers(0, number - 1), max_size=3)) if number else set[int]() for number in range(many)]
    groups = [pick(st.sampled_from(GROUPS)) for _ in range(many)]
    return [
        Box(f"s{number}", tuple(f"s{dep}" for dep in sorted(deps[number])), group=groups[number])
        for number in range(many)
    ]


@given(any_boxes())
def test_no_box_stands_on_another_and_each_stands_in_its_frames_alone(boxes):
    picture = parsed(boxes)
    where = places(picture)
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))

    assert set(where) == {box.name for box in boxes}
    assert [pair for pair in combinations(where.values(), 2) if pair[0].overlaps(pair[1])] == []
    assert all(Area(-1, -1, width, height).holds(place) for place in where.values())
    frames = frames_of(picture)
    for one, other in combinations(frames, 2):
        assert not one.overlaps(other) or one.holds(other) or other.holds(one)
    for box in boxes:
        around = sum(frame.holds(where[box.name]) for frame in frames)
        assert around == sum(frame.overlaps(where[box.name]) for frame in frames)
        assert around >= len(box.group)


def test_a_step_stands_below_all_of_its_deps():
    boxes = any_two_before(60)
    where = places(parsed(boxes))

    for box in boxes:
        assert all(where[dep].bottom < where[box.name].top for dep in box.deps)


def layered_boxes(many: int, width: int) -> list[Box]:
    """Layers of so many steps, each of which needs two of the layer before."""
    chance = random.Random(7)

    def two_before(number: int) -> tuple[str, ...]:
        layer = range((number // width - 1) * width, number // width * width)
        return tuple(f"step-{dep}" for dep in chance.sample(layer, 2)) if number >= width else ()

    return [Box(f"step-{number}", two_before(number), chance.choice(list(LOOKS))) for number in range(many)]


def test_a_wide_fan_out_stands_in_rows_with_one_arrow_in_and_one_out():
    items = tuple(f"item-{number}" for number in range(300))
    picture = parsed([Box("split"), *(Box(item, ("split",)) for item in items), Box("join", items)])

    where = places(picture)
    assert max(Counter(where[item].top for item in items).values()) < 20
    assert float(picture.get("width", 0)) < 1600
    (way, heads) = (path.get("d") or "" for path in picture.iter(SVG + "path"))
    assert (way.count("M"), heads.count("M")) == (2, 2)


def test_no_arrows_of_a_tree_cross():
    """Each has its followers beside it, in the order of adding."""
    roots = [
        Box("root"),
        *(Box(f"w{n}", ("root",)) for n in range(11)),
        *(Box(f"x{n}", (f"w{n // 4}",)) for n in range(24)),
    ]
    where = places(parsed([*roots, Box("end", ("w10", "x3"))]))

    for names in ([f"w{n}" for n in range(11)], [f"x{n}" for n in range(24)]):
        assert sorted(names, key=lambda name: where[name].top) == names


@pytest.mark.parametrize("title", ["x", "in", "a title that is wider than what it is of", "漢" * 40])
def test_no_arrow_runs_through_the_title_of_a_frame(title):
    picture = parsed([Box("a"), Box("b", ("a",), group=(title,)), Box("c", ("b",), group=(title, "in"))])
    (way,) = (path.get("d") or "" for path in picture.iter(SVG + "path") if path.get("class") == "way")
    down = [(float(x), float(y), float(end)) for x, y, end in re.findall(r"M([\d.]+) ([\d.]+)L\1 ([\d.]+)", way)]

    texts = [text for text in picture.iter(SVG + "text") if text.get("class") == "name"]
    assert len(texts) == 2
    assert down
    for text in texts:
        x, y = float(text.get("x", 0)), float(text.get("y", 0))
        wide = 7.3 * sum(2 if char == "漢" else 1 for char in text.text or "")
        assert [at for at, top, end in down if x - 2 < at < x + wide and top < y and end > y - 10] == []
        assert any(frame.holds(Area(x, y - 10, x + wide, y)) for frame in frames_of(picture))


def test_what_is_wide_and_not_deep_runs_to_the_right():
    lanes = [Box(f"{part}-{n}", (f"a-{n}",) if part == "b" else (), told=(str(n),)) for n in range(40) for part in "ab"]
    where = places(parsed([Box("start"), *(box._replace(deps=box.deps or ("start",)) for box in lanes)]))

    assert all(where[f"a-{number}"].right < where[f"b-{number}"].left for number in range(40))


def any_two_before(many: int) -> list[Box]:
    chance = random.Random(7)
    return [
        Box(f"s{n}", tuple({f"s{chance.randrange(n)}", f"s{chance.randrange(n)}"}) if n else ()) for n in range(many)
    ]


SHAPES: dict[str, Callable[[], list[Box]]] = {
    "a chain": lambda: [Box(f"s{n}", (f"s{n - 1}",) if n else ()) for n in range(5_000)],
    "stages of fifty": lambda: layered_boxes(5_000, 50),
    "steps that need any two before them": lambda: any_two_before(5_000),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_five_thousand_steps_are_drawn_in_under_ten_seconds(shape):
    boxes = shape()
    began = time.process_time()

    drawn = draw.svg(boxes)

    assert time.process_time() - began < 10
    assert drawn.count('<g class="step') == 5_000


# ── as their own tools see it ─────────────────────────────────────────────────────────────────────

browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")


@dot_tool
def test_graphviz_takes_any_name_and_shows_it_as_it_is():
    ran = subprocess.run(["dot", "-Tsvg"], input=draw.dot(hostile_boxes()).encode(), capture_output=True, check=True)

    assert ran.stderr == b""
    shown = [
        "".join(node.itertext()).split("\n")
        for node in ElementTree.fromstring(ran.stdout).iter(SVG + "g")
        if node.get("class") == "node"
    ]
    words = [" ".join(line.replace("\xa0", " ") for line in lines) for lines in shown]
    for name in [
        "end",
        "<script>document.title = 'broken into'</script>",
        "&lt;b&gt; &#34; #quot; &quot;",
        "\\n \\N \\G \\",
    ]:
        assert any(name in each for each in words), name


@mermaid_tool
def test_mermaid_takes_any_name_and_a_large_workflow():
    few, many = (as_mermaid_reads(draw.mermaid(boxes)) for boxes in (hostile_boxes(), layered_boxes(2_000, 40)))

    assert (few["type"], len(few["labels"]), few["edges"]) == ("flowchart-v2", len(HOSTILE), len(HOSTILE) - 1)
    assert (len(many["labels"]), many["edges"]) == (2_000, 2 * 1_960)


ASK = """<script>
document.title = [...new Set([...document.querySelectorAll('*')].map((each) => each.localName))].sort()
</script>"""


@browser
def test_a_browser_finds_nothing_in_a_page_with_the_svg_but_the_svg(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{draw.svg(hostile_boxes())}{ASK}", encoding="utf-8")

    seen = dumped(page, tmp_path)

    assert re.findall(r"<head>.*?<title>(.*?)</title>", seen, re.DOTALL) == [
        "body,g,head,html,meta,path,rect,script,style,svg,text,title,tspan"
    ]


def dumped(page: Path, folder: Path) -> str:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    ran = subprocess.run(["chromium", *options, page.as_uri()], capture_output=True, check=True, timeout=120)
    return ran.stdout.decode()
