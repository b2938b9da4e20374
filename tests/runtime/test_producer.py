"""A producer's two loops, on real databases: one bad row never stops a queue, and no claim is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

from tenuto import Discard, Job, Tenuto, job, telemetry
from tenuto.errors import StorageRejected, StorageUnavailable
from tenuto.job import AVAILABLE, COMPLETED, DISCARDED
from tenuto.outcome import Ack
from tenuto.storage import store
from tenuto.storage.database import Verb
from tests.kit import Gate, Obey, drain, eventually
from tests.storage.tables import look_into

AnyJob = Job[Any, Any]


def spoil(monkeypatch: Any, name: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace one verb of the store by a changed one."""
    monkeypatch.setattr(store, name, change(getattr(store, name)))


async def test_a_row_that_the_database_refuses_is_discarded_and_its_batch_goes_on(
    app: Tenuto, monkeypatch: Any
) -> None:
    jobs = [Obey.ok() for _ in range(20)]
    bad = jobs[7].id

    def refuse_one(ack: Callable[..., Verb[Any]]) -> Callable[..., Verb[Any]]:
        def changed(acks: list[Ack], *patience: str) -> Verb[Any]:
            if any(each.id == bad and each.state is COMPLETED for each in acks):
                raise StorageRejected("planted")
            return (yield from ack(acks, *patience))

        return changed

    spoil(monkeypatch, "ack", refuse_one)
    await app.enqueue(jobs)
    await drain(app)

    states = {(await app.fetch(made)).state for made in jobs if made.id != bad}
    assert states == {COMPLETED}
    quarantined = await app.fetch(bad)
    assert quarantined.state is DISCARDED
    assert "planted" in quarantined.errors[-1].message
    assert (await app.health()).counters["split"] >= 1


class Listening:
    """Hooks that keep what they are told of jobs that others end."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def after_process(self, state: str, job: AnyJob) -> None:
        self.told.append(("after", state, job.id))

    def on_discarded(self, reason: str, job: AnyJob) -> None:
        self.told.append((reason, job.errors[-1].message, job.id))


async def test_hooks_hear_of_a_job_whose_outcome_the_database_refused(app: Tenuto, monkeypatch: Any) -> None:
    listening = Listening()

    @job(name="producer.listens", hooks=[listening])
    async def listens() -> None: ...

    def refuse_completions(ack: Callable[..., Verb[Any]]) -> Callable[..., Verb[Any]]:
        def changed(acks: list[Ack], *patience: str) -> Verb[Any]:
            if any(each.state is COMPLETED for each in acks):
                raise StorageRejected("planted")
            return (yield from ack(acks, *patience))

        return changed

    spoil(monkeypatch, "ack", refuse_completions)
    made = await app.enqueue(listens.new())
    await eventually(lambda: len(listening.told) > 1)

    assert listening.told == [
        ("after", "complete", made.id),
        ("storage", "the database refused its outcome: planted", made.id),
    ]


async def test_hooks_of_a_job_that_its_own_process_discarded_hear_of_it_once(app: Tenuto, database_url: str) -> None:
    listening = Listening()

    @job(name="producer.discards", hooks=[listening])
    async def discards() -> Discard:
        return Discard("told to")

    made: AnyJob = await app.enqueue(discards.new())
    await drain(app)

    assert listening.told == [("after", "discard", made.id)]
    with look_into(database_url) as tables:
        assert tables.rows("select * from hook_outbox") == []


async def test_a_claim_whose_answer_was_lost_is_given_back_and_runs(app: Tenuto, monkeypatch: Any) -> None:
    lost: list[int] = []

    def lose_once(claim: Callable[..., Verb[Any]]) -> Callable[..., Verb[Any]]:
        async def run_and_lose(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
            answer = await run(verb, *args, **kwargs)
            if verb is claim and answer and not lost:
                lost.append(len(answer))
                raise StorageUnavailable("the answer was lost")
            return answer

        run = app.database.run
        monkeypatch.setattr(app.database, "run", run_and_lose)
        return claim

    spoil(monkeypatch, "claim", lose_once)
    jobs = [Obey.ok() for _ in range(5)]
    await app.enqueue(jobs)
    await drain(app)
    await eventually(lambda: lost)

    found = [await app.fetch(made) for made in jobs]
    assert {each.state for each in found} == {COMPLETED}
    assert {each.attempt for each in found} == {1}
    assert (await app.health()).counters["repairs"] == lost[0]


async def test_a_job_whose_claim_is_under_way_when_its_node_is_hurried_goes_back_unspent(
    app: Tenuto, open_app: Any, monkeypatch: Any
) -> None:
    async def run_and_hurry(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        answer = await run(verb, *args, **kwargs)
        if verb is store.claim and answer:
            app.hurry()
            claimed.set()
        return answer

    run, claimed = app.database.run, asyncio.Event()
    monkeypatch.setattr(app.database, "run", run_and_hurry)
    made = await app.enqueue(Obey.wait_at(Gate()))
    await claimed.wait()

    async with asyncio.timeout(20):
        await app.stop(grace=3600)

    found = await (await open_app()).fetch(made)
    assert (found.state, found.attempt) == (AVAILABLE, 0)


async def test_a_database_error_during_an_ack_loses_nothing(app: Tenuto, monkeypatch: Any) -> None:
    failures = iter([StorageUnavailable("gone"), RuntimeError("a bug"), StorageUnavailable("gone again")])

    def fail_at_first(ack: Callable[..., Verb[Any]]) -> Callable[..., Verb[Any]]:
        def changed(acks: list[Ack], *patience: str) -> Verb[Any]:
            error = next(failures, None)
            if error is not None:
                raise error
            return (yield from ack(acks, *patience))

        return changed

    spoil(monkeypatch, "ack", fail_at_first)
    made = await app.enqueue(Obey.ok())

    async def is_done() -> bool:
        return (await app.fetch(made)).state is COMPLETED

    await eventually(is_done)


async def test_claims_and_acks_are_told(app: Tenuto) -> None:
    heard: dict[str, int] = {}

    def hear(event: str, payload: Any) -> None:
        heard[event] = heard.get(event, 0) + payload["count"]

    telemetry.attach(hear, "queue.claim", "queue.ack")
    try:
        await app.enqueue([Obey.ok() for _ in range(5)])
        await drain(app)
    finally:
        telemetry.detach(hear)

    assert heard == {"queue.claim": 5, "queue.ack": 5}


async def test_an_ack_is_kept_when_even_its_quarantine_is_refused(app: Tenuto, monkeypatch: Any) -> None:
    refusals = iter(range(4))

    def refuse_at_first(ack: Callable[..., Verb[Any]]) -> Callable[..., Verb[Any]]:
        def changed(acks: list[Ack], *patience: str) -> Verb[Any]:
            if next(refusals, None) is not None:
                raise StorageRejected("planted")
            return (yield from ack(acks, *patience))

        return changed

    spoil(monkeypatch, "ack", refuse_at_first)
    made = await app.enqueue(Obey.ok())

    async def is_discarded() -> bool:
        return (await app.fetch(made)).state is DISCARDED

    await eventually(is_discarded, within=5)
