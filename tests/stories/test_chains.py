"""Chains, told by their links: one at a time, in the order they were stored, whatever happens to any of them."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tenuto import Chain, Discard, Job, Snooze, Tenuto, current_job, job
from tenuto.errors import StorageBusy
from tenuto.job import AVAILABLE, CANCELLED, COMPLETED, DISCARDED, EXECUTING, SUSPENDED, TERMINAL, JobState
from tenuto.storage import upkeep
from tests.kit import eventually
from tests.stories import links
from tests.stories.links import (
    Node,
    Span,
    caught,
    examine,
    history,
    line_of,
    running,
    some_link,
    waits_behind,
    watch,
    written,
)

WRITERS = 64
EACH = 12  # jobs of each writer
KEYS = [f"key{nth}" for nth in range(50)]
HOLDING = set(KEYS[:8])
NODES = 3
KILLS = 6

log: list[str] = []


@job(name="chains.say", chain=Chain(by="args.account"), backoff=0)
async def say(account: int, word: str, times: int = 1) -> None:
    me = current_job()
    log.append(f"+{word}")
    await asyncio.sleep(0.005)
    log.append(f"-{word}")
    if me.attempt + me.snoozes < times:
        if me.snoozes:
            raise ValueError("once more")
        raise Snooze(0)


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    log.clear()


async def ended(app: Tenuto, jobs: Sequence[Job[Any, Any]]) -> list[JobState]:
    """The states of jobs, once all have ended."""

    async def all_ended() -> list[JobState] | None:
        states = [(await app.fetch(each)).state for each in jobs]
        return states if TERMINAL.issuperset(states) else None

    found: list[JobState] = await eventually(all_ended)
    return found


async def is_in(app: Tenuto, made: Job[Any, Any], state: JobState) -> bool:
    return (await app.fetch(made)).state is state


async def test_links_run_in_the_order_they_were_stored_however_many_slots_there_are(app: Tenuto):
    jobs = [await app.enqueue(say.new(1, str(nth))) for nth in range(12)]

    assert set(await ended(app, jobs)) == {COMPLETED}
    assert log == [f"{sign}{nth}" for nth in range(12) for sign in "+-"]


async def test_chains_of_other_accounts_run_beside_each_other(app: Tenuto):
    jobs = await app.enqueue([say.new(account, f"{account}") for account in range(5)])

    await ended(app, jobs)

    assert Counter(word[0] for word in log[:5]) == {"+": 5}


async def test_nobody_passes_a_link_that_snoozes_and_then_fails(app: Tenuto):
    jobs = await app.enqueue([say.new(1, "a"), say.new(1, "b", times=3), say.new(1, "c")])

    assert set(await ended(app, jobs)) == {COMPLETED}
    assert log == ["+a", "-a", *["+b", "-b"] * 3, "+c", "-c"]


# ── threads that do not end ───────────────────────────────────────────────────────────────────────

may_end = threading.Event()
runs = threading.Event()


@job(name="chains.stubborn", chain=Chain(by="args.account"))
def stubborn(account: int, word: str) -> None:
    """Sees that it is cancelled, and goes on."""
    runs.set()
    while not may_end.wait(0.01):
        pass
    log.append(word)


@job(name="chains.deaf", chain=Chain(by="args.account"))
async def deaf(account: int, word: str) -> None:
    """An async job that swallows its cancellation."""
    runs.set()
    while not may_end.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    log.append(word)


@pytest.mark.parametrize("worker", [stubborn, deaf], ids=["thread", "async"])
async def test_a_cancelled_link_that_goes_on_is_settled_when_it_returns(app: Tenuto, worker: Any):
    may_end.clear()
    runs.clear()
    first, second = await app.enqueue([worker.new(1, "first"), say.new(1, "second")])
    await eventually(runs.is_set)

    await app.cancel(first)
    try:
        await asyncio.sleep(1.0)  # twice as long as one without a chain is waited for
        assert [await is_in(app, first, EXECUTING), await is_in(app, second, SUSPENDED), log] == [True, True, []]
    finally:
        may_end.set()  # also where that was wrong: a thread that never ends would keep the test from telling it

    assert await ended(app, [first, second]) == [CANCELLED, COMPLETED]
    assert log == ["first", "+second", "-second"]


# ── hold ──────────────────────────────────────────────────────────────────────────────────────────


@job(name="chains.careful", chain=Chain(on_discarded="hold"), max_attempts=1)
async def careful(word: str) -> None:
    log.append(word)
    if word == "bad" and current_job().attempt == 1:
        raise Discard("look at this")


async def test_a_chain_that_holds_goes_on_when_an_operator_has_dealt_with_it(app: Tenuto):
    first, bad, last = await app.enqueue([careful.new("good"), careful.new("bad"), careful.new("last")])
    assert await ended(app, [first, bad]) == [COMPLETED, DISCARDED]
    later = await app.enqueue(careful.new("later"))
    assert [await is_in(app, each, SUSPENDED) for each in (last, later)] == [True, True]

    await app.retry(bad)

    assert await ended(app, [bad, last, later]) == [COMPLETED] * 3
    assert log == ["good", "bad", "bad", "last", "later"]


async def test_a_link_that_has_ended_and_is_retried_waits_for_the_one_that_runs(app: Tenuto):
    may_end.clear()
    runs.clear()
    first = await app.enqueue(say.new(1, "first"))
    await ended(app, [first])
    running, waiting = await app.enqueue([stubborn.new(1, "running"), say.new(1, "waiting")])
    await eventually(runs.is_set)

    await app.retry(first)
    try:
        assert await is_in(app, first, SUSPENDED)
    finally:
        may_end.set()

    await ended(app, [first, running, waiting])
    assert log == ["+first", "-first", "running", "+first", "-first", "+waiting", "-waiting"]


async def test_a_new_link_of_a_chain_that_nobody_holds_is_told_to_its_queue(app: Tenuto):
    """Due at once, and not a second later."""
    first = await app.enqueue(say.new(1, "first"))
    await ended(app, [first])

    loop = asyncio.get_running_loop()
    began = loop.time()
    await ended(app, [await app.enqueue(say.new(1, "second"))])

    assert first.state is AVAILABLE
    assert loop.time() - began < 0.5


# ── everything at once ────────────────────────────────────────────────────────────────────────────


class Storm:
    """Writers, nodes that are killed, and operators who cancel, delete, retry and prune, on a few dozen chains."""

    def __init__(self, apps: Sequence[Tenuto], folder: Path, seed: int) -> None:
        self.apps = apps
        self.draw = random.Random(seed)
        self.ids: list[str] = []
        self.holding: list[str] = []
        self.spans: dict[str, Span] = {}
        self.told: Counter[str] = Counter()
        self._folder = folder
        self._written = asyncio.Event()
        self._has_caught = False

    async def run(self) -> list[Node]:
        """Everything, until every job has ended; then one more link of every chain, once it was pruned."""
        url = self.apps[0].config.url
        nodes = [await asyncio.to_thread(Node, url, self._folder) for _ in range(NODES)]
        try:
            others = asyncio.gather(self._kill(nodes), self._prune(), self._let_go())
            await asyncio.gather(*[self._write(nth) for nth in range(WRITERS)])
            self._written.set()
            await others
            await eventually(self._is_done, within=60)
            await self._prune_once()
            last = await self.apps[0].enqueue([links.link.new(key, "ends", 0) for key in KEYS])
            await eventually(self._is_done, within=60)
            self.told["ran at the end"] = len([one for one in last if await is_in(self.apps[0], one, COMPLETED)])
        finally:
            for node in nodes:
                await asyncio.to_thread(node.kill)
        return nodes

    async def _write(self, nth: int) -> None:
        """Store links, one by one and in batches of two chains; now and then meddle with those that there are."""
        app, left = self.apps[nth % len(self.apps)], EACH
        while left > 0 or not self._has_caught:
            size = self.draw.choice([1, 1, 1, 2, 4])
            keys = self.draw.choices(KEYS, k=2)
            made = [some_link(self.draw, key := self.draw.choice(keys), holds=key in HOLDING) for _ in range(size)]
            left -= size
            self.ids += [one.id for one in made]
            self.holding += [one.id for one in made if one.worker == links.holding_link.definition.name]
            began = time.monotonic()
            await self._insist(app.enqueue, made)
            self.spans |= {one.id: Span(began, time.monotonic(), place) for place, one in enumerate(made)}
            await self._meddle(app)
            await asyncio.sleep(self.draw.random() * 0.3)

    async def _meddle(self, app: Tenuto) -> None:
        deed = self.draw.choices([None, "cancel", "delete"], [60, 25, 15])[0]
        if deed is None:
            return
        line = await asyncio.to_thread(line_of, app.config.url, self.draw.choice(self.ids))
        if line:
            place = self.draw.choice(["head", "middle", "tail"])
            chosen = {"head": line[0], "middle": line[len(line) // 2], "tail": line[-1]}[place]
            done = await self._insist(getattr(app, deed), [chosen])
            is_there = place == "head" or len(line) > (1 if place == "tail" else 2)
            self.told[f"{deed} of a {place if is_there else 'head'}"] += len(done)

    async def _kill(self, nodes: Sequence[Node]) -> None:
        """Again and again, one that runs links if there is one, until a run was caught in the middle."""
        kills = 0
        while kills < KILLS or not self._has_caught:
            await asyncio.sleep(0.3 + self.draw.random())
            busy = running(written(self._folder))
            await asyncio.to_thread(self.draw.choice([node for node in nodes if node.pid in busy] or nodes).restart)
            kills += 1
            self._has_caught = caught(written(self._folder)) > 0

    async def _prune(self) -> None:
        while not self._written.is_set():
            await asyncio.sleep(0.3)
            await self._prune_once()

    async def _insist(self, act: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """Again, where the sessions of a node that was killed hold what is asked for."""
        while True:
            try:
                return await act(*given)
            except StorageBusy:
                self.told["busy"] += 1

    async def _prune_once(self) -> None:
        database = self.apps[-1].database
        self.told["prune"] += await self._insist(database.run, upkeep.prune_jobs, timedelta(0))
        self.told["prune of a chain"] += await self._insist(database.run, upkeep.prune_chains, timedelta(0))

    async def _let_go(self) -> None:
        """Deal with links that hold their chains, now and then until there are none."""
        app, name = self.apps[0], links.holding_link.definition.name
        while True:
            await asyncio.sleep(0.5)
            held = await app.find(worker=name, state=["cancelled", "discarded"])
            if not held and self._written.is_set() and await self._is_done():
                return
            for each in held:
                deed = self.draw.choice(["delete", "retry"])
                self.told[f"{deed} of a held-up link"] += len(await self._insist(getattr(app, deed), each))

    async def _is_done(self) -> bool:
        return not await self.apps[0].find(state=[state for state in JobState if state not in TERMINAL], limit=1)


@pytest.fixture
async def apps(open_app: Any) -> list[Tenuto]:
    """Four apps on one database, which enqueue and steer."""
    return [await open_app() for _ in range(4)]


DEEDS = (
    *(f"{deed} of a {place}" for deed in ("cancel", "delete") for place in ("head", "middle", "tail")),
    *("prune", "prune of a chain", "delete of a held-up link", "retry of a held-up link"),
)


@pytest.mark.timeout(180)
async def test_whatever_happens_to_links_they_never_overlap_and_follow_the_order_of_the_commits(
    apps: list[Tenuto], database_url: str, tmp_path: Path
):
    """`TENUTO_STORM=7` draws what seed 7 draws; what comes of it is the machine's own."""
    seed = int(os.environ.get("TENUTO_STORM", random.randrange(10**6)))
    watch(database_url)
    storm = Storm(apps, tmp_path, seed)

    nodes = await storm.run()

    log, audit = written(tmp_path), history(database_url)
    became = Counter(line["became"] for line in audit)
    print(f"seed {seed}:", dict(storm.told), dict(became), caught(log), waits_behind(audit, set(storm.holding)))  # noqa: T201
    assert examine(log, audit, storm.holding, storm.spans) == [], f"seed {seed}"
    assert [finding for finding in await apps[0].check() if finding.broken and "node" not in finding.rule] == []
    assert sum(node.kills for node in nodes) >= KILLS + NODES
    assert became["stored"] == len(storm.ids) + len(KEYS) > WRITERS * EACH
    assert storm.told["ran at the end"] == len(KEYS)
    assert [deed for deed in DEEDS if not storm.told[deed]] == [], f"seed {seed}"
    assert [state for state in ("retryable", "scheduled", "cancelled", "discarded") if not became[state]] == []
    assert waits_behind(audit, set(storm.holding)) > 0


