"""Hooks: which objects are hooks, what they may change of a new job, and in which order they are called."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from tenuto.definition import resolve
from tenuto.errors import InvalidArgs, InvalidHook, InvalidJob, TooLarge
from tenuto.features.deadline import Deadline
from tenuto.features.hook import MOMENTS
from tenuto.features.hooks import OPTIONS
from tenuto.function import job
from tenuto.hooking import attach_hook, detach_hook
from tenuto.job import Job
from tenuto.options import JobOptions
from tenuto.outcome import Cancel, Outcome, Record, outcome_of
from tenuto.worker import Worker

AnyJob = Job[Any, Any]


async def processed(made: AnyJob) -> Outcome:
    """What an attempt comes to, here and now."""
    worker = resolve(made.worker)

    async def innermost(job: AnyJob) -> Outcome:
        returned = worker.invoke(job)
        return outcome_of(await returned if worker.is_async else returned)

    return await worker.pipeline(innermost)(made)


@pytest.fixture
def attached() -> Iterator[Any]:
    """Attach hooks that are detached after the test."""
    hooks: list[object] = []

    def attach(hook: object) -> None:
        hooks.append(hook)
        attach_hook(hook)

    yield attach
    for hook in hooks:
        detach_hook(hook)


class Named:
    """A hook that tells its name at each moment."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told

    def before_new(self, args: Any, options: Any) -> Any:
        self.told.append(f"new {self.name}")
        return args, options

    def before_process(self, job: AnyJob) -> AnyJob:
        self.told.append(f"process {self.name}")
        return job


# ── what is a hook ────────────────────────────────────────────────────────────────────────────────


class Nothing:
    def after_new(self) -> None: ...

    def on_complete(self, job: AnyJob) -> None: ...


class NeedsInstance:
    def before_process(self, job: AnyJob) -> AnyJob:
        return job


class Static:
    @staticmethod
    def before_process(job: AnyJob) -> AnyJob:
        return job.replace(args={**job.args, "n": 7})


class TooFew:
    def after_process(self, state: str) -> None: ...


class TooMany:
    def on_cancelled(self, reason: str, job: AnyJob, more: int) -> None: ...


class AsyncNew:
    async def before_new(self, args: Any, options: Any) -> Any:
        return args, options


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        (Nothing(), "none of before_new, before_process, after_process, on_cancelled, on_discarded"),
        (NeedsInstance, r"give NeedsInstance\(\), not the class"),
        (TooFew(), r"called with \(state, job, result\) or \(state, job\)"),
        (TooMany(), r"called with \(reason, job\)"),
        (AsyncNew(), r"new\(\) cannot wait for it"),
    ],
    ids=["none of the five", "a class", "too few", "too many", "async before_new"],
)
def test_what_cannot_be_called_as_a_hook_is_refused_at_once(hook: object, told: str):
    with pytest.raises(InvalidHook, match=told):
        job(hooks=[hook])(lambda: None)
    with pytest.raises(InvalidHook, match=told):
        attach_hook(hook)


@pytest.mark.parametrize("hooks", ["audit", Static, 7])
def test_hooks_that_are_no_list_are_refused(hooks: Any):
    with pytest.raises(InvalidHook, match="is no list"):
        job(hooks=hooks)(lambda: None)


class Base(Worker[None]):
    def process(self, job: Job[None]) -> None: ...


def echo(n: int) -> int:
    return n


@dataclass
class Numbered:
    n: int


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_hook_of_a_class_is_checked_like_any_other(moment: str):
    with pytest.raises(InvalidHook, match=moment):
        type("Wrong", (Base,), {moment: lambda self: None})


async def test_a_module_an_instance_and_a_class_of_static_methods_are_hooks():
    module = ModuleType("audit")
    module.before_process = lambda job: job.replace(args={"n": job.args["n"] + 1})  # type: ignore[attr-defined]

    made = job(name="hooks.kinds", hooks=[Static, module, NeedsInstance()])(echo).new(1)

    assert await processed(made) == Record(8)


