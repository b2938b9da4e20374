"""Hooks, told by workers that have some: what they are told, where they run, and that they harm nothing."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from tenuto import (
    Cancel,
    Discard,
    Job,
    Record,
    Snooze,
    Tenuto,
    Worker,
    Workflow,
    current_app,
    current_job,
    job,
    telemetry,
)
from tenuto.errors import InvalidArgs
from tenuto.features.hooks import HookState
from tenuto.hooking import attach_hook, detach_hook
from tests.conftest import OpenApp
from tests.kit import LEASE, Gate, drain, eventually, until_paused
from tests.storage.tables import look_into

AnyJob = Job[Any, Any]
Told = list[tuple[Any, ...]]

told: dict[str, Told] = {}
"""What the hooks of each job were told, in this process."""


def tell(job: AnyJob, *what: Any) -> None:
    told.setdefault(job.id, []).append(what)


@pytest.fixture
def attached() -> Iterator[Callable[[object], None]]:
    """Attach hooks that are detached after the test."""
    hooks: list[object] = []

    def attach(hook: object) -> None:
        hooks.append(hook)
        attach_hook(hook)

    yield attach
    for hook in hooks:
        detach_hook(hook)


class Audit:
    """Keeps what it is told."""

    def after_process(self, state: HookState, job: AnyJob, result: Any) -> None:
        tell(job, state, result if isinstance(result, (str, int, type(None))) else type(result).__name__)

    def on_cancelled(self, reason: str, job: AnyJob) -> None:
        tell(job, "cancelled", reason)

    async def on_discarded(self, reason: str, job: AnyJob) -> None:
        tell(job, "discarded", reason)


ENDS = {
    "none": None,
    "value": "v",
    "record": Record(7),
    "snooze": Snooze(60),
    "cancel": Cancel("c"),
    "discard": Discard("d"),
}


@job(name="hooks.on_loop", hooks=[Audit()], backoff=60)
async def on_loop(does: str) -> Any:
    if does == "hang":
        await asyncio.Event().wait()
    return ENDS[does]


@job(name="hooks.in_thread", hooks=[Audit()], backoff=60)
def in_thread(does: str) -> Any:
    mine = current_job()
    while does == "hang":
        if mine.cancelled:
            return None
        may_look.wait(0.01)
    return ENDS[does]


may_look = threading.Event()
both = pytest.mark.parametrize("worker", [on_loop, in_thread], ids=["on the loop", "in a thread"])


# ── after_process ─────────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize(
    ("does", "attempts", "expected"),
    [
        ("none", 9, ("complete", None)),
        ("value", 9, ("complete", "v")),
        ("record", 9, ("complete", 7)),
        ("snooze", 9, ("snooze", "Snooze")),
        ("cancel", 9, ("cancel", "Cancel")),
        ("discard", 9, ("discard", "Discard")),
        ("raise", 9, ("error", None)),
        ("raise", 1, ("discard", None)),
    ],
)
async def test_after_process_is_told_what_the_attempt_came_to(
    app: Tenuto, worker: Any, does: str, attempts: int, expected: tuple[Any, ...]
):
    made = await app.enqueue(worker.options(max_attempts=attempts).new(does))

    await eventually(lambda: told.get(made.id))
    await drain_but_for_retries(app, made)

    assert told[made.id] == [expected]


async def drain_but_for_retries(app: Tenuto, made: AnyJob) -> None:
    async def has_ended() -> bool:
        return (await app.fetch(made)).state not in ("available", "executing")

    await eventually(has_ended)


async def test_a_timeout_is_an_error_and_the_job_has_the_exception(app: Tenuto):
    seen: list[AnyJob] = []

    @on_loop.after_process
    def look(state: HookState, job: AnyJob) -> None:
        seen.append(job)

    made = await app.enqueue(on_loop.options(timeout=0.05).new("hang"))

    await eventually(lambda: told.get(made.id))
    assert told[made.id] == [("error", None)]
    assert type(seen[-1].error).__name__ == "JobTimedOut"


async def test_the_exception_comes_with_its_traceback(app: Tenuto):
    seen: list[BaseException | None] = []

    class Look:
        def after_process(self, state: HookState, job: AnyJob) -> None:
            seen.append(job.error)

    @job(name="hooks.traceback", hooks=[Look()], max_attempts=1)
    def fail() -> None:
        raise ValueError("no")

    await app.enqueue(fail.new())

    await eventually(lambda: seen)
    error = seen[0]
    assert isinstance(error, ValueError)
    frames = []
    frame = error.__traceback__
    while frame is not None:
        frames.append(frame.tb_frame.f_code.co_name)
        frame = frame.tb_next
    assert "fail" in frames


async def test_a_result_that_cannot_be_kept_is_a_discard_with_its_reason(app: Tenuto):
    seen: list[Any] = []

    class Look:
        def after_process(self, state: HookState, job: AnyJob, result: Any) -> None:
            seen.append((state, str(job.error)))

    @job(name="hooks.unencodable", hooks=[Look()])
    async def give() -> Any:
        return object()

    flow = Workflow()
    flow.add("only", give.new())
    await app.enqueue(flow)
    await app.workflow(flow.id).wait(timeout=20)

    ((state, error),) = seen
    assert state == "discard"
    assert "object" in error


async def test_hooks_that_raise_are_told_of_and_harm_nothing(app: Tenuto, attached: Any):
    heard: list[Any] = []

    class Bad:
        def after_process(self, state: HookState, job: AnyJob) -> None:
            raise SystemExit(3)

    class Worse:
        async def after_process(self, state: HookState, job: AnyJob) -> None:
            raise KeyboardInterrupt

    attached(Bad())
    attached(Worse())
    telemetry.attach(lambda event, payload: heard.append((payload["hook"], type(payload["error"]))), "hook.exception")
    made = await app.enqueue(on_loop.new("value"))
    await drain(app)
    telemetry._handlers.pop("hook.exception")

    assert (await app.fetch(made)).state == "completed"
    assert told[made.id] == [("complete", "v")]
    assert [name.rpartition(".")[2] for name, _ in heard] == ["Bad", "Worse"]
    assert [error for _, error in heard] == [SystemExit, KeyboardInterrupt]


async def test_what_after_hooks_give_back_changes_nothing(app: Tenuto, attached: Any):
    class Meddle:
        def after_process(self, state: HookState, job: AnyJob, result: Any) -> Any:
            result["n"] = 2
            return Discard("no")

    attached(Meddle())

    @job(name="hooks.meddled", hooks=[])
    async def give() -> dict[str, int]:
        return {"n": 1}

    flow = Workflow()
    flow.add("only", give.new())
    await app.enqueue(flow)
    status = await app.workflow(flow.id).wait(timeout=20)

    assert status.outcome == "completed"
    assert await app.workflow(flow.id).result("only") == {"n": 1}


async def test_a_hook_that_hangs_is_cut_at_the_job_s_timeout(app: Tenuto, attached: Any):
    class Hang:
        async def after_process(self, state: HookState, job: AnyJob) -> None:
            await asyncio.Event().wait()

    attached(Hang())
    made = await app.enqueue(on_loop.options(timeout=0.2).new("value"))

    await drain(app)

    assert (await app.fetch(made)).state == "completed"


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_hook_that_hangs_does_not_make_a_stopping_node_run_the_job_again(open_app: OpenApp, kind: str):
    app = await open_app(queues={"default": 1})
    hangs, may_end = threading.Event(), threading.Event()

    class Hang:
        async def after_process(self, state: HookState, job: AnyJob) -> None:
            hangs.set()
            await asyncio.Event().wait()

    class HangPlainly:
        def after_process(self, state: HookState, job: AnyJob) -> None:
            hangs.set()
            may_end.wait()

    @job(name=f"hooks.hangs.{kind}", hooks=[Hang() if kind == "async" else HangPlainly()])
    async def work() -> str:
        return "done"

    made = await app.enqueue(work.new())
    await eventually(hangs.is_set)

    await app.stop(grace=0)
    may_end.set()

    other = await open_app()
    assert (await other.fetch(made)).state == "completed"


@job(name="hooks.at_a_gate", hooks=[Audit()])
async def at_a_gate() -> str:
    epochs.append(current_job().epoch)
    await gates[len(epochs) - 1].pass_through()
    return "v"


gates: list[Gate] = []
epochs: list[int] = []


@pytest.fixture
def two_gates() -> Iterator[tuple[Gate, Gate]]:
    """Where the first run of that job waits, and where the second."""
    gates[:], epochs[:] = [Gate(), Gate()], []
    yield gates[0], gates[1]
    gates.clear()


async def test_an_attempt_of_a_node_that_lost_its_lease_is_told_of_by_nobody(app: Tenuto, two_gates: tuple[Gate, Gate]):
    first, second = two_gates
    made = await app.enqueue(at_a_gate.new())
    await eventually(lambda: first.waiting)
    assert app._crew is not None

    app._crew.node._fence()
    await eventually(lambda: second.waiting)
    before = list(told.get(made.id, []))
    second.open()
    await drain(app)

    assert before == []
    assert told[made.id] == [("complete", "v")]


async def test_an_attempt_whose_job_was_taken_away_unseen_is_told_of_and_so_is_the_one_that_counts(
    app: Tenuto, two_gates: tuple[Gate, Gate], database_url: str
):
    first, second = two_gates
    stale: list[list[str]] = []
    telemetry.attach(hear := lambda _, payload: stale.append(payload["ids"]), "queue.stale")
    made = await app.enqueue(at_a_gate.new())
    await eventually(lambda: first.waiting)
    with look_into(database_url) as tables:  # as another node does that takes this one for dead
        tables.execute("update jobs set state = 'available', epoch = epoch + 1 where id = ?", made.id)
    await eventually(lambda: second.waiting)

    first.open()
    await eventually(lambda: stale)
    second.open()
    await drain(app)
    telemetry.detach(hear)

    assert told[made.id] == [("complete", "v")] * 2
    assert stale == [[made.id]]
    assert len(set(epochs)) == 2, "job.epoch tells the two apart"
    assert (await app.fetch(made)).state == "completed"


# ── before_process ────────────────────────────────────────────────────────────────────────────────


class Raise:
    def before_process(self, job: AnyJob) -> AnyJob:
        raise PermissionError("not today")


class Refuse:
    async def before_process(self, job: AnyJob) -> Cancel:
        return Cancel("not today")


@pytest.mark.parametrize(
    ("hook", "state", "expected"),
    [(Raise(), "discarded", ("discard", None)), (Refuse(), "cancelled", ("cancel", "Cancel"))],
    ids=["raises", "cancels"],
)
@pytest.mark.parametrize("is_async", [True, False], ids=["on the loop", "in a thread"])
async def test_a_job_that_a_hook_refuses_is_not_processed_and_after_hooks_are_told(
    app: Tenuto, hook: object, state: str, expected: tuple[Any, ...], is_async: bool
):
    ran: list[str] = []

    async def later() -> None:
        ran.append("process")

    def plainly() -> None:
        ran.append("process")

    worker = job(name=f"hooks.refused.{state}.{is_async}", hooks=[hook, Audit()], max_attempts=1)(
        later if is_async else plainly
    )
    made = await app.enqueue(worker.new())
    await drain(app)

    assert (await app.fetch(made)).state == state
    assert ran == []
    assert told[made.id] == [expected]


async def test_args_that_drifted_fail_the_attempt_and_only_after_hooks_are_told(app: Tenuto, database_url: str):
    made = await app.enqueue(on_loop.options(schedule_in=3600, max_attempts=1).new("value"))
    with look_into(database_url) as tables:
        tables.execute("update jobs set args = ? where id = ?", '{"done":"value"}', made.id)

    await app.retry(made)
    await drain(app)

    now = await app.fetch(made)
    assert (now.state, now.errors[-1].type) == ("discarded", InvalidArgs.__name__)
    assert told[made.id] == [("discard", None)]


async def test_what_a_hook_changes_of_the_job_is_what_process_and_current_job_see(app: Tenuto):
    class Stamp:
        def before_process(self, job: AnyJob) -> AnyJob:
            return job.replace(meta={**job.meta, "stamp": 1}, args={**job.args, "n": job.args["n"] + 1})

    seen: list[Any] = []

    @job(name="hooks.stamped", hooks=[Stamp()])
    async def look(n: int) -> None:
        mine = current_job()
        seen.append((n, mine.args, mine.meta))

    made = await app.enqueue(look.new(1))
    await drain(app)

    assert seen == [(2, {"n": 2}, {"stamp": 1})]
    assert (await app.fetch(made)).args == {"n": 1}


# ── where they run ────────────────────────────────────────────────────────────────────────────────

colour: ContextVar[str] = ContextVar("colour", default="none")


class Where:
    """Notes the thread in which each of its hooks runs, and sets a variable for those who come after."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def note(self, moment: str) -> None:
        self.seen.append((moment, threading.current_thread().name, f"{threading.get_ident()}"))

    def before_process(self, job: AnyJob) -> AnyJob:
        self.note("before")
        colour.set("green")
        return job

    def after_process(self, state: HookState, job: AnyJob) -> None:
        self.note(f"after {colour.get()} {current_job().id == job.id} {current_app().name}")


