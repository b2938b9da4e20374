"""`tenuto doctor`: whether the promises hold on the live database, and how its nodes feel."""

from typing import Annotated

import typer
from rich.text import Text

from tenuto.cli.door import BROKEN, ask
from tenuto.cli.options import AsJson
from tenuto.cli.output import FAINT, ago, clean, cut, document, note, say, table, took
from tenuto.doctor import Finding, Health, NodeHealth

MOST = 10  # of what breaks one rule, where nobody asked for JSON


def doctor(
    context: typer.Context,
    node: Annotated[
        bool, typer.Option("--node", help="Instead: how every live node feels, and the oldest job that is due.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the promises on the live database. Leaves with code 1 when one is broken."""
    if node:
        _show_health(ask(context, lambda app: app.health()), as_json)
        return
    findings = ask(context, lambda app: app.check())
    if as_json:
        document([_whole(finding) for finding in findings])
    else:
        say(*(line for finding in findings for line in _lines(finding)))
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(BROKEN)


# ── the promises ──────────────────────────────────────────────────────────────────────────────────


def _whole(finding: Finding) -> dict[str, object]:
    broken = [{"id": id, "detail": detail} for id, detail in finding.broken]
    return {"rule": finding.rule, "is_well": finding.is_well, "broken": broken, "advice": finding.advice}


def _lines(finding: Finding) -> list[Text]:
    if finding.is_well:
        return [Text.assemble(("✓ ", "green"), finding.rule)]
    lines = [Text(f"✗ {finding.rule}", "red")]
    lines += [Text(f"    {clean(id)}  {clean(detail)}") for id, detail in finding.broken[:MOST]]
    if len(finding.broken) > MOST:
        lines.append(Text(f"    … {len(finding.broken) - MOST} more", FAINT))
    return [*lines, Text(f"  → {finding.advice}", "yellow")]


# ── the nodes ─────────────────────────────────────────────────────────────────────────────────────


def _show_health(health: Health, as_json: bool) -> None:
    if as_json:
        document({"nodes": health.nodes, "oldest_available": health.oldest_available})
        return
    if not health.nodes:
        note("no node is alive; start one with: tenuto work MODULE")
    else:
        _print_nodes(health.nodes)
    due = ago(health.oldest_available)
    say(Text(f"the oldest job that is due became so {due}" if due else "no job is due"))


def _print_nodes(nodes: tuple[NodeHealth, ...]) -> None:
    made = table("node", "~queues", ">up", ">lag", "~counters")
    for node in nodes:
        counters = {name: count for name, count in node.counters.items() if name != "lag"}
        told = ", ".join(f"{count} {name}" for name, count in counters.items()) or "nothing unusual"
        lag = float(node.counters.get("lag", 0.0))
        made.add_row(
            clean(node.node),
            cut(", ".join(node.queues)),
            ago(node.started_at).removesuffix(" ago"),
            Text(took(lag), "red" if lag > 1 else ""),
            cut(told),
        )
    say(made)
