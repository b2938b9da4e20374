"""Where a run takes place: a fresh database with an audit of its own, and on PostgreSQL a server that can be killed."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from tests.servers import PostgresServer
from tests.storage.tables import look_into

CONVICTS = "select id from jobs where suspicions >= 2 and finished_at is null limit 1"


class Place(ABC):
    """One slot of the soak, used for one run after the other."""

    store: ClassVar[str]

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tenuto-soak-"))

    @property
    @abstractmethod
    def url(self) -> str:
        """The database of the run under way."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The database's own version, in words."""

    @property
    def server(self) -> PostgresServer | None:
        """What can be killed beside the worker."""
        return None

    @abstractmethod
    def clear(self) -> None:
        """Leave nothing of the run before."""

    @abstractmethod
    def has_convict(self) -> bool:
        """Whether an unfinished job has been suspected twice, or that cannot be seen now."""

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """A look into the tables."""
        with look_into(self.url) as tables:
            return tables.rows(statement)

    def keep_for(self, seed: str) -> Path:
        """Put a failed run's files aside."""
        kept = Path(tempfile.mkdtemp(prefix=f"tenuto-soak-{seed}-"))
        shutil.copytree(self.folder, kept, dirs_exist_ok=True)
        return kept

    def close(self) -> None:
        """Leave nothing at all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _empty_folder(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


class SQLitePlace(Place):
    """A file."""

    store = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self._file}"

    @property
    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def clear(self) -> None:
        self._empty_folder()

    def has_convict(self) -> bool:
        try:
            with closing(sqlite3.connect(self._file, timeout=0.1)) as connection:
                return connection.execute(CONVICTS).fetchone() is not None
        except sqlite3.OperationalError:  # the worker was halted with a lock in its hand
            return True

    @property
    def _file(self) -> Path:
        return self.folder / "jobs.db"


class PostgresPlace(Place):
    """A server of its own, crash-safe."""

    store = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self._server = PostgresServer(settings={"max_wal_size": "64MB"})
        try:
            self._server.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def server(self) -> PostgresServer:
        return self._server

    @property
    def version(self) -> str:
        with psycopg.connect(self.url) as connection:
            number = connection.info.server_version
        return f"PostgreSQL {number // 10000}.{number % 10000}"

    def clear(self) -> None:
        self._empty_folder()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("drop schema if exists tenuto cascade")

    def has_convict(self) -> bool:
        return bool(self.rows(CONVICTS))

    def close(self) -> None:
        self._server.close()
        super().close()


PLACES: dict[str, type[Place]] = {place.store: place for place in (SQLitePlace, PostgresPlace)}
