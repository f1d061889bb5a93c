"""The one place where the gateway's parts are made and put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypedDict

from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.access.gatekeeper import Gatekeeper
from tbscreen_gateway.access.opening import Access
from tbscreen_gateway.access.sessions import SessionStore
from tbscreen_gateway.access.wrong_keys import WrongKeys
from tbscreen_gateway.admission import Admission
from tbscreen_gateway.audit_drain import AuditDrain
from tbscreen_gateway.audit_health import AuditProbe
from tbscreen_gateway.audit_log import AuditLog
from tbscreen_gateway.background import keep_running
from tbscreen_gateway.batches.intake import BatchIntake
from tbscreen_gateway.health import VERSION, HealthProbe
from tbscreen_gateway.intake import Intake
from tbscreen_gateway.key_expiry import KeyExpiry
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.own_events import OwnEvents
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.rate_limits import Quota, RateLimiter
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.retrying import Retrying
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.sweeping import Sweeper
from tbscreen_gateway.task_queue import CeleryTaskQueue
from tbscreen_gateway.waiting import FinishedJobs, JobWaiter
from tbscreen_gateway.webhooks.running import running_deliveries
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.jobs import (
    AuditStream,
    BatchStore,
    CallbackOutbox,
    DeadJobs,
    Forgoing,
    IdempotencyKeys,
    JobStore,
    RetainedUploads,
)
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_connections import Silence
from tbscreen_shared.workers import WorkerRegistry

_PROBE_TIMEOUT_S: Final = 1.0
"""An orchestrator's probe wants an answer, not patience."""


_WRONG_KEYS: Final = Quota("wrong-keys", per_minute=20, burst=20)

_SIGN_INS: Final = Quota("sign-ins", per_minute=20, burst=20)
"""Of one key: a ward's browsers at the change of shifts share one."""


@dataclass(frozen=True)
class Services:
    """What the routes work with."""

    settings: GatewaySettings
    jobs: JobStore
    batches: BatchStore
    blobs: BlobStore
    models: ModelStore
    audit: AuditStream
    dead: DeadJobs
    retrying: Retrying
    admission: Admission
    idempotency_keys: IdempotencyKeys
    upload_rates: RateLimiter
    intake: Intake
    batch_intake: BatchIntake
    waiter: JobWaiter
    health: HealthProbe
    metrics: Metrics
    gatekeeper: Gatekeeper
    callbacks: CallbackOutbox


class LifespanState(TypedDict):
    """What the lifespan gives to each request's `request.state`."""

    services: Services


@asynccontextmanager
async def running_services(
    settings: GatewaySettings, metrics: Metrics, finished: FinishedJobs, access: Access
) -> AsyncIterator[Services]:
    """Makes the gateway's parts, keeps their background work going, and ends them."""
    redis_url = settings.redis_url.get_secret_value()
    silence = Silence()
    redis = connect_redis(redis_url, silence=silence)
    probe_redis = connect_redis(redis_url, timeout_s=_PROBE_TIMEOUT_S, silence=Silence())
    jobs = JobStore(
        redis,
        result_ttl_s=settings.result_ttl_s,
        max_attempts=settings.max_attempts,
        max_queue_length=settings.max_queue_length,
    )
    blobs = BlobStore(settings.blobs_dir)
    models = ModelStore(settings.models_dir)
    tasks = CeleryTaskQueue(settings, silence)
    seals = CallbackSeals(settings.webhook_keys)
    admission = Admission(
        jobs,
        blobs,
        max_queue_length=settings.max_queue_length,
        max_stored_bytes=settings.max_stored_bytes,
        reserve_bytes=settings.reserve_bytes,
        max_concurrent_uploads=settings.max_concurrent_uploads,
    )
    promises = Promises(Forgoing(redis), admission.queue_full)
    intake = Intake(jobs, promises, blobs, tasks, metrics, seals)
    batches = BatchStore(
        redis, result_ttl_s=settings.result_ttl_s, max_queue_length=settings.max_queue_length
    )
    batch_intake = BatchIntake(batches, promises, blobs, tasks, metrics, seals)
    uploads_quota = Quota(
        "uploads", settings.rate_limit_per_minute, burst=max(1, settings.rate_limit_per_minute // 6)
    )
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=settings.visibility_timeout_s)
    dead = DeadJobs(
        redis, result_ttl_s=settings.result_ttl_s, max_queue_length=settings.max_queue_length
    )
    idempotency_keys = IdempotencyKeys(redis)
    key_expiry = KeyExpiry(idempotency_keys)
    sweeper = Sweeper(jobs, dead, RetainedUploads(redis), blobs)
    audit = AuditStream(redis)
    drain = AuditDrain(audit, AuditLog(settings.audit_dir, key=settings.audit_key()))
    own_events = OwnEvents(audit, models, VERSION, access.keys)
    wrong_keys = WrongKeys(audit)
    works = (sweeper, key_expiry, reconciler, own_events, drain, wrong_keys)
    background = [asyncio.create_task(keep_running(work.run)) for work in works]
    try:
        async with (
            finished.listening(),
            running_deliveries(settings, redis, jobs, metrics) as callbacks,
        ):
            yield Services(
                settings=settings,
                jobs=jobs,
                batches=batches,
                blobs=blobs,
                models=models,
                audit=audit,
                dead=dead,
                retrying=Retrying(jobs, dead, blobs, tasks, callbacks, seals, admission.queue_full),
                admission=admission,
                idempotency_keys=idempotency_keys,
                upload_rates=RateLimiter(redis, uploads_quota),
                intake=intake,
                batch_intake=batch_intake,
                waiter=JobWaiter(jobs, finished),
                health=HealthProbe(
                    probe_redis,
                    WorkerRegistry(probe_redis),
                    blobs,
                    models,
                    access,
                    AuditProbe(AuditStream(probe_redis), drain),
                ),
                metrics=metrics,
                gatekeeper=Gatekeeper(
                    access.keys,
                    SessionStore(redis),
                    RateLimiter(redis, _WRONG_KEYS),
                    RateLimiter(redis, _SIGN_INS),
                    wrong_keys,
                    audit,
                    keys_are_needed=access.keys_are_needed,
                ),
                callbacks=callbacks,
            )
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await wrong_keys.flush()
        await run_in_threadpool(drain.close)
        await promises.close()
        tasks.close()
        redis.close()
        probe_redis.close()
