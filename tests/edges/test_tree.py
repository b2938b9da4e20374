"""A workflow as a tree of text: where each step stands, and what is left out of a large one. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tenuto import Failure, StepStatus, WorkflowStatus
from tenuto.cli.tree import DEEPEST, heading, progress, tree

BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def step(name: str, *deps: str, state: str = "completed", **fields: Any) -> StepStatus:
    ended = state in ("completed", "cancelled", "discarded", "deleted")
    times = {"attempted_at": BEGUN, "finished_at": BEGUN + timedelta(seconds=1.5)} if ended else {}
    fate: Any = state if ended else None
    return StepStatus(name, f"id-{name}", "worker", deps, state, fate, **{"attempt": 1, **times, **fields})


def workflow(*steps: StepStatus, **fields: Any) -> WorkflowStatus:
    fates = [step.fate for step in steps]
    counts: dict[str, Any] = {fate: fates.count(fate) for fate in ("completed", "cancelled", "discarded", "deleted")}
    given: dict[str, Any] = {
        "id": "0192",
        "name": "report",
        "state": "running",
        "outcome": None,
        "runs": 1,
        "total": len(steps),
        "unfinished": fates.count(None),
        "inserted_at": BEGUN,
        **counts,
        **fields,
    }
    return WorkflowStatus(**given, steps=steps)


def drawn(status: WorkflowStatus, most: int | None = None, width: int = 100) -> list[str]:
    """The lines below the head of the table."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(tree(status, most=most))
    return [line.rstrip() for line in captured.get().splitlines()[1:]]


def names(lines: list[str]) -> list[str]:
    """Each line's step, without its guide."""
    return [line.strip("│├└─ ").split()[1] for line in lines if "…" not in line]


# ── where a step stands ───────────────────────────────────────────────────────────────────────────


def test_a_step_stands_once_under_the_last_of_its_deps_with_the_others_named():
    diamond = workflow(step("fetch"), step("a", "fetch"), step("b", "fetch"), step("join", "a", "b"))

    assert [line.partition("completed")[0].rstrip() for line in drawn(diamond)] == [
        "✓ fetch",
        "├─ ✓ a",
        "└─ ✓ b",
        "   └─ ✓ join  ← a",
    ]


def test_a_step_that_needs_many_names_three_of_them_and_counts_the_rest():
    parts = [step(f"p{number}") for number in range(6)]

    lines = drawn(workflow(*parts, step("join", *(part.name for part in parts))))

    assert "└─ ✓ join  ← p0, p1, p2 and 2 more" in lines[-1]


def test_a_long_chain_goes_straight_down_once_it_is_deep():
    chain = [step("s0"), *(step(f"s{number}", f"s{number - 1}") for number in range(1, 60))]

    lines = drawn(workflow(*chain))

    assert names(lines) == [each.name for each in chain]
    assert max(line.index("✓") for line in lines) == 3 * (DEEPEST - 1)
    assert "← s57" in lines[58]


def some_workflow(size: int, choose: Any) -> WorkflowStatus:
    deps = [choose(st.sets(st.integers(0, number - 1), max_size=4)) if number else set() for number in range(size)]
    states = st.sampled_from(["completed", "executing", "suspended", "discarded", "cancelled", "available"])
    return workflow(
        *(step(f"s{number}", *(f"s{dep}" for dep in needs), state=choose(states)) for number, needs in enumerate(deps))
    )


@given(st.data(), st.integers(1, 40))
def test_every_step_is_drawn_once_and_below_all_of_its_deps(data, size):
    status = some_workflow(size, data.draw)

    order = names(drawn(status))

    assert sorted(order) == sorted(step.name for step in status.steps)
    assert [
        (step.name, dep) for step in status.steps for dep in step.deps if order.index(dep) > order.index(step.name)
    ] == []


# ── what is left out ──────────────────────────────────────────────────────────────────────────────


