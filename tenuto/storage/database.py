"""What a database must do, and the statements it is asked: one file of SQL each, with a contract at its head."""

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, ClassVar, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from tenuto import telemetry
from tenuto.errors import InvalidUrl, StorageBusy, StorageError

P = ParamSpec("P")
T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]


class Call(NamedTuple):
    """One statement by name with its inputs. A first one that `is_last` may commit: what follows changes nothing."""

    name: str
    inputs: Mapping[str, Any]
    is_last: bool = False


Verb: TypeAlias = Generator[Call, list[Row], T]
"""A verb yields calls and is sent their rows; it never awaits. Whoever holds a connection drives it."""


def call(name: str, /, **inputs: Any) -> Call:
    """Ask for one statement, with more of the verb to follow."""
    return Call(name, inputs)


def last(name: str, /, **inputs: Any) -> Call:
    """Ask for the last statement that changes anything. A verb that begins with it needs no transaction around it."""
    return Call(name, inputs, is_last=True)


def drive(verb: Verb[T], execute: Callable[[Call], list[Row]]) -> T:
    """Run `verb` to its end by `execute`, whose connection holds the transaction; give back what it returns."""
    try:
        asked = next(verb)
        while True:
            asked = verb.send(execute(asked))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class LostRace(StorageError):
    """A deadlock, a serialization failure, a plan that is gone: nothing was written, and trying again is right."""

    TRIES: ClassVar = 8


class RowLocked(LostRace):
    """A lock was waited for as long as is sensible: trying again is right, but not for ever."""

    TRIES: ClassVar = 2


class Hint(NamedTuple):
    """Something may have changed: the channel (insert, signal, settled, cron) and what in it; an empty text: any."""

    channel: str
    subject: str = ""


ANYTHING: Final = Hint("")


# ── statements ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Statement:
    """One file of `sql/`: its text, and the contract of its header."""

    name: str
    text: str
    inputs: Mapping[str, str]  # name -> type, in order
    outputs: Mapping[str, str]
    plan: str | None  # the index that EXPLAIN must show


def load(folder: str, substitutions: Mapping[str, str]) -> dict[str, Statement]:
    """Every statement of `sql/<folder>`, by name."""
    found: dict[str, Statement] = {}
    for file in (files("tenuto.storage") / "sql" / folder).iterdir():
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found[name] = parse(name, _substitute(file.read_text(encoding="utf-8"), substitutions))
    return found


def migrations(folder: str, substitutions: Mapping[str, str]) -> list[tuple[int, str]]:
    """The numbered scripts of `sql/<folder>/schema`, in order. Number 0 may run any number of times."""
    scripts = (files("tenuto.storage") / "sql" / folder / "schema").iterdir()
    return sorted(
        (int(file.name[:4]), _substitute(file.read_text(encoding="utf-8"), substitutions))
        for file in scripts
        if file.name.endswith(".sql")
    )


def parse(name: str, text: str) -> Statement:
    """One statement from its file. Raises ValueError when the header is not as it should be."""
    head = _HEADER.match(text)
    if head is None or head["name"] != name:
        raise ValueError(f"{name}.sql does not begin with its contract")
    fields = {key: " ".join(head[key].replace("\n--", " ").split()) for key in ("in", "out", "plan")}
    plan = None if fields["plan"] == "-" else fields["plan"]
    return Statement(name, text[head.end() :].strip(), _typed(fields["in"]), _typed(fields["out"]), plan)


def _typed(listed: str) -> dict[str, str]:
    if listed == "-":
        return {}
    return dict(item.strip().split(" ", 1) for item in listed.split(","))


def _substitute(text: str, substitutions: Mapping[str, str]) -> str:
    for mark, word in substitutions.items():
        text = text.replace(mark, word)
    return text


_HEADER: Final = re.compile(
    r"-- (?P<name>\w+):(?:.*\n--)*?(?:.*\n)"
    r"-- in: (?P<in>(?:.*\n--  )*?.*)\n"
    r"-- out: (?P<out>(?:.*\n--  )*?.*)\n"
    r"-- lock: (?P<lock>(?:.*\n--  )*?.*)\n"
    r"-- plan: (?P<plan>.*)\n"
)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")


def quoted_schema(schema: str) -> str:
    """A schema's name as an SQL identifier. Raises InvalidUrl unless it is a plain lower-case word."""
    if not _SCHEMA.fullmatch(schema):
        raise InvalidUrl(f"schema={schema!r} is no plain name: a-z, 0-9 and _, at most 48 of them")
    return f'"{schema}"'


# ── the seam ──────────────────────────────────────────────────────────────────────────────────────


class Database(ABC):
    """What Tenuto asks of a database: run verbs, run them from a plain thread, tell hints and hear them."""

    migrates_itself: ClassVar = False  # whether opening it brings its tables up to date
    speaks: ClassVar[str]  # its name

    statements: Mapping[str, Statement]
    is_known: bool = False  # whether a connection that was lent found its tables to be of this version
    now: datetime | None = None  # a test's clock; None is the database's own

    async def run(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb in one transaction, again when it lost a race, and give back what it returns.

        Raises StorageUnavailable when the database does not answer (whether it was done is then not known),
        StorageBusy when others hold on to what it must change, and StorageRejected when the database refused the
        inputs (then nothing was done).
        """
        return await self._again(self._drive, verb, *args, **kwargs)

    async def read(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for a verb that only reads: it does not wait behind writes."""
        return await self._again(self._drive_read, verb, *args, **kwargs)

    async def _again(
        self, drive: Callable[[Verb[T]], Any], verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await drive(verb(*args, **kwargs))  # type: ignore[no-any-return]
            except LostRace as error:
                if attempt >= error.TRIES:
                    raise StorageBusy(f"others were first, {attempt} times in a row: {error}") from error
                telemetry.emit("storage.retry", attempt=attempt, error=error)
                await asyncio.sleep(random.random() * 0.005 * 2**attempt)

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises StorageUnavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection. Calling it twice is fine."""

    @abstractmethod
    def blocking(self) -> "Blocking":
        """A way to run verbs from a plain thread, ahead of what waits; connected at its first use."""

    @abstractmethod
    async def tell(self, hints: Sequence[Hint]) -> None:
        """Pass hints on to whoever else listens on this database. Best effort."""

    @abstractmethod
    async def hear(self, heard: Callable[[Hint], None]) -> None:
        """Call `heard` for each hint until cancelled. Raises StorageUnavailable when the line is cut."""

    @abstractmethod
    def before_fork(self) -> Callable[[bool], None]:
        """Make ready for a fork of this process. What comes back is called after it, told whether this is the child:
        that one may not use this database any more, and its parent goes on."""

    @property
    @abstractmethod
    def scripts(self) -> list[tuple[int, str]]:
        """The numbered migrations, each a text of several statements."""

    @abstractmethod
    async def migrate(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for a verb whose calls may also be the names of scripts: `schema/1`."""

    @abstractmethod
    async def _drive(self, verb: Verb[T]) -> T: ...

    @abstractmethod
    async def _drive_read(self, verb: Verb[T]) -> T: ...


class Blocking(ABC):
    """Verbs from a plain thread. Use it from one thread at a time."""

    @abstractmethod
    def run(self, verb: Callable[P, Verb[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb once; raises as Database.run does, and LostRace is not tried again."""

    @abstractmethod
    def close(self) -> None:
        """Let go of its connection, if it has one of its own."""
