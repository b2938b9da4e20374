"""The fences: what must not be taken away, and which test goes red when it is.

`python -m tests.fences` proves it. It copies the project, takes each fence out of the copy, and runs its test there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
        "No link runs beside another one of its chain",
        "storage/chains.py",
        r"\{\} if job\.id == held_by else \{[^}]*\}",
        "{}",
        "tests/storage/test_chains.py::test_the_first_link_is_due_and_those_behind_it_wait_for_their_turn",
    ),
    Fence(
        "A link that is run again takes its turn",
        f"{SQL}/retry.sql",
        r"c\.held_by = j(obs)?\.id",
        "true",
        "tests/storage/test_chains.py::test_a_link_that_ended_is_the_next_one_where_another_holds_its_chain",
    ),
    Fence(
        "A chain that is to hold is not handed on",
        f"{SQL}/advance_chains.sql",
        r"('retryable'\)) or (strpos|instr)[^\n]*",
        r"\1",
        "tests/storage/test_chains.py::test_an_earlier_link_that_is_retried_does_not_pass_one_that_holds",
    ),
    Fence(
        "No link is stored behind one that is just handing its chain on",
        "storage/aftermath.py",
        r"yield from hold_still\([^\n]*",
        "pass",
        "tests/storage/test_chains.py::test_a_link_that_is_stored_while_its_chain_is_handed_on_is_not_forgotten",
    ),
    Fence(
        "Who stores a link and who ends the one with its unique key take turns",
        "storage/store.py",
        r"@behind_holders\n",
        "",
        "tests/storage/test_links.py"
        "::test_a_link_that_changes_the_holder_of_its_key_and_whoever_ends_that_one_do_not_lock_each_other_out",
    ),
    Fence(
        "A link that holds its chain is not pruned",
        f"{SQL}/prune_jobs.sql",
        r"and coalesce\((strpos|instr)[^\n]*",
        "",
        "tests/storage/test_chains.py::test_a_held_up_link_is_not_pruned_and_goes_on_holding",
    ),
    Fence(
        "A cancelled link whose code goes on keeps its chain",
        "runtime/producer.py",
        r" or attempt\.job\.chain_key is not None",
        "",
        "tests/stories/test_chains.py::test_a_cancelled_link_that_goes_on_is_settled_when_it_returns",
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
        r"if not self\.allows_plain:",
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
    Fence(
        "A minute of a cron entry is fired once",
        f"{SQL}/cron_fire.sql",
        r"and done_until = \S+",
        "",
        "tests/storage/test_crons.py::test_a_minute_is_fired_once",
    ),
    Fence(
        "A paused cron entry is not fired",
        f"{SQL}/cron_fire.sql",
        r"and not paused",
        "",
        "tests/storage/test_crons.py::test_a_paused_entry_is_not_fired",
    ),
    Fence(
        "A local time that comes twice is due once",
        "cron.py",
        r"self\._is_fixed and self\._came_before\(local, found\)",
        "False",
        "tests/words/test_cron.py::test_a_local_time_that_comes_twice_is_due_once",
    ),
    Fence(
        "Nodes of an older program leave a cron entry to those that declared it last",
        f"{SQL}/cron_register.sql",
        r"where (:wins|%\(wins\)s::boolean) or",
        r"where true or \1 or",
        "tests/storage/test_crons.py"
        "::test_who_knew_it_before_leaves_it_to_the_one_that_declared_it_last_while_that_one_lives",
    ),
    Fence(
        "Args that no longer fit never reach process",
        "features/args.py",
        r"return await call_next\(job\.replace\(args=self\._cast\(job\.args\)\)\)",
        "return await call_next(job)",
        "tests/features/test_args.py::test_args_that_drifted_fail_the_attempt_and_process_is_not_called",
    ),
    Fence(
        "A required text is not empty, at any depth",
        "features/schema.py",
        r"if required else parts",
        "if False else parts",
        "tests/features/test_args.py::test_an_empty_text_is_no_value_for_a_required_text_at_any_depth",
    ),
    Fence(
        "A name, or an alias, is one worker's",
        "definition.py",
        r"raise DuplicateWorker\(known[^\n]*",
        "pass",
        "tests/features/test_aliases.py::test_two_workers_cannot_claim_one_name",
    ),
    Fence(
        "A job that others end leaves a word for its hooks",
        "storage/steer.py",
        r"yield from tell_hooks\([^\n]*\n",
        "pass\n",
        "tests/storage/test_outbox.py::test_an_operator_who_cancels_what_does_not_run_leaves_a_word",
    ),
    Fence(
        "So does one that ran while they did",
        "storage/store.py",
        r"yield from tell_acked\(ordered, rows\)",
        "pass",
        "tests/storage/test_outbox.py::test_a_running_job_that_an_operator_cancelled_leaves_a_word_whatever_it_came_to",
    ),
    Fence(
        "What process itself said leaves none",
        "outcome.py",
        r"is_news = job\.has_hooks and [^\n]*",
        "is_news = job.has_hooks",
        "tests/storage/test_outbox.py::test_what_process_itself_said_leaves_no_word",
    ),
    Fence(
        "A hook that only observes harms nothing",
        "features/hooks.py",
        r"except BaseException as error:",
        "except ZeroDivisionError as error:",
        "tests/stories/test_hooks.py::test_hooks_that_raise_are_told_of_and_harm_nothing",
    ),
    Fence(
        "A job whose hook hangs is not run again",
        "runtime/producer.py",
        r"attempt\.ack or ",
        "",
        "tests/stories/test_hooks.py::test_a_hook_that_hangs_does_not_make_a_stopping_node_run_the_job_again",
    ),
    Fence(
        "A plain hook does not block the event loop",
        "features/hooks.py",
        r"if hook\.is_async or mine is None:",
        "if True:",
        "tests/stories/test_hooks.py::test_plain_hooks_run_in_a_thread_and_async_ones_on_the_loop",
    ),
    Fence(
        "Of unique jobs that are alike one is there",
        f"{SQL}/schema/0002_workers.sql",
        r"create unique index jobs_unique",
        "create index jobs_unique",
        "tests/storage/test_unique.py::test_of_64_who_store_the_same_at_once_one_does",
    ),
    Fence(
        "A unique job that leaves its states gives its key up",
        f"{SQL}/schema/0002_workers.sql",
        r"new\.unique_held(?= and|\))",
        "false",
        "tests/storage/test_unique.py::test_a_job_that_ends_badly_gives_its_key_up",
    ),
    Fence(
        "A retry takes no key that another holds",
        f"{SQL}/rivals.sql",
        r"where coalesce\(h\.id, a\.first\) <> a\.id",
        "where false",
        "tests/storage/test_unique.py::test_a_retry_is_refused_when_another_has_the_key",
    ),
    Fence(
        "A job does not begin past its deadline",
        "features/deadline.py",
        r"if left <= 0:",
        "if False:",
        "tests/features/test_deadline.py::test_an_attempt_that_begins_at_its_deadline_is_cancelled_and_does_not_run",
    ),
    Fence(
        "The sweep of deadlines takes nothing that runs",
        f"{SQL}/cancel_overdue.sql",
        r"(j\.)?state in \('suspended', 'scheduled', 'available', 'retryable'\)",
        "true",
        "tests/storage/test_overdue.py::test_a_job_that_was_claimed_after_the_look_is_not_cancelled",
    ),
    Fence(
        "A job in a child that must end is killed, with all it started",
        "runtime/places/spawned.py",
        r"os\.killpg\(self\.pid, signal\.SIGKILL\)",
        "os.kill(self.pid, signal.SIGKILL)",  # it alone
        "tests/stories/test_afar.py::test_a_cancel_kills_the_process_and_what_the_job_started",
    ),
    Fence(
        "A job whose child died three times in a row is discarded",
        "runtime/places/elsewhere.py",
        r"if _deaths\(job\) \+ 1 < DEATHS:",
        "if True:",
        "tests/stories/test_afar.py::test_a_job_that_kills_its_process_three_times_is_discarded_and_the_99_beside_it_complete",
    ),
    Fence(
        "What a job came to in its child stands, whatever its after-hooks do there",
        "runtime/places/spawned.py",
        r"if answer is None:",
        "if True:",
        "tests/stories/test_hooks_afar.py::test_a_hook_that_kills_the_process_harms_nothing",
    ),
    Fence(
        "An answer of an executor that nobody with the keys gave is refused",
        "runtime/places/envelope.py",
        r"raise NotSealed\(job\.id, field, job\.worker\)",
        "return text",
        "tests/stories/test_encrypted_afar.py::test_an_answer_that_nobody_with_the_keys_gave_is_refused",
    ),
    Fence(
        "What an encrypted worker reads is sealed on its way to an executor",
        "runtime/places/elsewhere.py",
        r"await closed\(job, NEEDS, pack_needs\(mine\.needs\)\)",
        "pack_needs(mine.needs)",
        "tests/stories/test_encrypted_afar.py::test_nothing_of_it_is_in_the_clear_on_the_way",
    ),
    Fence(
        "Claims from a queue with limits take turns, so that none exceeds them",
        "storage/sql/postgres/lock_limits.sql",
        r"for update of l",
        "",
        "tests/storage/test_limited.py::test_claims_at_the_same_time_never_exceed_a_limit",
    ),
    Fence(
        "What runs counts against a limit, whoever holds it",
        f"{SQL}/free_partitions.sql",
        r"p\.id is null or ",
        "",
        "tests/storage/test_limited.py::test_a_job_whose_producer_is_gone_counts_until_it_is_rescued",
    ),
    Fence(
        "Partitions of a queue are served in turn",
        f"{SQL}/spend_limits.sql",
        r"turn = (%\(turn\)s|:turn)",
        "turn = turn",
        "tests/storage/test_limited.py::test_partitions_are_served_in_turn",
    ),
    Fence(
        "A cancelled thread keeps its place under a limit until it returns",
        "runtime/producer.py",
        r"self\.cursor\.is_capped or ",
        "",
        "tests/stories/test_limits.py::test_a_cancelled_thread_keeps_its_place_under_a_limit_until_it_returns",
    ),
    Fence(
        "A slot that one node frees is taken by another at once",
        "runtime/producer.py",
        r"if self\.cursor\.is_capped:",
        "if False:",
        "tests/stories/test_limits.py::test_a_slot_that_one_node_frees_is_taken_by_another_at_once",
    ),
    Fence(
        "A clock that is set back costs a rate no more than one bucket",
        f"{SQL}/cap_rates.sql",
        r"where (r\.)?queue = ",
        "where false and queue = ",
        "tests/storage/test_limited.py::test_a_clock_that_is_set_back_costs_a_rate_no_more_than_one_bucket",
    ),
    Fence(
        "A node that sleeps with a queue's limits in hand holds it up for seconds",
        "storage/sql/postgres/lock_limits.sql",
        r"'5s'",
        "'600s'",
        "tests/storage/test_limited.py::test_a_session_that_sleeps_with_the_limits_in_hand_is_ended",
    ),
    Fence(
        "The order in which features are declared makes no difference",
        "features/built.py",
        r"in MAKERS\.items\(\):",
        "in [(name, MAKERS[name]) for name in options if name in MAKERS]:",
        "tests/stories/test_every_feature.py::test_in_every_order_it_is_the_same_worker",
    ),
    Fence(
        "Nor does that of a class's bases",
        "worker.py",
        r"in reversed\(cls\.__mro__\[1:\]\):",
        "in cls.__mro__[1:2]:",
        "tests/definitions/test_worker.py::test_every_base_hands_its_options_down_and_the_nearest_decides",
    ),
    Fence(
        "A worker with several names has one cron entry",
        "runtime/services/scheduler.py",
        r"name = definition\.name\n",
        "name = next(reversed([key for key, one in registered().items() if one is definition]))\n",
        "tests/stories/test_cron.py::test_a_worker_with_aliases_has_one_entry",
    ),
    Fence(
        "A plain function that heard that its deadline came is cancelled, whatever it returns",
        "runtime/executor.py",
        r"outcome = _in_time\(attempt, (.*)\)\n",
        r"outcome = \1\n",
        "tests/runtime/test_executor.py::test_a_plain_function_that_returns_because_its_deadline_came_is_cancelled",
    ),
    Fence(
        "On an executor, one that heard that its time is over has timed out, whenever it began",
        "runtime/places/elsewhere.py",
        r" and not answer\.has_heard",
        "",
        "tests/stories/test_executors.py::test_a_job_that_began_late_and_ends_because_its_time_is_over_has_timed_out",
    ),
    Fence(
        "A job that is claimed while its node is hurried goes back unspent, whatever the grace",
        "runtime/crew.py",
        r"producer\.hurry\(\)",
        "producer.release_all()",
        "tests/runtime/test_producer.py::test_a_job_whose_claim_is_under_way_when_its_node_is_hurried_goes_back_unspent",
    ),
    Fence(
        "A job that was completed in its own transaction is not settled by what its code does afterwards",
        "runtime/executor.py",
        r"if attempt\.completions and ",
        "if False and ",
        "tests/stories/test_completion.py::test_hooks_hear_that_it_is_complete_and_with_what",
    ),
    Fence(
        "An attempt that lost its job commits nothing of its own",
        "borrowing.py",
        r"if not settled\.ids:",
        "if False:",
        "tests/stories/test_completion.py::test_an_attempt_that_lost_its_job_commits_nothing",
    ),
    Fence(
        "Nor does one whose job an operator cancelled",
        "borrowing.py",
        r"if now\[ack\.id\]\.state is not COMPLETED:",
        "if False:",
        "tests/stories/test_completion.py::test_a_job_that_was_cancelled_commits_nothing",
    ),
    Fence(
        "A relay is answered where no hint arrives",
        "relay.py",
        r"self\._told\.update\(self\._waits\)",
        "pass",
        "tests/stories/test_relay.py::test_a_wait_needs_no_notification",
    ),
    Fence(
        "A wait that is over leaves nothing behind",
        "relay.py",
        r"self\._waits\[wait\.id\]\.discard\(wait\)",
        "pass",
        "tests/stories/test_relay.py::test_of_ten_thousand_relays_half_are_let_go_and_nothing_is_left_of_them",
    ),
    Fence(
        "What a verb that failed had written is taken out of the transaction it was lent",
        "storage/borrowed/loan.py",
        r'f"rollback to savepoint \{SAVEPOINT\}", ',
        "",
        "tests/storage/test_loan.py::test_a_verb_that_fails_leaves_the_transaction_as_it_was",
    ),
    Fence(
        "A verb on a lent transaction of SQLite reads nothing before its turn to write has come",
        "storage/borrowed/sqlite.py",
        r"yield Ask\(TURN\)\n",
        "\n",
        "tests/storage/test_loan.py::test_a_transaction_of_sqlite_that_was_begun_plainly_waits_for_its_turn_to_write",
    ),
    Fence(
        "A forked child counts on no SQLite lock of its parent",
        "storage/sqlite.py",
        r"\[line for line in \(self\._write, self\._read\) if line\.is_running\]",
        "[self._read][:0]",
        "tests/edges/test_blocking_processes.py::test_a_child_counts_on_no_lock_of_its_parent",
    ),
    Fence(
        "A forked child holds no PostgreSQL connection of its parent",
        "storage/postgres.py",
        r"os\.dup2\(.*\)",
        "pass",
        "tests/edges/test_blocking_processes.py::test_a_child_holds_no_connection_of_a_parent_that_died",
    ),
    Fence(
        "The job that a workflow's end enqueues is stored, whoever stored another of its id",
        "storage/aftermath.py",
        r"taken = jobs\.keys\(\) - .*",
        "return set()",
        "tests/stories/test_steering.py::test_a_callback_that_somebody_enqueued_as_well_comes_all_the_same",
    ),
    Fence(
        "Of retries at once one brings a workflow back",
        f"{SQL}/retry.sql",
        r"and (j\.)?state in \('scheduled', 'retryable', 'completed', 'cancelled', 'discarded'\)",
        "and true",
        "tests/stories/test_steering.py::test_of_retries_at_once_one_makes_the_new_run",
    ),
    Fence(
        "Of unique workflows of one name one is unfinished",
        f"{SQL}/schema/0005_steering.sql",
        r"create unique index workflows_unique",
        "create index workflows_unique",
        "tests/stories/test_steering.py::test_of_twenty_who_enqueue_at_once_one_is_the_first",
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


def main(chosen: str = "", *, fences: Sequence[Fence] = FENCES) -> int:
    """Try every one of the `fences` whose promise holds the `chosen` text; how many of them no test misses."""
    missing = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "docs", "__pycache__", "bench"))
        for fence in fences:
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
