"""Blocking: the app's verbs for code that cannot await, from any thread, and for plain functions in jobs."""

# pyright: reportPrivateUsage=false
# The app, its handles and what the process knows of them are one thing, in one file.

import asyncio
import atexit
import os
import signal
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from tenuto import app as awaited
from tenuto import growing, handles, relay, results, schedule, signals
from tenuto.answer import Answer, TimedOut
from tenuto.app import J
from tenuto.background import STILL_WITHIN, AfterFork, Background, Front, Loop
from tenuto.borrowing import complete_now, enqueue_now, relay_now
from tenuto.config import Config
from tenuto.context import current, running
from tenuto.errors import ConfigError, InvalidRequest, NotStarted, WouldDeadlock
from tenuto.features.recurring import CATCH_UP
from tenuto.job import Duration, Job, check_name, id_of
from tenuto.limits import Queue
from tenuto.llm import recording
from tenuto.llm.debugging import Debugging
from tenuto.llm.pricing import Pricing
from tenuto.runtime.places.elsewhere import Executors
from tenuto.runtime.signals import STOPPING, stop_signals
from tenuto.schedule import Work
from tenuto.signals import Received
from tenuto.sizes import Sizes
from tenuto.storage.borrowed.loan import Line
from tenuto.waits import Waits
from tenuto.workflow import Workflow

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


# ── verbs ─────────────────────────────────────────────────────────────────────────────────────────


class _Face(ABC, Generic[A_co]):
    """What blocking code sees of something that is awaited."""

    @abstractmethod
    def _reach(self) -> tuple[Loop, A_co]:
        """The loop in which it lives, and the thing itself, open."""


