"""Every error Tenuto raises on purpose: what happened, to which value, and what to do next.

TenutoError
├── ConfigError             an option, a URL or a setting that cannot be used
│   ├── InvalidUrl              the database's address cannot be understood
│   ├── InvalidLimit            slots, a limit or a rate of a queue, or a size, are out of their range
│   ├── InvalidKey              a key of an encrypted worker cannot be used
│   └── MissingExtra            a library of an optional extra is not installed
├── DefinitionError         something a program declares is wrong
│   ├── InvalidJob              an option of a worker or a job is out of its range
│   ├── InvalidArgs             args do not fit the worker's declaration (field paths and reasons)
│   ├── InvalidHook             a hook that cannot be called, or gave back what it may not
│   ├── DuplicateWorker         two workers claim one name
│   ├── NoProcess               a class without a process, or with a type variable for its Args, makes no jobs
│   ├── UnknownWorker           no worker of that name is registered here
│   ├── InvalidCron             an expression, a timezone or an entry of cron that cannot be
│   ├── NotYetKnown             something was computed with the result of a step that has not run
│   └── InvalidWorkflow         a workflow that cannot be stored
│       ├── EmptyWorkflow, DuplicateStep, DuplicateJob, ForeignStep, ChainInWorkflow
│       ├── UnknownDependency, CycleFound
│       └── InvalidTemplate         a workflow as data that cannot be built: every fault with its path
├── CodecError              a value that cannot travel
│   ├── Unencodable, UnencodableResult
│   ├── TooLarge, ResultTooLarge
│   └── Undecodable
├── ResultError             a step asked for a result it cannot have
│   ├── NoWorkflow, StepNotFound, NotADependency, NoResult
│   └── NotInJob
├── NotFound                nothing is stored under that id or name
│   └── JobNotFound, WorkflowNotFound, CronNotFound, NothingRecorded
├── SealError               what was sealed cannot be opened
│   ├── KeyUnavailable          its key is not here
│   ├── SealBroken              it was altered, or belongs elsewhere
│   └── NotSealed, NotEncrypted it is in the clear, or sealed, and its worker is not
├── Refused                 a verb that would break a promise
│   ├── JobMismatch, WorkflowMismatch   the same id again, with another content
│   ├── WorkflowFinished        steps cannot be added to what has ended
│   ├── NotInGraft              only the step of a graft fills its group
│   ├── WorkflowRunning         a unique workflow of that name is unfinished
│   ├── UniqueConflict          another job holds the unique key that this one needs
│   ├── NeedsUnmet              a step whose own need ended badly cannot be retried alone
│   ├── NotRetried              steps of a workflow that cannot be retried, and so none was
│   ├── EmptyFilter             a filter that names nothing would mean everything
│   ├── InvalidRequest          what is asked of jobs, workflows or queues cannot be: a filter, a limit, slots
│   ├── WouldDeadlock           waiting here for what only this thread could do
│   ├── StaleAttempt            this attempt is no longer the job's: its writes are refused
│   ├── CancelRequested         an operator cancelled the running job: what it did is not to be committed
│   ├── NotHere                 the job runs in another process, where this is not to be had
│   └── NotStarted, WrongLoop   the app is not open, or belongs to another event loop
├── StorageError            the database
│   ├── StorageUnavailable      it does not answer; nothing is known of the last write
│   ├── StorageBusy             others hold the rows, or are always first; nothing was written
│   ├── StorageRejected         it refused what it was given
│   ├── UnusableConnection      what was lent as conn= cannot be used for this
│   ├── SchemaError: NotMigrated, SchemaTooNew, LiveNodes
│   ├── SQLiteTooOld, PostgresTooOld
│   └── Forked                  a child process used its parent's connection
├── TaskExited              a task that a job had started raised SystemExit
├── ProcessDied             the process in which a job ran died under it
├── RaisedElsewhere         what a job raised in another process, as data
├── JobTimedOut             one attempt ran longer than its timeout
├── NotCompleted            a test asks for the value of a job that has none: it came to something else
├── NotDrained              the jobs of a test do not come to their end
└── WaitTimedOut            a wait ended first; what was waited for goes on
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any


class TenutoError(Exception):
    """The root of the tree: catch it to catch everything Tenuto raises on purpose."""


# ── configuration ─────────────────────────────────────────────────────────────────────────────────


class ConfigError(TenutoError):
    """An option, a URL or a setting cannot be used."""


class InvalidUrl(ConfigError):
    """The database's address cannot be understood."""


