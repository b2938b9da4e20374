"""Options that several commands have, each spelled once."""

from typing import Annotated, Any, TypeAlias

import typer

from tenuto.job import JobState

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Ids: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Jobs by id.")]
State: TypeAlias = Annotated[
    list[JobState] | None,
    typer.Option("--state", metavar="STATE", help=f"Jobs that are {', '.join(JobState)}; may be given again."),
]
Queue: TypeAlias = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Jobs of this queue.")]
Worker: TypeAlias = Annotated[
    str | None, typer.Option("--worker", metavar="WORKER", help="Jobs of this worker, by its full name.")
]
WorkflowId: TypeAlias = Annotated[
    str | None, typer.Option("--workflow", metavar="ID", help="Steps of this workflow, by its id.")
]
Tag: TypeAlias = Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Jobs with this tag.")]
Limit: TypeAlias = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="How many at most.")]
Before: TypeAlias = Annotated[str | None, typer.Option("--before", metavar="ID", help="Only older ones than this id.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")]
Node: TypeAlias = Annotated[str | None, typer.Option("--node", metavar="NODE", help="Only on the node of this name.")]


def given(**filters: Any) -> dict[str, Any]:
    """The filters that say something."""
    return {name: value for name, value in filters.items() if value not in (None, [])}
