import asyncio

import pytest
from redis import Redis

from support.gateway_app import running_gateway
from tbscreen_gateway import key_expiry
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import IdempotencyKey, JobStore, NewJob

BINDING = "tbscreen:idempotency:digest"


async def test_a_running_gateway_lets_the_keys_of_what_has_ended_expire(
    settings: GatewaySettings, jobs: JobStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_expiry, "_INTERVAL_S", 0.1)
    jobs.create(
        NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG), IdempotencyKey("digest", "fingerprint")
    )
    async with running_gateway(settings):
        await asyncio.sleep(0.5)
        assert redis.ttl(BINDING) == -1
        jobs.cancel("1")
        async with asyncio.timeout(20):
            while redis.ttl(BINDING) < 0:
                await asyncio.sleep(0.05)
        jobs.cancel("1")
        assert redis.exists(BINDING), "the record is gone, and the key counts for nothing"
