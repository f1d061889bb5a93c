"""What one child process holds. Built after the fork: threads and sockets do not survive one."""

from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.workers import WorkerRegistry, new_worker_name
from tbscreen_worker.heartbeat import Heartbeat
from tbscreen_worker.leases import JobLeases
from tbscreen_worker.models import ModelWatcher
from tbscreen_worker.predictor import LiteRtPredictor
from tbscreen_worker.screening import Screening
from tbscreen_worker.settings import WorkerSettings


class WorkerProcess:
    """The composition root: everything that screening needs, started and stopped together."""

    def __init__(self, settings: WorkerSettings) -> None:
        redis = connect_redis(settings.redis_url.get_secret_value())
        name = new_worker_name()
        jobs = JobStore(
            redis,
            result_ttl_s=settings.result_ttl_s,
            max_attempts=settings.max_attempts,
            retain_uploads_s=settings.retain_uploads_s,
        )
        self._leases = JobLeases(jobs, name)
        self._models = ModelWatcher(ModelStore(settings.models_dir), LiteRtPredictor)
        self.screening = Screening(
            jobs,
            self._leases,
            BlobStore.existing(settings.blobs_dir),
            self._models.wait_for_model,
            limits=settings.image_limits,
            retains=settings.retain_uploads_s > 0,
        )
        self._heartbeat = Heartbeat(
            WorkerRegistry(redis), name, self._models, lambda: self.screening.jobs_done
        )

    def start(self) -> None:
        """Starts following the models volume, keeping leases and beating."""
        self._models.start()
        self._leases.start()
        self._heartbeat.start()

    def stop(self) -> None:
        """Stops all three and leaves the registry."""
        self._models.stop()
        self._leases.stop()
        self._heartbeat.stop()
