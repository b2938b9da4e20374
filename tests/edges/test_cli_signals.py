"""`tenuto signal`: who waits is told from a terminal, and it can be seen what is waited for."""

from __future__ import annotations

import pytest

from tenuto import Workflow
from tests.stories.asking import asks
from tests.stories.test_signals import until_it_waits


async def test_a_workflow_is_sent_a_signal_and_the_first_one_counts(app, ask):
    flow = Workflow("release")
    flow.add("ask", asks.new())
    await app.enqueue(flow)
    await until_it_waits(app, flow.jobs["ask"])

    first = await ask("signal", flow.id, "go", "--value", '{"by": "ada"}')
    await app.workflow(flow.id).wait(timeout=20)

    assert (first.code, first.lines) == (0, [f"signal go was sent to {flow.id}"])
    assert await app.workflow(flow.id).result("ask") == {"by": "ada"}


async def test_a_second_one_says_so(store, ask):
    flow = Workflow()
    flow.add("ask", asks.new())
    await store.enqueue(flow)
    await ask("signal", flow.id, "go")

    again = await ask("signal", flow.id, "go")
    as_json = await ask("signal", flow.id, "go", "--json")

    assert "had been sent" in again.lines[0]
    assert as_json.json == {"id": flow.id, "name": "go", "is_first": False}


async def test_what_a_step_waits_for_is_shown(app, ask):
    flow = Workflow()
    flow.add("ask", asks.new())
    await app.enqueue(flow)
    await until_it_waits(app, flow.jobs["ask"])
    id = flow.jobs["ask"].id

    assert (await ask("workflows", "show", flow.id)).lines[-1].endswith("waits for the signal go")
    assert (await ask("workflows", "show", flow.id, "--json")).json["steps"][0]["waits_for"] == ["go"]
    assert any("the signal go" in line for line in (await ask("jobs", "show", id)).lines)
    assert (await ask("jobs", "show", id, "--json")).json["waits_for"] == ["go"]
    assert "for a signal" in (await ask("jobs", "list")).lines[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["01890000-0000-7000-8000-000000000000", "go"], "no workflow has the id"),
        (["nobody", "go"], "is no id"),
        (["01890000-0000-7000-8000-000000000000", "go", "--value", "yes"], "is no JSON"),
        (["01890000-0000-7000-8000-000000000000", ""], "is empty"),
    ],
)
async def test_what_cannot_be_sent_is_refused(store, ask, words, said):
    refused = await ask("signal", *words)

    assert refused.code == 2
    assert said in refused.err
