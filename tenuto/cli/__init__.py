"""Edges, the command line: `tenuto work`, `jobs`, `queues`, `workflows`, `doctor`, `migrate`, `version`.

In this room: format, parse, ask the app. Not in this room: reach past the app into runtime or storage.
"""

from tenuto.cli.root import main

__all__ = ["main"]
