"""The wheel, installed alone in an empty environment, runs a workflow: everything it needs is in it."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import asyncio
from tenuto import Tenuto, Workflow, job, results

@job
async def two() -> int:
    return 2

@job
def double() -> int:
    return results.get_result("two") * 2

async def main() -> None:
    flow = Workflow()
    flow.add("two", two.new())
    flow.add("double", double.new(), deps=["two"])
    async with Tenuto("sqlite:///jobs.db", queues={"default": 2}) as app:
        await app.enqueue(flow)
        await app.workflow(flow.id).wait(timeout=30)
        print(await app.workflow(flow.id).result("double"))

asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_the_wheel_without_extras_runs_a_workflow_on_sqlite(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    (tmp_path / "program.py").write_text(PROGRAM)

    ran = subprocess.run([python, "program.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    version = subprocess.run([tmp_path / "empty/bin/tenuto", "version"], check=True, capture_output=True, text=True)

    assert ran.stdout == "4\n"
    assert "tenuto" in version.stdout.lower()
