import time

import pytest
from redis import Redis

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.rate_limits import Quota, RateLimiter
from tbscreen_shared.errors import ErrorCode


def retry_after(limiter: RateLimiter, caller: str = "clinic") -> int:
    with pytest.raises(Refusal) as caught:
        limiter.charge(caller)
    assert caught.value.code is ErrorCode.RATE_LIMITED
    return int(caught.value.headers["Retry-After"])


def charge_when_allowed(limiter: RateLimiter) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return limiter.charge("clinic")
        except Refusal:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_burst_is_served_and_then_one_in_each_interval(redis: Redis) -> None:
    limiter = RateLimiter(redis, Quota("q", per_minute=30, burst=5))
    begun = time.monotonic()
    for _ in range(5):
        limiter.charge("clinic")
    assert 1 <= retry_after(limiter) <= 2
    for served in (1, 2):
        charge_when_allowed(limiter)
        assert time.monotonic() - begun > 2 * served - 0.1, "one each two seconds"


def test_what_costs_much_is_served_once_and_paid_for_afterwards(redis: Redis) -> None:
    limiter = RateLimiter(redis, Quota("q", per_minute=60, burst=10))
    limiter.charge("clinic", cost=100)
    assert 90 <= retry_after(limiter) <= 91


def test_a_clock_that_is_set_back_locks_nobody_out(redis: Redis) -> None:
    limiter = RateLimiter(redis, Quota("q", per_minute=60, burst=10))
    limiter.charge("clinic", cost=100)
    # As Redis sees what it holds once its clock was set back by an hour.
    hour_ms = 3_600_000
    key = "tbscreen:rate:q:clinic"
    left_ms = int(redis.pttl(key))
    times = " ".join(str(int(ms) + hour_ms) for ms in str(redis.get(key)).split(" "))
    redis.set(key, times, px=left_ms + hour_ms)
    limiter.charge("clinic", cost=100)
    assert 90 <= retry_after(limiter) <= 91


def test_callers_and_quotas_count_apart_and_looking_is_free(redis: Redis) -> None:
    limiter = RateLimiter(redis, Quota("q", per_minute=6, burst=1))
    for _ in range(3):
        limiter.charge("clinic", cost=0)
    limiter.charge("clinic")
    assert 1 <= retry_after(limiter) <= 10
    limiter.charge("pacs")
    RateLimiter(redis, Quota("other", per_minute=60, burst=1)).charge("clinic")


def test_no_limit_is_none(redis: Redis) -> None:
    limiter = RateLimiter(redis, Quota("q", per_minute=0, burst=1))
    for _ in range(50):
        limiter.charge("clinic")
    assert not list(redis.scan_iter("tbscreen:rate:*"))