class InvalidLimit(ConfigError, ValueError):
    """Slots, a limit or a rate of a queue, or a size, are out of their range."""


class InvalidKey(ConfigError, ValueError):
    """A key of an encrypted worker cannot be used; `key_id` says which. The key itself is not shown."""

    def __init__(self, key_id: str, reason: str) -> None:
        super().__init__(f"key {key_id} cannot be used: {reason}")
        self.key_id = key_id
        self.reason = reason


class MissingExtra(ConfigError):
    """A library that belongs to an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'tenuto[{extra}]'")
        self.what = what
        self.extra = extra


# ── definitions ───────────────────────────────────────────────────────────────────────────────────


class DefinitionError(TenutoError):
    """Something a program declares is wrong."""


class InvalidJob(DefinitionError, ValueError):
    """An option of a worker or a job is out of its range."""


class InvalidArgs(DefinitionError, ValueError):
    """Args do not fit what the worker declares; `problems` holds (path, reason) pairs, never values."""

    def __init__(self, worker: str, problems: Sequence[tuple[str, str]]) -> None:
        told = "; ".join(f"{path}: {reason}" if path else reason for path, reason in problems)
        super().__init__(f"args of {worker} do not fit: {told}")
        self.worker = worker
        self.problems = tuple(problems)


class InvalidHook(DefinitionError, TypeError):
    """What was given as a hook cannot be called as one, or it gave back what it may not."""


class DuplicateWorker(DefinitionError):
    """Two workers claim one name, as their own or as an alias."""

    def __init__(self, name: str, alias_of: str | None = None) -> None:
        again = "; the function around it ran again" if "<locals>" in name else ""
        told = f"a worker named {name!r} is already defined{again}; give one of the two another name="
        if alias_of is not None:
            told = f"{name!r} is an alias of {alias_of!r} already, and a name is one worker's; list it only there"
        super().__init__(told)
        self.name = name


class NoProcess(DefinitionError, AttributeError):
    """A class that only hands its options down makes no jobs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} makes no jobs; a worker has a process, and no type variable for its Args")


