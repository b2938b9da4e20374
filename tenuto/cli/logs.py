"""Logs of a working node: one line for each event, for people or as JSON."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from tenuto import telemetry
from tenuto.cli.output import clean


class Level(StrEnum):
    """How much is told; `info` has two lines for each job."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def set_up(level: Level, *, as_json: bool, process: int | None = None) -> None:
    """Write what the program logs, and Tenuto's events with it, to stderr. `work` itself tells of its start.

    Each line has the number of the process, if that is one of several.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(process) if as_json else Plain(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level is not Level.DEBUG:
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # an outage is told once, as an event
    telemetry.attach(telemetry.log_events, *(event for event in telemetry.EVENTS if event != "node.start"))


class Plain(logging.Formatter):
    """`12:00:00 INFO    job.stop     mail.send 0192… state=completed duration=0.012`, with `#2` behind the time."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._mark = "" if process is None else f" #{process}"

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "tenuto", {})
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        told = _event(fields) if fields else record.getMessage()
        line = f"{at:%H:%M:%S}{self._mark} {record.levelname:<7} {clean(told)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One JSON object a line: time, level, logger, then the event's fields, or a message and its traceback."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._mark = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "tenuto", {})
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._mark,
            **(fields or {"message": record.getMessage()}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def _event(fields: Mapping[str, Any]) -> str:
    """An event's fields in a line, with the job it is about in front."""
    told = [f"{fields['event']:<12}"]
    job = fields.get("job")
    if isinstance(job, Mapping):
        about = cast("Mapping[str, Any]", job)
        told += [about["worker"], about["id"], *([f"attempt={about['attempt']}"] if about["attempt"] > 1 else [])]
    told += [f"{name}={_value(value)}" for name, value in fields.items() if name != "event" and value is not job]
    return " ".join(told)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={part}" for name, part in cast("Mapping[str, Any]", value).items())
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(str, cast("Iterable[Any]", value)))
    return str(value)