# ── the checker's eyes ────────────────────────────────────────────────────────────────────────────


def lines(*told: str) -> list[dict[str, Any]]:
    """A log in short: `1+a` begins a in process 1, `1-a` ends it, `1!` is killed; all in one chain."""
    events = {"+": "begin", "-": "end"}
    return [
        {"event": "killed", "killed": word[0], "pid": "0"}
        if word[1] == "!"
        else {"event": events[word[1]], "pid": word[0], "key": "k", "id": word[2]}
        for word in told
    ]


def changes(*told: str) -> list[dict[str, Any]]:
    """An audit in short: `a stored`."""
    return [dict(zip(("id", "became"), word.split(), strict=True), key="k") for word in told]


STORED = changes("a stored", "b stored")


@pytest.mark.parametrize(
    ("log", "audit", "holding"),
    [
        (lines("1+a", "2+b", "1-a", "2-b"), STORED, []),
        (lines("1+a", "2!", "2+b"), STORED, []),
        (lines("1+b", "1-b", "1+a", "1-a"), STORED, []),
        ([], [*STORED, *changes("a executing", "b executing")], []),
        ([], [*STORED, *changes("a executing", "a retryable", "b executing")], []),
        ([], [*STORED, *changes("a executing", "a discarded", "b executing")], ["a"]),
        ([], [*STORED, *changes("a cancelled", "b executing")], ["a"]),
    ],
)
def test_the_checker_sees_what_is_out_of_order(log, audit, holding):
    assert examine(log, audit, holding) != []