@given(st.data(), st.integers(1, 40), st.integers(3, 20))
def test_no_more_lines_are_drawn_than_were_allowed_and_every_step_is_counted(data, size, most):
    status = some_workflow(size, data.draw)

    lines = drawn(status, most)

    left_out = sum(int(line.split("… ")[1].split()[0]) for line in lines if "…" in line)
    assert len(lines) <= most
    assert len(names(lines)) + left_out == size


def test_of_a_large_workflow_the_steps_that_tell_most_are_shown():
    parts = [step(f"p{number}", "find") for number in range(1000)]
    parts[700] = step("p700", "find", state="discarded")
    parts[800] = step("p800", "find", state="executing")
    join = step("join", *(part.name for part in parts), state="suspended")

    lines = drawn(workflow(step("find"), *parts, join), most=10)

    assert len(lines) == 10
    assert {"find", "p700", "p800", "join"} <= set(names(lines))
    assert lines[-1].startswith("└─ … 993 more, all completed")


def test_of_a_large_workflow_that_went_well_the_last_step_is_shown():
    parts = [step(f"p{number}", "find") for number in range(1000)]
    join = step("join", *(part.name for part in parts), result=42, has_result=True)

    lines = drawn(workflow(step("find"), *parts, join), most=10)

    assert any("join" in line and line.endswith("42") for line in lines)


def test_what_is_left_out_is_counted_by_state():
    parts = [step(f"p{number}", state="completed" if number % 2 else "cancelled") for number in range(100)]

    assert drawn(workflow(*parts), most=11)[-1] == "… 90 more: 50 completed, 40 cancelled"


# ── what a line says ──────────────────────────────────────────────────────────────────────────────


def test_a_line_says_state_attempt_duration_and_result():
    (line,) = drawn(workflow(step("fetch", attempt=3, result={"a": [1, None]}, has_result=True)))

    assert line.split() == ["✓", "fetch", "completed", "3", "1.5", "s", '{"a":', "[1,", "null]}"]


def test_a_step_that_did_not_end_well_says_why():
    error = Failure(1, BEGUN, "exception", "ValueError", "no\nspace\x1b[31m", "")
    told = Failure(0, BEGUN, "cancel", "Cancel", "it needs step fetch, which was discarded", "")

    lines = drawn(
        workflow(step("fetch", state="discarded", error=error), step("next", "fetch", state="cancelled", error=told))
    )

    assert lines[0].endswith("ValueError: no space\\x1b[31m")
    assert lines[1].endswith("  it needs step fetch, which was discarded")


def test_a_result_that_is_too_long_to_show_is_called_so():
    assert drawn(workflow(step("fetch", has_result=True)))[0].endswith("a long result")


def test_what_a_terminal_would_obey_is_written_out():
    assert "\\x1b]0;owned\\x07" in drawn(workflow(step("\x1b]0;owned\x07")))[0]


def test_a_narrow_terminal_cuts_names_and_results_and_keeps_the_rest():
    lines = drawn(workflow(step("a" * 60, result="x" * 60, has_result=True)), width=60)

    assert [len(line) <= 60 for line in lines] == [True]
    assert "completed" in lines[0]


# ── the heading ───────────────────────────────────────────────────────────────────────────────────


def test_the_heading_says_which_workflow_it_is_and_how_it_stands():
    finished = {"state": "finished", "outcome": "failed", "finished_at": BEGUN + timedelta(seconds=90), "runs": 2}
    status = workflow(step("a"), step("b", state="discarded"), step("c", "b", state="cancelled"), **finished)

    first, second = heading(status).plain.splitlines()

    assert first == "✗ report  0192  failed, run 2"
    assert second.endswith("  3 of 3 steps, 1 cancelled, 1 discarded  1m 30s")


def test_progress_counts_what_has_settled_and_what_runs():
    status = workflow(step("a"), step("b", state="executing"), step("c", state="suspended"))

    assert progress(status) == "1 of 3 steps, 1 executing"
