"""Looks at everything the gateway needs, for people and for orchestrators."""

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Final, cast

from pydantic import BaseModel, Field
from redis import Redis
from redis.exceptions import RedisError

from tbscreen_gateway.access.opening import Access
from tbscreen_gateway.audit_health import AuditHealth, AuditProbe
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.bundle import Bundle, ModelStore
from tbscreen_shared.contracts import ModelRef, WorkerBeat
from tbscreen_shared.errors import BlobError, BundleError
from tbscreen_shared.jobs.keys import DEAD, QUEUED
from tbscreen_shared.workers import WorkerRegistry

APPLICATION: Final = "tbscreen"
VERSION: Final = version("tbscreen-gateway")


class Status(StrEnum):
    """Whether radiographs can be answered."""

    OK = "ok"
    DEGRADED = "degraded"


class RedisHealth(BaseModel):
    """The job store and queue."""

    ok: bool
    latency_ms: float | None = None


class StorageHealth(BaseModel):
    """The volume uploads are kept on until they are read."""

    ok: bool
    detail: str | None = None


class ActiveModelHealth(BaseModel):
    """The model that `current` names on the models volume."""

    ok: bool
    version: str | None = None
    sha256: str | None = None
    operating_point: str | None = None
    created_at: datetime | None = None
    detail: str | None = Field(default=None, description="why it can not be used")
    note: str | None = Field(default=None, description="what its users should know of it")


class AccessHealth(BaseModel):
    """Whether requests need an API key, and whether the keys that decide are those in the file."""

    ok: bool
    keys_needed: bool
    detail: str | None = Field(default=None, description="why the file's keys do not decide")
    note: str | None = Field(default=None, description="what its operator should know of it")


class HealthSummary(BaseModel):
    """For everybody, also without a key."""

    status: Status
    application: str


class HealthReport(HealthSummary):
    """For people. `problems` says in plain words what is wrong."""

    version: str
    redis: RedisHealth
    storage: StorageHealth
    model: ActiveModelHealth
    access: AccessHealth
    audit: AuditHealth
    workers: list[WorkerBeat]
    queue_length: int | None
    dead_jobs: int | None = Field(description="jobs given up, for someone to look into")
    problems: list[str]


class Readiness(BaseModel):
    """Whether uploads can be accepted, part by part."""

    ready: bool
    redis: bool
    storage: bool
    model: bool
    workers: int = Field(description="how many have a model; accepted radiographs wait for them")


class Load(BaseModel):
    """What the metrics show of the rest of the system."""

    redis_up: bool
    queue_length: int | None
    workers_alive: int | None
    dead_jobs: int | None
    audit_waiting: int | None


@dataclass(frozen=True)
class _Redis:
    """What Redis says, or that it says nothing."""

    health: RedisHealth
    workers: list[WorkerBeat]
    queue_length: int | None
    dead_jobs: int | None
    audit: AuditHealth
    is_full: bool = False


