"""Erases radiographs that no job needs, and those that were to be kept until now.

The former are killed gateways', and of jobs whose end nobody saw.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final, TypeVar

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.discarding import discard, discard_partials
from tbscreen_shared.blobs import BlobStore, Partial
from tbscreen_shared.errors import BlobError
from tbscreen_shared.jobs import DeadJobs, JobStore, RetainedUploads

logger = logging.getLogger(__name__)

_File = TypeVar("_File", str, Partial)

_ABANDONED_AFTER_S: Final = 3600.0
"""How long an upload must be without a job, or one that is not whole without a write, before it is
erased.

Seen so by this process, not by the file's age alone: a Redis that is restored from a backup knows
its jobs again within the hour, and finds their uploads.
"""

_INTERVAL_S: Final = 600.0


class Sweeper:
    """Looks for what is on the upload volume without reason."""

    def __init__(
        self,
        jobs: JobStore,
        dead: DeadJobs,
        retained: RetainedUploads,
        blobs: BlobStore,
        *,
        abandoned_after_s: float = _ABANDONED_AFTER_S,
    ) -> None:
        self._jobs = jobs
        self._dead = dead
        self._retained = retained
        self._blobs = blobs
        self._abandoned_after_s = abandoned_after_s
        self._orphan_since: dict[str, float] = {}
        self._partial_since: dict[Partial, float] = {}

    def sweep(self) -> int:
        """Erases partial uploads, orphans that are old enough and what was kept; returns how many.

        What can not be erased is logged, and keeps nothing else from it.

        Raises:
            OSError: the volume can not be read.
            RedisError: the job store can not be reached; nothing that a job may need is erased.
        """
        now = time.monotonic()
        # Not by their age: where the wall clock jumps ahead, one that is being written is old.
        self._partial_since = {
            partial: self._partial_since.get(partial, now) for partial in self._blobs.partials()
        }
        erased = discard_partials(self._blobs, self._old(self._partial_since, now))
        # The volume first: what is committed later is not among the stored, and what is among them
        # had its job recorded, or never will.
        stored = self._blobs.keys(older_than_s=self._abandoned_after_s)
        self._dead.forget_expired()
        needed = self._jobs.needed_blobs()
        self._orphan_since = {
            key: self._orphan_since.get(key, now) for key in stored if key not in needed
        }
        overdue, until_ms = self._retained.overdue()
        # What stays although it was to go is an orphan from now on.
        erased += discard(self._blobs, overdue)
        self._retained.forget(until_ms)
        return erased + discard(self._blobs, self._old(self._orphan_since, now))

    def _old(self, since: Mapping[_File, float], now: float) -> list[_File]:
        return [file for file, at in since.items() if now - at >= self._abandoned_after_s]

    async def run(self) -> None:
        """Sweeps every few minutes, for ever."""
        while True:
            try:
                erased = await run_in_threadpool(self.sweep)
            except (OSError, BlobError, RedisError) as error:
                logger.warning(
                    "could not sweep abandoned uploads", extra={"error": type(error).__name__}
                )
            else:
                if erased:
                    logger.info("erased abandoned uploads", extra={"count": erased})
            await asyncio.sleep(_INTERVAL_S)
