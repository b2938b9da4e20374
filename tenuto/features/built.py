"""Built: the features that a worker's options ask for."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tenuto.features.deadline import Deadlines
from tenuto.features.feature import Feature

MAKERS: Final[Mapping[str, Callable[[Any], Feature]]] = {
    "deadline": lambda _: Deadlines(),
}
"""What makes a feature of each option that has one; it is given the option's value."""


def built(options: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features of a worker with these options, which are checked; one that is None asks for nothing."""
    return tuple(make(options[name]) for name, make in MAKERS.items() if options.get(name) is not None)
