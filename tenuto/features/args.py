"""Structured args: what a worker declares is what its jobs carry, checked when made and cast before process.

A job carries the cast form as plain data, in which every field has its own name.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any, ClassVar, Final

from pydantic import AnyUrl, ValidationError
from pydantic_core import ErrorDetails

from tenuto import codec
from tenuto.errors import DefinitionError, InvalidArgs, Unencodable
from tenuto.features.feature import Feature, Process
from tenuto.job import Job
from tenuto.outcome import Outcome
from tenuto.sizes import ARGS_MOST


@dataclass(frozen=True, slots=True)
class Shape:
    """A declaration, made ready to use: `cast` checks plain data, `dump` is its reverse."""

    cast: Callable[[Any], Any]
    dump: Callable[[Any], Any]


class Unresolved(DefinitionError):
    """An annotation names a type that is not there (yet)."""


class StructuredArgs(Feature):
    """Casts and checks the args of one worker's jobs, with a validator that is built once."""

    rank: ClassVar[int] = 10

    def __init__(self, worker: str, declare: Callable[[], Shape]) -> None:
        self._worker = worker
        self._declare = declare
        with suppress(Unresolved):  # its module may define the name further down: asked again at first use
            _ = self.shape

    @cached_property
    def shape(self) -> Shape:
        """What the worker declares. Raises DefinitionError where it cannot be understood."""
        return self._declare()

    def before_new(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with its args cast and encoded. Raises InvalidArgs, or TooLarge over 16,000,000 bytes."""
        stored, text = self._encoded(self._plain(job.args))
        return job.replace(args=stored, encoded=text)

    async def opened_job(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with what was stored cast to what process takes. Raises InvalidArgs where it no longer fits."""
        return job.replace(args=self._cast(job.args))

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Cast the args first; those that no longer fit fail the attempt."""
        return await call_next(job.replace(args=self._cast(job.args)))

    def _cast(self, args: Any) -> Any:
        try:
            return self.shape.cast(args)
        except ValidationError as fault:  # it holds values, so it is not chained
            problems = [(path_of(part["loc"]), reason_of(part)) for part in fault.errors(include_url=False)]
        raise InvalidArgs(self._worker, problems)

    def _plain(self, args: Any) -> Any:
        """The cast form as plain data, of raw args or of an instance, which nobody may have checked."""
        shape = self.shape
        try:
            raw = args if _kind(args) is dict else shape.dump(args)
            return shape.dump(self._cast(raw))
        except InvalidArgs:
            raise
        except (ValueError, RecursionError):  # what pydantic says of a cycle
            raise InvalidArgs(self._worker, [("", "a cycle or a depth that cannot be stored")]) from None

    def _encoded(self, plain: Any) -> tuple[Any, str]:
        try:
            return plain, codec.encode(plain, limit=ARGS_MOST, what="args")
        except Unencodable as refused:
            fault = refused
        try:  # a path or an address has a text instead
            plain = _with_texts(plain)
            return plain, codec.encode(plain, limit=ARGS_MOST, what="args")
        except Unencodable as refused:
            fault = refused
        except RecursionError:  # then the first fault was a cycle, or the depth
            pass
        raise InvalidArgs(self._worker, [(fault.path.removeprefix("args").removeprefix("."), fault.reason)])


class NoArgs(Feature):
    """The args of a worker that declares none: nothing to cast, and nothing may come."""

    rank: ClassVar[int] = StructuredArgs.rank

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def before_new(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The same job. Raises InvalidArgs when it carries anything."""
        if job.args:
            raise InvalidArgs(self._worker, [(str(name), _UNKNOWN) for name in job.args])
        return job

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it as it is; args from a time when the worker had some fail the attempt."""
        return await call_next(self.before_new(job))


# ── what does not fit, and why ────────────────────────────────────────────────────────────────────

_UNKNOWN: Final = "unknown; the worker takes no such arg"
_EMPTY: Final = "required, and an empty text counts as none; give the field a default to allow it"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": _UNKNOWN,
    "unexpected_keyword_argument": _UNKNOWN,
}
_VALIDATORS: Final = frozenset({"value_error", "assertion_error"})
_COLLECTIONS: Final = frozenset({list, tuple, set, frozenset})
_TEXT_INSTEAD: Final = (
    *(PurePath, AnyUrl),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)


def path_of(steps: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def reason_of(fault: ErrorDetails) -> str:
    """Why a part does not fit, without any of its value: reasons are stored and logged."""
    kind, message, details = fault["type"], fault["msg"], fault.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "string_too_short" and fault["input"] == "":
        return _EMPTY
    if kind == "union_tag_invalid":
        return f"its {details['discriminator']} is none of {details['expected_tags']}"
    if kind not in _VALIDATORS and "error" in details:
        return message.partition(",")[0]  # after the comma a parser quotes what it met
    given = fault["input"]
    is_told = isinstance(given, str) and len(given) > 3 and given in message
    return "refused by its validator" if is_told else message


def _with_texts(value: Any) -> Any:
    """Plain data with its paths and addresses as text; the cast before process makes them anew."""
    kind = _kind(value)
    if kind is dict:
        return {key: _with_texts(item) for key, item in value.items()}
    if kind in _COLLECTIONS:
        return kind(map(_with_texts, value))
    return str(value) if isinstance(value, _TEXT_INSTEAD) else value


def _kind(value: object) -> type[Any]:
    return type(value)
