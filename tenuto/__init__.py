"""Tenuto: durable jobs and workflows on SQLite or PostgreSQL."""

from tenuto import llm, results, telemetry
from tenuto.answer import Answer, Cancelled, Completed, Discarded, Failed, Gone, Snoozed, TimedOut, TooLarge
from tenuto.app import Tenuto
from tenuto.borrowing import complete_in
from tenuto.context import current_app, current_job
from tenuto.errors import TenutoError
from tenuto.features.chain import Chain
from tenuto.features.deadline import Deadline
from tenuto.features.encrypted import Encrypted
from tenuto.features.hooks import HookState
from tenuto.features.keys import KeyRing
from tenuto.features.recorded import Recorded
from tenuto.features.unique import Unique
from tenuto.function import job
from tenuto.growing import graft
from tenuto.hooking import attach_hook, detach_hook
from tenuto.job import Failure, Job, JobState
from tenuto.limits import Limits, Queue, Rate
from tenuto.llm import Debugging, Price, Usage, record_usage
from tenuto.outcome import Cancel, Discard, Record, Snooze
from tenuto.relay import Relay
from tenuto.signals import Received, wait_for_signal
from tenuto.sizes import Sizes
from tenuto.standing import GroupStatus, StepStatus, WorkflowStatus
from tenuto.worker import Worker
from tenuto.workflow import Step, Workflow

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Cancel",
    "Cancelled",
    "Chain",
    "Completed",
    "Deadline",
    "Debugging",
    "Discard",
    "Discarded",
    "Encrypted",
    "Failed",
    "Failure",
    "Gone",
    "GroupStatus",
    "HookState",
    "Job",
    "JobState",
    "KeyRing",
    "Limits",
    "Price",
    "Queue",
    "Rate",
    "Received",
    "Record",
    "Recorded",
    "Relay",
    "Sizes",
    "Snooze",
    "Snoozed",
    "Step",
    "StepStatus",
    "Tenuto",
    "TenutoError",
    "TimedOut",
    "TooLarge",
    "Unique",
    "Usage",
    "Worker",
    "Workflow",
    "WorkflowStatus",
    "attach_hook",
    "complete_in",
    "current_app",
    "current_job",
    "detach_hook",
    "graft",
    "job",
    "llm",
    "record_usage",
    "results",
    "telemetry",
    "wait_for_signal",
]
