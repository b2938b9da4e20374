"""Results as args: a step that takes one waits for it, gets it cast to what it declares, and says where it failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tenuto import KeyRing, Tenuto, Unique, Worker, Workflow, blocking, job
from tenuto.definition import _registry
from tenuto.errors import InvalidJob, NeedsUnmet, Unencodable
from tenuto.job import CANCELLED, COMPLETED, DISCARDED, Job
from tenuto.opening import encryption_of
from tenuto.reference import Reference, Waiting
from tenuto.testing import run_workflow
from tests.conftest import OpenApp
from tests.kit import Obey, drain, eventually, finish, reason_of, result_of, state_of
from tests.storage.tables import look_into
from tests.stories import referring


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new key, which no earlier answer of the provider holds."""
    monkeypatch.setenv("REFERRING_KEY", KeyRing.new_key())
    forget_keys()
    yield
    forget_keys()


def forget_keys() -> None:
    for name in (name for name in _registry if name.startswith("referring.sealed")):
        encryption = encryption_of(name)
        assert encryption is not None
        encryption._ring = None


def begun(value: Any = None) -> tuple[Workflow, Any]:
    """A workflow with a step `fetch`, and what it will come to."""
    flow = Workflow()
    given = {"token": "t-1", "n": "7", "list": [1, {"deep": "x"}]} if value is None else value
    return flow, flow.add("fetch", referring.fetch.new(given)).result


# ── what it gets ──────────────────────────────────────────────────────────────────────────────────


async def test_a_result_is_an_arg_of_the_step_behind_it(app):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"]))

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert await result_of(app, flow, "use") == ["t-1", 0, None]


async def test_it_is_cast_to_what_the_step_declares(app):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"], n=found["n"]))

    await finish(app, flow)

    assert await result_of(app, flow, "use") == ["t-1", 7, None]


async def test_it_may_stand_at_any_depth_and_as_often_as_one_likes(app):
    flow, found = begun()
    rest = {"all": found, "some": [found["list"][1]["deep"]] * 500, "pair": (found["n"], 1)}
    flow.add("use", referring.use.new(token=found["token"], rest=rest))

    await finish(app, flow)

    _, _, there = await result_of(app, flow, "use")
    assert there == {
        "all": {"token": "t-1", "n": "7", "list": [1, {"deep": "x"}]},
        "some": ["x"] * 500,
        "pair": ("7", 1),
    }


async def test_results_of_several_steps_meet_in_one(app):
    flow, found = begun()
    other = flow.add("other", referring.use.new(token=found["token"], n=1))
    flow.add("last", referring.use.new(token=other.result[0], rest=[found["n"], other.result]), deps="other")

    await finish(app, flow)

    assert flow.steps["last"].deps == ("other", "fetch")
    assert await result_of(app, flow, "last") == ["t-1", 0, ["7", ["t-1", 1, None]]]


async def test_a_plain_function_gets_it_too_and_so_does_the_running_job(app):
    flow, found = begun()
    flow.add("use", referring.in_thread.new(found["token"]))

    await finish(app, flow)

    assert await result_of(app, flow, "use") == ["t-1", "t-1"]


async def test_null_that_was_recorded_is_a_value(app):
    flow = Workflow()
    fetch = flow.add("fetch", Obey.value(None))
    flow.add("use", referring.use.new(token="t", rest=fetch.result))

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert await result_of(app, flow, "use") == ["t", 0, None]


async def test_the_row_says_what_the_step_waits_for(app):
    flow = Workflow()
    fetch = flow.add("fetch", referring.fetch.options(schedule_in=3600).new("x"))
    step = flow.add("use", referring.use.new(token=fetch.result["token"]))
    await app.enqueue(flow)

    there = await app.fetch(step.job)

    assert type(there.args) is Waiting
    assert there.args["token"] == Reference("fetch", ("token",))
    assert there.waiting_on == 1


