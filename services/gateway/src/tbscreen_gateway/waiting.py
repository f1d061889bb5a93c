"""Holds a request until its job is finished: woken by Redis, not by a timer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar

from fastapi import Request
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.background import keep_running
from tbscreen_shared.contracts import Job
from tbscreen_shared.jobs import DONE_CHANNEL_PREFIX, JobStore

logger = logging.getLogger(__name__)

MAX_WAIT_S: Final = 30.0

_RECHECK_S: Final = 3.0
"""Published messages are not kept: one lost with its connection is made up for by looking."""

_RECONNECT_S: Final = 0.5
_REDIS_TIMEOUT_S: Final = 5.0

_Seen = TypeVar("_Seen")


class FinishedJobs:
    """Hears of every job or batch that finishes, over one subscription, and wakes who waits."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.released = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keeps the subscription while the block runs, across losses of Redis."""
        listener = asyncio.create_task(keep_running(self._listen))
        try:
            yield
        finally:
            # Again and again: redis-py 8.1 loses a cancellation that comes while it connects.
            while not listener.done():
                listener.cancel()
                await asyncio.wait({listener}, timeout=0.1)

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yields an event that is set when the job may have finished: look, then clear it."""
        event = asyncio.Event()
        events = self._waiting.setdefault(job_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events and self._waiting.get(job_id) is events:
                del self._waiting[job_id]

    def release(self) -> None:
        """Ends every wait, now and from now on: the server is about to stop."""
        self.released = True
        self._wake_all()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                logger.warning(
                    "lost the subscription to finished jobs",
                    extra={"error": type(error).__name__},
                )
            await asyncio.sleep(_RECONNECT_S)

    async def _hear(self) -> None:
        async with (
            Redis.from_url(
                self._redis_url,
                decode_responses=True,
                socket_connect_timeout=_REDIS_TIMEOUT_S,
                socket_timeout=_REDIS_TIMEOUT_S,
                # redis-py's own check sends a PING and never misses its answer: `_hear` does.
                health_check_interval=0,
                # A silent reconnect would hide that messages were missed.
                retry=Retry(NoBackoff(), 0),
            ) as redis,
            redis.pubsub() as subscription,
        ):
            await subscription.psubscribe(f"{DONE_CHANNEL_PREFIX}*")
            # Whatever finished while nobody listened.
            self._wake_all()
            asked = False
            while True:
                message = await subscription.get_message(timeout=_REDIS_TIMEOUT_S)
                if message is None:
                    if asked:
                        raise ConnectionError("the connection died in silence")
                    await subscription.ping()
                    asked = True
                    continue
                # The answer to a PING is a message too: whatever is heard shows life.
                asked = False
                if message["type"] == "pmessage":
                    job_id = message["channel"].removeprefix(DONE_CHANNEL_PREFIX)
                    for event in self._waiting.get(job_id, ()):
                        event.set()


class JobWaiter:
    """Looks a job up, or what is made of jobs, waiting for its end if asked to."""

    def __init__(self, jobs: JobStore, finished: FinishedJobs) -> None:
        self._jobs = jobs
        self._finished = finished

    async def get(self, job_id: str, *, wait_s: float, request: Request) -> Job | None:
        """Returns the job, or None for an unknown id; see `look`."""
        return await self.look(
            job_id,
            lambda: self._jobs.get(job_id),
            lambda job: job.status.is_final,
            wait_s=wait_s,
            request=request,
        )

    async def look(
        self,
        announced_as: str,
        read: Callable[[], _Seen | None],
        is_final: Callable[[_Seen], bool],
        *,
        wait_s: float,
        request: Request,
    ) -> _Seen | None:
        """Returns what there is to see, or None where there is nothing.

        Comes back when it is final, `wait_s` seconds are over, the client has left or the server is
        about to stop, whichever is first. A Redis that is lost meanwhile may come back until then.

        Args:
            announced_as: the id whose end is announced.
            read: looks. Blocking; it may raise RedisError.
            is_final: whether it will not change any more.
            wait_s: at most so long; 0 looks once.
            request: its body has been read.

        Raises:
            RedisError: the job store could not be reached at the last look.
        """
        if wait_s <= 0:
            return await run_in_threadpool(read)
        deadline = asyncio.get_running_loop().time() + wait_s
        departure = asyncio.create_task(_departure(request))
        try:
            with self._finished.watch(announced_as) as maybe_finished:
                return await self._watch(read, is_final, deadline, maybe_finished, departure)
        finally:
            departure.cancel()
            with suppress(asyncio.CancelledError):
                await departure

    async def _watch(
        self,
        read: Callable[[], _Seen | None],
        is_final: Callable[[_Seen], bool],
        deadline: float,
        maybe_finished: asyncio.Event,
        departure: asyncio.Task[None],
    ) -> _Seen | None:
        while True:
            maybe_finished.clear()
            seen: _Seen | None = None
            error: RedisError | None = None
            try:
                seen = await run_in_threadpool(read)
                if seen is None or is_final(seen):
                    return seen
            except RedisError as lost:
                error = lost
            remaining_s = deadline - asyncio.get_running_loop().time()
            if remaining_s <= 0 or self._finished.released or departure.done():
                if error is not None:
                    raise error
                return seen
            signal = asyncio.create_task(maybe_finished.wait())
            try:
                await asyncio.wait(
                    (signal, departure),
                    timeout=min(remaining_s, _RECHECK_S),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                signal.cancel()


async def _departure(request: Request) -> None:
    """Returns when the client has left; its request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
