"""An ETL with a fan-out: a step lists the files, one step is added for each, and one report waits for all of them.

Run it: `python examples/etl_fan_out.py`. One of the files is broken; the report is made of the others.
"""

import asyncio
import tempfile
from pathlib import Path

from tenuto import Tenuto, Workflow, graft, job
from tenuto.results import get_result

FILES = {"rome": "3 4 5", "oslo": "1 1", "lima": "seven"}


@job
async def list_files() -> None:
    await graft({name: load.new(name=name) for name in FILES})


@job(max_attempts=1)
async def load(name: str) -> int:
    return sum(map(int, FILES[name].split()))


@job
async def report() -> str:
    loaded = get_result("files")
    return ", ".join(f"{name} {total}" for name, total in loaded.items())


async def main(url: str) -> None:
    flow = Workflow("etl")
    files = flow.add_graft("files", list_files.new(), ignore_discarded=True)
    flow.add("report", report.new(), deps=files)
    async with Tenuto(url, queues={"default": 10}) as app:
        await app.enqueue(flow)
        status = await app.workflow(flow.id).wait()
        group = status.group("files")
        print(f"{group.completed - 1} of {group.total - 1} files were loaded")
        print(await app.workflow(flow.id).result("report"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(f"sqlite:///{Path(folder) / 'jobs.db'}"))
