"""Sizes: an app says how large what it stores may be, and everything that is stored keeps to it."""

import random
from typing import Any

import pytest

from tenuto import Sizes, Tenuto, Workflow, job, results
from tenuto.errors import ResultTooLarge, TooLarge
from tests.conftest import OpenApp
from tests.kit import drain

SMALL = Sizes(args=1_000, meta=1_000, result=1_000, error=4_000)


@job(name="sizes.echo", max_attempts=1)
async def echo(text: str, times: int = 1) -> str:
    return text * times


@job(name="sizes.noise", recorded=True)
async def noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


@job(name="sizes.fail", max_attempts=1)
async def fail(length: int) -> None:
    raise ValueError("x" * length)


@job(name="sizes.store", max_attempts=1)
async def store(length: int) -> str:
    try:
        await results.store_result("x" * length)
    except ResultTooLarge as refused:
        return f"{refused.limit}"
    return "stored"


def step(work: Any) -> Workflow:
    flow = Workflow()
    flow.add("only", work)
    return flow


@pytest.mark.parametrize(
    "work",
    [
        echo.new("x" * 2_000),
        [echo.new("fits"), echo.new("x" * 2_000)],
        echo.options(meta={"note": "x" * 2_000}).new("fits"),
        step(echo.new("x" * 2_000)),
        step(echo.options(meta={"note": "x" * 2_000}).new("fits")),
    ],
    ids=["args", "list", "meta", "step", "meta of a step"],
)
async def test_what_is_larger_than_the_app_says_is_refused_and_nothing_of_it_stored(open_app: OpenApp, work: Any):
    app = await open_app(sizes=SMALL)

    with pytest.raises(TooLarge) as refused:
        await app.enqueue(work)

    assert refused.value.limit == 1_000
    assert await app.find() == []


async def test_a_job_is_not_changed_to_more_than_the_app_says(open_app: OpenApp):
    app = await open_app(sizes=SMALL)
    made = await app.enqueue(echo.options(schedule_in=60).new("fits"))

    for changes in ({"args": {"text": "x" * 2_000}}, {"meta": {"note": "x" * 2_000}}):
        with pytest.raises(TooLarge):
            await app.update(made, changes)  # type: ignore[arg-type]

    assert (await app.fetch(made)).args == made.args


async def test_a_large_job_runs_where_the_app_says_so(open_app: OpenApp):
    app = await open_app(queues={"default": 1}, sizes={"args": 3_000_000, "meta": 200_000})

    made = await app.enqueue(echo.options(meta={"note": "y" * 100_000}).new("x" * 2_000_000))
    await drain(app)

    kept = await app.fetch(made)
    assert (kept.state, len(kept.args["text"]), len(kept.meta["note"])) == ("completed", 2_000_000, 100_000)


async def test_a_result_that_is_larger_than_the_app_says_discards_its_step(open_app: OpenApp):
    app = await open_app(queues={"default": 2}, sizes=SMALL)
    flow = Workflow()
    flow.add("returned", echo.new("x", times=2_000))
    flow.add("stored", store.new(2_000))

    await app.enqueue(flow)
    status = await app.workflow(flow.id).wait(timeout=30)

    assert {one.name: one.fate for one in status.steps} == {"returned": "discarded", "stored": "completed"}
    assert await app.workflow(flow.id).result("stored") == "1000"


@pytest.mark.parametrize(("sizes", "state"), [(None, "discarded"), ({"recorded": 60_000}, "completed")])
async def test_as_much_is_recorded_as_the_app_says(open_app: OpenApp, sizes: Any, state: str):
    app = await open_app(queues={"default": 1}, sizes=sizes)

    made = await app.enqueue(noise.new(40_000))
    await drain(app)

    assert (await app.fetch(made)).state == state


async def test_an_error_is_cut_to_the_size_that_the_app_says(open_app: OpenApp):
    app: Tenuto = await open_app(queues={"default": 1}, sizes=SMALL)

    made = await app.enqueue(fail.new(100_000))
    await drain(app)

    (error,) = (await app.fetch(made)).errors
    assert 900 < len(error.message) <= 1_000
