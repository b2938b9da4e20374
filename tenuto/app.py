"""Tenuto: one door in. Here the parts are wired together, and nothing else is."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar, overload
from uuid import UUID

from tenuto import doctor
from tenuto.address import open_database
from tenuto.config import Config
from tenuto.definition import storing
from tenuto.doctor import Finding, Health, NodeHealth, QueueStatus
from tenuto.errors import ConfigError, EmptyFilter, JobNotFound, NotStarted, WrongLoop
from tenuto.features.feature import fold_store
from tenuto.handles import QueueHandle, WorkflowHandle, status_of
from tenuto.job import AVAILABLE, Duration, Job, JobState, id_of, seconds
from tenuto.limits import Queue
from tenuto.opening import args_of, opened_job, recorded_value
from tenuto.options import as_jobs
from tenuto.runtime.crew import Crew
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier, tell_settled
from tenuto.runtime.places.elsewhere import Executors, check_executors
from tenuto.runtime.signals import stop_signals
from tenuto.schedule import Schedule
from tenuto.storage import reading, steer, store, upkeep
from tenuto.storage.database import Hint, Verb
from tenuto.storage.steer import Changes, Filter, Named, Steered
from tenuto.storage.together import Together
from tenuto.workflow import Workflow, WorkflowStatus

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound=Job[Any, Any])
AnyJob: TypeAlias = Job[Any, Any]


class Tenuto:
    """An app: the door to one database of jobs. With `queues` (slots by name, or a Queue) it works on them, without
    it only enqueues, waits and steers.

    Nothing is connected before `async with` or `start()`. `url` is `sqlite:///file.db` or `postgresql://…`; every
    argument that is left out comes from the environment (`TENUTO_URL`, …), `tenuto.toml` or `pyproject.toml`.
    Raises ConfigError for settings that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        queues: Mapping[str, int | Queue] | None = None,
        cron: Mapping[str, Mapping[str, object]] | None = None,
        name: str | None = None,
        schema: str | None = None,
        node: str | None = None,
        lease: Duration | None = None,
        grace: Duration | None = None,
        keep_jobs: Duration | None = None,
        keep_workflows: Duration | None = None,
        connections: int | None = None,
        listen: bool | None = None,
        executors: Executors | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__", "executors")}
        self.executors = check_executors(executors or {})
        self._crew: Crew | None = None
        self._is_open = False
        self._opening = asyncio.Lock()  # one start or stop at a time
        self._loop: asyncio.AbstractEventLoop | None = None
        self.cron = Schedule(self._check_open)
        self._set_up(Config.load(given))

    def _set_up(self, config: Config) -> None:
        self.config = config
        self.name = config.name
        self.database = open_database(config)
        self._node = Node(self.database, config.node, config.lease)
        self._notifier = Notifier(self._node, listens=config.listen)
        self.cron.set_up(config.cron, self.database, self._notifier)

    def configure(self, **settings: Any) -> None:
        """Change settings before the app is opened, by the names its constructor has; None leaves one as it is.

        Raises ConfigError, also when the app is open.
        """
        if self._is_open:
            raise ConfigError("the app is open; its settings can be changed before that")
        given = {name: value for name, value in settings.items() if value is not None}
        self._set_up(Config.load({**self.config.model_dump(by_alias=True), **given}))

    def __repr__(self) -> str:
        return f"<Tenuto {self.name!r}, {'open' if self._is_open else 'not open'}>"

    # ── open and close ──

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, and work if there are queues.

        An empty SQLite file gets its tables, and an app with queues brings older ones up to date; PostgreSQL's are
        made by `tenuto migrate`. Raises StorageUnavailable, NotMigrated, SchemaTooNew, LiveNodes.
        """
        async with self._opening:
            if not self._is_open:
                await self._open()

    async def _open(self) -> None:
        try:
            await self.database.open()
            await self._prepare_tables()
            self._notifier.start()
            self._loop = asyncio.get_running_loop()
            self._together = Together(self.database, apart=Together(self.database))
            self._is_open = True
            if self.config.queues:
                await self._work_on(self.config.queues)
        except BaseException:
            await self._close()
            raise

    async def stop(self, grace: Duration | None = None) -> None:
        """Claim no more, let running jobs end within the grace, release the rest unspent, and disconnect."""
        within = self.config.grace if grace is None else seconds("grace", grace)
        async with self._opening:
            if not self._is_open:
                return
            try:
                if self._crew is not None:
                    await self._crew.stop(within.total_seconds())
                    self._crew = None
            finally:
                await self._close()

    async def _close(self) -> None:
        self._is_open = False
        self._node.end()
        await self._notifier.stop()
        await self.database.close()

    async def work(self, *, patient: bool = False) -> None:
        """Work until SIGTERM or SIGINT, then stop gracefully; a second signal hurries it, unless it is `patient`."""
        if not self.config.queues:
            raise ConfigError("there is no queue to work on; give queues=, TENUTO_QUEUES or --queues")
        with stop_signals(None if patient else self.hurry) as told:
            async with self:
                await told.wait()

    def hurry(self) -> None:
        """For an app that is being stopped: release at once what still runs, without the rest of the grace."""
        if self._crew is not None:
            self._crew.hurry()

    async def _prepare_tables(self) -> None:
        if self.database.migrates_itself:
            await self._migrate(only_empty=not self.config.queues)
        await self.database.read(upkeep.check_schema, "tenuto migrate")

    async def migrate(self) -> list[int]:
        """Bring the tables up to date in one transaction; the versions run. The app need not be open.

        Raises LiveNodes, SchemaTooNew, StorageUnavailable.
        """
        if self._is_open:
            return await self._migrate()
        await self.database.open()
        try:
            return await self._migrate()
        finally:
            await self.database.close()

    def migrations(self) -> str:
        """What `migrate` would run on a new database, as one SQL script. Nothing is connected."""
        return upkeep.as_script(self.database.scripts, self.database.statements["schema_migrated"].text)

    async def _migrate(self, *, only_empty: bool = False) -> list[int]:
        numbers = [number for number, _ in self.database.scripts if number]
        return await self.database.migrate(upkeep.migrate, numbers, only_empty=only_empty)

    async def _work_on(self, queues: Mapping[str, int | Queue]) -> None:
        config = self.config
        self._crew = Crew(
            self,
            self._node,
            self._notifier,
            self.cron.entries,
            grace=config.grace,
            keep_jobs=config.keep_jobs,
            keep_workflows=config.keep_workflows,
        )
        await self._crew.start(queues)

    # ── enqueue ──

    @overload
    async def enqueue(self, work: J) -> J: ...
    @overload
    async def enqueue(self, work: Workflow) -> Workflow: ...
    @overload
    async def enqueue(self, work: Sequence[J]) -> list[J]: ...
    async def enqueue(self, work: Any) -> Any:
        """Store a job, jobs or a workflow, all or none, and give back what was given, stored.

        The same id again is the same job (`existing`), so what failed in doubt can be repeated, and a job that was
        fetched comes back as it is now. One that is gone meanwhile is stored anew and begins again; a step whose row
        is gone raises JobNotFound. A job that was never stored must be available: InvalidJob, as for what is no job.
        Raises JobMismatch for a taken id, what `Workflow.validate` raises, StorageUnavailable and NotStarted.
        """
        if isinstance(work, Workflow):
            rows = work.rows()
            jobs = await _sealed(rows.jobs)
            stored = await self._run(store.enqueue_workflow, work.id, work.name, jobs, rows.nodes, rows.edges)
            self._tell_due(stored)
            return work.stored(dict(zip(work.step_names, _as_given(stored, rows.jobs), strict=True)))
        jobs = as_jobs(work)
        for job in jobs:
            if job.workflow_id is not None:  # a step that was fetched: without its workflow it is not stored again
                await self.fetch(job)
        self._check_loop()
        stored = await self._together.enqueue(await _sealed(jobs)) if jobs else []
        self._tell_due(stored)
        return _as_given(stored, jobs)[0] if isinstance(work, Job) else _as_given(stored, jobs)

    def _tell_due(self, stored: Iterable[AnyJob]) -> None:
        due = {job.queue for job in stored if job.state is AVAILABLE}
        self._notifier.tell(Hint("insert", queue) for queue in due)

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

    def workflow(self, id: UUID | str) -> WorkflowHandle:
        """One stored workflow: its status, its end, the results of its steps."""
        self._check_open()
        return WorkflowHandle(id_of(id), self.database, self._notifier, self._check_open)

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

        Raises InvalidJob for a change that cannot be, EmptyFilter and InvalidRequest; for new args of jobs that are
        sealed, KeyUnavailable where their worker is not known here.
        """
        changed = await self._steer("update", jobs, which, steer.update, changes, await args_of(changes))
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
            return await self._act(act, ids, *more, **options) if ids else []
        matching = Filter.of(**which)
        if matching == Filter():
            raise EmptyFilter(verb)
        changed: list[str] = []
        after: str | None = None
        while batch := await self._read(steer.match, matching, after):
            changed += await self._act(act, batch, *more, **options)
            after = batch[-1]
        return changed

    async def _act(self, act: Callable[..., Verb[Steered]], ids: list[str], *more: Any, **options: Any) -> list[str]:
        steered = await self._run(act, ids, *more, **options)
        tell_settled(self._notifier, steered.settled)
        if steered.told:
            self._notifier.tell([Hint("signal")])
        return steered.ids

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

    async def _run(self, verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_loop()
        return await self.database.run(verb, *args, **kwargs)

    async def _read(self, verb: Callable[P, Verb[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_loop()
        return await self.database.read(verb, *args, **kwargs)


async def _sealed(jobs: Sequence[AnyJob]) -> list[AnyJob]:
    """The jobs as their workers' features want them stored."""
    return [await fold_store(features, job) if (features := storing(job)) else job for job in jobs]


def _as_given(stored: Sequence[AnyJob], given: Sequence[AnyJob]) -> list[AnyJob]:
    """Jobs as stored, with the args that their owner gave: what was sealed stays readable to who made it."""
    return [
        now if now.existing or now.args is job.args else now.replace(args=job.args)
        for now, job in zip(stored, given, strict=True)
    ]
