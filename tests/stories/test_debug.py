"""Debug: what steps asked models and were answered is kept per attempt, without secrets, and not for ever."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tenuto import Debugging, KeyRing, Tenuto, Workflow, blocking, current_job, graft, job, llm
from tenuto.errors import ConfigError, InvalidWorkflow, StepNotFound, WorkflowNotFound
from tenuto.storage import usage
from tenuto.tagged import Sealed
from tests.kit import Obey, drain, finish
from tests.storage.tables import look_into

Open = Any
RING = KeyRing("debug", {"debug": KeyRing.new_key()})
SECRET = "sk-live-0123456789"


@job(name="debug.ask", max_attempts=2, backoff=0)
async def ask(request: Any, response: Any = "fine", fails: bool = False) -> str:
    """Ask a model that is not there."""
    await llm.log_request(request)
    await llm.log_response(response)
    if fails and current_job().attempt == 1:
        raise ValueError("once more")
    return "asked"


@job(name="debug.vault", encrypted=RING)
async def vault(request: Any = None) -> str:
    """Ask, encrypted."""
    await llm.log_request(request)
    return SECRET


async def log_of(app: Tenuto, *jobs: Any, **options: Any) -> list[llm.DebugEntry]:
    """What a workflow of these jobs logs, each behind the one before."""
    flow = Workflow(debug=True, **options)
    for nth, one in enumerate(jobs):
        flow.add(f"s{nth}", one, [f"s{nth - 1}"] if nth else [])
    await finish(app, flow)
    return await app.workflow(flow.id).debug()


async def test_request_response_and_upstream_are_kept_for_each_step_and_attempt(app):
    flow = Workflow(debug=True)
    flow.add("up", Obey.value({"text": "a paper"}))
    flow.add("ask", ask.new({"messages": ["why?"]}, {"because": 1}, fails=True), deps="up")
    await finish(app, flow)

    found = await app.workflow(flow.id).debug("ask")

    asked = [("request", {"messages": ["why?"]}), ("response", {"because": 1})]
    entries = [("upstream", {"up": {"text": "a paper"}}), *asked]
    assert [(one.attempt, one.kind, one.content) for one in found] == [
        (attempt, *entry) for attempt in (1, 2) for entry in entries
    ]
    assert {one.step for one in found} == {"ask"}
    assert [one.attempt for one in await app.workflow(flow.id).debug("ask", attempt=2)] == [2, 2, 2]
    assert await app.workflow(flow.id).debug("up") == []


async def test_nothing_is_kept_of_a_workflow_without_debug_or_of_a_job_that_is_no_step(app, database_url):
    flow = Workflow()
    flow.add("ask", ask.new("why?"))
    await finish(app, flow)
    await app.enqueue(ask.new("why?"))
    await drain(app)

    with look_into(database_url) as tables:
        assert tables.rows("select id from debug_log") == []


async def test_debug_stands_beside_the_identifiers_and_an_update_leaves_it(app):
    flow = Workflow(debug=True)
    flow.add("later", ask.options(schedule_in=3600).new("why?"))
    await app.enqueue(flow)

    await app.update(flow.jobs["later"], {"meta": {"by": "me"}})

    assert (await app.fetch(flow.jobs["later"])).meta["workflow_debug"] is True


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────


async def test_what_stands_under_the_name_of_a_secret_is_hidden_at_any_depth_and_in_any_spelling(app, database_url):
    request = {
        "headers": [("X-Api-Key", SECRET), ["Accept", "json"]],
        "Authorization": f"Bearer {SECRET}",
        "nested": [{"client-secret": {"a": SECRET}, "max_tokens": 5, "$password": SECRET}],
        "openai_api_key": SECRET,
    }

    (entry,) = [one for one in await log_of(app, ask.new("why?", request)) if one.kind == "response"]

    assert entry.content["headers"][0][1] == "[hidden]"
    assert entry.content["headers"][1] == ["Accept", "json"]
    assert entry.content["nested"][0]["max_tokens"] == 5
    assert not _holds(database_url, SECRET, "debug_log")


async def test_keys_of_the_users_and_a_function_of_the_users_hide_more(open_app, database_url):
    def redact(content: Any) -> Any:
        return re.sub(r"\d{4}", "####", content) if isinstance(content, str) else content

    app = await open_app(queues={"default": 5}, debugging=Debugging(keys=("IBAN",), redact=redact))

    found = await log_of(app, ask.new({"iban": "DE02", "text": "x"}, "card 1234 and 5678"))

    assert [one.content for one in found] == [{"iban": "[hidden]", "text": "x"}, "card #### and ####"]


async def test_what_a_function_fails_to_redact_is_not_kept_and_the_step_goes_on(open_app, database_url):
    def redact(content: Any) -> Any:
        raise KeyError(content)

    app = await open_app(queues={"default": 5}, debugging=Debugging(redact=redact))

    found = await log_of(app, ask.new(SECRET))

    assert [(one.content, one.note) for one in found] == [(None, "not kept: redacting it raised KeyError")] * 2
    assert not _holds(database_url, SECRET, "debug_log")


async def test_what_an_encrypted_step_asks_is_sealed_and_opens_with_its_keys(app, database_url):
    found = await log_of(app, vault.new(SECRET))

    assert [one.content for one in found] == [SECRET]
    assert not _holds(database_url, SECRET, "debug_log")


async def test_an_entry_whose_key_is_not_here_comes_sealed(app, monkeypatch):
    flow = Workflow(debug=True)
    flow.add("s", vault.new(SECRET))
    await finish(app, flow)
    monkeypatch.setattr(vault.definition.encryption, "_ring", KeyRing("other", {"other": KeyRing.new_key()}))
    monkeypatch.setattr(vault.definition.encryption, "_keys", KeyRing("other", {"other": KeyRing.new_key()}))

    (entry,) = await app.workflow(flow.id).debug()

    assert isinstance(entry.content, Sealed)


async def test_a_step_behind_an_encrypted_one_keeps_nothing_of_it_in_the_clear(app, database_url):
    found = await log_of(app, vault.new(), ask.new(f"what of {SECRET}?"))

    upstream, *asked = [one for one in found if one.step == "s1"]
    assert upstream.content == {"s0": "[sealed]"}
    assert [one.content for one in asked] == [None, None]
    assert "encrypted" in str(asked[0].note)
    assert not _holds(database_url, SECRET, "debug_log")


def _holds(url: str, secret: str, table: str) -> bool:
    with look_into(url) as tables:
        rows = tables.rows(f"select * from {table}")
    assert rows
    return secret in str(rows)


# ── size and age ──────────────────────────────────────────────────────────────────────────────────


async def test_what_is_too_long_is_cut_and_says_so(open_app):
    app = await open_app(queues={"default": 5}, debugging=Debugging(size=100))

    request, response = await log_of(app, ask.new({"text": "a" * 5_000}, "short"))

    assert (request.size, response.note, response.content) == (5_011, None, "short")
    assert len(request.content) <= 100
    assert request.note == "cut: it takes 5,011 bytes, and 100 are kept"


async def test_what_cannot_be_stored_is_not_kept_and_the_step_goes_on(app):
    @job(name="debug.odd")
    async def odd() -> None:
        await llm.log_request(object())

    (entry,) = await log_of(app, odd.new())

    assert entry.content is None
    assert str(entry.note).startswith("not kept: ")


async def test_a_log_is_pruned_by_its_own_age_though_its_workflow_stays(app):
    flow = Workflow(debug=True)
    flow.add("ask", ask.new("why?"))
    await finish(app, flow)

    await app.database.run(usage.prune, timedelta(0), timedelta(days=1))
    before = await app.workflow(flow.id).debug()
    await app.database.run(usage.prune, timedelta(0), timedelta(0))

    assert (len(before), await app.workflow(flow.id).debug()) == (2, [])
    assert (await app.workflow(flow.id).status()).outcome == "completed"


async def test_a_long_log_is_read_in_pages(app, monkeypatch):
    monkeypatch.setattr(usage, "PAGE", 3)

    found = await log_of(app, *(ask.new(nth) for nth in range(4)))

    assert [one.content for one in found if one.kind == "request"] == [0, 1, 2, 3]


async def test_a_plain_function_logs_what_it_asks(app):
    @job(name="debug.plain")
    def plain() -> None:
        blocking.log_request("why?")
        blocking.log_response("so")

    assert [one.content for one in await log_of(app, plain.new())] == ["why?", "so"]


@pytest.mark.parametrize("said", [{"size": 1}, {"keep": -1}, {"redact": "x"}, {"keys": [3]}, {"kys": []}, 7])
def test_debugging_that_cannot_be_is_refused(said):
    with pytest.raises(ConfigError):
        Tenuto("sqlite:///never.db", debugging=said)


async def test_what_was_never_there_has_no_log_that_could_be_empty(app):
    flow = Workflow(debug=True)
    flow.add("quiet", Obey.ok())
    await finish(app, flow)

    assert await app.workflow(flow.id).debug("quiet") == await app.workflow(flow.id).debug() == []
    with pytest.raises(StepNotFound):
        await app.workflow(flow.id).debug("quite")
    with pytest.raises(WorkflowNotFound):
        await app.workflow(str(uuid4())).debug()


@job(name="debug.adds")
async def adds() -> None:
    """Adds a step that asks."""
    await graft({"ask": ask.new("in a graft")})


async def test_steps_that_are_added_to_a_workflow_are_logged_as_those_it_began_with(app):
    flow, more = Workflow(debug=True), Workflow()
    flow.add("open", Obey.snooze(3600))
    flow.add_graft("g", adds.new())
    more.add_many("many", [ask.new("appended")])
    await app.enqueue(flow)
    await app.workflow(flow.id).add("late", ask.new("added"))
    await app.workflow(flow.id).append(more)

    await drain(app)

    asked = {one.step: one.content for one in await app.workflow(flow.id).debug() if one.kind == "request"}
    assert asked == {"g/ask": "in a graft", "late": "added", "many/0": "appended"}


async def test_steps_that_are_added_to_a_workflow_without_a_log_have_none(app):
    flow, more = Workflow(), Workflow(debug=True)
    flow.add("open", Obey.snooze(3600))
    more.add("ask", ask.new("appended"))
    await app.enqueue(flow)

    with pytest.raises(InvalidWorkflow, match="debug"):
        await app.workflow(flow.id).append(more)
