"""The app that is awaited and the one that blocks are one app: the same names, parameters, overloads and results."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_overloads

import pytest

from tenuto import app, blocking, handles, relay, schedule

FACES: list[tuple[type, type]] = [
    (app.Tenuto, blocking.Tenuto),
    (handles.WorkflowHandle, blocking.WorkflowHandle),
    (handles.QueueHandle, blocking.QueueHandle),
    (schedule.Schedule, blocking.Schedule),
    (relay.Relay, blocking.Relay),
]
NOT_ASKED = {"set_up"}  # what the app itself does to its schedule


def public(face: type) -> dict[str, Any]:
    """What a class and its bases offer, properties apart."""
    found = {name: value for base in reversed(face.__mro__) for name, value in vars(base).items() if name[0] != "_"}
    return {name: value for name, value in found.items() if not isinstance(value, property)}


PAIRS = [(awaited, waiting, name) for awaited, waiting in FACES for name in public(awaited)]
METHODS = [(awaited, waiting, name) for awaited, waiting, name in PAIRS if name not in NOT_ASKED]


def named(one: Any) -> str:
    return one.__qualname__ if isinstance(one, type) else str(one)


@pytest.mark.parametrize(("awaited", "waiting"), FACES, ids=named)
def test_both_faces_have_the_same_names(awaited, waiting):
    assert public(waiting).keys() == public(awaited).keys() - NOT_ASKED


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_has_the_same_parameters_and_gives_what_the_other_gives_when_awaited(awaited, waiting, name):
    one, other = (inspect.signature(getattr(face, name)) for face in (awaited, waiting))

    assert parameters(other) == parameters(one)
    assert said(other.return_annotation) == said(one.return_annotation)
    assert not inspect.iscoroutinefunction(getattr(waiting, name))


def parameters(signature: inspect.Signature) -> list[tuple[str, Any, Any, Any]]:
    """All but the first, which is the face itself."""
    _, *rest = signature.parameters.values()
    return [(one.name, one.kind, one.default, said(one.annotation)) for one in rest]


def said(annotation: Any) -> str:
    """A type as text, in which both faces have one name, and type variables no home."""
    text = named(annotation) if isinstance(annotation, type) else repr(annotation).strip("'")
    for _, waiting in FACES:
        text = re.sub(rf"tenuto\.\w+\.{waiting.__name__}\b", waiting.__name__, text)
    return text


def test_both_are_made_from_the_same_settings():
    one, other = (inspect.signature(face) for face in FACES[0])

    assert other.parameters == one.parameters


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_has_the_same_overloads(awaited, waiting, name):
    one, other = (overloads(getattr(face, name)) for face in (awaited, waiting))

    assert other == one


def overloads(verb: Callable[..., Any]) -> list[tuple[Any, Any]]:
    found = [inspect.signature(each) for each in get_overloads(verb)]
    return [(parameters(each), said(each.return_annotation)) for each in found]


@pytest.mark.parametrize(("awaited", "waiting", "name"), METHODS, ids=named)
def test_a_verb_says_what_it_promises(awaited, waiting, name):
    assert (getattr(waiting, name).__doc__ or "").strip()
