"""How often one caller may ask, over all gateways: the generic cell rate algorithm in Redis."""

import math
from dataclasses import dataclass
from typing import Final

from redis import Redis

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.errors import ErrorCode

_PREFIX: Final = "tbscreen:rate:"

# The algorithm of ITU-T I.371: the key holds the time at which the caller is out of debt. A caller
# within the burst is served whatever it costs, and waits the longer: so a batch is never too large.
_CHARGE: Final = """
-- KEYS: caller. ARGV: ms for one, ms of burst, cost. Returns 0, or how many ms to wait.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- With the time of the last charge: where that is still to come, the clock was set back meanwhile,
-- and the debt means nothing.
local debt, charged_at = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
local free_at = now
if debt and tonumber(charged_at) <= now then free_at = math.max(now, tonumber(debt)) end
local wait = free_at - now - tonumber(ARGV[2])
if wait > 0 then return math.ceil(wait) end
free_at = math.floor(free_at + ARGV[1] * ARGV[3])
if free_at > now then
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', free_at, now), 'PX', free_at - now)
end
return 0
"""


@dataclass(frozen=True)
class Quota:
    """What one caller may ask for.

    Attributes:
        name: tells this quota's counts from another's.
        per_minute: in the long run; 0 for no limit.
        burst: at once, after a pause.
    """

    name: str
    per_minute: int
    burst: int


class RateLimiter:
    """Counts what callers ask for against one quota. Synchronous, one round trip."""

    def __init__(self, redis: "Redis", quota: Quota) -> None:
        self._quota = quota
        self._charge = redis.register_script(_CHARGE)

    def charge(self, caller: str, *, cost: int = 1) -> None:
        """Counts `cost` requests of a caller; 0 only looks.

        Raises:
            Refusal: `rate_limited`, with Retry-After; nothing was counted.
            RedisError: Redis can not be reached.
        """
        if not self._quota.per_minute:
            return
        interval_ms = 60_000 / self._quota.per_minute
        wait_ms = self._charge(
            keys=[f"{_PREFIX}{self._quota.name}:{caller}"],
            args=[interval_ms, interval_ms * (self._quota.burst - 1), cost],
        )
        if wait_ms:
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"More than {self._quota.per_minute} a minute; try again later.",
                headers={"Retry-After": str(math.ceil(wait_ms / 1000))},
            )
