"""Erases uploads that nobody needs, without failing what was asked beside."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from tbscreen_shared.blobs import BlobStore, Partial

logger = logging.getLogger(__name__)

_File = TypeVar("_File", str, Partial)


def discard(blobs: BlobStore, keys: Iterable[str]) -> int:
    """Erases uploads; what a failing volume keeps is left to the sweeper, and logged.

    So are names of no upload, which only a worker that was taken over writes.

    Returns:
        how many are gone.
    """
    return _erase_each(blobs.erase, keys)


def discard_partials(blobs: BlobStore, partials: Iterable[Partial]) -> int:
    """Does the same with uploads that are not whole."""
    return _erase_each(blobs.erase_partial, partials)


def _erase_each(erase: Callable[[_File], None], files: Iterable[_File]) -> int:
    erased = 0
    for file in files:
        try:
            erase(file)
            erased += 1
        except (OSError, ValueError) as error:
            logger.error("an upload is left to the sweeper", extra={"error": str(error)})
    return erased
