"""The guide says what a wait gives at each edge; here is the test of each, so that no row is there without one."""

from __future__ import annotations

import re

import pytest

from tests.test_house import ROOT
from tests.test_seeds import functions_in

RELAY, WORKERS, LENT = (f"tests/stories/{file}.py" for file in ("test_relay", "test_relayed_workers", "test_lent"))
TESTS = {
    "it is awaited twice, at once or later": (RELAY, "test_awaiting_twice_gives_the_same_answer"),
    "the waiting process ends, and is started again": (RELAY, "test_who_waits_may_be_killed_and_ask_again"),
    "its first attempt fails": (RELAY, "test_the_first_attempt_answers_unless_retries_are_waited_for"),
    "the first wait begins while it runs": (RELAY, "test_a_running_job_may_be_awaited_from_now_on"),
    "nobody awaited it before it ended": (RELAY, "test_a_job_that_nobody_awaited_has_kept_no_value"),
    "… and it is a step": (RELAY, "test_what_a_step_kept_answers_also_where_nobody_awaited"),
    "… and it is recorded": (RELAY, "test_what_a_recorded_job_kept_answers_also_where_nobody_awaited"),
    "it is a [group](growing.md), which nobody runs": (
        "tests/stories/test_group_results.py",
        "test_a_relay_to_a_group_does_not_say_that_its_result_is_null",
    ),
    "an operator cancels it": (RELAY, "test_an_operators_cancel_answers"),
    "its node dies and it is rescued": (RELAY, "test_a_rescued_job_answers_when_it_has_run_after_all"),
    "it is discarded, since it kills its nodes": (
        "tests/storage/test_rescue.py",
        "test_who_awaits_it_is_told_that_it_was_discarded_and_why",
    ),
    "it snoozes": (RELAY, "test_with_retries_a_snooze_is_waited_for_too"),
    "it is deleted or pruned before the answer was read": (RELAY, "test_a_job_that_was_pruned_or_deleted_is_gone"),
    "its unique key is another job's": (RELAY, "test_whose_unique_key_is_taken_awaits_the_one_that_has_it"),
    "an operator retries it after it completed": (
        WORKERS,
        "test_an_operators_retry_keeps_a_value_that_answered_and_with_retries_gives_the_new_one",
    ),
    "an operator retries it after it ended otherwise": (
        WORKERS,
        "test_an_operators_retry_of_what_ended_badly_gives_it_another_answer",
    ),
    "its transaction is still open": (
        LENT,
        "test_a_wait_for_what_a_transaction_holds_is_refused_while_it_is_open_and_answers_after",
    ),
    "… and is rolled back": (LENT, "test_what_was_relayed_in_a_transaction_that_is_rolled_back_is_gone"),
    "a job waits for another one of its own full queue": (
        RELAY,
        "test_twenty_jobs_wait_for_others_of_their_own_queue_of_two",
    ),
    "… and a limit over all nodes holds that queue": (
        RELAY,
        "test_a_wait_that_a_limit_over_all_nodes_would_make_endless_is_refused",
    ),
    "a job waits for itself": (RELAY, "test_a_job_that_waits_for_itself_is_refused"),
    "… or for a later link of its own chain": (
        RELAY,
        "test_a_job_that_waits_for_a_later_link_of_its_own_chain_is_refused",
    ),
    "its value has 5 MB": (RELAY, "test_five_megabytes_come_back_whole"),
    "… or more than 16": (RELAY, "test_a_value_that_is_too_large_is_told_and_its_job_has_completed"),
    "its value cannot be stored": (RELAY, "test_a_value_that_cannot_be_stored_is_told_and_its_job_has_completed"),
    "the app is closed meanwhile": (RELAY, "test_a_wait_ends_when_the_app_is_closed"),
    "the database goes away meanwhile": (RELAY, "test_a_wait_goes_on_when_the_database_is_back"),
}


def test_the_guide_has_these_edges_and_no_others():
    page = (ROOT / "docs" / "guides" / "relay.md").read_text(encoding="utf-8")
    table = page.split("## What each edge gives")[1].split("\n\n")[1]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", table, re.MULTILINE)

    assert rows == ["when", *TESTS]


@pytest.mark.parametrize("edge", TESTS)
def test_an_edge_has_a_test_that_is_there(edge: str):
    file, name = TESTS[edge]

    assert name in functions_in(file)
