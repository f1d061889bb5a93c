"""Erases radiographs that no job needs, and those that were to be kept until now.

The former are killed gateways', and of jobs whose end nobody saw.
"""

import asyncio
import logging
import time
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import BlobError
from tbscreen_shared.jobs import DeadJobs, JobStore, RetainedUploads

logger = logging.getLogger(__name__)

_ABANDONED_AFTER_S: Final = 3600.0
"""How long an upload must be without a job before it is erased.

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

    def sweep(self) -> int:
        """Erases partial uploads, orphans that are old enough and what was kept; returns how many.

        Raises:
            OSError: the volume can not be read or written.
            RedisError: the job store can not be reached; nothing is erased then.
        """
        erased = self._blobs.erase_partials(older_than_s=self._abandoned_after_s)
        now = time.monotonic()
        # The volume first: what is committed later is not among the stored, and what is among them
        # had its job recorded, or never will.
        stored = self._blobs.keys(older_than_s=self._abandoned_after_s)
        self._dead.forget_expired()
        needed = self._jobs.needed_blobs()
        self._orphan_since = {
            key: self._orphan_since.get(key, now) for key in stored if key not in needed
        }
        for key in self._retained.overdue():
            self._blobs.erase(key)
            self._retained.forget(key)
            erased += 1
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
