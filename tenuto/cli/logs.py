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


def set_up(level: Level, *, as_json: bool) -> None:
    """Write what the program logs, and Tenuto's events with it, to stderr. `work` itself tells of its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if as_json else Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    telemetry.attach(telemetry.log_events, *(event for event in telemetry.EVENTS if event != "node.start"))


class Plain(logging.Formatter):
    """`12:00:00 INFO    job.stop  job=0192… worker=mail.send queue=mail attempt=1 state=completed duration=0.012`"""

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "tenuto", {})
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        told = _event(fields) if fields else record.getMessage()
        line = f"{at:%H:%M:%S} {record.levelname:<7} {clean(told)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One JSON object a line: time, level, logger, then the event's fields, or a message and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "tenuto", {})
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **(fields or {"message": record.getMessage()}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def _event(fields: Mapping[str, Any]) -> str:
    """An event's fields in a line, a job's own ones among them."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "job" and isinstance(value, Mapping):
            parts = cast("Mapping[str, Any]", value)
            flat |= {"job" if key == "id" else key: part for key, part in parts.items()}
        elif name != "event":
            flat[name] = value
    return f"{fields['event']:<12} " + " ".join(f"{name}={_value(value)}" for name, value in flat.items())


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if value and " " not in value else repr(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={part}" for name, part in cast("Mapping[str, Any]", value).items())
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(str, cast("Iterable[Any]", value)))
    return str(value)
