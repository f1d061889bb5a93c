"""The job as every part of the system, and every client, sees it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tbscreen_shared.errors import ErrorCode

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Frozen(BaseModel):
    """Immutable, and closed to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recorded(BaseModel):
    """Immutable, and ignores fields it does not know.

    During an upgrade an older release reads what a newer one wrote.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class JobStatus(StrEnum):
    """queued → started → succeeded | failed | canceled; a finished job never changes."""

    QUEUED = "queued"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


class Warning(StrEnum):
    """What a reader must know about the input before trusting the answer."""

    LOW_RESOLUTION = "low_resolution"
    LOW_CONTRAST = "low_contrast"
    UNUSUAL_ASPECT = "unusual_aspect"
    MULTIPLE_FRAMES = "multiple_frames"
    NOT_A_CHEST_RADIOGRAPH = "not_a_chest_radiograph"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    INVERTED = "inverted"
    LATERAL_VIEW = "lateral_view"


class ImageFormat(StrEnum):
    """The formats an upload may have, told by content, never by name."""

    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    DICOM = "dicom"


class ModelRef(Recorded):
    """Which model answered."""

    version: str
    sha256: str = Field(description="SHA-256 of model.tflite, hexadecimal")


class InputInfo(Recorded):
    """What was read."""

    sha256: str = Field(description="SHA-256 of the uploaded bytes, hexadecimal")
    width: int = Field(gt=0, description="pixels, as stored in the file after EXIF rotation")
    height: int = Field(gt=0, description="pixels, as stored in the file after EXIF rotation")
    format: ImageFormat


class Timings(Recorded):
    """Where the time went, in milliseconds. `queue` and `total` count from acceptance."""

    queue: float = Field(ge=0)
    decode: float = Field(ge=0, description="decode and preprocess")
    inference: float = Field(ge=0)
    total: float = Field(ge=0)


class JobResult(Recorded):
    """The answer to one radiograph."""

    prediction: str = Field(
        description='"TB Positive", "Normal" or "Indeterminate" for the default model; '
        "with more classes, one of the bundle's labels"
    )
    probability: Probability = Field(description="calibrated probability of the positive class")
    score: float = Field(ge=0, le=100, description="100 × probability")
    probabilities: dict[str, Probability] = Field(description="per label; they sum to 1")
    logits: list[float] = Field(
        default_factory=list, description="the model's outputs before calibration"
    )
    threshold: Probability = Field(description="probability at or above which it is positive")
    operating_point: str = Field(description="name of the threshold, e.g. triage, or site")
    activation_map: list[list[Probability]] = Field(
        description="Grad-CAM of the positive class, rows from the top, scaled to a maximum of 1"
    )
    warnings: list[Warning] = Field(default_factory=list)
    model: ModelRef
    preprocessing: str = Field(description="version of the preprocessing")
    input: InputInfo
    timings_ms: Timings


class JobError(Recorded):
    """Why a job failed."""

    code: ErrorCode
    message: str


class Job(Frozen):
    """One radiograph's way through the system, as the API answers it."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: int = Field(default=0, ge=0)
    queue_position: int | None = Field(default=None, ge=1, description="1 is next; while queued")
    batch_id: str | None = Field(default=None, description="the batch it was sent in")
    retry_of: str | None = Field(
        default=None, description="the job that was given up, whose radiograph this one reads again"
    )
    result: JobResult | None = None
    error: JobError | None = None
    expires_at: datetime | None = Field(default=None, description="when a finished job is erased")


class CallbackStatus(StrEnum):
    """pending → delivered | failed."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class CallbackError(StrEnum):
    """Why an attempt to send a callback brought no HTTP status."""

    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    """The host's name has no address, or one that callbacks may not go to.

    Not told apart: else callers could ask the gateway which names a private network knows.
    """

    NOT_ALLOWED = "not_allowed"
    """The URL is not the one that was accepted, or is allowed no more; it is not tried again."""

    CONNECTION_FAILED = "connection_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    BROKEN_ANSWER = "broken_answer"

    INTERNAL_ERROR = "internal_error"
    """The gateway's own; the receiver may have heard of it or not."""


class Callback(Frozen):
    """How the sending of a job to its callback URL goes."""

    status: CallbackStatus
    attempts: int = Field(ge=0, description="begun so far; none before the job is finished")
    last_attempt_at: datetime | None = None
    last_status: int | None = Field(default=None, description="HTTP status of the last attempt")
    last_error: CallbackError | None = Field(default=None, description="why it brought none")
    next_attempt_at: datetime | None = Field(
        default=None, description="while one is owed; an attempt in hand may end it sooner"
    )


class WorkerBeat(Recorded):
    """What one worker process says of itself, every few seconds."""

    name: str
    model: ModelRef | None = Field(description="the model it answers with")
    operating_point: str | None = Field(default=None, description="the threshold it decides by")
    rejected_model: str | None = Field(default=None, description="why a newer bundle was refused")
    rejected_site: str | None = Field(
        default=None, description="why the site's own threshold was refused"
    )
    jobs_done: int = Field(ge=0)
    rss_bytes: int = Field(ge=0)
    at: datetime