class UnknownWorker(DefinitionError, LookupError):
    """No worker of that name is registered in this process."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no worker named {name!r} is registered here; import its module first")
        self.name = name


class InvalidCron(DefinitionError, ValueError):
    """A cron expression, its timezone, or what is to be enqueued by it cannot be used."""


class NotYetKnown(DefinitionError, TypeError, AttributeError):
    """Something was to be computed with the result of a step that has not run yet."""

    def __init__(self, what: str, asked: str) -> None:
        told = "hand it over as an arg as it is, or with keys in [], and compute with it inside the step"
        super().__init__(f"{what} is not known while the workflow is built, so it cannot give {asked}: {told}")


class InvalidWorkflow(DefinitionError, ValueError):
    """A workflow cannot be stored as it is."""


class EmptyWorkflow(InvalidWorkflow):
    """A workflow without a step."""

    def __init__(self) -> None:
        super().__init__("the workflow has no step; add() at least one")


class DuplicateStep(InvalidWorkflow):
    """A step of that name was added before."""

    def __init__(self, step: str) -> None:
        super().__init__(f"the workflow already has a step named {step!r}; give each step its own name")
        self.step = step


class DuplicateJob(InvalidWorkflow):
    """The same Job was added before, under another name."""

    def __init__(self, step: str, earlier: str) -> None:
        super().__init__(f"step {step!r} holds the same Job as step {earlier!r}; make a new() one for each")
        self.step = step
        self.earlier = earlier


class ChainInWorkflow(InvalidWorkflow):
    """A job of a chained worker cannot be a step: a chain and deps would each want to say when it runs."""

    def __init__(self, step: str, worker: str) -> None:
        super().__init__(f"step {step!r} holds a job of {worker}, which is chained; order steps by deps= instead")
        self.step = step
        self.worker = worker


class ForeignStep(InvalidWorkflow):
    """A Step that another workflow made cannot be a dep here."""

    def __init__(self, step: str, dep: str) -> None:
        super().__init__(f"step {step!r} names {dep!r} of another workflow as a dep; deps are steps of this one")
        self.step = step
        self.dep = dep


class UnknownDependency(InvalidWorkflow):
    """A step depends on a name that no step has."""

    def __init__(self, step: str, dep: str) -> None:
        super().__init__(f"step {step!r} depends on {dep!r}, and no step has that name")
        self.step = step
        self.dep = dep


class CycleFound(InvalidWorkflow):
    """Steps wait for each other in a circle; `path` is closed: a, b, a."""

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__("steps wait for each other in a circle: " + " -> ".join(path))
        self.path = tuple(path)


class InvalidTemplate(InvalidWorkflow):
    """A workflow as data cannot be built; `problems` holds all its faults as (path, reason) pairs."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        told = [f"{path}: {reason}" if path else reason for path, reason in problems[:20]]
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        super().__init__("the workflow cannot be built: " + "; ".join(told + more))
        self.problems = tuple(problems)


# ── values that travel ────────────────────────────────────────────────────────────────────────────


class CodecError(TenutoError, ValueError):
    """A value cannot travel between a program and the database."""


class Unencodable(CodecError):
    """A value has no stored form; `path` says where in it, `reason` why. The value itself is not shown."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class UnencodableResult(Unencodable):
    """A job returned what cannot be stored: it is discarded, since a retry would only repeat its effects."""


class TooLarge(CodecError):
    """A value's stored form is over its limit; `size` and `limit` are in bytes."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} takes {size:,} bytes when stored, and {limit:,} are allowed")
        self.what = what
        self.size = size
        self.limit = limit


class ResultTooLarge(TooLarge):
    """A job returned more than may be kept: it is discarded, since a retry would only repeat its effects."""


class Undecodable(CodecError):
    """A stored text is not one the codec wrote."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the stored value cannot be read: {reason}")
        self.reason = reason


# ── results between steps ─────────────────────────────────────────────────────────────────────────


class ResultError(TenutoError, LookupError):
    """A step asked for a result it cannot have."""


class NoWorkflow(ResultError):
    """The running job is no step of a workflow."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is no step of a workflow, so it has no deps to read from")
        self.job_id = job_id


class StepNotFound(ResultError):
    """The workflow has no step of that name."""

    def __init__(self, step: str) -> None:
        super().__init__(f"this workflow has no step named {step!r}")
        self.step = step


class NotADependency(ResultError):
    """The step exists, but the running one does not declare it as a dep."""

    def __init__(self, step: str) -> None:
        super().__init__(f"{step!r} is not a declared dep of this step; name it in deps= to read its result")
        self.step = step


class NoResult(ResultError):
    """The step has stored nothing."""

    def __init__(self, step: str) -> None:
        super().__init__(f"step {step!r} has stored no result")
        self.step = step


class NotInJob(TenutoError, RuntimeError):
    """Only a running job has a current job; elsewhere ask the app."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} works inside a running job; elsewhere use await app.workflow(id).result(step)")
        self.what = what


# ── what is stored, and what may be done to it ────────────────────────────────────────────────────


class NotFound(TenutoError, LookupError):
    """Nothing is stored under that id or name."""


class JobNotFound(NotFound):
    """No job has that id; it was never stored, or has been pruned or deleted."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job has the id {job_id}; it was never stored, or has been pruned or deleted")
        self.job_id = job_id


