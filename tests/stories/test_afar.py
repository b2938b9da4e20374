"""Jobs in processes of their own: they run as anywhere, and what happens to their process happens to them alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tenuto import Job, Tenuto, Workflow, job, telemetry
from tenuto.definition import forget
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, EXECUTING, SCHEDULED
from tenuto.runtime.places import spawned
from tests.conftest import OpenApp
from tests.kit import ROOT, drain, eventually, finish, result_of
from tests.stories import afar_workers as afar
from tests.stories import endless
from tests.stories.test_endings import ended, runs

AnyJob = Job[Any, Any]


@pytest.fixture
async def there(open_app: OpenApp) -> Tenuto:
    """An app whose queue runs jobs in processes, four at once."""
    return await open_app(queues={afar.QUEUE: 4})


@pytest.fixture
def children() -> Iterator[list[int]]:
    """The pids of the children that were started, in their order."""
    pids: list[int] = []
    telemetry.attach(hear := lambda _, payload: pids.append(payload["pid"]), "child.start")
    yield pids
    telemetry.detach(hear)


def is_gone(pid: int) -> bool:
    """Whether it runs no more; a zombie does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def come_of(app: Tenuto, made: AnyJob) -> Any:
    """The result of one job, as the only step of a workflow."""
    flow = Workflow()
    flow.add("only", made)
    await finish(app, flow)
    return await result_of(app, flow, "only")


async def pids_in(folder: Path) -> list[int]:
    """What a job wrote of itself, once it has."""
    return [int(pid) for pid in (await eventually(lambda: _text_in(folder))).split()]


def _text_in(folder: Path) -> str:
    told = folder / "pids"
    return told.read_text() if told.exists() else ""


# ── they run ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_runs_in_another_process_and_an_async_one_too(there: Tenuto):
    pids = {await come_of(there, worker.new()) for worker in (afar.whose_process, afar.whose_process_async)}

    assert os.getpid() not in pids
    assert all(psutil.Process(pid).ppid() == os.getpid() for pid in pids)


async def test_a_class_runs_there_with_its_args_as_declared(there: Tenuto):
    assert await come_of(there, afar.Add.new({"a": 3, "b": 4})) == 7


VALUES = {
    "text": "x\0\u2028ü",
    "tags": [datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=1), (1, {2, 3}), b"\xff", float("inf")],
    "a tag's look": {"$uuid": "no"},
    "depth": eval("[" * 95 + "]" * 95),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_args_and_results_of_every_kind_arrive(there: Tenuto, value: Any):
    assert await come_of(there, afar.give_back.new(value)) == value


@pytest.mark.parametrize(
    ("what", "state", "attempt"),
    [
        ("nothing", COMPLETED, 1),
        ("null", COMPLETED, 1),
        ("text", COMPLETED, 1),
        ("snooze", SCHEDULED, 0),
        ("cancel", CANCELLED, 1),
        ("discard", DISCARDED, 1),
        ("exit", DISCARDED, 1),
        ("fail", DISCARDED, 1),
    ],
)
async def test_what_it_comes_to_is_what_it_would_anywhere(there: Tenuto, what: str, state: str, attempt: int):
    made = await there.enqueue(afar.come_to.options(max_attempts=1).new(what))

    async def is_there() -> bool:
        return (await there.fetch(made)).state == state

    await eventually(is_there)
    assert (await there.fetch(made)).attempt == attempt


async def test_null_is_a_result_there_too(there: Tenuto):
    assert await come_of(there, afar.come_to.new("null")) is None


@pytest.mark.parametrize(("what", "error"), [("odd", "UnencodableResult"), ("large", "ResultTooLarge")])
async def test_a_step_whose_result_cannot_travel_is_discarded_at_once(there: Tenuto, what: str, error: str):
    flow = Workflow()
    flow.add("only", afar.come_to.new(what))

    await finish(there, flow)

    found = await there.fetch(flow.jobs["only"])
    assert (found.state, found.attempt, found.errors[-1].type) == (DISCARDED, 1, error)


