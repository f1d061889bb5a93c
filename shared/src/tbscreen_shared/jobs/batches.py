"""Batches: which jobs were sent together, in which order, and what was refused among them."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from pydantic import Field, TypeAdapter
from redis import Redis

from tbscreen_shared.contracts import JobError, JobStatus, ModelRef, Probability, Recorded, Warning
from tbscreen_shared.jobs import batch_transitions, transitions
from tbscreen_shared.jobs.creation import (
    NOBODY,
    Creation,
    IdempotencyKey,
    NewJob,
    Requester,
    creation_arguments,
)
from tbscreen_shared.jobs.keys import batch_key, job_key
from tbscreen_shared.jobs.outcomes import CancelOutcome
from tbscreen_shared.jobs.records import to_time


class BatchEntry(Recorded):
    """One file of a batch: it became a job, or was refused.

    Attributes:
        index: its place among the files, or the archive's entries, that were sent.
        sha256: of its bytes, hexadecimal; None for a file that was refused.
        job_id: None for a file that was refused.
        error: why it was refused.
    """

    index: int = Field(ge=0)
    sha256: str | None = None
    job_id: str | None = None
    error: JobError | None = None


_ENTRIES: Final = TypeAdapter(list[BatchEntry])


@dataclass(frozen=True)
class NewBatch:
    """Accepted uploads, about to become a batch.

    Attributes:
        id: UUIDv7.
        jobs: one or more, of one requester and one callback URL, with this batch's id.
        entries: by index, one for each job among them.
        skipped: how many entries of an archive were no files to be read.
    """

    id: str
    jobs: Sequence[NewJob]
    entries: Sequence[BatchEntry]
    skipped: int = 0


@dataclass(frozen=True)
class BatchRecord:
    """What a batch's hash in Redis says. `entries` are sorted by index and never change."""

    id: str
    created_at: datetime
    entries: Sequence[BatchEntry]
    skipped: int


class ResultBrief(Recorded):
    """Of a job's result, what fits into a row."""

    prediction: str
    probability: Probability
    score: float
    threshold: Probability
    operating_point: str
    warnings: list[Warning] = Field(default_factory=list)
    model: ModelRef


@dataclass(frozen=True)
class JobBrief:
    """Of a job, what fits into a row."""

    status: JobStatus
    result: ResultBrief | None
    error: JobError | None


class BatchStore:
    """The records of all batches in one Redis.

    Every method may raise `redis.exceptions.RedisError` when Redis can not be reached.

    Args:
        redis: where they are.
        result_ttl_s: for how long a finished batch is kept.
        max_queue_length: how many jobs may wait; None for any number.
    """

    def __init__(
        self, redis: "Redis", *, result_ttl_s: int, max_queue_length: int | None = None
    ) -> None:
        self._redis = redis
        self._max_queue_length = max_queue_length
        self._ttl_s = result_ttl_s
        self._create = redis.register_script(batch_transitions.CREATE_BATCH)
        self._look = redis.register_script(batch_transitions.LOOK)
        self._cancel = redis.register_script(transitions.CANCEL)

    def create(self, batch: NewBatch, key: IdempotencyKey | None = None) -> Creation:
        """Records the batch and all its jobs as queued, at once.

        Nothing where its key has made one, or too many would wait. Tasks are sent after this.
        """
        first = batch.jobs[0]
        return Creation.of(
            self._create(
                args=[
                    *(batch.id, _dump(batch.entries), batch.skipped, len(batch.jobs)),
                    *(first.requester.key_id, first.requester.request_id, first.callback_url),
                    *creation_arguments(key, max_queue_length=self._max_queue_length),
                    *(
                        field
                        for job in batch.jobs
                        for field in (
                            *(job.id, job.blob, job.sha256, job.format, job.size_bytes),
                            job.callback_seal,
                        )
                    ),
                ]
            )
        )

    def get(self, batch_id: str) -> BatchRecord | None:
        """Returns the batch, or None for an unknown or expired id."""
        created_at, entries, skipped = cast(
            "list[str | None]",
            self._redis.hmget(batch_key(batch_id), ["created_at", "entries", "skipped"]),
        )
        if created_at is None or entries is None:
            return None
        return BatchRecord(
            batch_id, to_time(created_at), _ENTRIES.validate_json(entries), int(skipped or 0)
        )

    def look(
        self, job_ids: Sequence[str], *, in_full: Sequence[str] = ()
    ) -> tuple[list[JobStatus | None], list[JobBrief | None]]:
        """Returns the statuses of many jobs, and the outcomes of some, at one moment.

        Args:
            job_ids: those whose status is wanted.
            in_full: those whose outcome is wanted.

        Returns:
            For each of `job_ids` its status, and for each of `in_full` what became of it; None for
            one that is no more.
        """
        statuses, *outcomes = self._look(args=[len(job_ids), *job_ids, *in_full])
        return (
            [JobStatus(status) if status else None for status in statuses.split(" ") if job_ids],
            [_to_brief(*fields) for fields in outcomes],
        )

    def blobs_of(self, job_ids: Iterable[str]) -> list[str]:
        """Returns the keys of the jobs' uploads, read in one go."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(job_key(job_id), "blob")
            return [blob for blob in cast("list[str | None]", pipe.execute()) if blob]

    def cancel(self, job_ids: Iterable[str], by: Requester = NOBODY) -> list[CancelOutcome]:
        """Does with each job what `JobStore.cancel` does with one, in one go."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                token = uuid.uuid4().hex  # tells a repeat that redis-py makes from a second call
                self._cancel(
                    args=[job_id, self._ttl_s, token, by.key_id, by.request_id, 0], client=pipe
                )
            return [CancelOutcome(outcome) for outcome in pipe.execute()]

    def erase(self, batch_id: str) -> None:
        """Removes the record of a batch whose jobs are erased."""
        self._redis.delete(batch_key(batch_id))


def _dump(entries: Sequence[BatchEntry]) -> str:
    return _ENTRIES.dump_json(list(entries), exclude_none=True).decode()


def _to_brief(status: str | None, result: str | None, error: str | None) -> JobBrief | None:
    if status is None:
        return None
    return JobBrief(
        JobStatus(status),
        ResultBrief.model_validate_json(result) if result else None,
        JobError.model_validate_json(error) if error else None,
    )
