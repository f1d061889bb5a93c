"""Uploads that outlive their job's end for a while, where the operator wants them to."""

from typing import cast

from redis import Redis

from tbscreen_shared.jobs.keys import RETAINED


class RetainedUploads:
    """Which they are. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def overdue(self) -> list[str]:
        """Returns the keys of those whose time is over, by Redis' own clock."""
        seconds, _ = self._redis.time()
        return cast("list[str]", self._redis.zrange(RETAINED, "-inf", seconds * 1000, byscore=True))

    def forget(self, blob: str) -> None:
        """Takes one off the list: it has been erased."""
        self._redis.zrem(RETAINED, blob)
