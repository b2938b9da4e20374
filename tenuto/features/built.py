"""Built: the features that a worker's options ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tenuto.features.feature import Feature
from tenuto.features.partition import partitioned


def built(options: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features that these options ask for, each at most once. Raises InvalidJob for what cannot be."""
    made: list[Feature] = []
    for name, make in _MAKERS.items():  # who makes keys of args knows the feature that seals them
        feature = make(options.get(name), made)
        if feature is not None:
            made.append(feature)
    return tuple(made)


_MAKERS: Final[Mapping[str, Callable[[Any, Sequence[Feature]], Feature | None]]] = {
    "partition": partitioned,
}
BUILT: Final = tuple(_MAKERS)
"""The options that become features."""