async def test_a_workflow_with_references_is_the_same_when_it_is_enqueued_again(app):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"], n=found["n"]))

    await finish(app, flow)
    again = await app.enqueue(flow)

    assert [job.existing for job in again.jobs.values()] == [True, True]
    assert [job.state for job in again.jobs.values()] == [COMPLETED, COMPLETED]


def test_code_that_cannot_await_enqueues_it_too(database_url):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"]))

    app = blocking.Tenuto(database_url, queues={"default": 2})
    app.migrate()
    with app:
        app.enqueue(flow)
        app.workflow(flow.id).wait(timeout=30)
        assert app.workflow(flow.id).result("use") == ["t-1", 0, None]


async def test_a_test_runs_it_as_a_node_does(open_app: OpenApp):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"], n=found["n"]))

    run = await run_workflow(await open_app(), flow)

    assert run["use"] == ["t-1", 7, None]


# ── what it does not get ──────────────────────────────────────────────────────────────────────────


async def failed(app: Tenuto, flow: Workflow) -> str:
    """What the last error of the step `use` says, which was discarded."""
    await finish(app, flow)
    assert await state_of(app, flow, "use") == DISCARDED
    assert (await app.fetch(flow.jobs["use"])).errors[-1].type == "InvalidArgs"
    return await reason_of(app, flow.jobs["use"])


async def test_a_value_that_does_not_fit_fails_the_attempt_and_says_whence_it_came(app):
    flow, found = begun()
    flow.add("use", referring.use.new(token=found["token"], n=found["token"]))

    reason = await failed(app, flow)

    assert reason.startswith("args of referring.use do not fit: n: ")
    assert reason.endswith("""(the result of step 'fetch' at ["token"])""")
    assert "t-1" not in reason


@pytest.mark.parametrize("path", [("nope",), ("token", "deep"), ("list", 2), ("list", 1, "x")])
async def test_a_place_that_is_not_there_fails_the_attempt_and_is_named(app, path):
    flow, found = begun()
    for each in path:
        found = found[each]
    flow.add("use", referring.use.new(token=found))

    reason = await failed(app, flow)

    assert f"token: there is no such thing as {found!r}" in reason
    assert (await app.fetch(flow.jobs["use"])).attempt == 1  # though it may have two


async def test_a_dep_that_stored_nothing_fails_the_attempt(app):
    flow = Workflow()
    fetch = flow.add("fetch", Obey.ok())
    flow.add("use", referring.use.new(token=fetch.result))

    assert (await failed(app, flow)).endswith("the result of step 'fetch': it has stored no result")


async def test_a_forgiven_dep_has_no_result_to_give(app):
    flow = Workflow()
    fetch = flow.add("fetch", Obey.fail())
    flow.add("use", referring.use.new(token=fetch.result), ignore_discarded=True)

    assert "it has stored no result" in await failed(app, flow)


async def test_a_dep_that_ends_badly_cancels_the_step(app):
    flow = Workflow()
    fetch = flow.add("fetch", Obey.fail())
    flow.add("use", referring.use.new(token=fetch.result))

    await finish(app, flow)

    assert await state_of(app, flow, "use") == CANCELLED


# ── again ─────────────────────────────────────────────────────────────────────────────────────────


async def test_each_attempt_gets_it(app):
    flow, found = begun()
    flow.add("use", referring.twice.new(found["token"]))

    await finish(app, flow)

    assert await result_of(app, flow, "use") == ["t-1", 2]


async def test_a_retried_step_gets_what_its_dep_came_to_the_second_time(app):
    flow = Workflow()
    fetch = flow.add("fetch", later_each_time.new())
    flow.add("use", referring.use.new(token=fetch.result), ignore_discarded=True)
    calls.clear()
    await finish(app, flow)
    assert await result_of(app, flow, "use") == ["call 1", 0, None]

    await app.retry([flow.jobs["fetch"], flow.jobs["use"]])
    await drain(app)

    assert await result_of(app, flow, "use") == ["call 2", 0, None]


