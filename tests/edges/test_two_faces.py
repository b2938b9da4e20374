"""The app that is awaited and the one that blocks are one app: the same names, parameters, overloads and results."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_overloads

import pytest

from tenuto import app, blocking, handles, schedule

FACES: list[tuple[type, type]] = [
    (app.Tenuto, blocking.Tenuto),
    (handles.WorkflowHandle, blocking.WorkflowHandle),
    (handles.QueueHandle, blocking.QueueHandle),
    (schedule.Schedule, blocking.Schedule),
]
NOT_ASKED = {"set_up"}  # what the app itself does to its schedule
PAIRS = [(awaited, waiting, name) for awaited, waiting in FACES for name in vars(awaited) if name[0] != "_"]
METHODS = [(awaited, waiting, name) for awaited, waiting, name in PAIRS if name not in NOT_ASKED]


def named(one: Any) -> str:
    return one.__qualname__ if isinstance(one, type) else str(one)


@pytest.mark.parametrize(("awaited", "waiting"), FACES, ids=named)
def test_both_faces_have_the_same_names(awaited, waiting):
    of_awaited = {name for name in vars(awaited) if name[0] != "_"}
    of_waiting = {name for name, value in vars(waiting).items() if name[0] != "_" and not isinstance(value, property)}

    assert of_waiting == of_awaited - NOT_ASKED


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_has_the_same_parameters_and_gives_what_the_other_gives_when_awaited(awaited, waiting, name):
    one, other = (inspect.signature(getattr(face, name)) for face in (awaited, waiting))

    assert parameters(other) == parameters(one)
    assert other.return_annotation == dict(FACES).get(one.return_annotation, one.return_annotation)
    assert not inspect.iscoroutinefunction(getattr(waiting, name))


def parameters(signature: inspect.Signature) -> list[tuple[str, Any, Any, Any]]:
    """All but the first, which is the face itself."""
    _, *rest = signature.parameters.values()
    return [(one.name, one.kind, one.default, one.annotation) for one in rest]


def test_both_are_made_from_the_same_settings():
    one, other = (inspect.signature(face) for face in FACES[0])

    assert other.parameters == one.parameters


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_has_the_same_overloads(awaited, waiting, name):
    one, other = (overloads(getattr(face, name)) for face in (awaited, waiting))

    assert other == one


def overloads(verb: Callable[..., Any]) -> list[tuple[Any, Any]]:
    found = [inspect.signature(each) for each in get_overloads(verb)]
    return [(parameters(each), each.return_annotation) for each in found]


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_says_what_it_promises(awaited, waiting, name):
    assert (getattr(waiting, name).__doc__ or "").strip()
