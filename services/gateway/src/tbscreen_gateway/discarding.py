"""Erases uploads that nobody needs, without failing what was asked beside."""

import logging
from collections.abc import Iterable

from tbscreen_shared.blobs import BlobStore

logger = logging.getLogger(__name__)


def discard(blobs: BlobStore, keys: Iterable[str]) -> None:
    """Erases uploads; what a failing volume keeps is left to the sweeper, and logged."""
    for key in keys:
        try:
            blobs.erase(key)
        except OSError as error:
            logger.error("an upload is left to the sweeper", extra={"error": error.strerror})
