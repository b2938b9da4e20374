"""`tenuto jobs`: what is listed and shown, and what is changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tenuto import Chain, KeyRing, Unique, Workflow, job
from tenuto.definition import forget
from tests.edges.terminal import SECRET, at_a_terminal
from tests.kit import Obey, ToldTo, drain, finish


@job(name="cli.tape", recorded=True)
async def tape(rows: int) -> dict[str, int]:
    return {"rows": rows}


@pytest.fixture
def vault() -> Iterator[Any]:
    """An encrypted worker, known for as long as the test lets it be."""

    @job(name="cli.vault", encrypted=KeyRing("k1", {"k1": KeyRing.new_key()}), recorded=True)
    async def keep(secret: str) -> str:
        return secret

    yield keep
    forget("cli.vault")


# ── jobs list, jobs show ──────────────────────────────────────────────────────────────────────────


async def test_jobs_are_listed_newest_first_page_by_page(store, ask):
    jobs = [await store.enqueue(Obey.ok()) for _ in range(3)]
    newest_first = [job.id for job in reversed(jobs)]

    page = (await ask("jobs", "list", "--limit", "2", "--json")).json
    rest = (await ask("jobs", "list", "--limit", "2", "--before", page[-1]["id"], "--json")).json

    assert [job["id"] for job in page + rest] == newest_first


async def test_jobs_are_listed_by_every_filter(store, ask):
    flow = Workflow()
    flow.add("a", Obey.ok())
    await store.enqueue(flow)
    mail = await store.enqueue(Obey.ok(queue="mail", tags=["bulk"]))
    later = await store.enqueue(Obey.ok(schedule_in=60))

    async def found(*filters: str) -> list[str]:
        return [job["id"] for job in (await ask("jobs", "list", *filters, "--json")).json]

    assert await found("--queue", "mail", "--worker", "obey") == [mail.id]
    assert await found("--tag", "bulk") == [mail.id]
    assert await found("--workflow", flow.id) == [flow.jobs["a"].id]
    assert await found("--state", "scheduled") == [later.id]
    assert len(await found("--state", "scheduled", "--state", "available")) == 3


async def test_args_are_shown_with_the_job_and_never_in_a_list(store, ask):
    job = await store.enqueue(Obey.value(SECRET))

    listed, as_json = await ask("jobs", "list"), await ask("jobs", "list", "--json")
    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert job.id in listed.out
    assert SECRET not in listed.out + as_json.out
    assert SECRET in shown.out
    assert whole.json["args"]["value"] == SECRET


async def test_a_unique_job_shows_its_key_for_as_long_as_it_holds_it(store, ask):
    job = await store.enqueue(Obey.ok(unique=Unique(states=["scheduled", "available"])))
    key = json.loads((await store.fetch(job)).unique_key)["key"]

    shown, listed = await ask("jobs", "show", job.id), await ask("jobs", "list", "--json")
    await store.cancel(job)
    later, as_json = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert f"key {key[:12]}… while scheduled, available" in shown.out
    assert listed.json[0]["unique_key"] == key
    assert "key" not in later.out
    assert as_json.json["unique_key"] is None


async def test_a_list_for_a_pipe_is_plain_and_nothing_is_cut(store, ask):
    name = "q" * 100
    await store.enqueue(Obey.ok(queue=name))

    head, line = (await ask("jobs", "list")).lines

    assert head.split() == ["ID", "STATE", "TRY", "WHEN", "QUEUE", "WORKER"]
    assert line.split()[-2:] == [name, "obey"]
    assert line == line.rstrip()
    assert line.isprintable()


async def test_nothing_to_list_is_said_beside_the_answer(store, ask):
    said = await ask("jobs", "list")

    assert (said.code, said.out, said.err) == (0, "", "tenuto: no job fits\n")


async def test_a_link_that_waits_for_its_turn_is_shown_so(store, ask):
    @job(name="cli.link", chain=Chain())
    async def link() -> None: ...

    first, second = await store.enqueue([link.new(), link.new()])

    shown, whole = await ask("jobs", "show", second.id), await ask("jobs", "show", second.id, "--json")

    assert "its turn in its chain" in shown.out
    assert "its turn" not in (await ask("jobs", "show", first.id)).out
    assert whole.json["chain_key"] == first.chain_key


async def test_a_failed_job_is_shown_with_its_traceback(app, ask):
    job = await app.enqueue(Obey.fail("the disk is full"))
    await drain(app)

    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert "✗ discarded" in shown.out
    assert "ToldTo: the disk is full" in shown.out
    assert "Traceback (most recent call last)" in shown.out
    (error,) = whole.json["errors"]
    assert (error["type"], error["message"], error["attempt"]) == (ToldTo.__name__, "the disk is full", 1)
    assert whole.json["worker_is_known"] is True


async def test_what_a_job_recorded_is_shown_with_it(app, ask):
    recorded, plain = await app.enqueue([tape.new(3), Obey.ok()])
    await drain(app)

    shown, whole = await ask("jobs", "show", recorded.id), await ask("jobs", "show", recorded.id, "--json")
    other = await ask("jobs", "show", plain.id, "--json")

    assert [line.split(maxsplit=1) for line in shown.lines if line.startswith("recorded")] == [
        ["recorded", '{"rows": 3}']
    ]
    assert (whole.json["has_recorded"], whole.json["recorded"]) == (True, {"rows": 3})
    assert (other.json["has_recorded"], other.json["recorded"]) == (False, None)


async def test_a_sealed_job_is_shown_with_the_id_of_its_key(app, ask, vault):
    job = await app.enqueue(vault.new(SECRET))
    await drain(app)
    forget("cli.vault")  # a command imports no worker

    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert whole.json["args"] == whole.json["recorded"] == {"sealed": "k1"}
    assert whole.json["errors"] == []
    assert '{"sealed": "k1"}' in shown.out
    assert SECRET not in shown.out + str(whole.json)


async def test_a_step_is_shown_with_its_workflow_what_it_waits_for_and_its_result(app, ask):
    flow = Workflow("report")
    flow.add("quick", Obey.value({"rows": 3}))
    flow.add("slow", Obey.snooze(60))
    flow.add("join", Obey.ok(), deps=["quick", "slow"])
    await app.enqueue(flow)
    await drain(app)

    quick, join = await ask("jobs", "show", flow.jobs["quick"].id), await ask("jobs", "show", flow.jobs["join"].id)
    whole = await ask("jobs", "show", flow.jobs["join"].id, "--json")

    assert f"step quick of report {flow.id}" in quick.out
    assert '{"rows": 3}' in quick.out
    assert [line.split() for line in join.lines if "waits" in line] == [["waits", "for", "slow"]]
    assert (whole.json["step"], whole.json["workflow_name"]) == ("join", "report")
    assert whole.json["deps"] == ["quick", "slow"]


async def test_a_job_whose_worker_no_live_node_knows_says_so(store, ask):
    job = await store.enqueue(Obey.ok())

    said, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert "no live node knows the worker obey" in said.err
    assert whole.json["worker_is_known"] is False


# ── jobs cancel, retry, delete ────────────────────────────────────────────────────────────────────


async def test_jobs_are_cancelled_retried_and_deleted_by_id(store, ask):
    one, two, other = [await store.enqueue(Obey.ok()) for _ in range(3)]

    cancelled = await ask("jobs", "cancel", one.id, two.id)
    retried = await ask("jobs", "retry", one.id)
    deleted = await ask("jobs", "delete", two.id)

    assert sorted(cancelled.lines) == sorted([one.id, two.id])
    assert (retried.lines, deleted.lines) == ([one.id], [two.id])
    assert {job.id for job in await store.find(state="available")} == {one.id, other.id}


async def test_the_ids_that_were_changed_are_one_json_list_when_asked_for(store, ask):
    job = await store.enqueue(Obey.ok())

    answers = [(await ask("jobs", verb, job.id, "--json")).json for verb in ("retry", "cancel", "retry", "delete")]

    assert answers == [[], [job.id], [job.id], [job.id]]


async def test_a_filter_changes_the_jobs_that_fit_and_no_other(store, ask):
    mail = [await store.enqueue(Obey.ok(queue="mail")) for _ in range(3)]
    other = await store.enqueue(Obey.ok())

    said = await ask("jobs", "cancel", "--queue", "mail")

    assert sorted(said.lines) == sorted(job.id for job in mail)
    assert (await store.fetch(other)).state == "available"


async def test_a_job_that_was_named_and_not_changed_says_why(store, ask):
    job = await store.enqueue(Obey.ok())

    said = await ask("jobs", "retry", job.id)

    assert (said.code, said.out) == (0, "")
    assert said.err == f"tenuto: job {job.id} is available: retry changes nothing\n"


async def test_a_filter_that_changes_nothing_says_so(store, ask):
    said = await ask("jobs", "cancel", "--queue", "mail")

    assert (said.code, said.out, said.err) == (0, "", "tenuto: no job that fits can be changed by cancel\n")


async def test_a_retried_step_keeps_its_result_when_asked_to(app, ask):
    flow = Workflow()
    flow.add("a", Obey.store("kept", then="fail", max_attempts=1))
    await finish(app, flow)

    await ask("jobs", "retry", flow.jobs["a"].id, "--keep-results")

    status = await app.workflow(flow.id).wait(timeout=20)
    assert (status.outcome, await app.workflow(flow.id).result("a")) == ("completed", "kept")


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 11), (b"y\n", 0)])
async def test_a_person_is_asked_before_a_filter_changes_many_jobs(store, database_url, answer, left):
    await store.enqueue([Obey.ok(queue="mail") for _ in range(11)])

    said = await asyncio.to_thread(at_a_terminal, answer, "--url", database_url, "jobs", "delete", "--queue", "mail")

    assert "More than 10 jobs fit. Delete all of them? [y/N]" in said
    assert len(await store.find()) == left


async def test_nobody_is_asked_who_said_yes_or_changes_few(store, database_url):
    await store.enqueue([Obey.ok(queue="mail") for _ in range(11)])
    await store.enqueue(Obey.ok(queue="few"))

    for args in (["--queue", "mail", "--yes"], ["--queue", "few"]):
        await asyncio.to_thread(at_a_terminal, b"", "--url", database_url, "jobs", "delete", *args)

    assert await store.find() == []


async def test_a_job_is_shown_with_its_deadline(store, ask):
    job = await store.enqueue(Obey.ok().replace(deadline=timedelta(hours=1), deadline_force=True))

    shown, whole = await ask("jobs", "show", job.id), await ask("jobs", "show", job.id, "--json")

    assert ", also when it runs" in shown.out
    assert whole.json["deadline_force"] is True
    assert datetime.fromisoformat(whole.json["deadline_at"]) == job.deadline_at