class AsyncWhere(Where):
    async def before_process(self, job: AnyJob) -> AnyJob:  # type: ignore[override]
        return super().before_process(job)

    async def after_process(self, state: HookState, job: AnyJob) -> None:  # type: ignore[override]
        super().after_process(state, job)


@pytest.mark.parametrize("hook", [Where(), AsyncWhere()], ids=["plain", "async"])
@pytest.mark.parametrize("is_async", [True, False], ids=["on the loop", "in a thread"])
async def test_plain_hooks_run_in_a_thread_and_async_ones_on_the_loop(app: Tenuto, hook: Where, is_async: bool):
    hook.seen.clear()
    loop_thread = f"{threading.get_ident()}"

    async def later() -> str:
        hook.note(f"process {colour.get()}")
        return colour.get()

    def plainly() -> str:
        hook.note(f"process {colour.get()}")
        return colour.get()

    worker = job(name=f"hooks.where.{type(hook).__name__}.{is_async}", hooks=[hook])(later if is_async else plainly)
    await app.enqueue(worker.new())
    await eventually(lambda: len(hook.seen) == 3)

    moments, _, idents = zip(*hook.seen, strict=True)
    assert moments == ("before", "process green", f"after green True {app.name}")
    before, process, after = (ident == loop_thread for ident in idents)
    assert (before, process, after) == (isinstance(hook, AsyncWhere), is_async, isinstance(hook, AsyncWhere))
    if not is_async and not isinstance(hook, AsyncWhere):
        assert len(set(idents)) == 1  # one thread for the job and its hooks


