"""Tenuto: durable jobs and workflows on SQLite or PostgreSQL."""

from tenuto import results, telemetry
from tenuto.app import Tenuto
from tenuto.context import current_app, current_job
from tenuto.errors import TenutoError
from tenuto.features.encrypted import Encrypted
from tenuto.features.keys import KeyRing
from tenuto.features.recorded import Recorded
from tenuto.function import job
from tenuto.job import Failure, Job, JobState
from tenuto.outcome import Cancel, Discard, Record, Snooze
from tenuto.worker import Worker
from tenuto.workflow import Step, StepStatus, Workflow, WorkflowStatus

__version__ = "0.1.0"

__all__ = [
    "Cancel",
    "Discard",
    "Encrypted",
    "Failure",
    "Job",
    "JobState",
    "KeyRing",
    "Record",
    "Recorded",
    "Snooze",
    "Step",
    "StepStatus",
    "Tenuto",
    "TenutoError",
    "Worker",
    "Workflow",
    "WorkflowStatus",
    "current_app",
    "current_job",
    "job",
    "results",
    "telemetry",
]
