"""Encrypted workers, from the door in: sealed at rest, opened to run, read by who has the keys and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tenuto import (
    Cancel,
    Chain,
    Discard,
    Encrypted,
    Job,
    KeyRing,
    Tenuto,
    Unique,
    Worker,
    Workflow,
    blocking,
    current_job,
    job,
    results,
)
from tenuto.definition import _registry, forget, registered, resolve
from tenuto.errors import (
    ConfigError,
    InvalidArgs,
    JobMismatch,
    KeyUnavailable,
    NotEncrypted,
    NothingRecorded,
    NotSealed,
    SealBroken,
    TooLarge,
    Undecodable,
)
from tenuto.features.encrypted import ASK_EVERY
from tenuto.opening import encryption_of
from tenuto.tagged import Sealed
from tests.kit import Obey, drain, eventually, finish, result_of
from tests.storage.tables import Tables, look_into

OLD, NEW = KeyRing.new_key(), KeyRing.new_key()
KEYS = {"old": OLD, "new": NEW}
RING = KeyRing("new", KEYS)
seen: list[Any] = []


class NoKeys(Exception):
    """What a provider may raise."""


@job(name="vault", encrypted=RING, recorded=True, backoff=0, max_attempts=2)
async def vault(iban: str, fails: bool = False) -> dict[str, str]:
    seen.append((iban, current_job().args["iban"], [error.message for error in current_job().errors]))
    if fails:
        raise ValueError(f"no such account: {iban}")
    return {"iban": iban}


@job(name="vault in a thread", encrypted=RING, backoff=0, max_attempts=1)
def vault_in_a_thread(iban: str) -> dict[str, str]:
    seen.append(iban)
    return {"iban": iban}


class Vault(Worker[None, str], name="vault of a class", encrypted=Encrypted(lambda: RING)):
    async def process(self, job: Job[None, str]) -> str:
        return "kept"


@job(name="open reader")
async def read_dep(step: str) -> Any:
    return results.get_result(step)


@job(name="open reader in a thread")
def read_deps() -> Any:
    return results.get_all_results()


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    with look_into(database_url) as tables:
        yield tables


@pytest.fixture(autouse=True)
def own_workers() -> Iterator[None]:
    """Workers that a test defines are its own."""
    seen.clear()
    before = set(registered())
    yield
    for name in set(registered()) - before:
        forget(name)


@contextmanager
def unknown_here(name: str) -> Iterator[None]:
    """As in a process that did not import this worker."""
    definition = resolve(name)
    forget(name)
    try:
        yield
    finally:
        _registry[name] = definition


def outdate(worker: str) -> None:
    """Let the last answer of its provider be an old one."""
    encryption = encryption_of(worker)
    assert encryption is not None
    encryption._asked_at = 0.0


async def done(app: Tenuto, job: Job[Any, Any]) -> Job[Any, Any]:
    """Store the job, and give it as it is once nothing more happens to it."""
    stored = await app.enqueue(job)
    await drain(app)
    return await app.fetch(stored)


def everything(tables: Tables) -> str:
    """Every row of every table, as text."""
    return str(tables.all())


# ── transparent ───────────────────────────────────────────────────────────────────────────────────


async def test_a_job_runs_as_if_its_args_were_not_sealed(app, tables):
    mine = await app.enqueue(vault.new("DE02"))
    await drain(app)

    assert mine.args == {"iban": "DE02", "fails": False}
    assert seen == [("DE02", "DE02", [])]
    assert await app.recorded(mine) == {"iban": "DE02"}
    assert "DE02" not in everything(tables)


async def test_what_is_fetched_is_sealed_and_can_be_opened(app):
    stored = await done(app, vault.new("DE02"))

    assert isinstance(stored.args, Sealed)
    assert "DE02" not in f"{stored!r} {stored.args}"
    assert (await app.opened(stored)).args == {"iban": "DE02", "fails": False}
    (found,) = await app.find(worker="vault")
    assert isinstance(found.args, Sealed)


async def test_args_are_checked_before_they_are_sealed(app):
    with pytest.raises(InvalidArgs):
        vault.new(iban=7)  # type: ignore[arg-type]

    assert vault.new("DE02").args == {"iban": "DE02", "fails": False}


async def test_threads_and_classes_and_workers_without_args_are_sealed_too(app, tables):
    in_thread, of_class = await done(app, vault_in_a_thread.new("DE03")), await done(app, Vault.new())

    assert (in_thread.state, of_class.state, seen) == ("completed", "completed", ["DE03"])
    assert isinstance(of_class.args, Sealed)
    assert "DE03" not in everything(tables)


async def test_errors_are_sealed_but_for_the_name_of_their_type(app, tables):
    stored = await done(app, vault.new("DE02", fails=True))

    assert [error.type for error in stored.errors] == ["ValueError", "ValueError"]
    assert [(error.message, error.traceback) for error in stored.errors] == [("<sealed with key 'new'>", "")] * 2
    assert "no such account" not in everything(tables)
    opened = (await app.opened(stored)).errors
    assert [error.message for error in opened] == ["no such account: DE02"] * 2
    assert all("raise ValueError" in error.traceback for error in opened)


async def test_a_retry_sees_the_errors_of_earlier_attempts(app):
    await done(app, vault.new("DE02", fails=True))

    assert [errors for _, _, errors in seen] == [[], ["no such account: DE02"]]


@pytest.mark.parametrize("outcome", [Cancel, Discard])
async def test_the_reason_of_an_outcome_is_sealed(app, tables, outcome):
    @job(name="reasoning vault", encrypted=RING)
    async def reasoning(iban: str) -> None:
        raise outcome(f"no more of {iban}")

    stored = await done(app, reasoning.new("DE02"))

    assert "DE02" not in everything(tables)
    assert (await app.opened(stored)).errors[-1].message == "no more of DE02"


async def test_what_tenuto_itself_says_stays_readable(app):
    @job(name="slow vault", encrypted=RING, timeout=0.1, max_attempts=1)
    async def slow(iban: str) -> None:
        await asyncio.Event().wait()

    stored = await done(app, slow.new("DE02"))

    assert stored.errors[-1].message == "the attempt ran longer than its timeout of 0.1 s"


async def test_meta_tags_and_queue_stay_plain(app, tables):
    await app.enqueue(vault.options(meta={"tenant": "acme"}, tags=["payroll"], schedule_in=60).new("DE02"))

    (row,) = tables.rows("select meta, tags, queue, worker from jobs")
    assert row == {"meta": '{"tenant":"acme"}', "tags": '["payroll"]', "queue": "default", "worker": "vault"}


async def test_a_whole_batch_is_sealed_and_comes_back_readable_to_who_gave_it(app, tables):
    jobs = await app.enqueue([vault.new(f"DE{n:02}") for n in range(50)])

    assert [job.args["iban"] for job in jobs] == [f"DE{n:02}" for n in range(50)]
    texts = {row["args"] for row in tables.rows("select args from jobs")}
    assert len(texts) == 50
    assert all(text.startswith('{"$sealed":["new","vault","') for text in texts)


async def test_args_that_are_too_large_once_they_are_sealed_are_taken(app):
    """The limit is of what is sealed; the seal takes a third more."""
    large = "x" * 900_000
    await done(app, vault_in_a_thread.new(large))

    assert seen == [large]
    with pytest.raises(TooLarge):
        await app.enqueue(vault_in_a_thread.new("x" * 1_000_000))


# ── the same id again ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fields", [["worker", "args"], ["worker", "meta.tenant"]], ids=["by args", "by meta"])
async def test_sealed_jobs_may_be_unique(app, fields):
    once = vault.options(unique=Unique(fields), meta={"tenant": "acme"}, schedule_in=3600)
    other = vault.options(unique=Unique(fields), meta={"tenant": "other"}, schedule_in=3600)

    first, again, another = [await app.enqueue(one) for one in (once.new("DE02"), once.new("DE02"), other.new("DE03"))]

    assert (first.existing, again.existing, another.existing) == (False, True, False)
    assert again.id == first.id


async def test_the_same_job_again_is_the_same_job_though_it_is_sealed_anew(app):
    mine = vault.options(schedule_in=60).new("DE02")

    first, again = await app.enqueue(mine), await app.enqueue(mine)

    assert (first.existing, again.existing) == (False, True)
    assert (await app.opened(again)).args == first.args


async def test_the_same_id_with_other_args_is_refused_and_its_batch_with_it(app):
    id = uuid4()
    await app.enqueue(vault.options(id=id, schedule_in=60).new("DE02"))
    other = vault.options(schedule_in=60).new("DE03")

    with pytest.raises(JobMismatch):
        await app.enqueue([other, vault.options(id=id).new("DE04")])

    assert [job.id for job in await app.find()] == [str(id)]


async def test_a_fetched_job_can_be_stored_again(app):
    stored = await done(app, vault.new("DE02"))
    await app.delete(stored)

    await app.enqueue(stored)
    await drain(app)

    assert [iban for iban, _, _ in seen] == ["DE02", "DE02"]


KEYED: dict[str, Any] = {"unique": Unique(keys=["iban"]), "chain": Chain(by="args.iban"), "partition": "args.iban"}


async def test_a_fetched_job_that_is_gone_is_stored_again_with_the_keys_that_it_had(open_app, tables):
    """Of its args, which are sealed by now, and not of nothing."""
    app = await open_app()

    @job(name="keyed vault", encrypted=RING, **KEYED)
    async def keyed(iban: str) -> None: ...

    def keys() -> list[dict[str, Any]]:
        return tables.rows("select unique_key, chain_key, limit_key from jobs")

    fetched = await app.fetch(await app.enqueue(keyed.new("DE02")))
    before = keys()
    await app.delete(fetched)

    anew = await app.enqueue([fetched.replace(chain_key=None), keyed.new("DE02"), keyed.new("DE03")])

    assert [one.existing for one in anew] == [False, True, False]
    assert anew[1].id == fetched.id
    assert before[0] in keys()
    assert len(keys()) == 2


@pytest.mark.parametrize("option", ["chain", "partition"])  # a unique key is what it was, whoever stores it
async def test_a_sealed_job_whose_worker_is_not_encrypted_any_more_gets_no_key_of_nothing(open_app, option):
    app = await open_app()
    fetched = await app.fetch(await app.enqueue(vault.options(schedule_in=60).new("DE02")))
    await app.delete(fetched)

    with unknown_here("vault"):

        @job(name="vault", **{option: KEYED[option]})
        async def open_now(iban: str, fails: bool = False) -> None: ...

        with pytest.raises(NotEncrypted, match="are sealed, and vault is not encrypted"):
            await app.enqueue(fetched)

    assert await app.find() == []


# ── results between steps ─────────────────────────────────────────────────────────────────────────


async def test_a_step_reads_what_an_encrypted_one_returned(app, tables):
    flow = Workflow()
    flow.add("vault", vault.new("DE02"))
    flow.add("in a thread", read_deps.new(), deps="vault")
    flow.add("on the loop", read_dep.new("vault"), deps="vault")
    await finish(app, flow)

    (row,) = tables.rows("select result from workflow_nodes where name = 'vault'")

    assert row["result"].startswith('{"$sealed":["new","vault","')
    assert await result_of(app, flow, "vault") == {"iban": "DE02"}
    assert await result_of(app, flow, "on the loop") == {"iban": "DE02"}
    assert await result_of(app, flow, "in a thread") == {"vault": {"iban": "DE02"}}


async def test_a_result_that_is_stored_early_is_sealed_and_read_by_the_next_attempt(app, tables):
    told: list[Any] = []

    @job(name="early vault", encrypted=RING, backoff=0, reuse_result=False)
    async def early(iban: str) -> None:
        if current_job().attempt == 1:
            await results.store_result({"early": iban})
            told.append(results.get_own_result())
            raise ValueError("and then it failed")
        told.append(results.get_own_result())

    @job(name="early vault in a thread", encrypted=RING, backoff=0)
    def early_in_a_thread(iban: str) -> None:
        blocking.store_result({"early": iban})
        raise ValueError("and then it failed")

    flow = Workflow()
    flow.add("early", early.new("DE02"))
    flow.add("thread", early_in_a_thread.new("DE03"))
    await finish(app, flow)

    assert told == [{"early": "DE02"}] * 2
    assert await result_of(app, flow, "thread") == {"early": "DE03"}
    stored = str(tables.rows("select * from workflow_nodes"))
    assert "DE02" not in stored
    assert "DE03" not in stored


async def test_a_sealed_result_is_named_and_not_opened_in_a_list_of_steps(app):
    flow = Workflow()
    flow.add("vault", vault.new("DE02"))
    status = await finish(app, flow)

    (step,) = status.steps
    assert isinstance(step.result, Sealed)


async def test_who_lacks_the_key_of_a_result_is_told_its_id(app):
    other = KeyRing("other", {"other": KeyRing.new_key()})

    @job(name="vault of others", encrypted=other, recorded=True)
    async def theirs(iban: str) -> str:
        return iban

    flow = Workflow()
    step = flow.add("theirs", theirs.new("DE02"))
    await finish(app, flow)

    with unknown_here("vault of others"):
        with pytest.raises(KeyUnavailable, match="the key 'other' is not here") as refused:
            await result_of(app, flow, "theirs")
        assert (refused.value.key_id, refused.value.worker) == ("other", "vault of others")
        with pytest.raises(KeyUnavailable):
            await app.recorded(step.job)
        with pytest.raises(KeyUnavailable):
            await app.opened(await app.fetch(step.job))
    assert await app.recorded(step.job) == "DE02"


async def test_a_step_that_lacks_the_key_of_a_dep_runs_and_is_refused_that_result_alone(app):
    other = KeyRing("other", {"other": KeyRing.new_key()})
    told: list[Any] = []

    @job(name="vault of others", encrypted=other)
    async def theirs(iban: str) -> str:
        return iban

    @job(name="asks both")
    async def ask() -> None:
        told.append(results.get_result("mine"))
        try:
            results.get_result("theirs")
        except KeyUnavailable as refused:
            told.append(refused.key_id)

    flow = Workflow()
    flow.add("mine", vault.new("DE02"))
    flow.add("theirs", theirs.new("DE03"))
    flow.add("ask", ask.options(schedule_in=1).new(), deps=["mine", "theirs"])
    await app.enqueue(flow)
    await eventually(lambda: is_completed(app, flow.jobs["theirs"]))
    with unknown_here("vault of others"):
        await app.workflow(flow.id).wait(timeout=30)

    assert told == [{"iban": "DE02"}, "other"]


async def is_completed(app: Tenuto, job: Job[Any, Any]) -> bool:
    return (await app.fetch(job)).state == "completed"


async def test_a_process_that_does_not_know_the_worker_reads_with_the_same_keys(app):
    @job(name="another vault", encrypted=Keys(NoKeys()))
    async def another() -> None: ...

    flow = Workflow()
    step = flow.add("vault", vault.new("DE02"))
    await finish(app, flow)

    with unknown_here("vault"):
        assert await result_of(app, flow, "vault") == {"iban": "DE02"}
        assert await app.recorded(step.job) == {"iban": "DE02"}


# ── what was altered ──────────────────────────────────────────────────────────────────────────────


async def put_off(app: Tenuto, *ibans: str) -> list[Job[Any, Any]]:
    """Jobs that are due in a while, stored."""
    return await app.enqueue([vault.options(schedule_in=3600, max_attempts=1).new(iban) for iban in ibans])


async def run_now(app: Tenuto, jobs: list[Job[Any, Any]]) -> list[Job[Any, Any]]:
    await app.retry(jobs)
    await drain(app)
    return [await app.fetch(job) for job in jobs]


async def test_args_that_were_swapped_between_two_jobs_are_refused_and_process_is_not_called(app, tables):
    jobs = await put_off(app, "DE02", "DE03")
    texts = [row["args"] for row in tables.rows("select args from jobs order by id")]
    for job_of, text in zip(jobs, reversed(texts), strict=True):
        tables.execute("update jobs set args = ? where id = ?", text, job_of.id)

    one, two = await run_now(app, jobs)

    assert seen == []
    assert [one.errors[-1].type, two.errors[-1].type] == [SealBroken.__name__] * 2
    assert one.errors[-1].message == f"what is sealed as args of job {one.id} was altered, or belongs elsewhere"


async def test_args_that_another_worker_sealed_are_refused(app, tables):
    (mine,) = await put_off(app, "DE02")
    tables.execute("update jobs set worker = 'vault in a thread' where id = ?", mine.id)

    (stored,) = await run_now(app, [mine])

    assert (seen, stored.errors[-1].type) == ([], "SealBroken")


async def test_args_in_the_clear_are_refused_in_the_place_of_sealed_ones(app, tables):
    (mine,) = await put_off(app, "DE02")
    tables.execute("""update jobs set args = '{"iban":"forged"}' where id = ?""", mine.id)

    (stored,) = await run_now(app, [mine])

    assert (seen, stored.errors[-1].type) == ([], "NotSealed")


async def test_results_in_the_clear_are_refused_in_the_place_of_sealed_ones(app, tables):
    told: list[str] = []

    @job(name="trusting reader")
    async def trust() -> None:
        for read in (lambda: results.get_result("vault"), results.get_all_results):
            try:
                read()
            except NotSealed as refused:
                told.append(refused.field)

    flow = Workflow()
    step = flow.add("vault", vault.new("DE02"))
    flow.add("reader", trust.options(schedule_in=1).new(), deps="vault")
    await app.enqueue(flow)
    await eventually(lambda: is_completed(app, step.job))
    tables.execute("""update workflow_nodes set result = '"forged"' where name = 'vault'""")
    tables.execute("""update jobs set recorded = '"forged"' where id = ?""", step.job.id)
    await app.workflow(flow.id).wait(timeout=30)

    assert told == ["result", "result"]
    for read in (result_of(app, flow, "vault"), app.recorded(step.job)):
        with pytest.raises(NotSealed):
            await read


async def test_a_text_that_is_no_seal_any_more_is_refused(app, tables):
    (mine,) = await put_off(app, "DE02")
    tables.execute("update jobs set args = substr(args, 1, 40) where id = ?", mine.id)

    (stored,) = await run_now(app, [mine])

    assert (seen, stored.errors[-1].type) == ([], Undecodable.__name__)


async def test_a_result_in_the_place_of_another_is_refused(app, tables):
    flow = Workflow()
    one, two = flow.add("one", vault.new("DE02")), flow.add("two", vault.new("DE03"))
    await finish(app, flow)
    sealed = {row["name"]: row["result"] for row in tables.rows("select name, result from workflow_nodes")}
    tables.execute("update workflow_nodes set result = ? where name = 'one'", sealed["two"])
    recorded = {row["id"]: row["recorded"] for row in tables.rows("select id, recorded from jobs")}
    tables.execute("update jobs set recorded = ? where id = ?", recorded[two.job.id], one.job.id)
    tables.execute("update jobs set recorded = ? where id = ?", sealed["two"], two.job.id)

    for read in (result_of(app, flow, "one"), app.recorded(one.job), app.recorded(two.job)):
        with pytest.raises(SealBroken):
            await read


async def test_an_error_of_one_attempt_in_the_place_of_another_stays_closed(app, tables):
    stored = await done(app, vault.new("DE02", fails=True))
    errors = stored.errors
    swapped = Job.of({**vars(stored), "errors": (errors[0], *[_with_seal_of(errors[1], errors[0])])})

    opened = await app.opened(swapped)

    assert [error.message for error in opened.errors] == ["no such account: DE02", "<sealed with key 'new'>"]


def _with_seal_of(failure: Any, other: Any) -> Any:
    return type(failure)(failure.attempt, failure.at, failure.kind, failure.type, failure.message, "", other.sealed)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


class Keys:
    """A provider whose answer can be changed."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def later(self) -> Any:
        await asyncio.sleep(0)
        return self()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_keys_are_asked_for_at_run_time(app, is_async):
    keys = Keys(RING)
    provider = keys.later if is_async else keys

    @job(name="asking vault", encrypted=provider)
    async def asking(iban: str) -> None:
        seen.append(iban)

    assert keys.asked == 0
    mine = asking.new("DE02")
    assert keys.asked == 0
    await done(app, mine)

    assert keys.asked >= 1
    assert seen == ["DE02"]