async def test_each_attempt_of_a_class_has_one_instance_for_its_hooks_and_its_process(app: Tenuto):
    seen: list[list[str]] = []

    class Keeps(Worker[None], name="hooks.instance", backoff=0, max_attempts=2):
        def __init__(self) -> None:
            self.words: list[str] = []

        async def before_process(self, job: AnyJob) -> AnyJob:
            self.words.append("before")
            return job

        def process(self, job: AnyJob) -> None:
            self.words.append("process")
            raise ValueError("again")

        def after_process(self, state: HookState, job: AnyJob) -> None:
            self.words.append(state)
            seen.append(self.words)

    await app.enqueue(Keeps.new())
    await drain(app)

    assert seen == [["before", "process", "error"], ["before", "process", "discard"]]


# ── ended by others ───────────────────────────────────────────────────────────────────────────────


async def test_a_waiting_job_that_is_cancelled_is_told_to_its_hooks(app: Tenuto):
    made = await app.enqueue(on_loop.options(schedule_in=3600).new("value"))

    await app.cancel(made)

    await eventually(lambda: told.get(made.id))
    assert told[made.id] == [("cancelled", "operator")]


@both
async def test_a_running_job_that_is_cancelled_is_told_of_as_cancelled_and_not_as_processed(app: Tenuto, worker: Any):
    made = await app.enqueue(worker.new("hang"))

    async def runs() -> bool:
        return (await app.fetch(made)).state == "executing"

    await eventually(runs)
    await app.cancel(made)

    await eventually(lambda: told.get(made.id))
    await drain(app)
    assert told[made.id] == [("cancelled", "operator")]


