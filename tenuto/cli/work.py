"""`tenuto work`: find the app that a module holds, or make one for its jobs, and work until told to stop."""

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Coroutine, Mapping
from types import ModuleType
from typing import Annotated, Any, Final

import typer

import tenuto
from tenuto import telemetry
from tenuto.app import Tenuto
from tenuto.background import Front, to_work_for
from tenuto.cli import logs
from tenuto.cli.door import helpful, settings
from tenuto.cli.processes import Parent, flags, supervise
from tenuto.config import DEFAULT_SLOTS
from tenuto.definition import registered
from tenuto.errors import ConfigError
from tenuto.runtime.signals import STOPPING

LAST_WAIT: Final = 1.0  # seconds for what still runs after a graceful stop; then the process ends without it

_log: Final = logging.getLogger("tenuto")


def work(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="MODULE[:APP]", help="The module, and the app in it.")],
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUES", help="Queues and their slots: default=10,mail=5. Else the app's own, or settings."
        ),
    ] = None,
    node: Annotated[str | None, typer.Option(metavar="NAME", help="This node's name; else the machine's.")] = None,
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Seconds that running jobs get to end when the node stops."),
    ] = None,
    log_level: Annotated[logs.Level, typer.Option(help="How much is told.")] = logs.Level.INFO,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Logs as one JSON object a line.")] = False,
    processes: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Work in so many processes, each a node of its own.")
    ] = 1,
    child: Annotated[int | None, typer.Option(hidden=True, help="Which of several processes this is.")] = None,
) -> None:
    """Work on queues until SIGTERM or Ctrl-C: running jobs get the grace, then go back. A second one hurries.

    The module is imported, also from this folder. Its app is used, with what the options say instead of its own
    settings; one that has jobs and no app gets an app made from the settings. Where nobody names queues, it works
    on those that its workers name. With --processes, one more process starts them, starts again those that die, and
    passes on what it is told.
    """
    logs.set_up(log_level, as_json=json_logs, process=child)
    with helpful():
        if processes > 1:
            options = flags(queues=queues, node=node, grace=grace, log_level=log_level, json_logs=json_logs)
            raise typer.Exit(supervise(processes, ["work", target, *options], settings(context)))
        parent = None if child is None else Parent.of_this_process()
        given = settings(context) if parent is None else parent.settings
        app = find(target, given)
        app.configure(**given, queues=queues, node=node, grace=grace)
        if not app.config.queues:
            app.configure(queues={each.template.queue: DEFAULT_SLOTS for each in registered().values()})
        telemetry.attach(_Greeting(app), "node.start")
        spare_the_collector()
        run_to_its_end(app.work() if parent is None else parent.obey(app))


class _Greeting:
    """The first line of a node that works: who it is, on what, and where."""

    def __init__(self, app: Tenuto) -> None:
        self._app = app

    def __call__(self, event: str, payload: Mapping[str, Any]) -> None:
        fields = {
            "event": "work",
            "version": tenuto.__version__,
            "node": payload["node"],
            "queues": payload["queues"],
            "workers": sorted(registered()),
            "database": self._app.config.place,
        }
        _log.info("work", extra={"tenuto": fields})


# ── the app ───────────────────────────────────────────────────────────────────────────────────────


def find(target: str, settings: Mapping[str, Any]) -> Tenuto:
    """The app that `module` or `module:app` means, or one made from the settings. Raises ConfigError.

    For one that blocks it is another one that works like it.
    """
    name, _, attribute = target.partition(":")
    module = _imported(name)
    found = _named(module, attribute) if attribute else _only(module)
    if isinstance(found, Front):
        try:
            return to_work_for(found, settings)
        except ConfigError as error:
            raise ConfigError(f"{target} cannot be set up to work: {error}") from None
    if found is None and not registered():
        raise ConfigError(f"{name} holds no Tenuto app and defines no job; is it the right module?")
    return found or Tenuto(**settings)


def _only(module: ModuleType) -> Tenuto | Front | None:
    name = module.__name__
    apps = {id(value): (key, value) for key, value in vars(module).items() if isinstance(value, Tenuto | Front)}
    if len(apps) > 1:
        names = ", ".join(f"{name}:{key}" for key, _ in apps.values())
        raise ConfigError(f"{name} holds {len(apps)} apps; name one of them: {names}")
    return next((app for _, app in apps.values()), None)


def _named(module: ModuleType, attribute: str) -> Tenuto | Front:
    found = getattr(module, attribute, None)
    if not isinstance(found, Tenuto | Front):
        kind = "there is none" if found is None else f"it is of type {type(found).__name__}"
        raise ConfigError(f"{module.__name__}:{attribute} should be a Tenuto app, and {kind}")
    return found


def _imported(name: str) -> ModuleType:
    """The module, also from the current folder. Whatever it raises is told in a line, with where it was raised."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigError(f"{name!r} is a file; give the module: tenuto work {dotted}")
    if not name or name.startswith("."):
        raise ConfigError(f"{name!r} is no module's whole name; give one like shop.jobs, or shop.jobs:app")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"there is no module {error.name!r} in this folder or in this environment") from None
        raise _unimportable(name, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything; it is told
        raise _unimportable(name, error) from None


def _unimportable(name: str, error: BaseException) -> ConfigError:
    """What stopped the module, and where in the code of this folder."""
    told = str(error).splitlines()[0] if str(error) else ""
    return ConfigError(f"{name} cannot be imported: {type(error).__name__}: {told}{_where(error)}")


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # it says so itself
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    here = [frame for frame in frames if frame.filename.startswith(os.getcwd() + os.sep)]
    last = (here or frames)[-1]
    return f" ({os.path.relpath(last.filename)}, line {last.lineno})"


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def spare_the_collector() -> None:
    """Let Python look for cycles less often in what a node makes, and never again in what was imported.

    A drain with 1,000 slots goes from 27,300 to 30,800 jobs a second by it, one with 100 from 21,300 to 22,300.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def run_to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Run it, and then end the process with code 0, also while a job's thread or task will not end.

    `asyncio.run` waits for every task and every thread of the default executor, for ever if need be.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)  # it ends anyway, and with code 0
        is_clear = loop.run_until_complete(_without_tasks())
    finally:
        loop.close()  # the threads of its executor end once they are idle
    if not is_clear or _is_busy():
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


async def _without_tasks() -> bool:
    """Whether all that the jobs left behind on the loop ends when it is cancelled."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=LAST_WAIT)
    await asyncio.get_running_loop().shutdown_asyncgens()
    return all(task.done() for task in left)


def _is_busy() -> bool:
    """Whether a thread outlasts the last wait: one that the interpreter would wait for, or a job's."""
    until = time.monotonic() + LAST_WAIT
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and (not thread.daemon or thread.name == "tenuto-job"):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                return True
    return False
