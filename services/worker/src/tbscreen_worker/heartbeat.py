"""Says every few seconds that this process lives, and with which model."""

import logging
import os
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from tbscreen_shared.contracts import ModelRef, WorkerBeat
from tbscreen_shared.workers import BEAT_INTERVAL_S, WorkerRegistry
from tbscreen_worker.models import ModelWatcher

_STATM: Final = Path("/proc/self/statm")

_log: Final = logging.getLogger(__name__)


class Heartbeat:
    """A thread that beats to the registry, at once when the model changes, until it is stopped."""

    def __init__(
        self,
        registry: WorkerRegistry,
        name: str,
        models: ModelWatcher,
        jobs_done: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._models = models
        self._jobs_done = jobs_done
        self._name = name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Starts beating, at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stops beating and leaves the registry."""
        self._stopping.set()
        self._models.changed.set()
        self._thread.join()
        try:
            self._registry.leave(self._name)
        except RedisError:
            _log.info("left without a word: the registry can not be reached")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._registry.beat(self._beat())
            # A hostile image may take all the memory that is allowed while it is decoded.
            except (RedisError, MemoryError) as error:
                with suppress(MemoryError):
                    _log.warning("no heartbeat: %s", type(error).__name__)
            self._models.changed.wait(BEAT_INTERVAL_S)
            self._models.changed.clear()

    def _beat(self) -> WorkerBeat:
        predictor = self._models.predictor
        manifest = predictor.manifest if predictor else None
        return WorkerBeat(
            name=self._name,
            model=ModelRef(version=manifest.version, sha256=manifest.model_sha256)
            if manifest
            else None,
            operating_point=manifest.default_operating_point if manifest else None,
            rejected_model=self._models.rejection,
            rejected_site=self._models.site_rejection,
            jobs_done=self._jobs_done(),
            rss_bytes=_resident_bytes(),
            at=datetime.now(UTC),
        )


def _resident_bytes() -> int:
    """Returns this process's resident memory; where there is no /proc, its peak."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes elsewhere (getrusage(2)).
    return peak if sys.platform == "darwin" else peak * 1024
