"""Every feature on one worker: whatever the order and the way in which they are declared, it behaves the same."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tenuto import Tenuto, Unique, Workflow
from tenuto.definition import resolve, storing
from tenuto.errors import ChainInWorkflow, InvalidJob
from tenuto.features.feature import fold_store
from tenuto.options import WorkerOptions
from tests.conftest import OpenApp
from tests.storage.tables import look_into
from tests.stories.everything import (
    KINDS,
    LIMITS,
    MOMENTS,
    NAME,
    OLD_NAME,
    OPTIONS,
    QUEUE,
    Declared,
    Does,
    Trace,
    declared_as,
    made,
    story,
)

pytestmark = pytest.mark.timeout(300)

BACKWARDS, MOMENTS_BACKWARDS = list(OPTIONS)[::-1], list(MOMENTS)[::-1]

some_way = st.builds(
    Declared, st.sampled_from(list(KINDS)), st.permutations(BACKWARDS), st.permutations(MOMENTS_BACKWARDS)
)
"""Any way to declare the worker, with its options and its own hooks in any order."""

shared_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def test_no_option_is_left_out():
    assert OPTIONS.keys() == WorkerOptions.__optional_keys__ - {"runs_in"}


# ── the same worker ───────────────────────────────────────────────────────────────────────────────


async def worked_out(declared: Declared) -> Any:
    """What a declaration comes to: the options of its jobs, its features from the outermost, and what is stored."""
    with declared_as(declared) as worker:
        known = resolve(NAME)
        kept = {}
        for does in Does:
            job = made(worker, does).replace(id="0192f0c1-2345-7000-8000-000000000001")
            now = await fold_store(storing(job), job)
            kept[does] = (
                job,
                type(now.args),
                now.chain_key,
                now.unique_key,
                now.partition,
                now.has_hooks,
                now.deadline,
            )
        own = (known.backoff, known.reuse_result, known.is_async, resolve(OLD_NAME) is known)
        return [type(feature) for feature in known.acting], own, known.template.replace(id=""), kept


@settings(phases=[Phase.explicit, Phase.generate])
@given(some_way)
async def test_in_every_order_it_is_the_same_worker(declared: Declared):
    assert await worked_out(declared) == await worked_out(Declared())


# ── the same story ────────────────────────────────────────────────────────────────────────────────


async def told(open_app: OpenApp, url: str, declared: Declared) -> Trace:
    """The story of the worker that is declared so."""
    with declared_as(declared) as worker, look_into(url) as tables:
        app = await open_app(queues={QUEUE: LIMITS})
        try:
            return await story(app, tables, worker)
        finally:
            await app.stop()


@pytest.fixture
async def usual(open_app: OpenApp, database_url: str) -> Trace:
    """The story of a function with its options as they are listed; told once on each kind of database."""
    kind = database_url.partition(":")[0]
    if kind not in _usual:
        _usual[kind] = await told(open_app, database_url, Declared())
    return _usual[kind]


_usual: dict[str, Trace] = {}


@settings(shared_fixtures, max_examples=2, phases=[Phase.explicit, Phase.generate])
@given(some_way)
@example(Declared("stacked", BACKWARDS, MOMENTS_BACKWARDS))
@example(Declared("class", BACKWARDS, MOMENTS_BACKWARDS))
@example(Declared("mixins", BACKWARDS, MOMENTS_BACKWARDS))
async def test_in_every_order_its_jobs_come_to_the_same(open_app, database_url, usual, declared):
    trace = await told(open_app, database_url, declared)

    assert trace.heard == usual.heard
    assert trace.endings == usual.endings
    assert trace.answers == usual.answers
    assert trace.rows == usual.rows


WELL, ERROR, SNOOZED = "complete NoneType NoneType", "error ToldTo NoneType", "snooze NoneType Snooze"
IN_THEIR_ORDER = [
    ("give a value", 1, "complete NoneType dict"),
    ("fail once", 1, ERROR),
    ("fail once", 2, WELL),
    ("snooze once", 1, SNOOZED),
    ("snooze once", 1, WELL),
    ("cancel itself", 1, "cancel Cancel Cancel"),
    ("discard itself", 1, "discard Discard Discard"),
    ("spend its attempts", 1, "discard ToldTo NoneType"),
    ("be refused", 1, "cancel Cancel Cancel"),
    ("take too long once", 1, "error JobTimedOut NoneType"),
    ("take too long once", 2, WELL),
    ("be stored under the old name", 1, WELL),
]
PLACES = ("own", "listed", "attached")


def attempt(does: str, nth: int, came_to: str) -> list[str]:
    """What is called in one attempt: hooks of the three places, process with cast args, and the hooks again."""
    name = OLD_NAME if does == "be stored under the old name" else NAME
    before = [f"before_process {place}" for place in PLACES]
    inner = [*before, f"process Decimal datetime {name} own listed attached"]
    called = before[:2] if does == "be refused" else inner  # by the listed hook: the next one is not asked
    return [f"{does} {nth}: {line}" for line in [*called, *(f"after_process {place} {came_to}" for place in PLACES)]]


async def test_every_feature_does_its_part(usual: Trace):
    """The one that the others are compared with."""
    states = {does: (row["state"], row["attempt"], row["recorded"]) for does, row in usual.rows.items()}
    stored = {(row["stored"][0], row["deadline_force"], row["unique_held"]) for row in usual.rows.values()}
    errors = [error for row in usual.rows.values() for error in row["stored"][1:]]

    assert usual.heard["a"] == [line for each in IN_THEIR_ORDER for line in attempt(*each)]
    assert usual.heard["house"] == [line.replace("datetime", "NoneType") for line in attempt(*IN_THEIR_ORDER[0])]
    assert usual.heard["b"] == attempt("run past its deadline", 1, "")[:4]
    assert usual.endings == sorted(
        f"{does} {place} {reason}"
        for (does, reason), place in product(
            [
                ("be cancelled while it waits: cancelled", "operator"),
                ("run past its deadline: cancelled", "deadline"),
                ("spend its attempts: discarded", "rescue"),
            ],
            PLACES,
        )
    )
    assert usual.answers["stored"] == [("available", False), *[("suspended", False)] * 9]
    assert set(usual.answers["asked again"]) == {(True, True)}
    assert {does: state for does, (state, _, _) in states.items() if state != "completed"} == {
        "cancel itself": "cancelled",
        "be cancelled while it waits": "cancelled",
        "discard itself": "discarded",
        "spend its attempts": "discarded",
        "be refused": "cancelled",
        "run past its deadline": "cancelled",
    }
    recorded = {does: value for does, (_, _, value) in states.items() if value != "nothing"}
    assert {does: str(value["amount"]) for does, value in recorded.items()} == {"give a value": "2", "of cron": "1.50"}
    assert stored == {("Sealed", True, False)}
    assert ("ToldTo", "<sealed with key 'k1'>") in errors
    assert not any("told" in message or message == "too" for _, message in errors)


# ── what cannot be put together ───────────────────────────────────────────────────────────────────


@given(some_way)
def test_in_no_order_may_a_chained_job_be_a_step(declared: Declared):
    with declared_as(declared) as worker, pytest.raises(ChainInWorkflow):
        Workflow().add("step", made(worker, Does.VALUE))


@settings(shared_fixtures, max_examples=10)
@given(some_way)
async def test_in_no_order_may_sealed_args_replace_others(app: Tenuto, declared: Declared):
    unique = Unique(["worker", "args"], replace=["args"])

    with declared_as(declared) as worker, pytest.raises(InvalidJob, match="leave args out of replace="):
        await app.enqueue(worker.options(unique=unique).new(does=Does.VALUE))

    assert not await app.find()


@given(some_way)
def test_in_no_order_has_a_worker_without_cron_a_timezone(declared: Declared):
    without = declared._replace(options=[option for option in declared.options if option != "cron"])

    with pytest.raises(InvalidJob, match="says something of cron=, which is missing"), declared_as(without):
        pass


@given(some_way)
def test_in_no_order_has_a_job_a_deadline_where_its_worker_has_none(declared: Declared):
    without = declared._replace(options=[option for option in declared.options if option != "deadline"])

    with declared_as(without) as worker, pytest.raises(InvalidJob, match="has no deadline"):
        worker.options(deadline=60)
