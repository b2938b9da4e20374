"""Args with results of other steps: what is checked at once, what later, and what each fault says."""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, PlainSerializer, field_serializer, field_validator, model_validator
from typing_extensions import TypedDict

from tenuto.codec import decode, encode
from tenuto.context import Needs, Running, running
from tenuto.definition import resolve
from tenuto.errors import CycleFound, DuplicateStep, ForeignStep, InvalidArgs, UnknownDependency
from tenuto.features.feature import Process
from tenuto.features.waiting import Unfilled
from tenuto.function import job
from tenuto.job import SUSPENDED, Job
from tenuto.outcome import Outcome, Record
from tenuto.reference import Reference, Waiting
from tenuto.worker import Worker
from tenuto.workflow import Workflow

TOKEN = Reference("fetch", ("token",))


@dataclass
class Point:
    x: int
    y: int = 2
    z: int = field(init=False, default=5)


@job(name="waiting.take")
def take(url: str, n: int = 3, path: Path | None = None, extra: Any = None, point: Point | None = None) -> None: ...


class Model(BaseModel):
    a: int
    b: list[UUID] = []
    c: str = Field(alias="cc", default="q")
    p: Point | None = None

    @model_validator(mode="after")
    def small(self) -> "Model":
        assert self.a < 10, "too large"
        return self

    @field_validator("a", mode="before")
    @classmethod
    def stripped(cls, value: Any) -> Any:
        return value if isinstance(value, int) else value.strip()


class Open(BaseModel, extra="allow"):
    a: int


class Tree(BaseModel):
    v: int
    kids: list["Tree"] = []


class Typed(TypedDict):
    a: int


class OfModel(Worker[Model, Any], name="waiting.model"):
    async def process(self, job: Job[Model, Any]) -> Any: ...


class OfOpen(Worker[Open, Any], name="waiting.open"):
    async def process(self, job: Job[Open, Any]) -> Any: ...


class OfTree(Worker[Tree, Any], name="waiting.tree"):
    async def process(self, job: Job[Tree, Any]) -> Any: ...


class OfTyped(Worker[Typed, Any], name="waiting.typed"):
    async def process(self, job: Job[Typed, Any]) -> Any: ...


class OfPoint(Worker[Point, Any], name="waiting.point"):
    async def process(self, job: Job[Point, Any]) -> Any: ...


class OfAny(Worker[Any, Any], name="waiting.any"):
    async def process(self, job: Job[Any, Any]) -> Any: ...


def later(value: Any) -> Any:
    """A reference, as the type that its result will have."""
    return value


async def args_in_process(made: Job[Any, Any], result: Any) -> Any:
    """What process gets, when the step `fetch` came to this."""
    needs = Needs({"fetch": None if result is None else encode(result)})
    seen: list[Any] = []

    async def process(job: Job[Any, Any]) -> Outcome:
        seen.append(job.args)
        return Record(None)

    claimed = made.replace(args=decode(made.encoded or ""))
    running.set(Running(claimed, None, needs, lambda *_: False, later(None), None, None))
    inner: Process = resolve(made.worker).pipeline(process)
    await inner(claimed)
    return seen[0]


# ── when it is made ───────────────────────────────────────────────────────────────────────────────


def test_a_job_that_takes_a_result_is_suspended_and_holds_the_reference():
    made = take.new(later(TOKEN), path=Path("/tmp"))

    assert made.state is SUSPENDED
    assert type(made.args) is Waiting
    assert made.args == {"url": TOKEN, "n": 3, "path": "/tmp", "extra": None, "point": None}


def test_what_holds_no_reference_is_checked_and_cast_at_once():
    assert take.new(later(TOKEN), n=later("7")).args["n"] == 7
    with pytest.raises(InvalidArgs) as refused:
        take.new(later(TOKEN), n=later("seven"), unknown=1)  # type: ignore[call-arg]  # pyright: ignore
    assert [path for path, _ in refused.value.problems] == ["n", "unknown"]


def test_what_is_missing_is_missed_at_once():
    with pytest.raises(InvalidArgs) as refused:
        take.new(n=later(TOKEN))  # type: ignore[call-arg]  # pyright: ignore
    assert refused.value.problems == (("url", "required"),)


