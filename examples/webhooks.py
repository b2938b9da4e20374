"""A webhook processor: events of one account are handled one after the other, in the order in which they came, and an
event that is posted twice is handled once.

`python examples/webhooks.py` starts it, plays the payment provider that posts events to it (some of them twice), and
shows what became of each account.
"""

import argparse
import asyncio
import json
import random
import tempfile
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.table import Table

from tenuto import Chain, Tenuto, Unique, current_job, job

ACCOUNTS = 8
CHARGES = 5  # of each account; each is refunded in part
TWICE = 0.2  # of the events are posted a second time
LAME = 0.15  # of the first attempts fail


# ── the accounts ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Account:
    """What we know of one account; only its own events may change it, in their order."""

    charges: dict[str, int] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    failures: int = 0

    @property
    def balance(self) -> int:
        return sum(self.charges.values())


accounts: dict[int, Account] = {}
all_handled = asyncio.Event()


@job(
    queue="webhooks",
    chain=Chain(by="args.account", on_discarded="hold"),
    unique=Unique(keys=["event"], states="all"),
    max_attempts=5,
    backoff=0,
)
async def handle(event: str, account: int, kind: str, charge: str, amount: int) -> None:
    """Take one event into its account. A refund finds its charge there, since nothing overtakes within a chain."""
    mine = accounts.setdefault(account, Account())
    await asyncio.sleep(random.random() * 0.01)  # another service is asked
    if current_job().attempt == 1 and random.random() < LAME:
        mine.failures += 1
        raise ConnectionError("the other service did not answer")
    if kind == "charged":
        mine.charges[charge] = amount
    else:
        mine.charges[charge] -= amount
    mine.history.append(f"{kind} {charge}")
    if sum(len(each.history) for each in accounts.values()) == ACCOUNTS * CHARGES * 2:
        all_handled.set()


# ── the receiver ──────────────────────────────────────────────────────────────────────────────────


def receiver(app: Tenuto, loop: asyncio.AbstractEventLoop) -> ThreadingHTTPServer:
    """A server that stores each event as a job, and answers when it is stored."""

    async def store(event: dict[str, Any]) -> bool:
        """Whether it is new: of each event one job is there, so its second coming changes nothing."""
        return not (await app.enqueue(handle.new(**event))).existing

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_new = asyncio.run_coroutine_threadsafe(store(event), loop).result()
            self.send_response(202 if is_new else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of single requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


# ── the payment provider ──────────────────────────────────────────────────────────────────────────


def events_of(account: int) -> list[dict[str, Any]]:
    """What happens to one account, in this order."""
    told: list[dict[str, Any]] = []
    for nth in range(CHARGES):
        charge = f"c{nth}"
        told.append({"account": account, "kind": "charged", "charge": charge, "amount": 100})
        told.append({"account": account, "kind": "refunded", "charge": charge, "amount": 10 * nth})
    return [{"event": f"evt-{account}-{nth}", **event} for nth, event in enumerate(told)]


def post(url: str, event: dict[str, Any]) -> int:
    """Post one event; the status that came back."""
    request = urllib.request.Request(url, json.dumps(event).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


async def provide(url: str, account: int, answers: Counter[int]) -> None:
    """Post the events of one account; each follows the answer to the one before."""
    for event in events_of(account):
        for _ in range(2 if random.random() < TWICE else 1):
            answers[await asyncio.to_thread(post, url, event)] += 1


# ── both together ─────────────────────────────────────────────────────────────────────────────────


async def main(url: str) -> bool:
    """Receive and handle all events; whether each account is as it should be."""
    answers: Counter[int] = Counter()
    async with Tenuto(url, queues={"webhooks": 20}) as app:
        server = receiver(app, asyncio.get_running_loop())
        address = f"http://127.0.0.1:{server.server_port}/"
        await asyncio.gather(*[provide(address, account, answers) for account in range(ACCOUNTS)])
        server.shutdown()
        await all_handled.wait()
    return show(answers)


def show(answers: Counter[int]) -> bool:
    """Print what became of the accounts; whether all of it is right."""
    expected = [f"{event['kind']} {event['charge']}" for event in events_of(0)]
    balance = sum(100 - 10 * nth for nth in range(CHARGES))
    table = Table("account", "balance", "events", "in order", "attempts that failed")
    right = True
    for number, account in sorted(accounts.items()):
        is_right = account.history == expected and account.balance == balance
        right &= is_right
        cells = (number, account.balance, len(account.history), "yes" if is_right else "NO", account.failures)
        table.add_row(*map(str, cells))
    console = Console()
    console.print(table)
    console.print(f"{answers.total()} posts: {answers[202]} new events, {answers[200]} that had come before")
    return right and len(accounts) == ACCOUNTS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the database of the jobs; a temporary file when it is left out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = asyncio.run(main(asked.url or f"sqlite:///{Path(folder) / 'webhooks.db'}"))
    raise SystemExit(0 if done else 1)
