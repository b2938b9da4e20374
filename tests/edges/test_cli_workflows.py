"""`tenuto workflows`: listed, shown as a tree, watched to the end, run from a file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tenuto import Tenuto, Workflow
from tenuto.definition import forget
from tests.edges.terminal import environment, on_a_terminal
from tests.kit import Obey, finish

# ── workflows ─────────────────────────────────────────────────────────────────────────────────────


async def failed_report(app: Tenuto) -> Workflow:
    flow = Workflow("report")
    flow.add("fetch", Obey.value({"rows": 3}))
    flow.add("count", Obey.count(), deps=["fetch"])
    flow.add("check", Obey.fail("too few rows"), deps=["fetch"])
    flow.add("send", Obey.ok(), deps=["count", "check"])
    await finish(app, flow)
    return flow


async def test_workflows_are_listed_newest_first_by_state_and_name(app, ask):
    running = Workflow("running")
    running.add("a", Obey.snooze(60))
    await app.enqueue(running)
    failed = await failed_report(app)

    every = (await ask("workflows", "list", "--json")).json
    by_state = (await ask("workflows", "list", "--state", "running", "--json")).json
    by_name = (await ask("workflows", "list", "--name", "report", "--json")).json

    assert [flow["id"] for flow in every] == [failed.id, running.id]
    assert ([flow["id"] for flow in by_state], [flow["id"] for flow in by_name]) == ([running.id], [failed.id])
    assert (every[0]["outcome"], every[0]["total"], every[0]["unfinished"]) == ("failed", 4, 0)
    lines = (await ask("workflows", "list")).lines
    assert [line.split()[1:5] for line in lines[1:]] == [
        ["report", "✗", "failed", "4/4"],
        ["running", "▶", "running", "0/1"],
    ]


async def test_a_workflow_is_shown_as_a_tree_with_results_and_reasons(app, ask):
    flow = await failed_report(app)

    said = await ask("workflows", "show", flow.id)

    assert said.code == 0
    assert said.lines[0] == f"✗ report  {flow.id}  failed"
    assert "4 of 4 steps, 1 cancelled, 1 discarded" in said.lines[1]
    tree = said.lines[3:]
    assert [line.split("  ")[0] for line in tree] == ["✓ fetch", "├─ ✓ count", "└─ ✗ check", ""]
    assert "└─ ⊘ send  ← count" in tree[3]
    assert [tree[0].endswith('{"rows": 3}'), tree[2].endswith("ToldTo: too few rows"), "check" in tree[3]] == [True] * 3


async def test_a_workflow_as_json_has_every_step(app, ask):
    flow = await failed_report(app)

    whole = (await ask("workflows", "show", flow.id, "--json")).json

    fetch, _, check, send = whole["steps"]
    assert (whole["outcome"], whole["duration"] > 0, whole["discarded"]) == ("failed", True, 1)
    assert (fetch["name"], fetch["result"], fetch["job_id"]) == ("fetch", {"rows": 3}, flow.jobs["fetch"].id)
    assert (check["error"]["message"], send["fate"], send["deps"]) == ("too few rows", "cancelled", ["count", "check"])


async def test_a_workflow_as_json_tells_groups_and_what_each_step_forgives(app, ask):
    flow = Workflow()
    flow.add_many("pages", [Obey.value(1)], ignore_discarded=True)
    await finish(app, flow)

    said = (await ask("workflows", "show", flow.id, "--json")).json

    told = [(step["name"], step["parent"], step["is_group"], step["ignore_discarded"]) for step in said["steps"]]
    assert told == [("pages", None, True, True), ("pages/0", "pages", False, True)]


async def test_a_large_workflow_is_shown_in_a_page_unless_all_is_asked_for(store, ask):
    flow = Workflow()
    flow.add("first", Obey.ok())
    for number in range(999):
        flow.add(f"part-{number}", Obey.ok(), deps=["first"])
    await store.enqueue(flow)

    page, every = await ask("workflows", "show", flow.id), await ask("workflows", "show", flow.id, "--all")

    assert len(page.lines) < 66
    assert "more, all suspended" in page.lines[-1]
    assert len(every.lines) == 1003


async def test_a_workflow_is_drawn_as_it_stands_in_the_format_that_is_asked_for(app, ask, folder):
    flow = await failed_report(app)

    tree, mermaid, dot = [await ask("workflows", "graph", flow.id, *how) for how in ([], ["--mermaid"], ["--dot"])]
    written = await ask("workflows", "graph", flow.id, "--svg", "-o", "report.svg")
    boxes = (await ask("workflows", "graph", flow.id, "--json")).json

    assert tree.lines[0] == f"✗ report  {flow.id}  failed"
    assert 'n2["✗ check"]:::discarded' in mermaid.out
    assert '[label="✗ check"' in dot.out
    assert [(box["name"], box["state"], box["deps"]) for box in boxes][2] == ("check", "discarded", ["fetch"])
    assert (written.code, written.out) == (0, "")
    assert '<g class="step discarded"' in (folder / "report.svg").read_text(encoding="utf-8")


async def test_a_drawing_without_a_format_or_with_two_is_refused(store, ask):
    refused = [
        await ask("workflows", "graph", "x", *how) for how in (["-o", "x.svg"], ["--svg", "--dot"], ["--svg", "--json"])
    ]

    assert [(said.code, "name one format" in said.err) for said in refused] == [(2, True)] * 3


async def test_watching_a_workflow_ends_with_it_and_tells_how_it_went(app, ask):
    well, badly = Workflow("well"), Workflow("badly")
    well.add("a", Obey.snooze(0.5, times=1))
    badly.add("a", Obey.fail())
    await app.enqueue(well)
    await app.enqueue(badly)

    watched = [await ask("workflows", "watch", flow.id) for flow in (well, badly)]
    as_json = await ask("workflows", "watch", badly.id, "--json")

    assert [said.code for said in (*watched, as_json)] == [0, 1, 1]
    assert "✓ well" in watched[0].out
    assert as_json.json["outcome"] == "failed"


async def test_a_workflow_is_cancelled_and_retried_whole_or_by_step(app, ask):
    flow = await failed_report(app)

    retried = await ask("workflows", "retry", flow.id)
    await app.workflow(flow.id).wait(timeout=10)
    named = await ask("workflows", "retry", flow.id, "check", "fetch", "--keep-results", "--json")
    await app.workflow(flow.id).wait(timeout=10)
    cancelled = await ask("workflows", "cancel", flow.id, "--json")

    assert retried.lines == ["check", "send"]
    assert named.json == ["fetch", "check"]
    assert (cancelled.json, cancelled.err.strip()) == ([], "tenuto: cancel changes nothing there")
    assert (await app.workflow(flow.id).status()).runs == 3


async def test_a_step_or_a_workflow_that_is_not_there_is_told(app, ask):
    flow = await failed_report(app)

    unknown = await ask("workflows", "cancel", flow.id, "chck")
    stuck = await ask("workflows", "retry", flow.id, "send")

    assert (unknown.code, stuck.code) == (2, 2)
    assert "no step named 'chck'" in unknown.err
    assert "step 'send' needs step 'check', which was discarded" in stuck.err


async def test_a_terminal_gets_colours_and_a_live_tree(app, database_url):
    flow = Workflow("report")
    flow.add("a", Obey.snooze(3, times=1))  # time for the terminal to start
    await app.enqueue(flow)

    seen = await asyncio.to_thread(on_a_terminal, "--url", database_url, "workflows", "watch", flow.id)

    assert "\x1b[36m▶ \x1b[0m" in seen  # running, in cyan
    assert "\x1b[32m✓ \x1b[0m" in seen  # and later completed, in green
    assert "\x1b[?25l" in seen  # drawn in place: the cursor is hidden


async def test_a_reader_that_goes_away_is_no_error(store, database_url):
    await store.enqueue([Obey.ok() for _ in range(200)])
    command = f"{sys.executable} -m tenuto --url '{database_url}' jobs list --limit 200 | head -1"
    env = environment()

    ran = await asyncio.to_thread(
        subprocess.run, command, shell=True, env=env, capture_output=True, text=True, check=False
    )

    assert ran.stdout.startswith("ID")
    assert ran.stderr == ""


# ── run ───────────────────────────────────────────────────────────────────────────────────────────

SHOP = """
from tenuto import Tenuto, job

