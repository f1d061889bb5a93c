"""The gateway's settings."""

from pydantic import Field

from tbscreen_shared.settings import SharedSettings


class GatewaySettings(SharedSettings):
    """Read from the environment with the prefix TBSCREEN_; REDIS_URL is also taken bare."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="0 takes a free one")
    max_upload_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="size of the largest radiograph taken"
    )
    max_queue_length: int = Field(
        default=10_000, gt=0, description="waiting jobs beyond which uploads are refused"
    )
    max_stored_bytes: int = Field(
        default=20 * 1024**3,
        gt=0,
        description="bytes of stored radiographs beyond which uploads are refused",
    )
    reserve_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        description="what must stay free on the upload volume for an upload to be taken",
    )
    max_concurrent_uploads: int = Field(
        default=64, gt=0, description="uploads received at once, beyond which they are refused"
    )
    rate_limit_per_minute: int = Field(
        default=3000, ge=0, description="radiographs an API key may send a minute; 0 for no limit"
    )
    predict_wait_s: float = Field(
        default=30, ge=0, description="how long POST /predict waits before it answers 202"
    )
    shutdown_grace_s: int = Field(
        default=10, ge=0, description="how long requests in hand may take once the end is asked for"
    )
