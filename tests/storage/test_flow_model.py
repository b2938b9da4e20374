"""The state machine of test_model, with workflows that have groups, grow, are steered whole, and wait for signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tenuto import codec
from tenuto.errors import TenutoError
from tenuto.graph import GROUP, Head
from tenuto.job import Job
from tenuto.outcome import DONE, Discard, Outcome
from tenuto.storage import append, signals, workflows
from tenuto.waits import Waits
from tenuto.workflow import Workflow
from tests.storage.build import DAY, AnyJob, Flow, grouped
from tests.storage.flow_model import FlowModel
from tests.storage.tables import Row
from tests.storage.test_model import STEPS, Verbs, _instant, _weighted, on_database, outcomes, plain_outcomes

T = TypeVar("T")

SIGNALS = ("go", "stop")
FLAGS = ("ignore_cancelled", "ignore_discarded", "ignore_deleted")
NO_FLAG: dict[str, bool] = {}
flags = st.sampled_from(
    [
        *(NO_FLAG, NO_FLAG, dict.fromkeys(FLAGS, True), {"ignore_cancelled": True}),
        *({"ignore_discarded": True}, {"ignore_deleted": True}),
    ]
)
waits: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        *(Waits({"go": None}), Waits({"go": timedelta(seconds=20)}), Waits({"stop": timedelta(0)})),
        Waits({"go": None, "stop": timedelta(seconds=40)}),
    ]
)
endings: st.SearchStrategy[Outcome] = st.sampled_from([DONE, DONE, DONE, Discard("no")])


@st.composite
def flows(
    draw: st.DrawFn, /, letters: str = "abcd", needs: Sequence[str] = (), depth: int = 2, **options: Any
) -> Workflow:
    """A few steps, some of them groups; they need each other, and some of `needs`."""
    flow = Workflow(**options)
    flow_names = list(needs)
    for letter in letters[: draw(st.integers(1, len(letters)))]:
        deps = draw(st.lists(st.sampled_from(flow_names), unique=True, max_size=2)) if flow_names else []
        kind = draw(st.sampled_from(["step", "step", "many", "graft", "flow"] if depth else ["step"]))
        asked: dict[str, Any] = {"deps": deps, **draw(flags)}
        if kind == "step":
            flow.add(letter, draw(jobs()), **asked)
        elif kind == "many":
            flow.add_many(letter, draw(st.lists(jobs(), max_size=2)), **asked)
        elif kind == "graft":
            flow.add_graft(letter, draw(jobs()), **asked)
        else:
            flow.add_workflow(letter, draw(flows("ab", depth=depth - 1)), **asked)
        flow_names.append(letter)
    return flow


@st.composite
def jobs(draw: st.DrawFn) -> AnyJob:
    return Job("worker", max_attempts=draw(st.integers(1, 2)))


@st.composite
def grafted(draw: st.DrawFn) -> Workflow:
    """What an attempt computes: each time other ones of the same names."""
    flow = Workflow()
    kept = draw(st.sets(st.sampled_from(["x", "y", "0", "1", "2"]), min_size=1))
    if "x" in kept:
        flow.add("x", draw(jobs()), deps=["y"] if "y" in kept else [])
    inside = sorted(kept & {"0", "1", "2"})
    if inside:
        inner = Workflow()
        for nth, name in enumerate(inside):
            inner.add(name, draw(jobs()), deps=inside[:nth] if "x" in kept else [])
        flow.add_workflow("in", inner, deps=["graft"], **draw(flags))
    if "y" in kept:
        flow.add("y", draw(jobs()), deps=["in"] if inside else [], **draw(flags))
    return flow


class Flows(Verbs):
    """Every verb, on workflows of all kinds."""

    model: FlowModel
    model_of = FlowModel
    reviving: ClassVar[set[str]] = {"retry", "retry_steps", "graft"}
    more: ClassVar[dict[str, st.SearchStrategy[str]]] = {
        "steer": _weighted(grow=6, whole=6, signals=5, jobs=3, workflow=2),
        "grow": _weighted(append=2, graft=4),
        "whole": _weighted(cancel_steps=2, retry_steps=4),
        "signals": _weighted(send=3, look=2),
        "jobs": _weighted(cancel=4, retry=4, delete=2, postpone=1, enqueue=1),
        "keep": _weighted(time_passes=4, rescue=2, disown=1, store_result=1, resign=1, prune=1, ack=4),
    }

    # ── the verbs ──

    def _outcomes(self, job: AnyJob) -> st.SearchStrategy[Outcome]:
        return endings | waits | (outcomes if job.workflow_id else plain_outcomes)

    def _workflow(self, data: st.DataObject) -> None:
        self._enqueue_workflow(grouped(data.draw(self._new_flow())))

    @staticmethod
    def _new_flow() -> st.SearchStrategy[Workflow]:
        callback = st.builds(lambda: Job("callback", schedule_in=DAY))  # it is never due here
        unique = st.sampled_from([{}, {"unique": True, "name": "only"}])
        return st.tuples(st.none() | callback, unique).flatmap(lambda asked: flows(on_finished=asked[0], **asked[1]))

    def _enqueue_workflow(self, flow: Flow) -> None:
        if self._both(lambda: self.model.enqueue_workflow(flow), flow.enqueue) is not None:
            assert all(job.existing for job in self.run(flow.enqueue))
            self.ids += flow.ids()

    def _append(self, data: st.DataObject) -> None:
        workflow = self._some_workflow(data)
        fresh = chr(ord("e") + len(self.ids) % 20)
        letters = data.draw(st.sampled_from([f"{fresh}E", f"{fresh}F", "cd"]))  # sometimes they are there
        known = [name for name in self.model.names(workflow) if name[0] not in letters]
        added = data.draw(flows(letters, known, depth=1))
        growth = added.growth(Head(workflow))
        if self._both(lambda: self.model.append(workflow, growth), append.append, workflow, growth) is not None:
            self.ids += [job.id for job in growth.jobs]

    def _graft(self, data: st.DataObject) -> None:
        """By an attempt that runs, or by one of long ago."""
        grafts = [job for job in self.attempts if self._group_of(job) is not None]
        running = [job for job in grafts if self._epoch_now(job) == job.epoch]
        if not grafts:
            self._claim(data)
            return
        job = data.draw(st.sampled_from(running * 3 + grafts))
        group = self._group_of(job) or ""
        growth = data.draw(grafted()).growth(Head(job.workflow_id or ""), group)
        self._both(lambda: self.model.graft(job, group, growth), append.graft, job, group, growth)
        self.ids += [new.id for new in growth.jobs if new.id in self.model.jobs]

    def _cancel_steps(self, data: st.DataObject) -> None:
        workflow, names = self._some_steps(data)
        self._steered_by_names(lambda: self.model.cancel_steps(workflow, names), workflows.cancel, workflow, names)

    def _retry_steps(self, data: st.DataObject) -> None:
        (workflow, names), kept = self._some_steps(data), data.draw(st.booleans())
        self._steered_by_names(
            lambda: self.model.retry_steps(workflow, names, keep_results=kept),
            *(workflows.retry, workflow, names),
            keep_results=kept,
        )

    def _send(self, data: st.DataObject) -> None:
        target, name = (
            data.draw(st.sampled_from([*self.ids, *self.model.workflows])),
            data.draw(st.sampled_from(SIGNALS)),
        )
        both = self._both(lambda: self.model.send(target, name), signals.send, target, name, "1")
        if both is not None:
            (is_first, woken), sent = both
            assert (sent.is_first, sorted(sent.settled.ids)) == (is_first, sorted(woken))

    def _look(self, data: st.DataObject) -> None:
        """What an attempt sees of a signal; and where its time is over, it is so for good."""
        if self.attempts:
            job, name = data.draw(st.sampled_from(self.attempts)), data.draw(st.sampled_from(SIGNALS))
            asked = (job.id, job.workflow_id or job.id)
            assert self._seen(signals.look, *asked, name) == self.model.look(*asked, name)
            assert self._seen(signals.time_out, *asked, name) == self.model.time_out(*asked, name)

    # ── what they are made of ──

    def _both(
        self, foretold: Callable[[], T], verb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> tuple[T, Any] | None:
        """What the model and the database answer; nothing where both refuse, for the same reason."""
        try:
            expected = foretold()
        except TenutoError as refusal:
            with pytest.raises(type(refusal)):
                self.run(verb, *args, **kwargs)
            return None
        return expected, self.run(verb, *args, **kwargs)

    def _steered_by_names(self, foretold: Callable[[], list[str]], verb: Any, *args: Any, **kwargs: Any) -> None:
        both = self._both(foretold, verb, *args, **kwargs)
        if both is not None:
            expected, steered = both
            assert sorted(steered.ids) == sorted(expected)
            assert sorted(finished.id for finished in steered.settled.finished) == sorted(self.model.finished)

    def _seen(self, verb: Callable[..., Any], id: str, owner: str, name: str) -> tuple[bool, bool]:
        found = self.run(verb, id, owner, [name])
        return found.value is not None, found.open == [name]

    def _some_workflow(self, data: st.DataObject) -> str:
        if not self.model.workflows:
            self._enqueue_workflow(grouped(data.draw(flows())))
        return data.draw(st.sampled_from(list(self.model.workflows)))

    def _some_steps(self, data: st.DataObject) -> tuple[str, list[str]]:
        """A workflow, and of half of the times some names in it."""
        workflow = self._some_workflow(data)
        known = list(self.model.names(workflow))
        return workflow, data.draw(st.just([]) | st.lists(st.sampled_from(known), max_size=2, unique=True))

    def _group_of(self, job: AnyJob) -> str | None:
        """The group that a running step may fill."""
        step = self.model.steps.get(job.id)
        return step.node.parent if step is not None and step.node.name.endswith("/graft") else None

    # ── what must hold after each of them ──

    def _rows_are_the_models(self, after: dict[str, list[Row]]) -> None:
        callbacks = [row for row in after["jobs"] if row["worker"] == "callback"]
        super()._rows_are_the_models({**after, "jobs": [row for row in after["jobs"] if row["worker"] != "callback"]})
        self._each_finish_was_told_once(callbacks)
        self._groups_end_with_their_members(after)
        self._signals_are_the_models(after)

    def _changes_are_allowed(self, before: dict[str, Row], after: list[Row]) -> None:
        """A group, which nobody runs, completes from where it waits, and waits again."""
        super()._changes_are_allowed(before, [row for row in after if row["worker"] != GROUP])
        assert {row["state"] for row in after if row["worker"] == GROUP} <= {"suspended", "completed", "cancelled"}

    def _each_finish_was_told_once(self, callbacks: Sequence[Row]) -> None:
        told = [codec.decode(row["meta"])["finished"] for row in callbacks]
        assert sorted((each["workflow_id"], each["run"], each["outcome"]) for each in told) == sorted(
            finish for finish in self.model.finishes if finish[0] in self.model.calling
        )

    def _groups_end_with_their_members(self, after: Mapping[str, Sequence[Row]]) -> None:
        """Whatever their edges say."""
        states = {row["id"]: row["state"] for row in after["jobs"]}
        nodes = after["workflow_nodes"]
        for group in nodes:
            if group["worker"] == GROUP and group["job_id"] in states:
                inside = [
                    row for row in nodes if (row["workflow_id"], row["parent"]) == (group["workflow_id"], group["name"])
                ]
                if inside and states[group["job_id"]] in ("completed", "suspended"):
                    assert (states[group["job_id"]] == "completed") == all(row["fate"] for row in inside)

    def _signals_are_the_models(self, after: Mapping[str, Sequence[Row]]) -> None:
        assert {
            (row["owner_id"], row["name"]): _instant(row["sent_at"]) for row in after["signals"]
        } == self.model.signals
        assert {
            (row["job_id"], row["name"]): (
                row["owner_id"],
                row["epoch"],
                _instant(row["deadline_at"]),
                bool(row["timed_out"]),
            )
            for row in after["signal_waits"]
        } == {key: (wait.owner, wait.epoch, wait.deadline, wait.timed_out) for key, wait in self.model.waits.items()}


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Verbs]]:
    """The state machine on a database of its own."""
    with on_database(Flows, database_url) as machine:
        yield machine


@pytest.mark.timeout(1800)
def test_the_verbs_do_to_workflows_what_the_model_does(machine: type[Any]):
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
