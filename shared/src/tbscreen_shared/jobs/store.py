"""Reads and changes job records. Synchronous: a call takes well under a millisecond."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, cast

from redis import Redis

from tbscreen_shared.contracts import ImageFormat, Job, JobError, JobResult, JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import transitions
from tbscreen_shared.jobs.keys import (
    DEAD,
    QUEUED,
    done_channel,
    idempotency_key,
    job_key,
    resent_key,
)

_UNCONFIRMED_S: Final = 10
"""How long an Idempotency-Key waits for its job's acceptance; then a gateway died doing it.

Accepting takes milliseconds, and a repeat is put off for so long after such a death. A Redis that
hangs for longer may make a repeat a second job: that costs a reading, and loses nothing.
"""

_WORKER_LOST: Final = JobError(
    code=ErrorCode.WORKER_LOST,
    message="the workers that took this job were lost each time; it was given up",
)


@dataclass(frozen=True)
class NewJob:
    """An accepted upload, about to become a job."""

    id: str
    blob: str
    sha256: str
    format: ImageFormat


class ClaimOutcome(StrEnum):
    """What a worker is told when it takes a delivery in hand."""

    CLAIMED = "claimed"
    GONE = "gone"
    FINISHED = "finished"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True)
class Claim:
    """A delivery in a worker's hand. `blob` and `sha256` are empty where the job is gone.

    `claimed_at` is this delivery's time, `started_at` the first one's.
    """

    outcome: ClaimOutcome
    attempt: int
    claimed_at: datetime
    blob: str
    sha256: str
    created_at: datetime | None
    started_at: datetime | None


class CancelOutcome(StrEnum):
    """What DELETE did: canceled an unfinished job, erased a finished one, or found nothing."""

    CANCELED = "canceled"
    ERASED = "erased"
    GONE = "gone"


class Binding(NamedTuple):
    """The job that an Idempotency-Key made, and whether its task has reached the queue."""

    job_id: str
    sha256: str
    accepted: bool


class JobStore:
    """The records of all jobs in one Redis.

    Every method may raise `redis.exceptions.RedisError` when Redis can not be reached.
    """

    def __init__(self, redis: "Redis", *, result_ttl_s: int, max_attempts: int) -> None:
        self._redis = redis
        self._ttl_s = result_ttl_s
        self._max_attempts = max_attempts
        self._create = redis.register_script(transitions.CREATE)
        self._discard = redis.register_script(transitions.DISCARD)
        self._claim = redis.register_script(transitions.CLAIM)
        self._finish = redis.register_script(transitions.FINISH)
        self._cancel = redis.register_script(transitions.CANCEL)
        self._forget = redis.register_script(transitions.FORGET)

    def create(self, job: NewJob) -> None:
        """Records a job as queued. Its task is enqueued after this, never before.

        Raises:
            ValueError: the id is taken.
        """
        made = self._create(
            keys=[job_key(job.id), QUEUED], args=[job.id, job.blob, job.sha256, job.format]
        )
        if not made:
            raise ValueError(f"job {job.id} exists already")

    def discard(self, job_id: str) -> None:
        """Takes back a job whose task could not be enqueued; nobody was promised anything."""
        self._discard(keys=[job_key(job_id), QUEUED], args=[job_id])

    def get(self, job_id: str) -> Job | None:
        """Returns the job, or None for an unknown or expired id."""
        fields = cast("dict[str, str]", self._redis.hgetall(job_key(job_id)))
        if not fields:
            return None
        rank = None
        if fields["status"] == JobStatus.QUEUED:
            rank = cast("int | None", self._redis.zrank(QUEUED, job_id))
        return _to_job(job_id, fields, rank)

    def blob_of(self, job_id: str) -> str | None:
        """Returns the key of the job's upload, or None for an unknown or expired id."""
        return cast("str | None", self._redis.hget(job_key(job_id), "blob"))

    def queue_length(self) -> int:
        """Returns how many jobs wait for a worker."""
        return int(self._redis.zcard(QUEUED))

    def overdue(self, *, older_than_s: float, limit: int) -> list[str]:
        """Returns the ids of the longest queued jobs, oldest first, by Redis' own clock."""
        seconds, microseconds = self._redis.time()
        before_ms = seconds * 1000 + microseconds // 1000 - int(older_than_s * 1000)
        return cast(
            "list[str]",
            self._redis.zrange(QUEUED, "-inf", before_ms, byscore=True, offset=0, num=limit),
        )

    def may_resend(self, job_id: str, *, every_s: int) -> bool:
        """Tells one caller in each `every_s` seconds, of all gateways, to send a job's task."""
        return bool(self._redis.set(resent_key(job_id), "", nx=True, ex=every_s))

    def claim(self, job_id: str) -> Claim:
        """Takes a delivery in hand and counts it.

        A job that was delivered `max_attempts` times without an outcome is failed here with
        `worker_lost` and put on the dead-letter list, so that a poison image can not loop.
        """
        key = job_key(job_id)
        outcome, attempt, claimed_at = self._claim(
            keys=[key, QUEUED, DEAD],
            args=[
                job_id,
                self._max_attempts,
                self._ttl_s,
                done_channel(job_id),
                _WORKER_LOST.model_dump_json(),
                _call_token(),
            ],
        )
        blob, sha256, created_at, started_at = cast(
            "list[str | None]",
            self._redis.hmget(key, ["blob", "sha256", "created_at", "started_at"]),
        )
        return Claim(
            ClaimOutcome(outcome),
            int(attempt),
            _to_time(claimed_at),
            blob or "",
            sha256 or "",
            _to_time(created_at) if created_at else None,
            _to_time(started_at) if started_at else None,
        )

    def succeed(self, job_id: str, result: JobResult) -> bool:
        """Records a result; False when the job had finished, or was canceled or erased, before."""
        return self._end(job_id, JobStatus.SUCCEEDED, "result", result.model_dump_json())

    def fail(self, job_id: str, error: JobError) -> bool:
        """Records an error; False when the job had finished, or was canceled or erased, before."""
        return self._end(job_id, JobStatus.FAILED, "error", error.model_dump_json())

    def cancel(self, job_id: str) -> CancelOutcome:
        """Cancels an unfinished job (a run in hand is then ignored) or erases a finished one."""
        outcome = self._cancel(
            keys=[job_key(job_id), QUEUED],
            args=[job_id, self._ttl_s, done_channel(job_id), _call_token()],
        )
        return CancelOutcome(outcome)

    def remember(self, digest: str, job_id: str, sha256: str) -> Binding | None:
        """Binds an idempotency digest to a job unless it is bound; returns the earlier binding.

        The binding is provisional until `confirm`: whoever repeats the request before must not be
        promised a job that may yet be refused.

        Returns:
            The earlier binding, or None when this one is the first.
        """
        key = idempotency_key(digest)
        while True:
            # SET with NX and GET together needs Redis 7; the embedded server is 6.2.
            if self._redis.set(key, f"{job_id} {sha256} pending", nx=True, ex=_UNCONFIRMED_S):
                return None
            earlier = cast("str | None", self._redis.get(key))
            if earlier is not None:
                earlier_id, earlier_sha256, state = earlier.split(" ")
                return Binding(earlier_id, earlier_sha256, state == "accepted")

    def confirm(self, digest: str, job_id: str, sha256: str) -> None:
        """Makes a binding last: its job's task has reached the queue."""
        self._redis.set(idempotency_key(digest), f"{job_id} {sha256} accepted", ex=self._ttl_s)

    def forget(self, digest: str, job_id: str) -> None:
        """Frees an idempotency digest unless another job has taken it since."""
        self._forget(keys=[idempotency_key(digest)], args=[job_id])

    def _end(self, job_id: str, status: JobStatus, field: str, value: str) -> bool:
        ended = self._finish(
            keys=[job_key(job_id), QUEUED],
            args=[job_id, status, field, value, self._ttl_s, done_channel(job_id)],
        )
        return bool(ended)


def _call_token() -> str:
    """Names one call, so that a script knows a repeat that redis-py makes of it."""
    return uuid.uuid4().hex


def _to_job(job_id: str, fields: dict[str, str], rank: int | None) -> Job:
    result, error = fields.get("result"), fields.get("error")

    def time_of(field: str) -> datetime | None:
        return _to_time(fields[field]) if field in fields else None

    return Job(
        id=job_id,
        status=JobStatus(fields["status"]),
        created_at=_to_time(fields["created_at"]),
        started_at=time_of("started_at"),
        finished_at=time_of("finished_at"),
        attempts=int(fields["attempts"]),
        queue_position=None if rank is None else rank + 1,
        result=JobResult.model_validate_json(result) if result else None,
        error=JobError.model_validate_json(error) if error else None,
        expires_at=time_of("expires_at"),
    )


def _to_time(milliseconds: str | int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC)