class WorkflowNotFound(NotFound):
    """No workflow has that id; it was never stored, or has been pruned."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"no workflow has the id {workflow_id}; it was never stored, or has been pruned")
        self.workflow_id = workflow_id


class CronNotFound(NotFound):
    """No cron entry has that name; no node ever declared it, or all have gone long ago."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no cron entry is named {name!r:.300}; tenuto cron list shows those there are")
        self.name = name


class NothingRecorded(NotFound):
    """The job has recorded nothing: it has not completed, returned None, or its worker is not recorded."""

    def __init__(self, job_id: str) -> None:
        told = "it has not completed, or returned None, or its worker is not recorded="
        super().__init__(f"job {job_id} has recorded nothing: {told}")
        self.job_id = job_id


# ── what is sealed ────────────────────────────────────────────────────────────────────────────────


class SealError(TenutoError):
    """What an encrypted worker sealed cannot be opened."""


class KeyUnavailable(SealError, LookupError):
    """The key that opens it is not among those of this process."""

    def __init__(self, key_id: str, worker: str) -> None:
        told = f"import the module of the worker {worker}, and keep the key in its ring"
        super().__init__(f"the key {key_id!r} is not here, and what it sealed stays closed; {told}")
        self.key_id = key_id
        self.worker = worker


class SealBroken(SealError, ValueError):
    """It was altered or cut, or stands where it was not sealed for: another job, field or worker."""

    def __init__(self, job_id: str, field: str) -> None:
        super().__init__(f"what is sealed as {field} of job {job_id} was altered, or belongs elsewhere")
        self.job_id = job_id
        self.field = field


class NotSealed(SealError, ValueError):
    """What an encrypted worker's job holds is stored in the clear, and so by nobody who had its keys."""

    def __init__(self, job_id: str, field: str, worker: str) -> None:
        super().__init__(
            f"what is stored as {field} of job {job_id} is not sealed, and {worker} is encrypted; "
            "Encrypted(keys, allow_plain=True) takes what is from before it was"
        )
        self.job_id = job_id
        self.field = field
        self.worker = worker


class NotEncrypted(SealError, TypeError):
    """Args are sealed, and the worker that is to run them is not encrypted (any more)."""

    def __init__(self, job_id: str, worker: str) -> None:
        super().__init__(f"the args of job {job_id} are sealed, and {worker} is not encrypted; give it encrypted=")
        self.job_id = job_id
        self.worker = worker


class Refused(TenutoError):
    """The verb would break a promise, so nothing was changed."""


class JobMismatch(Refused):
    """The id is taken by a job with another worker or other args."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is already stored with another worker or other args; make a new() one")
        self.job_id = job_id


class WorkflowMismatch(Refused):
    """The id is taken by a workflow of other steps or other jobs."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"workflow {workflow_id} is already stored with other steps; make a new Workflow")
        self.workflow_id = workflow_id


class WorkflowFinished(Refused):
    """Steps cannot be added any more: the workflow has finished, or the group that they were for has ended."""

    def __init__(self, workflow_id: str, group: str | None = None) -> None:
        whole = f"workflow {workflow_id}"
        what = f"group {group!r} of {whole} has ended" if group else f"{whole} has finished"
        super().__init__(f"{what}, so nothing can be added to it; make a new Workflow, or retry a step of it first")
        self.workflow_id = workflow_id
        self.group = group


class NotInGraft(Refused):
    """Only the step of an `add_graft` can fill its group."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is not the step of a graft; add it with Workflow.add_graft(name, job)")
        self.job_id = job_id


class UniqueConflict(Refused):
    """Another job holds the unique key that this one needs: a step to be stored, or a job to be retried."""

    def __init__(self, job_id: str, existing_id: str) -> None:
        super().__init__(
            f"job {job_id} is unique, and job {existing_id} is there already; wait for that one, or cancel it"
        )
        self.job_id = job_id
        self.existing_id = existing_id


class WorkflowRunning(Refused):
    """A unique workflow of that name is unfinished, so that no other one is stored, or lives again."""

    def __init__(self, name: str, workflow_id: str) -> None:
        super().__init__(f"workflow {workflow_id}, named {name!r}, is unique and unfinished; wait for it, or cancel it")
        self.name = name
        self.workflow_id = workflow_id


class WouldDeadlock(Refused):
    """It would wait for ever for what only the waiting thread could do."""


class NeedsUnmet(Refused):
    """A step whose own needs are unmet cannot be retried alone."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} waits for steps that did not end well; retry those first")
        self.job_id = job_id


