"""Spawned: the child processes of a node, started when jobs need them, used again, and killed when they must end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, Self

from tenuto import telemetry
from tenuto.context import Running
from tenuto.definition import registered
from tenuto.errors import ProcessDied
from tenuto.naming import importable
from tenuto.runtime.places.child import MAIN
from tenuto.runtime.places.interpreter import options_of_python
from tenuto.runtime.places.parcel import HEAD_SIZE, frame, length_of, message_of

JOBS_EACH: Final = 1000  # after so many another process takes its place: what jobs leave behind in it is bounded
IDLE_FOR: Final = 60.0  # seconds, then it ends
START_WITHIN: Final = 60.0  # seconds to import the program
END_WITHIN: Final = 1.0  # seconds for an idle one to end by itself
LAST_WORDS: Final = 0.5  # seconds for what a process sent before it died

BOOT: Final = (
    "import sys; fd, sys.path[:], sys.argv[:] = int(sys.argv[1]), sys.argv[2:], ['tenuto-child']; "
    "from tenuto.runtime.places.child import main; main(fd)"
)


class Child:
    """One process, as its node sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: Any) -> None:
        self.pid = process.pid
        self.jobs = 0  # how many it ran
        self._process = process
        self._reader = reader
        self._writer = writer
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._wait, args=(self._code.get_loop(),), name="tenuto-child", daemon=True).start()

    @classmethod
    async def start(cls, app: str) -> Self:
        """A process that has imported the program. Raises OSError and ProcessDied."""
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            with theirs:
                words = [*options_of_python(), "-P", "-c", BOOT, str(theirs.fileno()), *map(str, sys.path)]
                # Not in another thread: the system would kill the child when that thread ends.
                process = subprocess.Popen(  # noqa: ASYNC220 - it takes milliseconds
                    [sys.executable, *words],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # a kill takes what jobs started along; Ctrl-C is the node's to hear
                )
        except BaseException:
            writer.close()
            raise
        child = cls(process, reader, writer)
        telemetry.emit("child.start", pid=child.pid)
        try:
            async with asyncio.timeout(START_WITHIN):
                await child.send("program", os.getpid(), app, *_program())
                await child.receive()
        except TimeoutError:
            await through(child.kill())
            raise ProcessDied(f"did not start within {START_WITHIN:g} s", 0) from None
        except BaseException:
            await through(child.kill())
            raise
        return child

    @property
    def is_alive(self) -> bool:
        """Whether it was not seen to end."""
        return not self._code.done()

    async def run(self, text: str, mine: Running, over: Callable[[], None]) -> str:
        """Run one attempt, from its text to that of its answer. Raises ProcessDied.

        Cancelled, it kills the process, and ends when that is gone. `over` is called when only after-hooks are still
        told there; from then on the answer stands, whatever becomes of them.
        """
        self.jobs += 1
        answer: str | None = None
        try:
            await self.send("run", text)
            while True:
                kind, *rest = await self.receive()
                if kind == "ended":
                    return str(rest[0]) if answer is None else answer
                if kind == "came to":
                    answer = rest[0]
                    over()
                else:
                    number, what, given = rest
                    await self.send("answer", number, *await _answer(mine, what, given))
        except BaseException:
            await through(self.kill())
            if answer is None:
                raise
            return answer

    async def send(self, *message: Any) -> None:
        """Send one message. That nobody reads it any more is seen by who waits for the answer."""
        with suppress(OSError):
            self._writer.write(frame(list(message)))
            await self._writer.drain()

    async def receive(self) -> list[Any]:
        """Its next message. Raises ProcessDied; what it said before it died is heard."""
        reading = asyncio.ensure_future(self._read())
        either: list[asyncio.Future[Any]] = [reading, self._code]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():  # it is gone, and may have left a process behind that holds its end open
                await asyncio.wait({reading}, timeout=LAST_WORDS)
        finally:
            if not reading.done():
                reading.cancel()
        message = reading.result() if reading.done() and not reading.cancelled() else None
        if message is None:
            code = await self.kill()  # one that only closed its line is of no use either
            raise ProcessDied(_how(code), code)
        return message

    async def _read(self) -> list[Any] | None:
        try:
            head = await self._reader.readexactly(HEAD_SIZE)
            return message_of(await self._reader.readexactly(length_of(head)))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def kill(self) -> int:
        """End it now, and all that its job started; its code, once it is gone."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return await self._ended()

    async def end(self) -> int:
        """Let an idle one end by itself, at the latest within a second."""
        self._writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await asyncio.shield(self._code)
        return await self.kill()

    async def _ended(self) -> int:
        code = await asyncio.shield(self._code)
        self._writer.close()
        return code

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: a child is waited for on every system, whatever the event loop is."""
        code = self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._settle, code)

    def _settle(self, code: int) -> None:
        telemetry.emit("child.end", pid=self.pid, code=code, jobs=self.jobs)
        self._code.set_result(code)


