"""Loan: a verb run on a connection that a caller lends, inside the caller's transaction, all of it or nothing.

Whatever the verb raises, the transaction goes on as it was before. Where there is none, and every statement would
commit itself, the verb runs in one of its own. It is never tried again: that is its owner's to do.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, TypeVar

from tenuto.errors import NotMigrated, StorageBusy, TenutoError, UnusableConnection
from tenuto.storage.database import Call, Database, Hint, LostRace, Row, Statement, Verb
from tenuto.storage.upkeep import check_schema

T = TypeVar("T")

SAVEPOINT: Final = "tenuto_borrowed"
NO_TABLES: Final = "its database has not the tables of this app: is it another one, or was `tenuto migrate` not run?"


class Standing(Enum):
    """How a connection stands to transactions."""

    INSIDE = "one is open"
    BEFORE = "none is; the next statement begins one, which its owner ends"
    OUTSIDE = "none is; each statement commits itself"


class Ask(NamedTuple):
    """One statement in the words of a database. Without inputs it is a command, and answers nothing."""

    text: str
    inputs: Mapping[str, Any] | None = None


Asking: TypeAlias = Generator[Ask, list[Row], T]
"""What is asked of a lent connection, one after the other; what it raises is thrown in."""


class Line(ABC):
    """A connection that a caller lends: what a driver's must do."""

    speaks: ClassVar[str]
    is_async: ClassVar[bool] = False

    @property
    @abstractmethod
    def standing(self) -> Standing:
        """How it stands now. Raises UnusableConnection where nothing can be asked of it."""

    @property
    def is_inside(self) -> bool:
        """Whether a transaction is open on it, asked from anywhere: also while its owner uses it or has closed it."""
        try:
            return self._is_inside
        except Exception:  # noqa: BLE001 - closed, or given back to its pool, as each driver says it: that ended it
            return False

    @property
    @abstractmethod
    def _is_inside(self) -> bool:
        """As the driver says; it may raise where the connection is gone."""

    @abstractmethod
    def execute(self, asked: Ask) -> "list[Row] | Awaitable[list[Row]]":
        """Its rows as plain tuples; an async connection's are to be awaited. The connection stays as it is set up."""


class Scope(NamedTuple):
    """The commands around a verb."""

    enter: Sequence[str]
    leave: Sequence[str]
    undo: Sequence[str]


WITHIN: Final = Scope(
    [f"savepoint {SAVEPOINT}"],
    [f"release savepoint {SAVEPOINT}"],
    [f"rollback to savepoint {SAVEPOINT}", f"release savepoint {SAVEPOINT}"],
)


class Dialect(ABC):
    """How one of the two databases is spoken to through a connection that is not ours."""

    scopes: ClassVar[Mapping[Standing, Scope]]
    database: Database

    @abstractmethod
    def asked(self, statement: Statement, asked: Call) -> Ask:
        """One statement of a verb, with its inputs."""

    @abstractmethod
    def answered(self, statement: Statement, rows: list[Row]) -> list[Row]:
        """Its rows as verbs expect them."""

    @abstractmethod
    def enter(self) -> Asking[Any]:
        """What is asked before a verb. Raises UnusableConnection for a connection to something else."""

    @abstractmethod
    def leave(self, found: Any, hints: Sequence[Hint]) -> Asking[None]:
        """What is asked after it: the `hints` travel in the transaction, and what `enter` found is restored."""

    @abstractmethod
    def translated(self, error: Exception) -> Exception:
        """A driver's error as Tenuto's tree says it."""


def lent(line: Line, dialect: Dialect, verb: Verb[T], hints: Callable[[T], Sequence[Hint]]) -> Asking[T]:
    """Run a verb on the line, and tell what follows from it. An error takes back what it wrote, and nothing else."""
    try:
        scope = dialect.scopes[line.standing]
    except Exception as error:
        raise _told(dialect, error) from error
    try:
        yield from _commands(scope.enter)
        found = yield from dialect.enter()
        if not dialect.database.is_known:
            yield from _spoken(dialect, check_schema("tenuto migrate"))
            dialect.database.is_known = True
        value = yield from _spoken(dialect, verb)
        yield from dialect.leave(found, hints(value))
        yield from _commands(scope.leave)
    except GeneratorExit:  # nobody asks any more
        raise
    except BaseException as error:
        for command in scope.undo:
            with suppress(Exception):  # the connection is gone, and so is what was written
                yield Ask(command)
        if isinstance(error, Exception):
            raise _told(dialect, error) from error.__cause__ or error
        raise
    return value


def _commands(commands: Sequence[str]) -> Asking[None]:
    for command in commands:
        yield Ask(command)


def _spoken(dialect: Dialect, verb: Verb[T]) -> Asking[T]:
    """The calls of a verb, in the words of the database."""
    try:
        asked = next(verb)
        while True:
            statement = dialect.database.statements[asked.name]
            rows = yield dialect.asked(statement, asked)
            asked = verb.send(dialect.answered(statement, rows) if statement.outputs else [])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _told(dialect: Dialect, error: Exception) -> Exception:
    if isinstance(error, NotMigrated) and error.found is None:
        return UnusableConnection(NO_TABLES)
    known = error if isinstance(error, TenutoError) else dialect.translated(error)
    if isinstance(known, LostRace):
        return StorageBusy(f"others were first; roll back, and run the transaction again: {known}")
    return known


# ── who asks ──────────────────────────────────────────────────────────────────────────────────────


def ask(line: Line, asking: Asking[T]) -> T:
    """Ask a plain connection, on this thread."""
    if line.is_async:
        asking.close()
        raise UnusableConnection("it is for async code, and this is none; lend a plain one, or await the async verb")
    try:
        asked = next(asking)
        while True:
            try:
                rows: Any = line.execute(asked)
            except BaseException as error:  # noqa: BLE001 - it is the asking's to handle
                asked = asking.throw(error)
            else:
                asked = asking.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def ask_async(line: Line, asking: Asking[T]) -> T:
    """Ask a connection of either kind; a plain one blocks the event loop for as long as it takes."""
    try:
        asked = next(asking)
        while True:
            try:
                rows: Any = line.execute(asked)
                if line.is_async:
                    rows = await rows
            except BaseException as error:  # noqa: BLE001 - it is the asking's to handle, a cancel too
                asked = asking.throw(error)
            else:
                asked = asking.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
