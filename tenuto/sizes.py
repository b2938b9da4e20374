"""Sizes: how large what is stored may be, where an app says nothing else, and the most that it can say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from tenuto.errors import InvalidLimit

ARGS_MOST: Final = 16_000_000  # bytes of stored text, as all of these
META_MOST: Final = 1_000_000
RESULT_MOST: Final = 64_000_000
RECORDED_MOST: Final = 16_000_000
ERROR_MOST: Final = 1_000_000
TEMPLATE_MOST: Final = 64_000_000  # of a workflow as text, before anything of it is read

RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "args": (100, ARGS_MOST),
    "meta": (100, META_MOST),
    "result": (100, RESULT_MOST),
    "recorded": (100, RECORDED_MOST),
    "error": (4_000, ERROR_MOST),  # less would leave nothing of a traceback
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large what an app stores may be, in bytes of stored text: `Tenuto(sizes=Sizes(args=5_000_000))`.

    `args` and `meta` are a job's, `result` is what a step returns or stores, `recorded` what a recorded worker returns,
    compressed, where it says no limit of its own. What is larger is refused; only an `error`, one entry of a job's
    errors, is cut. Raises InvalidLimit for a size out of its range.
    """

    args: int = 1_000_000
    meta: int = 64_000
    result: int = 16_000_000
    recorded: int = 32_000
    error: int = 16_000

    def __post_init__(self) -> None:
        for name, given in asdict(self).items():
            least, most = RANGES[name]
            if type(given) is not int or not least <= given <= most:
                raise InvalidLimit(f"{name}={given!r:.80} is out of range: {least:,} to {most:,} bytes")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From a table of a TOML file. Raises InvalidLimit."""
        unknown = given.keys() - RANGES.keys()
        if unknown:
            raise InvalidLimit(f"there is no size of {min(map(str, unknown))!r:.80}; there are {', '.join(RANGES)}")
        return cls(**given)


USUAL: Final = Sizes()
