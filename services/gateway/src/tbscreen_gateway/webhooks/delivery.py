"""Delivers the callbacks that are owed: at least once, with bounds for what one receiver holds."""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.webhooks.policy import CallbackPolicy
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.sender import Attempt, WebhookSender
from tbscreen_gateway.webhooks.urls import CallbackUrl, parse_callback_url
from tbscreen_shared.contracts import CallbackError
from tbscreen_shared.jobs import (
    CallbackClaim,
    CallbackOutbox,
    CallbackOutcome,
    ClaimedAs,
    DueCallback,
    JobStore,
)
from tbscreen_shared.logging import bound_contextvars

logger = logging.getLogger(__name__)

RETRY_DELAYS_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 14400, 14400, 14400)
"""Between one attempt and the next, some twenty hours together; ±20 %, so that what failed together
does not come again together."""

_JITTER: Final = 0.2
_LONGEST_ASKED_S: Final = 3600
"""A receiver's Retry-After counts up to this."""

MAX_IN_FLIGHT: Final = 32
_MAX_PER_HOST: Final = 8
_UNANSWERED_S: Final = 600.0
"""For so long a receiver whose answer did not come in time gets one place: each of its attempts
holds one until it times out, and four such receivers would hold all."""

_LOOKED_AT: Final = 500
_PUT_OFF_S: Final = (5.0, 15.0)
"""What a busy receiver's callbacks wait where they fill all that is looked at: there may be others'
behind them."""

_IDLE_S: Final = 0.5
_BUSY_S: Final = 0.1
_SETTLE_AGAIN_S: Final = 0.5
_FAREWELL_S: Final = 3.0
"""What attempts in hand get once the end is asked for. What it cuts off is sent again."""


