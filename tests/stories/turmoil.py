"""Turmoil: a queue under a limit while all that can happen to it does, and how many of its jobs ran at once."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from subprocess import Popen

import psycopg

from tenuto import Tenuto
from tenuto.limits import Limits
from tests.kit import eventually, kill
from tests.soaking.audit import history, watch
from tests.storage.tables import Row, look_into
from tests.stories.workers import DEEDS, Crew, Line, restless

PROCESSES = 4
MOST = 3  # at once, of all of them
OF_EACH = 2  # of each of the two partitions
PAUSE = (0.1, 0.5)  # seconds between two blows
ENDED = ("completed", "cancelled", "discarded")


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


class Looks:
    """The most jobs that were seen running at once, all together and of any one partition, in looks at the table."""

    def __init__(self) -> None:
        self.times = 0
        self.at_once = 0
        self.of_a_partition = 0

    def add(self, keys: Counter[str]) -> None:
        """Count one look."""
        self.times += 1
        self.at_once = max(self.at_once, keys.total())
        self.of_a_partition = max(self.of_a_partition, *keys.values(), 0)


@contextmanager
def looking(url: str) -> Iterator[Looks]:
    """Look at what runs all the time, each time in one snapshot, from a thread."""
    looks, ended = Looks(), threading.Event()

    def look() -> None:
        with look_into(url) as tables:
            while not ended.wait(0.001):
                rows = tables.rows("select limit_key from jobs where state = 'executing'")
                looks.add(Counter(str(row["limit_key"]) for row in rows))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()


# ── the records ───────────────────────────────────────────────────────────────────────────────────

_LIMITS = {
    "sqlite": """
        create trigger audit_limits after update of asked on limits begin
            insert into audit (what, id, was, became) values ('limit', new.queue, old.asked, new.asked);
        end;
    """,
    "postgres": """
        create function audit_limits() returns trigger language plpgsql as $$ begin
            insert into tenuto.audit (what, was, became) values ('limit', old.asked, new.asked);
            return null;
        end $$;
        create trigger audit_limits after update of asked on limits for each row execute function audit_limits();
    """,
}


def keep_records(url: str) -> None:
    """Write down from now on when each attempt starts and ends, and when a limit changes, in their order."""
    watch(url)
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as file:
            file.executescript(_LIMITS["sqlite"])
    else:
        with psycopg.connect(url, autocommit=True, options="-c search_path=tenuto") as connection:
            connection.execute(_LIMITS["postgres"])


@dataclass
class Recorded:
    """What the records say of a queue whose limit changed while it ran."""

    starts: int = 0
    at_once: int = 0
    excess: int = 0  # starts beyond the limit that held at that moment


def read_records(seen: Sequence[Row], limit: int) -> Recorded:
    """Go through the records. An end is written before it is committed, and a claim counts only what is committed."""
    found, running = Recorded(), set[str]()
    for row in seen:
        if row["what"] == "limit":
            limit = Limits.decode(row["became"]).limit or limit
        elif row["what"] == "job" and "executing" == row["became"] != row["was"]:  # a cancel that waits changes nothing
            running.add(row["id"])
            found.starts += 1
            found.at_once = max(found.at_once, len(running))
            found.excess += len(running) > limit
        elif row["what"] == "job" and row["became"] != "executing":
            running.discard(row["id"])
    return found


def overlap(lines: Sequence[Line], deaths: Mapping[int, float] | None = None) -> int:
    """How many jobs' own code ran at once at most, by the log that they wrote; a process that died ended its jobs."""
    open_ones = Counter[int]()
    events = [(line.at, line.pid, 1 if line.event == "begin" else -1) for line in lines]
    events += [(at, pid, 0) for pid, at in (deaths or {}).items()]
    most = 0
    for _, pid, change in sorted(events):
        open_ones[pid] = open_ones[pid] + change if change else 0
        most = max(most, open_ones.total())
    return most


# ── the turmoil ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Turmoil:
    """What happened to the queue, and how many of its jobs ran at once."""

    blows: Counter[str] = field(default_factory=Counter[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    looks: Looks = field(default_factory=Looks)
    recorded: Recorded = field(default_factory=Recorded)
    overlap: int = 0


async def torment(app: Tenuto, crew: Crew, url: str, jobs: int, seed: int) -> Turmoil:
    """Run so many jobs that end, fail, snooze or stay, by processes that die, while some are cancelled and the limit
    moves between one and three; see how many ran at once."""
    draw, found, deaths = random.Random(seed), Turmoil(), dict[int, float]()
    await app.queue("default").limit(MOST, partition_limit=OF_EACH)
    keep_records(url)
    processes = [crew.work(slots=5) for _ in range(PROCESSES)]
    with looking(url) as found.looks:
        deeds = draw.choices(list(DEEDS), list(DEEDS.values()), k=jobs)
        made = [restless.new(nth, nth % 2, deed, draw.uniform(0.0, 0.02)) for nth, deed in enumerate(deeds)]
        ids = [one.id for one in await app.enqueue(made)]
        await eventually(crew.log.lines, within=60)
        while not await _have_ended(app, jobs):
            await _strike(app, crew, processes, ids, draw, found, deaths)
            await asyncio.sleep(draw.uniform(*PAUSE))
    found.ends.update((await app.counts())["default"])
    found.recorded = read_records(history(url), MOST)
    found.overlap = overlap(crew.log.lines(), deaths)
    return found


async def _have_ended(app: Tenuto, jobs: int) -> bool:
    counts = (await app.counts()).get("default", {})
    return sum(counts.get(state, 0) for state in ENDED) == jobs


async def _strike(
    app: Tenuto,
    crew: Crew,
    processes: list[Popen[bytes]],
    ids: list[str],
    draw: random.Random,
    found: Turmoil,
    deaths: dict[int, float],
) -> None:
    """One blow: a process dies and another begins, a few jobs are cancelled, or the limit moves."""
    blow = draw.choices(("kill", "cancel", "limit"), (2, 5, 3))[0]
    found.blows[blow] += 1
    if blow == "kill":
        victim = processes.pop(draw.randrange(len(processes)))
        kill(victim)
        deaths[victim.pid] = crew.now()
        processes.append(crew.work(slots=5))
    elif blow == "cancel":
        running = [one.id for one in await app.find(state="executing", limit=1)]
        found.blows["cancelled"] += len(await app.cancel([*running, draw.choice(ids)]))
    else:
        await app.queue("default").limit(draw.randint(1, MOST))
