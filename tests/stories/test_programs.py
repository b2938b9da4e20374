"""Random programs of add, append, graft, cancel, retry, signal and kill -9, on real processes, and what must hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

from tests.programs.checker import wrong
from tests.programs.program import Program, programs
from tests.programs.running import run
from tests.servers import BinariesMissing
from tests.soaking.places import PLACES, Place

PROGRAMS = int(os.environ.get("TENUTO_PROGRAMS", "10"))  # on each database; each takes a second or two


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where they run, with a server of its own."""
    try:
        made = PLACES[request.param]()
    except BinariesMissing as missing:
        pytest.skip(str(missing))
    yield made
    made.close()


@pytest.mark.timeout(PROGRAMS * 60)
@settings(max_examples=PROGRAMS, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(program=programs())
def test_no_program_breaks_order_counts_or_ends(place: Place, program: Program) -> None:
    seen = asyncio.run(run(program, place))
    note(f"files: {place.folder}")

    assert wrong(seen) == []