@pytest.mark.parametrize(
    ("sizes", "state"), [({}, DISCARDED), ({"recorded": 100_000}, COMPLETED)], ids=["usual", "more"]
)
async def test_the_sizes_of_its_app_hold_there_too(open_app: OpenApp, sizes: dict[str, int], state: str):
    app = await open_app(queues={afar.QUEUE: 1}, sizes=sizes)
    made = await app.enqueue(afar.keep.new(50_000))
    await drain(app)

    assert (await app.fetch(made)).state == state


async def test_a_failure_arrives_with_its_type_its_message_and_the_frames_of_the_job(there: Tenuto):
    made = await there.enqueue(afar.come_to.options(max_attempts=1).new("fail"))

    (failure,) = (await ended(there, made)).errors

    assert (failure.kind, failure.type, failure.message) == ("exception", "LookupError", "in a child: ünï")
    assert "in come_to" in failure.traceback
    assert "in deeper" in failure.traceback
    assert "tenuto/runtime" not in failure.traceback


async def test_the_running_job_knows_itself_and_has_no_app(there: Tenuto):
    made = afar.who_am_i.options(tags=["a", "b"], meta={"x": (1, 2)}).new()

    told = await come_of(there, made)

    assert told["meta"].pop("workflow_name") is None
    assert set(told["meta"]) == {"x", "workflow_id", "workflow_label"}
    assert told | {"meta": told["meta"]["x"]} == {
        "id": made.id,
        "attempt": 1,
        "tags": ["a", "b"],
        "meta": (1, 2),
        "app": "tenuto",
        "refused": "NotHere",
        "kind": True,
    }


async def test_a_step_reads_its_deps_there_and_is_refused_the_others_by_name(there: Tenuto):
    flow = Workflow()
    flow.add("value", afar.give_back.new({"deep": [1, None]}))
    flow.add("nothing", afar.come_to.new("nothing"))
    flow.add("other", afar.give_back.new(1))
    flow.add("read", afar.read.new(["value", "nothing", "other", "unknown"]), deps=["value", "nothing"])
    await finish(there, flow)

    assert await result_of(there, flow, "read") == {
        "value": {"deep": [1, None]},
        "nothing": "NoResult",
        "other": "NotADependency",
        "unknown": "StepNotFound",
    }


@pytest.mark.parametrize("worker", [afar.store_then_die, afar.store_then_fail], ids=["and dies", "and fails"])
async def test_a_step_stores_its_result_early_through_its_node(there: Tenuto, worker: Any):
    flow = Workflow()
    flow.add("only", worker.new({"kept": True}))

    status = await finish(there, flow)

    assert status.outcome == "completed"
    assert await result_of(there, flow, "only") == {"kept": True}
    assert (await there.fetch(flow.jobs["only"])).attempt == 2, "the second attempt settled without running"


async def test_a_timeout_counts_from_when_the_job_begins_and_not_from_the_start_of_its_process(there: Tenuto):
    made = await there.enqueue(afar.whose_process.options(timeout=0.15).new())

    assert (await ended(there, made)).state is COMPLETED


# ── they end ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_cancel_kills_the_process_and_what_the_job_started(there: Tenuto, tmp_path: Path):
    made = await there.enqueue(afar.hold.new(str(tmp_path)))
    pids = await pids_in(tmp_path)
    assert len(pids) == 2

    await there.cancel(made)

    assert (await ended(there, made)).state is CANCELLED
    await eventually(lambda: all(map(is_gone, pids)), within=2)


@pytest.mark.parametrize(
    ("killer", "how"),
    [
        (afar.crash.new, "was killed by SIGSEGV"),
        (partial(afar.die.new, -signal.SIGKILL), "was killed by SIGKILL"),
        (partial(afar.die.new, 9), "ended with exit code 9"),
    ],
    ids=["segfault", "kill", "exit"],
)
async def test_a_job_that_kills_its_process_three_times_is_discarded_and_the_99_beside_it_complete(
    there: Tenuto, killer: Any, how: str
):
    jobs = [afar.give_back.new(n) for n in range(99)]
    poison = killer()
    await there.enqueue([*jobs[:50], poison, *jobs[50:]])

    found = await ended(there, poison)
    await drain(there)

    assert found.state is DISCARDED
    assert [failure.type for failure in found.errors] == ["ProcessDied", "ProcessDied", "Discard"]
    assert found.errors[0].message == f"the process in which this job ran {how}"
    assert found.errors[-1].message == f"its process died 3 times in a row; the last one {how}"
    completed = await there.find(state="completed", limit=200)
    assert len(completed) == 99
    assert all(job.attempt == 1 for job in completed)


