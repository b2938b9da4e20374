"""Address: the database that a URL names. The one place that knows which databases there are."""

from pathlib import Path

from tenuto.config import Config
from tenuto.errors import InvalidUrl, MissingExtra
from tenuto.storage.database import Database
from tenuto.storage.sqlite import SQLite


def open_database(config: Config) -> Database:
    """The database that the URL names, not yet connected. Raises InvalidUrl, MissingExtra, SQLiteTooOld."""
    scheme, _, rest = config.url.partition("://")
    if scheme == "sqlite":
        return _sqlite(rest, config)
    if scheme in ("postgres", "postgresql"):
        try:
            from tenuto.storage.postgres import Postgres
        except ImportError:
            raise MissingExtra("PostgreSQL", "postgres") from None
        return Postgres(
            config.url, schema=config.namespace, connections=config.connections, listen_url=config.listen_url
        )
    told = repr(scheme[:20]) if scheme.isalnum() and scheme != config.url else "something else"  # no secrets
    raise InvalidUrl(f"a URL begins with sqlite:/// or postgresql://, and this one with {told}")


def _sqlite(rest: str, config: Config) -> Database:
    path, _, options = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or not path or path.startswith(":memory"):
        raise InvalidUrl("an SQLite URL names a file: sqlite:///jobs.db, or sqlite:////var/lib/jobs.db")
    if options:
        name = options.partition("=")[0].partition("&")[0]  # never its value
        raise InvalidUrl(f"an SQLite URL takes no options, and this one has {name[:40]!r}; leave out all from the ? on")
    if "\0" in path:
        raise InvalidUrl("an SQLite URL names a file, and no name of a file holds a NUL")
    if config.namespace != "tenuto":
        raise InvalidUrl("schema= is for PostgreSQL; on SQLite give each app a file of its own")
    if config.listen_url is not None:
        raise InvalidUrl("listen_url= is for PostgreSQL; who works on an SQLite file looks at that file")
    return SQLite(Path(path))
