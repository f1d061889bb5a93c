"""Settings that gateway and workers share. Each service extends these and builds them at start."""

import sys
from pathlib import Path
from typing import Final, Self, TypeVar

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from tbscreen_shared.redis_url import complete_redis_url

_PREFIX: Final = "TBSCREEN_"

_REDELIVERY_MARGIN_S: Final = 10
"""For the wait for a model, the killing of a child and the requeueing, beside the job itself."""


class ProcessSettings(BaseSettings):
    """What a process needs that reads or writes models and does nothing else.

    Read from the environment with the prefix TBSCREEN_.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, populate_by_name=True)

    models_dir: Path = Field(default=Path("/var/lib/tbscreen/models"))
    log_format: str = Field(default="json", pattern="^(json|text)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class SharedSettings(ProcessSettings):
    """Read from the environment with the prefix TBSCREEN_; REDIS_URL and its file without it.

    `redis_url` comes out complete, with the options of TLS: `redis_url.complete_redis_url`.
    """

    redis_ca_file: Path | None = Field(
        default=None, description="PEM file of who signed Redis' certificate; else the system's"
    )
    redis_certificate_file: Path | None = Field(
        default=None, description="PEM file, for a Redis that asks its clients for a certificate"
    )
    redis_key_file: Path | None = Field(default=None, description="that certificate's key")
    redis_url_file: Path | None = Field(
        default=None,
        validation_alias="REDIS_URL_FILE",
        description="file that holds what REDIS_URL would",
    )
    # After all that it is made of: pydantic validates in this order.
    redis_url: SecretStr = Field(
        default=SecretStr(""),
        validate_default=True,
        validation_alias="REDIS_URL",
        description="redis[s]://[user:password@]host:port/db; it or its file is required",
    )
    blobs_dir: Path = Field(default=Path("/var/lib/tbscreen/blobs"))
    result_ttl_s: int = Field(default=24 * 3600, gt=0, description="life of a finished job")
    max_attempts: int = Field(default=3, gt=0, description="deliveries before a job is given up")
    visibility_timeout_s: int = Field(
        default=30, gt=0, description="after which a lost worker's job goes to another"
    )
    task_time_limit_s: int = Field(default=20, gt=0, description="a job's process is killed after")

    @field_validator("redis_url")
    @classmethod
    def _is_complete(cls, given: SecretStr, info: ValidationInfo) -> SecretStr:
        url, file = given.get_secret_value(), info.data.get("redis_url_file")
        if url and file:
            raise ValueError("is given, and REDIS_URL_FILE too: which one is meant?")
        if file:
            try:
                url = file.read_text().strip()
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"can not be read from REDIS_URL_FILE ({file})") from None
        if not url:
            raise ValueError("is missing: set it, or REDIS_URL_FILE")
        return SecretStr(
            complete_redis_url(
                url,
                ca_file=info.data.get("redis_ca_file"),
                certificate_file=info.data.get("redis_certificate_file"),
                key_file=info.data.get("redis_key_file"),
            )
        )

    @model_validator(mode="after")
    def _jobs_end_before_they_are_redelivered(self) -> Self:
        if self.task_time_limit_s + _REDELIVERY_MARGIN_S > self.visibility_timeout_s:
            raise ValueError(
                f"TBSCREEN_VISIBILITY_TIMEOUT_S ({self.visibility_timeout_s}) must be at least "
                f"{_REDELIVERY_MARGIN_S} more than TBSCREEN_TASK_TIME_LIMIT_S "
                f"({self.task_time_limit_s}): else a job that still runs is given to another worker"
            )
        return self


_Settings = TypeVar("_Settings", bound=ProcessSettings)


def load_settings(kind: type[_Settings], *, program: str) -> _Settings:
    """Returns the settings from the environment.

    Raises:
        SystemExit: with status 2, when one is missing or wrong; stderr then has a line for each.
    """
    try:
        return kind()
    except ValidationError as error:
        for item in error.errors():
            sys.stderr.write(f"{program}: {_variable(kind, item['loc'])}{item['msg']}\n")
        # Not from the error: its text quotes the values, passwords among them.
        raise SystemExit(2) from None


def _variable(kind: type[ProcessSettings], location: tuple[int | str, ...]) -> str:
    """Returns the variable to name before a message; of a rule about several, none."""
    if not location:
        return ""
    name = str(location[0])
    field = kind.model_fields.get(name)
    if field is None:
        return f"{name}: "
    return f"{field.validation_alias or _PREFIX + name.upper()}: "
