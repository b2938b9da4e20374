"""Costs: what jobs used of models is kept once, summed up exactly, and unknown where no price is."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tenuto import Job, Price, Record, Tenuto, Usage, Workflow, blocking, current_job, job, record_usage, results
from tenuto.errors import ConfigError, InvalidPrice, InvalidRequest, InvalidUsage
from tenuto.llm.costs import Which
from tenuto.llm.usage import documents_of
from tenuto.storage import usage
from tenuto.testing import database_away
from tests.kit import drain, eventually, finish
from tests.storage.tables import look_into

PRICING = {
    "owl": Price("3", "15", cached="0.30"),
    "wren": Price(Decimal("0.1"), Decimal("0.4")),
}
AnyJob = Job[Any, Any]
Open = Any


@pytest.fixture
async def app(open_app: Open) -> Tenuto:
    """One that knows prices."""
    app: Tenuto = await open_app(queues={"default": 10}, pricing=PRICING)
    return app


@job(name="costs.ask", max_attempts=2, backoff=0)
async def ask(model: str, tokens: list[int], fails: bool = False) -> str:
    """Ask a model, once, and say what it took."""
    await record_usage(model, tokens[0], tokens[1], cached_tokens=tokens[2], latency=0.25)
    if fails:
        raise ValueError("after it was paid for")
    return "asked"


@job(name="costs.say", max_attempts=1, backoff=0)
async def say(said: Any) -> dict[str, Any]:
    """A result that says what it used."""
    return {"answer": 42, "llm_usage": said}


def used(model: str = "owl", *tokens: float) -> dict[str, Any]:
    return {"model": model, "input_tokens": tokens[0], "output_tokens": tokens[1]}


async def kept(app: Tenuto) -> int:
    """How many records there are."""
    return (await app.costs()).total.requests


# ── totals ────────────────────────────────────────────────────────────────────────────────────────


async def test_totals_are_exact_to_the_last_digit(app):
    """By hand: owl 7 × 3 + 3 × 15 + 11 × 0.30 = 69.3 and 1 × 3 + 1 × 15 + 1 × 0.30 = 18.3; wren, whose cached tokens
    cost what input does, 333,333,333 × 0.1 + 1 × 0.4 + 1 × 0.1 = 33,333,333.8; each by a million."""
    flow = Workflow("review")
    flow.add("a", ask.new("owl", [7, 3, 11]))
    flow.add("b", ask.new("wren", [333_333_333, 1, 1]))
    flow.add("c", ask.new("owl", [1, 1, 1]))
    await finish(app, flow)

    found = await app.costs(by="model")

    assert [(row.model, row.cost) for row in found.rows] == [
        ("owl", Decimal("0.0000876")),
        ("wren", Decimal("33.3333338")),
    ]
    assert found.total.cost == found.total.known == Decimal("33.3334214")
    assert (found.total.requests, found.total.input_tokens, found.total.cached_tokens) == (3, 333_333_341, 13)
    assert found.total.latency == timedelta(seconds=0.75)


TABLE = [  # workflow, step, model, tokens (input, output, cached), and what that costs, worked out in whole numbers
    ("A", "draft", "heron", [999_999_999, 7, 0], "987654320135.802467888543210995"),
    ("A", "check", "heron", [999_999_999, 0, 3], "987654320135.802468188543210988"),
    ("A", "sum", "owl", [1, 1, 1], "0.0000183"),
    ("B", "draft", "heron", [999_999_999, 1, 1], "987654320135.802467988543210989"),
    ("B", "sum", "wren", [123_456_789, 987_654_321, 111_111_111], "418.5185184"),
]
HERON = Price("987654321.123456789012", "0.000000000001", cached="0.1")
BY_MODEL = {"heron": "2962962960407.407404065629632972", "owl": "0.0000183", "wren": "418.5185184"}
BY_NAME = {"A": "1975308640271.604954377086421983", "B": "987654320554.320986388543210989"}
TOTAL = "2962962960825.925940765629632972"  # 31 digits: more than a float holds, and than a Decimal does by default


async def test_totals_are_those_of_a_table_made_by_hand(open_app):
    app = await open_app(queues={"default": 10}, pricing={**PRICING, "heron": HERON})
    flows = {name: Workflow(name) for name in ("A", "B")}
    for name, step, model, tokens, _ in TABLE:
        flows[name].add(step, ask.new(model, tokens))
    for flow in flows.values():
        await finish(app, flow)

    steps, models, names = [await app.costs(by=by) for by in (("name", "step"), "model", "name")]

    assert {(row.name, row.step): row.cost for row in steps.rows} == {
        (name, step): Decimal(cost) for name, step, *_, cost in TABLE
    }
    assert {row.model: row.cost for row in models.rows} == {model: Decimal(cost) for model, cost in BY_MODEL.items()}
    assert {row.name: row.cost for row in names.rows} == {name: Decimal(cost) for name, cost in BY_NAME.items()}
    assert steps.total == models.total == names.total
    assert names.total.cost == Decimal(TOTAL)
    assert {name: (await app.costs(workflow=flow.id)).total.cost for name, flow in flows.items()} == {
        name: Decimal(cost) for name, cost in BY_NAME.items()
    }


async def test_sums_of_many_requests_are_exact(app):
    one = Job("w", attempt=1)
    ids = [Job("w").id for _ in range(30)]
    await app.ledger.record(one, [Usage("owl", 999_999_999, 0)] * 29 + [Usage("owl", 1, 0)], ids)

    total = (await app.costs()).total

    assert (total.input_tokens, total.cost) == (28_999_999_972, Decimal("86999.999916"))


async def test_a_model_without_a_price_is_unknown_in_its_row_and_in_every_total_it_is_part_of(app):
    flow = Workflow("review")
    flow.add("a", ask.new("owl", [1_000_000, 0, 0]))
    flow.add("b", ask.new("finch", [5, 5, 0]))
    await finish(app, flow)

    found = await app.costs(by="model")
    steps = await app.costs(by="step", workflow=flow.id)

    assert [(row.model, row.cost, row.unpriced) for row in found.rows] == [
        ("finch", None, ("finch",)),
        ("owl", Decimal(3), ()),
    ]
    assert (found.total.cost, found.total.known, found.total.unpriced) == (None, Decimal(3), ("finch",))
    assert [(row.step, row.cost) for row in steps.rows] == [("a", Decimal(3)), ("b", None)]
    assert steps.total.cost is None


async def test_a_price_holds_from_its_day_on_and_before_the_first_none_is_known(open_app):
    prices = [Price("1", "0", since=date(2026, 3, 1)), Price("2", "0", since=datetime(2026, 4, 1, 12, tzinfo=UTC))]
    app = await open_app(pricing={"owl": prices})
    for at in ("2026-02-28T23:59:59", "2026-03-01T00:00:00", "2026-04-01T11:59:59", "2026-04-01T12:00:00"):
        app.database.now = datetime.fromisoformat(f"{at}+00:00")
        await app.ledger.record(Job("w", attempt=1), [Usage("owl", 1_000_000, 0)], [Job("w").id])
    app.database.now = None

    found = await app.costs(by=["day"])

    assert [(row.period, row.cost) for row in found.rows] == [
        ("2026-02-28", None),
        ("2026-03-01", Decimal(1)),
        ("2026-04-01", Decimal(3)),
    ]
    assert (await app.costs(since=datetime(2026, 3, 1, tzinfo=UTC))).total.cost == Decimal(4)
    assert (await app.costs(until=datetime(2026, 4, 1, 12, tzinfo=UTC), by="month")).total.requests == 3


async def test_costs_are_summed_up_by_what_is_asked_for(app):
    first, second = Workflow("review"), Workflow("review")
    for flow in (first, second):
        flow.add("a", ask.new("owl", [1, 0, 0]))
        flow.add("b", ask.new("wren", [1, 0, 0]))
        await finish(app, flow)
    await app.enqueue(ask.new("owl", [5, 0, 0]))
    await drain(app)

    async def rows(**asked: Any) -> list[tuple[Any, ...]]:
        by = [asked["by"]] if isinstance(asked["by"], str) else asked["by"]
        found = await app.costs(**asked)
        return [(*(getattr(row, name) for name in by), row.input_tokens) for row in found.rows]

    assert await rows(by="name") == [("review", 4), (None, 5)]
    assert await rows(by="workflow") == [*sorted([(first.id, 2), (second.id, 2)]), (None, 5)]
    assert await rows(by=("step", "model")) == [("a", "owl", 2), ("b", "wren", 2), (None, "owl", 5)]
    assert await rows(by="worker", step="a") == [("costs.ask", 2)]
    assert await rows(by="model", workflow=first.id, model="wren") == [("wren", 1)]


@pytest.mark.parametrize("by", ["moon", ("day", "month")])
async def test_what_costs_cannot_be_summed_up_by_is_refused(app, by):
    with pytest.raises(InvalidRequest):
        await app.costs(by=by)


# ── once, whatever becomes of the attempt ─────────────────────────────────────────────────────────


async def test_what_a_failed_attempt_used_is_kept(app):
    one = await app.enqueue(ask.new("owl", [10, 0, 0], fails=True))
    await drain(app)

    assert (await app.fetch(one)).state == "discarded"
    assert (await app.costs()).total.input_tokens == 20


async def test_what_an_attempt_used_is_kept_though_the_job_was_taken_from_it(app, database_url):
    began, go_on = asyncio.Event(), asyncio.Event()

    @job(name="costs.fenced")
    async def fenced() -> dict[str, Any]:
        if current_job().epoch > 5:
            return {}
        began.set()
        await go_on.wait()
        await record_usage("owl", 1, 0)
        return {"llm_usage": used("owl", 2, 0)}

    one = await app.enqueue(fenced.new())
    await began.wait()
    with look_into(database_url) as tables:
        tables.execute("update jobs set epoch = epoch + 10 where id = ?", one.id)
    go_on.set()

    await eventually(lambda: _is(app, 3))
    assert (await app.fetch(one)).state == "executing"


async def _is(app: Tenuto, tokens: int) -> bool:
    return (await app.costs()).total.input_tokens == tokens


async def test_a_record_that_is_written_twice_counts_once(app):
    one, id = Job("w", attempt=1), Job("w").id

    for _ in range(2):
        await app.ledger.record(one, [Usage("owl", 1, 0)], [id])

    assert await kept(app) == 1


@pytest.mark.parametrize("lost", ["calls", "answers"])
async def test_what_was_used_is_kept_once_when_the_database_is_away_at_that_moment(app, lost):
    @job(name="costs.away")
    async def away() -> dict[str, Any]:
        with database_away(app, calls=3, lost=lost):
            await record_usage("owl", 5, 0)
        back.set()
        return {"llm_usage": used("owl", 7, 0)}

    back = asyncio.Event()
    one = await app.enqueue(away.new())
    await back.wait()
    await drain(app)

    assert (await app.fetch(one)).attempt == 1
    total = (await app.costs()).total
    assert (total.requests, total.input_tokens) == (2, 12)


async def test_what_was_used_is_kept_though_the_attempt_is_stopped_while_it_is_told(app):
    @job(name="costs.stopped", max_attempts=1)
    async def stopped() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await record_usage("owl", 5, 0)

    one = await app.enqueue(stopped.new())

    await eventually(lambda: _is(app, 5))
    await drain(app)
    assert (await app.fetch(one)).state == "discarded"


# ── in a result ───────────────────────────────────────────────────────────────────────────────────


async def test_what_a_result_says_of_usage_is_taken_out_of_it_and_kept(app):
    flow = Workflow()
    flow.add("one", say.new(used("owl", 1, 2)))
    flow.add("several", say.new([used("owl", 10, 0), used("owl", 10, 0), {**used("wren", 1, 1), "latency": 2}]))
    await finish(app, flow)

    assert await app.workflow(flow.id).result("one") == {"answer": 42}
    assert await app.workflow(flow.id).result("several") == {"answer": 42}
    found = await app.costs(by="step", workflow=flow.id)
    assert [(row.step, row.requests, row.input_tokens) for row in found.rows] == [("one", 1, 1), ("several", 3, 21)]


async def test_a_result_that_is_stored_early_and_returned_says_its_usage_once(app):
    @job(name="costs.early")
    async def early() -> dict[str, Any]:
        value = {"n": 1, "llm_usage": Usage("owl", 7, 0)}
        await results.store_result(value)
        return value

    flow = Workflow()
    flow.add("early", early.new())
    await finish(app, flow)

    assert await app.workflow(flow.id).result("early") == {"n": 1}
    assert (await app.costs()).total.input_tokens == 7


async def test_a_recorded_job_that_is_no_step_says_its_usage_too(app):
    @job(name="costs.recorded", recorded=True)
    def recorded() -> Any:
        return Record({"text": "x" * 1000, "llm_usage": [used("owl", 3, 0)]})

    one = await app.enqueue(recorded.new())
    await drain(app)

    assert await app.recorded(one) == {"text": "x" * 1000}
    assert (await app.costs(by="worker")).rows[0].worker == "costs.recorded"


async def test_a_job_in_another_process_says_its_usage_in_its_result(app):
    one = await app.enqueue(afar.new())
    await drain(app)

    assert (await app.fetch(one)).state == "completed"
    assert await app.recorded(one) == {"n": 1}
    assert (await app.costs()).total.input_tokens == 9


@job(name="costs.afar", runs_in="process", recorded=True)
def afar() -> dict[str, Any]:
    return {"n": 1, "llm_usage": {"model": "owl", "input_tokens": 9, "output_tokens": 0}}


@pytest.mark.parametrize(
    "said",
    [
        *(7, "owl", {}, {"model": "owl"}, {**used("owl", 1, 1), "tokens": 3}, used("owl", -1, 0), used("owl", 1, 0.5)),
        *({**used("owl", 1, 1), "input_tokens": True}, used("", 1, 1), [used("owl", 1, 1), 3]),
    ],
)  # fmt: skip
async def test_a_result_whose_usage_cannot_be_counted_discards_the_job_and_nothing_is_kept(app, said):
    one = await app.enqueue(say.options(max_attempts=5).new(said))
    await drain(app)

    after = await app.fetch(one)
    assert (after.state, after.errors[-1].type) == ("discarded", "InvalidUsage")
    assert await kept(app) == 0


# ── record_usage ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [
        *({"input_tokens": -1}, {"output_tokens": 1.0}, {"cached_tokens": True}, {"input_tokens": 1_000_000_001}),
        *({"latency": -1}, {"latency": "1 s"}, {"model": ""}, {"model": "o\0wl"}),
    ],
)  # fmt: skip
def test_usage_that_cannot_be_counted_is_refused(given):
    with pytest.raises(InvalidUsage):
        Usage(**{"model": "owl", "input_tokens": 0, "output_tokens": 0, **given})


async def test_a_plain_function_records_what_it_used(app):
    @job(name="costs.plain")
    def plain() -> None:
        blocking.record_usage("owl", 4, 0, latency=timedelta(seconds=2))

    await app.enqueue(plain.new())
    await drain(app)

    total = (await app.costs()).total
    assert (total.input_tokens, total.latency) == (4, timedelta(seconds=2))


# ── keep ──────────────────────────────────────────────────────────────────────────────────────────


async def test_usage_outlives_its_jobs_and_stays_as_long_as_its_workflow(app, database_url):
    flow = Workflow()
    flow.add("a", ask.new("owl", [1, 0, 0]))
    await finish(app, flow)
    await app.enqueue(ask.new("owl", [10, 0, 0]))
    await drain(app)
    now = timedelta(0)
    with look_into(database_url) as tables:
        tables.execute("delete from jobs")

    assert await app.database.run(usage.prune, timedelta(days=1), now) == 0
    assert await app.database.run(usage.prune, now, now) == 1
    assert (await app.costs(by="step")).rows[0].step == "a"
    assert (await app.costs()).total.input_tokens == 1


# ── prices ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "prices",
    [
        *(3, [], {"input": 0.1, "output": "1"}, {"input": "1"}, {"input": "-1", "output": "1"}),
        *({"input": "x", "output": 1}, {"input": [], "output": 1}, {"input": "1e10", "output": 1}),
        *({"input": "NaN", "output": 1}, {"input": "1e-13", "output": 1}, {"input": 1, "output": 1, "since": "noon"}),
        *([{"input": 1, "output": 1}, {"input": 2, "output": 1}], {"input": 1, "output": 1, "cache": 1}),
        {"input": 1, "output": 1, "since": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)  # fmt: skip
def test_a_price_that_is_not_exact_or_says_too_little_is_refused(prices):
    with pytest.raises(ConfigError):
        Tenuto("sqlite:///never.db", pricing={"owl": prices})


def test_a_float_is_no_price():
    with pytest.raises(InvalidPrice, match="is not exact"):
        Price(0.1, 0.2)  # type: ignore[arg-type]


def test_a_document_of_usage_holds_whole_microseconds():
    one = Job("w", attempt=2)

    (document,) = documents_of(one, [Usage("owl", 1, 2, 3, 0.0000015)], ["id"])

    assert (document["latency"], document["attempt"], document["cached_tokens"]) == (2, 2, 3)


def test_what_is_summed_up_is_all_where_nothing_is_said():
    assert Which() == (None, None, None, None, None)