# ── their order ───────────────────────────────────────────────────────────────────────────────────


async def test_own_hooks_come_first_then_listed_then_attached_ones(attached):
    told: list[str] = []
    attached(Named("attached", told))
    attached(Named("attached later", told))

    class Both(Worker[None], name="hooks.order", hooks=[Named("listed", told), Named("listed later", told)]):
        def before_new(self, args: Any, options: Any) -> Any:
            told.append("new own")
            return args, options

        def before_process(self, job: AnyJob) -> AnyJob:
            told.append("process own")
            return job

        def process(self, job: AnyJob) -> None:
            told.append("process")

    await processed(Both.new())

    order = ["own", "listed", "listed later", "attached", "attached later"]
    assert told == [*(f"new {name}" for name in order), *(f"process {name}" for name in order), "process"]


async def test_the_hooks_of_a_function_are_added_by_decorators():
    told: list[str] = []
    worker = job(name="hooks.decorated", hooks=[Named("listed", told)])(echo)

    @worker.before_new
    def double(args: Any, options: Any) -> Any:
        told.append("new own")
        return {"n": args["n"] * 2}, options

    @worker.before_process
    def increase(job: AnyJob) -> AnyJob:
        told.append("process own")
        return job.replace(args={"n": job.args["n"] + 1})

    made = worker.new(1)

    assert made.args == {"n": 2}
    assert await processed(made) == Record(3)
    assert told == ["new own", "new listed", "process own", "process listed"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_decorated_function_stays_the_function_and_is_checked(moment: str):
    worker = job(name="hooks.stays")(echo)

    def hook(first: Any, second: Any) -> Any:
        return first, second

    def alone(first: Any) -> Any:
        return first

    fits = alone if moment == "before_process" else hook
    assert getattr(worker, moment)(fits) is fits
    with pytest.raises(InvalidHook):
        getattr(worker, moment)(lambda: None)


def test_attaching_twice_is_once_and_detaching_ends_it(attached):
    told: list[str] = []
    hook = Named("a", told)
    worker = job(name="hooks.attached")(echo)
    attached(hook)
    attached(hook)

    worker.new(1)
    detach_hook(hook)
    detach_hook(hook)
    worker.new(1)

    assert told == ["new a"]


def test_a_hook_is_called_for_the_workers_that_have_it_and_an_attached_one_for_all(attached):
    told: list[str] = []
    shared, owned = Named("listed", told), Named("own", told)
    first = job(name="hooks.first", hooks=[shared])(echo)
    second = job(name="hooks.second", hooks=[shared])(echo)
    third = job(name="hooks.third")(echo)
    third.before_new(owned.before_new)

    def heard_of_each() -> list[list[str]]:
        heard = []
        for worker in (first, second, third):
            worker.new(1)
            heard.append(list(told))
            told.clear()
        return heard

    assert heard_of_each() == [["new listed"], ["new listed"], ["new own"]]
    attached(shared)  # the same object, for all workers, also of those that were defined before
    assert heard_of_each() == [["new listed"] * 2, ["new listed"] * 2, ["new own", "new listed"]]


def test_hooks_are_inherited_with_the_methods_and_the_options():
    told: list[str] = []

    class Base(Worker[None], hooks=[Named("listed", told)]):
        @staticmethod
        def before_new(args: Any, options: Any) -> Any:
            told.append("new own")
            return args, options

        def process(self, job: AnyJob) -> None: ...

    class Child(Base, name="hooks.child"):
        pass

    Child.new()

    assert told == ["new own", "new listed"]


def test_a_worker_without_hooks_has_no_feature_for_them():
    plain = job(name="hooks.plain")(echo).definition

    assert plain.acting == plain.features
    assert plain.observing == plain.storing == ()


# ── before_new ────────────────────────────────────────────────────────────────────────────────────


class Changing:
    """A hook that gives back what it was made with."""

    def __init__(self, args: Any = None, **options: Any) -> None:
        self.args = args
        self.options = options

    def before_new(self, args: Any, options: Any) -> Any:
        return args if self.args is None else self.args, {**options, **self.options}


def test_before_new_sees_raw_args_and_all_options():
    seen: list[Any] = []

    class Look:
        def before_new(self, args: Any, options: Any) -> Any:
            seen.append((args, dict(options)))
            return args, options

    worker = job(name="hooks.look", queue="mail", hooks=[Look()])(echo)
    made = worker.options(priority=3, meta={"a": 1}).new("7")  # type: ignore[arg-type]

    ((args, options),) = seen
    assert args == {"n": "7"}
    assert options == {name: getattr(made, name) for name in OPTIONS}
    assert (options["queue"], options["priority"], options["meta"]) == ("mail", 3, {"a": 1})


def test_before_new_is_called_in_whatever_way_a_job_is_made():
    seen: list[Any] = []

    class Look:
        def before_new(self, args: Any, options: Any) -> Any:
            seen.append(args)
            return args, options

    class Overriding(Worker[Numbered], hooks=[Look()]):
        def process(self, job: Job[Numbered]) -> None: ...

        @classmethod
        def new(cls, /, *args: Any, **fields: Any) -> Job[Any, Any]:
            return cls.definition.new({"n": 7})  # and not super().new(…)

    plain = job(name="hooks.ways", hooks=[Look()])(echo)
    ways: list[Any] = [
        plain.new,
        plain.options(priority=3).new,
        plain.check,
        Overriding.new,
        Overriding.options(priority=3).new,
    ]
    for way in ways:
        way(n=7)

    assert seen == [{"n": 7}] * len(ways)


def test_every_option_of_a_job_can_be_changed():
    assert set(OPTIONS) == {name for name in JobOptions.__optional_keys__ if name in Job.__dataclass_fields__}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (60, (timedelta(minutes=1), True)),
        (timedelta(minutes=2), (timedelta(minutes=2), True)),
        (Deadline(60), (timedelta(minutes=1), False)),
        (None, (None, True)),
    ],
    ids=repr,
)
def test_before_new_may_change_a_deadline_as_options_do(given: Any, expected: Any):
    worker = job(name="hooks.hurried", deadline=Deadline(600, force=True), hooks=[Changing(deadline=given)])(echo)

    made = worker.new(1)

    assert (made.deadline, made.deadline_force) == expected
    assert (made.deadline, made.deadline_force) == _asked(worker.options(deadline=given).new(1))


