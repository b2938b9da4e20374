"""Values that no database likes: refused clearly or stored safely, and the queue never stops."""

from typing import Any

import pytest

from tenuto import Job, Tenuto, Workflow, job
from tenuto.errors import InvalidArgs, TooLarge
from tenuto.job import COMPLETED, DISCARDED
from tests.kit import Obey, drain, finish, result_of


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


STORED = {
    "NUL": "a\0b",
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a large integer": 10**3999,
    "depth": deep(90),
    "5 MB": "x" * 5_000_000,
    "an emoji": "🎼",
}
REFUSED = {
    "a lone surrogate": "a\ud800b",
    "an integer of 5,000 digits": 10**4999,
    "a depth bomb": deep(5000),
    "an object": object(),
    "20 MB": "x" * 20_000_000,
}
TEXTS = {
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "10 MB": "y" * 10_000_000,
    "control characters": "\x01\x1b[31m" * 1000,
}


@job(name="bad.returns")
async def returns(which: str) -> Any:
    return {**STORED, **REFUSED}[which]


@job(name="bad.takes")
async def takes(value: Any) -> None: ...


@job(name="bad.raises", max_attempts=1)
async def raises(which: str) -> None:
    raise RuntimeError(TEXTS[which])


@pytest.mark.parametrize("which", STORED)
async def test_an_unusual_result_comes_back_as_it_was(app: Tenuto, which: str) -> None:
    flow = Workflow()
    flow.add("step", returns.new(which=which))

    await finish(app, flow)

    assert repr(await result_of(app, flow, "step")) == repr(STORED[which])


@pytest.mark.parametrize("which", REFUSED)
async def test_a_result_that_cannot_be_stored_discards_its_job_and_the_queue_goes_on(app: Tenuto, which: str) -> None:
    flow = Workflow()
    step = flow.add("step", returns.new(which=which))

    status = await finish(app, flow)
    after = await app.enqueue(Obey.ok())
    await drain(app)

    assert status.outcome == "failed"
    stored = await app.fetch(step.job)
    assert stored.state is DISCARDED
    assert stored.errors[-1].type in {"UnencodableResult", "ResultTooLarge"}
    assert stored.attempt == 1
    assert (await app.fetch(after)).state is COMPLETED


@pytest.mark.parametrize("which", [name for name in REFUSED if name != "20 MB"])
def test_args_that_cannot_be_stored_are_refused_at_new(which: str) -> None:
    with pytest.raises(InvalidArgs):
        takes.new(value=REFUSED[which])


def test_args_that_are_too_large_are_refused_at_new() -> None:
    with pytest.raises(TooLarge):
        takes.new(value=REFUSED["20 MB"])


@pytest.mark.parametrize("which", TEXTS)
async def test_any_exception_text_is_stored_safely(app: Tenuto, which: str) -> None:
    made = await app.enqueue(raises.new(which=which))
    await drain(app)

    stored = await app.fetch(made)
    assert stored.state is DISCARDED
    assert stored.errors[-1].type == "RuntimeError"
    assert len(stored.errors[-1].message) < 16_000


async def test_args_that_somebody_broke_in_the_database_fail_that_job_alone(app: Tenuto) -> None:
    await app.queue("default").pause()
    broken: Job[Any, Any] = Job("bad.takes", {"value": 1}, max_attempts=1)
    whole = takes.new(value=2)
    await app.enqueue([broken.replace(encoded='{"value":'), whole])

    await app.queue("default").resume()
    await drain(app)

    assert (await app.fetch(broken)).state is DISCARDED
    assert (await app.fetch(whole)).state is COMPLETED
