"""Naming: what a worker is called, by what others import its module, and where it is written.

A worker's name is `module.qualname`, where a script counts by its file's name; `name=` replaces it.
"""

import sys
from collections.abc import Callable, Mapping
from inspect import unwrap
from os.path import realpath
from pathlib import PurePath
from typing import Any


def name_of(worker: Any, options: Mapping[str, Any]) -> str:
    """What it is given, or else its module and its own name."""
    name: str = options["name"] if "name" in options else f"{importable(worker.__module__)}.{worker.__qualname__}"
    return name


def importable(module: str) -> str:
    """The name with which others import a module: a script counts by its file, and one run with -m by its own."""
    if module in ("__main__", "__mp_main__"):
        found = sys.modules[module]
        spec, file = getattr(found, "__spec__", None), getattr(found, "__file__", None)
        module = spec.name if spec is not None else PurePath(file).stem if file else module
    return module


def origin_of(worker: Any, code: Callable[..., Any]) -> tuple[str, str, int]:
    """Where a worker is written: a module that is loaded twice defines the same ones again."""
    name: str = worker.__qualname__
    if worker.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        return (name, "", 0)  # at a prompt or in a notebook, where the last one counts
    place = unwrap(code).__code__
    return (name, realpath(place.co_filename), place.co_firstlineno)