async def test_a_burst_of_jobs_asks_once_a_second(app):
    keys = Keys(RING)

    @job(name="asking vault", encrypted=keys)
    async def asking(n: int) -> None: ...

    began = asyncio.get_running_loop().time()
    await app.enqueue([asking.new(n) for n in range(200)])
    await drain(app)
    lasted = asyncio.get_running_loop().time() - began

    assert keys.asked <= 2 + lasted / ASK_EVERY


async def test_a_rotation_reads_the_old_and_writes_the_new(app, tables):
    keys = Keys(KeyRing("old", {"old": OLD}))

    @job(name="rotating vault", encrypted=keys, recorded=True, backoff=0, max_attempts=1)
    async def rotating(iban: str) -> str:
        seen.append(iban)
        return iban

    before = await app.enqueue(rotating.options(schedule_in=3600).new("DE02"))
    recorded = await done(app, rotating.new("DE03"))
    keys.answer = KeyRing("new", KEYS)
    outdate("rotating vault")

    after = await done(app, rotating.new("DE04"))
    await app.retry(before)
    await drain(app)

    assert seen == ["DE03", "DE04", "DE02"]
    assert [await app.recorded(job) for job in (recorded, after, before)] == ["DE03", "DE04", "DE02"]
    keys_of = {row["id"]: (row["args"][13:16], row["recorded"][13:16]) for row in tables.rows("select * from jobs")}
    assert keys_of == {recorded.id: ("old", "old"), after.id: ("new", "new"), before.id: ("old", "new")}


