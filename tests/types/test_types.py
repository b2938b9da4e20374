"""What the type checkers of users know: the file `typed.py` is accepted by both, at their strictest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def said(*command: str) -> str:
    """What a checker wrote; nothing when it found nothing."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_mypy_knows_the_args_of_new_and_the_result_of_a_job():
    strict = ("--strict", "--config-file=", "--explicit-package-bases", "--follow-imports=silent")

    assert said(sys.executable, "-m", "mypy", *strict, "--python-version=3.11", str(HERE / "typed.py")) == ""


@pytest.mark.timeout(180)
def test_pyright_knows_the_args_of_new_and_the_result_of_a_job(tmp_path):
    settings = {
        "include": [str(HERE / "typed.py")],
        "extraPaths": [str(ROOT)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # those are mypy's
        "reportUnnecessaryTypeIgnoreComment": True,  # an error that is expected has to come
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))

    project = ("--project", str(tmp_path), "--pythonpath", sys.executable)
    assert said(sys.executable, "-m", "basedpyright", *project) == ""
