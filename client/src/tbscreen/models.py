"""What the gateway answers, as frozen models.

Only what a caller can not do without is required. Fields that a newer gateway adds are kept, so
that `model_dump()` gives back all that was answered.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class JobStatus(StrEnum):
    """queued → started → succeeded | failed | canceled; a finished job never changes."""

    QUEUED = "queued"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class ModelRef(_Answer):
    """Which model answered."""

    version: str
    sha256: str | None = None


class Result(_Answer):
    """The answer to one radiograph.

    Attributes:
        prediction: "TB Positive", "Normal" or "Indeterminate".
        probability: calibrated probability of tuberculosis, 0-1.
        score: 100 × probability.
        logits: the model's outputs before calibration.
        threshold: probability at or above which a radiograph is positive.
        operating_point: the threshold's name.
        activation_map: rows from the top, 0-1: where the model saw evidence.
        warnings: codes of what a reader must know before trusting the answer.
        timings_ms: milliseconds by step.
    """

    prediction: str
    probability: float
    score: float
    logits: list[float] = []
    threshold: float | None = None
    operating_point: str | None = None
    activation_map: list[list[float]] = []
    warnings: list[str] = []
    model: ModelRef
    timings_ms: dict[str, float] = {}


class JobError(_Answer):
    """Why a job failed."""

    code: str
    message: str


class Job(_Answer):
    """One radiograph's way through the system."""

    id: str
    status: JobStatus
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    attempts: int = 0
    queue_position: int | None = None
    retry_of: str | None = None
    result: Result | None = None
    error: JobError | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


class DeadJobs(_Answer):
    """A page of the dead-letter list.

    Attributes:
        jobs: the latest given up first.
        total: how many there are on all pages.
        next_cursor: names the next page; None on the last.
    """

    jobs: list[Job]
    total: int
    next_cursor: str | None = None


class BatchItem(_Answer):
    """One file of a batch.

    Attributes:
        index: its place among the sources that were submitted, from 0: the gateway knows no names.
        status: a job's, or "refused" (it became none) or "expired" (its job is no more).
        sha256: of its bytes; None where it was refused.
        error: why it was refused or failed.
    """

    index: int
    status: str
    sha256: str | None = None
    job_id: str | None = None
    prediction: str | None = None
    probability: float | None = None
    score: float | None = None
    error: JobError | None = None


class Batch(_Answer):
    """Many radiographs, submitted together.

    Attributes:
        finished: none of them is queued or started.
        total: how many there are, refused ones among them.
        counts: how many there are of each status.
        items: all of them, by index.
    """

    id: str
    finished: bool
    total: int
    counts: dict[str, int] = {}
    items: list[BatchItem] = []
    created_at: datetime | None = None
    next_cursor: str | None = None


class WorkerHealth(_Answer):
    """A live worker process."""

    name: str
    model: ModelRef | None = None


class AuditHealth(_Answer):
    """How the audit log is.

    Attributes:
        ok: whether what happens is written down.
        seq: number of the newest entry that is.
        sha256: hash of the log's last line.
    """

    ok: bool
    seq: int | None = None
    sha256: str | None = None


class Health(_Answer):
    """How the gateway and what stands behind it are.

    Attributes:
        status: "ok" or "degraded".
        audit: how the audit log is; not told without an API key that may read.
        workers: those that live; likewise.
        problems: what is wrong, in plain words; likewise.
    """

    status: str
    audit: AuditHealth | None = None
    workers: list[WorkerHealth] = []
    problems: list[str] = []

    @property
    def is_summary(self) -> bool:
        """Whether the status is all that the gateway tells to who asked."""
        return "workers" not in self.model_fields_set


class Model(_Answer):
    """A bundle on the models volume.

    Attributes:
        active: whether workers answer with it.
        manifest: everything that was published about it.
        site: the site's own threshold for it, if there is one.
    """

    version: str
    active: bool = False
    manifest: dict[str, Any]
    site: dict[str, Any] | None = None
