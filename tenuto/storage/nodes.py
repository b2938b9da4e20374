"""Nodes: the steps of a workflow and what each needs, as they are stored beside their jobs."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from tenuto import codec
from tenuto.graph import GROUP, Edge, Node
from tenuto.job import SUSPENDED, Job
from tenuto.storage.aftermath import Settled, complete
from tenuto.storage.database import Verb, call

CHUNK: Final = 5000  # rows in one document


def lay(workflow_id: str, nodes: Sequence[Node], edges: Sequence[Edge]) -> Verb[None]:
    """Store steps and their needs; their jobs are stored already."""
    for part in _chunks(nodes):
        yield call("enqueue_nodes", workflow_id=workflow_id, nodes=[_node(node) for node in part])
    for some in _chunks(edges):
        yield call("enqueue_edges", edges=[_said(edge) for edge in some])


def complete_new(jobs: Sequence[Job[Any, Any]]) -> Verb[Settled]:
    """End the groups among new jobs that have nothing to wait for, with all that follows."""
    ready = [job.id for job in jobs if job.worker == GROUP and job.state is SUSPENDED and not job.waiting_on]
    return (yield from complete(ready))


def _node(node: Node) -> dict[str, Any]:
    said = _said(node)
    if node.deps:
        said["deps"] = codec.encode(list(node.deps))
    return said


def _said(row: Node | Edge) -> dict[str, Any]:
    """A row without what is usual: flags that are not set, and what there is none of."""
    return {name: value for name, value in zip(row._fields, row, strict=True) if value is not False and value != ()}


def _chunks(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