async def test_a_process_that_ends_itself_fails_its_job_and_the_next_attempt_has_another(there: Tenuto):
    made = afar.die_once.new("alive")

    assert await come_of(there, made) == "alive"

    found = await there.fetch(made)
    assert found.errors[-1].message == "the process in which this job ran ended with exit code 7"


async def test_whoever_signals_every_process_of_a_service_does_not_end_the_jobs(there: Tenuto, tmp_path: Path):
    made = await there.enqueue(afar.hold.new(str(tmp_path)))
    pid, _ = await pids_in(tmp_path)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    other = await come_of(there, afar.whose_process.new())

    assert other != pid
    assert not is_gone(pid)
    assert (await there.fetch(made)).state is EXECUTING
    await there.cancel(made)


# ── the processes ─────────────────────────────────────────────────────────────────────────────────


async def test_children_are_used_again_and_there_are_no_more_than_jobs_at_once(there: Tenuto, children: list[int]):
    for _ in range(3):
        await there.enqueue([afar.whose_process.new() for _ in range(20)])
        await drain(there)

    assert 1 <= len(children) <= 4


async def test_fifty_jobs_on_four_slots_run_four_at_once_and_each_once(there: Tenuto, children: list[int]):
    flow = Workflow()
    for n in range(50):
        flow.add(f"{n}", afar.linger.new(0.05))
    await finish(there, flow)

    found = [await there.fetch(step) for step in flow.jobs.values()]
    ran = [await result_of(there, flow, name) for name in flow.jobs]
    at_once = [sum(began <= start < end for _, began, end in ran) for _, start, _ in ran]
    assert {(step.state, step.attempt) for step in found} == {(COMPLETED, 1)}
    assert {pid for pid, _, _ in ran} == set(children)
    assert max(at_once) <= len(children) <= 4


async def test_a_job_that_ends_within_the_grace_of_a_node_that_stops_is_completed(there: Tenuto, open_app: OpenApp):
    made = await there.enqueue(afar.linger.new(1.0))
    await runs(there, made)

    await there.stop(grace=10)

    found = await (await open_app()).fetch(made)
    assert (found.state, found.attempt, found.errors) == (COMPLETED, 1, ())


