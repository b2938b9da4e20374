"""Links that write down what they do, nodes that run them until they are killed, and a checker of what was written."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from tenuto import Cancel, Chain, Discard, Job, Snooze, Tenuto, current_job, job
from tenuto.job import TERMINAL
from tests.kit import LEASE
from tests.soaking.checker import read_log
from tests.soaking.killing import PROCESSES
from tests.soaking.worker import Log, _end_with_parent
from tests.storage.tables import look_into

Line = dict[str, Any]

LONGEST = 60  # milliseconds a link takes
DEEDS = [*["ends"] * 10, "fails", "snoozes", "cancels", "discards"]  # the last four at the first attempt alone
BY_KEY = Chain(by="args.key")
HOLDING = Chain(by="args.key", on_cancelled="hold", on_discarded="hold")

_log: Log | None = None


# ── the links ─────────────────────────────────────────────────────────────────────────────────────


@job(name="links.link", chain=BY_KEY, backoff=0)
async def link(key: str, deed: str, millis: int) -> Any:
    """One link on the event loop."""
    with _written(key):
        await asyncio.sleep(millis / 1000)
        return _done(deed)


@job(name="links.plain_link", chain=BY_KEY, backoff=0)
def plain_link(key: str, deed: str, millis: int) -> Any:
    """One link in a thread."""
    with _written(key):
        time.sleep(millis / 1000)
        return _done(deed)


@job(name="links.holding_link", chain=HOLDING, backoff=0)
async def holding_link(key: str, deed: str, millis: int) -> Any:
    """One link of a chain that waits when it ends badly."""
    with _written(key):
        await asyncio.sleep(millis / 1000)
        return _done(deed)


@contextmanager
def _written(key: str) -> Iterator[None]:
    assert _log is not None
    _log.write("begin", key=key, id=current_job().id)
    try:
        yield
    finally:
        _log.write("end", key=key, id=current_job().id)


def _done(deed: str) -> Any:
    me = current_job()
    if deed == "snoozes" and me.snoozes == 0:
        return Snooze(0.01)
    if deed == "ends" or me.attempt > 1:
        return None
    if deed == "fails":
        raise ValueError("told to")
    return {"cancels": Cancel("told to"), "discards": Discard("told to")}.get(deed)


def some_link(draw: random.Random, key: str, *, holds: bool) -> Job[Any, Any]:
    """A link of that chain which does something or other."""
    make = holding_link if holds else draw.choice((link, plain_link))
    return make.options(priority=draw.randint(0, 9)).new(key, draw.choice(DEEDS), draw.randint(0, LONGEST))


# ── the nodes ─────────────────────────────────────────────────────────────────────────────────────


def work(url: str, folder: Path) -> None:
    """Work on the database until killed; what the links do goes into the folder."""
    global _log  # noqa: PLW0603 - one process, one log
    _log = Log(folder / "log")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(Tenuto(url, queues={"default": 10}, lease=LEASE).work())


class Node:
    """A process that runs links: started, killed, and started again."""

    def __init__(self, url: str, folder: Path) -> None:
        self._arguments = (url, folder)
        self._log = Log(folder / "log")
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = PROCESSES.Process(target=work, args=self._arguments)
        self._process.start()

    @property
    def pid(self) -> int | None:
        """Of the process that works now."""
        return self._process.pid

    def kill(self) -> None:
        """kill -9; nothing that it wrote comes behind the line that says so."""
        pid = self._process.pid
        assert pid is not None
        there = psutil.Process(pid)
        there.suspend()
        while there.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)
        self._log.write("killed", killed=pid)
        self._process.kill()
        self._process.join()
        self.kills += 1

    def restart(self) -> None:
        """Kill it, and start another in its place."""
        self.kill()
        self._process.close()
        self._start()


# ── the audit ─────────────────────────────────────────────────────────────────────────────────────

AUDIT = {
    "sqlite": """
        create table audit (seq integer primary key, id text, key text, became text);
        create trigger audit_new after insert on jobs begin
            insert into audit (id, key, became) values (new.id, new.chain_key, 'stored');
        end;
        create trigger audit_states after update of state on jobs begin
            insert into audit (id, key, became) values (new.id, new.chain_key, new.state);
        end;
        create trigger audit_gone after delete on jobs begin
            insert into audit (id, key, became) values (old.id, old.chain_key, 'gone');
        end;
    """,
    "postgres": """
        create table audit (seq bigserial, id uuid, key text, became text);
        create function audit() returns trigger language plpgsql as $$ begin
            if tg_op = 'DELETE' then
                insert into tenuto.audit (id, key, became) values (old.id, old.chain_key, 'gone');
            else
                insert into tenuto.audit (id, key, became) values (
                    new.id, new.chain_key, case tg_op when 'INSERT' then 'stored' else new.state end);
            end if;
            return null;
        end $$;
        create constraint trigger audit after insert or delete or update of state on jobs
            deferrable initially deferred for each row execute function audit();
    """,
}
"""Triggers of the story's own. Lines are written where one session writes at a time, or as it commits (PostgreSQL): so
they stand in the order of the commits, whatever is locked meanwhile."""


def watch(url: str) -> None:
    """Write down from now on what becomes of every job."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as file:
            file.executescript(AUDIT["sqlite"])
    else:
        with psycopg.connect(url, autocommit=True, options="-c search_path=tenuto") as connection:
            connection.execute(AUDIT["postgres"])