calls: list[int] = []


@job(name="references.later_each_time")
async def later_each_time() -> str:
    calls.append(1)
    return f"call {len(calls)}"


async def test_a_step_that_has_its_own_result_needs_none_of_others(app):
    flow, found = begun()
    flow.add("use", Obey.options(max_attempts=2).new(does="store", value=found["token"], names=["fail"]))

    status = await finish(app, flow)

    assert status.outcome == "completed"
    assert await result_of(app, flow, "use") == "t-1"


# ── elsewhere ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_process_of_its_own_gets_it(app):
    flow, found = begun()
    flow.add("use", referring.afar.new(found["token"], n=found["n"]))

    await finish(app, flow)

    token, n, process = await result_of(app, flow, "use")
    assert (token, n) == ("t-1", 7)
    assert process != os.getpid()


async def test_an_executor_gets_it(open_app: OpenApp):
    with ThreadPoolExecutor(2) as pool:
        app = await open_app(queues={"default": 5, "pool": 2}, executors={"pool": pool})
        flow, found = begun()
        flow.add("use", referring.on_pool.new(found["token"], n=found["n"]))

        await finish(app, flow)

        assert await result_of(app, flow, "use") == ["t-1", 7]


async def test_an_encrypted_step_gets_it_and_its_row_shows_nothing(app, database_url):
    flow, found = begun()
    use = flow.add("use", referring.sealed.new("DE02-1203", found["token"]))

    await finish(app, flow)

    assert use.deps == ("fetch",)
    assert await result_of(app, flow, "use") == ["DE02-1203", "t-1", "t-1"]
    with look_into(database_url) as tables:
        args = tables.rows("select args from jobs where id = ?", use.job.id)[0]["args"]
    assert args.startswith('{"$sealed":')
    assert "$ref" not in args
    assert (await app.opened(await app.fetch(use.job))).args["token"] == Reference("fetch", ("token",))


async def test_what_an_encrypted_step_came_to_is_opened_for_it(app):
    flow = Workflow()
    fetch = flow.add("fetch", referring.sealed_fetch.new({"token": "t-2"}))
    flow.add("use", referring.sealed.new("s", later(fetch.result)["token"]))

    await finish(app, flow)

    assert await result_of(app, flow, "use") == ["s", "t-2", "t-2"]


@pytest.mark.parametrize("worker", [referring.sealed_afar, referring.sealed_pool], ids=["process", "executor"])
async def test_encrypted_steps_get_it_elsewhere_too(open_app: OpenApp, worker):
    with ThreadPoolExecutor(2) as pool:
        app = await open_app(queues={"default": 5, "pool": 2}, executors={"pool": pool})
        flow = Workflow()
        fetch = flow.add("fetch", referring.sealed_fetch.new({"token": "t-2"}))
        flow.add("use", worker.new("s", later(fetch.result)["token"]))

        await finish(app, flow)

        assert await result_of(app, flow, "use") == ["s", "t-2"]


USERS = [referring.use, referring.in_thread, referring.afar, referring.on_pool, referring.sealed_pool]


@pytest.mark.parametrize("worker", USERS, ids=["loop", "thread", "process", "executor", "sealed executor"])
async def test_a_sealed_result_that_cannot_be_opened_fails_the_attempt_and_says_why(open_app: OpenApp, worker):
    with ThreadPoolExecutor(2) as pool:
        app = await open_app(queues={"default": 5, "pool": 2}, executors={"pool": pool})
        other = KeyRing("other", {"other": KeyRing.new_key()})

        @job(name="references.theirs", encrypted=other)
        async def theirs() -> str:
            return "t-3"

        flow = Workflow()
        args: dict[str, Any] = {"token": flow.add("fetch", theirs.new()).result}
        args |= {"n": 1} if worker in (referring.afar, referring.on_pool) else {}
        args |= {"secret": "s"} if worker is referring.sealed_pool else {}
        flow.add("use", worker.options(schedule_in=1, max_attempts=1).new(**args))
        await app.enqueue(flow)
        await eventually(lambda: has_state(app, flow.jobs["fetch"], COMPLETED))
        forgotten = _registry.pop("references.theirs")
        try:
            await app.workflow(flow.id).wait(timeout=30)
        finally:
            _registry["references.theirs"] = forgotten

        (error,) = (await app.opened(await app.fetch(flow.jobs["use"]))).errors
        assert error.type == "KeyUnavailable"
        assert "the key 'other' is not here" in error.message


