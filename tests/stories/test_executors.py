"""Jobs on executors that the app was given by name: threads, processes, somebody's cluster."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import pickle
import pickletools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tenuto import Job, Tenuto, Workflow, job
from tenuto.errors import ConfigError, InvalidJob
from tenuto.job import AVAILABLE, CANCELLED, DISCARDED, SCHEDULED
from tests.conftest import OpenApp
from tests.kit import eventually, finish, result_of
from tests.stories import afar_workers as afar
from tests.stories.test_afar import come_of
from tests.stories.test_endings import between, ended, runs

AnyJob = Job[Any, Any]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Somebody's threads, two of them."""
    with ThreadPoolExecutor(2, thread_name_prefix="somebody's") as executor:
        yield executor


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Somebody's processes, two of them."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
async def on_threads(open_app: OpenApp, threads: ThreadPoolExecutor) -> Tenuto:
    """An app that runs the jobs of one queue on them, three at once."""
    return await open_app(queues={"pool": 3}, executors={"pool": threads})


@pytest.fixture
async def on_processes(open_app: OpenApp, processes: ProcessPoolExecutor) -> Tenuto:
    """The same with processes."""
    return await open_app(queues={"pool": 3}, executors={"pool": processes})


Pools = dict[str, Executor]
each_kind = pytest.mark.parametrize("kind", ["threads", "processes"])


@pytest.fixture
def pools(threads: ThreadPoolExecutor, processes: ProcessPoolExecutor) -> Pools:
    """Both, by their kind."""
    return {"threads": threads, "processes": processes}


# ── they run ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_runs_where_its_executor_is(on_threads: Tenuto):
    pid, thread = await come_of(on_threads, afar.where.new())

    assert pid == os.getpid()
    assert thread.startswith("somebody's")
    assert await come_of(on_threads, afar.where_async.new()) == [os.getpid(), 1]


async def test_it_runs_in_another_process_too(on_processes: Tenuto):
    pid, _ = await come_of(on_processes, afar.where.new())
    other, attempt = await come_of(on_processes, afar.where_async.new())

    assert os.getpid() not in (pid, other)
    assert attempt == 1


@each_kind
async def test_what_it_raises_arrives_as_data(open_app: OpenApp, pools: Pools, kind: str):
    app = await open_app(queues={"pool": 3}, executors={"pool": pools[kind]})

    found = await ended(app, await app.enqueue(afar.fail_there.new()))

    assert (found.state, found.attempt, found.errors[-1].type) == (DISCARDED, 2, "LookupError")
    assert "in deeper" in found.errors[-1].traceback


@each_kind
async def test_a_step_reads_its_deps_wherever_it_runs(open_app: OpenApp, pools: Pools, kind: str):
    app = await open_app(queues={"pool": 3}, executors={"pool": pools[kind]})
    flow = Workflow()
    flow.add("first", afar.where_async.new())
    flow.add("read", afar.read_there.new(["first", "unknown"]), deps=["first"])
    await finish(app, flow)

    found = await result_of(app, flow, "read")

    assert found["first"][1] == 1
    assert found["unknown"] == {"threads": "StepNotFound", "processes": "NotHere"}[kind]


@pytest.mark.parametrize("worker", [afar.store_there, afar.store_there_async], ids=["plain", "async"])
async def test_in_the_process_of_its_node_it_stores_a_result_early(on_threads: Tenuto, worker: Any):
    flow = Workflow()
    flow.add("only", worker.new([1]))
    flow.add("app", afar.app_there.new())

    status = await finish(on_threads, flow)

    assert status.outcome == "completed"
    assert await result_of(on_threads, flow, "app") == "tenuto"


async def test_in_another_process_that_is_refused_and_says_what_to_do(on_processes: Tenuto):
    flow = Workflow()
    flow.add("only", afar.store_there.new([1]))

    await finish(on_processes, flow)

    failure = (await on_processes.fetch(flow.jobs["only"])).errors[-1]
    assert failure.type == "NotHere"
    assert "return a value for a later step" in failure.message


class Watched(Executor):
    """Runs what it is given at once, and keeps it as a cluster would get it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not args
        assert not kwargs
        self.sent.append(pickle.dumps(act))
        future: Future[Any] = Future()
        future.set_result(pickle.load(io.BytesIO(self.sent[-1]))())
        return future


async def test_an_executor_is_given_one_of_our_names_and_our_text_and_nothing_else(open_app: OpenApp):
    executor = Watched()
    app = await open_app(queues={"pool": 1}, executors={"pool": executor})

    await come_of(app, afar.where.new())

    (sent,) = executor.sent
    names = [arg for op, arg, _ in pickletools.genops(sent) if "UNICODE" in op.name]
    assert names[:2] == ["tenuto.runtime.places.afar", "Call"]
    assert len(names) == 3
    assert str(names[2]).startswith('{"job":{"id":')
    assert not any(op.name in ("GLOBAL", "INST", "OBJ") for op, _, _ in pickletools.genops(sent))


# ── they end ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_runs_in_the_process_of_its_node_hears_its_cancel(on_threads: Tenuto, tmp_path: Path):
    made = await on_threads.enqueue(afar.until_told.new(str(tmp_path)))
    await eventually((tmp_path / "pids").exists)

    await on_threads.cancel(made)

    assert (await ended(on_threads, made)).state is CANCELLED
    await eventually(lambda: (tmp_path / "pids").read_text() == "told")


async def test_a_job_that_times_out_there_keeps_its_slot_until_it_ends(on_threads: Tenuto, tmp_path: Path):
    made = await on_threads.enqueue(afar.until_told.options(timeout=0.2, max_attempts=1).new(str(tmp_path)))

    found = await ended(on_threads, made)

    assert (found.state, found.errors[-1].kind) == (DISCARDED, "timeout")
    assert (tmp_path / "pids").read_text() == "told"


class Late(ThreadPoolExecutor):
    """Begins each call a while after it was submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def begin_late() -> Any:
            time.sleep(0.1)
            return fn(*args, **kwargs)

        return super().submit(begin_late)


