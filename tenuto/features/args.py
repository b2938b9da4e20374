"""Structured args: what a worker declares is what its jobs carry, checked when made and cast before process.

A job carries the cast form as plain data, in which every field has its own name.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any, ClassVar, Final

from pydantic import AnyUrl, ValidationError

from tenuto import codec
from tenuto.errors import DefinitionError, InvalidArgs, Unencodable
from tenuto.features.feature import Feature, Process
from tenuto.features.reasons import UNKNOWN, path_of, reason_of
from tenuto.features.waiting import filled, told_whence
from tenuto.job import SUSPENDED, Job
from tenuto.outcome import Outcome
from tenuto.reference import Waiting, holds_reference, kind_of, opened
from tenuto.sizes import ARGS_MOST


@dataclass(frozen=True, slots=True)
class Shape:
    """A declaration, made ready to use: `cast` checks plain data, `dump` is its reverse."""

    cast: Callable[[Any], Any]
    dump: Callable[[Any], Any]
    without: Callable[[frozenset[str]], "Shape"]  # the same, in which anything may stand for these names


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
        """The job with its args cast and encoded. Raises InvalidArgs, or TooLarge over 16,000,000 bytes.

        One that holds results of other steps is suspended; these, and what holds them, are checked when they are there.
        """
        try:
            stored, text = self._encoded(self._plain(job.args))
        except Exception:
            if not holds_reference(job.args):
                raise
            stored, text = self._waiting(job.args)
            return job.replace(args=stored, encoded=text, state=SUSPENDED)
        return job.replace(args=stored, encoded=text)

    async def opened_job(self, job: Job[Any, Any]) -> Job[Any, Any]:
        """The job with what was stored cast to what process takes. Raises InvalidArgs where it no longer fits."""
        return job if type(job.args) is Waiting else job.replace(args=self._cast(job.args))

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Cast the args first; those that no longer fit fail the attempt."""
        cast = self._filled if type(job.args) is Waiting else self._cast
        return await call_next(job.replace(args=cast(job.args)))

    def _filled(self, args: Any) -> Any:
        """Args with results in the place of references, cast."""
        args, found = filled(self._worker, args)
        try:
            return self._cast(args)
        except InvalidArgs as refused:
            fault = told_whence(refused, found)
        raise fault

    def _waiting(self, args: Any) -> tuple[Any, str]:
        """Args that hold references, to be stored: cast, but for those that do."""
        try:
            raw = args if kind_of(args) is dict else opened(args)
            held = {name: opened(value) for name, value in raw.items() if holds_reference(value)}
        except RecursionError:
            raise InvalidArgs(self._worker, [("", _ENDLESS)]) from None
        part = StructuredArgs(self._worker, partial(self.shape.without, frozenset(held)))
        return self._encoded(Waiting(part._plain({**raw, **held})))

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
            raw = args if kind_of(args) is dict else shape.dump(args)
            return shape.dump(self._cast(raw))
        except InvalidArgs:
            raise
        except (ValueError, RecursionError):  # what pydantic says of a cycle
            raise InvalidArgs(self._worker, [("", _ENDLESS)]) from None

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
            raise InvalidArgs(self._worker, [(str(name), UNKNOWN) for name in job.args])
        return job

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it as it is; args from a time when the worker had some fail the attempt."""
        return await call_next(self.before_new(job))


_ENDLESS: Final = "a cycle or a depth that cannot be stored"

# ── what has a text instead ───────────────────────────────────────────────────────────────────────

_DICTS: Final[tuple[type[Any], ...]] = (dict, Waiting)
_COLLECTIONS: Final = frozenset({list, tuple, set, frozenset})
_TEXT_INSTEAD: Final = (
    *(PurePath, AnyUrl),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
)


def _with_texts(value: Any) -> Any:
    """Plain data with its paths and addresses as text; the cast before process makes them anew."""
    kind = kind_of(value)
    if kind_of(value) in _DICTS:
        return kind((key, _with_texts(item)) for key, item in value.items())
    if kind in _COLLECTIONS:
        return kind(map(_with_texts, value))
    return str(value) if isinstance(value, _TEXT_INSTEAD) else value
