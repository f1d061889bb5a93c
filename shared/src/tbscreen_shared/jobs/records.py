"""What a job's hash in Redis says, as the contract's types."""

from datetime import UTC, datetime

from tbscreen_shared.contracts import Job, JobError, JobResult, JobStatus


def to_job(job_id: str, fields: dict[str, str], rank: int | None) -> Job:
    """Returns the job that a record holds.

    Args:
        job_id: its id.
        fields: the record, not empty.
        rank: how many queued jobs are before it, from 0; None while it is not queued.
    """
    result, error = fields.get("result"), fields.get("error")

    def time_of(field: str) -> datetime | None:
        return to_time(fields[field]) if field in fields else None

    return Job(
        id=job_id,
        status=JobStatus(fields["status"]),
        created_at=to_time(fields["created_at"]),
        started_at=time_of("started_at"),
        finished_at=time_of("finished_at"),
        attempts=int(fields["attempts"]),
        queue_position=None if rank is None else rank + 1,
        batch_id=fields.get("batch"),
        retry_of=fields.get("retry_of"),
        result=JobResult.model_validate_json(result) if result else None,
        error=JobError.model_validate_json(error) if error else None,
        expires_at=time_of("expires_at"),
    )


def to_time(milliseconds: str | int) -> datetime:
    """Returns the time that the scripts noted."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC)
