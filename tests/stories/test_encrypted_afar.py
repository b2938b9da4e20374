"""Encrypted workers whose jobs run elsewhere: sealed on the way to somebody's executor and back, and at rest."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import pytest

from tenuto import Job, KeyRing, Workflow
from tenuto.definition import _registry
from tenuto.job import COMPLETED, DISCARDED
from tenuto.opening import encryption_of
from tenuto.outcome import Record
from tenuto.runtime.places.parcel import pack_answer, pack_outcome, unpack_answer
from tests.conftest import OpenApp
from tests.kit import drain, finish, result_of
from tests.storage.tables import look_into
from tests.stories import vaults_afar as vaults
from tests.stories.test_endings import ended

AnyJob = Job[Any, Any]
SECRET = "DE02-1203-0000-0000"
FORMS = {SECRET.encode(), SECRET.encode().hex().encode(), b64encode(SECRET.encode())[:20], SECRET.encode("utf-16-le")}


class Wire(Executor):
    """Runs what it is given at once, and keeps what goes there and what comes back."""

    def __init__(self, change: Callable[[str], str] = str) -> None:
        self.seen: list[bytes] = []
        self._change = change

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.seen.append(pickle.dumps(act))
        answer = self._change(pickle.loads(self.seen[-1])())
        self.seen.append(pickle.dumps(answer))
        future: Future[Any] = Future()
        future.set_result(answer)
        return future


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new key, which no earlier answer of the provider holds; and nobody has asked for it in this process."""
    monkeypatch.setenv("VAULT_KEY", KeyRing.new_key())
    forget_keys()
    yield
    vaults.heard.clear()
    forget_keys()


def forget_keys() -> None:
    """As in a process that has just begun."""
    for name in (name for name in _registry if name.startswith("afar.vault")):
        encryption = encryption_of(name)
        assert encryption is not None
        encryption._ring = None


async def test_nothing_of_it_is_in_the_clear_on_the_way(open_app: OpenApp, database_url: str):
    wire = Wire()
    app = await open_app(queues={"pool": 2}, executors={"pool": wire})
    flow = Workflow()
    flow.add("first", vaults.vault.new(SECRET))
    flow.add("second", vaults.on_pool.new(SECRET), deps=["first"])

    await finish(app, flow)

    found = await result_of(app, flow, "second")
    assert (found["secret"], found["read"]) == (SECRET, {"first": {"kept": SECRET}})
    assert found["errors"] == [f"no {SECRET}"]
    assert (await app.recorded(flow.jobs["second"]))["secret"] == SECRET
    assert len(wire.seen) == 4
    assert not [form for form in FORMS for sent in wire.seen if form in sent]
    with look_into(database_url) as tables:
        assert SECRET not in str(tables.all())


async def test_a_real_executor_has_the_keys_of_the_module_it_imports(open_app: OpenApp):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        app = await open_app(queues={"pool": 2}, executors={"pool": processes})
        made = await app.enqueue(vaults.on_pool.new(SECRET))
        found = await ended(app, made)

        assert found.state is COMPLETED
        kept = await app.recorded(found)
        assert kept["pid"] != os.getpid()
        assert kept["secret"] == SECRET


def in_the_clear(answer: str) -> str:
    return pack_answer(unpack_answer(answer)._replace(outcome=pack_outcome(Record("forged"))))


def altered(answer: str) -> str:
    sealed = unpack_answer(answer).outcome
    at = len(sealed) // 2
    return pack_answer(
        unpack_answer(answer)._replace(outcome=sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :])
    )


@pytest.mark.parametrize(("change", "error"), [(in_the_clear, "NotSealed"), (altered, "SealBroken")])
async def test_an_answer_that_nobody_with_the_keys_gave_is_refused(open_app: OpenApp, change: Any, error: str):
    app = await open_app(queues={"pool": 2}, executors={"pool": Wire(change)})

    found = await ended(app, await app.enqueue(vaults.Sealing.options(max_attempts=1).new({"secret": SECRET})))

    assert (found.state, found.errors[-1].type) == (DISCARDED, error)


async def test_an_answer_of_another_attempt_is_refused(open_app: OpenApp):
    answers: list[str] = []

    def replay(answer: str) -> str:
        answers.append(answer)
        return answers[0]

    app = await open_app(queues={"pool": 2}, executors={"pool": Wire(replay)})

    found = await ended(app, await app.enqueue(vaults.on_pool.new(SECRET)))

    assert [failure.type for failure in found.errors] == ["LookupError", "SealBroken"]


async def test_hooks_there_see_the_args_as_the_process_does(open_app: OpenApp):
    app = await open_app(queues={"pool": 2}, executors={"pool": Wire()})

    await app.enqueue(vaults.Sealing.new({"secret": SECRET}))
    await drain(app)

    assert vaults.heard == [("complete", SECRET, SECRET)]


async def test_keys_that_are_not_there_fail_the_attempt_and_say_so(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch):
    class Elsewhere(Wire):
        """Its processes have no key."""

        def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            key = os.environ.pop("VAULT_KEY")
            forget_keys()
            try:
                return super().submit(act, *args, **kwargs)
            finally:
                os.environ["VAULT_KEY"] = key

    app = await open_app(queues={"pool": 2}, executors={"pool": Elsewhere()})

    found = await ended(app, await app.enqueue(vaults.Sealing.options(max_attempts=1).new({"secret": SECRET})))

    assert (found.state, found.errors[-1].type) == (DISCARDED, "KeyError")
    assert vaults.heard == []


# ── in a process of its own ───────────────────────────────────────────────────────────────────────


async def test_what_a_child_returns_is_sealed_by_a_node_that_stored_nothing(open_app: OpenApp, database_url: str):
    app = await open_app(queues={"vault": 2})
    flow = Workflow()
    flow.add("only", vaults.in_process.new(SECRET))
    await app.enqueue(flow)
    forget_keys()

    await app.workflow(flow.id).wait(timeout=20)

    assert (await result_of(app, flow, "only"))["secret"] == SECRET
    assert (await app.recorded(flow.jobs["only"]))["secret"] == SECRET
    with look_into(database_url) as tables:
        assert SECRET not in str(tables.all())


async def test_what_a_child_raises_is_sealed_and_can_be_opened(open_app: OpenApp, database_url: str):
    app = await open_app(queues={"vault": 2})
    made = await app.enqueue(vaults.fails_in_process.new(SECRET))
    forget_keys()

    found = await ended(app, made)

    assert (await app.opened(found)).errors[-1].message == f"no {SECRET}"
    with look_into(database_url) as tables:
        assert SECRET not in str(tables.all())