async def has_state(app: Tenuto, stored: Job[Any, Any], state: str) -> bool:
    return (await app.fetch(stored)).state == state


# ── where it cannot be ────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_is_no_step_cannot_take_one(app):
    _, found = begun()
    alone = referring.use.new(token=found["token"])

    for refused in (app.enqueue(alone), app.enqueue([alone]), app.relay(alone)):
        with pytest.raises(InvalidJob, match=r"takes the result of step 'fetch' at \[\"token\"\] as an arg"):
            await refused
    assert await app.find(limit=5) == []


async def test_a_job_that_was_made_by_hand_cannot_hold_one(app):
    flow, found = begun()
    made: Job[Any, Any] = Job("referring.use", {"token": found["token"]})
    flow.add("use", made)

    with pytest.raises(Unencodable, match="before it is there"):
        await app.enqueue(made)
    with pytest.raises(Unencodable, match="before it is there"):
        await app.enqueue(flow)


async def test_neither_meta_nor_changed_args_hold_one(app):
    _, found = begun()
    stored = await app.enqueue(referring.use.options(schedule_in=3600).new(token="t"))

    with pytest.raises(Unencodable):
        referring.use.options(meta={"token": found["token"]})
    with pytest.raises(
        InvalidJob, match=r"args= holds the result of step 'fetch' at .*, and a step that is stored takes"
    ):
        await app.update(stored, {"args": {"token": found["token"]}})


async def test_an_encrypted_job_that_is_no_step_cannot_take_one_either(app):
    _, found = begun()

    with pytest.raises(InvalidJob, match="takes the result"):
        await app.enqueue(referring.sealed.new("s", found["token"]))


class ByToken(Worker[dict[str, Any], None], name="references.by_token", partition="args.token"):
    async def process(self, job: Job[dict[str, Any], None]) -> None: ...


@pytest.mark.parametrize("unique", [Unique(), Unique(keys=["token"]), Unique(fields=["args.rest.deep"])])
async def test_no_unique_key_is_made_of_one(app, unique):
    flow, found = begun()
    step = referring.use.options(unique=unique).new(token=found["token"], rest={"deep": found["n"]})
    flow.add("use", step)

    with pytest.raises(InvalidJob, match=r"args.* holds the result of step 'fetch' .* not known when its key"):
        await app.enqueue(flow)


async def test_other_parts_of_such_args_may_be_unique(app):
    flow, found = begun()
    flow.add("use", referring.use.options(unique=Unique(keys=["n"])).new(token=found["token"], n=77))

    assert (await finish(app, flow)).outcome == "completed"


async def test_no_partition_is_made_of_one(app):
    flow, found = begun()
    flow.add("use", ByToken.new(token=found["token"]))

    with pytest.raises(InvalidJob, match=r"args\.token .* holds the result"):
        await app.enqueue(flow)


async def test_a_step_cannot_be_retried_before_the_result_is_there(app):
    flow = Workflow()
    fetch = flow.add("fetch", Obey.fail())
    flow.add("use", referring.use.new(token=fetch.result))
    await finish(app, flow)

    with pytest.raises(NeedsUnmet):
        await app.retry(flow.jobs["use"])


def later(value: Any) -> Any:
    """A reference, as the type that its result will have."""
    return value
