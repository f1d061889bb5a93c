"""Settings that gateway and workers share. Each service extends these and builds them at start."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class SharedSettings(BaseSettings):
    """Read from the environment with the prefix TBSCREEN_; REDIS_URL is also taken bare."""

    model_config = SettingsConfigDict(env_prefix="TBSCREEN_", frozen=True, populate_by_name=True)

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
