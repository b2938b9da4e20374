"""A refund that a person must approve: the workflow waits for an answer, for days if need be, and takes no slot.

`python examples/approval.py` stores three refunds, works on them, and plays the people in the office: one says yes, one
says no, and the third refund is answered by nobody.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from tenuto import Received, Tenuto, TimedOut, Workflow, job, results, wait_for_signal

ANSWER_WITHIN = 2.0  # seconds; in an office it would be timedelta(days=3)


@job
async def look_up(order: str) -> dict[str, object]:
    return {"order": order, "amount": 120 * len(order)}


@job
async def ask() -> None:
    print(f"  please approve: {results.get_result('look_up')}")  # an email, a message, a row on a page


@job
async def hear(timeout: float) -> str:
    match await wait_for_signal("answer", timeout=timeout):
        case Received(answer):
            return f"{answer['by']} said {answer['said']}"
        case TimedOut():
            return "nobody said anything"


@job
async def settle() -> str:
    answer = results.get_result("hear")
    return f"refunded, since {answer}" if answer.endswith("said yes") else f"refused, since {answer}"


def refund(order: str) -> Workflow:
    flow = Workflow(f"refund of {order}")
    flow.add("look_up", look_up.new(order))
    flow.add("ask", ask.new(), deps=["look_up"])  # in a step of its own: a job that waits is run again from its start
    flow.add("hear", hear.new(ANSWER_WITHIN), deps=["ask"])
    flow.add("settle", settle.new(), deps=["hear"])
    return flow


async def office(app: Tenuto, flow: Workflow, by: str, said: str) -> None:
    """What the page behind a button does, in whatever process it runs."""
    await app.signal(flow, "answer", {"by": by, "said": said})


async def main(url: str) -> None:
    yes, no, unheard = flows = [refund(order) for order in ("A-1", "A-22", "A-333")]
    async with Tenuto(url, queues={"default": 1}) as app:
        for flow in flows:
            await app.enqueue(flow)
        await office(app, yes, "Ada", "yes")  # perhaps before it was asked: it is kept
        await asyncio.sleep(0.5)  # people take their time
        await office(app, no, "Ben", "no")
        for flow in flows:
            await app.workflow(flow.id).wait()
            print(f"{flow.name}: {await app.workflow(flow.id).result('settle')}")
        try:
            await office(app, unheard, "Eve", "yes")
        except Exception as refusal:  # noqa: BLE001 - it is shown
            print(f"too late: {type(refusal).__name__}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the database; a temporary SQLite file without it")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(parser.parse_args().url or f"sqlite:///{Path(folder) / 'jobs.db'}"))
