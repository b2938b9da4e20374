"""The fences of whole workflows: results as args, growing, steering, signals, what models cost."""

from __future__ import annotations

from tests.fence import SQL, Fence

LOCKED_WITHIN = r"""locked as materialized (
    select id from {schema}.workflows
    where id in (select j.workflow_id from a join {schema}.jobs j on j.id = a.id)
    order by id
    for no key update
),
b as materialized (
\1
    from t, (select count(*) from locked) l, a
"""

OF_WORKFLOWS = [
    Fence(
        "A reference with nothing in its place discards the step",
        "features/waiting.py",
        r"raise Unfilled\((InvalidArgs\(worker, filling\.problems\))\)",
        "raise InvalidArgs(worker, filling.problems)",
        "tests/stories/test_references.py::test_a_place_that_is_not_there_fails_the_attempt_and_is_named",
    ),
    Fence(
        "And process is not called",
        "features/waiting.py",
        r"if filling\.problems:",
        "if False:",
        "tests/features/test_waiting.py::test_a_step_that_stored_nothing_is_told",
    ),
    Fence(
        "A result that takes the place of a reference is checked by what the step declares",
        "features/args.py",
        r"return self\._cast\(args\)",
        "return args",
        "tests/features/test_waiting.py::test_a_value_that_does_not_fit_is_told_with_where_it_came_from",
    ),
    Fence(
        "A sealed result that stays closed takes no such place",
        "features/waiting.py",
        r"if reference\.step in self\._needs\.closed:",
        "if False:",
        "tests/features/test_waiting.py::test_a_result_that_could_not_be_opened_says_why",
    ),
    Fence(
        "Nor does it in another process",
        "runtime/places/parcel.py",
        r'"closed": closed,',
        '"closed": {},',
        "tests/runtime/test_parcel.py::test_why_a_result_stays_closed_arrives_as_it_was_told",
    ),
    Fence(
        "No key is made of a result that is not there yet",
        "features/keyed.py",
        r"        _refuse_references\(job, parts\)",
        "        pass",
        "tests/stories/test_references.py::test_no_unique_key_is_made_of_one",
    ),
    Fence(
        "A step takes no result of another workflow",
        "workflow.py",
        r"if reference\.workflow_id != self\.id and .+:",
        "if False:",
        "tests/features/test_waiting.py::test_a_reference_to_a_step_of_another_workflow_is_refused",
    ),
    Fence(
        "A stored step is given no other references",
        "options.py",
        r'if \(reference := next\(references\(changes\.get\("args"\)\), None\)\) is not None:',
        "if (reference := None) is not None:",
        "tests/stories/test_references.py::test_neither_meta_nor_changed_args_hold_one",
    ),
    Fence(
        "A workflow as text is refused by its size before it is read",
        "template.py",
        r"if len\(text\) > TEMPLATE_MOST or .+:",
        "if False:",
        "tests/definitions/test_template.py::test_a_text_that_is_too_large_is_refused_before_it_is_read",
    ),
    Fence(
        "A step behind one that has ended does not wait for it",
        "storage/append.py",
        r"if name in hanging and _fate\(place, held\) is not None\]",
        "if False]",
        "tests/stories/test_growing.py::test_a_step_behind_one_that_has_ended_runs_at_once",
    ),
    Fence(
        "Nothing is added to a workflow that has finished",
        f"{SQL}/grow_workflow.sql",
        r"and state = 'running'",
        "",
        "tests/stories/test_growing.py::test_nothing_is_added_to_a_workflow_that_has_finished",
    ),
    Fence(
        "A graft leaves the steps that an earlier attempt added as they are",
        "storage/append.py",
        r"if node\.name not in there\]",
        "]",
        "tests/stories/test_growing.py::test_a_second_attempt_adds_only_what_is_new",
    ),
    Fence(
        "An attempt that lost its job adds nothing to its group",
        "storage/append.py",
        r"if held\.get\(job\.id\) != \(EXECUTING, job\.epoch\):",
        "if False:",
        "tests/stories/test_growing.py::test_an_attempt_that_lost_its_job_adds_nothing",
    ),
    Fence(
        "A group completes with the last of its members, and not before",
        "storage/aftermath.py",
        r"state == SUSPENDED and left == 0",
        "state == SUSPENDED",
        "tests/storage/test_groups.py::test_a_group_completes_with_the_last_of_its_members_and_releases_what_is_behind",
        also=((f"{SQL}/complete_groups.sql", r"and (j\.)?waiting_on = 0", ""),),
    ),
    Fence(
        "It waits for those that a graft adds, too",
        "storage/append.py",
        r"again = \[there\[need\.step\]\.job_id .*",
        "again: list[str] = []",
        "tests/stories/test_growing.py::test_what_is_behind_a_graft_waits_for_all_that_it_adds",
    ),
    Fence(
        "A step waits once more for a need that is run again",
        "storage/steer.py",
        r'yield call\("unmeet", ids=steps\)',
        "[]",
        "tests/storage/test_steer.py::test_a_step_waits_once_more_for_a_need_that_is_run_again",
    ),
    Fence(
        "A retry releases no step whose needs are unmet",
        f"{SQL}/retry.sql",
        r"(j\.)?waiting_on = 0 or \(",
        "true or (",
        "tests/storage/test_steer.py::test_a_step_whose_need_ended_badly_is_not_retried_alone",
    ),
    Fence(
        "A job in a child that must end is killed, with all it started",
        "runtime/places/spawned.py",
        r"os\.killpg\(self\.pid, signal\.SIGKILL\)",
        "os.kill(self.pid, signal.SIGKILL)",  # it alone
        "tests/stories/test_afar.py::test_a_cancel_kills_the_process_and_what_the_job_started",
    ),
    Fence(
        "A signal that comes while a job begins to wait for it wakes that job",
        "storage/sql/postgres/lock_job.sql",
        r"for no key update",
        "",
        "tests/storage/test_signals.py::test_a_job_that_begins_to_wait_while_the_signal_comes_is_woken",
    ),
    Fence(
        "A signal that comes while a step begins to wait for it wakes that step",
        "storage/sql/postgres/lock_workflows.sql",
        r"for no key update",
        "",
        "tests/storage/test_signals.py::test_a_step_that_begins_to_wait_while_the_signal_comes_is_woken",
    ),
    Fence(
        "Who begins to wait looks for the signal in a later statement than the one that locks",
        "storage/parking.py",
        r'yield call\("lock_workflows"[^\n]*',
        "pass",
        "tests/storage/test_signals.py::test_a_step_that_begins_to_wait_while_the_signal_comes_is_woken",
        also=(
            (
                "storage/sql/postgres/park.sql",
                r"b as materialized \(\n(.+)\n    from t, a\n",
                LOCKED_WITHIN,
            ),
        ),
    ),
    Fence(
        "An attempt that lost its job does not let it wait for a signal",
        f"{SQL}/park.sql",
        r"and j\.epoch = (a\.epoch|json_extract\(a\.value, '\$\.epoch'\))",
        "",
        "tests/storage/test_signals.py::test_an_attempt_that_was_taken_back_does_not_wait",
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
    Fence(
        "What an attempt's result says of usage counts once, however often it is said",
        "llm/usage.py",
        r"\{job\.id\} \{job\.epoch\}",
        "{object()}",
        "tests/stories/test_costs.py::test_a_result_that_is_stored_early_and_returned_says_its_usage_once",
    ),
    Fence(
        "What a model used is written though its attempt is stopped",
        "ledger.py",
        r"asyncio\.shield\(write\)",
        "write",
        "tests/stories/test_costs.py::test_what_was_used_is_kept_though_the_attempt_is_stopped_while_it_is_told",
    ),
    Fence(
        "What a model used is kept however long the database is away",
        "ledger.py",
        r"except StorageUnavailable",
        "except NotStarted",
        "tests/stories/test_costs.py::test_what_was_used_is_kept_once_when_the_database_is_away_at_that_moment",
    ),
    Fence(
        "No digit of a cost is rounded away",
        "llm/pricing.py",
        r"prec=60, traps=\[Inexact\]",
        "prec=28",
        "tests/stories/test_costs.py::test_totals_are_those_of_a_table_made_by_hand",
    ),
    Fence(
        "A model without a price is unknown in every total it is part of",
        "llm/costs.py",
        r"None if unpriced else known",
        "known",
        "tests/stories/test_costs.py::test_a_model_without_a_price_is_unknown_in_its_row_and_in_every_total_it_is_part_of",
    ),
    Fence(
        "A log holds no secret in the clear where a step is encrypted",
        "ledger.py",
        r"bool\(needs\.sealed\) and encryption_of\(job\.worker\) is None",
        "False",
        "tests/stories/test_debug.py::test_a_step_behind_an_encrypted_one_keeps_nothing_of_it_in_the_clear",
    ),
    Fence(
        "What an encrypted step asks a model is sealed",
        "ledger.py",
        r"if encryption is not None and text is not None",
        "if False",
        "tests/stories/test_debug.py::test_what_an_encrypted_step_asks_is_sealed_and_opens_with_its_keys",
    ),
    Fence(
        "A step that is added while the whole is cancelled is cancelled with it",
        "storage/workflows.py",
        r"yield from _refuse_more\(workflow_id, names, chosen\)",
        "yield from ()",
        "tests/storage/test_append.py::test_a_step_that_is_added_while_the_whole_is_cancelled_is_cancelled_too",
    ),
    Fence(
        "And one that is added while the whole is retried is retried with it",
        "storage/workflows.py",
        r"yield from _refuse_more\(workflow_id, names, found\)",
        "yield from ()",
        "tests/storage/test_append.py::test_a_step_that_is_added_while_the_whole_is_retried_is_retried_too",
    ),
    Fence(
        "An append holds whatever it needs",
        "storage/append.py",
        r"    _refuse_unheld\(growth\.needs, before, there\)",
        "    pass",
        "tests/storage/test_append.py::test_a_step_whose_need_is_added_at_the_same_time_is_released_by_it",
    ),
    Fence(
        "What is added behind a group that waits again does not begin",
        "storage/append.py",
        r"    held \|= dict\.fromkeys\(again, \(SUSPENDED, 0\)\)",
        "    pass",
        "tests/storage/test_append.py::test_a_new_step_behind_a_group_that_waits_again_waits_as_well",
    ),
]
