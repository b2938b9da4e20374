"""Waits: the signals for which an attempt ends, so that its job is run again when one of them has come."""

from collections.abc import Mapping
from datetime import timedelta
from typing import cast


class Waits(BaseException):
    """The attempt ends here, and its job waits for signals: each by its name, for so long or (None) for ever.

    It goes through the code of a job as a cancel does. Whoever catches it lets it pass.
    """

    def __init__(self, names: Mapping[str, timedelta | None]) -> None:
        super().__init__(*names)
        self.names = names


def ungrouped(error: BaseException) -> BaseException:
    """The same error; of a group in which nothing but waits are, as several tasks raise them, one of these."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    raised = [ungrouped(each) for each in group.exceptions]
    return raised[0] if all(isinstance(each, Waits) for each in raised) else group
