"""Config: arguments, environment and TOML as one frozen set of settings."""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Self, cast
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tenuto.cron import Cron
from tenuto.errors import ConfigError, InvalidLimit
from tenuto.features.recurring import CATCH_UP, checked_catch_up
from tenuto.job import check_name, seconds
from tenuto.limits import MOST_SLOTS, Queue
from tenuto.llm.debugging import Debugging
from tenuto.llm.pricing import Price, pricing_of
from tenuto.sizes import USUAL, Sizes

DEFAULT_URL: Final = "sqlite:///tenuto.db"
DEFAULT_SLOTS: Final = 10
PREFIX: Final = "tenuto_"


def _queues(given: Any) -> Any:
    """Queues from a mapping, or from the text that an environment variable or a flag has: `default=10,mail=5`."""
    if not isinstance(given, str):
        return _without_truth(given)
    queues: dict[str, str | int] = {}
    for item in filter(None, map(str.strip, given.split(","))):
        name, has_slots, slots = (part.strip() for part in item.partition("="))
        if name in queues:
            raise ValueError(f"queue {name!r} is named twice")
        if has_slots and not slots.isdecimal():
            raise ValueError(f"queue {name!r} has {slots!r} slots; write {name}={DEFAULT_SLOTS}")
        queues[name] = slots or DEFAULT_SLOTS
    return queues


def _without_truth(given: Any) -> Any:
    """The same, with tables as Queues. True and False would count as 1 and 0; what is no mapping is told of later."""
    if not isinstance(given, Mapping):
        return given
    queues = cast("Mapping[str, Any]", given)
    for name, slots in queues.items():
        if isinstance(slots, bool):
            raise ValueError(f"queue {name!r} has {slots} slots; give a number, 1 to {MOST_SLOTS:,}")
    return {name: _queue(name, queue) if isinstance(queue, Mapping) else queue for name, queue in queues.items()}


def _queue(name: str, fields: Any) -> Queue:
    try:
        return Queue.of(fields)
    except InvalidLimit as fault:
        raise ValueError(f"queue {name!r}: {fault}") from None


