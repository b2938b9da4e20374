"""`tenuto workflows costs` and `debug`: as tables and words, and as JSON in which what is unknown is null."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tenuto import Job, Tenuto, Workflow, job, llm
from tenuto.llm import Usage
from tests.kit import finish

PRICES = {"owl": {"input": "3", "output": "15"}}


async def spend(app: Tenuto, *usages: Usage, **fields: Any) -> None:
    """Record it as of some job."""
    await app.ledger.record(Job("w", attempt=1, **fields), usages, [Job("w").id for _ in usages])


@pytest.fixture
def prices(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings know what one model costs."""
    monkeypatch.setenv("TENUTO_PRICING", json.dumps(PRICES))


@pytest.mark.usefixtures("prices")
async def test_costs_are_a_table_in_which_a_model_without_a_price_is_unknown(store, ask):
    await spend(store, Usage("owl", 1_000_000, 1, 0), Usage("finch", 5, 0, 2))

    said = await ask("workflows", "costs")

    assert [line.split() for line in said.lines[1:4]] == [
        ["finch", "1", "5", "2", "0", "unknown"],
        ["owl", "1", "1,000,000", "0", "1", "3.000015"],
        ["total", "2", "1,000,005", "2", "1", "unknown"],
    ]
    assert said.lines[4] == "without a price: finch; the others cost 3.000015"


@pytest.mark.usefixtures("prices")
async def test_costs_as_json_are_exact_texts_and_null_where_they_are_unknown(store, ask):
    await spend(store, Usage("owl", 1, 0, latency=1.5), Usage("finch", 1, 0))

    said = (await ask("workflows", "costs", "--by", "model", "--by", "day", "--json")).json

    assert said["by"] == ["model", "day"]
    assert [(row["model"], row["cost"], row["latency"]) for row in said["rows"]] == [
        ("finch", None, None),
        ("owl", "0.000003", 1.5),
    ]
    assert (said["total"]["cost"], said["total"]["known"], said["total"]["unpriced"]) == (None, "0.000003", ["finch"])


async def test_costs_of_one_workflow_since_a_day_are_no_others(app, ask):
    flow = Workflow()
    flow.add("a", costly.new())
    await finish(app, flow)
    await spend(app, Usage("owl", 7, 0))

    async def requests(*options: str) -> int:
        said = await ask("workflows", "costs", *options, "--json")
        return int(said.json["total"]["requests"])

    assert await requests() == 2
    assert await requests(flow.id) == 1
    assert await requests(flow.id, "--step", "b") == 0
    assert await requests(flow.id, "--until", "2026-01-01") == 0
    assert await requests("--since", "2026-01-01T00:00:00+02:00", "--model", "owl") == 2


@job(name="cli_costs.costly")
async def costly() -> dict[str, Any]:
    """Uses little, and says so."""
    await llm.log_request({"ask": "why?\x1b[31m", "password": "swordfish"})
    return {"llm_usage": {"model": "owl", "input_tokens": 1, "output_tokens": 1}}


@pytest.mark.parametrize(
    "options", [["--by", "moon"], ["--since", "noon"], ["--since", "2026-01-01T00:00:00"], ["no-id"]], ids=" ".join
)
@pytest.mark.usefixtures("store")
async def test_what_cannot_be_asked_is_refused(ask, options):
    said = await ask("workflows", "costs", *options)

    assert said.code != 0


@pytest.mark.usefixtures("store")
async def test_where_nothing_was_used_it_says_so(ask):
    said = await ask("workflows", "costs")

    assert (said.code, said.out) == (0, "")
    assert "no usage" in said.err


async def test_a_log_is_shown_without_secrets_and_without_what_a_terminal_would_obey(app, ask):
    flow = Workflow(debug=True)
    flow.add("a", costly.new())
    await finish(app, flow)

    said = await ask("workflows", "debug", flow.id, "--step", "a")
    as_json = (await ask("workflows", "debug", flow.id, "--attempt", "1", "--json")).json

    assert said.lines[0].startswith("a, attempt 1: request at ")
    assert '"password": "[hidden]"' in said.out
    assert "\x1b" not in said.out
    assert [(one["step"], one["kind"], one["content"]["password"]) for one in as_json] == [("a", "request", "[hidden]")]
    assert (await ask("workflows", "debug", flow.id, "--step", "b")).out == ""
