"""Config: arguments, environment and TOML as one frozen set of settings."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tenuto.errors import ConfigError
from tenuto.job import check_name

DEFAULT_URL = "sqlite:///tenuto.db"


def _queues(given: Any) -> Any:
    """Queues from a mapping, or from the text that an environment variable or a flag has: `default=10,mail=5`."""
    if not isinstance(given, str):
        return given
    pairs = [item.partition("=") for item in given.split(",") if item.strip()]
    return {name.strip(): slots.strip() or "10" for name, _, slots in pairs}


class Config(BaseSettings):
    """Every setting of an app. Arguments win over the environment (`TENUTO_URL`), that over `tenuto.toml`,
    that over `[tool.tenuto]` of `pyproject.toml`.
    """

    model_config = SettingsConfigDict(
        env_prefix="TENUTO_",
        toml_file="tenuto.toml",
        pyproject_toml_table_header=("tool", "tenuto"),
        frozen=True,
        extra="forbid",
    )

    url: str = Field(DEFAULT_URL, repr=False)  # may hold a password
    name: str = "tenuto"  # of this instance, one of perhaps several in a process
    namespace: str = Field("tenuto", alias="schema")  # the schema that holds the tables on PostgreSQL
    queues: Annotated[dict[str, int], NoDecode, BeforeValidator(_queues)] = {}
    node: str | None = None  # this node's name for operators; the host's, unless given
    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=15)  # for running jobs, when the node stops
    keep_jobs: timedelta = timedelta(days=1)  # after they ended
    keep_workflows: timedelta = timedelta(days=7)  # after they finished
    connections: int = Field(8, ge=2, le=1000)  # to PostgreSQL, at most

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, queues: dict[str, int]) -> dict[str, int]:
        for name, slots in queues.items():
            check_name("queue", name)
            if not 1 <= slots <= 100_000:
                raise ValueError(f"queue {name!r} has {slots} slots; 1 to 100,000 are possible")
        return queues

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
            told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
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
        """Where settings come from, the strongest first."""
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls),
            PyprojectTomlConfigSettingsSource(settings_cls),
        )