async def test_a_key_that_is_missing_is_asked_for_at_once(app):
    keys = Keys(KeyRing("old", {"old": OLD}))

    @job(name="rotating vault", encrypted=keys, recorded=True)
    async def rotating(iban: str) -> str:
        return iban

    stored = await done(app, rotating.new("DE02"))
    keys.answer = KeyRing("new", {"new": NEW})
    outdate("rotating vault")
    with pytest.raises(KeyUnavailable):
        await app.recorded(stored)
    keys.answer = RING  # and the last answer is a moment old

    assert await app.recorded(stored) == "DE02"


async def test_a_job_whose_key_is_gone_fails_naming_its_id_and_runs_once_it_is_back(app):
    keys = Keys(KeyRing("old", {"old": OLD}))

    @job(name="losing vault", encrypted=keys, backoff=0, max_attempts=1)
    async def losing(iban: str) -> None:
        seen.append(iban)

    mine = await app.enqueue(losing.options(schedule_in=3600).new("DE02"))
    keys.answer = KeyRing("new", {"new": NEW})
    outdate("losing vault")
    (failed,) = await run_now(app, [mine])
    assert (failed.state, failed.errors[-1].type, seen) == ("discarded", "KeyUnavailable", [])
    assert "the key 'old' is not here" in failed.errors[-1].message

    keys.answer = RING
    (completed,) = await run_now(app, [mine])

    assert (completed.state, seen) == ("completed", ["DE02"])


