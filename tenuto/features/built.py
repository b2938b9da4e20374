"""Built: the features that a worker's options ask for."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from tenuto.errors import InvalidJob
from tenuto.features.deadline import Deadlines
from tenuto.features.feature import Feature
from tenuto.features.recurring import recurring

Maker: TypeAlias = Callable[[Mapping[str, Any]], Feature]

MAKERS: Final[Mapping[str, Maker]] = {"cron": recurring, "deadline": lambda _: Deadlines()}
"""Who makes the feature that an option asks for; it is given all of the worker's options."""

WITH: Final = {"timezone": "cron", "catch_up": "cron"}
"""Options that only mean something with another one."""

OPTIONS: Final = frozenset({*MAKERS, *WITH} - {"deadline"})
"""What features alone are made of: no field of a Job."""


def built(options: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features that these options ask for. Raises InvalidJob, InvalidCron."""
    for name, needed in WITH.items():
        if name in options and needed not in options:
            raise InvalidJob(f"{name}= says something of {needed}=, which is missing")
    return tuple(make(options) for name, make in MAKERS.items() if options.get(name) is not None)
