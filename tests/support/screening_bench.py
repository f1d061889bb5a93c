"""Where a worker's screening is tried without Celery around it."""

from pathlib import Path

from redis import Redis

from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat, Job
from tbscreen_shared.imaging import ImageLimits
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_worker.leases import JobLeases
from tbscreen_worker.predictor import Predictor
from tbscreen_worker.screening import Screening


class Bench:
    """Screening with a real Redis and real files, and a fake model."""

    def __init__(
        self, redis: Redis, directory: Path, predictor: Predictor, *, retain_uploads_s: int = 0
    ) -> None:
        redis.flushdb()
        self.jobs = JobStore(
            redis, result_ttl_s=60, max_attempts=3, retain_uploads_s=retain_uploads_s
        )
        self.blobs = BlobStore(directory / "blobs")
        self.screening = Screening(
            self.jobs,
            JobLeases(self.jobs, "bench"),
            self.blobs,
            lambda timeout_s: predictor,
            limits=ImageLimits(max_pixels=1_000_000),
            retains=retain_uploads_s > 0,
        )

    def accept(self, content: bytes, job_id: str = "job") -> str:
        with self.blobs.open_writer() as writer:
            writer.write(content)
            blob = writer.commit()
        self.jobs.create(NewJob(job_id, blob, "ab" * 32, ImageFormat.PNG))
        return blob

    def job(self, job_id: str = "job") -> Job:
        job = self.jobs.get(job_id)
        assert job is not None
        return job

    def holds(self, blob: str) -> bool:
        return Path(self.blobs.path(blob)).exists()
