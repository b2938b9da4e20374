"""Recording: the running job tells what it used of a model, what it asks it, and what it was answered."""

from typing import Any

from uuid_utils import uuid7

from tenuto.context import Running, current
from tenuto.errors import NotHere
from tenuto.job import Duration
from tenuto.llm.debugging import DEBUG, Kind
from tenuto.llm.usage import Usage


async def record_usage(
    model: str, input_tokens: int, output_tokens: int, *, cached_tokens: int = 0, latency: Duration | None = None
) -> None:
    """Keep what one request to a model took, now and durably, whatever becomes of this attempt: it is paid for.

    `cached_tokens` are those of the input that the model's cache held, and `input_tokens` the others; `latency` is a
    timedelta or seconds. A database that is away is waited for. Each call is one record. Raises InvalidUsage, NotInJob,
    and NotHere where the job runs in another process. Plain functions call `tenuto.blocking.record_usage`.
    """
    mine = current("record_usage()")
    usage = Usage(model, input_tokens, output_tokens, cached_tokens, latency)
    await _ledger(mine, "record_usage()").record(mine.job, [usage], [str(uuid7())])


async def log_request(request: Any) -> None:
    """Keep what the running step is about to ask a model, and what it has read of its deps: for `debug=True`.

    Of any value that a result may be. In a workflow without `debug`, and in a job that is no step, nothing happens.
    Secrets are hidden and long texts cut (`Debugging`); of an encrypted worker it is sealed as its results are. A step
    of another worker behind an encrypted one keeps only that it asked. Raises NotInJob, and NotHere where the job runs
    in another process. Plain functions call `tenuto.blocking.log_request`.
    """
    mine = current("log_request()")
    if _is_logged(mine):
        ledger = _ledger(mine, "log_request()")
        await ledger.log_upstream(mine.job, mine.needs)
        await ledger.log(mine.job, mine.needs, "request", request)


async def log_response(response: Any) -> None:
    """Keep what a model answered the running step, as `log_request` keeps what it was asked."""
    mine = current("log_response()")
    if _is_logged(mine):
        kind: Kind = "response"
        await _ledger(mine, "log_response()").log(mine.job, mine.needs, kind, response)


def _is_logged(mine: Running) -> bool:
    return mine.job.meta.get(DEBUG) is True and mine.job.workflow_id is not None


def _ledger(mine: Running, what: str) -> Any:
    """That of the app that runs the job. Raises NotHere in a process that has none."""
    try:
        return mine.app.ledger
    except NotHere:
        raise NotHere(what) from None