async def test_a_provider_that_fails_fails_the_enqueue_and_the_attempt_and_nothing_is_told_of_it(app, tables):
    keys = Keys(RING)

    @job(name="failing vault", encrypted=keys, backoff=0, max_attempts=1)
    async def failing(iban: str) -> None:
        seen.append(iban)

    mine = await app.enqueue(failing.options(schedule_in=3600).new("DE02"))
    encryption = encryption_of("failing vault")
    assert encryption is not None
    encryption._ring = None  # as in a process that never had it
    keys.answer = NoKeys("the token is s3cr3t")

    with pytest.raises(NoKeys):
        await app.enqueue(failing.new("DE03"))
    (failed,) = await run_now(app, [mine])

    assert (failed.errors[-1].type, seen) == ("NoKeys", [])
    assert "s3cr3t" not in everything(tables)
    assert failed.errors[-1].message == "not kept: it has to be sealed, and the keys were not there"


async def test_a_provider_that_gives_something_else_is_told_by_its_type_alone(app):
    @job(name="mistaken vault", encrypted=lambda: OLD)  # type: ignore[arg-type, return-value]
    async def mistaken(iban: str) -> None: ...

    with pytest.raises(ConfigError, match="is to give a KeyRing, and gave a str") as refused:
        await app.enqueue(mistaken.new("DE02"))

    assert OLD not in str(refused.value)