app = Tenuto(URL, queues={"default": 2})

@job(name="cli_shop.fetch")
async def fetch(account: str, pages: int = 1) -> list[str]:
    return [f"{account}-{page}" for page in range(pages)]

@job(name="cli_shop.count", max_attempts=1)
async def count(rows: list[str], most: int = 5) -> int:
    assert len(rows) <= most
    return len(rows)
"""
DOCUMENT = {
    "name": "sync",
    "params": {"account": {"type": "str"}, "pages": {"type": "int", "default": 2}},
    "steps": {
        "fetch": {
            "worker": "cli_shop.fetch",
            "args": {"account": {"$param": "account"}, "pages": {"$param": "pages"}},
        },
        "count": {"worker": "cli_shop.count", "args": {"rows": {"$ref": ["fetch"]}}},
    },
}


@pytest.fixture
def shop(folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module with workers and an app in the folder, and a file with a workflow of them."""
    name = f"shop_{uuid4().hex}"
    (folder / f"{name}.py").write_text(SHOP.replace("URL", repr(database_url)))
    (folder / "sync.json").write_text(json.dumps(DOCUMENT))
    monkeypatch.syspath_prepend(str(folder))
    yield folder / f"{name}.py"
    sys.modules.pop(name, None)
    for worker in ("cli_shop.fetch", "cli_shop.count"):
        forget(worker)


