"""The names of everything tbscreen keeps in Redis beside Celery's queue."""

from typing import Final

QUEUED: Final = "tbscreen:queued"
"""Sorted set of the ids of queued jobs, scored by the time of acceptance."""

DEAD: Final = "tbscreen:dead"
"""List of the ids of jobs given up after too many deliveries, newest first."""

DONE_CHANNEL_PREFIX: Final = "tbscreen:done:"


def job_key(job_id: str) -> str:
    """Returns the key of a job's hash."""
    return f"tbscreen:job:{job_id}"


def resent_key(job_id: str) -> str:
    """Returns the key that says a job's lost task was sent again lately."""
    return f"tbscreen:resent:{job_id}"


def done_channel(job_id: str) -> str:
    """Returns the channel on which a job's final state is announced, once."""
    return f"{DONE_CHANNEL_PREFIX}{job_id}"


def idempotency_key(digest: str) -> str:
    """Returns the key that remembers which job an Idempotency-Key made."""
    return f"tbscreen:idempotency:{digest}"
