"""Child: a process that runs jobs for the node that started it, one at a time, and ends with it.

Between them there is a line, a pair of sockets. Down it come the program to import and then the jobs; up go what they
came to, and what they ask of the node meanwhile. All of it is our text.
"""

import asyncio
import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from itertools import count
from multiprocessing.process import current_process
from queue import SimpleQueue
from types import FrameType, ModuleType
from typing import Any, Final

from tenuto.errors import RaisedElsewhere, StaleAttempt
from tenuto.job import Job
from tenuto.runtime.places.afar import Doors, NoApp, Place
from tenuto.runtime.places.parcel import HEAD_SIZE, frame, length_of, message_of

PR_SET_PDEATHSIG: Final = 1
MAIN: Final = ("__main__", "__mp_main__")  # a program's own module, there and in a child

AnyJob = Job[Any, Any]


def main(fd: int) -> None:
    """Serve the node at the other end of this socket until it closes it."""
    _survive_signals()
    line = Line(socket.socket(fileno=fd))
    program = line.receive()
    if program is None:
        return
    _, parent, app, modules, script = program
    _die_with(parent)
    _import(modules, script)
    line.send("ready")
    line.listen()
    place = Place()
    doors = Doors(AppOfNode(app, line), line.has_step, line.store_result)
    while (text := line.jobs.get()) is not None:
        answer = place.run(text, doors, answered=line.send_early)
        _flush()
        line.send("ended", None if line.is_answered else answer)
        line.is_answered = False


# ── the line ──────────────────────────────────────────────────────────────────────────────────────


class Line:
    """The child's end: jobs come down it, and what the job asks of its node goes up."""

    def __init__(self, ours: socket.socket) -> None:
        ours.set_inheritable(False)
        self.jobs: SimpleQueue[str | None] = SimpleQueue()
        self._line = ours
        self._sending = threading.Lock()
        self._asked: dict[int, Future[Any]] = {}
        self._numbers = count()
        self._is_busy = False
        self.is_answered = False  # whether the job under way was sent early

    def send(self, *message: Any) -> None:
        """Send one message; to a node that is gone it goes nowhere."""
        self._is_busy = self._is_busy and message[0] != "ended"
        with self._sending, contextlib.suppress(OSError):
            self._line.sendall(frame(list(message)))

    def send_early(self, answer: str) -> None:
        """Send what the job came to, while its after-hooks are still to be told."""
        self.is_answered = True
        self.send("came to", answer)

    def receive(self) -> list[Any] | None:
        """The next message, or None when the node has closed the line or is gone."""
        head = self._exactly(HEAD_SIZE)
        body = head and self._exactly(length_of(head))
        return message_of(body) if body else None

    def _exactly(self, size: int) -> bytes | None:
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._line.recv(min(size, 1 << 20))
            except OSError:  # it died with something unread
                part = b""
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def listen(self) -> None:
        """Hear the node in a thread of its own, also while a job runs."""
        threading.Thread(target=self._listen, name="tenuto-line", daemon=True).start()

    def _listen(self) -> None:
        while (message := self.receive()) is not None:
            kind, *rest = message
            if kind == "run":
                self._is_busy = True
                self.jobs.put(rest[0])
            else:
                number, value, error = rest
                self._answer(self._asked.pop(number), value, error)
        if self._is_busy:  # nobody is left to take what the job comes to
            os.killpg(0, signal.SIGKILL)
        self.jobs.put(None)

    @staticmethod
    def _answer(asked: "Future[Any]", value: Any, error: list[str] | None) -> None:
        if error is None:
            asked.set_result(value)
        else:
            asked.set_exception(RaisedElsewhere(error[0], error[1], ""))

    def _ask(self, what: str, given: str) -> "Future[Any]":
        asked: Future[Any] = Future()
        number = next(self._numbers)
        self._asked[number] = asked
        self.send("ask", number, what, given)
        return asked

    # ── what a running step may reach ──

    def has_step(self, job: AnyJob, step: str) -> bool:
        """Whether the job's workflow has a step of that name, as its node knows."""
        answer: bool = self._ask("step", step).result()
        return answer

    async def context_of(self, workflow_id: str) -> str | None:
        """What the workflow tells its steps, as stored text."""
        told: str | None = await asyncio.wrap_future(self._ask("context", workflow_id))
        return told

    async def store_result(self, job: AnyJob, text: str) -> None:
        """Store the step's result through its node. Raises StaleAttempt."""
        try:
            await asyncio.wrap_future(self._ask("store", text))
        except RaisedElsewhere as refused:
            if refused.original == StaleAttempt.__name__:
                raise StaleAttempt(job.id) from None
            raise


class AppOfNode(NoApp):
    """Stands where the app would: all that it knows is what a running step may ask of it."""

    def __init__(self, name: str, line: Line) -> None:
        super().__init__(name)
        self._line = line

    async def _context_of(self, workflow_id: str) -> str | None:
        """What a workflow tells its steps, as the node's app has it."""
        return await self._line.context_of(workflow_id)


# ── the process ───────────────────────────────────────────────────────────────────────────────────


def _survive_signals() -> None:
    """Whoever stops a service may signal all of its processes; of this one its node disposes.

    They are heard and not ignored: what is ignored would be so in the programs that jobs start, too.
    """

    def hear(_number: int, _frame: FrameType | None) -> None:
        """It changes nothing."""

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hear)


def _die_with(parent: int) -> None:
    """On Linux the system kills this process when its node dies, also while it cannot listen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be asked for
        os._exit(1)


def _import(modules: list[str], script: Mapping[str, str] | None) -> None:
    """Import what defines workers. What fails to be imported is told when a job needs it."""
    process = current_process()
    vars(process)["_inheriting"] = True  # what multiprocessing says of a process that only imports yet
    try:
        for name in modules:
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name)
        if script is not None:
            with contextlib.suppress(Exception, SystemExit):
                _run_script(script)
    finally:
        vars(process)["_inheriting"] = False


def _run_script(script: Mapping[str, str]) -> None:
    """Run the node's main program here, under the name that tells it that it is not the main one."""
    if "name" in script:
        held = runpy.run_module(script["name"], run_name=MAIN[1], alter_sys=True)
    else:
        held = runpy.run_path(script["path"], run_name=MAIN[1])
    module = ModuleType(MAIN[1])
    vars(module).update(held)
    sys.modules[MAIN[0]] = sys.modules[MAIN[1]] = module


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