async def test_a_job_that_began_late_and_ends_because_its_time_is_over_has_timed_out(open_app: OpenApp, tmp_path: Path):
    with Late(1) as executor:
        app = await open_app(queues={"pool": 1}, executors={"pool": executor})
        made = await app.enqueue(afar.until_told.options(timeout=0.3, max_attempts=1).new(str(tmp_path)))

        found = await ended(app, made)

    assert (found.state, found.errors[-1].kind) == (DISCARDED, "timeout")


async def test_a_job_in_another_process_is_settled_within_a_second_and_keeps_its_slot_until_it_ends(
    on_processes: Tenuto, tmp_path: Path
):
    made = await on_processes.enqueue(afar.until_released.new(str(tmp_path)))
    await eventually((tmp_path / "pids").exists)

    await on_processes.cancel(made)
    found = await ended(on_processes, made)

    assert found.state is CANCELLED
    assert between(found.cancel_requested_at, found.finished_at) < timedelta(seconds=1)
    assert on_processes._crew is not None
    assert on_processes._crew.running == {"pool": 1}
    (tmp_path / "released").touch()
    await eventually(lambda: on_processes._crew is not None and on_processes._crew.running == {"pool": 0})
    assert (await on_processes.fetch(made)).state is CANCELLED


async def test_a_job_that_waits_in_the_executor_is_cancelled_before_it_begins(open_app: OpenApp, tmp_path: Path):
    with ThreadPoolExecutor(1) as one:
        app = await open_app(queues={"pool": 2}, executors={"pool": one})
        first = await app.enqueue(afar.until_told.new(str(tmp_path)))
        await eventually((tmp_path / "pids").exists)
        (tmp_path / "second").mkdir()
        second = await app.enqueue(afar.mark.new(str(tmp_path / "second")))
        await runs(app, second)

        await app.cancel(second)
        found = await ended(app, second)
        await app.cancel(first)
        await ended(app, first)

    assert found.state is CANCELLED
    assert not (tmp_path / "second" / "pids").exists()


async def test_a_job_whose_executor_is_shut_down_fails_and_says_so(open_app: OpenApp):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    app = await open_app(queues={"pool": 1}, executors={"pool": executor})

    found = await ended(app, await app.enqueue(afar.where.new()))

    assert (found.state, found.errors[-1].type) == (DISCARDED, "RuntimeError")
    assert "shutdown" in found.errors[-1].message


async def test_a_node_stops_while_a_job_there_goes_on_and_the_job_goes_back_unspent(open_app: OpenApp, tmp_path: Path):
    may_end = threading.Event()

    class Deaf(Executor):
        """Runs a job and never says what it came to, until it may."""

        def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_running_or_notify_cancel()

            def end() -> None:
                may_end.wait()
                future.set_result("")

            threading.Thread(target=end, daemon=True).start()
            return future

    app = await open_app(queues={"pool": 1}, executors={"pool": Deaf()})
    made = await app.enqueue(afar.where.new())
    await runs(app, made)

    async with asyncio.timeout(5):
        await app.stop(grace=0.1)

    assert [task for task in asyncio.all_tasks() if "Producer" in repr(task)] == []
    found = await (await open_app()).fetch(made)
    assert (found.state, found.attempt) == (AVAILABLE, 0)
    may_end.set()


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_node_without_an_executor_of_that_name_is_refused_at_its_start(open_app: OpenApp):
    with pytest.raises(ConfigError, match=r"runs in 'pool', and this app has no executor of that name.*'other'"):
        await open_app(queues={"pool": 1}, executors={"other": ThreadPoolExecutor(1)})


async def test_a_node_that_does_not_work_on_its_queue_needs_no_executor(open_app: OpenApp):
    app = await open_app(queues={"default": 1})

    made = await app.enqueue(afar.where.new())

    assert (await app.fetch(made)).attempt == 0


async def test_a_job_in_the_queue_of_a_node_without_its_executor_is_put_back_unspent(open_app: OpenApp):
    app = await open_app(queues={"default": 1})
    made = await app.enqueue(afar.where.options(queue="default").new())

    async def is_put_back() -> bool:
        return (await app.fetch(made)).state == SCHEDULED

    await eventually(is_put_back)
    assert (await app.fetch(made)).attempt == 0


@pytest.mark.parametrize("name", ["process", "thread", "loop", "", 7])
def test_a_name_of_our_own_is_no_name_of_an_executor(name: Any):
    with ThreadPoolExecutor(1) as executor, pytest.raises(ConfigError, match="executors"):
        Tenuto(executors={name: executor})


def test_what_is_no_executor_is_refused():
    with pytest.raises(ConfigError, match=r"'pool' is of type int; give a concurrent\.futures\.Executor"):
        Tenuto(executors={"pool": 7})  # type: ignore[dict-item]


@pytest.mark.parametrize("place", ["thread", "loop", "", 7], ids=repr)
def test_a_place_that_is_none_is_refused_where_a_worker_is_defined(place: Any):
    with pytest.raises(InvalidJob, match="runs_in"):
        job(runs_in=place)(lambda: None)
