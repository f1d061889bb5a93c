"""The names of everything tbscreen keeps in Redis beside Celery's queue.

One Redis, not a cluster: the scripts touch keys that their job's key does not name.
"""

from typing import Final

QUEUED: Final = "tbscreen:queued"
"""Sorted set of the ids of queued jobs, scored by the time of acceptance."""

STARTED: Final = "tbscreen:started"
"""Sorted set of the ids of started jobs, scored by the time of the latest claim."""

DEAD: Final = "tbscreen:dead"
"""Sorted set of the ids of jobs given up after too many deliveries, scored by when."""

CALLBACKS: Final = "tbscreen:callbacks"
"""Sorted set of the ids of finished jobs whose callback is owed, scored by when to try next."""

AUDIT: Final = "tbscreen:audit"
"""Stream of what happened to jobs, until a gateway has written it to the audit log."""

AUDIT_SEQUENCE: Final = "tbscreen:audit:sequence"
"""The number of the stream's newest entry: numbers without a gap show that none was lost."""

AUDIT_WRITER: Final = "tbscreen:audit:writer"
"""Names the gateway that writes the audit log, while it lives."""

AUDIT_HEAD: Final = "tbscreen:audit:head"
"""Hash: where the audit log ended when it was last written."""

AUDIT_MODEL: Final = "tbscreen:audit:model"
"""The model that was last recorded as the active one."""

AUDIT_KEYS: Final = "tbscreen:audit:keys"
"""Hash: the API keys that were last recorded, each with a digest of what it may and until when."""

RETAINED: Final = "tbscreen:retained"
"""Sorted set of the blobs of ended jobs that are kept for a while, scored by until when."""

DONE_CHANNEL_PREFIX: Final = "tbscreen:done:"

JOB_PREFIX: Final = "tbscreen:job:"
LEASE_PREFIX: Final = "tbscreen:lease:"
BATCH_PREFIX: Final = "tbscreen:batch:"
DRAINED_PREFIX: Final = "tbscreen:drained:"

IDEMPOTENCY_PREFIX: Final = "tbscreen:idempotency:"
"""Before the digest of an Idempotency-Key: which job or batch it has made, and of what."""

BOUND: Final = "tbscreen:bound"
"""Set of the digests whose job or batch had not ended when it was last looked at."""

FORGONE_PREFIX: Final = "tbscreen:forgone:"
"""Before the id of a job or batch that must not be made any more."""

DRAIN_BUCKET_S: Final = 10
DRAIN_WINDOW_S: Final = 60


def job_key(job_id: str) -> str:
    """Returns the key of a job's hash."""
    return f"{JOB_PREFIX}{job_id}"


def lease_key(job_id: str) -> str:
    """Returns the key that names the worker process which has a job in hand, while it lives."""
    return f"{LEASE_PREFIX}{job_id}"


def batch_key(batch_id: str) -> str:
    """Returns the key of a batch's hash."""
    return f"{BATCH_PREFIX}{batch_id}"


def drained_key(bucket: int) -> str:
    """Returns the key that counts the jobs which ended within one stretch of `DRAIN_BUCKET_S`."""
    return f"{DRAINED_PREFIX}{bucket}"


def resent_key(job_id: str, attempts: int) -> str:
    """Returns the key that says a job's task, lost after `attempts`, was sent again lately."""
    return f"tbscreen:resent:{job_id}:{attempts}"


def done_channel(job_id: str) -> str:
    """Returns the channel on which a job's final state, or a batch's end, is announced, once."""
    return f"{DONE_CHANNEL_PREFIX}{job_id}"
