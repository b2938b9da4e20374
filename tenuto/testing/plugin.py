"""Plugin: fixtures for pytest, which finds it by itself where Tenuto is installed. Nothing else here imports pytest."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from functools import partial
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Final

import pytest

from tenuto.app import Tenuto
from tenuto.testing.clock import Clock
from tenuto.testing.faults import Faults
from tenuto.testing.temporary import temporary_app

SCOPES: Final = ("function", "class", "module", "package", "session")
INI: Final = "tenuto_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The setting that names a project's own app."""
    parser.addini(INI, "the app of this project, as module:name, for the fixture tenuto_app; without it, a new one")


@pytest.fixture
def tenuto_settings() -> dict[str, Any]:
    """The settings of `tenuto_app`, beside its temporary file. Give others by a fixture of the same name."""
    return {}


@pytest.fixture
def tenuto_app(request: pytest.FixtureRequest) -> Tenuto:
    """An open app on a temporary SQLite file: the project's own where the setting `tenuto_app` names it, or a new one.

    It works on no queue; `perform`, `drain` and `run_workflow` run its jobs. For async tests, of pytest-asyncio (on
    whichever loop) and of anyio on asyncio.
    """
    app: Tenuto = request.getfixturevalue(_door_for(request))
    return app


@pytest.fixture
def tenuto_clock(tenuto_app: Tenuto, request: pytest.FixtureRequest) -> Clock:
    """A clock for `tenuto_app`, which stands still until it is moved."""
    clock: Clock = request.getfixturevalue(_door_for(request).replace("_app_", "_clock_"))
    return clock


@pytest.fixture
def tenuto_faults() -> Generator[Faults]:
    """Faults that are gone after the test."""
    with Faults() as faults:
        yield faults


# ── one door for each kind of loop that a test may run on ─────────────────────────────────────────


def _app_door() -> Callable[..., AsyncGenerator[Tenuto]]:
    async def open_app(request: pytest.FixtureRequest, tenuto_settings: dict[str, Any]) -> AsyncGenerator[Tenuto]:
        async with temporary_app(_own_app(request.config), **tenuto_settings) as app:
            yield app

    return open_app


def _clock_door() -> Callable[..., AsyncGenerator[Clock]]:
    async def open_clock(tenuto_app: Tenuto) -> AsyncGenerator[Clock]:
        async with Clock(tenuto_app) as clock:
            yield clock

    return open_clock


def _own_app(config: pytest.Config) -> Tenuto | None:
    name = str(config.getini(INI))
    if not name:
        return None
    found = resolve_name(name)
    if not isinstance(found, Tenuto):
        raise pytest.UsageError(f"{INI} = {name} names a {type(found).__name__}, and no Tenuto")
    return found


def _door_for(request: pytest.FixtureRequest) -> str:
    """The fixture that opens an app on the loop of the test that asks."""
    if "anyio_backend" in request.fixturenames:
        return "_tenuto_app_anyio"
    mark = request.node.get_closest_marker("asyncio")
    if mark is None:
        pytest.fail("tenuto_app is for async tests; mark it for pytest-asyncio or anyio", pytrace=False)
    scope = mark.kwargs.get("loop_scope") or _usual_scope(request.config)
    return f"_tenuto_app_{scope}"


def _usual_scope(config: pytest.Config) -> str:
    return str(config.getini("asyncio_default_test_loop_scope") or "function")


class _Doors(ModuleType):
    """The fixtures behind `tenuto_app` and `tenuto_clock`, as a plugin of its own."""

    def __init__(self) -> None:
        super().__init__("tenuto_doors")
        self._add("anyio", pytest.fixture)
        with suppress(ImportError):  # without it, no test asks for these
            import pytest_asyncio

            for scope in SCOPES:
                self._add(scope, partial(pytest_asyncio.fixture, loop_scope=scope))

    def _add(self, kind: str, fixture: Callable[..., Any]) -> None:
        for what, door in (("app", _app_door()), ("clock", _clock_door())):
            name = f"_tenuto_{what}_{kind}"
            setattr(self, name, fixture(door, name=name))


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixtures for the loops that there can be."""
    config.pluginmanager.register(_Doors(), "tenuto-doors")
