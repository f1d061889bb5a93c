from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from support.redis_server import running_redis
from tbscreen_shared.queue import connect_redis


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(Path(tmp_path_factory.mktemp("redis"))) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        client.flushdb()
        yield client
