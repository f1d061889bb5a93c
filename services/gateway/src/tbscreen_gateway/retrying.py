"""Makes a new job of one that was given up. The old one stays as it is: a finished job is final."""

import logging
from collections.abc import Callable

import uuid6

from tbscreen_gateway.discarding import discard
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.task_queue import TaskNotSentError, TaskQueue
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import CallbackOutbox, DeadJobs, JobStore, Requester, RetryOutcome

logger = logging.getLogger(__name__)


class Retrying:
    """Retries dead jobs, each once."""

    def __init__(
        self,
        jobs: JobStore,
        dead: DeadJobs,
        blobs: BlobStore,
        tasks: TaskQueue,
        callbacks: CallbackOutbox,
        seals: CallbackSeals,
        queue_full: Callable[[int], Refusal],
    ) -> None:
        self._jobs = jobs
        self._dead = dead
        self._blobs = blobs
        self._tasks = tasks
        self._callbacks = callbacks
        self._seals = seals
        self._queue_full = queue_full

    def retry(self, job_id: str, by: Requester) -> str:
        """Returns the id of the new job, or of the one that an earlier retry made.

        The new job has the upload under a key of its own, so that a late delivery of the old one,
        or its deletion, takes nothing from it. A crash in between leaves a key that the sweeper
        erases, or a job whose task the reconciler sends.

        Raises:
            Refusal: `job_not_found`, `job_not_dead`, `upload_gone` or `queue_full`.
            BlobError: the upload volume is failing.
            RedisError: the job store can not be reached.
        """
        blob = self._jobs.blob_of(job_id)
        if blob is None:
            raise _gone()
        if not self._dead.contains(job_id):
            return self._earlier(job_id, _not_dead())
        try:
            twin, size_bytes = self._blobs.link(blob)
        except FileNotFoundError:
            erased = Refusal(ErrorCode.UPLOAD_GONE, "The radiograph was erased; send it again.")
            return self._earlier(job_id, erased)
        new_id = str(uuid6.uuid7())
        retry = self._dead.retry(
            job_id,
            new_id=new_id,
            blob=twin,
            size_bytes=size_bytes,
            by=by,
            callback_seal=self._seal_again(job_id, new_id),
        )
        if retry.job_id != new_id:
            discard(self._blobs, [twin])
            if retry.outcome is RetryOutcome.RETRIED:
                return retry.job_id
            if retry.outcome is RetryOutcome.FULL:
                raise self._queue_full(1)
            raise _gone() if retry.outcome is RetryOutcome.GONE else _not_dead()
        discard(self._blobs, [blob])
        try:
            self._tasks.send(new_id)
        except TaskNotSentError:
            # It is recorded, and what is recorded without a task is sent one.
            logger.warning("the task of a retry is sent later", extra={"job_id": new_id})
        return new_id

    def _seal_again(self, job_id: str, new_id: str) -> str:
        url, seal = self._callbacks.asked_for(job_id)
        return self._seals.seal(new_id, url) if self._seals.hold(seal, job_id, url) else ""

    def _earlier(self, job_id: str, otherwise: Refusal) -> str:
        earlier = self._dead.retried_as(job_id)
        if earlier is None:
            raise otherwise
        return earlier


def _gone() -> Refusal:
    return Refusal(ErrorCode.JOB_NOT_FOUND, "The id is unknown, or the job has expired.")


def _not_dead() -> Refusal:
    return Refusal(ErrorCode.JOB_NOT_DEAD, "Only a job that was given up can be retried.")
