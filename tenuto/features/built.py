"""Built: the features that a worker's options ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from tenuto.errors import InvalidJob
from tenuto.features.chain import chained
from tenuto.features.deadline import Deadlines
from tenuto.features.encrypted import encryption
from tenuto.features.feature import Feature
from tenuto.features.partition import partitioned
from tenuto.features.recorded import recorder
from tenuto.features.recurring import recurring

Maker: TypeAlias = Callable[[Mapping[str, Any], Sequence[Feature]], Feature | None]

MAKERS: Final[Mapping[str, Maker]] = {
    "encrypted": lambda options, _: encryption(options["encrypted"]),
    "chain": lambda options, made: chained(options["chain"], made),
    "recorded": lambda options, _: recorder(options["recorded"]),
    "cron": lambda options, _: None if options["cron"] is None else recurring(options),
    "deadline": lambda options, _: None if options["deadline"] is None else Deadlines(),
    "partition": lambda options, made: partitioned(options["partition"], made),
}
"""Who makes the feature that an option asks for. It is given all of the worker's options, and what was made before."""

WITH: Final = {"timezone": "cron", "catch_up": "cron"}
"""Options that only mean something with another one."""

OPTIONS: Final = frozenset({*MAKERS, *WITH} - {"deadline"})
"""What features alone are made of: no field of a Job."""


def built(options: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features that these options ask for. Raises InvalidJob, InvalidCron."""
    for name, needed in WITH.items():
        if name in options and needed not in options:
            raise InvalidJob(f"{name}= says something of {needed}=, which is missing")
    made: list[Feature] = []
    for name, make in MAKERS.items():
        feature = make(options, made) if name in options else None
        if feature is not None:
            made.append(feature)
    return tuple(made)
