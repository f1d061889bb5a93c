"""One job's way through a worker: claim, read, predict, decide, record, erase."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import InputInfo, JobError, JobResult, ModelRef, Timings
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging import ImageLimits, Radiograph, read_radiograph, to_model_input
from tbscreen_shared.jobs import Claim, ClaimOutcome, JobStore
from tbscreen_worker.check import admit, warn_of_foreign
from tbscreen_worker.decision import decide
from tbscreen_worker.leases import JobLeases
from tbscreen_worker.predictor import Predictor

_MODEL_WAIT_S: Final = 5.0
"""Well within the task's time limit, whose 20 seconds would kill a process that only waits."""

_UPLOAD_GONE: Final = JobError(
    code=ErrorCode.INTERNAL_ERROR, message="the upload is gone; send it again"
)

_log: Final = logging.getLogger(__name__)


class Screening:
    """Screens jobs, one at a time."""

    def __init__(
        self,
        jobs: JobStore,
        leases: JobLeases,
        blobs: BlobStore,
        wait_for_model: Callable[[float], Predictor],
        *,
        limits: ImageLimits,
        retains: bool = False,
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._blobs = blobs
        self._wait_for_model = wait_for_model
        self._limits = limits
        self._retains = retains
        self.jobs_done = 0

    def screen(self, job_id: str) -> None:
        """Brings a job to its outcome. When this returns, the delivery may be acknowledged.

        The upload is erased once an outcome is recorded, never before: until then a redelivery
        needs it. That of a job given up stays, for whoever looks into it or tries again; where
        uploads are retained, the gateway's sweeper erases them.

        Raises:
            NoModelError: there is no model to screen with; the job was not claimed.
            BlobStoreMissingError: there is no upload volume, or it fails; the job was not claimed,
                or this delivery of it does not count.
            Exception: a fault of Redis, the volume or the code; the job stays claimed, and the
                delivery must go back to the queue.
        """
        predictor = self._wait_for_model(_MODEL_WAIT_S)
        self._blobs.check_present()
        with self._leases.claiming(job_id) as claim:
            if claim.outcome is ClaimOutcome.CLAIMED:
                recorded = self._finish(job_id, claim, self._outcome_of(claim, predictor))
                done_with = recorded or not self._was_given_up(job_id)
            else:
                done_with = claim.outcome is ClaimOutcome.FINISHED
                _log.info("nothing to do: the job is %s", claim.outcome)
        if claim.blob and done_with and not self._retains:
            self._erase(claim.blob)

    def _was_given_up(self, job_id: str) -> bool:
        """Whether the job failed by its deliveries, while this one was frozen or cut off."""
        job = self._jobs.get(job_id)
        return job is not None and job.error is not None and job.error.code is ErrorCode.WORKER_LOST

    def _erase(self, blob: str) -> None:
        try:
            self._blobs.erase(blob)
        except OSError as error:
            # The outcome stands, so going back to the queue would go round for ever.
            _log.error("the upload could not be erased: %s", error.strerror)

    def _outcome_of(self, claim: Claim, predictor: Predictor) -> JobResult | JobError:
        begun = time.monotonic()
        try:
            radiograph = read_radiograph(
                self._blobs.path(claim.blob),
                limits=self._limits,
                target_px=max(predictor.manifest.input.height, predictor.manifest.input.width),
            )
            return _answer(claim, radiograph, predictor, begun)
        except ImageError as error:
            return JobError(code=error.code, message=error.detail)
        except FileNotFoundError:
            # No retry can bring it back. Where another run of the same job has finished and
            # erased it, that run's outcome stands.
            return _UPLOAD_GONE
        except OSError:
            # Of a volume that fails, every job would be given up as one that kills workers. Of a
            # file that alone can not be read, this one is.
            self._blobs.check_whole()
            raise

    def _finish(self, job_id: str, claim: Claim, outcome: JobResult | JobError) -> bool:
        if isinstance(outcome, JobResult):
            recorded = self._jobs.succeed(job_id, outcome)
            fields: dict[str, object] = {"timings_ms": outcome.timings_ms.model_dump()}
        else:
            recorded = self._jobs.fail(job_id, outcome)
            fields = {"code": outcome.code}
        self.jobs_done += 1
        _log.info(
            "job finished" if recorded else "job had ended before",
            extra={"attempt": claim.attempt, **fields},
        )
        return recorded


def _answer(claim: Claim, radiograph: Radiograph, predictor: Predictor, begun: float) -> JobResult:
    manifest = predictor.manifest
    image = to_model_input(radiograph, height=manifest.input.height, width=manifest.input.width)
    decoded = time.monotonic()
    admission = admit(image, predictor.input_check)
    prediction = predictor.predict(admission.image)
    foreign = warn_of_foreign(prediction, predictor.input_check)
    inferred = time.monotonic()
    decision = decide(prediction, manifest)
    queued = claim.claimed_at - (claim.created_at or claim.claimed_at)
    queue_ms = max(0.0, queued / timedelta(milliseconds=1))
    return JobResult(
        prediction=decision.prediction,
        probability=decision.probability,
        score=100.0 * decision.probability,
        probabilities=decision.probabilities,
        logits=decision.logits,
        threshold=decision.threshold,
        operating_point=decision.operating_point,
        activation_map=decision.activation_map,
        warnings=[*radiograph.warnings, *admission.warnings, *foreign],
        model=ModelRef(version=manifest.version, sha256=manifest.model_sha256),
        preprocessing=manifest.input.preprocessing,
        input=InputInfo(
            sha256=claim.sha256,
            width=radiograph.width,
            height=radiograph.height,
            format=radiograph.format,
        ),
        timings_ms=Timings(
            queue=queue_ms,
            decode=_milliseconds(decoded - begun),
            inference=_milliseconds(inferred - decoded),
            total=queue_ms + _milliseconds(time.monotonic() - begun),
        ),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000.0, 2)
