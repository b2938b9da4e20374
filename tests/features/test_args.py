"""Structured args: what `new` accepts is what process receives; the rest is refused by its name."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from types import new_class
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_validator,
)
from typing_extensions import TypedDict

from tenuto import codec
from tenuto.definition import resolve
from tenuto.errors import DefinitionError, InvalidArgs, TooLarge
from tenuto.function import job
from tenuto.job import Job
from tenuto.outcome import Outcome, Record, outcome_of
from tenuto.worker import Worker

if TYPE_CHECKING:
    from fractions import Fraction


class Mode(Enum):
    ON = "on"
    OFF = "off"


class Level(IntEnum):
    LOW = 1


class Address(BaseModel):
    city: str
    zip: int = 0


@dataclass
class Point:
    x: int
    y: int = 0


class Range(TypedDict):
    low: int
    high: NotRequired[int]


async def processed(job: Job[Any, Any]) -> Outcome:
    """What an attempt comes to, with the args as they were stored."""
    worker = resolve(job.worker)

    async def innermost(job: Job[Any, Any]) -> Outcome:
        returned = worker.invoke(job)
        return outcome_of(await returned if worker.is_async else returned)

    text = job.encoded or codec.encode(job.args)
    return await worker.pipeline(innermost)(job.replace(args=codec.decode(text)))


async def received(job: Job[Any, Any]) -> Any:
    """What process returned: these workers return what they were given."""
    outcome = await processed(job)
    return outcome.value if isinstance(outcome, Record) else outcome


def refused(make: Callable[..., Any], *args: Any, **named: Any) -> dict[str, str]:
    """Why `make` refuses these args: the reasons by path."""
    with pytest.raises(InvalidArgs) as caught:
        make(*args, **named)
    return dict(caught.value.problems)


@job
async def charge(account_id: int, currency: str, note: str = "", *, limit: Decimal | None = None):
    return account_id, currency, note, limit


@job
def echo(value: Any):
    return value


@job
def visit(address: Address, points: list[Point] | None = None, span: Range | None = None):
    return address, points, span


# ── new ───────────────────────────────────────────────────────────────────────────────────────────


def test_args_are_cast_when_the_job_is_made():
    made = charge.new("123", "EUR", limit="9.50")

    assert made.args == {"account_id": 123, "currency": "EUR", "note": "", "limit": Decimal("9.50")}


def test_defaults_are_stored_with_the_rest():
    assert charge.new(1, "EUR").args["note"] == ""


def test_the_stored_text_is_made_once_and_belongs_to_its_args():
    made = charge.new(1, "EUR")

    assert made.encoded == codec.encode(made.args)
    assert made.replace(queue="other").encoded == made.encoded
    assert made.replace(args={}).encoded is None


def test_every_fault_is_named_by_its_path():
    problems = refused(visit.new, {"zip": "no"}, points=[{"x": 1}, {"y": "no"}], span={"high": 1, "wide": 2})

    assert set(problems) == {
        "address.city",
        "address.zip",
        "points[1].x",
        "points[1].y",
        "span.low",
        "span.wide",
    }
    assert problems["address.city"] == "required"


def test_an_unknown_arg_is_refused_at_every_depth():
    assert "unknown" in refused(charge.new, 1, "EUR", curency="EUR")["curency"]
    assert "unknown" in refused(visit.new, {"city": "Rome", "street": "x"})["address.street"]
    assert "unknown" in refused(visit.new, {"city": "Rome"}, [{"x": 1, "z": 1}])["points[0].z"]


def test_args_given_by_position_bind_as_in_a_call():
    assert charge.new(1, "EUR", "rent").args["note"] == "rent"
    assert "2 taken" in refused(lambda: pair.new(1, 2, 3))[""]
    assert "given by position and by name" in refused(pair.new, 1, first=2)["first"]


@job
def pair(first: int, /, second: int, *, third: int = 3):
    return first, second, third


async def test_a_positional_only_parameter_gets_its_arg():
    assert await received(pair.new(1, second=2)) == (1, 2, 3)


def test_an_empty_text_is_no_value_for_a_required_text():
    assert "empty text" in refused(charge.new, 1, "")["currency"]
    assert charge.new(1, "EUR", note="").args["note"] == ""


class Person(BaseModel):
    name: Annotated[str, Field(max_length=9)]
    note: str = ""
    nick: str | None


@dataclass
class Team:
    lead: Person
    others: list[Person]
    words: dict[str, str] = field(default_factory=dict)


@job
def gather(team: Team, named: str | int = "", maybe: str | None = "x", path: str | int | None = None):
    return team


@job
def label(text: str | int, anything: Any):
    return text, anything


def test_an_empty_text_is_no_value_for_a_required_text_at_any_depth():
    full = {"name": "Ada", "nick": ""}
    empty = {"name": "", "nick": None}

    problems = refused(gather.new, {"lead": empty, "others": [full, empty]})

    assert set(problems) == {"team.lead.name", "team.others[1].name"}
    assert all("empty text" in reason for reason in problems.values())
    assert gather.new({"lead": full, "others": [full], "words": {"": ""}}, maybe="").args["named"] == ""


def test_an_empty_text_is_a_value_where_the_type_admits_none():
    assert any("empty text" in reason for reason in refused(label.new, "", "").values())
    assert label.new(1, "").args["anything"] == ""


def test_an_empty_text_that_was_stored_before_it_was_refused_fails_the_attempt():
    older = charge.new(1, "EUR").replace(args={"account_id": 1, "currency": ""})

    with pytest.raises(InvalidArgs, match="empty text"):
        asyncio.run(processed(older))


def test_a_nested_type_without_a_default_is_required():
    assert refused(visit.new)["address"] == "required"
    assert "address" in refused(visit.new, None)


@job
def assort(modes: list[Mode], ids: list[UUID], homes: dict[str, list[Address]], pairs: tuple[Mode, UUID]):
    return modes, ids, homes, pairs


async def test_lists_hold_enums_uuids_and_models():
    one = UUID(int=1)
    made = assort.new(["on"], [str(one)], {"a": [{"city": "Rome"}]}, ("off", str(one)))

    assert await received(made) == ([Mode.ON], [one], {"a": [Address(city="Rome")]}, (Mode.OFF, one))
    assert set(refused(assort.new, ["up"], ["x"], {"a": [{}]}, ("on", one))) == {
        *("modes[0]", "ids[0]", "homes.a[0].city")
    }


def test_none_is_a_value_only_where_the_type_admits_it():
    assert "currency" in refused(charge.new, 1, None)
    assert charge.new(1, "EUR", limit=None).args["limit"] is None


@job
def keep(items: list[int] = [], nested: dict[str, list[int]] = {"a": []}):  # noqa: B006 - it must be harmless
    items.append(1)
    nested["a"].append(1)
    return items, nested


def test_a_default_is_computed_once_and_a_factory_is_asked_for_each_job():
    numbers = count()

    @dataclass
    class Numbered:
        once: int = next(numbers)
        each: int = field(default_factory=lambda: next(numbers))

    class Numbering(Worker[Numbered]):
        def process(self, job: Job[Numbered]) -> None: ...

    made: list[Any] = [Numbering.new().args for _ in range(3)]
    assert made == [{"once": 0, "each": n} for n in (1, 2, 3)]


async def test_a_mutable_default_is_never_shared_between_jobs():
    keep.new().args["items"].append(7)

    assert keep.new().args == {"items": [], "nested": {"a": []}}
    assert await received(keep.new()) == ([1], {"a": [1]})
    assert keep.new().args == {"items": [], "nested": {"a": []}}


def test_what_a_caller_changes_later_is_not_in_the_job():
    words = ["a"]
    made = echo.new({"words": words})

    words.append("b")

    assert codec.decode(made.encoded or "") == {"value": {"words": ["a"]}}


# ── no values in a refusal ────────────────────────────────────────────────────────────────────────

SECRET = "4111-1111-1111-1111"
NIL = UUID(int=0)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Picky(BaseModel):
    card: str

    @field_validator("card")
    @classmethod
    def check(cls, card: str) -> str:
        raise ValueError(f"{card} is no card")


@job
def guarded(
    number: int = 0,
    day: date = date(2026, 1, 1),
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    length: timedelta = timedelta(0),
    uuid: UUID = NIL,
    mode: Mode = Mode.ON,
    url: AnyUrl | None = None,
    amount: Decimal = Decimal(0),
    short: Annotated[str, Field(max_length=3)] = "",
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None,
    picky: Picky | None = None,
    flag: bool = False,
):
    return number


@pytest.mark.parametrize(
    "args",
    [
        *({name: SECRET} for name in ("number", "day", "moment", "length", "uuid", "mode", "url", "amount")),
        *({"short": SECRET}, {"pet": {"kind": SECRET}}, {"picky": {"card": SECRET}}, {"flag": SECRET}),
        {"number": [SECRET]},
        {"mode": {"a": SECRET}},
    ],
    ids=lambda args: next(iter(args)),
)
def test_a_refusal_tells_no_value(args):
    with pytest.raises(InvalidArgs) as caught:
        guarded.new(**args)

    error = caught.value
    assert not any(part in str(error) for part in (SECRET, "4111"))
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


# ── process ───────────────────────────────────────────────────────────────────────────────────────


@job
async def everything(
    uuid: UUID,
    moment: datetime,
    amount: Decimal,
    mode: Mode,
    level: Level,
    path: Path,
    host: IPv4Address,
    url: AnyUrl,
    pair: tuple[int, str],
    names: set[str],
    raw: bytes,
    address: Address,
    point: Point,
    span: Range,
    by_day: dict[date, list[Path]],
):
    return dict(locals())


async def test_process_receives_the_types_it_declares():
    given = {
        "uuid": UUID(int=7),
        "moment": datetime(2026, 1, 1, tzinfo=UTC),
        "amount": Decimal("1.10"),
        "mode": Mode.OFF,
        "level": Level.LOW,
        "path": Path("/tmp/a"),
        "host": IPv4Address("10.0.0.1"),
        "url": AnyUrl("https://a.com/"),
        "pair": (1, "a"),
        "names": {"a", "b"},
        "raw": b"\x00\xff",
        "address": Address(city="Rome"),
        "point": Point(1, 2),
        "span": Range(low=1),
        "by_day": {date(2026, 1, 1): [Path("a")]},
    }

    assert await received(everything.new(**given)) == given


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.frozensets(st.text()),
        max_leaves=8,
    )
)
async def test_process_receives_what_new_accepted(value):
    assert await received(echo.new([value])) == [value]


@job
def named(model_config: int, _private: int, schema: int, args: int, job: int, validate: int):
    return model_config, _private, schema, args, job, validate


async def test_a_parameter_may_have_any_name():
    made = named.new(model_config=1, _private=2, schema=3, args=4, job=5, validate=6)

    assert await received(made) == (1, 2, 3, 4, 5, 6)


@job
def selfish(a: int, self: int = 0):
    return a, self


async def test_a_parameter_may_be_named_self_where_it_is_not_the_first():
    assert selfish.check(1, self="x")[0][0] == "self"
    assert await received(selfish.new(1, self=2)) == (1, 2)
    assert await received(selfish.options(priority=1).new(1, self=2)) == (1, 2)


@dataclass
class Square:
    side: int
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = self.side**2


@job
def draw(square: Square, more: list[Square]):
    return square, more


@pytest.mark.parametrize("square", [Square(3), {"side": 3}], ids=type)
async def test_what_a_dataclass_works_out_itself_is_not_stored(square):
    made = draw.new(square, [square])

    assert made.args == {"square": {"side": 3}, "more": [{"side": 3}]}
    assert await received(made) == (Square(3), [Square(3)])


@pytest.mark.parametrize(
    ("stored", "path"),
    [
        ({"account_id": "x", "currency": "EUR"}, "account_id"),
        ({"account_id": 1}, "currency"),
        ({"account_id": 1, "currency": "EUR", "gone": 1}, "gone"),
        ([1, "EUR"], ""),
        (None, ""),
    ],
)
async def test_args_that_drifted_fail_the_attempt_and_process_is_not_called(stored, path):
    drifted = charge.new(1, "EUR").replace(args=stored)

    with pytest.raises(InvalidArgs) as caught:
        await processed(drifted)

    assert path in dict(caught.value.problems)


@job
def nothing():
    return "done"


async def test_a_worker_without_parameters_takes_nothing():
    assert await received(nothing.new()) == "done"
    assert "unknown" in refused(nothing.new, a=1)["a"]
    assert "0 taken" in refused(nothing.new, 1)[""]
    with pytest.raises(InvalidArgs):
        await processed(nothing.new().replace(args={"from": "before"}))


async def test_a_default_that_was_added_later_fills_what_was_stored_before():
    older = charge.new(1, "EUR").replace(args={"account_id": 1, "currency": "EUR"})

    assert await received(older) == (1, "EUR", "", None)


# ── what cannot be stored ─────────────────────────────────────────────────────────────────────────


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value"),
        ({"a": [1, object()]}, "value.a[1]"),
        ("\ud800", "value"),
        (10**5000, "value"),
        ({(1, 2): 3}, "value"),
        (SecretStr("x"), "value"),
    ],
    ids=["object", "nested", "surrogate", "huge", "key", "secret"],
)
def test_a_value_without_a_stored_form_is_refused_with_its_path(value, path):
    assert path in refused(echo.new, value)


@pytest.mark.parametrize("value", [cycle(), nested(150), nested(5_000)], ids=["cycle", "deep", "deeper"])
def test_a_cycle_or_a_great_depth_is_refused(value):
    assert refused(echo.new, value)


def test_args_that_no_app_could_store_are_refused_with_their_size():
    with pytest.raises(TooLarge) as caught:
        echo.new("ä" * 8_000_000)

    assert (caught.value.what, caught.value.limit) == ("args", 16_000_000)
    assert caught.value.size > 16_000_000


# ── definitions ───────────────────────────────────────────────────────────────────────────────────


def takes_many(*urls: str): ...
def takes_any(**options: str): ...
def misfit(count: int = "many"): ...  # type: ignore[assignment]
def field_default(count: int = Field(3, gt=1)): ...
def opaque(connection: object(), value: type("Opaque", (), {})): ...  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (takes_many, r"\*urls"),
        (takes_any, r"\*\*options"),
        (misfit, "default of count"),
        (field_default, "Annotated"),
        (opaque, "cannot be checked"),
    ],
)
def test_a_signature_that_cannot_be_stored_is_refused_at_once(function, told):
    with pytest.raises(DefinitionError, match=told):
        job(function)


@job
def early(later: "Later", many: "list[Later]"):
    return later, many


class Later(BaseModel):
    x: int


async def test_a_type_may_be_defined_after_the_function():
    assert await received(early.new(Later(x=1), [{"x": "2"}])) == (Later(x=1), [Later(x=2)])


@job
def unresolvable(ratio: "Fraction"):
    return ratio


def test_a_type_that_is_imported_for_checkers_only_is_told_at_first_use():
    with pytest.raises(DefinitionError, match=r"'Fraction', which is not there.*TYPE_CHECKING"):
        unresolvable.new(1)


def test_the_types_of_what_is_returned_need_not_be_there():
    def returns() -> "Fraction": ...  # type: ignore[empty-body]

    assert job(returns).new().args == {}


# ── the Args of a class ───────────────────────────────────────────────────────────────────────────


class Echo:
    """Gives back the args as process receives them."""

    def process(self, job: Job[Any, Any]) -> Any:
        return job.args


class ByModel(Echo, Worker[Address]): ...


class ByDataclass(Echo, Worker[Point]): ...


class ByTypedDict(Echo, Worker[Range]): ...


class ByDict(Echo, Worker[dict[str, int]]): ...


class ByNothing(Echo, Worker[None]): ...


class Undeclared(Echo, Worker): ...


@pytest.mark.parametrize(
    ("worker", "instance", "fields"),
    [
        (ByModel, Address(city="Rome"), {"city": "Rome"}),
        (ByDataclass, Point(1, 0), {"x": "1"}),
        (ByTypedDict, Range(low=1), {"low": "1"}),
        (ByDict, {"a": 1}, {"a": "1"}),
        (Undeclared, {"a": [1]}, {"a": [1]}),
    ],
)
async def test_a_class_takes_its_args_whole_or_by_field_and_receives_an_instance(worker, instance, fields):
    assert await received(worker.new(instance)) == instance
    assert await received(worker.new(**fields)) == instance


def test_a_class_refuses_what_its_args_refuse():
    assert refused(ByModel.new, zip=1) == {"city": "required"}
    assert "empty text" in refused(ByModel.new, city="")["city"]
    assert "unknown" in refused(ByDataclass.new, x=1, z=1)["z"]
    assert "unknown" in refused(ByTypedDict.new, low=1, z=1)["z"]
    assert "unknown" in refused(ByNothing.new, a=1)["a"]
    assert "" in refused(ByModel.new, 7)
    assert "" in refused(ByModel.new, Address(city="Rome"), zip=1)


def test_an_instance_that_nobody_checked_is_checked():
    texts: Any = {"x": "7"}
    worse: Any = {"city": "Rome", "zip": "no"}

    assert ByDataclass.new(Point(**texts)).encoded == '{"x":7,"y":0}'
    assert "zip" in refused(ByModel.new, Address.model_construct(**worse))
    assert "address.zip" in refused(visit.new, Address.model_construct(**worse))
    assert "points[0].x" in refused(visit.new, Address(city="Rome"), [Point(x="no")])  # type: ignore[arg-type]


# ── check ─────────────────────────────────────────────────────────────────────────────────────────


def test_check_tells_the_faults_that_new_would_raise():
    assert dict(charge.check("x", "")) == refused(charge.new, "x", "")
    assert dict(ByModel.check(zip="x")) == refused(ByModel.new, zip="x")
    assert dict(charge.check(1, "EUR", curency=1)) == refused(charge.new, 1, "EUR", curency=1)


def test_check_tells_nothing_of_args_that_fit():
    assert charge.check(1, "EUR") == ByModel.check(city="Rome") == ByModel.check(Address(city="Rome")) == ()


def test_check_tells_that_args_are_too_large_without_raising():
    ((path, reason),) = echo.check("x" * 16_000_001)

    assert path == ""
    assert "16,000,000 are allowed" in reason


def test_check_makes_no_secret_of_a_definition_that_is_wrong():
    with pytest.raises(DefinitionError, match="Fraction"):
        unresolvable.check(1)


class Renamed(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    source: str = Field(alias="from")
    to: str = Field("x", validation_alias="target", serialization_alias="goal")

    @computed_field
    def both(self) -> str:
        return self.source + self.to


class ByRenamed(Echo, Worker[Renamed]): ...


async def test_aliases_are_for_callers_and_jobs_keep_the_names_of_fields():
    called = {"from": "a", "target": "b"}
    made = ByRenamed.new(**called)

    assert made.encoded == '{"source":"a","to":"b"}'
    assert await received(made) == Renamed(**called)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class ByOpen(Echo, Worker[Open]): ...


async def test_a_model_that_asks_for_unknown_keys_gets_them():
    asked = {"a": 1, "b": 2}

    assert await received(ByOpen.new(**asked)) == Open(**asked)


@dataclass
class Tree:
    name: str = "root"
    children: list["Tree"] = field(default_factory=list)


class ByTree(Echo, Worker["Tree"]): ...


async def test_args_may_nest_themselves():
    tree = Tree(children=[Tree("a"), Tree("b", [Tree("c")])])

    assert await received(ByTree.new(tree)) == tree


@pytest.mark.parametrize("declared", [int, list[int], RootModel[dict[str, int]], Address | Point])
def test_a_class_whose_args_have_no_fields_is_refused_at_once(declared: Any):
    with pytest.raises(DefinitionError, match="use a pydantic model"):
        new_class("Wrong", (Echo, Worker[declared]))
