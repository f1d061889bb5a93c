"""Erases radiographs that no job needs, and those that were to be kept until now.

The former are killed gateways', and of jobs whose end nobody saw.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_shared.blobs import BlobStore, Partial
from tbscreen_shared.errors import BlobError
from tbscreen_shared.jobs import DeadJobs, JobStore, RetainedUploads

logger = logging.getLogger(__name__)

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

        Raises:
            OSError: the volume can not be read or written.
            RedisError: the job store can not be reached; no upload that is whole is erased then.
        """
        now = time.monotonic()
        # Not by their age: where the wall clock jumps ahead, one that is being written is old.
        self._partial_since = {
            partial: self._partial_since.get(partial, now) for partial in self._blobs.partials()
        }
        erased = 0
        for partial, since in self._partial_since.items():
            if now - since >= self._abandoned_after_s:
                self._blobs.erase_partial(partial)
                erased += 1
        # The volume first: what is committed later is not among the stored, and what is among them
        # had its job recorded, or never will.
        stored = self._blobs.keys(older_than_s=self._abandoned_after_s)
        self._dead.forget_expired()
        needed = self._jobs.needed_blobs()
        self._orphan_since = {
            key: self._orphan_since.get(key, now) for key in stored if key not in needed
        }
        overdue, until_ms = self._retained.overdue()
        for key in overdue:
            # Names of no upload, which only a worker that was taken over writes.
            with suppress(ValueError):
                self._blobs.erase(key)
                erased += 1
        self._retained.forget(until_ms)
        for key, since in self._orphan_since.items():
            if now - since >= self._abandoned_after_s:
                self._blobs.erase(key)
                erased += 1
        return erased

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
