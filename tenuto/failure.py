"""Failures as they are stored: one entry of a job's errors, whatever was raised, and back again."""

import traceback
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

from tenuto import codec
from tenuto.errors import CodecError, RaisedElsewhere
from tenuto.job import EPOCH, Failure, Job
from tenuto.sizes import USUAL
from tenuto.tagged import Sealed
from tenuto.text import clean, clip, size

ERRORS_KEPT: Final = 20
PAST_DEADLINE: Final = "its deadline has passed"  # why a job was cancelled
_HERE: Final = __file__.removesuffix("failure.py")


def entry(kind: str, name: str, message: str, trace: str, limit: int = USUAL.error) -> str:
    """One entry of `errors`, cut to `limit` bytes, without its instant and attempt: the database writes those."""
    fields = {
        "kind": kind,
        "type": _short(name, 500),
        "message": _short(message, limit // 4),
        "traceback": _short(trace, limit // 2),
    }
    return codec.encode(fields)


def _short(text: str, limit: int) -> str:
    """As much of a text as takes `limit` bytes when it is stored: there a control character takes six."""
    kept = clip(clean(text), limit)
    while (stored := size(codec.encode(kept)) - len('""')) > limit:
        kept = clip(kept, size(kept) * limit // stored)
    return kept


def trimmed(job: Job[Any, Any]) -> str | None:
    """The newest of the errors so far, one less than are kept, where there are more; None leaves them alone."""
    if len(job.errors) < ERRORS_KEPT:
        return None
    return as_text(job.errors[-(ERRORS_KEPT - 1) :])


def as_text(entries: Iterable[Failure]) -> str:
    """Entries as `errors` stores them; `failures` reads them again."""
    return codec.encode([_fields(failure) for failure in entries])


def _fields(failure: Failure) -> dict[str, Any]:
    at = (failure.at - EPOCH) // timedelta(microseconds=1)
    return {
        "at": at,
        "attempt": failure.attempt,
        "kind": failure.kind,
        "type": failure.type,
        "message": failure.sealed or failure.message,
        "traceback": failure.traceback,
    }


def failures(text: str) -> tuple[Failure, ...]:
    """The last 20 entries of a stored `errors` text, oldest first; one that cannot be read is shown as such.

    There may be more: what operators do adds entries, and the end of an attempt takes them away.
    """
    if text == "[]":
        return ()
    try:
        return tuple(_failure(entry) for entry in codec.decode(text)[-ERRORS_KEPT:])
    except (CodecError, TypeError, KeyError, AttributeError):
        return (Failure(0, EPOCH, "exception", "Undecodable", "the stored errors cannot be read"),)


def _failure(entry: dict[str, Any]) -> Failure:
    at = EPOCH + timedelta(microseconds=entry["at"])
    message = entry["message"]
    sealed = message if isinstance(message, Sealed) else None
    return Failure(entry["attempt"], at, entry["kind"], entry["type"], str(message), entry["traceback"], sealed)


def name_of(error: BaseException) -> str:
    """The name of its type, whatever a metaclass makes of that."""
    if isinstance(error, RaisedElsewhere):
        return error.original
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def said(reason: object) -> str:
    """Any reason as text, whatever its __str__ does."""
    if isinstance(reason, RaisedElsewhere):
        return reason.message
    try:
        return str(reason)
    except BaseException as fault:  # noqa: BLE001 - user code: even its SystemExit is only this job's
        return f"<its text could not be made: {name_of(fault)}>"


def _own_frames(error: BaseException) -> TracebackType | None:
    """The traceback without the frames of this library that lead to the job's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames or error.__traceback__


def trace_of(error: BaseException) -> str:
    """The traceback as text, from the job's own frames on, 50 of them at most."""
    if isinstance(error, RaisedElsewhere):
        return error.traceback
    try:
        told = traceback.TracebackException(type(error), error, _own_frames(error), limit=-50, compact=True)
        return "".join(told.format())
    except BaseException as fault:  # noqa: BLE001 - an exception may lie about its own parts
        return f"<no traceback: {name_of(fault)}>"
