"""Usage: how many tokens one request to a model took, checked; and what a result says of them, taken out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, TypeGuard, cast

from uuid_utils import NAMESPACE_OID, uuid5

from tenuto.errors import CodecError, InvalidJob, InvalidUsage, TenutoError
from tenuto.features.feature import Feature
from tenuto.features.recorded import Recorder, Recording, Unstorable
from tenuto.job import Duration, Job, check_name, seconds
from tenuto.outcome import Discard, Outcome, Record

KEY: Final = "llm_usage"  # of a result, which is taken out of it
TOKENS_MOST: Final = 1_000_000_000  # of one request
RECORDS_MOST: Final = 1_000  # in one result


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request to a model took. Raises InvalidUsage for what cannot be counted.

    Tokens are whole numbers. `cached_tokens` are those of the input that the model's cache held, and `input_tokens`
    the others: none is counted twice. `latency` is a timedelta or seconds; None: nobody measured it.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    latency: Duration | None = None

    def __post_init__(self) -> None:
        try:
            check_name("model", self.model)
            lasted = None if self.latency is None else seconds("latency", self.latency)
        except InvalidJob as fault:
            raise InvalidUsage(str(fault)) from None
        object.__setattr__(self, "latency", lasted)
        for name in ("input_tokens", "output_tokens", "cached_tokens"):
            count = getattr(self, name)
            if type(count) is not int or not 0 <= count <= TOKENS_MOST:
                raise InvalidUsage(f"{name}={count!r:.80} is no whole number from 0 to {TOKENS_MOST:,}")

    @classmethod
    def of(cls, given: Any) -> "Usage":
        """From what stands in a result: a Usage, or a mapping of its fields. Raises InvalidUsage."""
        if isinstance(given, Usage):
            return given
        if not isinstance(given, Mapping):
            raise InvalidUsage(f"a {type(given).__name__} says no usage; give a dict with {', '.join(_NAMES)}")
        said = cast("Mapping[str, Any]", given)
        if unknown := said.keys() - set(_NAMES):
            raise InvalidUsage(f"there is no {min(map(str, unknown))!r:.80}; there are {', '.join(_NAMES)}")
        if missing := [name for name in _NAMES[:3] if name not in said]:
            raise InvalidUsage(f"{missing[0]} is missing")
        return cls(**said)


_NAMES: Final = tuple(field.name for field in fields(Usage))


# ── in a result ───────────────────────────────────────────────────────────────────────────────────


def says_usage(outcome: Outcome) -> TypeGuard[Record[dict[str, Any]]]:
    """Whether it is a result that says what it used."""
    return isinstance(outcome, Record) and _holds_usage(outcome.value)


def _holds_usage(value: Any) -> bool:
    return type(value) is dict and KEY in value


def parted(value: dict[str, Any]) -> tuple[dict[str, Any], list[Usage]]:
    """A result without what it says of usage, and that. Raises InvalidUsage."""
    said = value[KEY]
    several = list(cast("Sequence[Any]", said)) if isinstance(said, list | tuple) else [said]
    if len(several) > RECORDS_MOST:
        raise InvalidUsage(f"{len(several):,} records in one result; {RECORDS_MOST:,} are allowed")
    return {key: item for key, item in value.items() if key != KEY}, [Usage.of(one) for one in several]


def without_usage(outcome: Record[dict[str, Any]], features: Sequence[Feature]) -> tuple[Outcome, list[Usage]]:
    """An outcome as it is settled, and the usage to be recorded. What cannot be counted discards the job.

    A retry would only pay once more.
    """
    try:
        value, usages = parted(outcome.value)
    except InvalidUsage as refused:
        return _refused(refused), []
    if not isinstance(outcome, Recording):
        return Record(value), usages
    recorder = next(feature for feature in features if isinstance(feature, Recorder))
    try:
        return recorder.recording(value), usages
    except CodecError as refused:
        return Unstorable(refused), usages


def _refused(error: TenutoError) -> Discard:
    refusal = Discard(f"{KEY}: {error}")
    refusal.name = type(error).__name__
    return refusal


# ── as it is stored ───────────────────────────────────────────────────────────────────────────────


def documents_of(job: Job[Any, Any], usages: Sequence[Usage], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Records as they are stored."""
    mine = {
        "job_id": job.id,
        "workflow_id": job.workflow_id,
        "workflow_name": job.meta.get("workflow_name"),
        "worker": job.worker,
        "attempt": job.attempt,
    }
    return [{"id": id, **mine, **_stored(usage)} for id, usage in zip(ids, usages, strict=True)]


def _stored(usage: Usage) -> dict[str, Any]:
    lasted = usage.latency
    assert lasted is None or isinstance(lasted, timedelta)
    counted = {name: getattr(usage, name) for name in _NAMES[:4]}
    return {**counted, "latency": None if lasted is None else lasted // timedelta(microseconds=1)}


def ids_in_result(job: Job[Any, Any], usages: Sequence[Usage]) -> list[str]:
    """The ids of what one attempt's result says: the same said again is the same record."""
    told = [f"{job.id} {job.epoch} {nth} {_stored(usage)}" for nth, usage in enumerate(usages)]
    return [str(uuid5(NAMESPACE_OID, each)) for each in told]
