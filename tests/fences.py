"""The fences: what must not be taken away, and which test goes red when it is.

`python -m tests.fences` proves it. It copies the project, takes each fence out of the copy, and runs its test there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Fence(NamedTuple):
    """What holds (as docs/guarantees.md says it), where, and the test that goes red without it."""

    promise: str
    files: str  # one glob under tenuto/: with an SQL statement, both twins
    without: str  # a regular expression
    instead: str
    test: str


SQL = "storage/sql/*"

FENCES = [
    Fence(
        "An attempt that lost its job settles nothing",
        f"{SQL}/ack.sql",
        r"(j|jobs)\.epoch = (a|b)\.epoch",
        "true",
        "tests/storage/test_ack.py::test_an_attempt_that_was_taken_back_does_not_settle_the_next_one",
    ),
    Fence(
        "It stores no result either",
        f"{SQL}/store_result.sql",
        r"and epoch = \S+",
        "",
        "tests/storage/test_results.py::test_an_attempt_that_was_taken_back_stores_no_result",
    ),
    Fence(
        "Nor does it send a step back to wait",
        f"{SQL}/gate.sql",
        r"j(obs)?\.epoch = [abc]\.epoch",
        "true",
        "tests/storage/test_gate.py::test_an_attempt_that_was_taken_back_does_not_gate_the_next_one",
    ),
    Fence(
        "A node without a live lease claims nothing",
        f"{SQL}/claim.sql",
        r"and p\.expires_at > t\.now",
        "",
        "tests/storage/test_claim.py::test_nothing_is_claimed_after_the_lease_has_ended",
    ),
    Fence(
        "A lease that ended stays ended",
        f"{SQL}/beat.sql",
        r"and (p\.)?expires_at > \(?[^\n]*",
        "",
        "tests/storage/test_upkeep.py::test_a_beat_does_not_revive_a_lease_that_ended",
    ),
    Fence(
        "A node that cannot renew its lease stops its attempts before others may take them",
        "runtime/node.py",
        r"\* 5 / 6",
        "* 5",
        "tests/runtime/test_node.py::test_a_node_that_cannot_renew_is_fenced_before_its_lease_ends",
    ),
    Fence(
        "After an outage a node waits one lease before it judges others",
        "runtime/node.py",
        r"and time\.monotonic\(\) >= self\._judges_at",
        "",
        "tests/runtime/test_node.py::test_a_node_waits_one_lease_after_an_outage_before_it_judges_others",
    ),
    Fence(
        "A step waits once more for a need that is run again",
        "storage/steer.py",
        r'yield call\("unmeet", ids=steps\)',
        "[]",
        "tests/storage/test_steer.py::test_a_step_waits_once_more_for_a_need_that_is_run_again",
    ),
    Fence(
        "A step claimed too early does not run",
        "runtime/executor.py",
        r"if attempt\.needs\.unmet:",
        "if False:",
        "tests/runtime/test_executor.py::test_a_step_with_unmet_needs_goes_back_without_running",
    ),
    Fence(
        "A step with a stored result does not run again",
        "runtime/executor.py",
        r"if attempt\.needs\.own is not None and",
        "if False and",
        "tests/stories/test_results.py::test_a_step_that_failed_after_storing_settles_without_running_again",
    ),
    Fence(
        "A retry releases no step whose needs are unmet",
        f"{SQL}/retry.sql",
        r"(j\.)?waiting_on = 0 or \(",
        "true or (",
        "tests/storage/test_steer.py::test_a_step_whose_need_ended_badly_is_not_retried_alone",
    ),
    Fence(
        "A cancel that came first turns any ending into cancelled",
        f"{SQL}/ack.sql",
        r"(state = )?case when (?:j|jobs)\.cancel_requested_at is null then a\.state else 'cancelled' end( as state)?",
        r"\1a.state\2",
        "tests/storage/test_ack.py::test_a_cancel_turns_every_ending_into_cancelled",
    ),
    Fence(
        "A job that kills its process three times is discarded",
        f"{SQL}/rescue.sql",
        r"suspicions >= 2 and",
        "suspicions >= 1000 and",
        "tests/storage/test_rescue.py::test_the_third_death_of_the_only_suspect_discards_it",
    ),
    Fence(
        "Its neighbours are innocent",
        f"{SQL}/rescue.sql",
        r"suspicions >= 2 and s\.suspects = 1",
        "suspicions >= 2",
        "tests/storage/test_rescue.py::test_beside_another_suspect_nobody_is_discarded",
    ),
    Fence(
        "Suspects never run side by side",
        f"{SQL}/claim.sql",
        r"and suspicions = 0",
        "",
        "tests/storage/test_claim.py::test_a_plain_claim_passes_over_suspects",
    ),
    Fence(
        "A row that the database refuses stands alone, and the others go on",
        "runtime/producer.py",
        r"return acks\[len\(acks\) // 2 :\]",
        "return []",
        "tests/runtime/test_producer.py::test_a_row_that_the_database_refuses_is_discarded_and_its_batch_goes_on",
    ),
    Fence(
        "A row that another session locks holds up no other",
        "runtime/producer.py",
        r'"500ms", "50ms"',
        '"200s", "200s"',
        "tests/runtime/test_parked.py::test_a_row_that_another_session_locks_holds_up_no_other",
    ),
    Fence(
        "A claim whose answer was lost is given back",
        "runtime/producer.py",
        r"if self\._in_doubt:",
        "if False:",
        "tests/runtime/test_producer.py::test_a_claim_whose_answer_was_lost_is_given_back_and_runs",
    ),
    Fence(
        "An id that is taken by another job is refused",
        "storage/store.py",
        r"if row is not None and \([^\n]*:\n",
        "if False:\n",
        "tests/storage/test_enqueue.py::test_the_same_id_with_another_content_is_refused",
    ),
    Fence(
        "A seal opens in its own place alone",
        "features/sealing.py",
        r"key_id, \*place, mark\)",
        "key_id, mark)",
        "tests/features/test_sealing.py::test_a_seal_opens_in_its_own_place_alone",
    ),
    Fence(
        "Args of an encrypted worker that lie in the clear do not run",
        "features/encrypted.py",
        r"if not \(isinstance\(job\.args, Sealed\) or self\.allows_plain\):",
        "if False:",
        "tests/features/test_sealing.py::test_args_in_the_clear_are_refused_where_they_ought_to_be_sealed",
    ),
    Fence(
        "No tables are changed under a live node of an older version",
        "storage/upkeep.py",
        r"if older:",
        "if False:",
        "tests/storage/test_schema.py::test_nothing_is_migrated_under_a_live_node_of_an_older_version",
    ),
]


def take_out(fence: Fence, copy: Path) -> dict[Path, str]:
    """Change the copy; its files as they were before."""
    before: dict[Path, str] = {}
    for path in sorted((copy / "tenuto").glob(fence.files)):
        text = path.read_text(encoding="utf-8")
        changed, times = re.subn(fence.without, fence.instead, text)
        assert times, f"{fence.promise}: not found in {path}"
        before[path] = text
        path.write_text(changed, encoding="utf-8")
    assert before, f"{fence.promise}: no file {fence.files}"
    return before


def failures(fence: Fence, copy: Path) -> list[str]:
    """What pytest says of the fence's test in the copy, without it; nothing where the test passes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=60", fence.test]
    ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), f"{fence.promise}: {ran.stdout}{ran.stderr}"
    told = re.findall(r"^E   +(.*)$", ran.stdout, re.MULTILINE) or ran.stdout.splitlines()[-1:]
    return told if ran.returncode else []


def main(chosen: str = "") -> int:
    """Try every fence whose promise holds the `chosen` text; how many of them no test misses."""
    missing = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "docs", "__pycache__", "bench"))
        for fence in FENCES:
            if chosen not in fence.promise:
                continue
            before = take_out(fence, copy)
            told = failures(fence, copy)
            missing += not told
            sys.stdout.write(f"{f'red    {fence.promise}: {told[0][:90]}' if told else f'GREEN  {fence.promise}'}\n")
            sys.stdout.flush()
            for path, text in before.items():
                path.write_text(text, encoding="utf-8")
    return missing


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
