"""Django: a backend for its tasks framework, in which each `@task` is a worker and each enqueued one a job.

It serves `django.tasks` where Django has it (6.0 and later), and else the backport `django-tasks`.
"""

# pyright: basic
# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false
# Which of two packages is imported shows when it runs, and neither need be here.

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections
from django.utils import timezone
from django.utils.module_loading import import_string

from tenuto.blocking import Tenuto
from tenuto.definition import define, registered, resolve
from tenuto.errors import InvalidJob, JobNotFound, NothingRecorded, RaisedElsewhere
from tenuto.failure import said, trace_of
from tenuto.features.schema import args_of_function
from tenuto.job import CANCELLED, COMPLETED, DISCARDED, EXECUTING, Failure, Job, JobState
from tenuto.naming import name_of
from tenuto.options import JobOptions, WorkerOptions
from tenuto.outcome import Cancel, Discard, Record, Snooze

try:
    from django.tasks import base, exceptions, signals
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:
    from django_tasks import base, exceptions, signals
    from django_tasks.backends.base import BaseTaskBackend

PRIORITIES: Final = (100, 75, 50, 25, 10, 0, -10, -25, -50, -100)  # a job knows ten
OPTIONS: Final = ("app", "database", "max_attempts", "priorities")
RUN_AFTER: Final = "run_after"  # in the meta of a deferred job
UNKNOWN: Final = "unknown"  # the node of an attempt before the last one

STATUSES: Final[Mapping[JobState, Any]] = {
    EXECUTING: base.TaskResultStatus.RUNNING,
    COMPLETED: base.TaskResultStatus.SUCCESSFUL,
    CANCELLED: base.TaskResultStatus.FAILED,
    DISCARDED: base.TaskResultStatus.FAILED,
}
"""What a job's state is called there; every other one is READY."""

InvalidTask: Any = getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError  # as 6.0, and the backport


# ── the backend ───────────────────────────────────────────────────────────────────────────────────


class TasksBackend(BaseTaskBackend):  # type: ignore[misc, unused-ignore]
    """`TASKS = {"default": {"BACKEND": "tenuto.django.TasksBackend", "OPTIONS": {"app": "shop.durable.app"}}}`.

    `app` is where a `tenuto.blocking.Tenuto` lies. What is enqueued goes through the connection of Django that
    `database` names, inside its `atomic`; None: through the app's own, at once. `max_attempts` is one, unless given.
    `priorities` are the ten at most that tasks may have, in place of `PRIORITIES`.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        if unknown := [option for option in self.options if option not in OPTIONS]:
            raise ImproperlyConfigured(f"TASKS[{alias!r}] has no option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
        self._database: str | None = self.options.get("database", "default")
        self._max_attempts: int = self.options.get("max_attempts", 1)
        self._priorities: Sequence[int] = sorted(self.options.get("priorities", PRIORITIES), reverse=True)
        if not 1 <= len(self._priorities) <= 10:
            raise ImproperlyConfigured(f"TASKS[{alias!r}] has {len(self._priorities)} priorities; give one to ten")

    @property
    def app(self) -> Tenuto:
        """The app that stores its tasks. Raises ImproperlyConfigured."""
        path = self.options.get("app")
        if path is None:
            raise ImproperlyConfigured(f"TASKS[{self.alias!r}] names no app; give OPTIONS = {{'app': 'module.name'}}")
        found = import_string(path)
        if not isinstance(found, Tenuto):
            raise ImproperlyConfigured(f"{path} should be a tenuto.blocking.Tenuto, and is a {type(found).__name__}")
        return found

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """What `manage.py check` tells: an app that is not there."""
        try:
            _ = self.app
        except (ImproperlyConfigured, ImportError) as fault:
            return [checks.Error(str(fault), id="tenuto.E001")]
        return []

    def validate_task(self, task: Any) -> None:
        """Refuse what cannot run, by InvalidTask; what can is known to this process as a worker from here on."""
        super().validate_task(task)
        if task.priority not in self._priorities:
            there_are = ", ".join(map(str, self._priorities))
            raise InvalidTask(f"priority {task.priority} is none of {there_are}; say yours in OPTIONS['priorities']")
        _register(task)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Store it, in the transaction in which `database` is; whoever works finds it when that has committed."""
        self.validate_task(task)
        given = {"args": base.normalize_json(list(args)), "kwargs": base.normalize_json(dict(kwargs))}
        job = resolve(name_of(task.func, {})).maker(self._job_options(task))(given)
        conn = None if self._database is None else connections[self._database]
        result = _result(task, self.app.enqueue(job, conn=conn), self.alias)
        signals.task_enqueued.send(type(self), task_result=result)
        return result

    def _job_options(self, task: Any) -> JobOptions:
        options: JobOptions = {
            "queue": task.queue_name,
            "priority": self._priorities.index(task.priority),
            "max_attempts": self._max_attempts,
        }
        if task.run_after is not None:
            at = task.run_after if timezone.is_aware(task.run_after) else timezone.make_aware(task.run_after)
            options |= {"scheduled_at": at, "meta": {RUN_AFTER: task.run_after.isoformat()}}
        return options

    def get_result(self, result_id: str) -> Any:
        """How a job stands, and what it returned. Raises TaskResultDoesNotExist, also for jobs that are no tasks.

        Raises UnknownWorker for a task that this process has not imported.
        """
        try:
            job = self.app.fetch(result_id)
        except (JobNotFound, InvalidJob):
            raise exceptions.TaskResultDoesNotExist(result_id) from None
        run = resolve(job.worker).invoke
        if not isinstance(run, _Run):
            raise exceptions.TaskResultDoesNotExist(result_id)
        result = _result(self._as_enqueued(run.task, job), job, self.alias)
        if job.state is COMPLETED:
            with suppress(NothingRecorded):  # completed by `complete_in` with None
                _change(result, _return_value=self.app.recorded(job))
        return result

    def _as_enqueued(self, task: Any, job: Job[Any, Any]) -> Any:
        after = job.meta.get(RUN_AFTER)
        return task.using(
            backend=self.alias,
            queue_name=job.queue,
            priority=self._priorities[min(job.priority, len(self._priorities) - 1)],
            run_after=None if after is None else datetime.fromisoformat(after),
        )


