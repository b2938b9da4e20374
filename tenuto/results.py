"""Results between steps: what the running step may read of its deps, and what it stores of its own.

Inside a job the job is implied: `get_result("fetch")`. Naming it, `get_result(job, "fetch")`, means the same.
"""

from enum import Enum
from typing import Any, overload

from tenuto import codec
from tenuto.context import Running, current
from tenuto.errors import NoResult, NotADependency, NotInJob, NoWorkflow, StepNotFound
from tenuto.features.waiting import gathered
from tenuto.job import IDENTIFIERS, Job
from tenuto.llm.review import unquoted
from tenuto.llm.usage import ids_in_result, parted, says_usage
from tenuto.nesting import full, is_inside, prefixes, short
from tenuto.opening import result_text
from tenuto.outcome import Cancel, Record, encode_result


@overload
def get_result(step: str | Enum, /) -> Any: ...
@overload
def get_result(job: Job[Any, Any], step: str | Enum, /) -> Any: ...
def get_result(job: Job[Any, Any] | str | Enum, step: str | Enum | None = None, /) -> Any:
    """The result that one dep of the running step stored.

    That of a group is a dict of its members' results by their names in it, in the order of adding; what stored none is
    left out. In a group, names are those beside the step, then those around the group.
    Raises exactly one of, checked in this order: NoWorkflow (this job is no step), StepNotFound (the workflow
    has no such step), NotADependency (it exists, but is no declared dep of this one), NoResult (it stored
    nothing). A declared dep costs no read; only another name does. Raises NotInJob outside a job, and for what an
    encrypted step stored a SealError, or what the provider of its keys raised.
    """
    mine = _running("get_result()", job if isinstance(job, Job) else None)
    name = _name(step if isinstance(job, Job) else job)
    if mine.job.workflow_id is None:
        raise NoWorkflow(mine.job.id)
    spelled = _spellings(mine, name)
    dep = next((each for each in spelled if each in mine.needs.results), None)
    if dep is None:
        is_there = any(mine.has_step(mine.job, each) for each in spelled)
        raise NotADependency(name) if is_there else StepNotFound(name)
    if dep in mine.needs.groups:
        return gathered(mine.needs, mine.needs.groups[dep])
    text = mine.needs.results[dep]
    if text is None:
        raise NoResult(name)
    return _value(mine, dep, text)


def get_all_results(job: Job[Any, Any] | None = None) -> dict[str, Any]:
    """The results of all direct deps that have stored one, by name; empty for a job that is no step."""
    mine = _running("get_all_results()", job)
    found: dict[str, Any] = {}
    for name, text in mine.needs.results.items():
        if name in mine.needs.groups:
            found[_spoken(mine, name)] = gathered(mine.needs, mine.needs.groups[name])
        elif text is not None:
            found[_spoken(mine, name)] = _value(mine, name, text)
    return found


def get_own_result(job: Job[Any, Any] | None = None) -> Any:
    """What an earlier attempt of this job stored, or this one a moment ago. Raises NoResult."""
    mine = _running("get_own_result()", job)
    if mine.needs.own is None:
        raise NoResult(mine.job.id)
    return _value(mine, "", mine.needs.own)


def get_model_results(name: str | Enum, *, at_least: int = 1) -> dict[str, Any]:
    """What the models of `Workflow.fan_out_models(name, …)` gave, by the model or its label, for the step behind them.

    That step depends on the group, or on its members, as the one of `synthesize=` does. Models that gave nothing are
    not in it. Where fewer than `at_least` did, it raises Cancel, and the step ends with it.
    """
    mine, prefix = current("get_model_results()"), f"{_name(name)}/"
    group = next((each for each in _spellings(mine, _name(name)) if each in mine.needs.groups), None)
    given = {} if group is None else gathered(mine.needs, mine.needs.groups[group])
    given |= {
        spoken.removeprefix(prefix): _value(mine, step, text)
        for step, text in mine.needs.results.items()
        if text is not None and (spoken := _spoken(mine, step)).startswith(prefix)
    }
    found = {unquoted(label): value for label, value in given.items()}
    if len(found) < at_least:
        raise Cancel(f"{len(found)} models gave a result for {_name(name)!r}, and {at_least} are needed")
    return found


async def store_result(value: Any) -> None:
    """Keep the running step's result now, durably, before it settles; a second one or a return replaces it.

    Raises NoWorkflow for a job that is no step, StaleAttempt when the job was taken from this attempt,
    ResultTooLarge and UnencodableResult; InvalidUsage for an `llm_usage` that cannot be counted. Plain functions call
    tenuto.blocking.store_result.
    """
    mine = current("store_result()")
    if mine.job.workflow_id is None:
        raise NoWorkflow(mine.job.id)
    if says_usage(told := Record(value)):
        value, usages = parted(told.value)
        await mine.app.ledger.record(mine.job, usages, ids_in_result(mine.job, usages))
    text = encode_result(value, mine.sizes.result)
    await mine.store_result(mine.job, result_text(mine.job, text))
    mine.needs.own = text
    mine.needs.closed.pop("", None)


async def workflow_context() -> dict[str, Any]:
    """What the running step's workflow was given as its `context`; empty where that was nothing.

    It is read when it is asked for, once an attempt, and never changes. Raises NoWorkflow for a job that is no step.
    Plain functions call tenuto.blocking.workflow_context.
    """
    mine = current("workflow_context()")
    if mine.job.workflow_id is None:
        raise NoWorkflow(mine.job.id)
    text = mine.needs.context
    if text is None:
        text = mine.needs.context = str(await mine.app._context_of(mine.job.workflow_id) or "{}")
    return dict(codec.decode(text))


def _groups(mine: Running) -> list[str]:
    """The groups around this step, the innermost first."""
    around = mine.job.meta.get(IDENTIFIERS[3])
    return [] if around is None else [around, *reversed(prefixes(around))]


def _spellings(mine: Running, name: str) -> list[str]:
    """What a name may mean that is said by a step: one in its own group, in those around, or in none."""
    return [*(full(group, name) for group in _groups(mine)), name]


def _spoken(mine: Running, name: str) -> str:
    """The name of a dep as this step says it: without the group that both are in."""
    return next((short(group, name) for group in _groups(mine) if is_inside(group, name)), name)


def _value(mine: Running, name: str, text: str) -> Any:
    """A result as it came with the claim, where it could be opened."""
    if name in mine.needs.closed:
        raise mine.needs.closed[name]
    return codec.decode(text)


def _name(step: str | Enum | None) -> str:
    name = step.value if isinstance(step, Enum) else step
    if not isinstance(name, str):
        raise TypeError(f"get_result() needs the name of a step, and {name!r} is none")
    return name


def _running(what: str, job: Job[Any, Any] | None) -> Running:
    mine = current(what)
    if job is not None and job.id != mine.job.id:
        raise NotInJob(f"{what} of another job")
    return mine
