"""Makes an upload a job: a 202 is a promise, so nothing is accepted by halves."""

import asyncio
import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import uuid6
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.task_queue import TaskQueue
from tbscreen_gateway.uploads import Upload
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import NOBODY, Binding, IdempotencyKeys, JobStore, NewJob, Requester

logger = logging.getLogger(__name__)

_TWIN_WAIT_S: Final = 5.0
"""How long a repeated request waits for the first one of its key to be accepted or refused."""

_TWIN_POLL_S: Final = 0.05
_UNDO_RETRY_S: Final = 1.0


@dataclass(frozen=True)
class Origin:
    """Where an upload comes from, and what its sender asked for.

    Attributes:
        requester: who sent it.
        idempotency_key: as sent; None for none. It counts for this requester's API key alone.
        callback_url: where to send the job when it has ended, checked; empty for nowhere.
        batch_id: the batch that it belongs to; empty for none.
    """

    requester: Requester = NOBODY
    idempotency_key: str | None = None
    callback_url: str = ""
    batch_id: str = ""

    @property
    def digest(self) -> str | None:
        """What stands for the Idempotency-Key in Redis; None without one."""
        if self.idempotency_key is None:
            return None
        return hashlib.sha256(
            f"{self.requester.key_id} {self.idempotency_key}".encode()
        ).hexdigest()


@dataclass(frozen=True)
class Accepted:
    """A job that will be done. `replayed`: by an earlier request with the same Idempotency-Key."""

    job_id: str
    replayed: bool


class Intake:
    """Turns uploads into jobs, each Idempotency-Key into one."""

    def __init__(
        self,
        jobs: JobStore,
        keys: IdempotencyKeys,
        blobs: BlobStore,
        tasks: TaskQueue,
        metrics: Metrics,
    ) -> None:
        self._jobs = jobs
        self._keys = keys
        self._blobs = blobs
        self._tasks = tasks
        self._metrics = metrics
        self._undoing: set[asyncio.Task[None]] = set()

    async def accept(self, upload: Upload, origin: Origin) -> Accepted:
        """Records and enqueues the upload, or finds the job that its key has made already.

        Raises:
            Refusal: `broker_unavailable` or `idempotency_conflict`; the upload is erased.
            RedisError: likewise.
        """
        job_id = str(uuid6.uuid7())
        digest = origin.digest
        try:
            if digest is not None:
                earlier = await self._claim_key(digest, job_id, upload.sha256)
                if earlier is not None:
                    await run_in_threadpool(self._blobs.erase, upload.blob)
                    self._metrics.replayed.inc()
                    return Accepted(earlier, replayed=True)
            await run_in_threadpool(self._record_and_send, job_id, upload, origin)
        except BaseException:
            await self._undo(job_id, digest, upload.blob)
            raise
        if digest is not None:
            await self._confirm_key(digest, job_id, upload.sha256)
        self._metrics.accepted.inc()
        return Accepted(job_id, replayed=False)

    async def close(self) -> None:
        """Gives up on what could not be undone."""
        for task in self._undoing:
            task.cancel()
        await asyncio.gather(*self._undoing, return_exceptions=True)

    def _record_and_send(self, job_id: str, upload: Upload, origin: Origin) -> None:
        # The id is new, so a record of that id is this one's: Redis ran the call, lost the answer,
        # and the client repeated it.
        with suppress(ValueError):
            self._jobs.create(
                NewJob(
                    id=job_id,
                    blob=upload.blob,
                    sha256=upload.sha256,
                    format=upload.format,
                    size_bytes=upload.size_bytes,
                    requester=origin.requester,
                    callback_url=origin.callback_url,
                    batch_id=origin.batch_id,
                )
            )
        self._tasks.send(job_id)

    async def _claim_key(self, digest: str, job_id: str, sha256: str) -> str | None:
        """Returns the id of the job that the key has made, None when the key is ours now."""
        deadline = asyncio.get_running_loop().time() + _TWIN_WAIT_S
        while True:
            earlier = await run_in_threadpool(self._keys.remember, digest, job_id, sha256)
            if earlier is None or earlier.job_id == job_id:
                return None
            if earlier.sha256 != sha256:
                raise Refusal(
                    ErrorCode.IDEMPOTENCY_CONFLICT,
                    "This Idempotency-Key came with another file before; use a new key.",
                )
            if await self._still_stands(digest, earlier):
                return earlier.job_id
            if asyncio.get_running_loop().time() > deadline:
                raise Refusal(
                    ErrorCode.BROKER_UNAVAILABLE,
                    "The first request with this Idempotency-Key is still being accepted.",
                )
            await asyncio.sleep(_TWIN_POLL_S)

    async def _still_stands(self, digest: str, earlier: Binding) -> bool:
        if not earlier.accepted:
            return False
        if await run_in_threadpool(self._jobs.get, earlier.job_id) is not None:
            return True
        # It was deleted since: the key is free for a new job.
        await run_in_threadpool(self._keys.forget, digest, earlier.job_id)
        return False

    async def _confirm_key(self, digest: str, job_id: str, sha256: str) -> None:
        try:
            await run_in_threadpool(self._keys.confirm, digest, job_id, sha256)
        except RedisError:
            # The job is accepted all the same; only a repeat within the day would make another.
            logger.warning("could not confirm an idempotency key", extra={"job_id": job_id})

    async def _undo(self, job_id: str, digest: str | None, blob: str) -> None:
        """Takes everything back. What needs Redis is tried until Redis is back.

        Without the retry the record would be given a task after all, and its upload is erased.
        """
        self._blobs.erase(blob)
        if not await self._try_undo(job_id, digest):
            task = asyncio.create_task(self._keep_undoing(job_id, digest))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)

    async def _keep_undoing(self, job_id: str, digest: str | None) -> None:
        while not await self._try_undo(job_id, digest):
            await asyncio.sleep(_UNDO_RETRY_S)

    async def _try_undo(self, job_id: str, digest: str | None) -> bool:
        def undo() -> None:
            self._jobs.discard(job_id)
            if digest is not None:
                self._keys.forget(digest, job_id)

        try:
            await run_in_threadpool(undo)
        except RedisError:
            return False
        return True
