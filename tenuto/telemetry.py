"""What the library tells of itself: attach a handler, detach it, and the catalogue of events."""

import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

Handler: TypeAlias = Callable[[str, Mapping[str, Any]], None]

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "job.start": "job, queue_time (seconds from due to start)",
        "job.stop": "job, state, duration (seconds)",
        "job.exception": "job, state, duration (seconds), error (the exception)",
        "job.gated": "job, unmet: it was claimed before its needs were met, and went back",
        "job.put_back": "job, delay (seconds): this node knows no worker of its name",
        "job.abandoned": "job: it was told to stop and did not; its writes are refused from now on",
        "hook.exception": "hook, moment, job, error: a hook that only observes raised, which harms nothing",
        "queue.claim": "queue, count, duration",
        "queue.ack": "queue, count, stale, duration",
        "queue.stale": "queue, ids: acks of attempts that were no longer the jobs'",
        "queue.split": "queue, count, error: the database refused a batch, which was cut in two",
        "queue.quarantine": "queue, id, error: one row it would not take, discarded with the reason",
        "queue.signal": "queue, paused, limit: what an operator asked for was taken up",
        "queue.limits": "queue, limits: what holds over all nodes was taken up, in words; empty: nothing",
        "stager.stage": "count, queues",
        "stager.overdue": "count: jobs cancelled, since they waited past their deadline, with the steps behind them",
        "lifeline.rescue": "count, discarded, nodes",
        "pruner.prune": "jobs, workflows, chains",
        "cron.insert": "name, minutes (none: somebody asked for it now), ids (of the jobs)",
        "cron.skip": "name, after, until: minutes between them were too old to be made up for",
        "cron.exception": "name, error: no job could be made or stored; it is tried again with the next minute",
        "workflow.finished": "workflow_id, name, outcome, run, failed (names of steps)",
        "node.start": "node, queues",
        "node.stop": "node, released: jobs given back unfinished",
        "node.fenced": "node: its lease ended; running attempts are stopped",
        "node.lag": "node, seconds: the event loop was blocked that long; job, where: what ran on it, at which line",
        "child.start": "pid: a process for jobs that run in one",
        "child.end": "pid, code (a signal as a negative number), jobs: how many it ran",
        "storage.retry": "attempt, error: a deadlock or a lost race, tried again",
        "storage.outage": "error: the database stopped answering",
        "storage.back": "seconds: how long it was away",
        "service.exception": "service, error: one tick failed; the next one comes as usual",
    }
)
"""Every event by name, with what its payload holds."""

_log: Final = logging.getLogger("tenuto")
_handlers: dict[str, list[Handler]] = {}


def attach(handler: Handler, *events: str) -> None:
    """Call `handler(event, payload)` at each of `events`, or at every event when none is named.

    It runs where the event happens, so it should be quick. What it raises is logged and harms nothing.
    Attaching twice is once. Raises LookupError for a name that is not in EVENTS, TypeError for no handler.
    """
    if not callable(handler):
        raise TypeError(f"attach() takes a function of (event, payload) first, and {handler!r:.80} is none")
    for event in events or tuple(EVENTS):
        if event not in EVENTS:
            raise LookupError(f"no event is named {event!r}; telemetry.EVENTS lists them")
        known = _handlers.setdefault(event, [])
        if handler not in known:
            known.append(handler)


def detach(handler: Handler) -> None:
    """Call `handler` no more, for any event."""
    for event, known in list(_handlers.items()):
        if handler in known:
            known.remove(handler)
        if not known:
            del _handlers[event]


def heard(event: str) -> bool:
    """Whether anybody listens: ask before building a payload on the hot path."""
    return event in _handlers


def emit(event: str, **payload: Any) -> None:
    """Tell the handlers of `event`."""
    for handler in tuple(_handlers.get(event, ())):
        try:
            handler(event, payload)
        except BaseException:  # noqa: BLE001 - a handler is user code
            _log.exception("a telemetry handler of %s raised", event)


_LOUD: Final = MappingProxyType(
    {
        "job.exception": logging.WARNING,
        "job.abandoned": logging.WARNING,
        "hook.exception": logging.WARNING,
        "queue.quarantine": logging.ERROR,
        "queue.split": logging.WARNING,
        "queue.stale": logging.WARNING,
        "lifeline.rescue": logging.WARNING,
        "cron.skip": logging.WARNING,
        "cron.exception": logging.ERROR,
        "node.fenced": logging.ERROR,
        "node.lag": logging.WARNING,
        "storage.outage": logging.ERROR,
        "service.exception": logging.ERROR,
    }
)


def log_events(event: str, payload: Mapping[str, Any]) -> None:
    """A handler that writes each event as one structured line to the logger `tenuto`; args never appear."""
    level = _LOUD.get(event, logging.DEBUG if event.startswith(("queue.", "stager.")) else logging.INFO)
    if _log.isEnabledFor(level):
        fields = {"event": event, **{key: _plain(value) for key, value in payload.items()}}
        _log.log(level, json.dumps(fields, default=str), extra={"tenuto": fields})


def _plain(value: Any) -> Any:
    """A payload's value as a log line may show it: a job by its name and id, an exception by its type."""
    if hasattr(value, "worker") and hasattr(value, "epoch"):
        return {"id": value.id, "worker": value.worker, "queue": value.queue, "attempt": value.attempt}
    if isinstance(value, BaseException):
        return type(value).__name__
    return round(value, 6) if isinstance(value, float) else value
