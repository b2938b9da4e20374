"""What mypy and pyright, both strict, must know of workers, jobs and steps. Checked, never run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, assert_type

from tenuto import blocking, llm
from tenuto.answer import Answer, Cancelled, Completed, Discarded, Failed, TimedOut
from tenuto.app import Tenuto
from tenuto.borrowing import complete_in
from tenuto.features.chain import Chain
from tenuto.features.deadline import Deadline
from tenuto.features.encrypted import Encrypted
from tenuto.features.hooks import HookState
from tenuto.features.keys import KeyRing
from tenuto.features.recorded import Recorded
from tenuto.features.unique import Unique
from tenuto.function import job
from tenuto.growing import graft
from tenuto.hooking import attach_hook, detach_hook
from tenuto.job import Failure, Job
from tenuto.limits import Limits, Queue, Rate
from tenuto.llm import Debugging, Price, record_usage
from tenuto.outcome import Cancel, Discard, Record, Snooze
from tenuto.relay import Relay
from tenuto.schedule import CronStatus
from tenuto.signals import Received, wait_for_signal
from tenuto.sizes import Sizes
from tenuto.standing import GroupStatus, WorkflowStatus
from tenuto.testing import Clock, Drained, Faults, Tried, WorkflowRun, assert_enqueued, drain, perform, run_workflow
from tenuto.worker import Worker
from tenuto.workflow import ModelSteps, Step, Workflow

# ── functions ─────────────────────────────────────────────────────────────────────────────────────


@job(queue="web", max_attempts=5, chain=Chain(by=["args.url"], on_discarded="hold"))
async def fetch(url: str, retries: int = 3, *, headers: dict[str, str] | None = None) -> dict[str, str]:
    return {"url": url}


@job
def count(words: list[str]) -> int:
    return len(words)


@job()
async def nothing() -> None: ...


@job
async def maybe(number: int) -> int | Snooze | Cancel | None:
    return number


@job
def recorded(number: int) -> str | Record[str] | Discard:
    return str(number)


@job(recorded=True, encrypted=lambda: KeyRing("a", {"a": KeyRing.new_key()}))
async def kept(number: int) -> str:
    return str(number)


async def keys() -> KeyRing:
    return KeyRing("a", {"a": KeyRing.new_key()})


@job(recorded=Recorded(limit=10), encrypted=Encrypted(keys, allow_plain=True))
def sealed(number: int) -> str:
    return str(number)


@job
def several(number: int) -> int | str:
    return number


@job
async def anything(value: Any) -> Any:
    return value


class Page:
    pass


@job
async def opaque() -> Page:
    return Page()


assert_type(fetch.new("a.com"), Job[Any, dict[str, str]])
assert_type(fetch.new(url="a.com", retries=1, headers={}), Job[Any, dict[str, str]])
assert_type(count.new(["a"]), Job[Any, int])
assert_type(nothing.new(), Job[Any, None])
assert_type(maybe.new(1), Job[Any, int | None])
assert_type(recorded.new(1), Job[Any, str])
assert_type(kept.new(1), Job[Any, str])
assert_type(sealed.new(1), Job[Any, str])
assert_type(several.new(1), Job[Any, int | str])
assert_type(anything.new(1), Job[Any, Any])
assert_type(opaque.new(), Job[Any, Page])

fetch.new()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fetch.new(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fetch.new("a.com", retires=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
nothing.new(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# ── the decorated function is still the function ──────────────────────────────────────────────────

assert_type(count(["a"]), int)
count(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def call() -> None:
    assert_type(await fetch("a.com"), dict[str, str])
    assert_type(await maybe(1), int | None)


# ── options ───────────────────────────────────────────────────────────────────────────────────────

mail = job(queue="mail")


@mail
def send(to: str) -> bool:
    return bool(to)


@mail(priority=1)
def alert(to: str) -> bool:
    return bool(to)


assert_type(fetch.options(queue="fast", priority=1, schedule_in=30).new("a.com"), Job[Any, dict[str, str]])
assert_type(alert.options(meta={"a": 1}, tags=["x"]).new(to="me"), Job[Any, bool])

send.options(quue="fast")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
send.options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send.options(queue="fast").new(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
job(encrypted="a key")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
job(quue="fast")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


@job(
    runs_in="process", unique=Unique(keys=["n"], period=60), deadline=Deadline(60, force=True),
    partition=["worker", "args.n"], timeout=5, backoff=lambda attempt: attempt, meta={"team": "x"}, tags=["y"],
)  # fmt: skip
def wanted(n: int) -> int:
    return n


assert_type(wanted.options(unique=False, deadline=30, timeout=None).new(n=1), Job[Any, int])
assert_type(wanted.options(unique=Unique(states="incomplete")).new(1), Job[Any, int])

job(unique="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
job(deadline="soon")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
job(chain="args.n")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
job(partition=7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
job(recorded=7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
wanted.options(chain=Chain())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# ── queues, rates, sizes ──────────────────────────────────────────────────────────────────────────

Tenuto(queues={"default": 10, "mail": Queue(10, limit=3, rate=Rate(60, per=60))}, sizes=Sizes(args=5_000_000))
Tenuto(sizes={"args": 5_000_000})

Tenuto(queues={"mail": "10"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
Tenuto(sizes=5_000_000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Queue(10, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Rate(60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def ask(app: Tenuto) -> None:
    assert_type(await app.queue("mail").limit(3, rate=None), Limits)
    assert_type(await app.enqueue(wanted.new(1)), Job[Any, int])
    assert_type(await app.enqueue([wanted.new(1)]), list[Job[Any, int]])
    assert_type(await app.enqueue(Workflow()), Workflow)


# ── cron ──────────────────────────────────────────────────────────────────────────────────────────


@job(cron="30 2 * * *", timezone="Europe/Berlin", catch_up=3600)
async def nightly(region: str = "all") -> int:
    return len(region)


app = Tenuto()
app.cron.add("all", "@daily", nightly.new)
app.cron.add("eu", "@daily", nightly.options(priority=1).new("eu"), timezone="Europe/Berlin", catch_up=60)

app.cron.add("needs", "@daily", fetch.new)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
app.cron.add("none", "@daily", nightly)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
job(cron=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

# ── classes ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class WebhookArgs:
    account_id: int


class Webhook(Worker[WebhookArgs, int], queue="webhooks", chain=Chain(by="args.account_id")):
    async def process(self, job: Job[WebhookArgs, int]) -> int | Snooze:
        assert_type(job.args, WebhookArgs)
        return job.args.account_id


class Plain(Worker[WebhookArgs]):
    def process(self, job: Job[WebhookArgs]) -> int:
        return job.args.account_id


class Wrong(Worker[WebhookArgs, int]):
    def process(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, job: Job[WebhookArgs, int]
    ) -> str:
        return str(job.args)


assert_type(Webhook.new(WebhookArgs(account_id=7)), Job[WebhookArgs, int])
assert_type(Webhook.new(account_id=7), Job[WebhookArgs, int])
assert_type(Webhook.options(priority=1).new(WebhookArgs(account_id=7)), Job[WebhookArgs, int])
assert_type(Plain.new(account_id=7), Job[WebhookArgs, Any])

Webhook.new(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


class Typo(Worker[WebhookArgs, int], quue="webhooks"):  # type: ignore[call-arg]  # pyright: ignore
    async def process(self, job: Job[WebhookArgs, int]) -> int:
        return 1


# ── check, hooks, aliases ─────────────────────────────────────────────────────────────────────────

assert_type(fetch.check("a.com"), tuple[tuple[str, str], ...])
assert_type(Webhook.check(account_id="seven"), tuple[tuple[str, str], ...])


class Audit:
    async def after_process(self, state: HookState, job: Job[Any, Any], result: Any) -> None: ...


@job(hooks=[Audit()], aliases=["old.name"])
async def audited(n: int) -> int:
    return n


@audited.after_process
def heard(state: HookState, job: Job[Any, Any]) -> bool:
    return state == "complete"


assert_type(audited.new(1), Job[Any, int])
assert_type(heard("error", audited.new(1)), bool)
attach_hook(Audit())
detach_hook(Audit())

audited.after_process(7)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
job(hooks=7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

# ── steps ─────────────────────────────────────────────────────────────────────────────────────────

flow = Workflow("sync")
first = flow.add("first", fetch.new("a.com"))
second = flow.add("second", count.new([]), deps=first)
third = flow.add("third", Webhook.new(account_id=1), deps=[first, "second"])

assert_type(first, Step[dict[str, str]])
assert_type(second, Step[int])
assert_type(third, Step[int])
assert_type(third.job, Job[Any, int])
assert_type(first.result, dict[str, str])
assert_type(first.result["url"], str)
assert_type(flow.add("fifth", fetch.new(first.result["url"], retries=second.result)).result, dict[str, str])
assert_type(flow.add("sixth", maybe.new(third.result)).result, int | None)
assert_type(flow.add("seventh", anything.new(first.result)).result, Any)
flow.add("eighth", Webhook.new(WebhookArgs(account_id=third.result)))

fetch.new(second.result)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fetch.new(first.result)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
count.new(first.result["url"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fetch.new(first.result[0])  # type: ignore[index]  # pyright: ignore[reportArgumentType]

flow.add("fourth", fetch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(Workflow.from_dict(flow.to_dict(), {"k": 1}), Workflow)
assert_type(Workflow.from_json(flow.to_json()), Workflow)

# ── groups ─────────────────────────────────────────────────────────────────────────────────────────

pages = flow.add_workflow("pages", Workflow(), deps=first, ignore_discarded=True)
many = flow.add_many("many", [count.new(["a"]), count.new(["b"])], deps=pages)
keyed = flow.add_many("keyed", {"a": fetch.new("a.com")})
grown = flow.add_graft("grown", nothing.new(), deps=[many, "keyed"])

assert_type(pages, Step[dict[str, Any]])
assert_type(many, Step[dict[str, int]])
assert_type(keyed, Step[dict[str, dict[str, str]]])
assert_type(grown, Step[dict[str, Any]])
assert_type(flow.add("ninth", maybe.new(many.result["0"])), Step[int | None])

fetch.new(many.result["0"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.add_many("many", count.new(["a"]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.add_many("many", [1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
flow.add_workflow("pages", [count.new(["a"])])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.add_graft("grown", nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def grow(app: Tenuto) -> None:
    assert_type(await app.workflow("id").append(flow), Workflow)
    assert_type(await app.workflow("id").add("b", count.new([]), deps="a", ignore_deleted=True), Step[int])
    await graft([count.new([]), fetch.new("a.com")])
    await graft({"a": count.new([])})
    await graft(Workflow())
    status = await app.workflow("id").status()
    assert_type(status.groups, dict[str, GroupStatus])
    assert_type(status.group("pages").completed, int)
    assert_type(await app.workflow("id").cancel("a", "b"), list[str])
    assert_type(await app.workflow("id").retry(keep_results=True), list[str])

    await app.workflow("id").append([count.new([])])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await graft(count.new([]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# ── signals ────────────────────────────────────────────────────────────────────────────────────────


async def decide(app: Tenuto, waiting: blocking.Tenuto) -> str:
    answer = await wait_for_signal("approved", "refused", timeout=60)
    assert_type(answer, Received | TimedOut)
    assert_type(await app.signal("id", "approved", {"by": "me"}), bool)
    assert_type(await app.signal(flow, "approved"), bool)
    assert_type(await app.signal(count.new([]), "approved"), bool)
    assert_type(waiting.signal("id", "approved"), bool)
    assert_type(blocking.wait_for_signal("approved", timeout=timedelta(days=1)), Received | TimedOut)
    await wait_for_signal(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    match answer:
        case Received(value, name):
            assert_type(value, Any)
            return name
        case TimedOut():
            return "late"


# ── relays ────────────────────────────────────────────────────────────────────────────────────────


async def awaited(id: str) -> None:
    relay = await app.relay(count.new(["a"]))
    assert_type(relay, Relay[int])
    assert_type(await relay.result(), int)
    assert_type(await app.relay([count.new(["a"])]), list[Relay[int]])
    assert_type(await app.relay_to(relay.job), Relay[int])
    assert_type(await app.relay_to(id), Relay[Any])
    assert_type(await app.await_many([relay]), list[Answer[int]])
    match await relay.outcome():
        case Completed(value):
            assert_type(value, int)
        case Failed(error) | Discarded(error):
            assert_type(error, Failure)
        case Cancelled(reason):
            assert_type(reason, str)
        case _:
            pass
    assert_type(await (await app.relay(nothing.new())).result(), None)
    await app.relay("x")  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


# ── enqueue, in a transaction of one's own too ────────────────────────────────────────────────────


async def enqueue(flow: Workflow, conn: object) -> None:
    assert_type(await app.enqueue(count.new(["a"]), conn=conn), Job[Any, int])
    assert_type(await app.enqueue([count.new(["a"])], conn=conn, notify=False), list[Job[Any, int]])
    assert_type(await app.enqueue(flow, conn=conn), Workflow)
    assert_type(await app.relay(count.new(["a"]), conn=conn), Relay[int])
    await complete_in(conn, {"any": "value"})
    blocking.complete_in(conn)


# ── code that cannot await ────────────────────────────────────────────────────────────────────────


def use_blocking(app: blocking.Tenuto) -> None:
    assert_type(app.enqueue(fetch.new("a.com")), Job[Any, dict[str, str]])
    assert_type(app.enqueue(flow), Workflow)
    assert_type(app.enqueue([count.new([])]), list[Job[Any, int]])
    assert_type(app.relay(count.new([])), blocking.Relay[int])
    assert_type(app.relay(count.new([])).result(), int)
    assert_type(app.relay([count.new([])], conn=object()), list[blocking.Relay[int]])
    assert_type(app.fetch("id"), Job[Any, Any])
    assert_type(app.opened(count.new([])), Job[Any, int])
    assert_type(app.find(state="completed", limit=3), list[Job[Any, Any]])
    assert_type(app.cancel(["id"]), list[str])
    assert_type(app.retry(queue="web", keep_results=True), list[str])
    assert_type(app.counts(), dict[str, dict[str, int]])
    assert_type(app.workflow("id").wait(timeout=3), WorkflowStatus)
    assert_type(app.workflow("id").cancel("a", "b"), list[str])
    assert_type(app.workflow("id").retry(keep_results=True), list[str])
    assert_type(app.workflow("id").update("a", {"priority": 1}), bool)
    assert_type(app.workflow("id").job("a"), Job[Any, Any])
    assert_type(app.cron.list(), Sequence[CronStatus])
    assert_type(blocking.current_app(), blocking.Tenuto)
    app.queue("web").pause(node="here")

    app.fetch(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.find(stat="completed")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.enqueue(7)  # type: ignore[call-overload]  # pyright: ignore
    app.queue("web").scale("three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.workflow("id").retry(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.workflow("id").wait(until=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# ── models ────────────────────────────────────────────────────────────────────────────────────────


async def models(app: Tenuto, waiting: blocking.Tenuto) -> None:
    assert_type(flow.fan_out_models("a", count.new([]), ["owl"], synthesize=count.new([])), ModelSteps)
    assert_type(flow.fan_out_models("b", count.new([]), {"first": "owl"}, deps="a").models["first"], Step[Any])
    assert_type(await app.costs(by=["step", "day"], workflow="id"), llm.Costs)
    assert_type(waiting.costs().total.cost, Decimal | None)
    assert_type(await app.workflow("id").debug("a", attempt=1), list[llm.DebugEntry])
    assert_type(waiting.workflow("id").debug(), list[llm.DebugEntry])
    await record_usage("owl", 1, 2, cached_tokens=3, latency=0.5)
    Tenuto(pricing={"owl": Price("1", 2), "wren": [Price(Decimal(1), "2", cached="0.1")]}, debugging=Debugging())

    Price(0.1, 0.2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await record_usage("owl", 1.5, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# ── testing ───────────────────────────────────────────────────────────────────────────────────────


async def tests(app: Tenuto) -> None:
    assert_type(await perform(count.new(["a"])), Tried[int])
    assert_type((await perform(fetch.new("a.com"), app=app)).value, dict[str, str])
    assert_type((await perform(Webhook.new(account_id=1))).value, int)
    assert_type(await drain(app, queue=["mail"], scheduled=True, within=5), Drained)
    assert_type(await run_workflow(app, flow), WorkflowRun)
    assert_type(await assert_enqueued(app, worker=Webhook, args={"account_id": 1}, count=1), Job[Any, Any])
    await assert_enqueued(app, worker=fetch, state=["available"], where=lambda job: job.priority == 0)
    async with Clock(app) as clock:
        await clock.advance(60, cron=True)
    with Faults() as faults:
        faults.fail(fetch, ValueError(), nth=[1, 2])
        faults.kill(Webhook, after=True)
        faults.fail(fetch, "error")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    await assert_enqueued(app, quue="mail")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await drain(app, retry=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
