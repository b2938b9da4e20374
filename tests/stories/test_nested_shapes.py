"""Shapes that are easily lost, run and drawn: grafts in grafts, chains in a fan-out in a sub-workflow."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from tenuto import Tenuto, Workflow, WorkflowStatus, draw, job
from tenuto.results import get_result
from tests.edges.picture import (
    SVG,
    as_graphviz_reads,
    as_mermaid_reads,
    dot_tool,
    frames_of,
    mermaid_tool,
    parsed,
    places,
    steps_of,
    titles,
)
from tests.kit import Gate, Obey, eventually, finish, result_of, states_of
from tests.stories import growers

NEVER = datetime.max.replace(tzinfo=UTC)


@job(name="shapes.gather")
async def gather(steps: list[str]) -> dict[str, Any]:
    """What each of some groups came to."""
    return {step: get_result(step) for step in steps}


def chain(of: str, last: Any = None) -> Workflow:
    """Three steps, one behind the other; the last one may be told something else."""
    flow = Workflow()
    first = flow.add("1", Obey.value(f"{of}1"))
    second = flow.add("2", Obey.value(f"{of}2"), deps=first)
    flow.add("3", last or Obey.value(f"{of}3"), deps=second)
    return flow


def nested(middle: Any = None) -> Workflow:
    """Chains in groups, side by side in a fan-out, that in a sub-workflow; and a graft in a graft in a graft."""
    shops = Workflow()
    for shop in ("north", "south"):
        chains = Workflow()
        chains.add_workflow("a", chain(f"{shop} a", middle if shop == "north" else None))
        chains.add_workflow("b", chain(f"{shop} b"))
        shops.add_workflow(shop, chains)
    region = Workflow()
    region.add("open", Obey.value("open"))
    region.add_workflow("shops", shops, deps="open", ignore_discarded=True, ignore_cancelled=True)
    region.add("close", Obey.value("close"), deps="shops")
    flow = Workflow("nested", ignore_discarded=True, ignore_cancelled=True)
    flow.add("load", Obey.ok())
    flow.add_workflow("region", region, deps="load")
    flow.add_graft("pages", growers.nested.new(depth=2), deps="load")
    flow.add("join", gather.new(["region", "pages"]), deps=["region", "pages"])
    return flow


def early(status: WorkflowStatus) -> list[tuple[str, str]]:
    """The steps that began before all that they need had ended, and the groups that ended before a member."""
    ended = {step.name: (step.finished_at or NEVER) for step in status.steps}
    begun = {step.name: ((step.finished_at if step.is_group else step.attempted_at) or NEVER) for step in status.steps}
    return [(step.name, dep) for step in status.steps for dep in step.deps if begun[step.name] < ended[dep]]


# ── they run ──────────────────────────────────────────────────────────────────────────────────────


async def test_chains_in_a_fan_out_in_a_sub_workflow_beside_grafts_in_grafts_run_in_order(app: Tenuto):
    status = await finish(app, nested())

    assert (status.outcome, status.runs) == ("completed", 1)
    assert early(status) == []
    names = [step.name for step in status.steps]
    assert {"region/shops/north/a/3", "region/shops/south/b/1", "pages/deeper/deeper/b"} <= set(names)
    after = {step.name: step.attempted_at for step in status.steps}
    innermost = [step.finished_at for step in status.steps if step.name.startswith(("region/shops/", "pages/deeper/"))]
    assert all(at is not None and at <= (after["join"] or at) for at in innermost)


async def test_their_results_are_as_nested_as_they_are(app: Tenuto):
    flow = nested()
    await finish(app, flow)

    chains = {shop: {of: {nth: f"{shop} {of}{nth}" for nth in "123"} for of in "ab"} for shop in ("north", "south")}
    grafted: dict[str, Any] = {"a": "a", "b": "b"}
    assert await result_of(app, flow, "join") == {
        "region": {"open": "open", "shops": chains, "close": "close"},
        "pages": {**grafted, "deeper": {**grafted, "deeper": grafted, "after": 1}, "after": 2},
    }


async def test_each_of_their_groups_counts_its_members_at_any_depth(app: Tenuto):
    status = await finish(app, nested())

    assert {name: (group.total, group.completed) for name, group in status.groups.items()} == {
        "region": (14, 14),
        "region/shops": (12, 12),
        **{f"region/shops/{shop}": (6, 6) for shop in ("north", "south")},
        **{f"region/shops/{shop}/{of}": (3, 3) for shop in ("north", "south") for of in "ab"},
        "pages": (11, 11),
        "pages/deeper": (7, 7),
        "pages/deeper/deeper": (3, 3),
    }
    assert (status.total, status.completed, status.unfinished) == (38, 38, 0)
    assert status.total == 2 + 14 + 11 + len(status.groups)


async def test_a_chain_that_fails_deep_inside_ends_what_is_around_it_up_to_who_forgives(app: Tenuto):
    status = await finish(app, nested(Obey.fail(max_attempts=1)))

    fates = {step.name: step.fate for step in status.steps}
    bad = {name: fate for name, fate in fates.items() if fate != "completed"}
    assert bad == {
        "region/shops/north/a/3": "discarded",
        "region/shops/north/a": "cancelled",
        "region/shops/north": "cancelled",
    }
    assert early(status) == []


# ── they are drawn ────────────────────────────────────────────────────────────────────────────────


async def halfway(app: Tenuto, gate: Gate) -> WorkflowStatus:
    """One of them as it stands in the middle: a chain holds it up, and another has failed."""
    flow = nested(Obey.fail(max_attempts=1))
    flow.add("slow", Obey.wait_at(gate), deps="load")
    flow.add("behind", Obey.ok(), deps="slow")
    await app.enqueue(flow)

    async def is_there() -> bool:
        states = await states_of(app, flow)
        return states["join"] == "completed" and gate.waiting == 1

    await eventually(is_there)
    return await app.workflow(flow.id).status()


FRAMES = 11  # the groups of `nested`, all of which have members


async def test_a_stored_one_is_drawn_with_its_frames_in_each_other_and_its_states_in_colours(app: Tenuto):
    gate = Gate()
    status = await halfway(app, gate)
    gate.open()

    picture = parsed(status)

    where, frames = places(picture), frames_of(picture)
    assert len(frames) == len(status.groups) == FRAMES
    steps = [step for step in status.steps if not step.is_group]
    assert set(where) == {step.name for step in steps}
    depths = {name: sum(frame.holds(place) for frame in frames) for name, place in where.items()}
    assert depths == {name: name.count("/") for name in where}
    assert {step.name: f"step {step.state}" for step in steps} == {
        name: shown.get("class") for name, shown in zip(titles(picture), steps_of(picture), strict=True)
    }
    assert {step.state for step in steps} == {"completed", "discarded", "executing", "suspended"}
    assert picture.findtext(SVG + "title") == "nested  · 1 suspended  ▶ 1 executing  ✓ 26 completed  ✗ 1 discarded"


@mermaid_tool
async def test_mermaid_reads_its_frames_and_the_arrows_to_and_from_them(app: Tenuto):
    gate = Gate()
    stored, planned = draw.mermaid(await halfway(app, gate)), draw.mermaid(nested())
    gate.open()

    read = as_mermaid_reads(stored)

    assert (read["groups"], read["nested"]) == (FRAMES, FRAMES - 2)  # all but two stand in another one
    assert read["edges"] == len(re.findall("-->|-.->", stored))
    assert re.search(r"g\d+ (?:-->|-\.->) n\d+", stored)
    assert as_mermaid_reads(planned)["edges"] == len(re.findall("-->|-.->", planned))
    assert re.search(r"n\d+ (?:-->|-\.->) g\d+", planned)


@dot_tool
async def test_graphviz_reads_its_frames_and_the_arrows_to_and_from_them(app: Tenuto):
    gate = Gate()
    stored, planned = draw.dot(await halfway(app, gate)), draw.dot(nested())
    gate.open()

    read = as_graphviz_reads(stored)

    assert read.count("subgraph cluster_") == FRAMES
    assert read.count(" -> ") == stored.count(" -> ")
    assert "ltail=cluster_" in read
    assert as_graphviz_reads(planned).count(" -> ") == planned.count(" -> ")
    assert "lhead=cluster_" in as_graphviz_reads(planned)
