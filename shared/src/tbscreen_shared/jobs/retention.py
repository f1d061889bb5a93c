"""Uploads that outlive their job's end for a while, where the operator wants them to."""

from typing import cast

from redis import Redis

from tbscreen_shared.jobs.keys import RETAINED


class RetainedUploads:
    """Which they are. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def overdue(self) -> tuple[list[str], int]:
        """Returns the keys of those whose time is over, and Redis' time now in ms."""
        seconds, _ = self._redis.time()
        now_ms = seconds * 1000
        return cast("list[str]", self._redis.zrange(RETAINED, "-inf", now_ms, byscore=True)), now_ms

    def forget(self, until_ms: int) -> None:
        """Takes those off the list whose time was over then: they have been erased.

        Not by their names: one that is no text, as a worker that was taken over may write it, is
        read as another.
        """
        self._redis.zremrangebyscore(RETAINED, "-inf", until_ms)
