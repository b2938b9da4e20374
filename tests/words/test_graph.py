"""The order of steps: after their deps, in the order of adding, or the circle that forbids it."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import CycleFound, UnknownDependency
from tenuto.graph import order

MANY = 100_000


@st.composite
def graphs(draw):
    """Steps that may be added in any order, each with deps among those of lower rank."""
    count = draw(st.integers(0, 12))
    deps = {
        f"s{n}": [f"s{dep}" for dep in draw(st.lists(st.integers(0, n - 1), max_size=4))] if n else []
        for n in range(count)
    }
    return {step: deps[step] for step in draw(st.permutations(list(deps)))}


@st.composite
def graphs_with_a_circle(draw):
    """A graph in which some steps, one or more, were joined to a ring."""
    deps = draw(graphs().filter(bool))
    ring = draw(st.lists(st.sampled_from(list(deps)), min_size=1, unique=True))
    for step, needed in zip(ring, [*ring[1:], ring[0]], strict=True):
        deps[step] = [*deps[step], needed]
    return deps


@given(graphs())
def test_every_step_comes_once_and_after_its_deps(deps):
    ordered = order(deps)

    place = {step: n for n, step in enumerate(ordered)}
    assert sorted(ordered) == sorted(deps)
    assert all(place[dep] < place[step] for step, needs in deps.items() for dep in needs)


@given(graphs())
def test_of_the_steps_that_could_come_next_the_first_added_comes_first(deps):
    ordered = order(deps)

    done: set[str] = set()
    for step in ordered:
        assert step == next(name for name in deps if name not in done and done.issuperset(deps[name]))
        done.add(step)


@given(graphs_with_a_circle())
def test_a_circle_is_refused_with_its_closed_path(deps):
    with pytest.raises(CycleFound) as caught:
        order(deps)

    path = caught.value.path
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1 >= 1
    assert all(needed in deps[step] for step, needed in pairwise(path))


@given(graphs_with_a_circle())
def test_the_path_of_a_circle_begins_with_the_step_added_first(deps):
    with pytest.raises(CycleFound) as caught:
        order(deps)

    places = [list(deps).index(step) for step in caught.value.path]
    assert places[0] == min(places)


def test_no_steps_have_an_empty_order():
    assert order({}) == []


def test_free_steps_keep_the_order_of_adding():
    assert order({"c": [], "a": [], "b": []}) == ["c", "a", "b"]


def test_a_dep_may_be_added_after_the_step_that_names_it():
    assert order({"join": ["b", "a"], "a": [], "b": []}) == ["a", "b", "join"]


def test_a_dep_named_twice_counts_once():
    assert order({"a": [], "b": ["a", "a"]}) == ["a", "b"]


@pytest.mark.parametrize(
    ("deps", "path"),
    [
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"a": ["a"]}, ("a", "a")),
        ({"x": [], "c": ["a", "x"], "a": ["b"], "b": ["c"]}, ("c", "a", "b", "c")),
        ({"behind": ["b"], "a": ["b"], "b": ["a"]}, ("a", "b", "a")),
    ],
)
def test_the_path_of_a_circle_is_closed_and_each_waits_for_the_next(deps, path):
    with pytest.raises(CycleFound) as caught:
        order(deps)

    assert caught.value.path == path


def test_an_unknown_dep_is_named_with_its_step():
    with pytest.raises(UnknownDependency) as caught:
        order({"a": [], "b": ["a", "gone"]})

    assert (caught.value.step, caught.value.dep) == ("b", "gone")


def test_an_unknown_dep_is_told_before_a_circle():
    with pytest.raises(UnknownDependency):
        order({"a": ["b"], "b": ["a"], "c": ["gone"]})


def test_a_long_chain_has_an_order_whatever_the_order_of_adding():
    deps = {f"s{n}": [f"s{n - 1}"] if n else [] for n in range(MANY)}
    shuffled = list(deps)
    Random(1).shuffle(shuffled)

    assert order({step: deps[step] for step in shuffled}) == list(deps)


def test_a_wide_join_has_an_order():
    branches = [f"s{n}" for n in range(MANY)]

    assert order({"join": branches, **{step: [] for step in branches}}) == [*branches, "join"]


def test_a_long_circle_is_told_whole():
    ring = [f"s{n}" for n in range(MANY)]

    with pytest.raises(CycleFound) as caught:
        order({step: [needed] for step, needed in zip(ring, [*ring[1:], ring[0]], strict=True)})

    assert caught.value.path == (*ring, "s0")
