"""`tenuto queues` and `tenuto doctor`: how queues stand, what is asked of them, what breaks a promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenuto import Queue, Rate, Tenuto, Workflow, telemetry
from tests.edges.terminal import Ask, run_script
from tests.kit import Obey, drain, eventually

# ── queues ────────────────────────────────────────────────────────────────────────────────────────


async def queue_of(ask: Ask, name: str) -> dict[str, Any]:
    return next(queue for queue in (await ask("queues", "list", "--json")).json if queue["name"] == name)


async def test_queues_are_listed_with_their_jobs_and_the_nodes_that_work_on_them(app, ask):
    await app.enqueue([Obey.ok(queue="mail"), Obey.ok(queue="mail", schedule_in=60)])

    mail, default = await queue_of(ask, "mail"), await queue_of(ask, "default")

    assert (mail["jobs"]["available"], mail["jobs"]["scheduled"], mail["jobs"]["completed"]) == (1, 1, 0)
    assert mail["oldest_available"] is not None
    assert (len(mail["nodes"]), len(default["nodes"])) == (0, 1)
    head, *lines = (await ask("queues", "list")).lines
    assert head.split() == ["QUEUE", "NODES", "AVAIL", "SCHED", "OLDEST", "ASKED"]
    assert [line.split()[:4] for line in lines] == [["default", "1", "0", "0"], ["mail", "0", "1", "1"]]


async def test_what_is_asked_of_a_queue_is_obeyed_kept_and_listed(app, ask):
    obeyed: list[tuple[bool, int]] = []

    def see(event: str, payload: Mapping[str, Any]) -> None:
        obeyed.append((payload["paused"], payload["limit"]))

    telemetry.attach(see, "queue.signal")
    try:
        assert (await ask("queues", "pause", "default")).out == "default paused on every node\n"
        await ask("queues", "scale", "default", "3")
        await eventually(lambda: (True, 3) in obeyed)
    finally:
        telemetry.detach(see)
    job = await app.enqueue(Obey.ok())

    asked = await queue_of(ask, "default")
    assert (asked["paused"], asked["slots"], (await app.fetch(job)).state) == (True, 3, "available")
    assert "paused, 3 slots" in (await ask("queues", "list")).out

    await ask("queues", "scale", "default", "--forget")
    await ask("queues", "resume", "default")
    asked = await queue_of(ask, "default")
    assert (asked["paused"], asked["slots"]) == (False, None)
    await drain(app)


async def test_a_queue_is_started_and_stopped_on_nodes_that_run(app, ask):
    await ask("queues", "start", "mail", "2")
    job = await app.enqueue(Obey.ok(queue="mail"))
    await eventually(lambda: done(app, job.id))

    await ask("queues", "stop", "mail")

    asked = await queue_of(ask, "mail")
    assert (asked["running"], asked["slots"]) == (False, 2)


async def done(app: Tenuto, id: str) -> bool:
    return (await app.fetch(id)).state == "completed"


async def test_a_queue_is_limited_over_all_nodes_and_what_holds_is_listed(app, ask):
    said = await ask("queues", "limit", "default", "3", "--rate", "60/m", "--partition-limit", "1")
    more = await ask("queues", "limit", "default", "--rate", "none", "--partition-rate", "10/s burst 1")

    asked = await queue_of(ask, "default")
    assert said.out == "default over all nodes: 3 at once, 60/m, 1 of each partition at once\n"
    assert more.out.startswith("default over all nodes: 3 at once, 1 of each partition at once, 10/s burst 1")
    assert (asked["limits"], asked["limits_asked"], asked["tokens"]) == (
        {"limit": 3, "rate": None, "partition_limit": 1, "partition_rate": "10/s burst 1"},
        True,
        None,
    )
    head, line = (await ask("queues", "list")).lines
    assert "LIMITS" in head
    assert "0/3 at once, 1 of each partition at once" in line


async def test_what_is_asked_of_a_queue_is_told_as_json(app, ask):
    paused = (await ask("queues", "pause", "default", "--json")).json
    limited = (await ask("queues", "limit", "default", "3", "--rate", "60/m", "--json")).json
    forgotten = (await ask("queues", "limit", "nobodys", "--forget", "--json")).json

    assert paused == {"queue": "default", "node": None, "told": "paused"}
    assert limited == {
        "queue": "default",
        "limits": {"limit": 3, "rate": "60/m", "partition_limit": None, "partition_rate": None},
    }
    assert not any(forgotten["limits"].values())


async def test_limits_that_are_forgotten_are_those_of_programs(open_app, ask):
    await open_app(queues={"default": Queue(10, limit=5, rate=Rate(60, per=60))})
    await ask("queues", "limit", "default", "none")

    forgotten = await ask("queues", "limit", "default", "--forget")

    assert forgotten.out == "default over all nodes: 5 at once, 60/m\n"
    assert "0/5 at once, 60/m (60 left)" in (await ask("queues", "list")).out


async def test_a_limit_that_cannot_be_is_refused(app, ask):
    refusals = [
        await ask("queues", "limit", "default"),
        await ask("queues", "limit", "default", "3", "--forget"),
        await ask("queues", "limit", "default", "many"),
        await ask("queues", "limit", "default", "0"),
        await ask("queues", "limit", "default", "--rate", "60"),
    ]

    assert {said.code for said in refusals} == {2}
    assert [
        told in said.err for told, said in zip(["give a", "give a", "'many'", "limit=0", "60/m"], refusals, strict=True)
    ] == [True] * 5
    assert (await queue_of(ask, "default"))["limits"]["limit"] is None


async def test_one_node_can_be_asked_alone(open_app, ask):
    await open_app(queues={"default": 1}, node="web-1")

    said = await ask("queues", "pause", "default", "--node", "web-1")

    asked = await queue_of(ask, "default")
    assert (said.out, said.err) == ("default paused on web-1\n", "")
    assert (asked["paused"], [(one["node"], one["paused"]) for one in asked["asked_of_nodes"]]) == (
        False,
        [("web-1", True)],
    )


async def test_asking_a_queue_or_a_node_that_nobody_knows_is_kept_and_doubted(app, ask):
    queue = await ask("queues", "pause", "defualt")
    node = await ask("queues", "pause", "default", "--node", "web-9")

    assert (queue.code, queue.err) == (
        0,
        "tenuto: no live node works on defualt; the setting is kept for when one comes\n",
    )
    assert "no live node is named web-9" in node.err


# ── doctor ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_doctor_finds_nothing_where_all_is_well(app, ask):
    await app.enqueue(Obey.snooze(60))
    await drain(app)

    said = await ask("doctor")

    assert said.code == 0
    assert all(line.startswith("✓ ") for line in said.lines)
    assert [finding["is_well"] for finding in (await ask("doctor", "--json")).json] == [True] * len(said.lines)


async def test_the_doctor_names_workers_that_no_live_node_knows(store, ask):
    await store.enqueue([Obey.ok(), Obey.ok()])

    said, as_json = await ask("doctor"), await ask("doctor", "--json")

    assert (said.code, as_json.code) == (1, 1)
    assert (
        "✗ every unfinished job's worker is known to a live node\n    obey  2 unfinished jobs\n  → start a node"
        in said.out
    )
    assert as_json.json[-1]["broken"] == [{"id": "obey", "detail": "2 unfinished jobs"}]


async def test_the_doctor_finds_what_breaks_a_promise(store, ask, database_url):
    flow = Workflow()
    flow.add("a", Obey.ok())
    flow.add("b", Obey.ok(), deps=["a"])
    await store.enqueue(flow)
    schema = "" if database_url.startswith("sqlite") else "tenuto."
    run_script(database_url, f"update {schema}jobs set waiting_on = 2 where state = 'suspended'")

    said = await ask("doctor")

    assert said.code == 1
    assert "✗ a suspended job waits for the needs it says, or for its turn in a chain" in said.out
    assert flow.jobs["b"].id in said.out


async def test_the_doctor_tells_how_every_live_node_feels(open_app, ask):
    await open_app(queues={"default": 1, "mail": 2}, node="web-1")

    said, as_json = await ask("doctor", "--node"), (await ask("doctor", "--node", "--json")).json

    assert said.code == 0
    assert "web-1:" in said.out
    assert "default, mail" in said.out
    assert said.lines[-1] == "no job is due"
    (node,) = as_json["nodes"]
    assert (node["queues"], as_json["oldest_available"]) == (["default", "mail"], None)
    assert "obey" in node["workers"]
