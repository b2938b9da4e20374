"""Found: what a caller gave as `conn=`, recognised by where its type comes from, and a verb run on it."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from tenuto.errors import UnusableConnection
from tenuto.storage.borrowed.loan import Dialect, Line, ask, ask_async, lent
from tenuto.storage.database import Database, Hint, Verb

T = TypeVar("T")

TAKEN: Final = ("psycopg", "asyncpg", "sqlite3", "aiosqlite", "sqlalchemy", "django")


def line_to(conn: Any, database: Database) -> Line:
    """The line of a plain connection to that database. Raises UnusableConnection."""
    return _line_on(_below(conn), database)


async def line_to_async(conn: Any, database: Database) -> Line:
    """The line of a connection of either kind to that database. Raises UnusableConnection."""
    return _line_on(await _below_async(conn), database)


def run(line: Line, database: Database, verb: Verb[T], hints: Callable[[T], Sequence[Hint]]) -> T:
    """Run a verb in the transaction of a plain connection, on this thread; what it returns.

    The hints that follow from it travel in the transaction. Raises UnusableConnection, StorageBusy, StorageRejected
    and what the verb raises; then nothing was done, and the transaction is as it was.
    """
    return ask(line, lent(line, _dialect(database), verb, hints))


async def run_async(line: Line, database: Database, verb: Verb[T], hints: Callable[[T], Sequence[Hint]]) -> T:
    """Like `run`, for connections of both kinds; a plain one blocks the event loop for as long as it takes."""
    return await ask_async(line, lent(line, _dialect(database), verb, hints))


def _home(conn: Any) -> str:
    """The package that its type, or what that is made of, comes from, where it is one we know."""
    packages = (each.__module__.partition(".")[0] for each in type(conn).__mro__)
    return next((package for package in packages if package in TAKEN), "")


def _below(conn: Any) -> Any:
    """What a plain wrapper wraps; anything else is itself."""
    home = _home(conn)
    try:
        match home:
            case "sqlalchemy":
                from tenuto.storage.borrowed import sqlalchemy

                return sqlalchemy.below(conn)
            case "django":
                from tenuto.storage.borrowed import django

                return django.below(conn)
            case _:
                return conn
    except Exception as error:
        raise _cannot(home, error) from error


async def _below_async(conn: Any) -> Any:
    """What a wrapper wraps, an async one too; anything else is itself."""
    if _home(conn) == "sqlalchemy":
        from tenuto.storage.borrowed import sqlalchemy

        if sqlalchemy.is_async(conn):
            try:
                return await sqlalchemy.below_async(conn)
            except Exception as error:
                raise _cannot("sqlalchemy", error) from error
    return _below(conn)


def _cannot(home: str, error: Exception) -> UnusableConnection:
    if isinstance(error, UnusableConnection):
        return error
    return UnusableConnection(f"{home} says {type(error).__name__}: {str(error).partition(chr(10))[0]}")


def _line_on(connection: Any, database: Database) -> Line:
    line = _line_of(_home(connection), connection)
    if line.speaks != database.speaks:
        raise UnusableConnection(f"it is to {line.speaks}, and the app's database is {database.speaks}")
    return line


def _line_of(home: str, connection: Any) -> Line:
    match home:
        case "psycopg":
            from tenuto.storage.borrowed.psycopg import line_on
        case "asyncpg":
            from tenuto.storage.borrowed.asyncpg import line_on
        case "sqlite3":
            from tenuto.storage.borrowed.sqlite3 import line_on
        case "aiosqlite":
            from tenuto.storage.borrowed.aiosqlite import line_on
        case _:
            given = f"{type(connection).__module__}.{type(connection).__qualname__}"
            raise UnusableConnection(f"a {given} is not one of {', '.join(TAKEN)}")
    return line_on(connection)


def _dialect(database: Database) -> Dialect:
    if database.speaks == "SQLite":
        from tenuto.storage.borrowed.sqlite import dialect_of
    else:
        from tenuto.storage.borrowed.postgres import dialect_of
    return dialect_of(database)