@pytest.mark.parametrize(
    ("first", "second", "is_fine"),
    [
        (Span(0, 1, 0), Span(2, 3, 0), True),
        (Span(0, 2, 0), Span(1, 3, 0), True),
        (Span(1, 3, 0), Span(0, 2, 0), True),
        (Span(0, 1, 0), Span(0, 1, 1), True),
        (Span(2, 3, 0), Span(0, 1, 0), False),
        (Span(0, 1, 1), Span(0, 1, 0), False),
    ],
)
def test_the_checker_sees_an_order_that_is_not_the_one_of_the_calls(first, second, is_fine):
    assert (examine([], STORED, [], {"a": first, "b": second}) == []) is is_fine


@pytest.mark.parametrize(
    ("log", "audit", "holding"),
    [
        (lines("1+a", "1-a", "2+b", "2-b"), STORED, []),
        (lines("1+a", "1!", "2+a", "2-a", "2+b"), STORED, []),
        ([], [*STORED, *changes("a executing", "a discarded", "b executing")], ["b"]),
        ([], [*STORED, *changes("a executing", "a discarded", "a gone", "b executing")], ["a"]),
        (
            [],
            [
                *STORED,
                *changes("a executing", "a discarded", "a available", "a executing", "a completed", "b executing"),
            ],
            ["a"],
        ),
    ],
)
def test_the_checker_lets_pass_what_is_in_order(log, audit, holding):
    assert examine(log, audit, holding) == []
