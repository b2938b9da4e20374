"""Recorded: what a worker returns is kept on its job, compressed where that is shorter."""

import asyncio
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from tenuto.errors import CodecError, InvalidJob, ResultTooLarge, Undecodable
from tenuto.features.feature import Feature, Process
from tenuto.job import Job
from tenuto.outcome import RESULT_LIMIT, Discard, Outcome, Record, encode_result
from tenuto.text import size

T = TypeVar("T")

RECORDED_LIMIT: Final = 32_000  # bytes of stored text, compressed and encoded
_SHORT: Final = 300  # characters; compressing fewer gains little, and costs more than all else
_LONG: Final = 100_000  # characters; compressing more takes milliseconds, and a thread
_PACKED: Final = "z"  # in front of what is compressed; JSON begins otherwise
_ZLIB: Final = b"\x78"  # with which zlib begins, and JSON never


@dataclass(frozen=True, slots=True)
class Recorded:
    """How much of what a worker returns is kept: `limit` is in bytes of stored text, compressed and encoded.

    Raises InvalidJob for a limit that is out of range: 1 to 16,000,000.
    """

    limit: int = RECORDED_LIMIT

    def __post_init__(self) -> None:
        if type(self.limit) is not int or not 1 <= self.limit <= RESULT_LIMIT:
            raise InvalidJob(f"Recorded(limit={self.limit!r:.80}) is out of range: 1 to {RESULT_LIMIT:,} bytes")


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

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def around_process(self, job: Job[Any, Any], call_next: Process) -> Outcome:
        """Run it, and keep its result; one that is too large or cannot be encoded discards the job."""
        outcome = await call_next(job)
        if not isinstance(outcome, Record):
            return outcome
        try:
            plain = encode_result(outcome.value)
            text = await asyncio.to_thread(packed, plain) if len(plain) > _LONG else packed(plain)
            return Recording(outcome.value, self._checked(text))
        except CodecError as refused:
            return Unstorable(refused)

    def recording(self, value: T) -> Recording[T]:
        """A result as it is kept, made at once. Raises UnencodableResult and ResultTooLarge."""
        return Recording(value, self._checked(packed(encode_result(value))))

    def _checked(self, text: str) -> str:
        if size(text) > self._limit:
            raise ResultTooLarge("the recorded result", size(text), self._limit)
        return text


def recorder(option: bool | Recorded) -> Feature | None:
    """The feature that `recorded=` asks for. Raises InvalidJob."""
    if isinstance(option, Recorded):
        return Recorder(option.limit)
    if not isinstance(option, bool):
        raise InvalidJob(f"recorded={option!r:.80} is neither True nor a Recorded(limit=…)")
    return Recorder(RECORDED_LIMIT) if option else None


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
        text = reader.decompress(data, RESULT_LIMIT + 1).decode()
    except (zlib.error, ValueError):
        raise Undecodable("what was recorded cannot be decompressed") from None
    if not reader.eof or len(text) > RESULT_LIMIT:
        raise Undecodable("what was recorded is cut, or too large")
    return text
