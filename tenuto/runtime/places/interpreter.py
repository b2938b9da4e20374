"""Interpreter: the options of this Python, so that one that it starts behaves as it does."""

import sys
from collections.abc import Mapping
from typing import Final

LETTERS: Final = {  # of Python's options, by their names in sys.flags
    "optimize": "O",
    "dont_write_bytecode": "B",
    "ignore_environment": "E",
    "no_user_site": "s",
    "isolated": "I",
}


def options_of_python() -> list[str]:
    """The options of this interpreter, as far as it knows them: one letter each, -X and -W."""
    letters = [f"-{letter * getattr(sys.flags, flag)}" for flag, letter in LETTERS.items() if getattr(sys.flags, flag)]
    given: Mapping[str, str | bool] = sys._xoptions  # pyright: ignore[reportPrivateUsage] - documented, with this name
    named = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in given.items()]
    return [*letters, *named, *(f"-W{each}" for each in sys.warnoptions)]
