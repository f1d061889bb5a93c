"""Which finished jobs still owe their sender a callback, and how its delivery goes."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError

from tbscreen_shared.contracts import Callback, CallbackError, CallbackStatus
from tbscreen_shared.jobs import transitions
from tbscreen_shared.jobs.keys import CALLBACKS, job_key
from tbscreen_shared.jobs.records import to_time

_FIELDS: Final = (
    "callback",
    "callback_outcome",
    "callback_attempts",
    "callback_at",
    "callback_status",
    "callback_error",
    "finished_at",
)


@dataclass(frozen=True)
class DueCallback:
    """A callback whose time has come. `url` is empty where the job has expired meanwhile."""

    job_id: str
    url: str


class ClaimedAs(StrEnum):
    """What became of a claim."""

    CLAIMED = "claimed"
    TAKEN = "taken"
    """By another gateway; or the job was erased."""

    EXPIRED = "expired"
    """The job's life ended before its callback was delivered; it is given up."""


@dataclass(frozen=True)
class CallbackClaim:
    """A delivery in one gateway's hand. All but the outcome is empty where it is not CLAIMED.

    `attempt` counts from 1; `token` names this claim among all; `seal` is what is stored beside
    the URL.
    """

    outcome: ClaimedAs
    job_id: str
    url: str
    attempt: int
    token: str
    seal: str


class CallbackOutcome(StrEnum):
    """What an attempt led to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVEN_UP = "given_up"
    SETTLED = "settled"
    """By another gateway; or the job was erased."""


class CallbackOutbox:
    """The callbacks that are owed, for all gateways. Every method may raise `RedisError`.

    At least once: a claim lapses after `lease_s`, and another gateway then sends it again.
    """

    def __init__(self, redis: "Redis", *, lease_s: float) -> None:
        self._redis = redis
        self._lease_ms = int(lease_s * 1000)
        self._claim = redis.register_script(transitions.CLAIM_CALLBACK)
        self._settle = redis.register_script(transitions.SETTLE_CALLBACK)

    def due(self, *, limit: int) -> list[DueCallback]:
        """Returns what may be sent now, the longest due first, by Redis' own clock."""
        ids = cast(
            "list[str]",
            self._redis.zrange(
                CALLBACKS, "-inf", self._now_ms(), byscore=True, offset=0, num=limit
            ),
        )
        if not ids:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hget(job_key(job_id), "callback")
            urls = cast("list[str | None]", pipe.execute())
        return [DueCallback(job_id, url or "") for job_id, url in zip(ids, urls, strict=True)]

    def claim(self, job_ids: Iterable[str]) -> list[CallbackClaim]:
        """Takes callbacks in hand, for `lease_s`; each claim counts as an attempt.

        Fewer than asked for where Redis goes away in between: those claimed are to be sent.
        """
        claims: list[CallbackClaim] = []
        for job_id in job_ids:
            token = uuid.uuid4().hex
            try:
                outcome, url, attempt, seal = self._claim(args=[job_id, token, self._lease_ms])
            except RedisError:
                if not claims:
                    raise
                break
            claims.append(CallbackClaim(ClaimedAs(outcome), job_id, url, int(attempt), token, seal))
        return claims

    def asked_for(self, job_id: str) -> tuple[str, str]:
        """Returns a job's URL and its seal; empty where there is none."""
        url, seal = cast(
            "list[str | None]", self._redis.hmget(job_key(job_id), ["callback", "callback_seal"])
        )
        return url or "", seal or ""

    def put_off(self, delays_s: Mapping[str, float]) -> None:
        """Makes room for others: the jobs' callbacks are not due until their delays are over."""
        if not delays_s:
            return
        now_ms = self._now_ms()
        scores = {job_id: now_ms + int(1000 * delay_s) for job_id, delay_s in delays_s.items()}
        # Only what is still owed, and never to an earlier time than another gateway gave it.
        self._redis.zadd(CALLBACKS, scores, xx=True, gt=True)

    def settle_delivered(self, claim: CallbackClaim, status: int) -> CallbackOutcome:
        """Notes that the receiver has it; right whatever another gateway did meanwhile."""
        return self._note(claim, CallbackOutcome.DELIVERED, "status", str(status))

    def settle_failed(
        self, claim: CallbackClaim, reason: int | CallbackError, *, retry_after_s: float | None
    ) -> CallbackOutcome:
        """Notes a failed attempt, and when to try again; it is given up where the job ends first.

        Args:
            claim: the attempt.
            reason: the HTTP status, or why there was none.
            retry_after_s: None gives up.
        """
        told = ("error" if isinstance(reason, CallbackError) else "status", str(reason))
        if retry_after_s is None:
            return self._note(claim, CallbackOutcome.GIVEN_UP, *told)
        return self._note(claim, CallbackOutcome.RETRY, *told, delay_ms=int(retry_after_s * 1000))

    def get(self, job_id: str) -> Callback | None:
        """Returns how the job's callback goes; None where none was asked for, or no such job is."""
        # Never MULTI for reading: a full Redis refuses even that.
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(job_key(job_id), _FIELDS)
            pipe.zscore(CALLBACKS, job_id)
            values, next_ms = cast("tuple[list[str | None], float | None]", pipe.execute())
        url, outcome, attempts, attempted_at, status, error, finished_at = values
        if url is None:
            return None
        return Callback(
            status=_STATUS_OF.get(outcome or "", CallbackStatus.PENDING),
            attempts=int(attempts or 0),
            last_attempt_at=to_time(attempted_at) if attempted_at else None,
            last_status=int(status) if status else None,
            last_error=CallbackError(error) if error else None,
            # 0 until the first attempt, which is due once the job has ended.
            next_attempt_at=to_time(int(next_ms or finished_at or 0))
            if next_ms is not None
            else None,
        )

    def pending(self) -> int:
        """Returns how many callbacks of finished jobs are owed."""
        return int(self._redis.zcard(CALLBACKS))

    def _note(
        self,
        claim: CallbackClaim,
        outcome: CallbackOutcome,
        what: str,
        value: str,
        delay_ms: int = 0,
    ) -> CallbackOutcome:
        settled = self._settle(
            args=[claim.job_id, claim.token, outcome, claim.attempt, what, value, delay_ms]
        )
        return CallbackOutcome(settled)

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


_STATUS_OF: Final = {
    CallbackOutcome.DELIVERED.value: CallbackStatus.DELIVERED,
    CallbackOutcome.GIVEN_UP.value: CallbackStatus.FAILED,
}
