"""What groups come to: the results of their members, read by what is behind them, by members, and from outside."""

from __future__ import annotations

from typing import Any

from tenuto import Completed, Tenuto, Workflow, job
from tenuto.results import get_all_results, get_result
from tests.kit import Obey, finish, result_of


@job(name="groups.take")
async def take(value: Any = None, more: Any = None) -> Any:
    """Gives back what it was given."""
    return [value, more]


@job(name="groups.read")
async def read(step: str) -> Any:
    """Gives what one dep came to, and what all did."""
    return {"one": get_result(step), "all": get_all_results()}


@job(name="groups.apart", runs_in="process")
def apart(step: str) -> Any:
    """The same, in a process of its own."""
    return get_result(step)


def pages() -> Workflow:
    """A group `pages` of two results, one without, and a group in it."""
    inner, middle, flow = Workflow(), Workflow(), Workflow()
    inner.add("deep", Obey.value("deep"))
    middle.add("b", Obey.value("second"))
    middle.add("a", Obey.value("first"))
    middle.add("silent", Obey.ok())
    middle.add_workflow("inner", inner)
    flow.add_workflow("pages", middle)
    return flow


WHOLE = {"b": "second", "a": "first", "inner": {"deep": "deep"}}


async def test_the_result_of_a_group_is_those_of_its_members_in_order_and_nested(app):
    flow = pages()
    flow.add("read", read.new(step="pages"), deps="pages")

    await finish(app, flow)

    found = await result_of(app, flow, "read")
    assert found == {"one": WHOLE, "all": {"pages": WHOLE}}
    assert list(found["one"]) == ["b", "a", "inner"]
    assert await result_of(app, flow, "pages") == WHOLE


async def test_it_can_be_taken_as_args_whole_or_in_part(app):
    flow = pages()
    whole = flow.steps["pages"]
    flow.add("take", take.new(value=whole.result, more=[whole.result["inner"]["deep"]]))

    await finish(app, flow)

    assert await result_of(app, flow, "take") == [WHOLE, ["deep"]]


async def test_it_reaches_a_process_of_its_own(app):
    flow = pages()
    flow.add("apart", apart.new(step="pages"), deps="pages")

    await finish(app, flow)

    assert await result_of(app, flow, "apart") == WHOLE


async def test_an_empty_group_has_an_empty_result(app):
    flow = Workflow()
    flow.add("read", read.new(step="none"), deps=flow.add_many("none", []))

    await finish(app, flow)

    assert await result_of(app, flow, "read") == {"one": {}, "all": {"none": {}}}


async def test_a_step_in_a_group_names_those_beside_it_as_if_there_were_none(app):
    alone, flow = Workflow(), Workflow()
    alone.add("fetch", Obey.value("fetched"))
    alone.add("read", read.new(step="fetch"), deps="fetch")
    flow.add("fetch", Obey.value("another"))
    flow.add_workflow("group", alone, deps="fetch")

    await finish(app, flow)

    assert await result_of(app, flow, "group/read") == {"one": "fetched", "all": {"fetch": "fetched"}}


async def test_the_first_steps_of_a_group_name_the_deps_of_the_group(app):
    inner, middle, flow = Workflow(), Workflow(), Workflow()
    inner.add("read", read.new(step="first"))
    middle.add_workflow("inner", inner, deps=middle.add("first", Obey.value("beside")))
    flow.add("first", Obey.value("outside"))
    flow.add_workflow("middle", middle)

    await finish(app, flow)

    assert await result_of(app, flow, "middle/inner/read") == {"one": "beside", "all": {"first": "beside"}}


async def test_references_inside_a_group_are_of_its_members(app):
    inner, flow = Workflow(), Workflow()
    inner.add("take", take.new(value=inner.add("fetch", Obey.value({"token": "t"})).result["token"]))
    flow.add_workflow("group", inner)

    await finish(app, flow)

    assert await result_of(app, flow, "group/take") == ["t", None]


async def test_members_of_many_take_results_of_steps_around_them(app: Tenuto):
    flow = Workflow()
    fetched = flow.add("fetch", Obey.value({"token": "t"}))
    flow.add_many("fan", [take.new(value=fetched.result["token"], more=nth) for nth in range(3)])

    await finish(app, flow)

    assert await result_of(app, flow, "fan") == {"0": ["t", 0], "1": ["t", 1], "2": ["t", 2]}


async def test_a_relay_to_a_group_does_not_say_that_its_result_is_null(app):
    flow = pages()
    await finish(app, flow)

    relay = await app.relay_to(flow.jobs["pages"].id)

    assert await relay.outcome(timeout=30) == Completed(None, kept=False)