MADE = {
    "anything": (take, {"url": "a", "extra": [TOKEN, (TOKEN["x"], {TOKEN})]}, [TOKEN, (TOKEN["x"], {TOKEN})], "extra"),
    "nested instance": (take, {"url": "a", "point": Point(later(TOKEN))}, {"x": TOKEN, "y": 2}, "point"),
    "nested dict": (take, {"url": "a", "point": {"x": TOKEN}}, {"x": TOKEN}, "point"),
    "model": (OfModel, {"a": TOKEN}, TOKEN, "a"),
    "list in a model": (OfModel, {"a": 1, "b": [TOKEN]}, [TOKEN], "b"),
    "alias": (OfModel, {"a": 1, "cc": TOKEN}, TOKEN, "c"),
    "name of an aliased field": (OfModel, {"a": 1, "c": TOKEN}, TOKEN, "c"),
    "open model": (OfOpen, {"a": TOKEN, "z": 3}, TOKEN, "a"),
    "extra of an open model": (OfOpen, {"a": 1, "z": TOKEN}, TOKEN, "z"),
    "model of itself": (OfTree, {"v": TOKEN, "kids": [{"v": 1}]}, TOKEN, "v"),
    "inside a model of itself": (OfTree, {"v": 1, "kids": [{"v": TOKEN}]}, [{"v": TOKEN}], "kids"),
    "typed dict": (OfTyped, {"a": TOKEN}, TOKEN, "a"),
    "dataclass": (OfPoint, {"x": TOKEN}, TOKEN, "x"),
    "unchecked": (OfAny, {"any": TOKEN, "b": 1}, TOKEN, "any"),
}


@pytest.mark.parametrize(("worker", "args", "stands", "at"), MADE.values(), ids=MADE)
def test_a_reference_may_stand_anywhere(worker, args, stands, at):
    made = worker.new(**args)

    assert made.args[at] == stands
    assert decode(made.encoded) == made.args
    assert type(decode(made.encoded)) is Waiting


def test_an_instance_may_hold_one_where_its_class_lets_it():
    made: list[Job[Any, Any]] = [OfPoint.new(Point(later(TOKEN))), OfModel.new(Model.model_construct(a=later(TOKEN)))]

    assert [made[0].args, made[1].args["a"]] == [{"x": TOKEN, "y": 2}, TOKEN]


def test_other_fields_of_a_model_are_checked_without_the_code_that_wants_all_of_them():
    with pytest.raises(InvalidArgs) as refused:
        OfModel.new(a=TOKEN, b=["no uuid"])
    assert [path for path, _ in refused.value.problems] == ["b[0]"]


class Written(BaseModel):
    """Serializers of fields: one is handed the whole model, one the value alone, one is of a field that waits."""

    token: str
    day: date
    tag: Annotated[str, PlainSerializer(str.upper)] = "x"

    @field_serializer("day")
    def german(self, day: date) -> str:
        return f"{day:%d.%m.%Y}{self.token[:0]}"

    @field_serializer("token")
    def quoted(self, token: str) -> str:
        return f"<{token}>"

    @field_validator("day", mode="before")
    @classmethod
    def read(cls, day: Any) -> Any:
        return datetime.strptime(day, "%d.%m.%Y").date() if isinstance(day, str) else day  # noqa: DTZ007


class OfWritten(Worker[Written, Any], name="waiting.written"):
    async def process(self, job: Job[Written, Any]) -> Any: ...


async def test_a_serializer_that_wants_the_whole_model_is_not_asked_before_it_is_there():
    made: Job[Any, Any] = OfWritten.new(token=later(TOKEN), day=later("02.01.2026"))

    assert made.args == {"token": TOKEN, "day": date(2026, 1, 2), "tag": "X"}
    assert await args_in_process(made, {"token": "t"}) == Written(token="t", day=date(2026, 1, 2), tag="X")


def test_a_cycle_is_refused():
    ring: list[Any] = [TOKEN]
    ring.append(ring)

    with pytest.raises(InvalidArgs, match="cycle"):
        take.new("a", extra=ring)


def test_keys_hold_none():
    with pytest.raises(InvalidArgs):
        take.new("a", extra={TOKEN: 1})


# ── when it runs ──────────────────────────────────────────────────────────────────────────────────


async def test_results_take_their_places_and_are_cast():
    made = take.new(later(TOKEN["s"]), n=later(TOKEN["n"]), point=later({"x": TOKEN["l"][-1]}), path=later(TOKEN["s"]))

    args = await args_in_process(made, {"token": {"s": "text", "n": "7", "l": (1, 2)}})

    assert args == {"url": "text", "n": 7, "path": Path("text"), "extra": None, "point": Point(2)}


async def test_each_kind_of_collection_is_kept():
    extra = [TOKEN, (TOKEN,), {TOKEN, 1}, frozenset({TOKEN}), {"k": TOKEN}]

    args = await args_in_process(take.new("a", extra=extra), {"token": "t"})

    assert args["extra"] == ["t", ("t",), {"t", 1}, frozenset({"t"}), {"k": "t"}]