class NotRetried(Refused):
    """Steps of a workflow that cannot be retried, so that none of those asked for was; `problems` says why, by name."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        told = [f"step {step!r} {reason}" for step, reason in problems[:20]]
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        hint = "name the steps that are to be retried, or enqueue a new workflow"
        super().__init__(f"nothing was retried: {'; '.join(told + more)}; {hint}")
        self.problems = tuple(problems)


class EmptyFilter(Refused):
    """A filter that names nothing would mean every job there is."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"{verb} needs a job, an id or a filter; to mean every job, filter by each state")
        self.verb = verb


class InvalidRequest(Refused, ValueError):
    """What is asked of jobs, workflows or queues cannot be: a filter, a limit, a number of slots."""


class StaleAttempt(Refused):
    """The job was taken from this attempt (rescued, released or settled elsewhere): its writes are refused."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"this attempt of job {job_id} is no longer the job's; what it writes is refused")
        self.job_id = job_id


class CancelRequested(Refused):
    """An operator cancelled the running job before it completed: let the transaction roll back."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} was cancelled while it ran; let the transaction roll back")
        self.job_id = job_id


class NotHere(Refused):
    """The job runs in a process of its own, or in an executor's, where this is not to be had."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not to be had in the process where this job runs; return a value for a later step, "
            "or let the job run on its node, without runs_in="
        )
        self.what = what


class NotStarted(Refused):
    """The app is not open: use `async with app`, or `await app.start()` first."""

    def __init__(self, told: str = "the app is not open; use `async with app:` or `await app.start()` first") -> None:
        super().__init__(told)


class WrongLoop(Refused):
    """The app was opened in another event loop, and its connections belong there."""

    def __init__(self) -> None:
        super().__init__(
            "the app was opened in another event loop; from a thread use "
            "asyncio.run_coroutine_threadsafe(app.enqueue(job), loop).result()"
        )


# ── storage ───────────────────────────────────────────────────────────────────────────────────────


class StorageError(TenutoError):
    """Something between the program and its database."""


class StorageUnavailable(StorageError):
    """The database does not answer. Whether the last write happened is not known; repeating it is safe."""


class StorageBusy(StorageError):
    """Others hold rows that had to be changed, or were first again and again. Nothing was written; try again."""


class StorageRejected(StorageError):
    """The database refused what it was given; nothing was written."""


class UnusableConnection(StorageError):
    """What was lent as `conn=` cannot be used for this; nothing was done with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection that was given cannot be used: {reason}")
        self.reason = reason


class SchemaError(StorageError):
    """The tables are not the ones this version works with."""


class NotMigrated(SchemaError):
    """The tables are missing or older than this version; `command` brings them up to date."""

    def __init__(self, found: int | None, needed: int, command: str) -> None:
        state = "has no tables of Tenuto yet" if found is None else f"is at schema version {found}, not {needed}"
        super().__init__(f"the database {state}; run: {command}")
        self.found = found
        self.needed = needed
        self.command = command


class SchemaTooNew(SchemaError):
    """The tables were made by a newer version than this one."""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(
            f"the database is at schema version {found} and this program knows {needed}; "
            "run: pip install --upgrade tenuto"
        )
        self.found = found
        self.needed = needed


class LiveNodes(SchemaError):
    """Nodes of an older version still work on these tables; stop them before migrating."""

    def __init__(self, nodes: Sequence[str]) -> None:
        super().__init__(f"nodes still work on the older tables: {', '.join(nodes)}; stop them, then migrate")
        self.nodes = tuple(nodes)


