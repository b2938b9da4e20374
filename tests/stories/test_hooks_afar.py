"""Hooks of jobs that run elsewhere: they run where the job did, on its instance; on the node where that is no more."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tenuto import Job, Tenuto, telemetry
from tenuto.hooking import attach_hook, detach_hook
from tenuto.job import CANCELLED, COMPLETED, SCHEDULED
from tests.conftest import OpenApp
from tests.kit import eventually
from tests.stories.hooked import Deed, Fatal, Hooked, HookedOnPool, Quiet, Slow, SlowOnPool, all_told
from tests.stories.test_endings import ended, runs

AnyJob = Job[Any, Any]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
async def on_pool(open_app: OpenApp, processes: ProcessPoolExecutor) -> Tenuto:
    return await open_app(queues={"hooked": 2}, executors={"pool": processes})


TOLD = {
    "nothing": ("complete", None, None),
    "value": ("complete", "value", None),
    "cancel": ("cancel", "Cancel", "Cancel"),
    "discard": ("discard", "Discard", "Discard"),
    "snooze": ("snooze", "Snooze", None),
}


@pytest.mark.parametrize("worker", [Hooked, HookedOnPool], ids=["process", "executor"])
@pytest.mark.parametrize("does", TOLD)
async def test_hooks_run_in_the_process_of_the_job_and_share_its_instance(
    on_pool: Tenuto, worker: Any, does: str, tmp_path: Path
):
    made = await on_pool.enqueue(worker.new(Deed(str(tmp_path), does)))

    async def is_settled() -> bool:
        found = await on_pool.fetch(made)
        return found.state.is_terminal or found.state is SCHEDULED

    await eventually(is_settled)

    (told,) = all_told(tmp_path)
    assert (told["state"], told["result"], told["error"]) == TOLD[does]
    assert told["pid"] != os.getpid()
    assert told["seen"] == [told["pid"]] * 2


@pytest.mark.parametrize("worker", [Hooked, HookedOnPool], ids=["process", "executor"])
async def test_a_failure_is_told_there_with_the_exception_itself(on_pool: Tenuto, worker: Any, tmp_path: Path):
    made = await on_pool.enqueue(worker.new(Deed(str(tmp_path), "fail")))

    await ended(on_pool, made)

    assert [(told["state"], told["error"]) for told in all_told(tmp_path)] == [
        ("error", "LookupError"),
        ("discard", "LookupError"),
    ]
    assert all("deeds" in told["frames"] and told["pid"] != os.getpid() for told in all_told(tmp_path))


async def test_where_the_process_is_gone_its_node_tells(on_pool: Tenuto, tmp_path: Path):
    made = await on_pool.enqueue(Hooked.new(Deed(str(tmp_path), "die")))

    await ended(on_pool, made)

    told = all_told(tmp_path)
    assert [(each["state"], each["error"]) for each in told] == [("error", "ProcessDied"), ("discard", "ProcessDied")]
    assert {each["pid"] for each in told} == {os.getpid()}


async def test_a_job_that_ran_out_of_time_is_told_of_by_its_node(on_pool: Tenuto, tmp_path: Path):
    hang = Hooked.options(timeout=0.3, max_attempts=1).new(Deed(str(tmp_path), "hang"))

    await ended(on_pool, await on_pool.enqueue(hang))

    (told,) = all_told(tmp_path)
    assert (told["state"], told["error"], told["pid"]) == ("discard", "JobTimedOut", os.getpid())


async def test_one_that_an_operator_cancelled_is_told_of_by_nobody(on_pool: Tenuto, tmp_path: Path):
    made = await on_pool.enqueue(Hooked.new(Deed(str(tmp_path), "hang")))
    await runs(on_pool, made)

    await on_pool.cancel(made)

    assert (await ended(on_pool, made)).state is CANCELLED
    assert all_told(tmp_path) == []


async def test_a_hook_that_kills_the_process_harms_nothing(on_pool: Tenuto, tmp_path: Path):
    codes: list[int] = []
    telemetry.attach(hear := lambda _, payload: codes.append(payload["code"]), "child.end")

    found = await ended(on_pool, await on_pool.enqueue(Fatal.new(Deed(str(tmp_path)))))
    telemetry.detach(hear)

    assert (found.state, found.attempt, found.errors) == (COMPLETED, 1, ())
    assert codes == [9]


@pytest.mark.parametrize("worker", [Slow, SlowOnPool], ids=["process", "executor"])
async def test_the_timeout_of_a_job_does_not_count_its_after_hooks(on_pool: Tenuto, worker: Any, tmp_path: Path):
    found = await ended(on_pool, await on_pool.enqueue(worker.new(Deed(str(tmp_path)))))

    assert (found.state, found.errors) == (COMPLETED, ())
    assert [told["state"] for told in all_told(tmp_path)] == ["complete"]


async def test_a_node_that_stops_while_hooks_are_told_gives_the_job_back_as_it_ended(
    on_pool: Tenuto, open_app: OpenApp, tmp_path: Path
):
    made = await on_pool.enqueue(Slow.options(timeout=None).new(Deed(str(tmp_path))))
    await eventually(lambda: all_told(tmp_path))

    await on_pool.stop(grace=0)

    found = await (await open_app()).fetch(made)
    assert (found.state, found.attempt) == (COMPLETED, 1)


@pytest.mark.parametrize(("does", "state"), [("nothing", "complete"), ("fail", "discard")])
async def test_hooks_that_only_the_node_has_run_there(on_pool: Tenuto, does: str, state: str, tmp_path: Path):
    told: list[tuple[str, int]] = []

    class Audit:
        def after_process(self, state: str, job: AnyJob) -> None:
            told.append((state, os.getpid()))

    attach_hook(audit := Audit())
    try:
        await ended(on_pool, await on_pool.enqueue(Quiet.new(Deed(str(tmp_path), does))))
    finally:
        detach_hook(audit)

    assert told == [(state, os.getpid())]