# ── from before, and not any more ─────────────────────────────────────────────────────────────────


async def test_jobs_from_before_a_worker_was_encrypted_run_where_that_is_allowed(app):
    @job(name="late vault")
    async def plain(iban: str) -> None: ...

    before = await app.enqueue(plain.options(schedule_in=3600).new("DE02"))
    forget("late vault")

    @job(name="late vault", encrypted=Encrypted(RING, allow_plain=True), recorded=True)
    async def sealed(iban: str) -> str:
        return iban

    (stored,) = await run_now(app, [before])

    assert await app.recorded(stored) == "DE02"


async def test_a_worker_that_is_not_encrypted_does_not_run_sealed_args(app):
    (mine,) = await put_off(app, "DE02")
    with unknown_here("vault"):

        @job(name="vault", max_attempts=1)
        async def no_vault(iban: str, fails: bool = False) -> None:
            seen.append(iban)

        (stored,) = await run_now(app, [mine])
        forget("vault")

    assert (seen, stored.errors[-1].type) == ([], "NotEncrypted")


# ── what an operator changes ──────────────────────────────────────────────────────────────────────


async def test_args_that_an_operator_changes_are_sealed_for_each_job(app, tables):
    jobs = await put_off(app, "DE02", "DE03")
    plain = await app.enqueue(Obey.ok(schedule_in=3600))

    assert len(await app.update([*jobs, plain], {"args": {"iban": "DE09", "does": "nothing"}})) == 3
    assert len(await app.update(jobs, {"args": {"iban": "DE10"}, "meta": {"by": "me"}, "priority": 3})) == 2
    await run_now(app, jobs)

    assert [iban for iban, _, _ in seen] == ["DE10", "DE10"]
    rows = {row["id"]: row for row in tables.rows("select * from jobs")}
    assert "DE09" in rows[plain.id]["args"]
    assert rows[jobs[0].id]["args"] != rows[jobs[1].id]["args"]
    assert [(rows[job.id]["meta"], rows[job.id]["priority"]) for job in jobs] == [('{"by":"me"}', 3)] * 2
    assert "DE10" not in everything(tables)


