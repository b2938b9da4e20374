"""A random workflow by its seed, and what each of its steps must come to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tenuto import Workflow
from tests.soaking import worker

STEPS = 200
LONGEST = 20  # milliseconds a step takes
FAILING = SNOOZING = 2  # steps a workflow; each waits for the stager, which comes once a second
STORING = 8  # steps that store their result before they return


@dataclass(frozen=True)
class StepPlan:
    """One step: what it waits for, what it does on its way to its value, and how long that takes."""

    name: str
    deps: tuple[str, ...]
    deed: str  # ends | fails (once) | snoozes (once) | stores
    is_async: bool
    millis: int


@dataclass(frozen=True)
class Plan:
    """A workflow that anybody who knows the seed can make again."""

    seed: str
    steps: Mapping[str, StepPlan]

    @property
    def values(self) -> dict[str, str]:
        """The value each step must come to, worked out here once more."""
        known: dict[str, str] = {}
        for step in self.steps.values():
            known[step.name] = worker.value_of(self.seed, step.name, {dep: known[dep] for dep in step.deps})
        return known

    def workflow(self) -> Workflow:
        """The same as Tenuto takes it."""
        flow = Workflow(f"soak-{self.seed}")
        for step in self.steps.values():
            make = worker.step if step.is_async else worker.plain_step
            flow.add(step.name, make.new(self.seed, step.name, step.deed, step.millis), deps=step.deps)
        return flow


def plan_of(seed: str) -> Plan:
    """A random graph: deep or wide, and at its end a step that waits for all that nobody else waits for."""
    draw = random.Random(f"plan {seed}")
    reach = draw.choice((4, 12, 40, 200))  # how far back a step may look for deps: the shorter, the deeper
    names = [f"s{nth:03}" for nth in range(STEPS - 1)]
    deeds = _deeds(draw, names)
    steps: dict[str, StepPlan] = {}
    for nth, name in enumerate(names):
        near = names[max(0, nth - reach) : nth]
        deps = tuple(sorted(draw.sample(near, min(len(near), draw.choice((0, 1, 1, 2, 2, 3, 5))))))
        is_async = deeds[name] == "stores" or draw.random() < 0.5
        steps[name] = StepPlan(name, deps, deeds[name], is_async, draw.randint(0, LONGEST))
    needed = {dep for step in steps.values() for dep in step.deps}
    sinks = tuple(name for name in names if name not in needed)
    steps["last"] = StepPlan("last", sinks, "ends", True, 1)
    return Plan(seed, steps)


def _deeds(draw: random.Random, names: list[str]) -> dict[str, str]:
    special = iter(draw.sample(names, FAILING + SNOOZING + STORING))
    return {**dict.fromkeys(names, "ends"), **dict(zip(special, _special_deeds(), strict=True))}


def _special_deeds() -> Iterator[str]:
    yield from ["fails"] * FAILING
    yield from ["snoozes"] * SNOOZING
    yield from ["stores"] * STORING


def draws_of(seed: str) -> random.Random:
    """The dice for the kills of this run; the workflow has its own."""
    digest = hashlib.sha256(f"kills {seed}".encode()).digest()
    return random.Random(digest)
