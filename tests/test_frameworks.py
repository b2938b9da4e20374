"""The examples of web frameworks, as real servers: what a request stores is there with its job or not at all, and an
answer is awaited in a request. Each is served once for all its tests, so each test orders something else.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenuto import Tenuto

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
WITHIN = 60  # seconds; a machine may be busy

pytestmark = pytest.mark.timeout(300)


# ── servers ───────────────────────────────────────────────────────────────────────────────────────


def environment(url: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TENUTO_URL": url, **more}


def run(folder: Path, url: str, *command: str) -> str:
    """Run a Python module as a program to its end; what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, env=environment(url), capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@contextmanager
def process(folder: Path, url: str, log: Path, *command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module as a program, until SIGTERM; what it says goes to the log."""
    with log.open("wb") as told:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder, env=environment(url, **more), stdout=told, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(WITHIN)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
            raise AssertionError(f"it did not end: {log.read_text()}") from None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def said(log: Path, pattern: str, started: subprocess.Popen[bytes]) -> None:
    """Wait until a program has said this."""
    until = time.monotonic() + WITHIN
    while not re.search(pattern, log.read_text()):
        assert started.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


class Shop:
    """One of the examples, served: its web, and whoever works."""

    def __init__(self, programs: ExitStack, folder: Path, url: str, scratch: Path) -> None:
        self._programs, self._folder, self._url, self._scratch = programs, folder, url, scratch
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._web = programs.enter_context(httpx.Client(base_url=f"http://{self.address}", timeout=WITHIN))

    def serve(self, ready: str, *command: str, **more: str) -> None:
        """Start its server, and wait until it says that it is ready."""
        self._start("web.log", ready, *command, **more)

    def work(self, module: str, **more: str) -> None:
        """Start a process that works."""
        self._start("work.log", '"event": ?"work"|work ', "tenuto", "work", module, "--json-logs", **more)

    def _start(self, name: str, ready: str, *command: str, **more: str) -> None:
        log = self._scratch / name
        said(log, ready, self._programs.enter_context(process(self._folder, self._url, log, *command, **more)))

    def post(self, path: str, **fields: Any) -> httpx.Response:
        return self._web.post(path, json=fields)

    def get(self, path: str) -> httpx.Response:
        return self._web.get(path)

    def confirmed(self, article: str) -> list[bool]:
        """Of each order for that article, whether its job has run."""
        return [order["confirmed"] for order in self.get("/orders").json() if order["article"] == article]

    def quote(self, **asked: Any) -> Any:
        """A quote that came in its request; one that took longer than that waits, as on a busy machine, is asked for
        anew."""
        return self.eventually(lambda: self.post("/quotes", **asked), lambda answer: answer.status_code == 200).json()

    def eventually(self, ask: Any, is_right: Any) -> Any:
        until = time.monotonic() + WITHIN
        while not is_right(found := ask()):
            assert time.monotonic() < until, found
            time.sleep(0.05)
        return found

    def jobs(self) -> list[str]:
        """The workers of all jobs that are stored, as another process sees them."""

        async def find() -> list[str]:
            async with Tenuto(self._url) as app:
                return sorted(job.worker.rpartition(".")[2] for job in await app.find())

        return asyncio.run(find())


Place = tuple[str, Path]
"""The URL of a migrated database, and a folder for what is said there."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def own_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Place]]:
    """A place for one shop alone, as often as asked."""
    with ExitStack() as kept:

        def make() -> Place:
            scratch = tmp_path_factory.mktemp("shop")
            url = f"sqlite:///{scratch / 'jobs.db'}"
            if request.param == "postgres":
                url = kept.enter_context(request.getfixturevalue("postgres").database())
            run(scratch, url, "tenuto", "migrate")
            return url, scratch

        yield make


@pytest.fixture(scope="module")
def programs(own_place: Callable[[], Place]) -> Iterator[ExitStack]:
    """What runs; it ends before the databases do."""
    with ExitStack() as found:
        yield found


@pytest.fixture(scope="module")
def fastapi_shop(programs: ExitStack, own_place: Callable[[], Place]) -> Shop:
    """The FastAPI example, which serves and works in one process."""
    url, scratch = own_place()
    shop = Shop(programs, scratch, url, scratch)
    port = shop.address.rpartition(":")[2]
    command = ("uvicorn", "--app-dir", str(EXAMPLES), "--port", port, "fastapi_app:web")
    shop.serve("Uvicorn running", *command, TENUTO_QUEUES="default=10")
    return shop


@pytest.fixture(scope="module")
def flask_shop(programs: ExitStack, own_place: Callable[[], Place]) -> Shop:
    """The Flask example, preloaded by gunicorn and forked twice, and a process that works."""
    url, scratch = own_place()
    run(EXAMPLES, url, "flask", "--app", "flask_app", "create-tables")
    shop = Shop(programs, EXAMPLES, url, scratch)
    command = ("gunicorn", "--preload", "--workers", "2", "--threads", "4", "--bind", shop.address, "flask_app:web")
    shop.serve("(?s)Booting worker.*Booting worker", *command)
    shop.work("flask_app")
    return shop


# ── FastAPI ───────────────────────────────────────────────────────────────────────────────────────


def test_fastapi_an_order_is_committed_with_its_job_which_runs(fastapi_shop):
    placed = fastapi_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    fastapi_shop.eventually(lambda: fastapi_shop.confirmed("tea"), [True].__eq__)


def test_fastapi_an_order_that_is_refused_leaves_no_job(fastapi_shop):
    before = fastapi_shop.jobs()

    refused = fastapi_shop.post("/orders", article="coffee", card="expired")

    assert refused.status_code == 402
    assert fastapi_shop.confirmed("coffee") == []
    assert fastapi_shop.jobs() == before


def test_fastapi_a_quote_is_awaited_in_the_request(fastapi_shop):
    assert fastapi_shop.quote(article="tea", pieces=5)["quote"] == {"article": "tea", "price": 15}


def test_fastapi_a_quote_that_takes_longer_is_asked_for_later_by_its_id(fastapi_shop):
    asked = fastapi_shop.post("/quotes", article="tea", pieces=5, haggle=1.5)

    assert asked.status_code == 202
    later = fastapi_shop.eventually(
        lambda: fastapi_shop.get(asked.headers["Location"]), lambda answer: answer.status_code != 202
    )
    assert (later.status_code, later.json()["quote"]) == (200, {"article": "tea", "price": 15})


def test_fastapi_the_id_of_another_job_gives_no_quote(fastapi_shop):
    order = fastapi_shop.post("/orders", article="tea", card="good").json()

    assert fastapi_shop.get(f"/quotes/{order['job']}").status_code == 404
    assert fastapi_shop.get("/quotes/01900000-0000-7000-8000-000000000000").status_code == 404


# ── Flask ─────────────────────────────────────────────────────────────────────────────────────────


def test_flask_an_order_is_committed_with_its_job_which_runs(flask_shop):
    placed = flask_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    flask_shop.eventually(lambda: flask_shop.confirmed("tea"), [True].__eq__)


def test_flask_an_order_that_is_refused_leaves_no_job(flask_shop):
    before = flask_shop.jobs()

    refused = flask_shop.post("/orders", article="coffee", card="expired")

    assert refused.status_code == 409
    assert flask_shop.confirmed("coffee") == []
    assert flask_shop.jobs() == before


def test_flask_a_quote_is_awaited_in_each_process_that_was_forked(flask_shop):
    told = [flask_shop.quote(article="tea", pieces=pieces) for pieces in range(1, 9)]

    assert [one["quote"]["price"] for one in told] == [3, 6, 9, 12, 15, 18, 21, 24]


def test_flask_a_quote_that_takes_longer_is_asked_for_later_by_its_id(flask_shop):
    asked = flask_shop.post("/quotes", article="tea", pieces=5, haggle=1.5)

    assert asked.status_code == 202
    later = flask_shop.eventually(
        lambda: flask_shop.get(asked.headers["Location"]), lambda answer: answer.status_code != 202
    )
    assert (later.status_code, later.json()["quote"]) == (200, {"article": "tea", "price": 15})


# ── Django ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def django_shop(programs: ExitStack, own_place: Callable[[], Place]) -> Shop:
    """The Django example, served, and a process that works."""
    url, scratch = own_place()
    project = EXAMPLES / "django_project"
    run(project, url, "manage", "migrate", "--run-syncdb")  # and checks it first
    shop = Shop(programs, project, url, scratch)
    shop.serve("Quit the server", "manage", "runserver", "--noreload", shop.address, PYTHONUNBUFFERED="1")
    shop.work("shop.work")
    return shop


def test_django_an_order_is_committed_with_its_job_and_its_task_which_run(django_shop):
    placed = django_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    django_shop.eventually(lambda: django_shop.confirmed("tea"), [True].__eq__)
    receipt = django_shop.eventually(
        lambda: django_shop.get(f"/receipts/{placed.json()['receipt']}").json(), lambda told: told["text"] is not None
    )
    assert receipt == {"status": "SUCCESSFUL", "text": "Thank you for tea."}


def test_django_an_order_that_is_refused_leaves_no_job(django_shop):
    before = django_shop.jobs()

    refused = django_shop.post("/orders", article="coffee", card="expired")

    assert refused.status_code == 402
    assert django_shop.confirmed("coffee") == []
    assert django_shop.jobs() == before


def test_django_a_quote_is_awaited_in_the_request_or_asked_for_later(django_shop):
    at_once = django_shop.quote(article="tea", pieces=5)
    later = django_shop.post("/quotes", article="tea", pieces=6, haggle=1.5)

    assert at_once["quote"]["price"] == 15
    assert later.status_code == 202
    found = django_shop.eventually(
        lambda: django_shop.get(later.headers["Location"]), lambda answer: answer.status_code != 202
    )
    assert found.json()["quote"]["price"] == 18