class SQLiteTooOld(StorageError):
    """This Python carries an SQLite older than 3.37."""

    def __init__(self, found: str) -> None:
        super().__init__(f"SQLite {found} is too old: Tenuto needs 3.37 or newer")
        self.found = found


class PostgresTooOld(StorageError):
    """The server is older than PostgreSQL 14."""

    def __init__(self, found: str) -> None:
        super().__init__(f"PostgreSQL {found} is too old: Tenuto needs 14 or newer")
        self.found = found


class Forked(StorageError):
    """A child process may not use the connection it was forked with."""

    def __init__(self) -> None:
        super().__init__("this app was opened before a fork; open another one in the child process")


# ── attempts and waits ────────────────────────────────────────────────────────────────────────────


class JobTimedOut(TenutoError, TimeoutError):
    """One attempt ran longer than the job's timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the attempt ran longer than its timeout of {seconds:g} s")
        self.seconds = seconds


class TaskExited(TenutoError, RuntimeError):
    """A task that a job had started raised SystemExit or KeyboardInterrupt, which would have ended the event loop."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"a task of the job raised {type(error).__name__}")


class ProcessDied(TenutoError, RuntimeError):
    """The process in which a job ran died under it; `code` is its exit code, or its signal as a negative number."""

    def __init__(self, how: str, code: int) -> None:
        super().__init__(f"the process in which this job ran {how}")
        self.how = how
        self.code = code


class RaisedElsewhere(TenutoError):
    """What a job raised in another process: the name of its type, its message and its traceback, as data."""

    def __init__(self, original: str, message: str, traceback: str) -> None:
        super().__init__(f"{original}: {message}")
        self.original = original
        self.message = message
        self.traceback = traceback


class JobFailed(TenutoError):
    """An awaited job's attempt failed, and another one follows; `error` says how, as data."""

    def __init__(self, job_id: str, error: Any) -> None:
        super().__init__(f"job {job_id} failed: {error.type}: {error.message}")
        self.job_id = job_id
        self.error = error


class JobDiscarded(TenutoError):
    """An awaited job failed for good; `error` says how, as data."""

    def __init__(self, job_id: str, error: Any) -> None:
        super().__init__(f"job {job_id} was discarded: {error.type}: {error.message}")
        self.job_id = job_id
        self.error = error


class JobCancelled(TenutoError):
    """An awaited job was cancelled, for `reason`."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} was cancelled" + (f": {reason}" if reason else ""))
        self.job_id = job_id
        self.reason = reason


class JobSnoozed(TenutoError):
    """An awaited job asked to be run again after `delay`."""

    def __init__(self, job_id: str, delay: timedelta) -> None:
        super().__init__(f"job {job_id} snoozed for {delay.total_seconds():g} s; with_retries=True waits on")
        self.job_id = job_id
        self.delay = delay


class RelayTimedOut(TenutoError, TimeoutError):
    """The wait for a job ended first; the job goes on, and can be awaited again."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(f"job {job_id} did not answer within {seconds:g} s; it goes on, only the waiting stopped")
        self.job_id = job_id
        self.seconds = seconds


class WaitTimedOut(TenutoError, TimeoutError):
    """The wait ended first; what was waited for goes on."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not end within {seconds:g} s; it goes on, only the waiting stopped")
        self.what = what
        self.seconds = seconds


# ── tests ─────────────────────────────────────────────────────────────────────────────────────────


class NotCompleted(TenutoError, LookupError):
    """A test asks for the value of a job that came to something else; what it raised, if anything, is the cause."""

    def __init__(self, what: str, outcome: str, why: str) -> None:
        super().__init__(f"{what} has no value: it is {outcome}" + (f", {why}" if why else ""))
        self.what = what
        self.outcome = outcome


class NotDrained(TenutoError, RuntimeError):
    """The jobs of a test do not come to their end: they go on for ever, wait for each other, or cannot start."""
