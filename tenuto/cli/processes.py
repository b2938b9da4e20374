"""Several processes for `tenuto work`: a parent that starts them, tells which one ends, starts it again, stops all.

Between the parent and each child there is a *line*, a pair of sockets. The settings go down it, since a command line
can be read by everybody on the machine and a URL may hold a password. Up comes one byte when the child works, down
one that says hurry. And its end says that the other side is gone, however that side died.
"""

import asyncio
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from tenuto import telemetry
from tenuto.app import Tenuto
from tenuto.cli.door import REFUSED
from tenuto.errors import ConfigError
from tenuto.runtime.places.interpreter import options_of_python
from tenuto.runtime.signals import STOPPING

LONG_LIFE: Final = 60.0  # seconds; a child that dies after them is started again at once
LONGEST_DELAY: Final = 30.0  # seconds
WORKING: Final = b"w"  # what a child says
HURRY: Final = b"h"  # what a parent says

_log: Final = logging.getLogger("tenuto")


def supervise(count: int, words: Sequence[str], settings: Mapping[str, Any]) -> int:
    """Run so many processes, each `tenuto` with these words and settings, until told to stop; the code to end with.

    The first one starts alone. If it refuses its module, its settings or the database, that is told once, by itself,
    and its code is given back; the others start as soon as it works.
    """
    with asyncio.Runner() as runner:
        code = runner.run(Supervisor(count, words, settings).run())
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # or one would end it when the loop lets go of its handlers
    for stopping in STOPPING:
        signal.signal(stopping, signal.SIG_IGN)  # it ends anyway, and with this code
    return code


