"""Lets Idempotency-Keys expire together with what they have made."""

import asyncio
import logging
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_shared.jobs import IdempotencyKeys

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 10.0
"""For so long a key may outlive the record of what it has made."""


class KeyExpiry:
    """Looks at the keys of what was unfinished when they were last looked at."""

    def __init__(self, keys: IdempotencyKeys) -> None:
        self._keys = keys

    async def run(self) -> None:
        """Looks every few seconds, for ever."""
        while True:
            try:
                await run_in_threadpool(self._keys.let_expire)
            except RedisError as error:
                logger.warning(
                    "could not let Idempotency-Keys expire", extra={"error": type(error).__name__}
                )
            await asyncio.sleep(_INTERVAL_S)