async def test_a_key_that_was_a_number_is_found():
    assert (await args_in_process(take.new(later(TOKEN[5])), {"token": {5: "five"}}))["url"] == "five"


async def test_the_running_job_has_its_args_filled_in():
    made = take.new(later(TOKEN))

    await args_in_process(made, {"token": "t"})

    assert running.get().job.args["url"] == "t"


async def problems(made: Job[Any, Any], result: Any) -> tuple[tuple[str, str], ...]:
    with pytest.raises((InvalidArgs, Unfilled)) as refused:
        await args_in_process(made, result)
    assert isinstance(refused.value, InvalidArgs | Unfilled)
    return refused.value.problems


async def test_a_value_that_does_not_fit_is_told_with_where_it_came_from():
    made = take.new("a", n=later(TOKEN), point=later({"x": TOKEN}))

    told = dict(await problems(made, {"token": "no number"}))

    assert list(told) == ["n", "point.x"]
    assert all(reason.endswith("""(the result of step 'fetch' at ["token"])""") for reason in told.values())
    assert all("no number" not in reason for reason in told.values())


async def test_every_place_that_is_not_there_is_told_at_once():
    made = take.new(later(TOKEN["a"]), extra=[Reference("fetch", ("list", 9)), Reference("fetch", ("list", "x"))])

    assert await problems(made, {"token": {}, "list": [1]}) == (
        ("url", """there is no such thing as the result of step 'fetch' at ["token"]["a"]"""),
        ("extra[0]", """there is no such thing as the result of step 'fetch' at ["list"][9]"""),
        ("extra[1]", """there is no such thing as the result of step 'fetch' at ["list"]["x"]"""),
    )


async def test_a_step_that_stored_nothing_is_told():
    told = await problems(take.new(later(TOKEN)), None)

    assert told == (
        ("url", """there is no such thing as the result of step 'fetch' at ["token"]: it has stored no result"""),
    )


async def test_a_step_that_is_no_dep_is_told():
    ((_, reason),) = await problems(take.new(later(Reference("other"))), 1)

    assert reason.endswith(": that step is no dep of this job")


async def test_what_no_set_can_hold_is_told():
    ((path, reason),) = await problems(take.new("a", extra={TOKEN}), {"token": [1]})

    assert (path, reason) == ("extra", "the result of a step is a list or a dict, which no set can hold")


async def test_a_result_that_could_not_be_opened_says_why():
    made = take.new(later(TOKEN))
    broken = LookupError("the vault is away")
    needs = Needs({"fetch": "sealed"}, closed={"fetch": broken})
    running.set(Running(made, None, needs, lambda *_: False, later(None), None, None))

    with pytest.raises(LookupError, match="the vault is away"):
        await resolve(made.worker).pipeline(later(None))(made)


# ── in a workflow ─────────────────────────────────────────────────────────────────────────────────


def test_a_reference_implies_the_dep_once_behind_those_that_are_named():
    flow = Workflow()
    a, b = flow.add("a", take.new("a")), flow.add("b", take.new("b"))
    last = flow.add("last", take.new(later(a.result), extra=[a.result, later(b.result)["x"], a.result]), deps=["b"])

    assert last.deps == ("b", "a")
    assert flow.validate() == ["a", "b", "last"]
    assert [row.state for row in flow.rows().jobs if row.id == last.job.id] == [SUSPENDED]


def test_a_reference_to_a_step_of_another_workflow_is_refused():
    other = Workflow().add("fetch", take.new("a"))
    flow = Workflow()

    with pytest.raises(ForeignStep) as refused:
        flow.add("last", take.new(later(other.result)))
    assert (refused.value.step, refused.value.dep) == ("last", "fetch")
    assert flow.step_names == []


def test_a_reference_counts_as_a_dep_in_a_cycle():
    flow = Workflow()
    a = flow.add("a", take.new("a"), deps="b")
    flow.add("b", take.new(later(a.result)))

    with pytest.raises(CycleFound) as refused:
        flow.validate()
    assert refused.value.path == ("a", "b", "a")


def test_a_step_that_was_refused_leaves_a_reference_to_nothing():
    flow = Workflow()
    a = flow.add("a", take.new("a"))
    with pytest.raises(DuplicateStep):
        flow.add("a", take.new(later(a.result)))
    flow.add("b", take.new(later(a.result)), deps="ghost")

    with pytest.raises(UnknownDependency):
        flow.validate()