class Deliverer:
    """Sends what is due, a bounded number at a time, over all and for each receiver."""

    def __init__(
        self,
        outbox: CallbackOutbox,
        jobs: JobStore,
        sender: WebhookSender,
        metrics: Metrics,
        policy: CallbackPolicy,
        seals: CallbackSeals,
        *,
        lease_s: float,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self._outbox = outbox
        self._jobs = jobs
        self._sender = sender
        self._metrics = metrics
        self._policy = policy
        self._seals = seals
        self._lease_s = lease_s
        self._retry_delays_s = retry_delays_s
        self._in_flight: set[asyncio.Task[None]] = set()
        self._at_host: Counter[str] = Counter()
        self._unanswered_at: dict[str, float] = {}

    async def run(self) -> None:
        """Delivers, for ever; once cancelled it lets what is in hand end, for a moment."""
        try:
            while True:
                await asyncio.sleep(_BUSY_S if await self._start_due() else _IDLE_S)
        finally:
            if self._in_flight:
                await asyncio.wait(self._in_flight, timeout=_FAREWELL_S)
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _start_due(self) -> bool:
        """Begins what may begin; tells whether there may be more at once."""
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return True
        try:
            due = await run_in_threadpool(self._outbox.due, limit=_LOOKED_AT)
            self._metrics.callbacks_pending.set(await run_in_threadpool(self._outbox.pending))
            chosen, held_up = self._choose(due)
            if held_up and len(due) == _LOOKED_AT:
                delays = {one.job_id: random.uniform(*_PUT_OFF_S) for one in held_up}
                await run_in_threadpool(self._outbox.put_off, delays)
            claims = await run_in_threadpool(self._outbox.claim, [one.job_id for one in chosen])
        except RedisError as error:
            self._metrics.callbacks_pending.set(math.nan)
            logger.warning("could not look for callbacks", extra={"error": type(error).__name__})
            return False
        except Exception:
            # Here, so that what is in flight goes on.
            logger.exception("could not look for callbacks")
            return False
        for claim in claims:
            self._begin(claim)
        return bool(claims) or len(due) == _LOOKED_AT

    def _choose(self, due: Iterable[DueCallback]) -> tuple[list[DueCallback], list[DueCallback]]:
        """Returns what may begin now, and what its receiver's other callbacks hold up."""
        chosen: list[DueCallback] = []
        held_up: list[DueCallback] = []
        at_host = self._at_host.copy()
        for one in due:
            if len(self._in_flight) + len(chosen) >= MAX_IN_FLIGHT:
                break
            host = _host_of(one.url)
            at_host[host] += 1
            (chosen if at_host[host] <= self._places(host) or not host else held_up).append(one)
        return chosen, held_up

    def _places(self, host: str) -> int:
        unanswered_at = self._unanswered_at.get(host, -math.inf)
        return 1 if time.monotonic() - unanswered_at < _UNANSWERED_S else _MAX_PER_HOST

    def _note_answer(self, host: str, attempt: Attempt) -> None:
        now = time.monotonic()
        self._unanswered_at = {
            other: at
            for other, at in self._unanswered_at.items()
            if other != host and now - at < _UNANSWERED_S
        }
        if attempt.result is CallbackError.TIMED_OUT:
            self._unanswered_at[host] = now

    def _begin(self, claim: CallbackClaim) -> None:
        if claim.outcome is ClaimedAs.EXPIRED:
            self._metrics.callbacks.labels(CallbackOutcome.GIVEN_UP).inc()
            logger.warning("callback given up: its job expired", extra={"job_id": claim.job_id})
        if claim.outcome is not ClaimedAs.CLAIMED:
            return
        host = _host_of(claim.url)
        self._at_host[host] += 1
        task = asyncio.create_task(self._deliver(claim))
        self._in_flight.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._in_flight.discard(task)
            self._at_host[host] -= 1
            self._at_host += Counter()
            if not task.cancelled() and task.exception() is not None:
                logger.error("a callback's delivery broke off", exc_info=task.exception())

        task.add_done_callback(end)

    async def _deliver(self, claim: CallbackClaim) -> None:
        started = time.perf_counter()
        with bound_contextvars(job_id=claim.job_id):
            url = self._accepted_url(claim)
            try:
                attempt = await self._attempt(claim, url)
                if attempt is None:
                    return  # erased meanwhile
                duration_s = time.perf_counter() - started
                if url is not None and attempt.result is not CallbackError.INTERNAL_ERROR:
                    self._note_answer(_host_of(claim.url), attempt)
                outcome = await self._settle(claim, attempt)
            except RedisError as error:
                # Its lease lapses, and it is sent again.
                logger.warning("could not settle a callback", extra={"error": type(error).__name__})
                return
            self._metrics.callbacks.labels(outcome).inc()
            _log(outcome, claim, attempt, host=url.host if url else "", duration_s=duration_s)

    async def _attempt(self, claim: CallbackClaim, url: CallbackUrl | None) -> Attempt | None:
        """Sends the job; None for one that is no more."""
        try:
            job = await run_in_threadpool(self._jobs.get, claim.job_id)
            if job is None:
                return None
            if url is None:
                return Attempt(CallbackError.NOT_ALLOWED)
            # The same bytes as GET /v1/jobs/{id} answers.
            body = job.model_dump_json().encode()
            return await self._sender.send(url, message_id=job.id, body=body)
        except RedisError:
            raise
        except Exception:
            # Unsettled, it would come again at each lease's end, whatever number it has.
            logger.exception("a callback's attempt broke off")
            return Attempt(CallbackError.INTERNAL_ERROR)

    def _accepted_url(self, claim: CallbackClaim) -> CallbackUrl | None:
        """Returns where to send; None for what no gateway accepted, or would accept no more.

        Workers write to the same records: what is there is believed only with a gateway's seal.
        """
        if not self._seals.hold(claim.seal, claim.job_id, claim.url):
            return None
        try:
            return parse_callback_url(self._policy.check(claim.url))
        except Refusal:
            return None

    async def _settle(self, claim: CallbackClaim, attempt: Attempt) -> CallbackOutcome:
        """Notes what came of it; a Redis that is away may come back while the lease lasts."""
        deadline = asyncio.get_running_loop().time() + self._lease_s
        while True:
            try:
                return await run_in_threadpool(self._note, claim, attempt)
            except RedisError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_SETTLE_AGAIN_S)

    def _note(self, claim: CallbackClaim, attempt: Attempt) -> CallbackOutcome:
        if attempt.delivered:
            assert isinstance(attempt.result, int)
            return self._outbox.settle_delivered(claim, attempt.result)
        return self._outbox.settle_failed(
            claim, attempt.result, retry_after_s=self._pause_s(claim.attempt, attempt)
        )

    def _pause_s(self, number: int, attempt: Attempt) -> float | None:
        """Returns the seconds from the numbered attempt to the next; None when there is none."""
        if attempt.final or number > len(self._retry_delays_s):
            return None
        pause_s = self._retry_delays_s[number - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
        return max(pause_s, min(attempt.retry_after_s, _LONGEST_ASKED_S))


def _host_of(url: str) -> str:
    """Returns the authority of a URL in its one form; of none, nothing."""
    return url.partition("://")[2].partition("/")[0]


def _log(
    outcome: CallbackOutcome,
    claim: CallbackClaim,
    attempt: Attempt,
    *,
    host: str,
    duration_s: float,
) -> None:
    """Names the host alone: the rest of a callback's URL is the receiver's own affair."""
    failed = outcome in (CallbackOutcome.RETRY, CallbackOutcome.GIVEN_UP)
    fields: dict[str, object] = {
        "outcome": outcome,
        "host": host,
        "attempt": claim.attempt,
        "duration_ms": round(duration_s * 1000, 1),
    }
    is_error = isinstance(attempt.result, CallbackError)
    fields["error" if is_error else "status"] = attempt.result
    if attempt.detail:
        fields["detail"] = attempt.detail
    logger.log(logging.WARNING if failed else logging.INFO, "callback", extra=fields)
