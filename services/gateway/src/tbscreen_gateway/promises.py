"""Makes an offer a promise: what both a single upload and a batch go through.

What is recorded stays. Another request with the same Idempotency-Key may have been promised it, and
a worker may have it in hand; so nothing that fails after the record takes it back, and a task that
could not be sent is sent later. What fails before it leaves nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.task_queue import TaskNotSentError
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import CreateOutcome, Creation, Forgoing

logger = logging.getLogger(__name__)

_SETTLE_RETRY_S: Final = 1.0


class Offer(Protocol):
    """What a request asks for: its uploads lie in the blob store, and nothing is recorded yet."""

    @property
    def id(self) -> str:
        """Of the job or batch that it is to become."""

    @property
    def count(self) -> int:
        """How many radiographs it holds."""

    def record(self) -> Creation:
        """Records it with its Idempotency-Key, at once or not at all. Blocking.

        Raises:
            RedisError: the job store is full, or did not answer: then it may be recorded, or be so
                later.
        """

    def send(self) -> None:
        """Sends its tasks. Blocking.

        Raises:
            TaskNotSentError: not all of them are on the queue.
        """

    def erase_uploads(self) -> None:
        """Removes its uploads from the blob store. Blocking."""


@dataclass(frozen=True)
class Promise:
    """What will be done. `replayed`: an earlier request with the same key has made it."""

    id: str
    replayed: bool


class Promises:
    """Makes an offer a promise, or leaves nothing of it; each Idempotency-Key makes one."""

    def __init__(self, forgoing: Forgoing, queue_full: Callable[[int], Refusal]) -> None:
        self._forgoing = forgoing
        self._queue_full = queue_full
        self._settling: set[asyncio.Task[None]] = set()

    async def make(self, offer: Offer) -> Promise:
        """Makes the offer, or finds what its key has made already and erases the uploads.

        A request that is canceled meanwhile is like a gateway that is killed: what was recorded is
        done, and the sweeper erases the uploads of what was not.

        Raises:
            Refusal: `idempotency_conflict` or `queue_full`; the uploads are erased.
            RedisError: it is not known whether the offer was recorded; where it was not, it never
                will be, and its uploads are erased as soon as Redis answers.
        """
        try:
            creation = await run_in_threadpool(offer.record)
        except RedisError:
            task = asyncio.create_task(self._settle(offer))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
            raise
        if creation.outcome is CreateOutcome.MADE:
            await run_in_threadpool(_send, offer)
            return Promise(creation.id, replayed=False)
        await run_in_threadpool(offer.erase_uploads)
        if creation.outcome is CreateOutcome.REPLAYED:
            return Promise(creation.id, replayed=True)
        if creation.outcome is CreateOutcome.FULL:
            raise await run_in_threadpool(self._queue_full, offer.count)
        raise Refusal(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            "This Idempotency-Key came with another upload before; use a new key.",
        )

    async def close(self) -> None:
        """Leaves to the sweeper what is not settled."""
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _settle(self, offer: Offer) -> None:
        """Keeps what was recorded although nobody heard of it, and erases the uploads of the rest.

        They must not go before that is known: a record without them would be a job that fails.
        """
        while True:
            try:
                forgone = await run_in_threadpool(self._forgoing.forgo, offer.id)
                break
            except RedisError:
                await asyncio.sleep(_SETTLE_RETRY_S)
        if forgone:
            await run_in_threadpool(offer.erase_uploads)
        else:
            logger.warning("recorded without an answer; it is kept", extra={"kept": offer.id})


def _send(offer: Offer) -> None:
    try:
        offer.send()
    except TaskNotSentError:
        # What is recorded without a task is sent one by the reconciler.
        logger.warning("tasks are sent later", extra={"accepted": offer.id})
