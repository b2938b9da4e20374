"""The way in: one command opens the app, asks it one thing, and closes it; errors become helpful exits."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import typer

from tenuto.app import Tenuto
from tenuto.cli.output import note
from tenuto.errors import ConfigError, TenutoError

T = TypeVar("T")

BROKEN: Final = 1  # what was asked about is not well: a workflow failed, the doctor found something
REFUSED: Final = 2  # it could not be asked
INTERRUPTED: Final = 130


def settings(context: typer.Context) -> Mapping[str, Any]:
    """What the global options say; None for what they leave to the environment and the files."""
    found: Mapping[str, Any] = context.find_root().obj or {}
    return found


@contextmanager
def helpful() -> Generator[None]:
    """Tell an error of Tenuto's in a line or two and leave with code 2, without a traceback."""
    try:
        yield
    except TenutoError as error:
        note(str(error))
        raise typer.Exit(REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def ask(context: typer.Context, act: Callable[[Tenuto], Awaitable[T]], app: Tenuto | None = None) -> T:
    """What `act` makes of the open app, which works on no queue: one made of the settings, or `app` with these on top.

    Leaves with code 2 for an error of Tenuto's.
    """
    with helpful():
        if app is None:
            app = Tenuto(**settings(context), queues={})
        else:
            app.configure(**settings(context), queues={})
        _refuse_to_create(app)
        return asyncio.run(_within(app, act))


async def _within(app: Tenuto, act: Callable[[Tenuto], Awaitable[T]]) -> T:
    async with app:
        return await act(app)


def _refuse_to_create(app: Tenuto) -> None:
    """Whoever asks about jobs in the wrong folder should hear that, rather than find an empty database there."""
    file = app.config.file
    if file is not None and not file.exists():
        raise ConfigError(f"there is no database at {file}; name one with --url or TENUTO_URL, or run: tenuto migrate")
