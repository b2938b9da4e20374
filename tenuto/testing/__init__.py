"""Testing: for the tests of those who use Tenuto. It runs their jobs in the test's own loop, through the real encoding
and a real store. It may run an executor by hand, and puts nothing in its place that only looks like it."""

from tenuto.testing.clock import Clock
from tenuto.testing.draining import Drained, drain
from tenuto.testing.enqueued import all_enqueued, assert_enqueued, refute_enqueued
from tenuto.testing.faults import Faults
from tenuto.testing.flows import WorkflowRun, run_workflow
from tenuto.testing.outages import database_away
from tenuto.testing.performing import perform
from tenuto.testing.temporary import temporary_app
from tenuto.testing.tried import Tried

__all__ = [
    "Clock",
    "Drained",
    "Faults",
    "Tried",
    "WorkflowRun",
    "all_enqueued",
    "assert_enqueued",
    "database_away",
    "drain",
    "perform",
    "refute_enqueued",
    "run_workflow",
    "temporary_app",
]