def _waiting(verb: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[_Face[A], P], T]:
    """The same verb for blocking code: its parameters, its docstring, and what it returns when it is awaited."""

    @wraps(verb)
    def wait(self: _Face[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        _check_thread(verb.__name__)
        loop, behind = self._reach()
        act: Callable[P, Coroutine[Any, Any, T]] = getattr(behind, verb.__name__)
        return loop.wait(act(*args, **kwargs))

    wait.__module__ = __name__
    return wait


def _check_thread(verb: str) -> None:
    """Raise WouldDeadlock where an event loop runs, which would stand still until the verb is done."""
    if _is_on_a_loop():
        raise WouldDeadlock(
            f"{verb}() waits, and an event loop runs on this thread; await the {verb}() of tenuto.Tenuto (in a job: "
            f"`await current_app().{verb}(…)`), or call this one by `await asyncio.to_thread(…)`"
        )


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class WorkflowHandle(_Face[handles.WorkflowHandle]):
    """One stored workflow, by id. Every method reads it anew."""

    def __init__(self, id: str, app: "Tenuto") -> None:
        self.id = id
        self._app = app

    def _reach(self) -> tuple[Loop, handles.WorkflowHandle]:
        loop, app = self._app._reach()
        return loop, app.workflow(self.id)

    status = _waiting(handles.WorkflowHandle.status)
    wait = _waiting(handles.WorkflowHandle.wait)
    result = _waiting(handles.WorkflowHandle.result)
    append = _waiting(handles.WorkflowHandle.append)
    add = _waiting(handles.WorkflowHandle.add)
    cancel = _waiting(handles.WorkflowHandle.cancel)
    retry = _waiting(handles.WorkflowHandle.retry)
    delete = _waiting(handles.WorkflowHandle.delete)
    update = _waiting(handles.WorkflowHandle.update)
    job = _waiting(handles.WorkflowHandle.job)
    debug = _waiting(handles.WorkflowHandle.debug)


class QueueHandle(_Face[handles.QueueHandle]):
    """One queue, by name, on all nodes or on the one named by `node=`; see `tenuto.handles.QueueHandle`."""

    def __init__(self, name: str, app: "Tenuto") -> None:
        self.name = check_name("queue", name)
        self._app = app

    def _reach(self) -> tuple[Loop, handles.QueueHandle]:
        loop, app = self._app._reach()
        return loop, app.queue(self.name)

    pause = _waiting(handles.QueueHandle.pause)
    resume = _waiting(handles.QueueHandle.resume)
    scale = _waiting(handles.QueueHandle.scale)
    start = _waiting(handles.QueueHandle.start)
    stop = _waiting(handles.QueueHandle.stop)
    limit = _waiting(handles.QueueHandle.limit)
    forget_limits = _waiting(handles.QueueHandle.forget_limits)
    limits = _waiting(handles.QueueHandle.limits)


class Relay(_Face[relay.Relay[T]]):
    """A job whose answer is awaited by code that cannot await; see `tenuto.Relay`."""

    def __init__(self, job: Job[Any, T], app: "Tenuto", line: Line | None = None) -> None:
        self.job = job
        self.line = line
        self._app = app

    def __repr__(self) -> str:
        return f"<Relay of {self.job.worker} {self.id}>"

    @property
    def id(self) -> str:
        """The id of its job, by which it can be awaited again."""
        return self.job.id

    def _reach(self) -> tuple[Loop, relay.Relay[T]]:
        if self.line is not None and self.line.is_inside and not self._app._can_open_beside(self.line):
            raise relay.uncommitted(self.id)
        loop, app = self._app._reach()
        return loop, relay.Relay(self.job, app.waiting, self.line)

    def result(self, timeout: Duration | None = 5.0, *, with_retries: bool = False) -> T:
        """The value that the job returned. Raises as `tenuto.Relay.result` does."""
        value: T = _result(self, timeout, with_retries=with_retries)
        return value

    def outcome(self, timeout: Duration | None = 5.0, *, with_retries: bool = False) -> Answer[T]:
        """What the job came to, as a value to match. Raises as `tenuto.Relay.outcome` does."""
        answer: Answer[T] = _outcome(self, timeout, with_retries=with_retries)
        return answer


_result: Callable[..., Any] = _waiting(relay.Relay[Any].result)
_outcome: Callable[..., Any] = _waiting(relay.Relay[Any].outcome)


class Schedule(_Face[schedule.Schedule]):
    """An app's cron entries. What is paused, resumed or run here is obeyed by whichever node declares the entry."""

    def __init__(self, app: "Tenuto") -> None:
        self._app = app

    def _reach(self) -> tuple[Loop, schedule.Schedule]:
        loop, app = self._app._reach()
        return loop, app.cron

    def add(
        self, name: str, expression: str, work: Work, *, timezone: str = "UTC", catch_up: Duration = CATCH_UP
    ) -> None:
        """`tenuto.schedule.Schedule.add`, which waits for nothing and opens nothing."""
        self._app._behind().cron.add(name, expression, work, timezone=timezone, catch_up=catch_up)

    next = _waiting(schedule.Schedule.next)
    pause = _waiting(schedule.Schedule.pause)
    resume = _waiting(schedule.Schedule.resume)
    run = _waiting(schedule.Schedule.run)
    list = _waiting(schedule.Schedule.list)


# ── the app ───────────────────────────────────────────────────────────────────────────────────────


class Tenuto(_Face[awaited.Tenuto], Front):
    """An app for code that cannot await: every verb of `tenuto.Tenuto`, with its arguments, from any thread.

    The first verb opens it, on an event loop in a thread of its own, and the end of the process closes it; `start`,
    `stop` and `with` do so earlier. With `queues` it works on them from when it is open. After a fork, the child has
    an app of its own, which is not open yet. Verbs raise WouldDeadlock where an event loop runs.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        queues: Mapping[str, int | Queue] | None = None,
        cron: Mapping[str, Mapping[str, object]] | None = None,
        name: str | None = None,
        schema: str | None = None,
        node: str | None = None,
        lease: Duration | None = None,
        grace: Duration | None = None,
        keep_jobs: Duration | None = None,
        keep_workflows: Duration | None = None,
        connections: int | None = None,
        listen: bool | None = None,
        listen_url: str | None = None,
        executors: Executors | None = None,
        sizes: Sizes | Mapping[str, int] | None = None,
        pricing: Pricing | None = None,
        keep_usage: Duration | None = None,
        debugging: Debugging | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self._app = awaited.Tenuto(**given)
        self._background: Background | None = None  # while it is open
        self._opening = threading.RLock()  # one start or stop at a time
        self._is_stopped = False
        self._is_inherited = False  # from the process that forked this one
        self._left = weakref.finalize(self, _nothing)  # what is done when nobody holds it any more
        self._left.atexit = False
        _process.add(self)

    @property
    def config(self) -> Config:
        """Its settings."""
        return self._app.config

    @property
    def name(self) -> str:
        """Of this instance, one of perhaps several in the process."""
        return self._app.name

    @property
    def cron(self) -> Schedule:
        """Its cron entries."""
        return Schedule(self)

    def __repr__(self) -> str:
        return f"<blocking Tenuto {self.name!r}, {'not open' if self._background is None else 'open'}>"

    def configure(self, **settings: Any) -> None:
        """`tenuto.Tenuto.configure`, before the app is opened."""
        self._behind().configure(**settings)

    # ── open and close ──

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Connect, and work if there are queues: at once, and not at the first verb. Raises as that of `Tenuto`."""
        _check_thread("start")
        with self._opening:
            self._is_stopped = False
            self._open()

    def stop(self, grace: Duration | None = None) -> None:
        """Claim no more, let running jobs end within the grace, release the rest unspent, and disconnect.

        From then on verbs raise NotStarted, until `start`. Raises WouldDeadlock in a job that the app itself runs.
        """
        _check_thread("stop")
        mine = running.get(None)
        if mine is not None and mine.app is self._app:
            raise WouldDeadlock("a job cannot wait until its own app has stopped: that one waits for the job")
        with self._opening:
            self._is_stopped = True
            background = self._background
            if background is not None:
                try:
                    background.close(grace)
                finally:
                    self._background = None
                    self._left.detach()

    def work(self, *, patient: bool = False) -> None:
        """Work until SIGTERM or SIGINT, then stop gracefully; a second signal hurries it, unless it is `patient`.

        Raises InvalidRequest in another thread than the main one, which alone hears signals.
        """
        if not self.config.queues:
            raise ConfigError("there is no queue to work on; give queues=, TENUTO_QUEUES or --queues")
        if threading.current_thread() is not threading.main_thread():
            raise InvalidRequest("work() waits for signals, which only the main thread hears; elsewhere use start()")
        _check_thread("work")
        before = {number: signal.getsignal(number) for number in STOPPING}
        try:
            asyncio.run(self._work_until_told(None if patient else self.hurry))
        finally:
            for number, handler in before.items():
                if handler is not None:  # it was not Python's
                    signal.signal(number, handler)

    async def _work_until_told(self, hurry: Callable[[], None] | None) -> None:
        """On a loop of this thread, while others open and close the app: what else waits may sleep through a signal.

        Of two that come together another thread may take both, and who waits for a lock is not woken by that.
        """
        with stop_signals(hurry) as told:
            await asyncio.to_thread(self.start)
            try:
                await told.wait()
            finally:
                await asyncio.to_thread(self.stop)

    def hurry(self) -> None:
        """For an app that is being stopped: release at once what still runs, without the rest of the grace."""
        if self._background is not None:
            self._background.soon(self._app.hurry)

    def migrate(self) -> list[int]:
        """Bring the tables up to date in one transaction; the versions run. It does not open the app.

        Raises LiveNodes, SchemaTooNew, StorageUnavailable.
        """
        _check_thread("migrate")
        with self._opening:
            app = self._behind()
            return asyncio.run(app.migrate()) if self._background is None else self._background.wait(app.migrate())

    def migrations(self) -> str:
        """What `migrate` would run on a new database, as one SQL script. Nothing is connected."""
        return self._behind().migrations()

    def _reach(self) -> tuple[Loop, awaited.Tenuto]:
        background = self._background
        if background is None:
            with self._opening:
                if self._is_stopped:
                    raise NotStarted("the app was stopped; `app.start()` opens it again")
                background = self._open()
        return background, self._app

    def _can_open_beside(self, line: Line) -> bool:
        """Whether it is open, or can be while a transaction writes: on SQLite that one is alone."""
        return self._background is not None or line.speaks != "SQLite"

    def _open(self) -> Background:
        if self._background is None:
            background = Background(self._behind())
            background.open()
            self._left.detach()
            self._left = weakref.finalize(self, background.leave)
            self._left.atexit = False
            self._background = background
            _process.opened(background)
        return self._background

    def _behind(self) -> awaited.Tenuto:
        """The app that is awaited, made anew in a forked child: ids, locks and connections are its parent's."""
        if self._is_inherited:
            with self._opening:
                if self._is_inherited:
                    self._app = self._anew()
                    self._is_inherited = False
        return self._app

    def _anew(self) -> awaited.Tenuto:
        app = awaited.Tenuto(**self.config.model_dump(by_alias=True), executors=self._app.executors)
        app.cron.entries.added.update(self._app.cron.entries.added)
        return app

    # ── the end of the process, and its forks ──

    def _before_fork(self) -> AfterFork:
        is_held = self._opening.acquire(timeout=STILL_WITHIN)
        after = None if self._background is None else self._background.before_fork()

        def go_on(is_child: bool) -> None:
            if after is not None:
                after(is_child)
            if is_child:
                self._inherit()
            elif is_held:
                self._opening.release()

        return go_on

    def _inherit(self) -> None:
        self._opening = threading.RLock()  # the other may be held by a thread that is not here
        self._background = None
        self._left.detach()
        self._is_inherited = True

    # ── enqueue and read ──

    @overload
    def enqueue(self, work: J, *, conn: Any = None, notify: bool = True) -> J: ...
    @overload
    def enqueue(self, work: Workflow, *, conn: Any = None, notify: bool = True) -> Workflow: ...
    @overload
    def enqueue(self, work: Sequence[J], *, conn: Any = None, notify: bool = True) -> list[J]: ...
    def enqueue(self, work: Any, *, conn: Any = None, notify: bool = True) -> Any:
        """`tenuto.Tenuto.enqueue`: store a job, jobs or a workflow, and give back what was given, stored.

        With a plain `conn` it is stored on this thread, in the transaction of that, and the app is not opened.
        """
        if conn is not None:
            return enqueue_now(self._behind().database, self.config.sizes, conn, work, notify=notify)
        return _enqueue(self, work, notify=notify)

    @overload
    def relay(self, work: Job[Any, T], *, conn: Any = None) -> Relay[T]: ...
    @overload
    def relay(self, work: Sequence[Job[Any, T]], *, conn: Any = None) -> list[Relay[T]]: ...
    def relay(self, work: Any, *, conn: Any = None) -> Any:
        """`tenuto.Tenuto.relay`: enqueue a job, or jobs, of which the answer is awaited.

        With a plain `conn` it is stored on this thread, in the transaction of that, and the app is not opened.
        """
        line: Line | None = None
        if conn is None:
            found = _relay(self, work)
            stored = [each.job for each in ([found] if isinstance(work, Job) else found)]
        else:
            stored, line = relay_now(self._behind().database, self.config.sizes, conn, relay.awaited_jobs(work))
        relayed = [Relay(job, self, line) for job in stored]
        return relayed[0] if isinstance(work, Job) else relayed

    @overload
    def relay_to(self, job: Job[Any, T]) -> Relay[T]: ...
    @overload
    def relay_to(self, job: UUID | str) -> Relay[Any]: ...
    def relay_to(self, job: Any) -> Any:
        """`tenuto.Tenuto.relay_to`: await a job that is stored already."""
        return Relay(_relay_to(self, job).job, self)

    def await_many(
        self, relays: Sequence[Relay[T]], timeout: Duration | None = 5.0, *, with_retries: bool = False
    ) -> list[Answer[T]]:
        """`tenuto.Tenuto.await_many`: what the jobs came to, in the order of their relays."""
        given: list[Relay[T]] = relay.several(relays, Relay)
        behind = [each._reach()[1] for each in given]
        answers: list[Answer[T]] = _await_many(self, behind, timeout, with_retries=with_retries)
        return answers

    fetch = _waiting(awaited.Tenuto.fetch)
    find = _waiting(awaited.Tenuto.find)
    recorded = _waiting(awaited.Tenuto.recorded)
    opened = _waiting(awaited.Tenuto.opened)
    counts = _waiting(awaited.Tenuto.counts)
    queues = _waiting(awaited.Tenuto.queues)
    workflows = _waiting(awaited.Tenuto.workflows)
    costs = _waiting(awaited.Tenuto.costs)

    def workflow(self, id: Workflow | UUID | str) -> WorkflowHandle:
        """One stored workflow: its status, its end, the results of its steps."""
        return WorkflowHandle(id.id if isinstance(id, Workflow) else id_of(id), self)

    def queue(self, name: str) -> QueueHandle:
        """One queue, to pause, resume, scale, start or stop."""
        return QueueHandle(name, self)

    # ── steer and health ──

    cancel = _waiting(awaited.Tenuto.cancel)
    retry = _waiting(awaited.Tenuto.retry)
    delete = _waiting(awaited.Tenuto.delete)
    update = _waiting(awaited.Tenuto.update)
    signal = _waiting(awaited.Tenuto.signal)
    waits = _waiting(awaited.Tenuto.waits)

    health = _waiting(awaited.Tenuto.health)
    nodes = _waiting(awaited.Tenuto.nodes)
    check = _waiting(awaited.Tenuto.check)


_enqueue: Callable[..., Any] = _waiting(awaited.Tenuto.enqueue)
_relay: Callable[..., Any] = _waiting(awaited.Tenuto.relay)
_relay_to: Callable[..., Any] = _waiting(awaited.Tenuto.relay_to)
_await_many: Callable[..., Any] = _waiting(awaited.Tenuto.await_many)


# ── in a job ──────────────────────────────────────────────────────────────────────────────────────


class _AtWork(Tenuto):
    """The app that runs this job, as the job sees it: open, and not the job's to stop."""

    def __init__(self, app: awaited.Tenuto, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = Loop(loop)

    def __repr__(self) -> str:
        return f"<blocking Tenuto {self.name!r}, which runs this job>"

    def start(self) -> None:
        """It is open."""

    def stop(self, grace: Duration | None = None) -> None:
        """Raise WouldDeadlock: the app waits for its jobs."""
        raise WouldDeadlock("a job cannot wait until its own app has stopped: that one waits for the job")

    def migrate(self) -> list[int]:
        """Bring the tables up to date."""
        return self._loop.wait(self._app.migrate())

    def work(self, *, patient: bool = False) -> None:
        """Raise InvalidRequest: it works."""
        raise InvalidRequest("the app of this job works already")

    def _can_open_beside(self, line: Line) -> bool:
        return True

    def _behind(self) -> awaited.Tenuto:
        return self._app

    def _reach(self) -> tuple[Loop, awaited.Tenuto]:
        return self._loop, self._app


def current_app() -> Tenuto:
    """The app that runs this job, for a plain function: `tenuto.current_app` with verbs that wait. Raises NotInJob."""
    mine = current("blocking.current_app()")
    return _AtWork(mine.app, mine.loop)


def store_result(value: Any) -> None:
    """Keep the running step's result now, durably, before it settles: `results.store_result` for a plain function.

    Call it in a job that is a plain `def`; it waits until the result is stored. Raises as that one does, and
    WouldDeadlock in an `async def`.
    """
    loop = current("blocking.store_result()").loop
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await results.store_result(value)`")
    Loop(loop).wait(results.store_result(value))


def workflow_context() -> dict[str, Any]:
    """What the running step's workflow tells all of its steps: `results.workflow_context` for a plain function.

    Raises as that one does, and WouldDeadlock in an `async def`.
    """
    loop = current("blocking.workflow_context()").loop
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await results.workflow_context()`")
    return Loop(loop).wait(results.workflow_context())


def wait_for_signal(*names: str | Enum, timeout: Duration | None = None) -> Received | TimedOut:
    """Wait for the first of the signals of these names: `tenuto.wait_for_signal` for a plain function.

    Call it in a job that is a plain `def`. Raises as that one does, and WouldDeadlock in an `async def`.
    """
    mine = current("blocking.wait_for_signal()")
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await wait_for_signal(…)`")
    answer = Loop(mine.loop).wait(signals.answered(mine, names, timeout))
    if isinstance(answer, Waits):
        raise answer
    return answer


def record_usage(
    model: str, input_tokens: int, output_tokens: int, *, cached_tokens: int = 0, latency: Duration | None = None
) -> None:
    """Keep what one request to a model took: `llm.record_usage` for a plain function. Raises as that one does."""
    wait = _in_plain("record_usage")
    wait(recording.record_usage(model, input_tokens, output_tokens, cached_tokens=cached_tokens, latency=latency))


def log_request(request: Any) -> None:
    """Keep what the running step is about to ask a model: `llm.log_request` for a plain function."""
    _in_plain("log_request")(recording.log_request(request))


def log_response(response: Any) -> None:
    """Keep what a model answered the running step: `llm.log_response` for a plain function."""
    _in_plain("log_response")(recording.log_response(response))


def _in_plain(what: str) -> Callable[[Coroutine[Any, Any, None]], None]:
    """What waits on the loop of the running job. Raises NotInJob, and WouldDeadlock in an `async def`."""
    loop = current(f"blocking.{what}()").loop
    if _is_on_a_loop():
        raise WouldDeadlock(f"an async job cannot wait here; use `await llm.{what}(…)`")
    return Loop(loop).wait


def graft(steps: Workflow | Sequence[Job[Any, Any]] | Mapping[str, Job[Any, Any]]) -> None:
    """Fill the group of the running step: `tenuto.graft` for a plain function. Raises as that one does, and
    WouldDeadlock in an `async def`."""
    loop = current("blocking.graft()").loop
    if _is_on_a_loop():
        raise WouldDeadlock("an async job cannot wait here; use `await graft(steps)`")
    Loop(loop).wait(growing.graft(steps))


def recorded(job: Job[Any, Any] | UUID | str) -> Any:
    """What a job of a recorded worker returned: `current_app().recorded(job)`, for a plain function.

    Raises as that one does, and WouldDeadlock in an `async def`.
    """
    current("blocking.recorded()")
    return current_app().recorded(job)


def complete_in(conn: Any, value: Any = None) -> None:
    """Complete the running job with `value` in the transaction of `conn`: `tenuto.complete_in` for a plain function.

    It takes a plain connection, on the thread that runs the job. Raises as that one does.
    """
    complete_now(conn, value)


# ── the process ───────────────────────────────────────────────────────────────────────────────────


class _Process:
    """The blocking apps of this process, for its end and for its forks."""

    def __init__(self) -> None:
        self._apps: weakref.WeakSet[Tenuto] = weakref.WeakSet()
        self._open: set[Background] = set()  # those of apps that nobody holds any more, too, until they are closed
        self._lock = threading.Lock()  # held over a fork: one at a time, and no app comes meanwhile
        self._after: list[AfterFork] = []
        atexit.register(self.end)
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=lambda: self._after_fork(False),
            after_in_child=lambda: self._after_fork(True),
        )

    def add(self, app: Tenuto) -> None:
        """One more app."""
        with self._lock:
            self._apps.add(app)

    def opened(self, background: Background) -> None:
        """One more that is to be closed at the end."""
        with self._lock:
            self._open = {background, *(each for each in self._open if not each.is_over)}
        self._end_with_multiprocessing()

    def end(self) -> None:
        """Close what is open: the process ends."""
        for background in tuple(self._open):
            background.close_last()

    def _end_with_multiprocessing(self) -> None:
        """A child of multiprocessing ends without what others do at their end; it has a list of its own."""
        made_by = sys.modules.get("multiprocessing.process")
        if made_by is not None and made_by.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.end, exitpriority=0)

    def _before_fork(self) -> None:
        self._lock.acquire()
        self._after = [app._before_fork() for app in tuple(self._apps)]

    def _after_fork(self, is_child: bool) -> None:
        after, self._after = self._after, []
        for go_on in after:
            go_on(is_child)
        if is_child:
            self._lock = threading.Lock()
            self._open.clear()
        else:
            self._lock.release()


def _nothing() -> None:
    """Nobody is left to close anything for."""


_process: Final = _Process()