async def test_a_workflow_of_a_file_is_enqueued_with_its_parameters(store, ask, shop):
    said = await ask(
        "workflows", "run", "sync.json", "--app", shop.stem, "--param", "account=a=b", "--param", "pages=3"
    )

    (id,) = said.lines
    assert said.code == 0
    status = await store.workflow(id).status()
    assert (status.name, status.total, status.unfinished) == ("sync", 2, 2)
    (fetch,) = await store.find(worker="cli_shop.fetch")
    assert fetch.args == {"account": "a=b", "pages": 3}


async def test_a_run_that_is_awaited_ends_with_the_workflow(app, ask, shop):
    run = ("workflows", "run", "sync.json", "--app", f"{shop.stem}:app", "--param", "account=ada", "--wait")

    well = await ask(*run)
    badly = await ask(*run, "--param", "pages=6", "--json")

    assert well.code == 0
    assert [line for line in well.lines if "count" in line and "✓" in line] != []
    assert (badly.code, badly.json["outcome"], badly.json["steps"][1]["error"]["type"]) == (
        1,
        "failed",
        "AssertionError",
    )


async def test_a_file_whose_workers_are_not_there_is_refused_with_every_fault(store, ask, shop):
    said = await ask("workflows", "run", "sync.json", "--param", "pages=x")

    assert said.code == 2
    told = " ".join(said.err.split())
    for path in ("params.account: required", "params.pages: it is no int", "steps.fetch.worker", "steps.count.worker"):
        assert path in told
    assert await store.workflows() == []


@pytest.mark.parametrize("args", [["none.json"], ["."], ["sync.json", "--param", "account"], ["bad.json"], ["binary"]])
async def test_a_run_that_cannot_be_is_told(store, ask, shop, args):
    (shop.parent / "bad.json").write_text("{")
    (shop.parent / "binary").write_bytes(b"\xff\xfe")

    said = await ask("workflows", "run", *args, "--app", shop.stem)

    assert (said.code, "Traceback" in said.err) == (2, False)
    assert said.err != ""
