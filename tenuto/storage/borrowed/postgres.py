"""PostgreSQL through a connection that is not ours: every input goes as text, whatever adapters or codecs it has."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

from tenuto.errors import StorageBusy, StorageRejected, StorageUnavailable, UnusableConnection
from tenuto.storage.borrowed.loan import NO_TABLES, WITHIN, Ask, Asking, Dialect, Scope, Standing
from tenuto.storage.database import Call, Database, Hint, Row, Statement
from tenuto.storage.postgres import Postgres

LOOK: Final = "select current_setting('lock_timeout')"
RESTORE: Final = "select set_config('lock_timeout', %(patience)s::text, true)"
TELL: Final = (
    "select pg_notify(%(channel)s::text, hint.value) from json_array_elements_text(%(hints)s::text::json) hint (value)"
)


def dialect_of(database: Database) -> Dialect:
    """How that database is spoken to."""
    assert isinstance(database, Postgres)
    return PostgresDialect(database)


class PostgresDialect(Dialect):
    """Our statements with their inputs as text, and what a caller's transaction must not keep of us: a lock_timeout."""

    scopes: ClassVar[Mapping[Standing, Scope]] = {
        Standing.INSIDE: WITHIN,
        Standing.BEFORE: WITHIN,
        Standing.OUTSIDE: Scope(["begin"], ["commit"], ["rollback"]),
    }

    def __init__(self, database: Postgres) -> None:
        self.database = database
        self._channel = database.channel

    def asked(self, statement: Statement, asked: Call) -> Ask:
        """The statement with a cast behind each input."""
        given = {
            name: _as_text(kind, self.database.now if name == "now" else asked.inputs[name])
            for name, kind in statement.inputs.items()
        }
        return Ask(_with_casts(statement.text, tuple(statement.inputs.items())), given)

    def answered(self, statement: Statement, rows: list[Row]) -> list[Row]:
        """The rows with uuids as text and instants in UTC, as drivers do not agree on them."""
        kinds = tuple(statement.outputs.values())
        if not any(kind in _READ for kind in kinds):
            return rows
        return [tuple(map(_read, kinds, row)) for row in rows]

    def enter(self) -> Asking[Any]:
        """How long the transaction waits for locks: our statements say so themselves."""
        rows = yield Ask(LOOK, {})
        return rows[0][0]

    def leave(self, found: Any, hints: Sequence[Hint]) -> Asking[None]:
        """Let it wait as long as before, and tell who listens, once it is committed."""
        yield Ask(RESTORE, {"patience": str(found)})
        if hints:
            told = [f"{hint.channel}:{hint.subject}" for hint in hints]
            yield Ask(TELL, {"channel": self._channel, "hints": json.dumps(told)})

    def translated(self, error: Exception) -> Exception:
        """By the server's code where there is one, else by what the driver says of itself."""
        code = str(getattr(error, "sqlstate", None) or "")
        said = f"PostgreSQL: {str(error).partition(chr(10))[0] or type(error).__name__}"
        if code in _BUSY:
            return StorageBusy(f"others hold the rows, or were first; roll back, and run the transaction again: {said}")
        if code in _UNUSABLE:
            return UnusableConnection(f"{_UNUSABLE[code]} ({said})")
        if code[:2] in {"22", "23", "54"} or isinstance(error, UnicodeError | OverflowError):
            return StorageRejected(said)
        if not code and type(error).__name__ in ("InterfaceError", "ProgrammingError"):
            return UnusableConnection(said)
        return StorageUnavailable(said)


_BUSY: Final = frozenset({"40001", "40P01", "55P03", "57014"})
_UNUSABLE: Final = {
    "25P02": "its transaction has failed already; roll it back first",
    "25006": "its transaction is read-only",
    "42501": "its user may not write into the tables of Tenuto",
    "3F000": NO_TABLES,
    "42P01": NO_TABLES,
    "42703": NO_TABLES,
}


# ── values ────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=512)
def _with_casts(text: str, inputs: tuple[tuple[str, str], ...]) -> str:
    kinds = dict(inputs)
    return _PLACEHOLDER.sub(
        lambda found: f"{found[0]}{_CASTS.get(kinds[found[1]], f'::text::{kinds[found[1]]}')}", text
    )


_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")
_CASTS: Final = {"text": "::text", "json": "::text"}  # a document's own cast follows


def _as_text(kind: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind.endswith("[]"):
        return "{" + ",".join('"' + _QUOTED.sub(r"\\\g<0>", str(each)) + '"' for each in value) + "}"
    return str(value)


_QUOTED: Final = re.compile(r'["\\]')


def _read(kind: str, value: Any) -> Any:
    return value if value is None or kind not in _READ else _READ[kind](value)


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise UnusableConnection(f"it was told to read instants as {type(value).__name__}; lend one that was not")
    return value.astimezone(UTC)


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {"uuid": str, "timestamptz": _instant}