def flags(**options: Any) -> list[str]:
    """Options as they are written on a command line; those that are None or False are left out."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in options.items()
        if value is not None and value is not False  # 0.0 is a grace, too
    ]


def delay_after(deaths: int) -> float:
    """Seconds before the next start, after so many deaths that each came soon: 0, 1, 2, 4 … 30, up to 20% fewer."""
    if deaths <= 1:
        return 0.0
    return min(LONGEST_DELAY, 2.0 ** min(deaths - 2, 10)) * random.uniform(0.8, 1.0)


# ── the parent ────────────────────────────────────────────────────────────────────────────────────


class Supervisor:
    """The parent of several children. It works on nothing itself."""

    def __init__(self, count: int, words: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._count = count
        self._words = words
        self._settings = settings
        self._living: dict[int, Child] = {}
        self._signals = 0
        self._stopped = asyncio.Event()
        self._known = asyncio.Event()  # whether it can work at all: one child does, or will never
        self._code = 0

    async def run(self) -> int:
        """Keep the children alive until a signal; end when all have ended. The code to end with."""
        for stopping in STOPPING:
            asyncio.get_running_loop().add_signal_handler(stopping, self._signalled)
        async with asyncio.TaskGroup() as kept:
            kept.create_task(self._keep(1))
            await self._known.wait()
            for number in range(2, self._count + 1):
                kept.create_task(self._keep(number))
        return self._code

    def _signalled(self) -> None:
        """Pass it on: the first one stops the children, the second one hurries them.

        A child whose event loop is blocked hears neither, so the next ones kill those that are still there.
        """
        for child in self._living.values():
            if self._signals == 0:
                child.stop()
            elif self._signals == 1:
                child.hurry()
            else:
                _tell(logging.WARNING, "process.kill", process=child.number, pid=child.pid)
                child.kill()
        self._signals += 1
        self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        self._known.set()

    async def _keep(self, number: int) -> None:
        """Have a child of this number until the stop: when one ends, another starts, at once or after a delay."""
        deaths = 0
        while not self._stopped.is_set():
            began = time.monotonic()
            code = await self._live(number)
            deaths = 1 if time.monotonic() - began >= LONG_LIFE else deaths + 1
            if code == REFUSED and not self._known.is_set():
                self._code = REFUSED  # it said why
                self._stop()
            elif not self._stopped.is_set():
                await self._pause(number, delay_after(deaths))

    async def _live(self, number: int) -> int | None:
        """One child, from its start to its end; its code, or None for one that could not be started."""
        try:
            child = await Child.start(number, self._words, self._settings)
        except OSError as error:  # too many processes or open files; there may be room for the next one
            _tell(logging.ERROR, "process.unstarted", process=number, error=str(error))
            return None
        self._living[number] = child
        if self._stopped.is_set():  # meanwhile
            child.stop()
        if await child.works():
            self._known.set()
        code = await child.ended()
        del self._living[number]
        if code != REFUSED or self._known.is_set():
            self._tell_end(child, code)
        return code

    def _tell_end(self, child: "Child", code: int) -> None:
        is_asked = self._stopped.is_set() and code in (0, -signal.SIGTERM)
        how = {"code": code} if code >= 0 else {"signal": _name(-code)}
        _tell(logging.INFO if is_asked else logging.WARNING, "process.end", process=child.number, pid=child.pid, **how)

    async def _pause(self, number: int, delay: float) -> None:
        """Wait before the next start, unless the stop comes first."""
        if delay:
            _tell(logging.WARNING, "process.delay", process=number, seconds=round(delay, 1))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), delay)


class Child:
    """One process of several, as its parent sees it."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self.number = number
        self.pid = process.pid
        self._process = process
        self._line = line

    @classmethod
    async def start(cls, number: int, words: Sequence[str], settings: Mapping[str, Any]) -> Self:
        """Start `tenuto` with these words and settings. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                ours.sendall(json.dumps(dict(settings)).encode() + b"\n")  # so little fits in before anybody reads it
                ours.setblocking(False)
                process = await asyncio.create_subprocess_exec(
                    *_tenuto(),
                    *words,
                    f"--child={number}",
                    stdin=theirs.fileno(),
                    start_new_session=True,  # Ctrl-C reaches a whole process group: it is for the parent to pass on
                )
        except BaseException:
            ours.close()
            raise
        _tell(logging.INFO, "process.start", process=number, pid=process.pid)
        return cls(number, process, ours)

    async def works(self) -> bool:
        """Wait until it works; False when it ends before."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._line, 1) == WORKING
        except OSError:  # it ended with something unread
            return False

    async def ended(self) -> int:
        """Wait until it ends; its code, or its signal as a negative number."""
        try:
            return await self._process.wait()
        finally:
            self._line.close()

    def stop(self) -> None:
        """Tell it to stop, as whoever stops processes would: one that is still starting ends at once."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def hurry(self) -> None:
        """Tell it not to wait for the rest of the grace."""
        with suppress(OSError):
            self._line.send(HURRY)

    def kill(self) -> None:
        """End it as it is; its jobs run again once its lease has run out."""
        with suppress(ProcessLookupError):
            self._process.kill()


def _tenuto() -> list[str]:
    """The command that runs this very program, by a Python with the options that this one was given.

    The script `tenuto` finds no module in the current folder before its own are imported; `-P` keeps that so, or a
    file called json.py there would be taken for the standard library's.
    """
    is_module = sys.modules["__main__"].__spec__ is not None and not sys.flags.safe_path
    return [sys.executable, *options_of_python(), *([] if is_module else ["-P"]), "-m", "tenuto"]


def _name(number: int) -> str:
    """A signal for people."""
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those that have only numbers
        return str(number)


def _tell(level: int, event: str, **fields: Any) -> None:
    """One line of the log."""
    _log.log(level, event, extra={"tenuto": {"event": event, **fields}})


# ── the child ─────────────────────────────────────────────────────────────────────────────────────


class Parent:
    """The parent of this process: what it gave, and what it says."""

    def __init__(self, line: socket.socket) -> None:
        with line.makefile("rb", buffering=0) as whole:
            given = whole.readline()
        if not given:
            raise ConfigError("the process that started this one is gone")
        self.settings: Mapping[str, Any] = json.loads(given)
        self._line = line
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: Tenuto | None = None
        threading.Thread(target=self._listen, name="tenuto-parent", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> Self:
        """The one at the other end of stdin, which is empty from now on. Raises ConfigError."""
        try:
            line = socket.socket(fileno=os.dup(0))
        except OSError:
            raise ConfigError("--child is what tenuto gives to its own processes; use --processes") from None
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(line)

    async def obey(self, app: Tenuto) -> None:
        """Work until told to stop. Whether to hurry is the parent's to say.

        Whoever stops a service may signal all of its processes, so a second signal may be the first one, passed on.
        """
        self._app, self._loop = app, asyncio.get_running_loop()
        telemetry.attach(self._tell_working, "node.start")
        await app.work(patient=True)

    def _tell_working(self, _event: str, _payload: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it is gone; the thread sees to that
            self._line.send(WORKING)

    def _listen(self) -> None:
        """Hear the parent, in a thread: it may die while this process still imports its module."""
        while self._hear() == HURRY:
            if self._loop is not None and self._app is not None:
                with suppress(RuntimeError):  # the loop is closed: this process ends as it is
                    self._loop.call_soon_threadsafe(self._app.hurry)
        os.kill(os.getpid(), signal.SIGTERM)  # nobody is left to tell it to stop

    def _hear(self) -> bytes:
        try:
            return self._line.recv(1)
        except OSError:  # it died with something unread
            return b""
