"""Reads and changes job records. Synchronous: a call takes well under a millisecond."""

import itertools
import uuid
from typing import Final, cast

from redis import Redis

from tbscreen_shared.contracts import Job, JobError, JobResult, JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import transitions
from tbscreen_shared.jobs.creation import (
    NOBODY,
    Creation,
    IdempotencyKey,
    NewJob,
    Requester,
    creation_arguments,
)
from tbscreen_shared.jobs.keys import (
    DEAD,
    DRAIN_BUCKET_S,
    DRAIN_WINDOW_S,
    QUEUED,
    RETAINED,
    STARTED,
    drained_key,
    job_key,
    lease_key,
    resent_key,
)
from tbscreen_shared.jobs.outcomes import CancelOutcome, Claim, ClaimOutcome
from tbscreen_shared.jobs.records import to_job, to_time

LEASE_S: Final = 5
"""A job whose worker has not renewed its lease for so long is given to another.

Renewed each second. A decoder that holds Python's lock for as long makes a job run twice, which
costs a reading: the first result stands.
"""

_WORKER_LOST: Final = JobError(
    code=ErrorCode.WORKER_LOST,
    message="the workers that took this job were lost each time; it was given up",
)


class JobStore:
    """The records of all jobs in one Redis.

    Every method may raise `redis.exceptions.RedisError` when Redis can not be reached.

    Args:
        redis: where they are.
        result_ttl_s: for how long a finished job is kept.
        max_attempts: deliveries after which a job is given up.
        retain_uploads_s: for how long a finished job's upload is kept.
        max_queue_length: how many jobs may wait; None for any number.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        result_ttl_s: int,
        max_attempts: int,
        retain_uploads_s: int = 0,
        max_queue_length: int | None = None,
    ) -> None:
        self._redis = redis
        self._max_queue_length = max_queue_length
        self._ttl_s = result_ttl_s
        self._max_attempts = max_attempts
        self._retain_s = retain_uploads_s
        self._create = redis.register_script(transitions.CREATE)
        self._claim = redis.register_script(transitions.CLAIM)
        self._renew = redis.register_script(transitions.RENEW)
        self._release = redis.register_script(transitions.RELEASE)
        self._finish = redis.register_script(transitions.FINISH)
        self._cancel = redis.register_script(transitions.CANCEL)

    def create(self, job: NewJob, key: IdempotencyKey | None = None) -> Creation:
        """Records a job as queued, unless its key has made one, or too many wait.

        Its task is sent after this.
        """
        return Creation.of(
            self._create(
                args=[
                    *(job.id, job.blob, job.sha256, job.format, job.size_bytes),
                    *(job.requester.key_id, job.requester.request_id),
                    *(job.callback_url, job.batch_id, job.retry_of, job.callback_seal),
                    *creation_arguments(key, max_queue_length=self._max_queue_length),
                ]
            )
        )

    def get(self, job_id: str) -> Job | None:
        """Returns the job, or None for an unknown or expired id."""
        fields = cast("dict[str, str]", self._redis.hgetall(job_key(job_id)))
        if not fields:
            return None
        rank = None
        if fields["status"] == JobStatus.QUEUED:
            rank = cast("int | None", self._redis.zrank(QUEUED, job_id))
        return to_job(job_id, fields, rank)

    def blob_of(self, job_id: str) -> str | None:
        """Returns the key of the job's upload, or None for an unknown or expired id."""
        return cast("str | None", self._redis.hget(job_key(job_id), "blob"))

    def needed_blobs(self) -> set[str]:
        """Returns the keys of the uploads of jobs unfinished or given up, and of retained ones."""
        # Not in MULTI, which a full Redis refuses: in the order that jobs go through them instead.
        with self._redis.pipeline(transaction=False) as pipe:
            for members in (QUEUED, STARTED, DEAD, RETAINED):
                pipe.zrange(members, 0, -1)
            *listed, retained = cast("list[list[str]]", pipe.execute())
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in itertools.chain.from_iterable(listed):
                pipe.hget(job_key(job_id), "blob")
            found = cast("list[str | None]", pipe.execute())
        return {*retained, *(blob for blob in found if blob)}

    def queue_length(self) -> int:
        """Returns how many jobs wait for a worker."""
        return int(self._redis.zcard(QUEUED))

    def memory_bytes(self) -> tuple[int, int]:
        """Returns what Redis holds, and how much it may; 0 for any amount."""
        memory = cast("dict[str, int]", self._redis.info("memory"))
        return memory["used_memory"], memory["maxmemory"]

    def drain_rate(self) -> float:
        """Returns how many jobs ended per second in the busiest 10 s of the last minute.

        By Redis' own clock, in stretches of `DRAIN_BUCKET_S`. Not over the whole minute: workers
        that had little to do for most of it are not slow.
        """
        seconds, _ = self._redis.time()
        newest = seconds // DRAIN_BUCKET_S
        buckets = range(newest - DRAIN_WINDOW_S // DRAIN_BUCKET_S, newest + 1)
        counts = cast("list[str | None]", self._redis.mget([drained_key(n) for n in buckets]))
        return max(int(count or 0) for count in counts) / DRAIN_BUCKET_S

    def overdue(self, *, older_than_s: float, limit: int) -> list[str]:
        """Returns the ids of the longest queued jobs, oldest first, by Redis' own clock.

        And of those from that clock's future, recorded before it was set back; `limit` of each.
        """
        seconds, microseconds = self._redis.time()
        now_ms, margin_ms = seconds * 1000 + microseconds // 1000, int(older_than_s * 1000)
        with self._redis.pipeline(transaction=False) as both:
            for first, last in (("-inf", now_ms - margin_ms), (f"({now_ms + margin_ms}", "+inf")):
                both.zrange(QUEUED, first, last, byscore=True, offset=0, num=limit)
            return [*itertools.chain.from_iterable(cast("list[list[str]]", both.execute()))]

    def queued_among(self, job_ids: list[str]) -> list[str]:
        """Returns those of the jobs that are queued."""
        if not job_ids:
            return []
        since = self._redis.zmscore(QUEUED, job_ids)
        return [job_id for job_id, at in zip(job_ids, since, strict=True) if at is not None]

    def abandoned(self, *, limit: int) -> list[str]:
        """Returns the ids of started jobs that no living worker has in hand, longest first."""
        started = cast("list[str]", self._redis.zrange(STARTED, 0, limit - 1))
        if not started:
            return []
        leases = cast(
            "list[str | None]", self._redis.mget([lease_key(job_id) for job_id in started])
        )
        return [job_id for job_id, lease in zip(started, leases, strict=True) if lease is None]

    def may_resend(self, job_id: str, *, every_s: int) -> bool:
        """Tells one caller in each `every_s` s, of all gateways, to send a task after each loss."""
        return bool(self._redis.set(self._resent_key(job_id), "", nx=True, ex=every_s))

    def not_resent(self, job_id: str) -> None:
        """Takes back what `may_resend` noted: the task could not be sent."""
        self._redis.delete(self._resent_key(job_id))

    def claim(self, job_id: str, *, worker: str, lost_worker: str = "") -> Claim:
        """Takes a delivery in hand, counts it, and leases the job to the worker for `LEASE_S`.

        A job that was delivered `max_attempts` times without an outcome is failed here with
        `worker_lost` and put on the dead-letter list, so that a poison image can not loop. One
        that another worker has in hand is HELD; its delivery may be dropped, since the gateway
        sends another when the lease lapses.

        Args:
            job_id: the job.
            worker: name of the claiming process, never used by another.
            lost_worker: a holder that the caller knows to be dead; its lease counts no more.
        """
        outcome, attempt, claimed_at, holder = self._claim(
            args=[
                *(job_id, self._max_attempts, self._ttl_s, _WORKER_LOST.model_dump_json()),
                *(_call_token(), worker, LEASE_S, lost_worker),
            ]
        )
        blob, sha256, created_at, started_at = cast(
            "list[str | None]",
            self._redis.hmget(job_key(job_id), ["blob", "sha256", "created_at", "started_at"]),
        )
        return Claim(
            ClaimOutcome(outcome),
            int(attempt),
            to_time(claimed_at),
            blob or "",
            sha256 or "",
            to_time(created_at) if created_at else None,
            to_time(started_at) if started_at else None,
            holder,
        )

    def renew(self, job_id: str, *, worker: str) -> bool:
        """Keeps a started job leased; False when another worker has it, or it has ended."""
        return bool(self._renew(args=[job_id, worker, LEASE_S]))

    def release(self, job_id: str, *, worker: str, counts: bool = True) -> None:
        """Gives the lease back, without an outcome; `counts` the delivery as an attempt or not."""
        self._release(args=[job_id, worker, int(counts)])

    def succeed(self, job_id: str, result: JobResult) -> bool:
        """Records a result; False when the job had finished, or was canceled or erased, before."""
        model, value = result.model, result.model_dump_json()
        return self._end(
            job_id, JobStatus.SUCCEEDED, "result", value, of=model.sha256, version=model.version
        )

    def fail(self, job_id: str, error: JobError) -> bool:
        """Records an error; False when the job had finished, or was canceled or erased, before."""
        value = error.model_dump_json()
        return self._end(job_id, JobStatus.FAILED, "error", value, of=error.code)

    def cancel(
        self, job_id: str, by: Requester = NOBODY, *, only_unfinished: bool = False
    ) -> CancelOutcome:
        """Cancels an unfinished job (a run in hand is then ignored) or erases a finished one.

        With `only_unfinished` a finished one stays; one that was canceled is CANCELED again.
        """
        who, leaves = (by.key_id, by.request_id), int(only_unfinished)
        return CancelOutcome(self._cancel(args=[job_id, self._ttl_s, _call_token(), *who, leaves]))

    def _resent_key(self, job_id: str) -> str:
        return resent_key(job_id, int(self._redis.hget(job_key(job_id), "attempts") or 0))

    def _end(
        self, job_id: str, status: JobStatus, field: str, value: str, *, of: str, version: str = ""
    ) -> bool:
        ended = self._finish(
            args=[job_id, status, field, value, self._ttl_s, of, version, self._retain_s]
        )
        return bool(ended)


def _call_token() -> str:
    """Names one call, so that a script knows a repeat that redis-py makes of it."""
    return uuid.uuid4().hex
