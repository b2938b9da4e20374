"""A cluster does the work: jobs run on Dask's workers, and Tenuto keeps them, their results and their order.

    pip install distributed
    python examples/dask_cluster.py             on a cluster of two processes that it starts on this machine
    python examples/dask_cluster.py tcp://…     on yours; there, run `client.upload_file` with this file first

    count (one step for each hundred thousand numbers, side by side) ──> total

What goes to the cluster is one of our names and the job as text; nothing of the job is pickled. Any other
`concurrent.futures.Executor` is given the same way.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from distributed import Client

from tenuto import Tenuto, Workflow, job, results

STEP = 100_000


@job(runs_in="dask", queue="cluster", timeout=60)
def count(first: int) -> tuple[int, int]:
    """How many primes begin here, and the process that counted them."""
    return sum(map(is_prime, range(first, first + STEP))), os.getpid()


@job(queue="cluster")  # in a thread of the node, as usual
def total() -> tuple[int, int]:
    """All of them, and how many processes of the cluster there were."""
    counted = results.get_all_results().values()
    return sum(primes for primes, _ in counted), len({pid for _, pid in counted})


def is_prime(number: int) -> bool:
    """By trial division: it is the work that counts here."""
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


async def run(client: Client, folder: Path, steps: int) -> None:
    """Count the primes below `steps` hundred thousand on the cluster, and print them."""
    flow = Workflow("primes")
    names = [f"count-{nth}" for nth in range(steps)]
    for nth, name in enumerate(names):
        flow.add(name, count.new(first=nth * STEP))
    flow.add("total", total.new(), deps=names)
    executors = {"dask": client.get_executor()}
    async with Tenuto(f"sqlite:///{folder / 'jobs.db'}", queues={"cluster": 8}, executors=executors) as app:
        await app.enqueue(flow)
        status = await app.workflow(flow.id).wait(timeout=300)
        primes, processes = await app.workflow(flow.id).result("total")
        print(f"{status.outcome}: {primes:,} primes below {steps * STEP:,}, counted in {processes} processes")


def main() -> None:
    """On the cluster that is named, or on one of this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scheduler", nargs="?", help="the scheduler of your cluster")
    parser.add_argument("--steps", type=int, default=6, help="how many hundred thousand numbers")
    asked = parser.parse_args()
    options = {} if asked.scheduler else {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with tempfile.TemporaryDirectory() as folder, Client(asked.scheduler, **options) as client:
        asyncio.run(run(client, Path(folder), asked.steps))


if __name__ == "__main__":
    main()
