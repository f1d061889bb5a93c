"""The composition root: which processes make up `tbscreen serve`, and with which settings."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console

from tbscreen.serve.checks import (
    check_bundle,
    check_port,
    lock_folder,
    make_private,
)
from tbscreen.serve.child import ChildSpec
from tbscreen.serve.journal import Journal, lossy
from tbscreen.serve.leash import Leash
from tbscreen.serve.readiness import local_url, wait_until_ready
from tbscreen.serve.redis import EmbeddedRedis, plan_redis
from tbscreen.serve.supervisor import Supervisor

# Longer than a job may take (task_time_limit_s, 20 by default): the one in hand is finished.
_WORKER_GRACE_S: Final = 25.0
_REQUESTS_GRACE_S: Final = 3
_GATEWAY_GRACE_S: Final = _REQUESTS_GRACE_S + 5.0
_REMAINS_PATIENCE_S: Final = 45.0


@dataclass(frozen=True)
class ServeSettings:
    """What `tbscreen serve` was asked for.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        workers: radiographs read at a time.
        data_dir: absolute folder for uploads, the audit log and the embedded Redis.
        models_dir: absolute folder of published models.
        keys_file: absolute path of the API keys' file, which need not be there.
        embeds_redis: whether to run one; else REDIS_URL or REDIS_URL_FILE names one.
    """

    host: str
    port: int
    workers: int
    data_dir: Path
    models_dir: Path
    keys_file: Path
    embeds_redis: bool


def run(settings: ServeSettings) -> None:
    """Serves until it is told to stop.

    Raises:
        ServeError: it can not start, or not go on; nothing is left running.
    """
    started = time.monotonic()
    check_port(settings.host, settings.port)
    check_bundle(settings.models_dir)
    # Here: what the gateway shares is installed where it is served, not with the client alone.
    from tbscreen.serve.access import check_access

    check_access(settings.host, settings.keys_file, os.environ)
    lock = lock_folder(make_private(settings.data_dir), patience_s=_REMAINS_PATIENCE_S)
    redis = None
    if settings.embeds_redis:
        redis = plan_redis(make_private(settings.data_dir / "redis"))
    specs = _plan(settings, redis)
    journal = Journal(Console(stderr=True))

    async def announce() -> None:
        health = await wait_until_ready(settings.host, settings.port, journal.say)
        models = sorted({worker.model.version for worker in health.workers if worker.model})
        # Where keys are needed, none is told.
        with_model = f"with model {', '.join(models)}, " if models else ""
        # Standard output has this one line: a script can wait for it.
        lossy(Console()).print(
            f"tbscreen {version('tbscreen')} is ready at "
            f"{local_url(settings.host, settings.port)} {with_model}"
            f"after {time.monotonic() - started:.1f} s. Ctrl-C stops it.",
            style="bold green",
            highlight=False,
            soft_wrap=True,
        )

    with Leash(lock) as leash:
        supervisor = Supervisor(specs, leash=leash, journal=journal)
        asyncio.run(supervisor.run(announce))
    os.close(lock)


def _plan(settings: ServeSettings, redis: EmbeddedRedis | None) -> list[ChildSpec]:
    blobs = make_private(settings.data_dir / "blobs")
    audit = make_private(settings.data_dir / "audit")
    inherited: Mapping[str, str] = {
        "TBSCREEN_LOG_FORMAT": "text",
        "TBSCREEN_SHUTDOWN_GRACE_S": str(_REQUESTS_GRACE_S),
        **os.environ,
    }
    environment = {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "TBSCREEN_BLOBS_DIR": str(blobs),
        "TBSCREEN_MODELS_DIR": str(settings.models_dir),
        "TBSCREEN_API_KEYS_FILE": str(settings.keys_file),
        "TBSCREEN_AUDIT_DIR": str(audit),
        "TBSCREEN_HOST": settings.host,
        "TBSCREEN_PORT": str(settings.port),
        "TBSCREEN_WORKER_CONCURRENCY": str(settings.workers),
    }
    # As in the gateway's image: ADR 26, ADR 30.
    thrifty = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", **environment}
    services = [
        ChildSpec(name, _module(f"tbscreen_{name}"), _with_redis(own, redis, name), grace_s)
        for name, own, grace_s in (
            ("worker", environment, _WORKER_GRACE_S),
            ("gateway", thrifty, _GATEWAY_GRACE_S),
        )
    ]
    return [redis.spec(os.environ), *services] if redis else services


def _with_redis(
    environment: Mapping[str, str], redis: EmbeddedRedis | None, service: str
) -> Mapping[str, str]:
    if redis is None:
        return environment
    # By file: a process's environment is for more to see.
    return {**environment, "REDIS_URL": "", "REDIS_URL_FILE": str(redis.url_file(service))}


def _module(name: str) -> tuple[str, ...]:
    # -P: a folder of the working directory must not be imported in place of a package.
    return (sys.executable, "-P", "-m", name)
