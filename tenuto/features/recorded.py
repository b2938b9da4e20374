"""Recorded: what a worker returns is kept on its job, compressed where that is shorter."""

import asyncio
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from tenuto.context import running
from tenuto.errors import CodecError, InvalidJob, ResultTooLarge, Undecodable
from tenuto.features.feature import Feature, Process
from tenuto.job import Job
from tenuto.outcome import Discard, Outcome, Record, encode_result
from tenuto.sizes import RECORDED_MOST, RESULT_MOST, USUAL, Sizes
from tenuto.text import size

T = TypeVar("T")

_SHORT: Final = 300  # characters; compressing fewer gains little, and costs more than all else
_LONG: Final = 100_000  # characters; compressing more takes milliseconds, and a thread
_PACKED: Final = "z"  # in front of what is compressed; JSON begins otherwise
_ZLIB: Final = b"\x78"  # with which zlib begins, and JSON never


@dataclass(frozen=True, slots=True)
class Recorded:
    """How much of what a worker returns is kept: `limit` is in bytes of stored text, compressed and encoded.

    None is what the app says (`sizes=`). Raises InvalidJob for a limit that is out of range: 1 to 16,000,000.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or not 1 <= self.limit <= RECORDED_MOST):
            raise InvalidJob(f"Recorded(limit={self.limit!r:.80}) is out of range: 1 to {RECORDED_MOST:,} bytes")


@dataclass(frozen=True, slots=True)
class Recording(Record[T]):
    """A result, and the text that its job keeps of it."""

    text: str

    @property
    def recorded(self) -> str:
        """The text."""
        return self.text


class Unstorable(Discard):
    """It returned what cannot be stored: discarded, since a retry would only repeat its effects."""

    def __init__(self, error: CodecError) -> None:
        super().__init__(str(error))
        self.name = type(error).__name__


class Recorder(Feature):
    """Keeps what process returns. None keeps nothing; `Record(None)` keeps null."""

    rank: ClassVar[int] = 50

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it, and keep its result; one that is too large or cannot be encoded discards the job."""
        outcome = await call_next(job)
        if not isinstance(outcome, Record):
            return outcome
        try:
            return Recording(outcome.value, await self._text(outcome.value))
        except CodecError as refused:
            return Unstorable(refused)

    async def _text(self, value: object) -> str:
        plain = encode_result(value, _sizes().result)
        return self._checked(await asyncio.to_thread(packed, plain) if len(plain) > _LONG else packed(plain))

    def recording(self, value: T) -> Recording[T]:
        """A result as it is kept, made at once. Raises UnencodableResult and ResultTooLarge."""
        return Recording(value, self._checked(packed(encode_result(value, _sizes().result))))

    def _checked(self, text: str) -> str:
        limit = _sizes().recorded if self._limit is None else self._limit
        if size(text) > limit:
            raise ResultTooLarge("the recorded result", size(text), limit)
        return text


def _sizes() -> Sizes:
    """Those of the app that runs this job."""
    mine = running.get(None)
    return USUAL if mine is None else mine.sizes


def recorder(option: bool | Recorded) -> Feature | None:
    """The feature that `recorded=` asks for. Raises InvalidJob."""
    if isinstance(option, Recorded):
        return Recorder(option.limit)
    if not isinstance(option, bool):
        raise InvalidJob(f"recorded={option!r:.80} is neither True nor a Recorded(limit=…)")
    return Recorder() if option else None


# ── the stored text ───────────────────────────────────────────────────────────────────────────────


def packed(text: str) -> str:
    """The codec's text as it is kept: compressed and in Base64 where that is shorter."""
    if len(text) < _SHORT:
        return text
    short = _PACKED + b64encode(zlib.compress(text.encode())).decode()
    return short if len(short) < size(text) else text


def unpacked(text: str) -> str:
    """The codec's text of what was kept. Raises Undecodable for what `packed` did not make."""
    if not text.startswith(_PACKED):
        return text
    try:
        data = b64decode(text[1:], validate=True)
    except ValueError:
        raise Undecodable("what was recorded is no Base64") from None
    return _decompressed(data)


def deflated(text: str) -> bytes:
    """What `packed` made as bytes, for who has no need of Base64: compressed, or the text itself."""
    return b64decode(text[1:]) if text.startswith(_PACKED) else text.encode()


def inflated(data: bytes) -> str:
    """The codec's text of `deflated` bytes. Raises Undecodable."""
    return _decompressed(data) if data.startswith(_ZLIB) else data.decode()


def _decompressed(data: bytes) -> str:
    """The text in it, up to what a result may take: no bomb goes off here. Raises Undecodable."""
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, RESULT_MOST + 1).decode()
    except (zlib.error, ValueError):
        raise Undecodable("what was recorded cannot be decompressed") from None
    if not reader.eof or len(text) > RESULT_MOST:
        raise Undecodable("what was recorded is cut, or too large")
    return text