# ── results ───────────────────────────────────────────────────────────────────────────────────────


def _result(task: Any, job: Job[Any, Any], alias: str) -> Any:
    """A job as a TaskResult. Of attempts before the last one, the nodes are not kept."""
    return base.TaskResult(
        task=task,
        id=job.id,
        status=STATUSES.get(job.state, base.TaskResultStatus.READY),
        enqueued_at=job.inserted_at,
        started_at=job.attempted_at,
        finished_at=job.finished_at,
        last_attempted_at=job.attempted_at,
        args=job.args["args"],
        kwargs=job.args["kwargs"],
        backend=alias,
        errors=[_error(failure) for failure in job.errors],
        worker_ids=[UNKNOWN] * (job.attempt - 1) + [job.attempted_by or UNKNOWN] * (job.attempt > 0),
    )


def _error(failure: Failure) -> Any:
    """One failure. What Tenuto itself ends has no module in its name, and mostly no traceback."""
    path = failure.type if "." in failure.type else f"builtins.{failure.type}"
    told = failure.traceback or f"{failure.type}: {failure.message}\n"
    return base.TaskError(exception_class_path=path, traceback=told)


def _path_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _change(result: Any, **fields: Any) -> None:
    """Change a result in place: it is frozen, and made by steps in every backend."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


# ── the workers ───────────────────────────────────────────────────────────────────────────────────


def _stored(args: list[Any], kwargs: dict[str, Any]) -> None:
    """How the arguments of a task lie in its job."""


def _register(task: Any) -> None:
    name = name_of(task.func, {})
    known = registered().get(name)
    if known is None or not isinstance(known.invoke, _Run) or not known.invoke.runs(task):
        options: WorkerOptions = {"recorded": True, "queue": task.queue_name}
        define(name, options, task.func, task.func, _Run(task), [args_of_function(name, _stored)])


@dataclass(frozen=True)
class _Run:
    """One task as a worker runs it, with Django's connections as fresh as those of a request."""

    task: Any

    def runs(self, task: Any) -> bool:
        """Whether that is the same function, called in the same way."""
        return self.task.func is task.func and self.task.takes_context == task.takes_context

    def __call__(self, job: Job[Any, Any]) -> Any:
        result = _result(self.task, job, self.task.backend)
        return self._awaited(job, result) if iscoroutinefunction(self.task.func) else self._called(job, result)

    def _called(self, job: Job[Any, Any], result: Any) -> Any:
        close_old_connections()
        try:
            return self._returned(result, self._call(result))
        except Exception as error:  # noqa: BLE001 - user code: told on, with the path of its type
            raise self._failed(job, result, error) from None
        finally:
            close_old_connections()

    async def _awaited(self, job: Job[Any, Any], result: Any) -> Any:
        await sync_to_async(close_old_connections)()
        try:
            call: Awaitable[Any] = self._call(result)
            return self._returned(result, await call)
        except Exception as error:  # noqa: BLE001 - user code: told on, with the path of its type
            raise self._failed(job, result, error) from None
        finally:
            await sync_to_async(close_old_connections)()

    def _call(self, result: Any) -> Any:
        signals.task_started.send_robust(TasksBackend, task_result=result)
        context = [base.TaskContext(task_result=result)] if self.task.takes_context else []
        return self.task.func(*context, *result.args, **result.kwargs)

    def _returned(self, result: Any, value: Any) -> Any:
        """What the task returned, as JSON has it. Raises TypeError, ValueError."""
        if isinstance(value, Snooze | Cancel | Discard):
            return value
        kept = base.normalize_json(value)
        _change(result, _return_value=kept)
        self._finish(result, base.TaskResultStatus.SUCCESSFUL)
        return Record(kept)

    def _failed(self, job: Job[Any, Any], result: Any, error: Exception) -> Exception:
        """The error as its job keeps it, with the whole path of its type."""
        if isinstance(error, Snooze | Cancel | Discard):
            return error
        path, trace = _path_of(error), trace_of(error)
        if job.attempt >= job.max_attempts:
            result.errors.append(base.TaskError(exception_class_path=path, traceback=trace))
            self._finish(result, base.TaskResultStatus.FAILED)
        return RaisedElsewhere(path, said(error), trace)

    def _finish(self, result: Any, status: Any) -> None:
        _change(result, status=status, finished_at=timezone.now())
        signals.task_finished.send_robust(TasksBackend, task_result=result)
