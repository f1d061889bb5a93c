"""Whether another upload can be taken: what the queue and the disk hold bounds what is accepted."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import JobStore

_SHORTEST_S: Final = 1
_LONGEST_S: Final = 300
_STANDSTILL_S: Final = 30
"""What to say while nothing drains, and nobody knows for how long; longest while little does."""

_LITTLE_PER_S: Final = 1.0
"""A rate below it may be that of slow workers, or of fast ones that had little to do."""

_SENDERS_SHARE: Final = 0.75
"""Of the places for uploads: one API key leaves the rest to others, however many it opens."""

_MEMORY_SHARE: Final = 0.9
"""Of what Redis may hold. What a full Redis still does is enough for jobs to end, but kombu, whose
transactions it refuses, can not send or restore a task."""

_BYTES_PER_JOB: Final = 4096
"""What a waiting job may yet grow by, with its entries of the audit log; 3 kB were measured."""

_MEASURE_EVERY_S: Final = 1.0
"""Uploads are counted afresh at most so often: a full volume holds thousands."""


class Admission:
    """Refuses what could not be kept, and says when to come again.

    Args:
        jobs: the job records.
        blobs: where uploads are stored.
        max_queue_length: waiting jobs beyond which uploads are refused.
        max_stored_bytes: bytes of stored uploads beyond which they are refused.
        reserve_bytes: what must stay free on the volume.
        max_concurrent_uploads: uploads received at once; each holds a socket and a file.
    """

    def __init__(
        self,
        jobs: JobStore,
        blobs: BlobStore,
        *,
        max_queue_length: int,
        max_stored_bytes: int,
        reserve_bytes: int,
        max_concurrent_uploads: int,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._max_queue_length = max_queue_length
        self._max_stored_bytes = max_stored_bytes
        self._reserve_bytes = reserve_bytes
        self._slots_left = max_concurrent_uploads
        self._senders_share = max(1, int(max_concurrent_uploads * _SENDERS_SHARE))
        self._slots_of: Counter[str] = Counter()
        self._arriving_bytes = 0
        self._measured_at = -math.inf
        self._stored = (0, 0)

    async def check_open(self, *, jobs: int = 1, size_bytes: int = 0) -> None:
        """Fails before a body is read that could not be accepted.

        Args:
            jobs: how many radiographs it is known to hold; 0 needs no place in the queue.
            size_bytes: what it will take on the volume, as far as that is known. What other
                uploads that have a slot announced counts against the volume's free space as well:
                as a whole, so that of one that is half here the half counts twice.

        Raises:
            Refusal: `queue_full` or `storage_full`, with Retry-After from the measured drain rate.
            BlobError: the upload volume can not be looked at.
            RedisError: the job store can not be reached.
        """
        arriving_bytes = max(size_bytes, self._arriving_bytes)
        await run_in_threadpool(
            self.check, jobs=jobs, size_bytes=size_bytes, arriving_bytes=arriving_bytes
        )

    @contextmanager
    def slot(self, size_bytes: int = 0, *, key_id: str = "") -> Iterator[None]:
        """Takes one of the places for uploads while the block runs.

        Args:
            size_bytes: what the upload will take on the volume, as far as that is known.
            key_id: of the API key that it comes with; empty where none is needed.

        Raises:
            Refusal: `server_busy`; all are taken, or the key's share of them.
        """
        if self._slots_left <= 0:
            raise Refusal(ErrorCode.SERVER_BUSY, "Too many uploads are on their way; try again.")
        if key_id and self._slots_of[key_id] >= self._senders_share:
            raise Refusal(
                ErrorCode.SERVER_BUSY, "Too many uploads with this key are on their way; try again."
            )
        self._slots_left -= 1
        self._slots_of[key_id] += 1
        try:
            with self.announcing(size_bytes):
                yield
        finally:
            self._slots_left += 1
            self._slots_of[key_id] -= 1
            self._slots_of += Counter()  # forgets who has none

    @contextmanager
    def announcing(self, size_bytes: int) -> Iterator[None]:
        """Counts against the volume's free space, for others, what will be written in the block."""
        self._arriving_bytes += size_bytes
        try:
            yield
        finally:
            self._arriving_bytes -= size_bytes

    def check(self, *, jobs: int = 1, size_bytes: int = 0, arriving_bytes: int = 0) -> None:
        """Does what `check_open` does, in the caller's thread.

        Args:
            jobs: see there.
            size_bytes: see there.
            arriving_bytes: what the volume must have room for beyond the reserve.
        """
        self._check_queue(jobs)
        self._check_volume(size_bytes, arriving_bytes)

    def check_on(self, *, jobs: int) -> None:
        """Looks again while an upload of many files is received.

        A Redis that does not answer is no reason to throw away what is here: whether the queue has
        room is seen once more when it is recorded.

        Args:
            jobs: how many radiographs are known by now.

        Raises:
            Refusal: `queue_full` or `storage_full`.
            BlobError: the upload volume can not be looked at.
        """
        with suppress(RedisError):
            self._check_queue(jobs)
        self._check_volume()

    def _check_queue(self, jobs: int) -> None:
        length = self._jobs.queue_length()
        if jobs and length + jobs > self._max_queue_length:
            raise self._queue_full(length, jobs)
        used, may_use = self._jobs.memory_bytes()
        if may_use and used + (length + jobs) * _BYTES_PER_JOB > _MEMORY_SHARE * may_use:
            raise Refusal(
                ErrorCode.STORAGE_FULL, "The job store is full until earlier results expire."
            )

    def _check_volume(self, size_bytes: int = 0, arriving_bytes: int = 0) -> None:
        if time.monotonic() - self._measured_at > _MEASURE_EVERY_S:
            self._stored = self._blobs.usage()
            self._measured_at = time.monotonic()
        count, stored_bytes = self._stored
        excess_bytes = stored_bytes + max(size_bytes, 1) - self._max_stored_bytes
        if excess_bytes > 0:
            excess = math.ceil(excess_bytes * count / max(stored_bytes, 1))
            raise self._refusal(
                ErrorCode.STORAGE_FULL,
                f"{stored_bytes / 2**30:.1f} GiB of radiographs are waiting already.",
                excess=excess,
            )
        if self._blobs.free_bytes() - arriving_bytes < self._reserve_bytes:
            raise self._refusal(ErrorCode.STORAGE_FULL, "The upload volume is full.", excess=1)

    def queue_full(self, jobs: int) -> Refusal:
        """Returns the refusal of what the queue had no room for when it was to be recorded.

        Args:
            jobs: how many radiographs it holds.

        Raises:
            RedisError: the job store can not be reached.
        """
        return self._queue_full(self._jobs.queue_length(), jobs)

    def _queue_full(self, length: int, jobs: int) -> Refusal:
        return self._refusal(
            ErrorCode.QUEUE_FULL,
            f"{length} radiographs are waiting already; try again later.",
            excess=max(length + jobs - self._max_queue_length, 1),
        )

    def _refusal(self, code: ErrorCode, detail: str, *, excess: int) -> Refusal:
        """Returns a refusal for `excess` jobs too many."""
        try:
            rate = self._jobs.drain_rate()
        except RedisError:
            rate = 0.0
        seconds = _STANDSTILL_S if rate <= 0 else math.ceil(excess / rate)
        longest_s = _STANDSTILL_S if rate < _LITTLE_PER_S else _LONGEST_S
        retry_after_s = min(max(seconds, _SHORTEST_S), longest_s)
        return Refusal(code, detail, headers={"Retry-After": str(retry_after_s)})
