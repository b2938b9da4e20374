"""The plugin in a project of its own: pytest finds it by itself, on either runner of async tests."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.test_house import ROOT

APP = """
from tenuto import Tenuto, job

app = Tenuto("sqlite:///production.db", queues={"default": 10})


@job
async def greet(name: str) -> str:
    return f"Hello {name}"


async def sign_up(name: str) -> None:
    await app.enqueue(greet.options(schedule_in=60).new(name))
"""
NEW = """
import pytest
from shop import greet
from tenuto.testing import assert_enqueued, drain, perform

{mark}

async def test_it_is_open_and_empty(tenuto_app):
    await tenuto_app.enqueue(greet.new("ada"))
    await assert_enqueued(tenuto_app, worker=greet, count=1)
    assert (await drain(tenuto_app)).runs[0].value == "Hello ada"

async def test_each_test_has_its_own(tenuto_app):
    assert await tenuto_app.find() == []

@pytest.fixture
async def enqueued(tenuto_app):
    yield await tenuto_app.enqueue(greet.new("bob"))

async def test_other_fixtures_may_use_it(enqueued, tenuto_app):
    assert (await perform(enqueued, app=tenuto_app)).value == "Hello bob"

async def test_its_clock_moves(tenuto_app, tenuto_clock, tenuto_faults):
    await tenuto_app.enqueue(greet.options(schedule_in=60).new("eve"))
    await tenuto_clock.advance(60)
    tenuto_faults.fail(greet)
    assert (await drain(tenuto_app, retries=True)).counts == {{"failed": 1, "completed": 1}}
"""
OWN = """
import pytest
from shop import app, greet, sign_up
from tenuto.testing import assert_enqueued, run_workflow

async def test_the_code_under_test_uses_its_own_app(tenuto_app):
    assert tenuto_app is app
    await sign_up("ada")
    await assert_enqueued(app, worker=greet, args={"name": "ada"}, state="scheduled")

def test_it_is_as_it_was_between_tests():
    assert app.config.url == "sqlite:///production.db"
    assert app.config.queues == {"default": 10}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


def run(project: Path, tests: str, *settings: str, flags: tuple[str, ...] = ()) -> str:
    """What pytest says of the tests of a project, which has nothing of ours in its settings."""
    (project / "test_shop.py").write_text(tests)
    scope = "asyncio_default_fixture_loop_scope"  # pytest-asyncio wants to be told
    usual = [] if any(scope in setting for setting in settings) or "no:asyncio" in flags else [f"{scope} = function"]
    lines = ["[pytest]", "pythonpath = .", "filterwarnings = error", *usual, *settings]
    (project / "pytest.ini").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", *installed(), *flags]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


def installed() -> list[str]:
    """Nothing where Tenuto was installed with its plugin; in an older environment, the plugin by its name."""
    found = any(point.value == "tenuto.testing.plugin" for point in entry_points(group="pytest11"))
    return [] if found else ["-p", "tenuto.testing.plugin"]


def test_pytest_is_told_of_it():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]

    assert told == {"tenuto": "tenuto.testing.plugin"}


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_its_app_is_open_on_the_loop_of_the_test(project, scope):
    mark = f"pytestmark = pytest.mark.asyncio(loop_scope={scope!r})"
    mode = ("asyncio_mode = auto", f"asyncio_default_fixture_loop_scope = {scope}")

    assert "4 passed" in run(project, NEW.format(mark=mark), *mode)


def test_the_usual_loop_of_tests_is_taken_from_the_settings(project):
    scope = [f"asyncio_default_{what}_loop_scope = module" for what in ("test", "fixture")]

    assert "4 passed" in run(project, NEW.format(mark=""), "asyncio_mode = auto", *scope)


def test_it_works_where_pytest_asyncio_wants_marks(project):
    tests = NEW.format(mark="import pytest_asyncio\npytestmark = pytest.mark.asyncio")
    tests = tests.replace("@pytest.fixture\nasync", "@pytest_asyncio.fixture\nasync")

    assert "4 passed" in run(project, tests, "asyncio_mode = strict")


@pytest.mark.parametrize("flags", [(), ("-p", "no:asyncio")])
def test_it_works_with_anyio(project, flags):
    mark = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n\npytestmark = pytest.mark.anyio"

    assert "4 passed" in run(project, NEW.format(mark=mark), flags=flags)


def test_the_projects_own_app_is_put_on_a_file_of_the_test(project):
    said = run(project, OWN, "asyncio_mode = auto", "tenuto_app = shop:app")

    assert "2 passed" in said
    assert not (project / "production.db").exists()


def test_a_setting_that_names_something_else_is_told(project):
    said = run(project, OWN, "asyncio_mode = auto", "tenuto_app = shop:greet")

    assert "tenuto_app = shop:greet names a FunctionWorker, and no Tenuto" in said


def test_its_settings_can_be_given(project):
    tests = """
import pytest

@pytest.fixture
def tenuto_settings():
    return {"name": "mine", "sizes": {"args": 100}}

async def test_they_hold(tenuto_app):
    assert (tenuto_app.name, tenuto_app.config.sizes.args) == ("mine", 100)
"""

    assert "1 passed" in run(project, tests, "asyncio_mode = auto")


def test_a_test_that_is_not_async_is_told_so(project):
    said = run(project, "def test_it(tenuto_app): ...", "asyncio_mode = auto")

    assert "tenuto_app is for async tests; mark it for pytest-asyncio or anyio" in said


def test_a_failed_assertion_points_at_the_test(project):
    tests = """
from shop import greet
from tenuto.testing import assert_enqueued

async def test_it(tenuto_app):
    await tenuto_app.enqueue(greet.new("ada"))
    await assert_enqueued(tenuto_app, worker=greet, args={"name": "bob"})
"""
    said = run(project, tests, "asyncio_mode = auto")

    assert "E       AssertionError: no job is enqueued with worker='shop.greet', args={'name': 'bob'}" in said
    assert "<- args.name is 'ada'" in said
    assert "testing/enqueued.py" not in said
