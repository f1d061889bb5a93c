"""What no code expects is in Redis for a while; afterwards the gateway does all it did before."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from pydantic import SecretStr
from redis import Redis

from support.fake_worker import FakeWorker, a_result
from support.gateway_app import running_gateway
from support.webhook_receiver import WebhookReceiver, running_receiver
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.jobs.keys import AUDIT, CALLBACKS, STARTED

NO_TEXT = b"\xff"
SECRET = "whsec_" + "A" * 43 + "="


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


async def test_background_work_that_broke_off_begins_again(
    settings: GatewaySettings,
    redis: Redis,
    jobs: JobStore,
    worker: FakeWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:

    def broken_off() -> list[str]:
        return [getattr(record, "work", "") for record in caplog.records]

    redis.xadd(AUDIT, {cast("str", NO_TEXT): cast("str", NO_TEXT)}, id="1-1")
    jobs.create(NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG))
    jobs.claim("1", worker="dead")
    redis.delete("tbscreen:lease:1")
    redis.zadd(STARTED, {cast("str", NO_TEXT): 0})
    async with running_gateway(settings):
        for work in ("Reconciler.run", "AuditDrain.run"):
            await until(lambda work=work: work in broken_off())
        redis.zrem(STARTED, cast("str", NO_TEXT))
        redis.xtrim(AUDIT, maxlen=0)
        assert await asyncio.to_thread(worker.take) == "1", "a lost task is sent again"
        jobs.create(NewJob("2", "b" * 32, "a" * 64, ImageFormat.PNG))
        await until(lambda: redis.xlen(AUDIT) == 0)


async def test_deliveries_outlive_what_can_not_be_read(
    settings: GatewaySettings, redis: Redis, jobs: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    def deliver(receiver: WebhookReceiver) -> None:
        seal = CallbackSeals(parse_secrets(SECRET)).seal("1", receiver.url)
        job = NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG, callback_url=receiver.url)
        jobs.create(replace(job, callback_seal=seal))
        jobs.succeed("1", a_result())

    calling = settings.model_copy(
        update={
            "webhook_secret": SecretStr(SECRET),
            "callback_allow": "127.0.0.0/8",
            "callback_http": True,
        }
    )
    redis.zadd(CALLBACKS, {cast("str", NO_TEXT): 0})
    with running_receiver() as receiver:
        async with running_gateway(calling):
            await until(lambda: "could not look for callbacks" in caplog.text)
            redis.zrem(CALLBACKS, cast("str", NO_TEXT))
            deliver(receiver)
            await until(lambda: len(receiver.deliveries) == 1)