def history(url: str) -> list[Line]:
    """What was written down, in order."""
    with look_into(url) as tables:
        return tables.rows("select id, key, became from audit order by seq")


# ── the checker ───────────────────────────────────────────────────────────────────────────────────


class Span(NamedTuple):
    """When a link was stored: the call that did it began, was answered, and at which place of its list it stood."""

    began: float
    ended: float
    place: int


def line_of(url: str, id: str) -> list[str]:
    """The links that have not ended of the chain which that one is in, by their numbers. Empty when it is gone."""
    with look_into(url) as tables:
        found = tables.rows(
            "select id, state from jobs where chain_key = (select chain_key from jobs where id = ?) order by chain_seq",
            id,
        )
    return [str(row["id"]) for row in found if row["state"] not in TERMINAL]


def examine(
    log: Sequence[Line], audit: Sequence[Line], holding: Sequence[str], spans: Mapping[str, Span] | None = None
) -> list[str]:
    """Everything that was out of order, in words; `holding` are the ids of links that hold when they end badly.

    With `spans`, of calls of one clock, also where the audit has another order than the calls had.
    """
    found = [*overlaps(log), *overtakings(log, audit), *early_starts(audit, set(holding))]
    return [*found, *disorders(audit, spans or {})]


def disorders(audit: Sequence[Line], spans: Mapping[str, Span]) -> Iterator[str]:
    """Links that stand before one of their chain whose call was answered before theirs began, or that was before them
    in one list."""
    chains: dict[str, list[tuple[str, Span]]] = defaultdict(list)
    for line in audit:
        if line["became"] == "stored" and line["id"] in spans:
            chains[line["key"]].append((line["id"], spans[line["id"]]))
    for line_up in chains.values():
        for nth, (id, span) in enumerate(line_up):
            for later, other in line_up[nth + 1 :]:
                if other.ended < span.began or (span[:2] == other[:2] and other.place < span.place):
                    yield f"{id} stands before {later}, which was stored first"


def running(log: Sequence[Line]) -> dict[int, set[str]]:
    """What each process runs, or ran when it was killed."""
    found: dict[int, set[str]] = defaultdict(set)
    for line in log:
        if line["event"] == "begin":
            found[line["pid"]].add(line["id"])
        elif line["event"] == "end":
            found[line["pid"]].discard(line["id"])
    return {pid: ids for pid, ids in found.items() if ids}


def caught(log: Sequence[Line]) -> int:
    """How many runs a kill ended."""
    killed = {line["killed"] for line in log if line["event"] == "killed"}
    return sum(len(ids) for pid, ids in running(log).items() if pid in killed)


def waits_behind(audit: Sequence[Line], holding: set[str]) -> int:
    """How often a link held its chain after its end, with others in line behind it."""
    chains: dict[str, dict[str, str]] = defaultdict(dict)
    count = 0
    for line in audit:
        if line["key"] is None:
            continue
        chain = chains[line["key"]]
        chain[line["id"]] = line["became"]
        if line["id"] in holding and line["became"] in ("cancelled", "discarded"):
            ids = list(chain)
            count += any(chain[id] not in ENDED for id in ids[ids.index(line["id"]) + 1 :])
    return count


ENDED = {*TERMINAL, "gone"}


def overlaps(log: Sequence[Line]) -> Iterator[str]:
    """Runs that began while another one of their chain was under way."""
    running: dict[str, Line] = {}
    for line in log:
        if line["event"] == "killed":
            running = {key: one for key, one in running.items() if one["pid"] != line["killed"]}
        elif line["event"] == "end":
            running.pop(line["key"], None)
        elif line["event"] == "begin":
            if line["key"] in running:
                yield f"{line['id']} began while {running[line['key']]['id']} ran in chain {line['key']}"
            running[line["key"]] = line


def overtakings(log: Sequence[Line], audit: Sequence[Line]) -> Iterator[str]:
    """Runs that began after one of a later link of their chain."""
    place = {line["id"]: nth for nth, line in enumerate(audit) if line["became"] == "stored"}
    latest: dict[str, str] = {}
    for line in log:
        if line["event"] == "begin":
            before = latest.setdefault(line["key"], line["id"])
            if place[line["id"]] < place[before]:
                yield f"{line['id']} began after {before}, which was stored later, in chain {line['key']}"
            latest[line["key"]] = max(before, line["id"], key=place.__getitem__)


def early_starts(audit: Sequence[Line], holding: set[str]) -> Iterator[str]:
    """Claims of a link while an earlier one of its chain had not ended, or held it."""
    chains: dict[str, dict[str, str]] = defaultdict(dict)
    for line in audit:
        if line["key"] is None:
            continue
        chain = chains[line["key"]]
        if line["became"] == "executing":
            for id, state in chain.items():
                if id == line["id"]:
                    break
                if state not in TERMINAL or (id in holding and state != "completed"):
                    yield f"{line['id']} was claimed while {id} before it was {state}"
        if line["became"] == "gone":
            chain.pop(line["id"], None)
        else:
            chain[line["id"]] = line["became"]


def written(folder: Path) -> list[Line]:
    """What the nodes wrote, in order."""
    return read_log(folder / "log")