def _sizes(given: Any) -> Any:
    """Sizes from a mapping, or from the text that an environment variable has: `args=5000000,error=32000`."""
    if isinstance(given, str):
        pairs = [[part.strip() for part in item.partition("=")[::2]] for item in given.split(",") if item.strip()]
        if wrong := [size for _, size in pairs if not size.isdecimal()]:
            raise ValueError(f"{wrong[0]!r:.80} is no size; write it like args={USUAL.args}")
        given = {name: int(size) for name, size in pairs}
    return Sizes.of(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else given


def _crons(given: Any) -> Any:
    """Cron entries from a mapping, or from the JSON that an environment variable has."""
    try:
        return json.loads(given) if isinstance(given, str) else given
    except ValueError:
        raise ValueError("this is no JSON object of cron entries by name") from None


class CronSetting(BaseModel):
    """One cron entry of the settings: when, and of which worker; the worker is looked up where it is registered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: str
    worker: str
    args: dict[str, Any] = Field({}, repr=False)
    timezone: str = "UTC"
    catch_up: timedelta = CATCH_UP

    @property
    def cron(self) -> Cron:
        """When. Raises InvalidCron."""
        return Cron(self.expression, self.timezone)

    @field_validator("catch_up", mode="before")
    @classmethod
    def _check_catch_up(cls, length: Any) -> timedelta:
        return checked_catch_up(length)

    @model_validator(mode="after")
    def _check_cron(self) -> Self:
        _ = self.cron
        return self


class Config(BaseSettings):
    """Every setting of an app. Arguments win over the environment (`TENUTO_URL`), that over `tenuto.toml`,
    that over `[tool.tenuto]` of `pyproject.toml`; each setting comes whole from one of them. Durations are
    timedeltas, or numbers of seconds.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    url: str = Field(DEFAULT_URL, repr=False)  # may hold a password
    name: str = "tenuto"  # of this instance, one of perhaps several in a process
    namespace: str = Field("tenuto", alias="schema")  # the schema that holds the tables on PostgreSQL
    queues: Annotated[dict[str, int | Queue], NoDecode, BeforeValidator(_queues)] = {}
    cron: Annotated[
        dict[str, CronSetting], NoDecode, BeforeValidator(_crons)
    ] = {}  # entries by name, beside those in the code
    node: str | None = None  # this node's name for operators; the host's, unless given
    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=15)  # for running jobs, when the node stops
    keep_jobs: timedelta = timedelta(days=1)  # after they ended
    keep_workflows: timedelta = timedelta(days=7)  # after they finished
    connections: int = Field(8, ge=2, le=1000)  # to PostgreSQL, at most
    sizes: Annotated[Sizes, NoDecode, BeforeValidator(_sizes)] = USUAL  # how large what is stored may be
    pricing: Annotated[dict[str, tuple[Price, ...]], NoDecode, BeforeValidator(pricing_of)] = {}
    keep_usage: timedelta = timedelta(days=90)  # what was used of models
    debugging: Annotated[Debugging, NoDecode, BeforeValidator(Debugging.of)] = Debugging()
    listen: bool = True  # to hints of other processes; without, what they do is noticed within a second
    listen_url: str | None = Field(None, repr=False)  # of PostgreSQL itself, to listen there, where `url` is a pooler's

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for a PostgreSQL one."""
        scheme, _, rest = self.url.partition("://")
        return Path(rest.removeprefix("/").partition("?")[0]) if scheme == "sqlite" else None

    @property
    def place(self) -> str:
        """Where the database is, for people: without its user, its password and its options."""
        if self.file is not None:
            return f"SQLite {self.file}"
        try:
            there = urlsplit(self.url)
            host = there.hostname or "localhost"
            port = f":{there.port}" if there.port else ""
        except ValueError:
            return "PostgreSQL"
        if not there.scheme or "@" in there.path:  # a password that is not percent-encoded spilled into it
            return "PostgreSQL"
        return f"PostgreSQL {host}{port}{unquote(there.path)}, schema {self.namespace}"

    @field_validator("name", "node")
    @classmethod
    def _check_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        return None if name is None else check_name(str(info.field_name), name)

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, queues: dict[str, int | Queue]) -> dict[str, int | Queue]:
        for name, slots in queues.items():
            check_name("queue", name)
            if isinstance(slots, int) and not 1 <= slots <= MOST_SLOTS:
                raise ValueError(f"queue {name!r} has {slots} slots; 1 to {MOST_SLOTS:,} are possible")
        return queues

    @field_validator("cron")
    @classmethod
    def _check_crons(cls, cron: dict[str, CronSetting]) -> dict[str, CronSetting]:
        return {check_name("cron", name): setting for name, setting in cron.items()}

    @field_validator("lease", "grace", "keep_jobs", "keep_workflows", "keep_usage", mode="before")
    @classmethod
    def _check_duration(cls, length: Any, info: ValidationInfo) -> timedelta:
        return seconds(str(info.field_name), _number(length) if isinstance(length, str) else length)

    @field_validator("lease")
    @classmethod
    def _check_lease(cls, lease: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= lease <= timedelta(hours=1):
            raise ValueError("a lease lasts from one second to an hour")
        return lease

    @classmethod
    def load(cls, arguments: Mapping[str, Any]) -> Self:
        """The settings, from `arguments` that are not None and then from the rest. Raises ConfigError."""
        try:
            return cls(**{name: value for name, value in arguments.items() if value is not None})
        except ValidationError as error:
            told = "; ".join(_told(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors())
            raise ConfigError(f"settings cannot be used: {told}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from, as one source."""
        return (
            _Strongest(
                settings_cls,
                init_settings,
                _environment(settings_cls),
                _file(settings_cls, "tenuto.toml"),
                _file(settings_cls, "pyproject.toml", "tool", "tenuto"),
            ),
        )


# ── sources ───────────────────────────────────────────────────────────────────────────────────────


class _Strongest(PydanticBaseSettingsSource):
    """Several sources as one, the strongest first. Queues of two files are not mixed: one of them says it all."""

    def __init__(self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._sources = sources

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("settings are taken from each source as a whole")

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for source in reversed(self._sources):
            found |= source()
        return found


def _environment(settings_cls: type[BaseSettings]) -> EnvSettingsSource:
    """The variables that begin with TENUTO_, by what follows: pydantic's own prefix passes by an alias."""
    source = EnvSettingsSource(settings_cls)
    variables = {name.lower(): value for name, value in os.environ.items()}
    source.env_vars = {name.removeprefix(PREFIX): value for name, value in variables.items() if name.startswith(PREFIX)}
    return source


def _file(settings_cls: type[BaseSettings], name: str, *table: str) -> InitSettingsSource:
    """What a TOML file of this folder says, or one table of it; nothing where there is no such file."""
    try:
        found = TomlConfigSettingsSource(settings_cls, Path(name)).toml_data
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} cannot be read: {error}") from None
    for key in table:
        found = found.get(key, {})
    return InitSettingsSource(settings_cls, found)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None


def _told(path: tuple[int | str, ...], kind: str, message: str) -> str:
    """One fault in a line. The value is not in it."""
    name = ".".join(map(str, path))
    if kind != "extra_forbidden":
        return f"{name}: {message.removeprefix('Value error, ')}"
    known = [field.alias or key for key, field in Config.model_fields.items()]
    near = get_close_matches(name, known, 1)
    return f"there is no {name!r}; " + (f"is it {near[0]!r}?" if near else f"there are {', '.join(known)}")
