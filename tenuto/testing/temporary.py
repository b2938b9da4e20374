"""Temporary: an open app on a store of its own, which is gone afterwards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tenuto.app import Tenuto


@asynccontextmanager
async def temporary_app(app: Tenuto | None = None, **settings: Any) -> AsyncGenerator[Tenuto]:
    """A new app, open, on a temporary SQLite file; or your own `app`, put there for as long as the block lasts.

    It works on no queue: `drain` and the like run its jobs when a test wants them to. `settings` are those of Tenuto's
    constructor; with a `url` it is that database, whose tables are made. Raises ConfigError for an app that is open.
    """
    with TemporaryDirectory(prefix="tenuto-", ignore_cleanup_errors=True) as folder:
        given: dict[str, Any] = {"url": f"sqlite:///{Path(folder) / 'jobs.db'}", "queues": {}, **settings}
        before = None if app is None else app.config.model_dump(by_alias=True)
        if app is None:
            app = Tenuto(**given)
        else:
            app.configure(**given)
        try:
            await app.migrate()
            async with app:
                yield app
        finally:
            if before is not None:
                app.configure(**before)