async def test_changed_args_are_refused_where_the_worker_is_not_known(app, tables):
    (mine,) = await put_off(app, "DE02")
    before = tables.rows("select args, priority from jobs")

    with unknown_here("vault"), pytest.raises(KeyUnavailable) as refused:
        await app.update(mine, {"args": {"iban": "DE03"}, "priority": 5})

    assert (refused.value.key_id, refused.value.worker) == ("new", "vault")
    assert tables.rows("select args, priority from jobs") == before


async def test_a_change_of_something_else_needs_no_keys(app):
    (mine,) = await put_off(app, "DE02")

    with unknown_here("vault"):
        assert await app.update(mine, {"priority": 5}) == [mine.id]


async def test_a_provider_that_fails_stops_only_changes_of_its_own_jobs(app):
    keys = Keys(RING)

    @job(name="failing vault", encrypted=keys)
    async def failing(iban: str) -> None: ...

    mine = await app.enqueue(failing.options(schedule_in=3600).new("DE02"))
    (other,) = await put_off(app, "DE03")
    outdate("failing vault")
    keys.answer = NoKeys()

    assert await app.update(other, {"args": {"iban": "DE04"}}) == [other.id]
    with pytest.raises(NoKeys):
        await app.update(mine, {"args": {"iban": "DE05"}})


async def test_nothing_recorded_is_told_of_an_encrypted_job_too(app):
    (mine,) = await put_off(app, "DE02")

    with pytest.raises(NothingRecorded):
        await app.recorded(mine)