async def test_steps_that_a_failure_cancels_are_told_to_their_hooks(app: Tenuto):
    flow = Workflow()
    flow.add("a", on_loop.new("discard"))
    flow.add("b", on_loop.new("value"), deps=["a"])
    await app.enqueue(flow)

    await eventually(lambda: told.get(flow.jobs["b"].id))

    assert told[flow.jobs["a"].id] == [("discard", "Discard")]
    assert told[flow.jobs["b"].id] == [("cancelled", "dependency")]


async def test_a_command_line_that_does_not_know_the_worker_can_cancel_its_job(app: Tenuto, database_url: str):
    made = await app.enqueue(on_loop.options(schedule_in=3600).new("value"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenuto", "--url", database_url, "jobs", "cancel", made.id)
    )
    assert await process.wait() == 0

    await eventually(lambda: told.get(made.id))

    assert told[made.id] == [("cancelled", "operator")]


async def test_a_word_waits_for_a_node_that_knows_the_worker(open_app: OpenApp, database_url: str):
    door = await open_app()
    made = await door.enqueue(on_loop.options(schedule_in=3600).new("value"))
    await door.cancel(made)
    with look_into(database_url) as tables:
        assert len(tables.rows("select job_id from hook_outbox")) == 1

    await open_app(queues={"default": 1})

    await eventually(lambda: told.get(made.id))
    assert told[made.id] == [("cancelled", "operator")]


async def test_two_nodes_tell_each_word_once(open_app: OpenApp):
    apps = [await open_app(queues={"default": 1}, node=f"n{nth}") for nth in range(2)]
    made = [on_loop.options(schedule_in=3600).new("value") for _ in range(60)]
    await apps[0].enqueue(made)

    await apps[1].cancel(made)

    await eventually(lambda: all(told.get(one.id) for one in made))
    assert all(told[one.id] == [("cancelled", "operator")] for one in made)


async def test_hooks_of_ended_jobs_see_cast_args_and_the_app(app: Tenuto):
    seen: list[Any] = []

    class Look:
        def on_cancelled(self, reason: str, job: AnyJob) -> None:
            seen.append((type(job.args["n"]).__name__, current_app().name, current_job().id == job.id))

    @job(name="hooks.opened", hooks=[Look()])
    async def count(n: int) -> None: ...

    await app.queue("default").pause()
    await until_paused(app)
    made = await app.enqueue(count.new(7))
    await app.cancel(made)

    await eventually(lambda: seen)
    assert seen == [("int", app.name, True)]


async def test_an_attached_hook_hears_of_every_worker_s_ended_jobs(app: Tenuto, attached: Any):
    attached(Audit())

    @job(name="hooks.none_of_its_own")
    async def work() -> None: ...

    made = await app.enqueue(work.options(schedule_in=3600).new())
    await app.cancel(made)

    await eventually(lambda: told.get(made.id))
    assert told[made.id] == [("cancelled", "operator")]


async def test_a_node_stops_though_a_hook_hangs(open_app: OpenApp):
    hangs = asyncio.Event()

    class Hang:
        async def on_cancelled(self, reason: str, job: AnyJob) -> None:
            hangs.set()
            await asyncio.Event().wait()

    @job(name="hooks.hanging_end", hooks=[Hang()])
    async def work() -> None: ...

    app = await open_app(queues={"default": 1})
    made = await app.enqueue(work.options(schedule_in=3600).new())
    await app.cancel(made)
    await eventually(hangs.is_set)

    async with asyncio.timeout(LEASE * 5):
        await app.stop()


# ── aliases ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_was_stored_under_an_alias_runs(app: Tenuto, database_url: str):
    ran: list[str] = []

    @job(name="hooks.new_name", aliases=["hooks.old_name"], hooks=[Audit()])
    async def purge() -> None:
        ran.append(current_job().worker)

    made = await app.enqueue([purge.options(schedule_in=3600).new() for _ in range(2)])
    with look_into(database_url) as tables:
        tables.execute("update jobs set worker = 'hooks.old_name'")
    await app.retry(made[0])
    await drain(app)
    await app.cancel(made[1])

    assert ran == ["hooks.old_name"]
    assert (await app.fetch(made[0])).state == "completed"
    await eventually(lambda: told.get(made[1].id))
    assert told[made[1].id] == [("cancelled", "operator")]
    assert all(finding.is_well for finding in await app.check())
