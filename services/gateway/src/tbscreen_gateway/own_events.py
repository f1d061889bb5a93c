"""What the gateway itself has to tell the audit log: its start, its keys, and the active model."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_shared.access import ApiKey
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.errors import BundleError
from tbscreen_shared.jobs import AuditStream

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 10.0


class OwnEvents:
    """Records them.

    Args:
        stream: the audit log's.
        models: the bundles on the models volume.
        version: the gateway's.
        keys: the API keys, as they are in their file now.
    """

    def __init__(
        self, stream: AuditStream, models: ModelStore, version: str, keys: KeyRing
    ) -> None:
        self._stream = stream
        self._models = models
        self._version = version
        self._keys = keys
        self._start_told = False
        self._keys_told: Sequence[ApiKey] | None = None

    def tell(self) -> None:
        """Records the start, once, and keys and active model where they are others than before.

        Raises:
            RedisError: the stream can not be reached.
        """
        if not self._start_told:
            self._stream.record("gateway_started", version=self._version)
            self._start_told = True
        # Only what changed here: gateways with different files would else contradict each other.
        keys = self._keys.keys()
        if self._keys.has_file and keys != self._keys_told:
            self._stream.record_keys(keys)
            self._keys_told = keys
        try:
            bundle = self._models.load_active()
        except (BundleError, OSError):
            return
        manifest, point = bundle.manifest, bundle.decides_by.operating_point()
        self._stream.record_model(
            manifest.version,
            manifest.model_sha256,
            operating_point=point.name,
            threshold=point.threshold,
        )

    async def run(self) -> None:
        """Looks every few seconds, for ever."""
        while True:
            try:
                await run_in_threadpool(self.tell)
            except RedisError as error:
                logger.warning(
                    "could not record the gateway's own events",
                    extra={"error": type(error).__name__},
                )
            await asyncio.sleep(_INTERVAL_S)
