"""Models: which one a step is to call, told as an arg of its job, and what steps of several models are labelled."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, cast

from tenuto.definition import resolve
from tenuto.errors import InvalidArgs, InvalidWorkflow, ModelNotTaken, UnknownWorker
from tenuto.job import AVAILABLE, Job, Result, check_name
from tenuto.reference import Waiting

MODEL: Final = "workflow_model"  # the arg that tells a step its model


def modelled(step: str, job: Job[Any, Result], model: str, id: str | None = None) -> Job[Any, Result]:
    """The job, made anew with its model among its args. Raises ModelNotTaken."""
    if type(job.args) not in (dict, Waiting):
        raise ModelNotTaken(step, job.worker, "its args are no dict")
    args: dict[str, Any] = {**job.args, MODEL: model}
    try:
        return resolve(job.worker).new(args, job.replace(state=AVAILABLE), id)
    except InvalidArgs as refused:
        raise ModelNotTaken(step, job.worker, refused.problems[0][1]) from None
    except UnknownWorker:
        raise ModelNotTaken(step, job.worker, "no worker of that name is registered here") from None


def checked_models(models: Any) -> dict[str, str]:
    """Names of models by the names of steps, or by labels. Raises InvalidWorkflow and InvalidJob for all else."""
    if not isinstance(models, Mapping):
        raise InvalidWorkflow("models= takes names of models by the names of steps")
    given = cast("Any", models)
    return {step_name(step): check_name("model", model) for step, model in given.items()}


def labelled(models: Any) -> dict[str, str]:
    """Models by their labels. Raises InvalidWorkflow for none, and DuplicateStep for one that is named twice."""
    if isinstance(models, Mapping):
        found = checked_models(models)
    elif isinstance(models, str) or not isinstance(models, Iterable):
        raise InvalidWorkflow("models are names of models in a list, or by labels of yours")
    else:
        given = cast("Any", models)
        listed = [check_name("model", model) for model in given]
        found = dict(zip(listed, listed, strict=True))
        if len(found) < len(listed):
            twice = next(model for model in listed if listed.count(model) > 1)
            raise InvalidWorkflow(f"model {twice!r} is named twice; give models by labels to ask one twice")
    if not found:
        raise InvalidWorkflow("there is no model to ask")
    return found


def step_name(name: Any) -> str:
    """The name of a step, also where it is given as a member of an enum. Raises InvalidJob."""
    return check_name("step", name.value if isinstance(name, Enum) else name)
