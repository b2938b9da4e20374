"""Workflows as data: what comes out goes in again as the same graph, and every fault is told with its path."""

import json
import time as clock
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto import template
from tenuto.errors import InvalidTemplate, InvalidWorkflow, TooLarge
from tenuto.features.chain import Chain
from tenuto.features.deadline import Deadline
from tenuto.features.unique import Unique
from tenuto.function import job
from tenuto.job import Job
from tenuto.reference import Reference, holds_reference
from tenuto.tagged import Sealed
from tenuto.template import TYPES
from tenuto.workflow import Workflow


@job(name="templates.take", deadline=60, meta={"team": "x"})
def take(value: Any = None, n: int = 0) -> Any: ...


@job(name="templates.chained", chain=Chain())
def chained() -> None: ...


TAKE = {"worker": "templates.take"}


def later(value: Any) -> Any:
    """A reference, as the type that its result will have."""
    return value


def graph(flow: Workflow) -> dict[str, Any]:
    """All that is to be the same of a workflow."""
    same = ("worker", "args", "queue", "priority", "max_attempts", "tags", "timeout", "meta", "schedule_in", "state")
    more = ("scheduled_at", "deadline", "deadline_force")
    return {
        "": (flow.name, flow.ignore_cancelled, flow.ignore_discarded, flow.ignore_deleted),
        **{
            name: (step.deps, step.flags, *(getattr(step.job, field) for field in (*same, *more)), of_unique(step.job))
            for name, step in flow.steps.items()
        },
    }


def of_unique(job: Job[Any, Any]) -> Any:
    kept = job.unique
    return (kept.parts, kept.states, kept.period, kept.replaced) if isinstance(kept, Unique) else kept


def again(flow: Workflow) -> Workflow:
    return Workflow.from_dict(json.loads(json.dumps(flow.to_dict())))


# ── there and back ────────────────────────────────────────────────────────────────────────────────


def test_a_workflow_is_data_that_reads_as_it_was_written():
    flow = Workflow("sync", ignore_discarded=True)
    fetch = flow.add("fetch", take.new({"day": date(2026, 1, 2)}))
    flow.add("use", take.options(queue="fast").new(later(fetch.result)["a"][0], n=3), ignore_discarded=False)

    assert flow.to_dict() == {
        "name": "sync",
        "ignore_discarded": True,
        "steps": {
            "fetch": {"worker": "templates.take", "args": {"value": {"day": {"$date": "2026-01-02"}}, "n": 0}},
            "use": {
                "worker": "templates.take",
                "args": {"value": {"$ref": ["fetch", "a", 0]}, "n": 3},
                "deps": ["fetch"],
                "options": {"queue": "fast"},
                "ignore_discarded": False,
            },
        },
    }
    assert json.loads(flow.to_json()) == flow.to_dict()
    assert graph(Workflow.from_json(flow.to_json())) == graph(flow)


def test_what_is_made_of_data_is_another_workflow_with_other_jobs():
    flow = Workflow()
    flow.add("a", take.new())

    other = again(flow)

    assert other.id != flow.id
    assert other.jobs["a"].id != flow.jobs["a"].id


