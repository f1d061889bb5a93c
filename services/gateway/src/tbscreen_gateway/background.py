"""Work that goes on beside the requests for as long as the gateway runs."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0


async def keep_running(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs work that never ends, and begins it again where it broke off.

    It deals with the errors it expects itself. One that it does not must not end it in silence: the
    gateway would go on accepting jobs, and nobody would send lost tasks or sweep.
    """
    while True:
        try:
            await work()
        except Exception:
            # What nobody foresaw: see above.
            logger.exception(
                "background work broke off and begins again", extra={"work": work.__qualname__}
            )
        await asyncio.sleep(_AGAIN_S)