def _asked(made: AnyJob) -> Any:
    return made.deadline, made.deadline_force


@pytest.mark.parametrize(
    ("has_one", "given", "told"),
    [
        ({}, 60, "has no deadline, so its jobs can have none"),
        ({"deadline": 600}, 0, "a deadline of zero"),
        ({"deadline": 600}, "soon", "is no duration"),
    ],
)
def test_a_deadline_from_before_new_is_refused_as_an_option_is(has_one: Any, given: Any, told: str):
    worker = job(name="hooks.unhurried", hooks=[Changing(deadline=given)], **has_one)(echo)

    with pytest.raises(InvalidJob, match=told):
        worker.new(1)
    with pytest.raises(InvalidJob, match=told):
        job(name="hooks.unhurried too", **has_one)(echo).options(deadline=given)


def test_what_before_new_gives_back_is_what_the_job_is_made_of():
    hook = Changing({"n": "5"}, queue="slow", meta={"span": "x"}, tags=["A"], schedule_in=3)

    made = job(name="hooks.changed", hooks=[hook])(echo).new(1)

    assert (made.args, made.queue, made.meta, made.tags) == ({"n": 5}, "slow", {"span": "x"}, ("a",))
    assert made.schedule_in is not None


def test_meta_that_a_hook_changes_in_place_is_its_job_s_alone():
    class Stamp:
        count = 0

        def before_new(self, args: Any, options: Any) -> Any:
            self.count += 1
            options["meta"]["spans"].append(self.count)
            return args, options

    several = job(name="hooks.in_place", hooks=[Stamp()])(echo).options(meta={"spans": []})

    assert [several.new(1).meta, several.new(1).meta] == [{"spans": [1]}, {"spans": [2]}]


