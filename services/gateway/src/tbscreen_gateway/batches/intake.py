"""Makes a draft a batch: all its files become jobs at once, or nothing is left of it."""

from dataclasses import dataclass

import uuid6

from tbscreen_gateway.batches.draft import BatchDraft
from tbscreen_gateway.discarding import discard
from tbscreen_gateway.intake import Origin, new_job
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.task_queue import TaskQueue
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.jobs import (
    BatchEntry,
    BatchStore,
    Creation,
    IdempotencyKey,
    NewBatch,
)


@dataclass(frozen=True)
class AcceptedBatch:
    """A batch that will be done.

    Attributes:
        batch_id: the batch.
        made: it, as it was recorded; None when an earlier request with the same Idempotency-Key
            has made it.
    """

    batch_id: str
    made: NewBatch | None


class BatchIntake:
    """Turns drafts into batches, each Idempotency-Key into one."""

    def __init__(
        self,
        batches: BatchStore,
        promises: Promises,
        blobs: BlobStore,
        tasks: TaskQueue,
        metrics: Metrics,
        seals: CallbackSeals,
    ) -> None:
        self._batches = batches
        self._blobs = blobs
        self._tasks = tasks
        self._metrics = metrics
        self._seals = seals
        self._promises = promises

    async def accept(self, draft: BatchDraft, origin: Origin) -> AcceptedBatch:
        """Records and enqueues the files, or finds the batch that the key has made already.

        Args:
            draft: with at least one file that was stored.
            origin: whose it is.

        Raises:
            Refusal: `idempotency_conflict` or `queue_full`; the files are erased.
            RedisError: see `Promises.make`.
        """
        batch = _new_batch(draft, origin, self._seals)
        key = origin.key_for(draft.fingerprint)
        offer = _BatchOffer(batch, key, self._batches, self._blobs, self._tasks)
        promise = await self._promises.make(offer)
        count = len(batch.jobs)
        (self._metrics.replayed if promise.replayed else self._metrics.accepted).inc(count)
        return AcceptedBatch(promise.id, None if promise.replayed else batch)


def _new_batch(draft: BatchDraft, origin: Origin, seals: CallbackSeals) -> NewBatch:
    batch_id = str(uuid6.uuid7())
    jobs, entries = [], []
    for item in draft.items:
        if item.upload is None:
            entries.append(BatchEntry(index=item.index, error=item.error))
            continue
        job = new_job(item.upload, origin, seals, batch_id=batch_id)
        jobs.append(job)
        entries.append(BatchEntry(index=item.index, sha256=job.sha256, job_id=job.id))
    return NewBatch(batch_id, jobs, entries, draft.skipped)


@dataclass(frozen=True)
class _BatchOffer:
    """See `Offer`."""

    batch: NewBatch
    key: IdempotencyKey | None
    batches: BatchStore
    blobs: BlobStore
    tasks: TaskQueue

    @property
    def id(self) -> str:
        return self.batch.id

    @property
    def count(self) -> int:
        return len(self.batch.jobs)

    def record(self) -> Creation:
        return self.batches.create(self.batch, self.key)

    def send(self) -> None:
        for job in self.batch.jobs:
            self.tasks.send(job.id)

    def erase_uploads(self) -> None:
        discard(self.blobs, [job.blob for job in self.batch.jobs])
