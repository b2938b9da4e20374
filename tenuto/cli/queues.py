"""`tenuto queues`: list them, and pause, resume, scale, limit, start or stop one."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.text import Text

from tenuto.app import Tenuto
from tenuto.cli.door import ask, helpful
from tenuto.cli.options import AsJson, Node
from tenuto.cli.output import FAINT, ago, clean, cut, document, note, say, style_of, table
from tenuto.doctor import NodeHealth, QueueStatus
from tenuto.errors import TenutoError
from tenuto.handles import QueueHandle
from tenuto.job import JobState
from tenuto.limits import Limits, Rate

Name: TypeAlias = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")]
Slots: TypeAlias = Annotated[
    int, typer.Argument(metavar="SLOTS", min=1, max=100_000, help="How many jobs at once, on each node.")
]

AtOnce: TypeAlias = Annotated[str | None, typer.Argument(metavar="[LIMIT]", help="How many jobs run at once.")]
RateOption: TypeAlias = Annotated[
    str | None, typer.Option("--rate", metavar="RATE", help="How many jobs start: 60/m, 10/s, 100/5m, 60/m burst 1.")
]
PartitionLimit: TypeAlias = Annotated[
    str | None, typer.Option("--partition-limit", metavar="LIMIT", help="How many of each partition run at once.")
]
PartitionRate: TypeAlias = Annotated[
    str | None, typer.Option("--partition-rate", metavar="RATE", help="How many of each partition start.")
]

HEADS: Final[Mapping[JobState, str]] = {
    JobState.AVAILABLE: "avail",
    JobState.EXECUTING: "exec",
    JobState.SCHEDULED: "sched",
    JobState.RETRYABLE: "retry",
    JobState.SUSPENDED: "susp",
    JobState.COMPLETED: "compl",
    JobState.CANCELLED: "cancel",
    JobState.DISCARDED: "discard",
}

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List queues; pause, resume, scale, limit, start and stop them."
)


# ── list ──────────────────────────────────────────────────────────────────────────────────────────


@commands.command("list")
def list_queues(context: typer.Context, as_json: AsJson = False) -> None:
    """List queues: jobs by state, what was asked of them, and the live nodes that work on them."""
    found = ask(context, lambda app: app.queues())
    if as_json:
        document([_whole(queue) for queue in found])
    elif found:
        _print_list(found)
    else:
        note("no queue holds a job, and no node works on one")


def _whole(queue: QueueStatus) -> dict[str, Any]:
    return {
        "name": queue.name,
        "jobs": {str(state): queue.jobs.get(state, 0) for state in JobState},
        "oldest_available": queue.oldest_available,
        "paused": queue.paused,
        "running": queue.running,
        "slots": queue.slots,
        "nodes": queue.nodes,
        "limits": _plain(queue.limits),
        "limits_asked": queue.limits_asked,
        "tokens": queue.tokens,
        "asked_of_nodes": [
            {"node": one.node, "paused": one.paused, "running": one.running, "slots": one.slots} for one in queue.asked
        ],
    }


def _print_list(queues: list[QueueStatus]) -> None:
    """A column for each state in which there is any job at all."""
    states = [state for state in HEADS if any(queue.jobs.get(state) for queue in queues)]
    limits = ["limits"] if any(any(queue.limits) or queue.limits_asked for queue in queues) else []
    made = table("queue", ">nodes", *(f">{HEADS[state]}" for state in states), ">oldest", *limits, "~asked")
    for queue in queues:
        made.add_row(
            clean(queue.name),
            _nodes(queue),
            *(_count(state, queue.jobs.get(state, 0)) for state in states),
            ago(queue.oldest_available).removesuffix(" ago"),
            *(_limits(queue) for _ in limits),
            _asked(queue),
        )
    say(made)


def _nodes(queue: QueueStatus) -> Text:
    is_deserted = not queue.nodes and bool(queue.oldest_available)
    return Text(str(len(queue.nodes)), "red" if is_deserted else "")


def _count(state: str, jobs: int) -> Text:
    return Text(f"{jobs:,}", style_of(state) if jobs else FAINT)


def _limits(queue: QueueStatus) -> Text:
    """What holds over all nodes, how much of it is used, and whether an operator said it."""
    limits, running = queue.limits, queue.jobs.get("executing", 0)
    told = [
        f"{running}/{limits.limit} at once" if limits.limit is not None else "",
        f"{limits.rate} ({queue.tokens} left)" if limits.rate is not None else "",
        str(limits._replace(limit=None, rate=None)),
        "none" if not any(limits) and queue.limits_asked else "",
        "asked" if queue.limits_asked else "",
    ]
    is_full = limits.limit is not None and running >= limits.limit
    return Text(", ".join(filter(None, told)), "yellow" if is_full else "")


def _plain(limits: Limits) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Rate) else value for name, value in limits._asdict().items()}


def _asked(queue: QueueStatus) -> Text:
    told = [_wishes(queue.paused, queue.running, queue.slots)]
    told += [f"{one.node}: {_wishes(one.paused, one.running, one.slots)}" for one in queue.asked]
    return cut("; ".join(filter(None, told)), "yellow" if queue.paused or queue.running is False else "")


def _wishes(paused: bool | None, running: bool | None, slots: int | None) -> str:
    words = ["paused" if paused else "", "stopped" if running is False else "", f"{slots} slots" if slots else ""]
    return ", ".join(filter(None, words))


# ── steer ─────────────────────────────────────────────────────────────────────────────────────────


@commands.command()
def pause(context: typer.Context, queue: Name, node: Node = None, as_json: AsJson = False) -> None:
    """Claim nothing more from a queue; what runs goes on."""
    _tell(context, queue, node, lambda handle: handle.pause(node=node), "paused", as_json)


@commands.command()
def resume(context: typer.Context, queue: Name, node: Node = None, as_json: AsJson = False) -> None:
    """Claim from a paused queue again."""
    _tell(context, queue, node, lambda handle: handle.resume(node=node), "resumed", as_json)


@commands.command()
def scale(
    context: typer.Context,
    queue: Name,
    slots: Annotated[
        int | None, typer.Argument(metavar="[SLOTS]", min=1, max=100_000, help="How many jobs at once, on each node.")
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Instead of SLOTS: as many as each node was configured with.")
    ] = False,
    node: Node = None,
    as_json: AsJson = False,
) -> None:
    """Run at most SLOTS jobs of a queue at once on each node."""
    with helpful():
        if (slots is None) != forget:
            raise TenutoError("give SLOTS, or --forget to go back to what each node was configured with")
    told = "scaled as configured" if forget else f"scaled to {slots} slots"
    _tell(context, queue, node, lambda handle: handle.scale(slots, node=node), told, as_json)


@commands.command()
def limit(
    context: typer.Context,
    queue: Name,
    at_once: AtOnce = None,
    rate: RateOption = None,
    partition_limit: PartitionLimit = None,
    partition_rate: PartitionRate = None,
    forget: Annotated[bool, typer.Option("--forget", help="Instead: as programs say.")] = False,
    as_json: AsJson = False,
) -> None:
    """Limit a queue over all nodes: how many run at once, how many start; `none` lifts a limit."""
    words = {"limit": at_once, "rate": rate, "partition_limit": partition_limit, "partition_rate": partition_rate}
    given = {name: word for name, word in words.items() if word is not None}
    with helpful():
        if bool(given) == forget:
            raise TenutoError("give a limit, or --forget to go back to what programs say")
        limits: dict[str, Any] = {name: _limit_of(name, word) for name, word in given.items()}

    async def do(app: Tenuto) -> Limits:
        handle = app.queue(queue)
        if forget:
            await handle.forget_limits()
            return await handle.limits()
        return await handle.limit(**limits)

    found = ask(context, do)
    if as_json:
        document({"queue": queue, "limits": _plain(found)})
    else:
        say(Text(f"{clean(queue)} over all nodes: {str(found) or 'no limit'}"))


def _limit_of(name: str, word: str) -> int | Rate | None:
    if word == "none":
        return None
    if name in ("rate", "partition_rate"):
        return Rate.parse(word)
    if not word.isdecimal():
        raise TenutoError(f"{word!r:.80} is no limit; give a whole number, or none")
    return int(word)


@commands.command()
def start(context: typer.Context, queue: Name, slots: Slots, node: Node = None, as_json: AsJson = False) -> None:
    """Work on a queue, also on nodes that were not configured for it."""
    told = f"started with {slots} slots"
    _tell(context, queue, node, lambda handle: handle.start(slots, node=node), told, as_json)


@commands.command()
def stop(context: typer.Context, queue: Name, node: Node = None, as_json: AsJson = False) -> None:
    """Work on a queue no more; running jobs get the grace, then go back."""
    _tell(context, queue, node, lambda handle: handle.stop(node=node), "stopped", as_json)


def _tell(
    context: typer.Context,
    queue: str,
    node: str | None,
    act: Callable[[QueueHandle], Awaitable[None]],
    told: str,
    as_json: bool,
) -> None:
    async def do(app: Tenuto) -> None:
        await act(app.queue(queue))
        _doubt(queue, node, await app.nodes())

    ask(context, do)
    if as_json:
        document({"queue": queue, "node": node, "told": told})
    else:
        say(Text(f"{clean(queue)} {told} on {'every node' if node is None else clean(node)}"))


def _doubt(queue: str, node: str | None, live: tuple[NodeHealth, ...]) -> None:
    """Say so where nobody is there to obey: a name may be mistyped."""
    if node is not None and not any(_name(one) == node for one in live):
        note(f"no live node is named {node}; the setting is kept for when one comes")
    elif node is None and not any(queue in one.queues for one in live):
        note(f"no live node works on {queue}; the setting is kept for when one comes")


def _name(node: NodeHealth) -> str:
    """The name operators gave it: its id without the process and the start."""
    return node.node.rsplit(":", 2)[0]
