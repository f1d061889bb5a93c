"""Keeps a promise or takes it back: what both a single upload and a batch go through."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import Binding, IdempotencyKeys

logger = logging.getLogger(__name__)

_TWIN_WAIT_S: Final = 5.0
"""How long a repeated request waits for the first one of its key to be accepted or refused."""

_TWIN_POLL_S: Final = 0.05
_UNDO_RETRY_S: Final = 1.0


class Offer(Protocol):
    """What a request asks for: its uploads lie in the blob store, and nothing is recorded yet."""

    @property
    def id(self) -> str:
        """Of the job or batch that it is to become."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 that tells its content from another's, hexadecimal."""

    @property
    def pending_s(self) -> int:
        """More seconds than `make` takes."""

    def make(self) -> None:
        """Records it and sends its tasks. Blocking.

        Raises:
            Refusal: a task could not be sent.
            RedisError: the job store can not be reached, or is full.
        """

    def unmake(self) -> None:
        """Takes back from Redis whatever `make` did. Blocking.

        Raises:
            RedisError: the job store can not be reached.
        """

    def erase_uploads(self) -> None:
        """Removes its uploads from the blob store."""


@dataclass(frozen=True)
class Promise:
    """What will be done. `replayed`: an earlier request with the same key has made it."""

    id: str
    replayed: bool


class Promises:
    """Makes an offer a promise, or leaves nothing of it; each Idempotency-Key makes one.

    Args:
        keys: what each key has made.
        stands: tells whether what a key has made is still there. Blocking.
    """

    def __init__(self, keys: IdempotencyKeys, stands: Callable[[str], bool]) -> None:
        self._keys = keys
        self._stands = stands
        self._undoing: set[asyncio.Task[None]] = set()

    async def make(self, offer: Offer, digest: str | None) -> Promise:
        """Makes the offer, or finds what its key has made already and erases the uploads.

        Args:
            offer: what is asked for.
            digest: stands for the Idempotency-Key; None without one.

        Raises:
            Refusal: `broker_unavailable` or `idempotency_conflict`; the uploads are erased.
            RedisError: likewise.
        """
        try:
            if digest is not None:
                earlier = await self._claim_key(digest, offer)
                if earlier is not None:
                    await run_in_threadpool(offer.erase_uploads)
                    return Promise(earlier, replayed=True)
            await run_in_threadpool(offer.make)
        except BaseException:
            await self._undo(offer, digest)
            raise
        if digest is not None:
            await self._confirm_key(digest, offer)
        return Promise(offer.id, replayed=False)

    async def close(self) -> None:
        """Gives up on what could not be undone."""
        for task in self._undoing:
            task.cancel()
        await asyncio.gather(*self._undoing, return_exceptions=True)

    async def _claim_key(self, digest: str, offer: Offer) -> str | None:
        """Returns the id of what the key has made, None when the key is the offer's now."""
        deadline = asyncio.get_running_loop().time() + _TWIN_WAIT_S
        while True:
            earlier = await run_in_threadpool(
                self._keys.remember,
                *(digest, offer.id, offer.fingerprint),
                pending_s=offer.pending_s,
            )
            if earlier is None or earlier.job_id == offer.id:
                return None
            if earlier.sha256 != offer.fingerprint:
                raise Refusal(
                    ErrorCode.IDEMPOTENCY_CONFLICT,
                    "This Idempotency-Key came with another upload before; use a new key.",
                )
            if await self._still_stands(digest, earlier):
                return earlier.job_id
            if asyncio.get_running_loop().time() > deadline:
                raise Refusal(
                    ErrorCode.BROKER_UNAVAILABLE,
                    "The first request with this Idempotency-Key is still being accepted.",
                )
            await asyncio.sleep(_TWIN_POLL_S)

    async def _still_stands(self, digest: str, earlier: Binding) -> bool:
        if not earlier.accepted:
            return False
        if await run_in_threadpool(self._stands, earlier.job_id):
            return True
        # It was deleted since: the key is free for a new one.
        await run_in_threadpool(self._keys.forget, digest, earlier.job_id)
        return False

    async def _confirm_key(self, digest: str, offer: Offer) -> None:
        try:
            await run_in_threadpool(self._keys.confirm, digest, offer.id, offer.fingerprint)
        except RedisError:
            # It is accepted all the same; only a repeat within the day would make another.
            logger.warning("could not confirm an idempotency key", extra={"accepted": offer.id})

    async def _undo(self, offer: Offer, digest: str | None) -> None:
        """Takes everything back. What needs Redis is tried until Redis is back.

        Without the retry the records would be given tasks after all, and the uploads are erased.
        """
        offer.erase_uploads()
        if not await self._try_undo(offer, digest):
            task = asyncio.create_task(self._keep_undoing(offer, digest))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)

    async def _keep_undoing(self, offer: Offer, digest: str | None) -> None:
        while not await self._try_undo(offer, digest):
            await asyncio.sleep(_UNDO_RETRY_S)

    async def _try_undo(self, offer: Offer, digest: str | None) -> bool:
        def undo() -> None:
            offer.unmake()
            if digest is not None:
                self._keys.forget(digest, offer.id)

        try:
            await run_in_threadpool(undo)
        except RedisError:
            return False
        return True
