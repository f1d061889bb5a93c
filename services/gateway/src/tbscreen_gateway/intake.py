"""Makes an upload a job: a 202 is a promise, so nothing is accepted by halves."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass

import uuid6

from tbscreen_gateway.incoming import Upload
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.task_queue import TaskQueue
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.jobs import NOBODY, UNCONFIRMED_S, IdempotencyKeys, JobStore, NewJob, Requester


@dataclass(frozen=True)
class Origin:
    """Where an upload comes from, and what its sender asked for.

    Attributes:
        requester: who sent it.
        idempotency_key: as sent; None for none. It counts for this requester's API key alone.
        callback_url: where to send the job when it has ended, checked; empty for nowhere.
    """

    requester: Requester = NOBODY
    idempotency_key: str | None = None
    callback_url: str = ""

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
        seals: CallbackSeals,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._tasks = tasks
        self._metrics = metrics
        self._seals = seals
        self._promises = Promises(keys, lambda job_id: jobs.get(job_id) is not None)

    async def accept(self, upload: Upload, origin: Origin) -> Accepted:
        """Records and enqueues the upload, or finds the job that its key has made already.

        Raises:
            Refusal: `broker_unavailable` or `idempotency_conflict`; the upload is erased.
            RedisError: likewise.
        """
        job = new_job(upload, origin, self._seals)
        offer = _JobOffer(job, self._jobs, self._blobs, self._tasks)
        promise = await self._promises.make(offer, origin.digest)
        (self._metrics.replayed if promise.replayed else self._metrics.accepted).inc()
        return Accepted(promise.id, promise.replayed)

    async def close(self) -> None:
        """Gives up on what could not be undone."""
        await self._promises.close()


def new_job(upload: Upload, origin: Origin, seals: CallbackSeals, *, batch_id: str = "") -> NewJob:
    """Returns the job that an upload is to become, under a new id."""
    job_id = str(uuid6.uuid7())
    return NewJob(
        id=job_id,
        blob=upload.blob,
        sha256=upload.sha256,
        format=upload.format,
        size_bytes=upload.size_bytes,
        requester=origin.requester,
        callback_url=origin.callback_url,
        callback_seal=seals.seal(job_id, origin.callback_url),
        batch_id=batch_id,
    )


@dataclass(frozen=True)
class _JobOffer:
    """See `Offer`."""

    job: NewJob
    jobs: JobStore
    blobs: BlobStore
    tasks: TaskQueue
    pending_s: int = UNCONFIRMED_S

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def fingerprint(self) -> str:
        return self.job.sha256

    def make(self) -> None:
        # The id is new, so a record of that id is this one's: Redis ran the call, lost the answer,
        # and the client repeated it.
        with suppress(ValueError):
            self.jobs.create(self.job)
        self.tasks.send(self.id)

    def unmake(self) -> None:
        self.jobs.discard(self.id)

    def erase_uploads(self) -> None:
        self.blobs.erase(self.job.blob)
