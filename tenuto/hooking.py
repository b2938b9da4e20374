"""Hooking: hooks that are attached to every worker, or added to one function worker by a decorator."""

from collections.abc import Callable
from typing import Any, TypeVar

from tenuto.definition import Definition, registered
from tenuto.features.hook import hooks_of, name_of
from tenuto.features.hooks import attached

H = TypeVar("H", bound=Callable[..., Any])


def attach_hook(hook: object) -> None:
    """Call these hooks for every worker of this process, behind those that a worker has itself.

    Any object with some of before_new, before_process, after_process, on_cancelled and on_discarded. Attaching twice is
    once. A job is told of by on_cancelled and on_discarded only where they were attached when it was enqueued, and are
    on the node that tells. Raises InvalidHook.
    """
    found = hooks_of(hook)
    if all(hook != known for known, _ in attached):
        attached.append((hook, found))
        _refresh()


def detach_hook(hook: object) -> None:
    """Call these hooks no more. Nothing happens to one that is not attached."""
    attached[:] = [(known, found) for known, found in attached if known != hook]
    _refresh()


def _refresh() -> None:
    for definition in registered().values():
        definition.refresh()


class HookDecorators:
    """Hooks of one function worker: `@charge.after_process` above a function makes it one."""

    definition: Definition

    def before_new(self, hook: H, /) -> H:
        """Call it as (args, options) before a job is made of them; it returns both. Raises InvalidHook."""
        return self._add("before_new", hook)

    def before_process(self, hook: H, /) -> H:
        """Call it as (job) before process; it returns the job, or Cancel. Raises InvalidHook."""
        return self._add("before_process", hook)

    def after_process(self, hook: H, /) -> H:
        """Call it as (state, job, result), or without the result, after each attempt. Raises InvalidHook."""
        return self._add("after_process", hook)

    def on_cancelled(self, hook: H, /) -> H:
        """Call it as (reason, job) after others have cancelled a job. Raises InvalidHook."""
        return self._add("on_cancelled", hook)

    def on_discarded(self, hook: H, /) -> H:
        """Call it as (reason, job) after others have discarded a job. Raises InvalidHook."""
        return self._add("on_discarded", hook)

    def _add(self, moment: str, hook: H) -> H:
        self.definition.hooks.add(moment, name_of(hook), hook)
        self.definition.refresh()
        return hook
