"""Hooks: what users want called when a job is made, before and after its process, and when others end it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import isawaitable, isclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar, cast

from tenuto import codec, telemetry
from tenuto.context import Running, running
from tenuto.errors import InvalidHook, InvalidJob
from tenuto.features.deadline import checked_deadline, fields_of
from tenuto.features.feature import Feature, Process
from tenuto.features.hook import MOMENTS, Hook, checked, hooks_of, hooks_of_class
from tenuto.job import CANCELLED, COMPLETED, DISCARDED, RETRYABLE, SCHEDULED, Job, JobState
from tenuto.outcome import Ack, Cancel, Discard, Failed, Outcome, Record, Released, Snooze, Stopped
from tenuto.sizes import META_MOST
from tenuto.waits import Waits

W = TypeVar("W")
AnyJob: TypeAlias = Job[Any, Any]

HookState: TypeAlias = Literal["complete", "cancel", "discard", "error", "snooze"]
"""What an attempt came to, as `after_process` is told."""

OPTIONS: Final = (
    *("id", "queue", "max_attempts", "priority", "tags", "timeout", "deadline", "meta", "schedule_in", "scheduled_at"),
    "unique",
)
"""What `before_new` may change of a job beside its args."""


# ── which hooks a worker has ──────────────────────────────────────────────────────────────────────


class WorkerHooks:
    """The hooks of one worker: its own (methods, or functions that were added), then those that it lists."""

    def __init__(self, worker: object, listed: object = ()) -> None:
        self._own = hooks_of_class(worker) if isclass(worker) else []
        if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
            raise InvalidHook(f"hooks={listed!r:.80} is no list; give one like [Audit()]")
        several = cast("Iterable[object]", listed)
        self._listed = [hook for given in several for hook in hooks_of(given)]

    def add(self, moment: str, owner: str, function: Callable[..., Any]) -> None:
        """One more of its own. Raises InvalidHook."""
        self._own.append(checked(moment, owner, function))

    def features(self, *, in_thread: bool, has_deadline: bool = False) -> list[Feature]:
        """What calls them, and behind them those that are attached to every worker."""
        every = [*self._own, *self._listed, *(hook for _, hooks in attached for hook in hooks)]
        at = {moment: [hook for hook in every if hook.moment == moment] for moment in MOMENTS}
        found: list[Feature] = []
        if at["before_new"]:
            found.append(BeforeNew(at["before_new"], has_deadline=has_deadline))
        if at["before_process"] or at["after_process"]:
            found.append(AroundProcess(at["before_process"], at["after_process"], in_thread=in_thread))
        if at["on_cancelled"] or at["on_discarded"]:
            found.append(Endings({CANCELLED: at["on_cancelled"], DISCARDED: at["on_discarded"]}))
        return found


attached: Final[list[tuple[object, list[Hook]]]] = []
"""The hooks of every worker, in the order in which they were attached."""


# ── before_new ────────────────────────────────────────────────────────────────────────────────────


class BeforeNew(Feature):
    """Hands raw args and options to each hook in turn; a job is made of what the last one gives back."""

    rank: ClassVar[int] = 70

    def __init__(self, hooks: Sequence[Hook], *, has_deadline: bool = False) -> None:
        self._hooks = hooks
        self._has_deadline = has_deadline  # whether the worker has one

    def before_new(self, job: AnyJob) -> AnyJob:
        """The job with the args and options that come back. Raises what a hook raises, InvalidHook, InvalidJob."""
        before = {name: getattr(job, name) for name in OPTIONS}
        args, options = job.args, {**before, "meta": deepcopy(job.meta)}
        for hook in self._hooks:
            args, options = _pair(hook, _bound(hook, None)(args, options))
        if unknown := [name for name in options if name not in before]:
            raise InvalidJob(f"no option is named {unknown[0]!r:.80}; there are {', '.join(sorted(before))}")
        changed = {name: value for name, value in options.items() if value != before[name]}
        deadline: Any = changed.get("deadline")
        if deadline is not None:
            changed |= fields_of(checked_deadline(deadline), job.worker, has_one=self._has_deadline)
        if "meta" in changed and isinstance(changed["meta"], Mapping):
            text = codec.encode(dict(cast("Mapping[str, Any]", changed["meta"])), limit=META_MOST, what="meta")
            changed["meta"] = codec.decode(text)
        return replace(job, args=args, **changed) if changed else job.replace(args=args)


def _pair(hook: Hook, answer: Any) -> tuple[Any, dict[str, Any]]:
    match answer:
        case (args, Mapping()) if isinstance(answer, tuple):
            return args, dict(cast("Mapping[str, Any]", answer[1]))
        case _:
            pass
    raise InvalidHook(f"before_new of {hook.owner} gave back {type(answer).__name__}; return both: args, options")


# ── before_process, after_process ─────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Seen:
    """One attempt as its hooks see it."""

    job: AnyJob  # as process takes it, once the args are cast
    outcome: Outcome | None = None  # what process itself, or a hook in its place, came to
    instance: Any = None  # of a class worker
    seat: Any = None  # the thread of a plain function and its hooks
    is_told: bool = False  # whether its after-hooks were told already, in the process in which it ran


_seen: Final[ContextVar[_Seen]] = ContextVar("tenuto_hooks")


def instance_of(worker: type[W], job: AnyJob) -> W:
    """The instance of a class worker that belongs to this attempt, and its hooks share; a new one where none does."""
    seen = _seen.get(None)
    if seen is None or seen.job.id != job.id:
        return worker()
    if type(seen.instance) is not worker:
        seen.instance = worker()
    return cast("W", seen.instance)


def told_elsewhere(job: AnyJob) -> None:
    """The after-hooks of the attempt under way were told where it ran, and are not told again here."""
    _seen.set(_Seen(job, is_told=True))


class AroundProcess(Feature):
    """Calls hooks where the job runs: before its process, inside all that opens the args, and after it is settled."""

    rank: ClassVar[int] = 5

    def __init__(self, before: Sequence[Hook], after: Sequence[Hook], *, in_thread: bool) -> None:
        self._before = before
        self._after = after
        self._in_thread = in_thread  # whether process is a plain function, which shares a thread with its hooks

    async def around_process(self, job: AnyJob, call_next: Process) -> Outcome:
        """Let each hook have the job in turn, then process; a hook that answers with an outcome is the last one."""
        seen = _Seen(job)
        _seen.set(seen)
        try:
            if (mine := running.get(None)) is not None and self._in_thread:
                mine.threads = seen.seat = mine.threads.seat()
            seen.outcome = await self._process(seen, mine, call_next)
        except (Snooze, Cancel, Discard) as told:
            seen.outcome = told
            raise
        return seen.outcome

    async def _process(self, seen: _Seen, mine: Running | None, call_next: Process) -> Outcome:
        for hook in self._before:
            answer = await _call(hook, seen.job, seen.job)
            if isinstance(answer, Snooze | Cancel | Discard):
                return answer
            seen.job = _same(hook, seen.job, answer)
        if mine is not None:
            mine.job = seen.job  # so that current_job() is the job that process takes
        return await call_next(seen.job)

    async def after_settle(self, job: AnyJob, outcome: Outcome, ack: Ack) -> None:
        """Tell each hook what the attempt came to, unless others ended it, or it will run again elsewhere."""
        seen = _seen.get(None)
        if seen is None or seen.job.id != job.id:  # its args could not be read
            seen = _Seen(job)
        try:
            if (state := _state(outcome, ack, seen)) is not None and not seen.is_told:
                told = seen.job.replace(error=_error(outcome, ack))
                for hook in self._after:
                    await _observe(hook, told, state, told, _result(outcome))
        except asyncio.CancelledError:  # it was told to stop, and is settled
            return
        finally:
            if seen.seat is not None:
                seen.seat.leave()


def _same(hook: Hook, job: AnyJob, answer: Any) -> AnyJob:
    if isinstance(answer, Job) and (answer.id, answer.epoch) == (job.id, job.epoch):
        return answer  # pyright: ignore[reportUnknownVariableType] - of whatever args
    what = "another job" if isinstance(answer, Job) else type(answer).__name__
    raise InvalidHook(f"before_process of {hook.owner} gave back {what}; return the job, or what its replace() gives")


def _state(outcome: Outcome, ack: Ack, seen: _Seen) -> HookState | None:
    if isinstance(outcome, Stopped | Released | Waits) or (isinstance(outcome, Cancel) and outcome is not seen.outcome):
        return None
    return _STATES.get(ack.state)


def _result(outcome: Outcome) -> Any:
    if isinstance(outcome, Record):
        return outcome.value
    return outcome if isinstance(outcome, Snooze | Cancel | Discard) else None


def _error(outcome: Outcome, ack: Ack) -> BaseException | None:
    """What was raised, or the reason for which its result could not be kept."""
    if isinstance(outcome, Failed):
        return outcome.error
    if isinstance(outcome, Cancel | Discard):
        return outcome
    if ack.state is DISCARDED and ack.error is not None:
        return Discard(str(codec.decode(ack.error)["message"]))
    return None


_STATES: Final[Mapping[JobState, HookState]] = MappingProxyType(
    {COMPLETED: "complete", CANCELLED: "cancel", DISCARDED: "discard", RETRYABLE: "error", SCHEDULED: "snooze"}
)


# ── on_cancelled, on_discarded ────────────────────────────────────────────────────────────────────


class Endings(Feature):
    """Marks the jobs of a worker that wants to hear when others end them; `tell` is called for those that were."""

    rank: ClassVar[int] = 70

    def __init__(self, hooks: Mapping[JobState, Sequence[Hook]]) -> None:
        self._hooks = hooks

    async def before_store(self, job: AnyJob) -> AnyJob:
        """The job, marked: what ends it then leaves a word for its hooks."""
        return job.replace(has_hooks=True)

    async def tell(self, job: AnyJob, state: JobState, reason: str) -> None:
        """Tell each hook that the job was ended; what one raises is told and harms nothing."""
        for hook in self._hooks[state]:
            await _observe(hook, job, reason, job)


# ── calling one ───────────────────────────────────────────────────────────────────────────────────

_log: Final = logging.getLogger("tenuto")


async def _call(hook: Hook, job: AnyJob, *given: Any) -> Any:
    """What a hook answers: an async one on the event loop, a plain one in a thread. It may set context variables."""
    given = given[: hook.takes]
    mine = running.get(None)
    if hook.is_async or mine is None:
        answer = _bound(hook, job)(*given)
    else:
        context = copy_context()
        answer = await mine.threads.call(lambda: context.run(lambda: _bound(hook, job)(*given)), job)
        for variable, value in context.items():
            if variable.get(None) is not value:
                variable.set(value)
    return await answer if isawaitable(answer) else answer


def _bound(hook: Hook, job: AnyJob | None) -> Callable[..., Any]:
    if hook.worker is None:
        return hook.function
    method: Callable[..., Any] = getattr(hook.worker() if job is None else instance_of(hook.worker, job), hook.moment)
    return method


async def _observe(hook: Hook, job: AnyJob, *given: Any) -> None:
    """Call a hook that changes nothing, for as long as an attempt of the job may take. Raises CancelledError alone."""
    try:
        async with asyncio.timeout(None if job.timeout is None else job.timeout.total_seconds()):
            await _call(hook, job, *given)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - user code: even its SystemExit harms nothing
        telemetry.emit("hook.exception", moment=hook.moment, hook=hook.owner, job=job, error=error)
        if not telemetry.heard("hook.exception"):
            _log.error("%s of %s raised %s", hook.moment, hook.owner, type(error).__name__)