async def test_a_child_is_replaced_after_its_share_of_jobs(
    open_app: OpenApp, children: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(spawned, "JOBS_EACH", 3)
    app = await open_app(queues={afar.QUEUE: 1})

    await app.enqueue([afar.whose_process.new() for _ in range(7)])
    await drain(app)

    assert len(children) == 3
    await eventually(lambda: is_gone(children[0]) and is_gone(children[1]))


async def test_a_child_that_is_idle_for_long_ends(there: Tenuto, children: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spawned, "IDLE_FOR", 0.1)

    await come_of(there, afar.whose_process.new())

    await eventually(lambda: is_gone(children[0]))


async def test_children_end_with_their_node_and_a_job_that_outlasts_the_grace_goes_back_unspent(
    there: Tenuto, open_app: OpenApp, children: list[int], tmp_path: Path
):
    made = await there.enqueue(afar.hold.new(str(tmp_path)))
    busy = await pids_in(tmp_path)
    await there.enqueue(afar.whose_process.new())
    await eventually(lambda: len(children) == 2)

    await there.stop(grace=0.2)

    assert all(is_gone(pid) for pid in (*busy, *children))
    looking = await open_app()
    found = await looking.fetch(made)
    assert (found.state, found.attempt, found.errors) == (AVAILABLE, 0, ())


@contextmanager
def node_of(url: str, queue: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, which ends at the end at the latest."""
    node = subprocess.Popen([sys.executable, "-m", "tests.stories.node", url, queue], cwd=ROOT)
    try:
        yield node
    finally:
        node.kill()
        node.wait()


@pytest.mark.parametrize(
    "worker",
    [endless.in_one_call, endless.in_a_loop_of_c, endless.in_process_async],
    ids=lambda worker: worker.__name__,
)
async def test_children_die_with_a_node_that_is_killed_whatever_they_do(
    database_url: str, app: Tenuto, worker: Any, tmp_path: Path
):
    with node_of(database_url, endless.QUEUE) as node:
        await app.enqueue(worker.new(str(tmp_path)))
        began = await eventually((tmp_path / "began").exists) and (tmp_path / "began").read_text()
        children = [child.pid for child in psutil.Process(node.pid).children()]
        assert int(began.split()[1]) in children

        node.kill()
        node.wait()

        await eventually(lambda: all(map(is_gone, children)), within=5)


async def test_an_idle_child_ends_with_a_node_that_is_killed(database_url: str, app: Tenuto):
    with node_of(database_url, afar.QUEUE) as node:
        await app.enqueue(afar.whose_process.new())
        await drain(app)
        children = [child.pid for child in psutil.Process(node.pid).children()]
        assert children

        node.kill()
        node.wait()

        await eventually(lambda: all(map(is_gone, children)), within=5)


async def test_a_child_that_cannot_start_spends_no_attempt(there: Tenuto, monkeypatch: pytest.MonkeyPatch):
    told: list[BaseException] = []
    telemetry.attach(hear := lambda _, payload: told.append(payload["error"]), "service.exception")
    monkeypatch.setattr(spawned, "BOOT", "raise SystemExit(5)")

    made = await there.enqueue(afar.whose_process.new())
    await eventually(lambda: told)
    telemetry.detach(hear)

    async def is_put_back() -> bool:
        return (await there.fetch(made)).state == SCHEDULED

    await eventually(is_put_back)
    assert ((await there.fetch(made)).attempt, (await there.fetch(made)).errors) == (0, ())
    assert str(told[0]) == "the process in which this job ran ended with exit code 5"


async def test_nothing_of_a_job_is_pickled(there: Tenuto, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was pickled")

    for name in ("dumps", "dump", "loads", "load", "Pickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
        monkeypatch.setattr(f"multiprocessing.reduction.ForkingPickler.{name}", refuse, raising=False)

    assert await come_of(there, afar.give_back.new([1])) == [1]


async def test_a_worker_that_its_module_does_not_define_fails_and_says_so(there: Tenuto):
    @job(queue=afar.QUEUE, runs_in="process", max_attempts=1, name="afar.local")
    def local() -> None: ...

    try:
        found = await ended(there, await there.enqueue(local.new()))
    finally:
        forget("afar.local")

    assert found.errors[-1].type == "UnknownWorker"
    assert "afar.local" in found.errors[-1].message


# ── programs ──────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
import asyncio, os
from tenuto import Tenuto, Workflow, job

@job(runs_in="process")
def double(n: int) -> list[int]:
    return [2 * n, os.getppid()]

async def main() -> None:
    flow = Workflow()
    flow.add("only", double.new(21))
    async with Tenuto("sqlite:///jobs.db", queues={"default": 1}) as app:
        await app.enqueue(flow)
        await app.workflow(flow.id).wait(timeout=30)
        print(await app.workflow(flow.id).result("only") == [42, os.getpid()])

"""


def run_program(folder: Path, source: str, *how: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(source)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *how], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("how", [["program.py"], ["-m", "program"]], ids=["script", "module"])
def test_a_program_of_one_file_is_imported_by_its_children(tmp_path: Path, how: list[str]):
    ran = run_program(tmp_path, SCRIPT + 'if __name__ == "__main__":\n    asyncio.run(main())\n', *how)

    assert ran.stdout == "True\n", ran.stderr


def test_a_program_without_a_guard_does_not_start_a_node_in_its_child(tmp_path: Path):
    ran = run_program(tmp_path, SCRIPT + "asyncio.run(main())\n", "program.py")

    assert ran.stdout == "True\n", ran.stderr
    assert not ran.stderr


def test_a_node_is_refused_in_a_process_that_only_imports_yet(tmp_path: Path):
    starts = """
import asyncio, multiprocessing
from tenuto import Tenuto

async def start() -> None:
    async with Tenuto("sqlite:///jobs.db", queues={"default": 1}): ...

def nothing() -> None: ...

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=nothing)
    process.start()
    process.join()
else:
    asyncio.run(start())
"""
    ran = run_program(tmp_path, starts, "program.py")

    assert "ConfigError: this process was started to run jobs" in ran.stderr
    assert 'if __name__ == "__main__"' in ran.stderr
