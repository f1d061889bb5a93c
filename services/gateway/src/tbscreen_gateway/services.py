"""The one place where the gateway's parts are made and put together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypedDict

from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.health import HealthProbe
from tbscreen_gateway.intake import Intake
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.task_queue import CeleryTaskQueue
from tbscreen_gateway.waiting import FinishedJobs, JobWaiter
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.workers import WorkerRegistry

logger = logging.getLogger(__name__)

_PROBE_TIMEOUT_S: Final = 1.0
"""An orchestrator's probe wants an answer, not patience."""

_ABANDONED_AFTER_S: Final = 3600.0
_SWEEP_INTERVAL_S: Final = 600.0


@dataclass(frozen=True)
class Services:
    """What the routes work with."""

    settings: GatewaySettings
    jobs: JobStore
    blobs: BlobStore
    models: ModelStore
    intake: Intake
    waiter: JobWaiter
    health: HealthProbe
    metrics: Metrics


class LifespanState(TypedDict):
    """What the lifespan gives to each request's `request.state`."""

    services: Services


@asynccontextmanager
async def running_services(
    settings: GatewaySettings, metrics: Metrics, finished: FinishedJobs
) -> AsyncIterator[Services]:
    """Makes the gateway's parts, keeps their background work going, and ends them."""
    redis_url = settings.redis_url.get_secret_value()
    redis = connect_redis(redis_url)
    probe_redis = connect_redis(redis_url, timeout_s=_PROBE_TIMEOUT_S)
    jobs = JobStore(redis, result_ttl_s=settings.result_ttl_s, max_attempts=settings.max_attempts)
    blobs = BlobStore(settings.blobs_dir)
    models = ModelStore(settings.models_dir)
    tasks = CeleryTaskQueue(settings)
    intake = Intake(jobs, blobs, tasks, metrics, max_queue_length=settings.max_queue_length)
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=settings.visibility_timeout_s)
    background = [asyncio.create_task(work) for work in (_sweep(blobs), reconciler.run())]
    try:
        async with finished.listening():
            yield Services(
                settings=settings,
                jobs=jobs,
                blobs=blobs,
                models=models,
                intake=intake,
                waiter=JobWaiter(jobs, finished),
                health=HealthProbe(probe_redis, WorkerRegistry(probe_redis), blobs, models),
                metrics=metrics,
            )
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await intake.close()
        tasks.close()
        redis.close()
        probe_redis.close()


async def _sweep(blobs: BlobStore) -> None:
    """Erases what killed gateways left of radiographs they were receiving."""
    while True:
        try:
            erased = await run_in_threadpool(blobs.erase_partials, older_than_s=_ABANDONED_AFTER_S)
        except OSError as error:
            logger.warning("could not sweep partial uploads", extra={"error": error.strerror})
        else:
            if erased:
                logger.info("erased abandoned partial uploads", extra={"count": erased})
        await asyncio.sleep(_SWEEP_INTERVAL_S)
