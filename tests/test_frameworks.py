"""The examples of web frameworks, as real servers: what a request stores is there with its job or not at all, and an
answer is awaited in a request.
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
from collections.abc import Iterator
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
    """One of the examples, served: its web, and processes that work, or none yet."""

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

    def orders(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/orders").json()
        return found

    def confirmed(self) -> list[str]:
        """The articles of all orders, when all of them are confirmed."""
        return self.eventually(
            lambda: [order["article"] for order in self.orders() if order["confirmed"]],
            lambda articles: len(articles) == len(self.orders()),
        )

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


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def fastapi_shop(programs: ExitStack, database_url: str, tmp_path: Path) -> Shop:
    """The FastAPI example, which serves and works in one process."""
    run(tmp_path, database_url, "tenuto", "migrate")
    shop = Shop(programs, tmp_path, database_url, tmp_path)
    port = shop.address.rpartition(":")[2]
    command = ("uvicorn", "--app-dir", str(EXAMPLES), "--port", port, "fastapi_app:web")
    shop.serve("Uvicorn running", *command, TENUTO_QUEUES="default=10")
    return shop


@pytest.fixture
def flask_shop(programs: ExitStack, database_url: str, tmp_path: Path) -> Shop:
    """The Flask example, preloaded by gunicorn and forked twice, and nobody who works."""
    run(tmp_path, database_url, "tenuto", "migrate")
    run(EXAMPLES, database_url, "flask", "--app", "flask_app", "create-tables")
    shop = Shop(programs, EXAMPLES, database_url, tmp_path)
    command = ("gunicorn", "--preload", "--workers", "2", "--threads", "4", "--bind", shop.address, "flask_app:web")
    shop.serve("(?s)Booting worker.*Booting worker", *command)
    return shop


# ── FastAPI ───────────────────────────────────────────────────────────────────────────────────────


def test_fastapi_an_order_is_committed_with_its_job_which_runs(fastapi_shop):
    placed = fastapi_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    assert fastapi_shop.confirmed() == ["tea"]


def test_fastapi_an_order_that_is_refused_leaves_no_job(fastapi_shop):
    refused = fastapi_shop.post("/orders", article="tea", card="expired")

    assert refused.status_code == 402
    assert fastapi_shop.orders() == []
    assert fastapi_shop.jobs() == []


def test_fastapi_a_quote_is_awaited_in_the_request(fastapi_shop):
    asked = fastapi_shop.post("/quotes", article="tea", pieces=5)

    assert (asked.status_code, asked.json()["quote"]) == (200, {"article": "tea", "price": 15})


def test_fastapi_a_quote_that_takes_longer_is_asked_for_later_by_its_id(fastapi_shop):
    asked = fastapi_shop.post("/quotes", article="tea", pieces=5, haggle=2)

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
    flask_shop.work("flask_app")

    placed = flask_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    assert flask_shop.confirmed() == ["tea"]


def test_flask_an_order_that_is_refused_leaves_no_job(flask_shop):
    refused = flask_shop.post("/orders", article="tea", card="expired")

    assert refused.status_code == 409
    assert flask_shop.orders() == []
    assert flask_shop.jobs() == []


def test_flask_a_quote_is_awaited_in_each_process_that_was_forked(flask_shop):
    flask_shop.work("flask_app")

    asked = [flask_shop.post("/quotes", article="tea", pieces=pieces) for pieces in range(1, 9)]

    assert [answer.json()["quote"]["price"] for answer in asked] == [3, 6, 9, 12, 15, 18, 21, 24]


def test_flask_a_quote_that_takes_longer_is_asked_for_later_by_its_id(flask_shop):
    asked = flask_shop.post("/quotes", article="tea", pieces=5)  # nobody works yet
    flask_shop.work("flask_app")

    assert asked.status_code == 202
    later = flask_shop.eventually(
        lambda: flask_shop.get(asked.headers["Location"]), lambda answer: answer.status_code != 202
    )
    assert (later.status_code, later.json()["quote"]) == (200, {"article": "tea", "price": 15})


# ── Django ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def django_shop(programs: ExitStack, database_url: str, tmp_path: Path) -> Shop:
    """The Django example, served, and a process that works."""
    project = EXAMPLES / "django_project"
    run(project, database_url, "tenuto", "migrate")
    run(project, database_url, "manage", "migrate", "--run-syncdb")
    run(project, database_url, "manage", "check")
    shop = Shop(programs, project, database_url, tmp_path)
    shop.serve("Quit the server", "manage", "runserver", "--noreload", shop.address, PYTHONUNBUFFERED="1")
    shop.work("shop.work")
    return shop


def test_django_an_order_is_committed_with_its_job_and_its_task_which_run(django_shop):
    placed = django_shop.post("/orders", article="tea", card="good")

    assert placed.status_code == 201
    assert django_shop.confirmed() == ["tea"]
    receipt = django_shop.eventually(
        lambda: django_shop.get(f"/receipts/{placed.json()['receipt']}").json(), lambda told: told["text"] is not None
    )
    assert receipt == {"status": "SUCCESSFUL", "text": "Thank you for tea."}


def test_django_an_order_that_is_refused_leaves_no_job(django_shop):
    refused = django_shop.post("/orders", article="tea", card="expired")

    assert refused.status_code == 402
    assert django_shop.orders() == []
    assert django_shop.jobs() == []


def test_django_a_quote_is_awaited_in_the_request_or_asked_for_later(django_shop):
    at_once = django_shop.post("/quotes", article="tea", pieces=5)
    later = django_shop.post("/quotes", article="tea", pieces=6, haggle=2)

    assert (at_once.status_code, at_once.json()["quote"]["price"]) == (200, 15)
    assert later.status_code == 202
    found = django_shop.eventually(
        lambda: django_shop.get(later.headers["Location"]), lambda answer: answer.status_code != 202
    )
    assert found.json()["quote"]["price"] == 18
