"""Desk: what is asked of an open app: jobs, queues and workflows read, steered and checked."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, ParamSpec, TypeAlias, TypeVar
from uuid import UUID

from tenuto import doctor, telemetry
from tenuto.config import Config
from tenuto.doctor import Finding, Health, NodeHealth, QueueStatus
from tenuto.errors import EmptyFilter, JobNotFound, NotStarted, WrongLoop
from tenuto.handles import Doors, QueueHandle, WorkflowHandle, status_of
from tenuto.job import Job, JobState, check_instant, id_of
from tenuto.llm.costs import Costs, Which, checked_by, costs_of
from tenuto.llm.pricing import turns_of
from tenuto.opening import args_of, opened_job, recorded_value
from tenuto.relay import Waiting
from tenuto.runtime.crew import Crew
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.signals import name_of, text_of
from tenuto.standing import WorkflowStatus
from tenuto.storage import reading, signals, steer, usage
from tenuto.storage.database import Database, Hint, Verb
from tenuto.storage.signals import SignalWait
from tenuto.storage.steer import Changes, Filter, Named, Steered
from tenuto.workflow import Workflow

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound=Job[Any, Any])
AnyJob: TypeAlias = Job[Any, Any]


class Desk:
    """The verbs of an app that neither store jobs nor await them. Every one raises NotStarted before it is open."""

    config: Config
    database: Database
    _node: Node
    _notifier: Notifier
    waiting: Waiting
    _crew: Crew | None
    _is_open: bool
    _loop: asyncio.AbstractEventLoop | None

    # ── read ──

    async def fetch(self, job: Named) -> AnyJob:
        """The job as it is stored now. Raises JobNotFound."""
        id = id_of(job)
        found = await self._read(reading.fetch, [id])
        if id not in found:
            raise JobNotFound(id)
        return found[id]

    async def find(
        self,
        *,
        state: JobState | str | Sequence[JobState | str] | None = None,
        queue: str | None = None,
        worker: str | None = None,
        workflow: UUID | str | None = None,
        tag: str | None = None,
        limit: int = 100,
        before: Named | None = None,
    ) -> list[AnyJob]:
        """The jobs that fit every filter given, newest first; `before` goes on where a page ended.

        Raises InvalidRequest for a state or a limit that cannot be.
        """
        which = Filter.of(state=state, queue=queue, worker=worker, workflow=workflow, tag=tag)
        return await self._read(reading.find, which, limit, None if before is None else id_of(before))

    async def recorded(self, job: Named) -> Any:
        """What a job of a recorded worker returned. Raises NothingRecorded, JobNotFound.

        For an encrypted worker also a SealError, and what the provider of its keys raises.
        """
        id = id_of(job)
        return await recorded_value(id, await self._read(reading.recorded, id))

    async def opened(self, job: J) -> J:
        """A job of an encrypted worker with its args and errors opened. Raises KeyUnavailable, SealBroken."""
        return await opened_job(job)

    async def counts(self) -> dict[str, dict[str, int]]:
        """How many jobs each queue holds, by state. It looks at every job: for people, not for loops."""
        self._check_open()
        return await doctor.counts(self.database)

    async def queues(self) -> list[QueueStatus]:
        """Every queue that holds jobs, was asked something, or is worked on, by name. As costly as `counts`."""
        self._check_open()
        return await doctor.queues(self.database)

    async def workflows(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        limit: int = 100,
        before: UUID | str | None = None,
    ) -> list[WorkflowStatus]:
        """Workflows, newest first, without their steps; `state` is running or finished. Raises as `find` does."""
        rows = await self._read(reading.find_workflows, state, name, limit, id_of(before) if before else None)
        return [status_of(row) for row in rows]

    async def costs(
        self,
        *,
        by: str | Sequence[str] = "model",
        workflow: UUID | str | None = None,
        step: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Costs:
        """What jobs used of models, and what that costs by `pricing`, exactly: a row for each group, and the total.

        `by` is one or several of workflow, name (of the workflow), step, worker, model, and one of hour, day, month (of
        UTC). What a model without a price used is counted, and its cost is None, as is that of all it is part of.
        `until` is not in it. Raises InvalidRequest.
        """
        asked, turns = checked_by(by), turns_of(self.config.pricing)
        for name, at in (("since", since), ("until", until)):
            if at is not None:
                check_instant(name, at)
        id = None if workflow is None else id_of(workflow)
        used = await self._read(usage.used, asked, turns, Which(id, step, model, since, until))
        return costs_of(used, asked, self.config.pricing, turns)

    def workflow(self, id: Workflow | UUID | str) -> WorkflowHandle:
        """One stored workflow: its status, its end, the results of its steps; and it can be cancelled and retried."""
        self._check_open()
        doors = Doors(self._check_open, self._act, self.fetch, self.update, self.config.sizes)
        named = id.id if isinstance(id, Workflow) else id_of(id)
        return WorkflowHandle(named, self.database, self._notifier, doors)

    def queue(self, name: str) -> QueueHandle:
        """One queue, to pause, resume, scale, start or stop."""
        self._check_open()
        return QueueHandle(name, self.database, self._notifier)

    # ── steer ──

    async def cancel(self, /, jobs: Named | Iterable[Named] | None = None, **which: Any) -> list[str]:
        """Cancel jobs, and what waits for them; the ids it changed. Name them, or filter as `find` does.

        After it returns, none starts that no node had claimed. One that is executing (it runs, or its node is about
        to start it) is told within about a second: an async one stops at its next await, a plain function sees
        `current_job().cancelled`. Raises EmptyFilter for neither jobs nor a filter, InvalidRequest for both.
        """
        return await self._steer("cancel", jobs, which, steer.cancel)

    async def retry(
        self, /, jobs: Named | Iterable[Named] | None = None, *, keep_results: bool = False, **which: Any
    ) -> list[str]:
        """Make jobs due again at once, with room for one more attempt; the ids it changed.

        Nothing happens to one that runs, is due, or waits for its needs. Steps of one workflow run in their order. A
        step's stored result is cleared unless `keep_results`, and its workflow lives again. Raises NeedsUnmet for a
        step named here whose own need ended badly, EmptyFilter and InvalidRequest.
        """
        options = {"keep_results": keep_results, "strict": jobs is not None}
        return await self._steer("retry", jobs, which, steer.retry, **options)

    async def delete(self, /, jobs: Named | Iterable[Named] | None = None, **which: Any) -> list[str]:
        """Delete jobs that are not running; the ids it deleted. Steps behind an unfinished one are cancelled, unless
        they ignore it. Raises EmptyFilter and InvalidRequest."""
        return await self._steer("delete", jobs, which, steer.delete)

    async def update(
        self, /, jobs: Named | Iterable[Named] | None = None, changes: Changes | None = None, **which: Any
    ) -> list[str]:
        """Change jobs that neither run nor ended; the ids it changed: `await app.update(job, {"priority": 0})`.

        Raises InvalidJob for a change that cannot be, TooLarge, EmptyFilter and InvalidRequest; for new args of jobs
        that are sealed, KeyUnavailable where their worker is not known here.
        """
        stored = await args_of(changes, self.config.sizes)
        changed = await self._steer("update", jobs, which, steer.update, changes, stored)
        steer.as_stored(changes)  # a change that cannot be is refused also where no job fits
        return changed

    async def _steer(
        self,
        verb: str,
        jobs: Named | Iterable[Named] | None,
        which: Mapping[str, Any],
        act: Callable[..., Verb[Steered]],
        *more: Any,
        **options: Any,
    ) -> list[str]:
        """Run a steering verb over the jobs named, or in batches over those that a filter finds."""
        if jobs is not None:
            ids = steer.named(verb, jobs, which)
            return (await self._act(act, ids, *more, **options)).ids if ids else []
        matching = Filter.of(**which)
        if matching == Filter():
            raise EmptyFilter(verb)
        changed: list[str] = []
        after: str | None = None
        while batch := await self._read(steer.match, matching, after):
            changed += (await self._act(act, batch, *more, **options)).ids
            after = batch[-1]
        return changed

    async def _act(self, act: Callable[..., Verb[Steered]], *asked: Any, **options: Any) -> Steered:
        steered = await self._run(act, *asked, **options)
        tell_settled(self._notifier, steered.settled)
        self.waiting.look_at(steered.ids)
        if steered.told:
            self._notifier.tell([Hint("signal")])
        return steered

    # ── signals ──

    async def signal(self, target: Workflow | Named, name: str | Enum, value: Any = None) -> bool:
        """Tell a workflow or a job something that it waits for, now or later; False for another one of that name.

        Every step of the workflow that waits for the name gets the value, also one that begins to wait later. For a
        step it is its workflow's. The first of a name counts, and is kept as long as what it was sent to. Raises
        WorkflowNotFound, JobNotFound; WorkflowFinished and JobEnded for what has ended; InvalidJob for a name that
        cannot be, Unencodable and TooLarge for the value.
        """
        is_job = True if isinstance(target, Job) else False if isinstance(target, Workflow) else None
        id, named = target.id if isinstance(target, Workflow) else id_of(target), name_of(name)
        sent = await self._run(signals.send, id, named, text_of(value, self.config.sizes), is_job=is_job)
        telemetry.emit("signal.sent", target=id, name=named, is_first=sent.is_first, woken=sent.settled.ids)
        tell_settled(self._notifier, sent.settled)
        return sent.is_first

    async def waits(self, job: Named) -> list[SignalWait]:
        """The signals that a job waits for now, by name, and until when; none for one that does not wait for any."""
        return await self._read(signals.waits, id_of(job))

    # ── health ──

    async def health(self) -> Health:
        """This node's counters, what runs on it, every live node, and the age of the oldest job that is due."""
        running = {} if self._crew is None else self._crew.running
        self._check_open()
        return await doctor.health(self.database, self._node, running)

    async def nodes(self) -> tuple[NodeHealth, ...]:
        """Every live node as it last told of itself."""
        self._check_open()
        return await doctor.nodes(self.database)

    async def check(self) -> list[Finding]:
        """What the doctor finds on the live database: each invariant, with what breaks it."""
        self._check_open()
        return await doctor.check(self.database)

    # ── the database ──

    def _check_open(self) -> None:
        if not self._is_open:
            raise NotStarted

    def _check_loop(self) -> None:
        self._check_open()
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop

    async def _context_of(self, workflow_id: str) -> str | None:
        """What a workflow tells its steps, as stored text, asked from whatever event loop a step of it runs on."""
        self._check_open()
        reading_it = self.database.read(reading.context, workflow_id)
        if asyncio.get_running_loop() is self._loop or self._loop is None:
            return await reading_it
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(reading_it, self._loop))

    async def _run(self, verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_loop()
        return await self.database.run(verb, *args, **kwargs)

    async def _read(self, verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_loop()
        return await self.database.read(verb, *args, **kwargs)
