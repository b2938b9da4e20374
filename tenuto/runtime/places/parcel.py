"""Parcel: a claimed job on its way to another process, and what it came to on the way back, as our text."""

import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple, cast

from tenuto import codec
from tenuto.context import Needs
from tenuto.errors import (
    CodecError,
    KeyUnavailable,
    NotSealed,
    RaisedElsewhere,
    ResultTooLarge,
    SealBroken,
    TooLarge,
    UnencodableResult,
)
from tenuto.failure import as_text, entry, failures, name_of, said, trace_of
from tenuto.features.recorded import Recording
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
from tenuto.sizes import USUAL, Sizes
from tenuto.text import clean

AnyJob = Job[Any, Any]

_SEALS: Final[Mapping[str, type[Exception]]] = {kind.__name__: kind for kind in (KeyUnavailable, SealBroken, NotSealed)}
_STAYS: Final = frozenset({"signal", "encoded", "existing"})  # what of a job has no meaning elsewhere
_HEAD: Final = struct.Struct(">I")
HEAD_SIZE: Final = _HEAD.size


# ── there ─────────────────────────────────────────────────────────────────────────────────────────


class Parcel(NamedTuple):
    """One attempt on its way: its job, the text of what its step may read, the module that defines its worker, and how
    large what it gives back may be."""

    job: AnyJob
    needs: str
    module: str
    sizes: Sizes


def pack(job: AnyJob, needs: str, module: str, sizes: Sizes = USUAL) -> str:
    """One attempt as text; `needs` is what `pack_needs` made, which may be sealed by now."""
    fields = {name: value for name, value in vars(job).items() if name not in _STAYS}
    fields |= {"state": job.state.value, "tags": list(job.tags), "errors": as_text(job.errors)}
    fields |= {"args": codec.encode(job.args), "meta": codec.encode(_meta(job.meta))}  # as text: depth is bounded
    return codec.encode({"job": fields, "needs": needs, "module": module, "sizes": asdict(sizes)})


def pack_needs(needs: Needs) -> str:
    """What a step may read, as text, and of what it may not, why."""
    closed = {name: _told(fault) for name, fault in needs.closed.items()}
    groups = {"groups": needs.groups, "members": needs.members} if needs.groups else {}
    return codec.encode({"results": needs.results, "own": needs.own, "closed": closed, **groups})


def _told(fault: Exception) -> dict[str, Any]:
    """Why a result stays closed, as data: an error of ours with its parts, or what another one said."""
    ours = type(fault).__name__ if type(fault) in _SEALS.values() else None
    parts = vars(fault) if ours else {}
    return {"ours": ours, "original": name_of(fault), "message": clean(said(fault)), "parts": parts}


def _untold(told: Mapping[str, Any]) -> Exception:
    """What `_told` was given; an error that is none of ours comes as RaisedElsewhere."""
    if told["ours"] is None:
        return RaisedElsewhere(told["original"], told["message"], "")
    kind = _SEALS[told["ours"]]
    fault = kind.__new__(kind, told["message"])
    vars(fault).update(told["parts"])
    return fault


def _meta(meta: Any) -> dict[str, Any]:
    """The job's meta; nothing where somebody wrote by hand what is none."""
    return dict(cast("Mapping[str, Any]", meta)) if isinstance(meta, Mapping) else {}


def unpack(text: str) -> Parcel:
    """The attempt. Raises Undecodable."""
    found = codec.decode(text)
    fields = found["job"]
    read = {"args": codec.decode(fields["args"]), "meta": codec.decode(fields["meta"])}
    read |= {"state": JobState(fields["state"]), "tags": tuple(fields["tags"]), "errors": failures(fields["errors"])}
    job: AnyJob = Job.of({**fields, **read, "signal": Signal()})
    return Parcel(job, found["needs"], found["module"], Sizes(**found["sizes"]))


def unpack_needs(text: str) -> Needs:
    """What `pack_needs` was given. Raises Undecodable."""
    found = codec.decode(text)
    found["closed"] = {name: _untold(told) for name, told in found["closed"].items()}
    return Needs(**found)


# ── and back ──────────────────────────────────────────────────────────────────────────────────────


def pack_outcome(outcome: Outcome, sizes: Sizes = USUAL) -> str:
    """What the attempt came to, as text. A value that cannot be encoded arrives as the error that says why."""
    match outcome:
        case Done():
            return codec.encode(["done"])
        case Record(value):
            return _packed_value(value, outcome.recorded, sizes)
        case Snooze():
            return codec.encode(["snooze", outcome.delay])
        case Cancel():
            return codec.encode(["cancel", clean(said(outcome.reason))])
        case Discard():
            return codec.encode(["discard", clean(said(outcome.reason)), outcome.name])
        case Failed(error):
            return _packed_error(error, sizes)
        case _:
            told = f"{type(outcome).__name__} is no outcome of an attempt in another process"
            return _packed_error(TypeError(told), sizes)


def _packed_value(value: Any, recorded: str | None, sizes: Sizes) -> str:
    try:
        return codec.encode(["value", encode_result(value, sizes.result), recorded])
    except ResultTooLarge as fault:
        return codec.encode(["too large", fault.what, fault.size, fault.limit])
    except UnencodableResult as fault:
        return codec.encode(["unencodable", clean(fault.path), clean(fault.reason)])


def _packed_error(error: BaseException, sizes: Sizes) -> str:
    told = codec.decode(entry("exception", name_of(error), said(error), trace_of(error), sizes.error))
    return codec.encode(["failed", told["type"], told["message"], told["traceback"]])


def unpack_outcome(text: str) -> Outcome:
    """What `pack_outcome` was given. An exception comes as RaisedElsewhere. Raises Undecodable."""
    kind, *rest = codec.decode(text)
    match kind, rest:
        case "value", [value, recorded]:
            return Record(codec.decode(value)) if recorded is None else Recording(codec.decode(value), recorded)
        case "snooze", [delay]:
            return Snooze(delay)
        case "cancel", [reason]:
            return Cancel(reason)
        case "discard", [reason, name]:
            discard = Discard(reason)
            discard.name = name
            return discard
        case "failed", [original, message, traceback]:
            return Failed(RaisedElsewhere(original, message, traceback))
        case (("too large" | "unencodable"), _):
            return Record(_fault(kind, rest))
        case _:
            return DONE


def _fault(kind: str, rest: list[Any]) -> CodecError:
    """What stands in the place of a value that could not travel; a job that keeps nothing never looks at it."""
    return ResultTooLarge(*rest) if kind == "too large" else UnencodableResult(*rest)


class Answer(NamedTuple):
    """What comes back of an attempt: the text of its outcome, and what its node has to know beside that."""

    outcome: str  # as `pack_outcome` made it, which may be sealed by now
    seconds: float  # that its process took
    is_told: bool  # whether its after-hooks were told there
    has_heard: bool = False  # whether it could see there that it was to stop, before its process ended


def pack_answer(answer: Answer) -> str:
    """An answer as text."""
    return codec.encode(list(answer))


def unpack_answer(text: str) -> Answer:
    """What `pack_answer` was given. Raises Undecodable."""
    return Answer(*codec.decode(text))


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
