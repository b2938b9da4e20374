"""The running job: which one it is, and what it may reach."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from tenuto.errors import NotInJob
from tenuto.job import Job
from tenuto.sizes import USUAL, Sizes


@dataclass(slots=True)
class Needs:
    """What came with the claim of a step: its deps' results as stored text, and its own earlier one.

    A name in `results` with None is a dep that has stored nothing.
    """

    results: dict[str, str | None] = field(default_factory=dict)
    own: str | None = None
    unmet: int = 0  # needs that are not met: it should not have been claimed
    deferred: bool = False  # results were too large to come along, and are to be read before it starts
    sealed: dict[str, tuple[str, str]] = field(default_factory=dict)  # the job and worker of results to be opened
    groups: dict[str, Any] = field(default_factory=dict)  # deps that are: the full names of members, by short ones
    members: dict[str, str] = field(default_factory=dict)  # what those have stored, by full name
    closed: dict[str, Exception] = field(default_factory=dict)  # why those stay sealed that could not be
    context: str | None = None  # what its workflow tells all of its steps, once that was read


NONE: Final = Needs()
"""Of all that is no step: it has no results of its own to store."""


@dataclass(slots=True)
class Running:
    """One attempt under way: its job, its needs, and the two doors to the database that a step has."""

    job: Job[Any, Any]
    app: Any
    needs: Needs
    has_step: Callable[[Job[Any, Any], str], bool]  # blocking, a short read
    store_result: Callable[[Job[Any, Any], str], Awaitable[None]]
    loop: Any  # the event loop of its node
    threads: Any  # those of its node, or the one that the attempt keeps
    sizes: Sizes = USUAL  # of what it may store
    slots: Any = None  # of its queue on its node, to be lent while it waits for another job
    completions: list[Any] | None = None  # made in transactions of its own, the last one counts; None: not to be had


running: ContextVar[Running] = ContextVar("tenuto_running")


def current(what: str) -> Running:
    """The attempt this code runs in. Raises NotInJob, naming `what` was asked for, outside of one."""
    found = running.get(None)
    if found is None:
        raise NotInJob(what)
    return found


def current_job() -> Job[Any, Any]:
    """The job this code runs in; its `cancelled` turns true when it is asked to stop. Raises NotInJob."""
    return current("current_job()").job


def current_app() -> Any:
    """The app that runs this job, one of perhaps several in the process. Raises NotInJob."""
    return current("current_app()").app
