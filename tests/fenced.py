"""A fence, and those of results as args; `tests.fences` holds all of them."""

from __future__ import annotations

from typing import NamedTuple


class Fence(NamedTuple):
    """What holds (as docs/guarantees.md says it), where, and the test that goes red without it."""

    promise: str
    files: str  # one glob under tenuto/: with an SQL statement, both twins
    without: str  # a regular expression
    instead: str
    test: str


REFERENCES = [
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
        r'"closed": closed\}',
        '"closed": {}}',
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
]