async def _answer(mine: Running, what: str, given: str) -> tuple[Any, list[str] | None]:
    """What a running step asked of its node: a value, or the error's name and message."""
    try:
        if what == "store":
            await mine.store_result(mine.job, given)
            return None, None
        if what == "context":
            return await mine.app._context_of(mine.job.workflow_id), None
        return await asyncio.to_thread(mine.has_step, mine.job, given), None
    except Exception as error:  # noqa: BLE001 - it goes to who asked
        return None, [type(error).__name__, str(error)]


def _how(code: int) -> str:
    """An exit for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # one of those that have only numbers
        return f"was killed by signal {-code}"


def _program() -> tuple[list[str], Mapping[str, str] | None]:
    """What a child imports: the modules that define workers which run in one, and this program itself if it does."""
    modules = {each.module for each in registered().values() if each.runs_in == "process"}
    main = importable(MAIN[0])
    return sorted(modules - {main}), _script() if main in modules else None


def _script() -> Mapping[str, str] | None:
    """This program, by the name of its module or else by its file; None at a prompt, which no child can import."""
    main = sys.modules[MAIN[0]]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return {"name": spec.name}
    return None if file is None else {"path": os.path.abspath(file)}


async def through(wait: Coroutine[Any, Any, Any]) -> None:
    """Wait for it to its end, however often this is cancelled meanwhile."""
    waiting = asyncio.ensure_future(wait)
    while not waiting.done():
        with suppress(asyncio.CancelledError):  # told again
            await asyncio.wait([waiting])


# ── all of them ───────────────────────────────────────────────────────────────────────────────────


class Spawned:
    """The children of one node. There are as many as ever ran jobs at once, less those that were idle for long."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._closed = False

    async def take(self) -> Child:
        """One that is free, or a new one; give it back. Raises OSError and ProcessDied where none can be started."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self._all.discard(child)
        child = await Child.start(self._app)
        self._all.add(child)
        return child

    def give(self, child: Child) -> None:
        """It is free again, unless it is dead or has had its share of jobs."""
        if not child.is_alive:
            self._all.discard(child)
        elif self._closed or child.jobs >= JOBS_EACH:
            self._retire(child)
        else:
            self._idle.append(child)
            asyncio.get_running_loop().call_later(IDLE_FOR, self._retire_idle, child, child.jobs)

    def _retire_idle(self, child: Child, jobs: int) -> None:
        if child in self._idle and child.jobs == jobs:
            self._idle.remove(child)
            self._retire(child)

    def _retire(self, child: Child) -> None:
        ending = asyncio.ensure_future(child.end())
        ending.add_done_callback(lambda _: self._all.discard(child))

    async def close(self) -> None:
        """End all: those that are idle by themselves, one that still runs a job by a kill."""
        self._closed = True
        idle, self._idle = set(self._idle), []
        await asyncio.gather(*(child.end() if child in idle else child.kill() for child in self._all))
        self._all.clear()
