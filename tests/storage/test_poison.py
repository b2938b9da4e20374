"""One bad value never poisons: it goes in and comes back as it was, or the batch is refused and nothing is touched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tenuto.errors import StorageRejected
from tenuto.job import COMPLETED, Job
from tenuto.outcome import DONE, Ack, Cancel, Record, settle
from tenuto.storage import reading, steer, store
from tenuto.storage.database import Verb
from tests.storage.build import Claimer, Flow, graph, plain, stored

TEXTS = {
    "a NUL": "be\x00fore",
    "an escaped NUL": "be\\u0000fore",
    "twice escaped NUL": "be\\\\u0000fore",
    "a lone surrogate": "be\ud800fore",
    "an emoji": "🎵",
    "a control character": "be\x01\x1b\x7ffore",
    "a line separator": "be\u2028fore",
    "a byte order mark": "\ufeffbefore",
    "quotes and backslashes": '"\\\'\\"',
    "SQL": "'); drop table jobs; --",
    "a percent": "%s %(name)s :name {schema}",
    "much": "x" * 900_000,
}

each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.fixture
async def flow(clock, claimer) -> Flow:
    """Two steps, both claimed."""
    flow = graph({"good": "", "bad": ""})
    await clock.run(flow.enqueue)
    await claimer.claim()
    return flow


def acks_of(claimer: Claimer, flow: Flow, **bad: Any) -> list[Ack]:
    """A good ack and a bad one, in one batch."""
    good = settle(claimer.held[flow["good"].id], Record("fine"))
    return [good, settle(claimer.held[flow["bad"].id], DONE)._replace(**bad)]


async def goes_in_or_changes_nothing(clock, tables, verb: Callable[..., Verb[Any]], *args: Any) -> bool:
    """Run a verb; whether it went in. If it was refused, no row was changed."""
    before = tables.all()
    try:
        await clock.run(verb, *args)
    except StorageRejected:
        assert tables.all() == before
        return False
    return True


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────


@each_text
async def test_any_text_as_a_result(clock, claimer, tables, flow, text):
    acks = acks_of(claimer, flow, result=text)

    if await goes_in_or_changes_nothing(clock, tables, store.ack, acks):
        assert (await clock.read(reading.step, flow.id, "bad"))[2] == text


@each_text
async def test_any_text_as_an_early_result(clock, claimer, tables, flow, text):
    job = claimer.held[flow["bad"].id]

    if await goes_in_or_changes_nothing(clock, tables, reading.store_result, job, text):
        assert (await clock.read(reading.step, flow.id, "bad"))[2] == text


@each_text
async def test_any_text_as_an_error(clock, claimer, tables, flow, text):
    entry = json.dumps({"kind": "exception", "type": "E", "message": text, "traceback": ""}, ensure_ascii=False)
    acks = acks_of(claimer, flow, error=entry)

    if await goes_in_or_changes_nothing(clock, tables, store.ack, acks):
        assert (await stored(clock, flow["bad"])).errors[-1].message == text


@each_text
async def test_any_text_as_a_reason_is_settled(clock, claimer, flow, text):
    settled = await clock.run(store.ack, [settle(claimer.held[flow["bad"].id], Cancel(text))])

    (failure,) = (await stored(clock, flow["bad"])).errors
    assert settled.ids == flow.ids("bad")
    assert failure.type == "Cancel"


@each_text
async def test_any_text_as_a_name(clock, tables, text):
    good, bad = plain(2)
    named = bad.replace(queue=text[:200], worker=text[:200])

    if await goes_in_or_changes_nothing(clock, tables, store.enqueue, [good, named]):
        after = await stored(clock, bad)
        assert (after.queue, after.worker) == (named.queue, named.worker)


async def test_ten_megabytes_as_a_result(clock, claimer, flow):
    text = "x" * 10_000_000

    await clock.run(store.ack, acks_of(claimer, flow, result=text))

    assert (await clock.read(reading.step, flow.id, "bad"))[2] == text


async def test_any_text_in_args_comes_back(clock):
    texts = [text for name, text in TEXTS.items() if name != "a lone surrogate"]  # which the codec refuses
    jobs = await clock.run(store.enqueue, [Job("worker", {"text": text}) for text in texts])

    assert [(await stored(clock, job)).args["text"] for job in jobs] == texts


async def test_any_text_in_a_filter_finds_nothing_and_breaks_nothing(clock):
    await clock.run(store.enqueue, plain())

    for text in TEXTS.values():
        try:
            found = await clock.read(reading.find, steer.Filter(queue=text), 10)
        except StorageRejected:
            continue
        assert found == []


# ── other nonsense ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "bad",
    [
        {"epoch": 2**40},
        {"epoch": 2**70},
        {"epoch": -1},
        {"delay": timedelta(days=999_999_999)},
        {"state": "unheard of"},
        {"id": "no uuid"},
        {"id": "be\x00fore"},
    ],
    ids=str,
)
async def test_any_other_nonsense_in_an_ack(clock, tables, claimer, flow, bad):
    if await goes_in_or_changes_nothing(clock, tables, store.ack, acks_of(claimer, flow, **bad)):
        assert (await stored(clock, flow["good"])).state is COMPLETED


async def test_the_good_ones_of_a_refused_batch_go_in_without_the_bad_one(clock, tables, claimer, flow):
    good, bad = acks_of(claimer, flow, state="unheard of")
    with pytest.raises(StorageRejected):
        await clock.run(store.ack, [good, bad])

    settled = await clock.run(store.ack, [good])

    assert settled.ids == [good.id]


async def test_a_bad_verb_beside_good_ones_fails_alone(clock):
    """On SQLite they share one transaction."""
    good, bad = plain(2)

    answers = await asyncio.gather(
        clock.run(store.enqueue, [good]),
        clock.run(store.enqueue, [bad.replace(max_attempts=0)]),
        clock.run(store.enqueue, plain(3)),
        return_exceptions=True,
    )

    assert [isinstance(answer, StorageRejected) for answer in answers] == [False, True, False]
    assert (await stored(clock, good)).id == good.id