OPTIONS: dict[str, Any] = {
    "queue": "fast",
    "max_attempts": 3,
    "priority": 9,
    "tags": ["a", "b"],
    "timeout": 2.5,
    "deadline": Deadline(30, force=True),
    "meta": {"day": date(2026, 1, 2)},
    "schedule_in": 60,
    "unique": Unique(keys=["n"], period=60, states="incomplete", replace=["priority"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_jobs_come_back(name):
    flow = Workflow()
    flow.add("a", take.options(**{name: OPTIONS[name]}).new())

    assert list(flow.to_dict()["steps"]["a"]["options"]) == [name]
    assert graph(again(flow)) == graph(flow)


@pytest.mark.parametrize(
    "options",
    [{"scheduled_at": datetime(2030, 1, 2, tzinfo=UTC)}, {"deadline": 5}, {"deadline": None}, {"unique": True}],
)
def test_so_do_these(options):
    flow = Workflow()
    flow.add("a", take.options(**options).new())

    assert graph(again(flow)) == graph(flow)


names = st.sampled_from(["a", "b", "c", "d", 'e"$', "$ref", "ü"])
scalars = st.none() | st.integers() | st.text() | st.dates() | st.decimals(allow_nan=False) | st.uuids() | st.binary()
keys = st.text(max_size=3) | st.sampled_from(["$param", "$ref", "$waiting"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)
anywhere: Any = keys | st.integers()
flags: Any = st.fixed_dictionaries(
    {}, optional={f"ignore_{end}": st.booleans() for end in ("cancelled", "discarded", "deleted")}
)


@st.composite
def flows(draw: st.DrawFn) -> Workflow:
    flow = Workflow(draw(st.none() | st.just("named")), **draw(flags))
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        before = list(flow.steps.values())
        deps: list[Any] = draw(st.lists(st.sampled_from(before), max_size=2)) if before else []
        held: Any = draw(values)
        takes: bool = draw(st.booleans())
        if before and takes:
            found = later(draw(st.sampled_from(before)).result)
            for key in draw(st.lists(anywhere, max_size=2)):
                found = found[key]
            held = draw(st.sampled_from([found, [held, found], {"k": (held, found)}]))
        options = draw(st.sampled_from([{}, *({name: value} for name, value in OPTIONS.items() if name != "unique")]))
        flow.add(name, take.options(**options).new(held, n=draw(st.integers(0, 9))), deps, **draw(flags))
    return flow


@given(flows())
def test_any_workflow_comes_back_as_the_same_graph(flow):
    other = again(flow)

    assert graph(other) == graph(flow)
    assert other.step_names == flow.step_names
    assert other.to_dict() == flow.to_dict()
    assert [row.args for row in other.rows().jobs] == [row.args for row in flow.rows().jobs]


def test_references_are_to_the_new_workflow():
    flow = Workflow()
    flow.add("b", take.new(later(flow.add("a", take.new()).result)))

    other = again(flow)
    other.add("c", take.new(later(other.steps["a"].result)))

    assert other.steps["b"].job.args["value"].workflow_id == other.id
    assert other.steps["c"].deps == ("a",)


def test_args_that_are_sealed_are_not_given_away():
    flow = Workflow()
    flow.add("a", Job("templates.take", Sealed("k", "w", "data")))

    with pytest.raises(InvalidWorkflow, match="sealed"):
        flow.to_dict()


# ── parameters ────────────────────────────────────────────────────────────────────────────────────


def with_params(params: Any, args: Any = None, **more: Any) -> dict[str, Any]:
    return {"params": params, "steps": {"a": {"worker": "templates.take", "args": args or {}, **more}}}


VALUES: dict[str, tuple[Any, Any]] = {
    "any": ({"x": 1}, {"x": 1}),
    "str": ("x", "x"),
    "int": ("7", 7),
    "float": ("0.5", 0.5),
    "bool": ("true", True),
    "list": ("[1]", [1]),
    "dict": ('{"a": 1}', {"a": 1}),
    "date": ("2026-01-02", date(2026, 1, 2)),
    "time": ("12:00", datetime(2026, 1, 1, 12).time()),  # noqa: DTZ001 - the time of any day
    "datetime": ("2026-01-02T00:00:00+00:00", datetime(2026, 1, 2, tzinfo=UTC)),
    "timedelta": ("PT5S", timedelta(seconds=5)),
    "decimal": ("1.50", Decimal("1.50")),
    "uuid": (str(UUID(int=7)), UUID(int=7)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_parameter_is_cast_to_its_type_and_takes_its_place(kind):
    said, value = VALUES[kind]
    document = with_params({"k": {"type": kind}}, {"value": [{"$param": "k"}]})

    flow = Workflow.from_dict(document, {"k": said})

    assert flow.jobs["a"].args["value"] == [value]


def test_a_default_counts_where_nothing_is_given():
    document = with_params({"k": {"type": "date", "default": {"$date": "2026-01-02"}}}, {"value": {"$param": "k"}})

    assert Workflow.from_dict(document).jobs["a"].args["value"] == date(2026, 1, 2)
    assert Workflow.from_dict(document, {"k": "2026-02-03"}).jobs["a"].args["value"] == date(2026, 2, 3)


def test_parameters_fill_in_names_and_options_too():
    document = {"name": {"$param": "k"}, **with_params({"k": {}}, options={"queue": {"$param": "k"}})}

    flow = Workflow.from_dict(document, {"k": "fast"})

    assert (flow.name, flow.jobs["a"].queue) == ("fast", "fast")


def test_a_value_is_a_value_and_never_looked_into():
    document = with_params({"k": {}, "other": {"default": 1}}, {"value": {"$param": "k"}})

    flow = Workflow.from_dict(
        document,
        {
            "k": {
                "$param": "other",
            }
        },
    )

    assert flow.jobs["a"].args["value"] == {"$param": "other"}
    assert not holds_reference(Workflow.from_dict(document, {"k": {"$ref": ["a"]}}).jobs["a"].args)


# ── faults ────────────────────────────────────────────────────────────────────────────────────────


def problems(document: Any, **params: Any) -> dict[str, str]:
    with pytest.raises(InvalidTemplate) as refused:
        Workflow.from_dict(document, params)
    return dict(refused.value.problems)


def test_every_fault_is_told_at_once_with_its_path():
    document = {
        "nmae": "sync",
        "ignore_deleted": 1,
        "steps": {
            "a": {"worker": "no.such", "deps": ["ghost", 7]},
            "b": {
                "worker": "templates.take",
                "args": {"n": "seven", "zz": 1},
                "options": {"priority": 10, "qeue": "x"},
            },
            "c": {
                "worker": "templates.take",
                "args": {"value": [1, {"deep": {"$tuple": [{"$ref": ["nobody"]}]}}, {"$set": [{"$ref": ["me"]}]}]},
                "ignore_deleted": "yes",
            },
            "d": {"args": [], "wroker": "templates.take"},
            "e": {"worker": "templates.chained"},
            "f": 7,
            "": {"worker": "templates.take", "args": {"value": {"$date": "soon"}}},
        },
    }

    assert set(problems(document)) == {
        "nmae",
        "ignore_deleted",
        "steps.a.worker",
        "steps.a.deps[0]",
        "steps.a.deps",
        "steps.b.args.n",
        "steps.b.args.zz",
        "steps.b.options.priority",
        "steps.b.options.qeue",
        "steps.c.args.value[1].deep[0]",
        "steps.c.args.value[2][0]",
        "steps.c.ignore_deleted",
        "steps.d.args",
        "steps.d.wroker",
        "steps.d.worker",
        "steps.e.worker",
        "steps.f",
        "steps.f.worker",
        "steps.",
        "steps..args",
    }


def test_a_cycle_is_told_also_one_of_references():
    steps = {
        "a": {"worker": "templates.take", "deps": "b"},
        "b": {"worker": "templates.take", "args": {"value": {"$ref": ["a"]}}},
    }

    assert problems({"steps": steps}) == {"steps": "steps wait for each other in a circle: a -> b -> a"}


PARAMS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "missing": ({"k": {"type": "int"}}, {}, "params.k"),
    "unknown": ({}, {"k": 1}, "params.k"),
    "wrong type": ({"k": {"type": "int"}}, {"k": "x"}, "params.k"),
    "wrong default": ({"k": {"type": "int", "default": "x"}}, {}, "params.k.default"),
    "no such type": ({"k": {"type": "integer"}}, {"k": 1}, "params.k.type"),
    "unhashable type": ({"k": {"type": []}}, {"k": 1}, "params.k.type"),
    "unknown word": ({"k": {"typ": "int"}}, {"k": 1}, "params.k.typ"),
    "no object": ({"k": "int"}, {"k": 1}, "params.k"),
    "what cannot be stored": ({"k": {}}, {"k": object()}, "params.k"),
    "no list": ({"k": {"type": "list"}}, {"k": "[1"}, "params.k"),
}


@pytest.mark.parametrize(("declared", "given", "path"), PARAMS.values(), ids=PARAMS)
def test_a_parameter_that_does_not_fit_is_told(declared, given, path):
    assert list(problems(with_params(declared), **given)) == [path]


def test_a_parameter_that_is_not_declared_is_told_where_it_is_used():
    assert problems(with_params({}, {"value": [{"$param": "k"}]})) == {
        "steps.a.args.value[0]": "there is no parameter 'k'"
    }


def test_no_fault_shows_a_value():
    document = with_params({"k": {"type": "int"}}, {"value": {"$param": "k"}})

    assert "secret" not in str(problems(document, k="secret"))


@pytest.mark.parametrize(
    "options",
    [
        {"id": "7"}, {"schedule_in": -1},
        {"schedule_in": 1, "scheduled_at": {"$datetime": "2030-01-01T00:00:00+00:00"}},
        {"unique": {"field": []}}, {"unique": {"states": "none"}}, {"unique": 7}, {"deadline": {"aftr": 1}},
        {"deadline": {"force": True}}, {"meta": []}, {"tags": "x"}, {"timeout": 0}, {"queue": None},
        {"max_attempts": "3"},
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_told(options):
    (path,) = problems(with_params({}, options=options))

    assert path.startswith("steps.a.options")


DEEP = 5_000
HOSTILE: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "a number": 7,
    "nothing at all": None,
    "no steps": {"steps": {}},
    "steps as a list": {"steps": []},
    "other keys": {1: 2},
    "args by themselves waiting": with_params({}, {"$waiting": {"value": 1}}),
    "sealed args": with_params({}, {"$sealed": ["k", "w", "AA==", ""]}),
    "a tag that is not known": with_params({}, {"value": {"$import": "os"}}),
    "what is no JSON": with_params({}, {"value": object()}),
    "a set": with_params({}, {"value": {1, 2}}),
    "a name that cannot be": {"name": "\0", **with_params({})},
    "a name that is none": {"name": 7, **with_params({})},
    "a huge step name": {"steps": {"x" * 1000: {"worker": "templates.take"}}},
    "a million attempts": with_params({}, options={"max_attempts": 10**6}),
    "too many digits": with_params({}, {"value": 10**5000}),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_workflow_is_refused(document):
    with pytest.raises(InvalidTemplate):
        Workflow.from_dict(document)


def test_depth_is_refused_in_data_and_in_text():
    deep: Any = 1
    for _ in range(DEEP):
        deep = [deep]
    ring: dict[str, Any] = {}
    ring["a"] = ring

    for document in (with_params({}, {"value": deep}), ring, {"steps": ring}, with_params({}, {"value": ring})):
        with pytest.raises(InvalidTemplate):
            Workflow.from_dict(document)
    with pytest.raises(InvalidTemplate):
        Workflow.from_json('{"steps":' + "[" * 100_000)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "NaN", '{"steps":{}}x', '{"a":1,"a":2}', '{"steps":{"a":{"n":1,"n":2}}}']
)
def test_text_that_is_no_such_json_is_refused(text):
    with pytest.raises(InvalidTemplate):
        Workflow.from_json(text)


def test_a_text_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(template, "TEMPLATE_MOST", 60)
    text = '{"steps": {"ü": {"worker": "templates.take"}}}'

    assert Workflow.from_json(text).step_names == ["ü"]
    with pytest.raises(TooLarge, match=r"a workflow as text takes 61 bytes"):
        Workflow.from_json(text + " " * (61 - len(text.encode())))


def test_before_new_of_a_hook_is_called_for_each_job_that_data_makes():
    flow = Workflow()
    flow.add("a", hooked.new(0))
    again = Workflow.from_dict(flow.to_dict())

    assert [each.jobs["a"].args for each in (flow, again)] == [{"made": 1}, {"made": 2}]


class Counting:
    def before_new(self, args: Any, options: Any) -> Any:
        return {"made": args["made"] + 1}, options


@job(name="templates.hooked", hooks=[Counting()])
def hooked(made: int) -> None: ...


def test_a_key_that_is_there_twice_is_named():
    with pytest.raises(InvalidTemplate, match="the key 'a' is there twice"):
        Workflow.from_json('{"steps": {"a": {"worker": "templates.take"}, "a": {"worker": "templates.take"}}}')


def test_a_message_names_twenty_faults_and_the_data_all():
    document = {"steps": {str(n): {"worker": "no.such"} for n in range(1_000)}}

    with pytest.raises(InvalidTemplate, match="and 980 more") as refused:
        Workflow.from_dict(document)
    assert len(refused.value.problems) == 1_000
    assert len(str(refused.value)) < 3_000


def test_ten_thousand_steps_are_built_in_a_moment():
    steps = {"0": {"worker": "templates.take"}} | {
        str(n): {"worker": "templates.take", "args": {"value": {"$ref": [str(n - 1)]}}} for n in range(1, 10_000)
    }
    began = clock.monotonic()

    flow = Workflow.from_json(json.dumps({"steps": steps}))

    assert flow.steps["9999"].deps == ("9998",)
    assert flow.steps["9999"].job.args["value"] == Reference("9998")
    assert clock.monotonic() - began < 30


@pytest.mark.parametrize(
    ("document", "place", "reason"),
    [
        ({"on_finished": {**TAKE, "options": {"unique": True}}, "steps": {"a": TAKE}}, "on_finished", "unique"),
        ({"steps": {"g": {"steps": {"a": TAKE}}, "g/b": TAKE}}, "steps", "group 'g'"),
        ({"steps": {"g": {"steps": {"a": TAKE}, "deps": "b"}, "b": {**TAKE, "deps": "g/a"}}}, "steps", "circle"),
    ],
)
def test_what_only_the_whole_document_shows_is_a_fault_with_its_path_too(document, place, reason):
    with pytest.raises(InvalidTemplate, match=reason) as refused:
        Workflow.from_dict(document)

    assert [path for path, _ in refused.value.problems] == [place]