@pytest.mark.parametrize(
    ("hook", "error", "told"),
    [
        (Changing({"n": "x"}), InvalidArgs, "n"),
        (Changing({"n": 1, "m": 2}), InvalidArgs, "unknown"),
        (Changing(quue="x"), InvalidJob, "no option is named 'quue'"),
        (Changing(priority=11), InvalidJob, "priority"),
        (Changing(meta={"workflow_id": "x"}), InvalidJob, "workflow_id"),
        (Changing(meta=None), InvalidJob, "meta"),
        (Changing(meta={"a": "x" * 1_000_000}), TooLarge, "meta"),
    ],
    ids=["args that do not fit", "an unknown arg", "an unknown option", "a priority", "a key", "no meta", "much meta"],
)
def test_what_before_new_gives_back_is_checked_as_if_it_had_been_given(hook: object, error: type, told: str):
    worker = job(name="hooks.checked", hooks=[hook])(echo)

    with pytest.raises(error, match=told):
        worker.new(1)


@pytest.mark.parametrize("answer", [None, ({},), ({}, None), [{}, {}], "ab"])
def test_before_new_that_does_not_give_both_back_is_told(answer: Any):
    class Forgetful:
        def before_new(self, args: Any, options: Any) -> Any:
            return answer

    with pytest.raises(InvalidHook, match="return both: args, options"):
        job(name="hooks.forgetful", hooks=[Forgetful()])(echo).new(1)


def test_what_before_new_raises_refuses_the_job():
    class Closed:
        def before_new(self, args: Any, options: Any) -> Any:
            raise PermissionError("not on Sundays")

    worker = job(name="hooks.closed", hooks=[Closed()])(echo)

    with pytest.raises(PermissionError, match="not on Sundays"):
        worker.new(1)
    with pytest.raises(PermissionError):
        worker.check(1)


# ── before_process ────────────────────────────────────────────────────────────────────────────────


async def test_before_process_sees_cast_args():
    seen: list[Any] = []

    class Look:
        def before_process(self, job: AnyJob) -> AnyJob:
            seen.append(job.args)
            return job

    worker = job(name="hooks.cast", hooks=[Look()])(echo)
    await processed(worker.new(1).replace(args={"n": "7"}))

    assert seen == [{"n": 7}]


async def test_an_outcome_in_place_of_the_job_skips_process_and_the_hooks_behind():
    told: list[str] = []

    class Closed:
        def before_process(self, job: AnyJob) -> Cancel:
            return Cancel("closed")

    worker = job(name="hooks.cancels", hooks=[Closed(), Named("behind", told)])(lambda: told.append("process"))

    outcome = await processed(worker.new())

    assert isinstance(outcome, Cancel)
    assert told == ["new behind"]


@pytest.mark.parametrize("answer", [None, {}, Job("another")], ids=["nothing", "a dict", "another job"])
async def test_before_process_that_does_not_give_the_job_back_is_told(answer: Any):
    class Wrong:
        def before_process(self, job: AnyJob) -> Any:
            return answer

    with pytest.raises(InvalidHook, match="return the job"):
        await processed(job(name="hooks.wrong", hooks=[Wrong()])(echo).new(1))


async def test_args_that_drifted_do_not_reach_before_process():
    told: list[str] = []
    worker = job(name="hooks.drifted", hooks=[Named("a", told)])(echo)
    made = worker.new(1).replace(args={"n": "x"})
    told.clear()

    with pytest.raises(InvalidArgs):
        await processed(made)

    assert told == []
