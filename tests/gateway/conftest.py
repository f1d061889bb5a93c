from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis import Redis

from support.blob_files import blob_files
from support.fake_bundle import publish_fake_bundle
from support.fake_worker import FakeWorker, a_result
from support.gateway_app import running_gateway
from support.redis_server import as_user, running_redis
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_users import RedisUser


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def jobs(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=600, max_attempts=3)


@pytest.fixture
def worker(redis: Redis) -> FakeWorker:
    return FakeWorker(redis, lambda sha256: a_result(sha256=sha256))


@pytest.fixture
def settings(redis: Redis, redis_url: str, tmp_path: Path) -> GatewaySettings:
    """On an empty Redis, with one published bundle."""
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    return GatewaySettings(
        redis_url=SecretStr(as_user(redis_url, RedisUser.GATEWAY)),
        blobs_dir=tmp_path / "blobs",
        models_dir=tmp_path / "models",
        audit_dir=tmp_path / "audit",
        max_upload_bytes=100_000,
        predict_wait_s=5,
    )


@pytest.fixture
def blobs_dir(settings: GatewaySettings) -> Path:
    return settings.blobs_dir


@pytest_asyncio.fixture
async def client(settings: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def left_behind(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: blob_files(tmp_path / "blobs")
