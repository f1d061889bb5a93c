"""The worker's settings."""

from typing import Self

from pydantic import Field, model_validator

from tbscreen_shared.imaging import ImageLimits
from tbscreen_shared.settings import SharedSettings


class WorkerSettings(SharedSettings):
    """Read from the environment with the prefix TBSCREEN_."""

    worker_concurrency: int = Field(default=1, gt=0, description="child processes, one job each")
    stall_timeout_s: int = Field(
        default=20, gt=0, description="a worker that takes no waiting task for so long ends itself"
    )
    retain_uploads_s: int = Field(
        default=0,
        ge=0,
        description="for how long an ended job's radiograph is kept; 0 erases it with the outcome",
    )
    max_image_pixels: int = Field(default=64_000_000, gt=0, description="width x height x frames")
    max_image_memory_mb: int = Field(
        default=1024, gt=0, description="MiB that decoding one image may take"
    )

    @model_validator(mode="after")
    def _kept_radiographs_can_be_erased(self) -> Self:
        if self.retain_uploads_s > self.result_ttl_s:
            raise ValueError(
                f"TBSCREEN_RETAIN_UPLOADS_S ({self.retain_uploads_s}) must be at most "
                f"TBSCREEN_RESULT_TTL_S ({self.result_ttl_s}): a radiograph whose job has expired "
                "can not be erased by the job's id"
            )
        return self

    @property
    def image_limits(self) -> ImageLimits:
        """The limits that an image is held to."""
        return ImageLimits(
            max_pixels=self.max_image_pixels, max_memory_bytes=self.max_image_memory_mb * 2**20
        )
