"""The defects of the originals, planted: each as a change that brings it back, and the test that goes red with it.

`python -m tests.defects` proves it as `python -m tests.fences` does. docs/seeds.md has the same list. What is a fence
already is named there, and not here.
"""

from __future__ import annotations

import sys

from tests.fence import SQL, Fence, main

OF_WAITING = r"case when (j\.)?waiting_on = 0 then (j\.)?chain_key end"

DEFECTS = [
    # ── args and results ──
    Fence(
        "A nested map that is required may be left out",
        "features/args.py",
        r"( +)raise InvalidArgs\(self\._worker, problems\)",
        r"\1if all(why == 'required' for _, why in problems):\n\1    return args\n"
        r"\1raise InvalidArgs(self._worker, problems)",
        "tests/features/test_args.py::test_a_nested_type_without_a_default_is_required",
    ),
    Fence(
        "A result over the limit fails its job, and each retry repeats what it did",
        "features/recorded.py",
        r"return Unstorable\(refused\)",
        "raise refused",
        "tests/stories/test_recorded.py::test_what_cannot_be_recorded_discards_the_job_and_does_not_run_it_again",
    ),
    Fence(
        "Recorded bytes come back as text",
        "tagged.py",
        r"partial\(b64decode, validate=True\)\),",
        "lambda text: b64decode(text).decode('latin-1')),",
        "tests/stories/test_recorded.py::test_what_was_returned_comes_back_type_by_type",
    ),
    # ── chains ──
    Fence(
        "When a held link is cancelled, the next one that is stored runs beside the head",
        "storage/sql/sqlite/enqueue_links.sql",
        r"coalesce\(held_by, excluded\.held_by\)",
        "case (select j.state from jobs j where j.chain_key = key order by j.chain_seq desc limit 1)"
        " when 'cancelled' then excluded.held_by else coalesce(held_by, excluded.held_by) end",
        "tests/storage/test_chains.py::test_the_last_link_that_is_cancelled_while_the_head_runs_lets_nobody_pass",
    ),
    Fence(
        "When the head is cancelled before it ran, the next link waits on",
        f"{SQL}/cancel.sql",
        OF_WAITING,
        "null",
        "tests/storage/test_chains.py::test_any_link_may_be_taken_out_of_its_chain",
    ),
    Fence(
        "A link that is cancelled while it waits does not hold, though it is asked to",
        f"{SQL}/advance_chains.sql",
        r"\(j\.state = 'suspended' or (instr|strpos)\(j\.chain_holds, j\.state\) > 0\)",
        "j.state = 'suspended'",
        "tests/storage/test_chains.py::test_a_link_that_is_cancelled_while_it_waits_holds_when_its_turn_comes",
    ),
    Fence(
        "A sweep lets go of a chain that is to hold",
        f"{SQL}/stage.sql",
        r"state in \('scheduled', 'retryable'\)",
        "state in ('scheduled', 'retryable', 'suspended')",
        "tests/storage/test_chains.py::test_nothing_that_a_node_does_by_itself_lets_a_held_chain_go",
    ),
    Fence(
        "When a link is deleted, the next one waits on",
        f"{SQL}/delete.sql",
        OF_WAITING,
        "null",
        "tests/storage/test_chains.py::test_a_held_chain_goes_on_when_the_held_up_link_is_deleted",
    ),
    Fence(
        "A queue that nobody works on keeps its jobs waiting unseen",
        "doctor.py",
        r"\{\*jobs, \*asked, \*at_work, \*limits\}",
        "{*asked, *at_work, *limits}",
        "tests/edges/test_cli_queues.py::test_queues_are_listed_with_their_jobs_and_the_nodes_that_work_on_them",
    ),
    # ── encryption ──
    Fence(
        "What is sealed has no integrity: it is opened whatever was altered",
        "features/sealing.py",
        r"cipher\.decrypt\(stored\[:NONCE_SIZE\], stored\[NONCE_SIZE:\], bound\)",
        "cipher.encrypt(stored[:NONCE_SIZE], stored[NONCE_SIZE:-16], bound)[:-16]",  # the same stream, and no tag
        "tests/features/test_sealing.py::test_every_single_bit_that_is_flipped_is_refused",
    ),
    Fence(
        "Messages and traces of errors lie in the clear",
        "features/encrypted.py",
        r"if not _is_ours\(outcome\):",
        "if False:",
        "tests/stories/test_encrypted.py::test_errors_are_sealed_but_for_the_name_of_their_type",
    ),
    Fence(
        "Sealed args cannot be unique",
        "features/keyed.py",
        r"await hashing\.hash_key\(\)\)",
        "job.id.encode())",  # each job's args are sealed in a way of its own, and so would be its key
        "tests/stories/test_encrypted.py::test_sealed_jobs_may_be_unique",
    ),
    # ── deadlines and names ──
    Fence(
        "A job past its deadline stays until a queue takes it",
        f"{SQL}/overdue.sql",
        r"state in \('suspended', 'scheduled', 'available', 'retryable'\)",
        "state = 'executing'",
        "tests/stories/test_endings.py::test_a_job_that_no_queue_ever_takes_is_cancelled_by_its_deadline",
    ),
    Fence(
        "A deadline for a job whose worker has none is dropped in silence",
        "features/deadline.py",
        r"if not has_one:",
        "if False:",
        "tests/features/test_deadline.py::test_a_job_may_have_none_of_its_own_where_its_worker_has_none",
    ),
    Fence(
        "A renamed worker is another one to chains and unique jobs",
        "features/aliases.py",
        r"return _oldest\.get\(name, name\)",
        "return name",
        "tests/features/test_aliases.py::test_all_names_of_a_worker_stand_for_its_oldest_one",
    ),
    # ── hooks ──
    Fence(
        "Steps that a failed need cancels call no hooks",
        "storage/aftermath.py",
        r'yield from tell_hooks\(\[job\.id for job in cancelled\], "dependency"\)',
        "pass",
        "tests/storage/test_outbox.py::test_a_cascade_leaves_a_word_for_each_step_it_cancels",
    ),
    Fence(
        "Jobs that wait past their deadline call no hooks",
        "storage/overdue.py",
        r'yield from tell_hooks\(\[job\.id for job in ended\], "deadline"\)',
        "pass",
        "tests/storage/test_outbox.py::test_a_deadline_that_passes_while_a_job_waits_leaves_a_word",
    ),
    Fence(
        "Jobs that the lifeline discards call no hooks",
        "storage/upkeep.py",
        r'yield from tell_hooks\(\[job\.id for job in ended\], "rescue"\)',
        "pass",
        "tests/storage/test_outbox.py::test_the_rule_of_poison_leaves_a_word",
    ),
    Fence(
        "A worker with a new of its own passes before_new by",
        "definition.py",
        r"return fold_new\(self\._makers, job\)",
        "is_super = __import__('sys')._getframe(1).f_globals['__name__'].startswith('tenuto.')\n"
        "        return fold_new(self._makers if is_super else self.features, job)",
        "tests/features/test_hooks.py::test_before_new_is_called_in_whatever_way_a_job_is_made",
    ),
    Fence(
        "A hook of a name that nobody calls is taken",
        "features/hook.py",
        r"if not found:",
        "if False:",
        "tests/features/test_hooks.py::test_what_cannot_be_called_as_a_hook_is_refused_at_once",
    ),
    # ── unique jobs ──
    Fence(
        "A unique link is unprotected once its turn has come",
        f"{SQL}/release_links.sql",
        r"waiting_on = 0\n(where|from)",
        r"waiting_on = 0, unique_held = (1 = 0)\n\1",
        "tests/storage/test_unique.py::test_a_link_whose_turn_has_come_is_still_unique",
    ),
    Fence(
        "Pruning opens a unique period again",
        f"{SQL}/prune_jobs.sql",
        r"and unique_until is null",
        "",
        "tests/storage/test_unique.py::test_a_job_is_not_pruned_before_its_period_is_over",
    ),
    # ── workflows ──
    Fence(
        "The end of a workflow whose last steps settle together is told by nobody",
        "storage/sql/postgres/settle_workflows.sql",
        r"w\.unfinished - d\.completed - d\.cancelled - d\.discarded - d\.deleted = 0",
        "(select count(*) from {schema}.workflow_nodes n where n.workflow_id = d.id and n.fate is null) = 0",
        "tests/storage/test_races.py::test_two_last_steps_that_settle_at_the_same_instant_finish_their_workflow_once",
    ),
    Fence(
        "Steps that wait take slots, to look whether they may run",
        "workflow.py",
        r"state = SUSPENDED if count or step\.is_group else job\.state",
        "state = job.state",
        "tests/stories/test_workflow.py::test_a_step_that_waits_takes_no_slot",
    ),
    Fence(
        "Steps whose need succeeded and was pruned are cancelled",
        "storage/upkeep.py",
        r"    return len\(gone\)\n",
        "    behind = yield reach([row[0] for row in gone])\n"
        '    rows = yield call("cancel", ids=[row[0] for row in behind], error=CANCELLED_BY_OPERATOR)\n'
        "    yield from aftermath([Ended(*row) for row in rows], {})\n"
        "    return len(gone)\n",
        "tests/storage/test_graph.py::test_a_pruned_need_still_counts",
    ),
    Fence(
        "An operator's retry touches what waits for its turn",
        f"{SQL}/retry.sql",
        r"state in \('scheduled', 'retryable', 'completed', 'cancelled', 'discarded'\)\n    and \(",
        "state not in ('available', 'executing')\n    and (true or ",
        "tests/storage/test_steer.py::test_a_job_that_is_due_running_or_waiting_is_left_alone",
    ),
    # ── nodes ──
    Fence(
        "A job that runs for long is taken for dead, and runs twice",
        f"{SQL}/dead.sql",
        r"p\.expires_at <= t\.now",
        "p.started_at < t.now",
        "tests/storage/test_rescue.py::test_jobs_of_a_live_lease_are_left_alone_however_old",
    ),
    Fence(
        "The death of a node costs its jobs an attempt",
        f"{SQL}/rescue.sql",
        r"attempt = (jobs|j)\.attempt - 1",
        r"attempt = \1.attempt",
        "tests/storage/test_rescue.py::test_a_rescue_costs_no_attempt",
    ),
    Fence(
        "A rate begins anew when the node that used it up is gone",
        "storage/upkeep.py",
        r'( +)yield call\("resign", producers=gone\)\n',
        r'\1yield call("resign", producers=gone)\n'
        r'\1yield call("spend_limits", queue="default", cost=-(10**12), most_debt=0, turn="", looked=False)\n',
        "tests/storage/test_limited.py::test_a_rate_outlives_the_node_that_used_it_up",
    ),
    Fence(
        "What was staged is counted in queues",
        "runtime/services/stager.py",
        r"count=staged\.total\(\)",
        "count=len(staged)",
        "tests/runtime/test_services.py::test_what_was_staged_is_told_in_jobs_and_not_in_queues",
    ),
]


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:], fences=DEFECTS))
