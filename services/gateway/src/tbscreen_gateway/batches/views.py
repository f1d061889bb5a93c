"""A batch as the API answers it: counts of all its files, and a page of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from tbscreen_gateway.answers import job_path
from tbscreen_gateway.pagination import NextCursor, Page, PageRequest, paginate
from tbscreen_shared.contracts import JobError, JobStatus, Probability
from tbscreen_shared.jobs import BatchEntry, BatchRecord, BatchStore, JobBrief, NewBatch


class ItemStatus(StrEnum):
    """A job's status; or `refused`: it became none; or `expired`: its job is no more."""

    QUEUED = "queued"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REFUSED = "refused"
    EXPIRED = "expired"


class ItemLinks(BaseModel):
    """Where the rest is found."""

    job: str
    heatmap: str | None = None


class BatchItem(BaseModel):
    """One file of the batch. Its name is not known here: the index and the SHA-256 tell it."""

    index: int = Field(
        ge=0, description="place among the form's files, or in the archive's directory, from 0"
    )
    sha256: str | None = Field(description="of its bytes, hexadecimal; null where it was refused")
    status: ItemStatus
    job_id: str | None = Field(description="null where it was refused")
    prediction: str | None = None
    probability: Probability | None = None
    score: Annotated[float, Field(ge=0, le=100)] | None = None
    error: JobError | None = Field(default=None, description="why it was refused, or failed")
    links: ItemLinks | None = Field(default=None, description="null where there is no job")


class BatchCounts(BaseModel):
    """How many of the batch's files are in which state. They sum to the total."""

    queued: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    refused: int = 0
    expired: int = 0


class BatchLinks(BaseModel):
    """Where the batch is found, and as a spreadsheet."""

    batch: str
    csv: str


class Batch(BaseModel):
    """Many radiographs, sent together."""

    id: str
    created_at: datetime
    finished: bool = Field(description="no file of it is queued or started")
    total: int = Field(description="how many files it has")
    skipped: int = Field(
        description="entries of the archive that are none: folders, DICOMDIR, what macOS and "
        "Windows put beside files"
    )
    counts: BatchCounts
    items: list[BatchItem] = Field(description="by index, a page of them")
    next_cursor: NextCursor
    links: BatchLinks


def batch_path(batch_id: str) -> str:
    """Returns where the batch is found."""
    return f"/v1/batches/{batch_id}"


def look_up_batch(batches: BatchStore, batch_id: str, asked: PageRequest) -> Batch | None:
    """Returns the batch with a page of its files, or None for an unknown or expired id.

    Raises:
        RedisError: the job store can not be reached.
    """
    record = batches.get(batch_id)
    if record is None:
        return None
    page = page_of(record, asked)
    statuses, briefs = batches.look(job_ids_of(record.entries), in_full=job_ids_of(page.elements))
    return _describe(record, page, statuses, briefs)


def just_accepted(batch: NewBatch, asked: PageRequest) -> Batch:
    """Returns the page of a batch whose jobs have just been queued, without looking at them."""
    record = BatchRecord(batch.id, datetime.now(tz=UTC), batch.entries, batch.skipped)
    page = page_of(record, asked)
    queued = JobBrief(JobStatus.QUEUED, None, None)
    return _describe(
        record,
        page,
        [queued.status] * len(batch.jobs),
        [queued] * len(job_ids_of(page.elements)),
    )


def job_ids_of(entries: Iterable[BatchEntry]) -> list[str]:
    """Returns the jobs of those files that became one."""
    return [entry.job_id for entry in entries if entry.job_id is not None]


def page_of(record: BatchRecord, asked: PageRequest) -> Page[BatchEntry]:
    """Returns the page of a batch's files."""
    return paginate(record.entries, lambda entry: f"{entry.index:06}", asked)


def with_briefs(
    entries: Iterable[BatchEntry], briefs: Iterable[JobBrief | None]
) -> Iterator[tuple[BatchEntry, JobBrief | None]]:
    """Yields each file with what there is of its job, given those of the jobs alone."""
    following = iter(briefs)
    for entry in entries:
        yield entry, None if entry.job_id is None else next(following)


def status_of(entry: BatchEntry, status: JobStatus | None) -> ItemStatus:
    """Returns the status of a file, given that of its job, if there is one."""
    if entry.job_id is None:
        return ItemStatus.REFUSED
    return ItemStatus.EXPIRED if status is None else ItemStatus(status)


def _count(entries: Sequence[BatchEntry], statuses: Iterable[JobStatus | None]) -> BatchCounts:
    counted = Counter("expired" if status is None else str(status) for status in statuses)
    refused = sum(entry.job_id is None for entry in entries)
    return BatchCounts(**counted, refused=refused)


def _describe(
    record: BatchRecord,
    page: Page[BatchEntry],
    statuses: Iterable[JobStatus | None],
    briefs: Iterable[JobBrief | None],
) -> Batch:
    counts = _count(record.entries, statuses)
    return Batch(
        id=record.id,
        created_at=record.created_at,
        finished=counts.queued + counts.started == 0,
        total=len(record.entries),
        skipped=record.skipped,
        counts=counts,
        items=[_describe_item(entry, brief) for entry, brief in with_briefs(page.elements, briefs)],
        next_cursor=page.next_cursor,
        links=BatchLinks(batch=batch_path(record.id), csv=f"{batch_path(record.id)}.csv"),
    )


def _describe_item(entry: BatchEntry, brief: JobBrief | None) -> BatchItem:
    item = BatchItem(
        index=entry.index,
        sha256=entry.sha256,
        status=status_of(entry, brief.status if brief else None),
        job_id=entry.job_id,
        error=entry.error,
    )
    if entry.job_id is None or brief is None:
        return item
    path = job_path(entry.job_id)
    if (result := brief.result) is None:
        return item.model_copy(update={"error": brief.error, "links": ItemLinks(job=path)})
    return item.model_copy(
        update={
            "prediction": result.prediction,
            "probability": result.probability,
            "score": result.score,
            "links": ItemLinks(job=path, heatmap=f"{path}/heatmap.png"),
        }
    )