class HealthProbe:
    """Synchronous; a check takes milliseconds, or the Redis client's timeout when Redis hangs."""

    def __init__(
        self,
        redis: "Redis",
        workers: WorkerRegistry,
        blobs: BlobStore,
        models: ModelStore,
        access: Access,
        audit: AuditProbe,
    ) -> None:
        self._redis = redis
        self._workers = workers
        self._blobs = blobs
        self._models = models
        self._access = access
        self._audit = audit

    def report(self) -> HealthReport:
        """Looks at everything."""
        redis = self._check_redis()
        workers, storage = redis.workers, self._check_storage()
        model, bundle = self._check_model()
        access = self._check_access()
        parts = (storage, model, redis.audit, access)
        problems = [part.detail for part in parts if part.detail]
        if not redis.health.ok:
            problems.insert(0, "The job store (Redis) can not be reached.")
        elif redis.is_full:
            problems.insert(0, "The job store (Redis) has no memory left: uploads are refused.")
        elif not workers:
            problems.append("No worker is running: radiographs are accepted but not read.")
        problems += _model_problems(workers, bundle)
        return HealthReport(
            status=Status.DEGRADED if problems else Status.OK,
            application=APPLICATION,
            version=VERSION,
            redis=redis.health,
            storage=storage,
            model=model,
            access=access,
            audit=redis.audit,
            workers=workers,
            queue_length=redis.queue_length,
            dead_jobs=redis.dead_jobs,
            problems=problems,
        )

    def readiness(self) -> Readiness:
        """Looks at what accepting an upload needs.

        Workers are not among it: an accepted job is durable and waits for them, and an orchestrator
        that took the gateway away while the workers restart would refuse what could be kept.
        """
        try:
            redis = bool(self._redis.ping())
            workers = sum(worker.model is not None for worker in self._workers.alive())
        except RedisError:
            redis, workers = False, 0
        storage, model = self._check_storage().ok, self._check_model()[0].ok
        return Readiness(
            ready=redis and storage and model,
            redis=redis,
            storage=storage,
            model=model,
            workers=workers,
        )

    def load(self) -> Load:
        """Looks at the queue and the workers."""
        redis = self._check_redis()
        return Load(
            redis_up=redis.health.ok,
            queue_length=redis.queue_length,
            workers_alive=len(redis.workers) if redis.health.ok else None,
            dead_jobs=redis.dead_jobs,
            audit_waiting=redis.audit.waiting,
        )

    def _check_redis(self) -> "_Redis":
        started = time.perf_counter()
        try:
            self._redis.ping()
            latency_ms = round((time.perf_counter() - started) * 1000, 2)
            memory = cast("dict[str, int]", self._redis.info("memory"))
            return _Redis(
                health=RedisHealth(ok=True, latency_ms=latency_ms),
                workers=self._workers.alive(),
                queue_length=int(self._redis.zcard(QUEUED)),
                dead_jobs=int(self._redis.zcard(DEAD)),
                audit=self._audit.check(),
                is_full=0 < memory["maxmemory"] <= memory["used_memory"],
            )
        except RedisError:
            return _Redis(RedisHealth(ok=False), [], None, None, self._audit.without_redis())

    def _check_storage(self) -> StorageHealth:
        try:
            self._blobs.check_writable()
        except BlobError as error:
            return StorageHealth(ok=False, detail=f"Uploads can not be stored: {error.detail}.")
        return StorageHealth(ok=True)

    def _check_access(self) -> AccessHealth:
        access = self._access
        problem, note = access.keys.check(), access.note
        if not access.keys_are_needed:
            problem = None
            if access.keys.keys():
                note = "API keys were made since it started: it asks for none until restarted."
        return AccessHealth(
            ok=problem is None,
            keys_needed=access.keys_are_needed,
            detail=f"The API keys read before still hold: {problem}." if problem else None,
            note=note,
        )

    def _check_model(self) -> tuple[ActiveModelHealth, Bundle | None]:
        """The manifest and the model's size; the workers check the bytes before they use them."""
        try:
            bundle = self._models.load_active()
            found = bundle.model_path.stat().st_size if bundle.model_path.is_file() else -1
        except (BundleError, OSError) as error:
            reason = error.detail if isinstance(error, BundleError) else "it can not be read"
            return ActiveModelHealth(ok=False, detail=f"No usable model: {reason}."), None
        manifest = bundle.manifest
        ok = found == manifest.model_bytes
        health = ActiveModelHealth(
            ok=ok,
            version=manifest.version,
            sha256=manifest.model_sha256,
            operating_point=bundle.decides_by.default_operating_point,
            created_at=manifest.created_at,
            detail=None if ok else "No usable model: its file is missing or of another size.",
            note=_site_note(bundle, self._models.versions_with_a_site()),
        )
        return health, bundle


def _site_note(bundle: Bundle, sites: list[str]) -> str | None:
    version = bundle.manifest.version
    if bundle.site or bundle.site_problem or not sites:
        return None
    return (
        f"The site's own threshold was measured with {', '.join(sites)} and does not apply to "
        f"{version}: run `tbscreen calibrate` again."
    )


def _model_problems(workers: list[WorkerBeat], bundle: Bundle | None) -> list[str]:
    problems = [
        f"Worker {worker.name} refused a model: {worker.rejected_model}."
        for worker in workers
        if worker.rejected_model
    ]
    problems += sorted(
        {
            f"The site's own threshold is not applied: {worker.rejected_site}."
            for worker in workers
            if worker.rejected_site
        }
    )
    if any(worker.model is None for worker in workers):
        problems.append("A worker has no model yet.")
    if bundle is not None:
        manifest = bundle.manifest
        active = ModelRef(version=manifest.version, sha256=manifest.model_sha256)
        if any(worker.model not in (None, active) for worker in workers):
            problems.append(f"Not every worker answers with the active model {manifest.version}.")
    return problems
