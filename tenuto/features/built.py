"""Built: the features that a worker's options ask for."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tenuto.features.encrypted import encryption
from tenuto.features.feature import Feature
from tenuto.features.recorded import recorder


def built(options: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features that these options ask for, each at most once. Raises InvalidJob for what cannot be."""
    made = (_MAKERS[name](value) for name, value in options.items())
    return tuple(feature for feature in made if feature is not None)


_MAKERS: Final[Mapping[str, Callable[[Any], Feature | None]]] = {
    "encrypted": encryption,
    "recorded": recorder,
}
BUILT: Final = tuple(_MAKERS)
"""The options that become features."""
