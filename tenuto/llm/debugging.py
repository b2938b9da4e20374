"""Debugging: what a step asked a model and was answered, as it is logged: without secrets, and not too long."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from tenuto import codec
from tenuto.errors import CodecError, ConfigError, InvalidJob
from tenuto.job import check_name, seconds
from tenuto.text import clip, size

Kind: TypeAlias = Literal["upstream", "request", "response"]

DEBUG: Final = "workflow_debug"  # in the meta of a step whose workflow is logged
HIDDEN: Final = "[hidden]"
SEALED: Final = "[sealed]"  # in place of the result of an encrypted step
SIZE_MOST: Final = 4_000_000
_READ_MOST: Final = 64_000_000  # bytes; more is not even looked at

_NAMED: Final = frozenset(
    {
        *("authorization", "proxyauthorization", "cookie", "setcookie", "credentials", "passwd", "token", "bearer"),
        *("accesstoken", "refreshtoken", "sessiontoken", "authtoken", "idtoken", "bearertoken", "securitytoken"),
    }
)
_ENDING: Final = ("apikey", "password", "passphrase", "secret", "secretkey", "accesskey", "privatekey", "accesstoken")


@dataclass(frozen=True, slots=True)
class Debugging:
    """What is kept of a workflow that was made with `debug=True`: `Tenuto(debugging=Debugging(size=200_000))`.

    An entry of more than `size` bytes is cut, and `keep` after it was written it is gone. What stands under a key that
    names a secret is hidden, at any depth (`authorization`, `api_key`, `password`, `secret` and their like, in any
    spelling), as is what stands under `keys`; then `redact`, a function, is given the whole as plain JSON and gives
    what is to be kept. Where that raises, nothing is. Raises ConfigError.
    """

    keys: tuple[str, ...] = ()
    redact: Callable[[Any], Any] | None = None
    size: int = 64_000
    keep: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "keep", seconds("keep", self.keep))
            object.__setattr__(self, "keys", tuple(check_name("key", key) for key in self.keys))
        except (InvalidJob, TypeError) as fault:
            raise ConfigError(f"debugging: {fault}") from None
        if self.redact is not None and not callable(self.redact):
            raise ConfigError("debugging: redact= takes a function of one value, which gives what is to be kept of it")
        if type(self.size) is not int or not 100 <= self.size <= SIZE_MOST:
            raise ConfigError(f"debugging: size={self.size!r:.80} is out of range: 100 to {SIZE_MOST:,} bytes")

    @classmethod
    def of(cls, given: Any) -> Any:
        """From a table of a TOML file, or JSON; what is none of these as it is. Raises ConfigError."""
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except ValueError:
                raise ConfigError("debugging: this is no JSON object") from None
        if not isinstance(given, Mapping):
            return given
        said = cast("Mapping[str, Any]", given)
        if unknown := said.keys() - {"keys", "redact", "size", "keep"}:
            raise ConfigError(f"debugging: there is no {min(unknown)!r:.80}; there are keys, size, keep")
        return cls(**said)

    def logged(self, content: Any) -> "Logged":
        """What is kept of it. Never raises."""
        try:
            plain = json.loads(codec.encode(content, limit=_READ_MOST))
        except CodecError as fault:
            return Logged(None, 0, f"not kept: {fault}")
        try:
            return self._cut(_text(self._redacted(plain)))
        except Exception as fault:  # noqa: BLE001 - redact is user code, and its message may hold what it was to hide
            return Logged(None, 0, f"not kept: redacting it raised {type(fault).__name__}")

    def _redacted(self, plain: Any) -> Any:
        hidden = _hidden(plain, frozenset(map(_letters, self.keys)))
        return hidden if self.redact is None else self.redact(hidden)

    def _cut(self, text: str) -> "Logged":
        long = size(text)
        if long <= self.size:
            return Logged(text, long, None)
        return Logged(_text(clip(text, self.size)), long, f"cut: it takes {long:,} bytes, and {self.size:,} are kept")


class Logged(NamedTuple):
    """An entry as it is kept: its text, how large the whole is, and what a reader must know."""

    text: str | None
    size: int
    note: str | None


@dataclass(frozen=True, slots=True)
class DebugEntry:
    """What one attempt of a step read of its deps, asked a model, or was answered.

    `content` is what was given to `log_request` or `log_response`, without secrets, or the beginning of its text where
    `note` says that it was cut; sealed, where this process has no key of an encrypted worker; None where `note` says
    that it was not kept.
    """

    step: str | None
    attempt: int
    kind: Kind
    at: datetime
    content: Any = field(repr=False)
    size: int  # bytes of the whole
    note: str | None
    job_id: str
    worker: str


def read(text: str) -> Any:
    """What an entry's text holds."""
    try:
        return codec.decode(text)
    except CodecError:  # what redact gave is JSON, but perhaps not ours
        return json.loads(text)


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text.encode()  # refuses a lone surrogate
    return text


def _hidden(held: Any, keys: frozenset[str]) -> Any:
    """The same without what stands under the name of a secret, in an object or in a pair of name and value."""
    whole: Any = held
    if isinstance(held, dict):
        return {key: HIDDEN if _is_secret(key, keys) else _hidden(item, keys) for key, item in whole.items()}
    if isinstance(held, list):
        if len(whole) == 2 and isinstance(whole[0], str) and _is_secret(whole[0], keys):
            return [whole[0], HIDDEN]
        return [_hidden(item, keys) for item in whole]
    return held


def _is_secret(name: str, keys: frozenset[str]) -> bool:
    letters = _letters(name)
    return letters in _NAMED or letters in keys or letters.endswith(_ENDING)


def _letters(name: str) -> str:
    """A name in one spelling: `X-Api-Key` and `x_apikey` are one."""
    return re.sub(r"[\W_]", "", name).lower()
