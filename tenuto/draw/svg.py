"""SVG: a workflow as a picture, in the colours of the day or of the night, as whoever looks at it has them."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from tenuto.draw.boxes import LOOKS, Box, Drawable, boxes, caption, fit, framed, look, title
from tenuto.draw.layers import Line
from tenuto.draw.layout import HEAD, Picture, Sizes, laid_out
from tenuto.draw.letters import CELL, cells, cut
from tenuto.standing import WorkflowStatus
from tenuto.workflow import Workflow

MARGIN: Final = 20
HIGH: Final = 30  # a box
WORDS: Final = (6, 24)  # letters in a box, at least and at most
WIDE: Final = 1600  # beyond which it may run to the right instead

_FONT: Final = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'


def svg(drawn: Drawable) -> str:
    """An SVG image, for a browser or a page: layer by layer downwards, or to the right where that is narrower.

    Steps that need the same and are needed by the same stand in one block, if there are more than a dozen. A dashed
    arrow leads to a step that forgives bad ends of its deps.
    """
    found = boxes(drawn)
    letters = min(max([WORDS[0], *(cells(caption(box)) for box in found)]), WORDS[1])
    width = letters * CELL + 20
    down = _pictured(found, Sizes(width, HIGH, is_down=True))
    if down.across <= WIDE:
        return _page(drawn, found, down, letters, width, is_down=True)
    right = _pictured(found, Sizes(HIGH, width, is_down=False))
    is_down = down.across <= right.along
    return _page(drawn, found, down if is_down else right, letters, width, is_down=is_down)


def _pictured(found: list[Box], sizes: Sizes) -> Picture:
    return laid_out(framed(found), {box.name: box for box in found}, sizes)


# ── the page ──────────────────────────────────────────────────────────────────────────────────────


def _page(drawn: Drawable, found: list[Box], picture: Picture, letters: int, width: float, *, is_down: bool) -> str:
    name = fit(_name(drawn))
    legend = _legend(found)
    wide, high = (picture.across, picture.along) if is_down else (picture.along, picture.across)
    top = MARGIN + HEAD + 10
    across = round(max(wide, CELL * (cells(name) + cells(legend) + 3)) + 2 * MARGIN)
    down = round(high + top + MARGIN)
    head = f'<tspan class="name">{escape(name)}</tspan>{"  " if name else ""}'
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" class="tenuto" role="img"',
        f' width="{across}" height="{down}" viewBox="0 0 {across} {down}">',
        f"<title>{escape(f'{name}  {legend}'.strip())}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 10}">{head}{escape(legend)}</text>',
        f'<g transform="translate({round((across - wide) / 2)} {top})">',
        *_frames(picture, is_down=is_down),
        *_ways(picture, is_down=is_down),
        *(_box(box, *((x, y) if is_down else (y, x)), letters, width) for box, x, y in picture.boxes),
        "</g></svg>",
    ]
    return "\n".join(lines) + "\n"


def _name(drawn: Drawable) -> str:
    if isinstance(drawn, Workflow):
        return drawn.label
    return drawn.name or drawn.id if isinstance(drawn, WorkflowStatus) else ""


def _legend(found: list[Box]) -> str:
    """How many steps there are in each state; groups are none."""
    counts = Counter(look(box) for box in found if not box.frame)
    return "  ".join(f"{LOOKS[state].mark} {counts[state]:,} {state}" for state in LOOKS if state and counts[state])


def _box(box: Box, x: float, y: float, letters: int, width: float) -> str:
    told = escape("\n".join(title(box)))
    return (
        f'<g class="step {look(box)}" transform="translate({x:.0f} {y:.0f})"><title>{told}</title>'
        f'<rect width="{width:.0f}" height="{HIGH}" rx="6"/>'
        f'<text x="10" y="19">{escape(cut(caption(box), letters))}</text></g>'
    )


def _frames(picture: Picture, *, is_down: bool) -> Iterator[str]:
    for shown in picture.frames:
        across, along, x, y = shown.across, shown.along, shown.x, shown.y
        left, top, wide, high = (x, y, across, along) if is_down else (y, x, along, across)
        yield f'<rect class="frame" x="{left:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{high:.0f}" rx="8"/>'
        if shown.title:
            told = "" if shown.box is None else f"<title>{escape(chr(10).join(title(shown.box)))}</title>"
            begins = left + shown.title_at + 10
            yield f'<text class="name" x="{begins:.0f}" y="{top + 18:.0f}">{told}{escape(shown.title)}</text>'


def _ways(picture: Picture, *, is_down: bool) -> Iterator[str]:
    """All arrows in three paths: those that forgive nothing, those that do, and the heads."""
    for forgiving, name in ((False, "way"), (True, "way forgiving")):
        way = "".join(_piece(line, is_down=is_down) for line in picture.lines if line.forgiving is forgiving)
        if way:
            yield f'<path class="{name}" d="{way}"/>'
    heads = "".join(_head(*head, is_down=is_down) for head in picture.heads)
    if heads:
        yield f'<path class="head" d="{heads}"/>'


def _piece(line: Line, *, is_down: bool) -> str:
    (x, y), bend, (to_x, to_y), _ = line
    middle = (bend + to_y) / 2
    if abs(x - to_x) < 1:
        return f"M{_at(x, y, is_down)}L{_at(x, to_y, is_down)}"
    straight = f"L{_at(x, bend, is_down)}" if bend - y >= 1 else ""
    curve = " ".join(_at(*point, is_down) for point in ((x, middle), (to_x, middle), (to_x, to_y)))
    return f"M{_at(x, y, is_down)}{straight}C{curve}"


def _head(x: float, y: float, is_against: bool, *, is_down: bool) -> str:
    back = 7 if is_against else -7
    return f"M{_at(x, y, is_down)}L{_at(x - 3.5, y + back, is_down)} {_at(x + 3.5, y + back, is_down)}Z"


def _at(across: float, along: float, is_down: bool) -> str:
    x, y = (across, along) if is_down else (along, across)
    return f"{x:.1f} {y:.1f}".replace(".0", "")


# ── colours ───────────────────────────────────────────────────────────────────────────────────────


def _colours(page: str, ink: str, faint: str, frame: str, night: bool) -> str:
    of_states = (
        f".tenuto .step{'.' + state if state else ''} rect{{fill:{fill};stroke:{line}}}"
        for state, seen in LOOKS.items()
        for fill, line in [seen.night if night else seen.day]
    )
    return (
        f".tenuto .page{{fill:{page}}}.tenuto text{{fill:{ink}}}.tenuto .way{{stroke:{faint}}}"
        f".tenuto .head{{fill:{faint}}}.tenuto .frame{{fill:{frame};stroke:{faint}}}{''.join(of_states)}"
    )


_STYLE: Final = (
    f".tenuto text{{font:12px {_FONT};white-space:pre}}.tenuto .name{{font-weight:bold}}"
    ".tenuto .way{fill:none;stroke-width:1.2}.tenuto .forgiving{stroke-dasharray:5 4}.tenuto .frame{stroke-width:.6}"
    f"{_colours('#ffffff', '#111827', '#7d8594', '#64748b14', night=False)}"
    f"@media (prefers-color-scheme:dark){{{_colours('#12151c', '#e5e7eb', '#8b93a3', '#94a3b81a', night=True)}}}"
)
