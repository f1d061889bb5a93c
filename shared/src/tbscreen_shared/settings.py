"""Settings that gateway and workers share. Each service extends these and builds them at start."""

import sys
from pathlib import Path
from typing import Final, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.connection import parse_url

_PREFIX: Final = "TBSCREEN_"

_REDELIVERY_MARGIN_S: Final = 10
"""For the wait for a model, the killing of a child and the requeueing, beside the job itself."""


class SharedSettings(BaseSettings):
    """Read from the environment with the prefix TBSCREEN_; REDIS_URL is also taken bare."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, populate_by_name=True)

    redis_url: SecretStr = Field(
        validation_alias="REDIS_URL", description="redis://[:password@]host:port/db; required"
    )
    blobs_dir: Path = Field(default=Path("/var/lib/tbscreen/blobs"))
    models_dir: Path = Field(default=Path("/var/lib/tbscreen/models"))
    log_format: str = Field(default="json", pattern="^(json|text)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    result_ttl_s: int = Field(default=24 * 3600, gt=0, description="life of a finished job")
    max_attempts: int = Field(default=3, gt=0, description="deliveries before a job is given up")
    visibility_timeout_s: int = Field(
        default=30, gt=0, description="after which a lost worker's job goes to another"
    )
    task_time_limit_s: int = Field(default=20, gt=0, description="a job's process is killed after")

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, url: SecretStr) -> SecretStr:
        try:
            parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]  # redis-py's
        except ValueError:
            # Not the cause: it may quote a part of the URL, and that the password.
            raise ValueError("must be redis://[:password@]host:port/db") from None
        return url

    @model_validator(mode="after")
    def _jobs_end_before_they_are_redelivered(self) -> Self:
        if self.task_time_limit_s + _REDELIVERY_MARGIN_S > self.visibility_timeout_s:
            raise ValueError(
                f"TBSCREEN_VISIBILITY_TIMEOUT_S ({self.visibility_timeout_s}) must be at least "
                f"{_REDELIVERY_MARGIN_S} more than TBSCREEN_TASK_TIME_LIMIT_S "
                f"({self.task_time_limit_s}): else a job that still runs is given to another worker"
            )
        return self


_Settings = TypeVar("_Settings", bound=SharedSettings)


def load_settings(kind: type[_Settings], *, program: str) -> _Settings:
    """Returns the settings from the environment.

    Raises:
        SystemExit: with status 2, when one is missing or wrong; stderr then has a line for each.
    """
    try:
        return kind()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        for item in error.errors():
            sys.stderr.write(f"{program}: {_variable(kind, item['loc'])}{item['msg']}\n")
        # Not from the error: its text quotes the values, passwords among them.
        raise SystemExit(2) from None


def _variable(kind: type[SharedSettings], location: tuple[int | str, ...]) -> str:
    """Returns the variable to name before a message; of a rule about several, none."""
    if not location:
        return ""
    name = str(location[0])
    return f"{_PREFIX}{name.upper()}: " if name in kind.model_fields else f"{name}: "
