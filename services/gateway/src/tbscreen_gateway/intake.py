"""Makes an upload a job: a 202 is a promise, so nothing is accepted by halves."""

import hashlib
from dataclasses import dataclass

import uuid6

from tbscreen_gateway.discarding import discard
from tbscreen_gateway.incoming import Upload
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.task_queue import TaskQueue
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.jobs import (
    NOBODY,
    Creation,
    IdempotencyKey,
    JobStore,
    NewJob,
    Requester,
)


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
    def key_digest(self) -> str | None:
        """Stands for the Idempotency-Key in Redis, whatever came with it; None without one."""
        if self.idempotency_key is None:
            return None
        return hashlib.sha256(
            f"{self.requester.key_id} {self.idempotency_key}".encode()
        ).hexdigest()

    def key_for(self, fingerprint: str) -> IdempotencyKey | None:
        """Returns what stands for the Idempotency-Key in Redis; None without one.

        Args:
            fingerprint: SHA-256 that tells what was sent from anything else, hexadecimal.
        """
        if self.key_digest is None:
            return None
        if self.callback_url:
            # Answered with a job that calls elsewhere, or nobody, it would be dropped in silence.
            fingerprint = hashlib.sha256(f"{fingerprint} {self.callback_url}".encode()).hexdigest()
        return IdempotencyKey(self.key_digest, fingerprint)


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
        promises: Promises,
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
        self._promises = promises

    async def accept(self, upload: Upload, origin: Origin) -> Accepted:
        """Records and enqueues the upload, or finds the job that its key has made already.

        Raises:
            Refusal: `idempotency_conflict` or `queue_full`; the upload is erased.
            RedisError: see `Promises.make`.
        """
        job = new_job(upload, origin, self._seals)
        key = origin.key_for(job.sha256)
        offer = _JobOffer(job, key, self._jobs, self._blobs, self._tasks)
        promise = await self._promises.make(offer)
        (self._metrics.replayed if promise.replayed else self._metrics.accepted).inc()
        return Accepted(promise.id, promise.replayed)


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
    key: IdempotencyKey | None
    jobs: JobStore
    blobs: BlobStore
    tasks: TaskQueue

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def count(self) -> int:
        return 1

    def record(self) -> Creation:
        return self.jobs.create(self.job, self.key)

    def send(self) -> None:
        self.tasks.send(self.id)

    def erase_uploads(self) -> None:
        discard(self.blobs, [self.job.blob])
