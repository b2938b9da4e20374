"""Tenuto: one door in. Here the parts are wired together, and nothing else is."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar, overload
from uuid import UUID

from tenuto.address import open_database
from tenuto.answer import Answer
from tenuto.borrowing import enqueue_in, relay_in
from tenuto.config import Config
from tenuto.desk import Desk
from tenuto.errors import ConfigError
from tenuto.job import AVAILABLE, Duration, Job, seconds
from tenuto.limits import Queue
from tenuto.options import as_jobs
from tenuto.relay import Relay, Waiting, awaited_jobs
from tenuto.runtime.crew import Crew
from tenuto.runtime.node import Node
from tenuto.runtime.notifier import Notifier
from tenuto.runtime.places.elsewhere import Executors, check_executors
from tenuto.runtime.signals import stop_signals
from tenuto.schedule import Schedule
from tenuto.shaping import as_given, shaped, shaped_head
from tenuto.sizes import Sizes
from tenuto.storage import relays, store, upkeep
from tenuto.storage.database import Hint
from tenuto.storage.together import Together
from tenuto.workflow import Workflow

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound=Job[Any, Any])
AnyJob: TypeAlias = Job[Any, Any]


class Tenuto(Desk):
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
        listen_url: str | None = None,
        executors: Executors | None = None,
        sizes: Sizes | Mapping[str, int] | None = None,
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
        self.waiting = Waiting(self.database, self._notifier, self._check_open)
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
        self.waiting.stop()
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
    async def enqueue(self, work: J, *, conn: Any = None, notify: bool = True) -> J: ...
    @overload
    async def enqueue(self, work: Workflow, *, conn: Any = None, notify: bool = True) -> Workflow: ...
    @overload
    async def enqueue(self, work: Sequence[J], *, conn: Any = None, notify: bool = True) -> list[J]: ...
    async def enqueue(self, work: Any, *, conn: Any = None, notify: bool = True) -> Any:
        """Store a job, jobs or a workflow, all or none, and give back what was given, stored.

        The same id again is the same job (`existing`), so what failed in doubt can be repeated, and a job that was
        fetched comes back as it is now. One that is gone meanwhile is stored anew and begins again; a step whose row
        is gone raises JobNotFound. A job that was never stored must be available: InvalidJob, as for what is no job.
        With `conn`, a connection or session of yours, it is stored in your transaction, and the app need not be open.
        Without `notify` nobody is told, and a node that waits finds it within a second.
        Raises TooLarge over the app's `sizes`, JobMismatch for a taken id, WorkflowRunning for a unique workflow, what
        `Workflow.validate` raises, StorageUnavailable and NotStarted; with `conn` UnusableConnection and StorageBusy,
        and then the transaction is as it was before.
        """
        if conn is not None:
            return await enqueue_in(self.database, self.config.sizes, conn, work, notify=notify)
        if isinstance(work, Workflow):
            rows = work.rows()
            jobs, head = await shaped(rows.jobs, self.config.sizes), await shaped_head(rows.head, self.config.sizes)
            stored = await self._run(store.enqueue_workflow, head, jobs, rows.nodes, rows.edges)
            self._tell_due(stored, notify)
            return work.stored(dict(zip(work.step_names, as_given(stored, rows.jobs), strict=True)))
        jobs = as_jobs(work)
        for job in jobs:
            if job.workflow_id is not None:  # a step that was fetched: without its workflow it is not stored again
                await self.fetch(job)
        self._check_loop()
        stored = await self._together.enqueue(await shaped(jobs, self.config.sizes)) if jobs else []
        self._tell_due(stored, notify)
        return as_given(stored, jobs)[0] if isinstance(work, Job) else as_given(stored, jobs)

    def _tell_due(self, stored: Iterable[AnyJob], notify: bool) -> None:
        due = {job.queue for job in stored if notify and job.state is AVAILABLE}
        self._notifier.tell(Hint("insert", queue) for queue in due)

    # ── await ──

    @overload
    async def relay(self, work: Job[Any, T], *, conn: Any = None) -> Relay[T]: ...
    @overload
    async def relay(self, work: Sequence[Job[Any, T]], *, conn: Any = None) -> list[Relay[T]]: ...
    async def relay(self, work: Any, *, conn: Any = None) -> Any:
        """Enqueue a job, or jobs, of which the answer is awaited: `await (await app.relay(job)).result()`.

        Raises as `enqueue` does. A job that is stored already, or whose unique key another holds, is awaited all the
        same. With `conn` it is stored in your transaction: commit before you wait, or that raises WouldDeadlock.
        """
        asked, line = awaited_jobs(work), None
        if conn is not None:
            stored, line = await relay_in(self.database, self.config.sizes, conn, asked)
        else:
            stored = await self.enqueue(asked)
            if found := [job for job in stored if job.existing]:
                await self._await_jobs(found)
        relayed = [Relay(job, self.waiting, line, is_new=not (line or job.existing)) for job in stored]
        return relayed[0] if isinstance(work, Job) else relayed

    @overload
    async def relay_to(self, job: Job[Any, T]) -> Relay[T]: ...
    @overload
    async def relay_to(self, job: UUID | str) -> Relay[Any]: ...
    async def relay_to(self, job: Any) -> Any:
        """Await a job that is stored already, by itself or by its id: one that runs, one that was relayed before a
        restart, one that has ended. Raises JobNotFound."""
        found = await self.fetch(job)
        if not found.awaited:
            await self._await_jobs([found])
        return Relay(found, self.waiting)

    async def _await_jobs(self, jobs: Sequence[AnyJob]) -> None:
        if await self._run(relays.await_jobs, [job.id for job in jobs]):
            self._notifier.tell([Hint("signal")])

    async def await_many(
        self, relays: Sequence[Relay[T]], timeout: Duration | None = 5.0, *, with_retries: bool = False
    ) -> list[Answer[T]]:
        """What the jobs came to, in the order of their relays; those that have not when the time is over TimedOut.

        The one time is for all of them. Raises as `Relay.outcome` does, and InvalidRequest for what is no relay of
        this app.
        """
        self._check_loop()
        return await self.waiting.outcomes(relays, timeout, with_retries=with_retries)
