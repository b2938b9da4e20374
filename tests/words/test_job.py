"""A Job: what it refuses, what it never changes, and the one table of its states."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import InvalidJob
from tenuto.job import (
    AVAILABLE,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EXECUTING,
    RETRYABLE,
    SCHEDULED,
    SUSPENDED,
    TERMINAL,
    TRANSITIONS,
    Job,
    JobState,
    Signal,
    check_name,
    check_tags,
    id_of,
    seconds,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# ── states ────────────────────────────────────────────────────────────────────────────────────────


def test_every_state_has_its_row_in_the_table():
    assert set(TRANSITIONS) == set(JobState)


def test_only_an_operator_leads_out_of_a_terminal_state_to_be_due_or_to_wait_for_a_need():
    assert {COMPLETED, CANCELLED, DISCARDED} == TERMINAL
    assert all(TRANSITIONS[state] == {AVAILABLE, SUSPENDED} for state in TERMINAL)
    assert [state for state in JobState if state.is_terminal] == [COMPLETED, CANCELLED, DISCARDED]


def test_only_a_claimed_job_completes_or_is_discarded():
    assert [state for state in JobState if COMPLETED in TRANSITIONS[state]] == [EXECUTING]
    assert [state for state in JobState if DISCARDED in TRANSITIONS[state]] == [EXECUTING]


def test_only_an_available_job_is_claimed():
    assert [state for state in JobState if EXECUTING in TRANSITIONS[state]] == [AVAILABLE]


def test_every_unfinished_state_can_be_cancelled_and_every_state_leads_to_an_end():
    for state in set(JobState) - TERMINAL:
        assert CANCELLED in TRANSITIONS[state]
    assert {SUSPENDED, SCHEDULED, RETRYABLE}.isdisjoint(TERMINAL)


# ── what a job is ─────────────────────────────────────────────────────────────────────────────────


def test_a_job_has_an_id_of_its_own_before_it_is_stored_and_ids_grow():
    ids = [Job("w").id for _ in range(100)]

    assert len(set(ids)) == 100
    assert {UUID(id).version for id in ids} == {7}
    assert ids == sorted(ids)


def test_a_job_never_changes():
    with pytest.raises(AttributeError):
        Job("w").queue = "other"  # type: ignore[misc]


def test_args_and_meta_stay_out_of_the_text_of_a_job():
    job: Job[Any, Any] = Job("w", {"card": "4111"}, meta={"trace": "abc"})

    assert "4111" not in repr(job)
    assert "abc" not in repr(job)


def test_replace_gives_another_job_and_leaves_the_first():
    job = Job("w", {"a": 1}, priority=3)

    moved = job.replace(queue="other")

    assert (moved.queue, moved.priority, moved.id) == ("other", 3, job.id)
    assert job.queue == "default"


def test_the_stored_text_of_args_goes_with_them():
    job = Job("w", {"a": 1}).replace(encoded='{"a":1}')

    assert job.replace(queue="other").encoded == '{"a":1}'
    assert job.replace(args={"a": 2}).encoded is None
    assert job.replace(args={"a": 2}, encoded='{"a":2}').encoded == '{"a":2}'


def test_a_stored_row_becomes_a_job_as_it_is():
    assert Job.of({"id": "x", "worker": "w", "args": {}, "priority": 99}).priority == 99


def test_a_job_is_told_to_stop_by_its_signal_or_by_its_state():
    signal = Signal()
    job = Job("w").replace(signal=signal)
    before = job.cancelled

    signal.cancelled = True

    assert (before, job.cancelled) == (False, True)
    assert Job("w").replace(state=CANCELLED).cancelled


@pytest.mark.parametrize(
    "options",
    [
        {"worker": ""},
        {"queue": " "},
        {"queue": None},
        {"priority": -1},
        {"priority": 10},
        {"priority": "first"},
        {"priority": True},
        {"max_attempts": 0},
        {"max_attempts": 1_001},
        {"max_attempts": 2.5},
        {"scheduled_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"scheduled_at": "tomorrow"},
        {"scheduled_at": NOON, "schedule_in": timedelta(1)},
        {"meta": {"workflow_id": "x"}},
        {"meta": [1]},
        {"meta": None},
        {"state": "done"},
        {"state": None},
        {"state": []},
        {"tags": "mail"},
        {"tags": None},
        {"timeout": "5"},
        {"timeout": -1},
        {"schedule_in": True},
    ],
    ids=str,
)
def test_an_option_out_of_its_range_is_refused_by_its_name(options: dict[str, Any]):
    with pytest.raises(InvalidJob, match=next(iter(options)).replace("_", ".")):
        Job(**{"worker": "w", **options})


def test_a_job_made_by_hand_is_as_its_options_would_have_made_it():
    given = uuid4()

    job = Job("w", id=given.hex, state="executing", tags=[" Mail", "mail"], timeout=5, schedule_in=1.5)  # type: ignore[arg-type]

    assert (job.id, job.state, job.tags) == (str(given), EXECUTING, ("mail",))
    assert type(job.state) is JobState
    assert (job.timeout, job.schedule_in) == (timedelta(seconds=5), timedelta(seconds=1.5))


def test_a_copy_with_other_args_forgets_the_text_of_those_before():
    job = Job("w", {"a": 1}).replace(encoded='{"a":1}')

    assert replace(job, args={"a": 2}).encoded is None
    assert Job("w", {"a": 1}, encoded="no JSON").encoded is None


@pytest.mark.parametrize("id", ["", "42", 42, None])
def test_an_id_given_by_hand_is_a_uuid(id: Any):
    with pytest.raises(InvalidJob, match="UUID"):
        Job("w", id=id)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 256, "ä" * 128, 7, None])
def test_a_name_that_some_database_would_not_take_is_refused(name: Any):
    with pytest.raises(InvalidJob, match="queue"):
        check_name("queue", name)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_any_other_name_is_taken_as_it_is(name):
    if name.strip():
        assert check_name("queue", name) == name


# ── tags ──────────────────────────────────────────────────────────────────────────────────────────


def test_tags_are_trimmed_and_lower_case_and_once_each_in_their_order():
    assert check_tags([" Mail", "urgent", "MAIL", "b"]) == ("mail", "urgent", "b")


@pytest.mark.parametrize("tags", ["mail", 7, [""], [7], [None]])
def test_tags_that_are_no_texts_are_refused(tags: Any):
    with pytest.raises(InvalidJob, match="tag"):
        check_tags(tags)


# ── durations ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [90, 90.0, timedelta(seconds=90)])
def test_a_duration_is_a_timedelta_or_a_number_of_seconds(length):
    assert seconds("timeout", length) == timedelta(seconds=90)


@pytest.mark.parametrize(
    "length",
    [-1, timedelta(-1), float("nan"), float("inf"), 1e300, timedelta.max, True, "60", None, 10**400],
    ids=lambda length: str(length)[:20],
)
def test_what_is_no_duration_is_refused(length: Any):
    with pytest.raises(InvalidJob, match="timeout"):
        seconds("timeout", length)


# ── ids ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_id_is_read_from_whatever_names_a_job():
    job = Job("w")
    given = uuid4()

    assert id_of(job) == job.id
    assert id_of(given) == id_of(str(given).upper()) == id_of(given.hex) == str(given)


@pytest.mark.parametrize("id", ["", "42", 42, None, "x" * 500])
def test_what_is_no_uuid_is_no_id(id: Any):
    with pytest.raises(InvalidJob, match="UUID"):
        id_of(id)
