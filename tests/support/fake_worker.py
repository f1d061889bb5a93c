"""A worker without a model: takes real tasks off the real queue and finishes their jobs as told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

from redis import Redis

from tbscreen_shared.contracts import (
    ImageFormat,
    InputInfo,
    JobError,
    JobResult,
    ModelRef,
    Timings,
    Warning,
    WorkerBeat,
)
from tbscreen_shared.jobs import ClaimOutcome, JobStore
from tbscreen_shared.queue import QUEUE_NAME, SCREEN_TASK, connect_redis
from tbscreen_shared.workers import BEAT_INTERVAL_S, WorkerRegistry

Answer = JobResult | JobError

FAKE_MODEL = ModelRef(version="2026.11.1", sha256="3f" * 32)


def a_result(
    probability: float = 0.83,
    *,
    prediction: str = "TB Positive",
    sha256: str = "a1" * 32,
    size: tuple[int, int] = (640, 480),
    warnings: tuple[Warning, ...] = (),
    activation_map: list[list[float]] | None = None,
) -> JobResult:
    return JobResult(
        prediction=prediction,
        probability=probability,
        score=100 * probability,
        probabilities={"Normal": 1 - probability, "TB Positive": probability},
        threshold=0.41,
        operating_point="balanced",
        activation_map=activation_map or [[0.0, 0.25], [0.5, 1.0]],
        warnings=list(warnings),
        model=FAKE_MODEL,
        preprocessing="1",
        input=InputInfo(sha256=sha256, width=size[0], height=size[1], format=ImageFormat.PNG),
        timings_ms=Timings(queue=4, decode=41, inference=33, total=80),
    )


class FakeWorker:
    """Answers each job with what `answer` says of the upload's SHA-256."""

    def __init__(self, redis: Redis, answer: Callable[[str], Answer]) -> None:
        self._redis = redis
        self._jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        self._answer = answer
        self._stop = threading.Event()
        self.taken: list[str] = []

    def take(self, timeout_s: float = 5.0) -> str | None:
        """Takes the next task off the queue; returns its job id, None when there is none."""
        taken = cast("tuple[str, str] | None", self._redis.brpop([QUEUE_NAME], timeout=timeout_s))
        if taken is None:
            return None
        message = json.loads(taken[1])
        assert message["headers"]["task"] == SCREEN_TASK
        job_id = str(message["headers"]["id"])
        self.taken.append(job_id)
        return job_id

    def finish(self, job_id: str) -> bool:
        claim = self._jobs.claim(job_id, worker="fake-1")
        if claim.outcome is not ClaimOutcome.CLAIMED:
            return False
        answer = self._answer(claim.sha256)
        if isinstance(answer, JobError):
            return self._jobs.fail(job_id, answer)
        return self._jobs.succeed(job_id, answer)

    def beat(self, model: ModelRef | None = FAKE_MODEL, rejected: str | None = None) -> None:
        WorkerRegistry(self._redis).beat(
            WorkerBeat(
                name="fake-1",
                model=model,
                rejected_model=rejected,
                jobs_done=len(self.taken),
                rss_bytes=1,
                at=datetime.now(tz=UTC),
            )
        )

    def work(self) -> None:
        while not self._stop.is_set():
            job_id = self.take(timeout_s=0.2)
            if job_id is not None:
                self.finish(job_id)

    def keep_beating(self) -> None:
        while not self._stop.is_set():
            self.beat()
            self._stop.wait(BEAT_INTERVAL_S)

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def working_fake(
    redis_url: str, answer: Callable[[str], Answer] = lambda sha256: a_result(sha256=sha256)
) -> Iterator[FakeWorker]:
    """A fake worker that beats and works in threads."""
    with connect_redis(redis_url) as redis:
        worker = FakeWorker(redis, answer)
        threads = [threading.Thread(target=run) for run in (worker.work, worker.keep_beating)]
        for thread in threads:
            thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            for thread in threads:
                thread.join()
