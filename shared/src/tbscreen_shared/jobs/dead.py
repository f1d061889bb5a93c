"""Jobs given up after too many deliveries: listed with their uploads until their records expire."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from redis import Redis

from tbscreen_shared.contracts import Job
from tbscreen_shared.jobs.creation import NOBODY, Requester, queue_bound
from tbscreen_shared.jobs.keys import DEAD, job_key
from tbscreen_shared.jobs.records import to_job
from tbscreen_shared.jobs.transitions import PRELUDE

_RETRY: Final = (
    PRELUDE
    + """
-- ARGV: id, id of the new job, its blob, bytes, key id, request id, its callback's seal,
--   how many jobs may wait or ''
local id, new = ARGV[1], ARGV[2]
local sha256, format, callback, retried_as = unpack(
  redis.call('HMGET', JOB .. id, 'sha256', 'format', 'callback', 'retried_as'))
if not sha256 then return {'gone', ''} end
if retried_as then return {'retried', retried_as} end
if not redis.call('ZSCORE', DEAD, id) then return {'not_dead', ''} end
if not has_room(1, ARGV[8]) then return {'full', ''} end
create_job(new, {ARGV[3], sha256, format, ARGV[4], ARGV[5], ARGV[6], callback or '', '', id,
  ARGV[7]})
redis.call('HSET', JOB .. id, 'retried_as', new)
redis.call('ZREM', DEAD, id)
return {'retried', new}
"""
)

_SEPARATOR: Final = "."


class RetryOutcome(StrEnum):
    """What became of the wish to try a dead job again."""

    RETRIED = "retried"
    NOT_DEAD = "not_dead"
    GONE = "gone"
    FULL = "full"
    """The queue had no room for it."""


@dataclass(frozen=True)
class Retry:
    """A retry. `job_id` is the new job's, or the one that an earlier retry made; else empty."""

    outcome: RetryOutcome
    job_id: str


@dataclass(frozen=True)
class DeadPage:
    """A part of the list.

    Attributes:
        jobs: the latest given up first.
        next_cursor: where the next page begins; None after the last.
        total: how many are on the list, with those of other pages.
    """

    jobs: list[Job]
    next_cursor: str | None
    total: int


class DeadJobs:
    """The dead-letter list. Every method may raise `redis.exceptions.RedisError`.

    Args:
        redis: where it is.
        result_ttl_s: for how long a finished job is kept.
        max_queue_length: how many jobs may wait; None for any number.
    """

    def __init__(
        self, redis: "Redis", *, result_ttl_s: int, max_queue_length: int | None = None
    ) -> None:
        self._redis = redis
        self._bound = queue_bound(max_queue_length)
        self._ttl_s = result_ttl_s
        self._retry = redis.register_script(_RETRY)

    def count(self) -> int:
        """Returns how many there are."""
        return int(self._redis.zcard(DEAD))

    def contains(self, job_id: str) -> bool:
        """Tells whether a job is on the list."""
        return self._redis.zscore(DEAD, job_id) is not None

    def page(self, *, limit: int, cursor: str | None = None) -> DeadPage:
        """Returns a part of the list.

        Args:
            limit: jobs on a page, at least 1.
            cursor: from the page before; None for the first.

        Raises:
            ValueError: the cursor is none.
        """
        before_ms, before_id = _read_cursor(cursor)
        listed: list[tuple[str, float]] = []
        offset, more = 0, True
        # Jobs given up in the same millisecond come by id, backwards.
        while more and len(listed) <= limit:
            found = cast(
                "list[tuple[str, float]]",
                self._redis.zrange(
                    *(DEAD, before_ms, "-inf"),
                    desc=True,
                    withscores=True,
                    byscore=True,
                    offset=offset,
                    num=limit + 1,
                ),
            )
            listed += [one for one in found if (one[1], one[0]) < (float(before_ms), before_id)]
            offset, more = offset + len(found), len(found) > limit
        shown = listed[:limit]
        last_id, last_ms = shown[-1] if shown else ("", 0.0)
        return DeadPage(
            jobs=self._jobs([job_id for job_id, _ in shown]),
            next_cursor=f"{last_ms:.0f}{_SEPARATOR}{last_id}" if len(listed) > limit else None,
            total=self.count(),
        )

    def retry(
        self,
        job_id: str,
        *,
        new_id: str,
        blob: str,
        size_bytes: int,
        by: Requester = NOBODY,
        callback_seal: str = "",
    ) -> Retry:
        """Makes a new job of a dead one, which leaves the list and otherwise stays as it is.

        A job is retried once: a later call answers with the first one's job.

        Args:
            job_id: the dead job.
            new_id: UUIDv7 of the job to be made.
            blob: the new job's own upload, the dead one's bytes.
            size_bytes: of the upload.
            by: who wants it.
            callback_seal: of the dead job's callback URL, for the new job.
        """
        outcome, made = self._retry(
            args=[
                *(job_id, new_id, blob, size_bytes, by.key_id, by.request_id),
                *(callback_seal, self._bound),
            ]
        )
        return Retry(RetryOutcome(outcome), made)

    def retried_as(self, job_id: str) -> str | None:
        """Returns the id of the job that a retry of this one made; None where there was none."""
        return cast("str | None", self._redis.hget(job_key(job_id), "retried_as"))

    def forget_expired(self) -> None:
        """Takes the jobs off the list whose records have expired."""
        seconds, _ = self._redis.time()
        self._redis.zremrangebyscore(DEAD, "-inf", (seconds - self._ttl_s) * 1000)

    def _jobs(self, job_ids: list[str]) -> list[Job]:
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(job_key(job_id))
            records = cast("list[dict[str, str]]", pipe.execute())
        return [
            to_job(job_id, fields, rank=None)
            for job_id, fields in zip(job_ids, records, strict=True)
            if fields
        ]


def _read_cursor(cursor: str | None) -> tuple[str, str]:
    """Returns the time in milliseconds and the id before which the page begins."""
    if cursor is None:
        return "+inf", ""
    milliseconds, _, job_id = cursor.partition(_SEPARATOR)
    if not (milliseconds.isascii() and milliseconds.isdecimal()) or len(milliseconds) > 15:
        raise ValueError("not a cursor")
    return milliseconds, job_id
