"""Parcel: a claimed job on its way to another process, and what it came to on the way back, as our text."""

import struct
from collections.abc import Mapping
from typing import Any, Final, cast

from tenuto import codec
from tenuto.context import Needs
from tenuto.errors import CodecError, RaisedElsewhere, ResultTooLarge, TooLarge, UnencodableResult
from tenuto.failure import as_text, entry, failures, name_of, said, trace_of
from tenuto.job import Job, JobState, Signal
from tenuto.outcome import (
    DONE,
    Cancel,
    Discard,
    Done,
    Failed,
    Outcome,
    Record,
    Snooze,
    encode_result,
)
from tenuto.text import clean

AnyJob = Job[Any, Any]

_STAYS: Final = frozenset({"signal", "encoded", "existing"})  # what of a job has no meaning elsewhere
_HEAD: Final = struct.Struct(">I")
HEAD_SIZE: Final = _HEAD.size


# ── there ─────────────────────────────────────────────────────────────────────────────────────────


def pack(job: AnyJob, needs: Needs, module: str) -> str:
    """One attempt as text: its job, what its step may read, and the module that defines its worker."""
    fields = {name: value for name, value in vars(job).items() if name not in _STAYS}
    fields |= {"state": job.state.value, "tags": list(job.tags), "errors": as_text(job.errors)}
    fields |= {"args": codec.encode(job.args), "meta": codec.encode(_meta(job.meta))}  # as text: depth is bounded
    return codec.encode({"job": fields, "results": needs.results, "own": needs.own, "module": module})


def _meta(meta: Any) -> dict[str, Any]:
    """The job's meta; nothing where somebody wrote by hand what is none."""
    return dict(cast("Mapping[str, Any]", meta)) if isinstance(meta, Mapping) else {}


def unpack(text: str) -> tuple[AnyJob, Needs, str]:
    """The job, its needs and the module of its worker. Raises Undecodable."""
    found = codec.decode(text)
    fields = found["job"]
    read = {"args": codec.decode(fields["args"]), "meta": codec.decode(fields["meta"])}
    read |= {"state": JobState(fields["state"]), "tags": tuple(fields["tags"]), "errors": failures(fields["errors"])}
    job: AnyJob = Job.of({**fields, **read, "signal": Signal()})
    return job, Needs(results=found["results"], own=found["own"]), found["module"]


# ── and back ──────────────────────────────────────────────────────────────────────────────────────


def pack_outcome(outcome: Outcome) -> str:
    """What the attempt came to, as text. A value that cannot be encoded arrives as the error that says why."""
    match outcome:
        case Done():
            return codec.encode(["done"])
        case Record(value):
            return _packed_value(value)
        case Snooze():
            return codec.encode(["snooze", outcome.delay])
        case Cancel() | Discard():
            kind = "cancel" if isinstance(outcome, Cancel) else "discard"
            return codec.encode([kind, clean(said(outcome.reason))])
        case Failed(error):
            return _packed_error(error)
        case _:
            return _packed_error(TypeError(f"{type(outcome).__name__} is no outcome of an attempt in another process"))


def _packed_value(value: Any) -> str:
    try:
        return codec.encode(["value", encode_result(value)])
    except ResultTooLarge as fault:
        return codec.encode(["too large", fault.what, fault.size, fault.limit])
    except UnencodableResult as fault:
        return codec.encode(["unencodable", clean(fault.path), clean(fault.reason)])


def _packed_error(error: BaseException) -> str:
    told = codec.decode(entry("exception", name_of(error), said(error), trace_of(error)))
    return codec.encode(["failed", told["type"], told["message"], told["traceback"]])


def unpack_outcome(text: str) -> Outcome:
    """What `pack_outcome` was given. An exception comes as RaisedElsewhere. Raises Undecodable."""
    kind, *rest = codec.decode(text)
    match kind, rest:
        case "value", [value]:
            return Record(codec.decode(value))
        case "snooze", [delay]:
            return Snooze(delay)
        case "cancel", [reason]:
            return Cancel(reason)
        case "discard", [reason]:
            return Discard(reason)
        case "failed", [original, message, traceback]:
            return Failed(RaisedElsewhere(original, message, traceback))
        case (("too large" | "unencodable"), _):
            return Record(_fault(kind, rest))
        case _:
            return DONE


def _fault(kind: str, rest: list[Any]) -> CodecError:
    """What stands in the place of a value that could not travel; a job that keeps nothing never looks at it."""
    return ResultTooLarge(*rest) if kind == "too large" else UnencodableResult(*rest)


# ── on a line ─────────────────────────────────────────────────────────────────────────────────────


def frame(message: list[Any]) -> bytes:
    """A message as it goes over a line: its length in four bytes, and its text. Raises TooLarge over 4 GB."""
    body = codec.encode(message).encode()
    if len(body) >= 1 << 32:
        raise TooLarge("a message between processes", len(body), (1 << 32) - 1)
    return _HEAD.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """How many bytes follow the first four."""
    length: int = _HEAD.unpack(head)[0]
    return length


def message_of(body: bytes) -> list[Any]:
    """The message in the bytes that followed. Raises Undecodable."""
    message: list[Any] = codec.decode(body.decode())
    return message
