"""What no code expects happens for a while; afterwards the gateway does all it did before."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from support.fake_worker import FakeWorker, a_result
from support.gateway_app import running_gateway
from support.webhook_receiver import running_receiver
from tbscreen_gateway.audit_drain import AuditDrain
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import CallbackOutbox, JobStore, NewJob
from tbscreen_shared.jobs.keys import AUDIT

SECRET = "whsec_" + "A" * 43 + "="


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


class FailingAtFirst:
    """Raises what no code expects until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
        self._goes_on = False
        original = getattr(owner, method)

        def call(*args: Any, **options: Any) -> Any:
            if not self._goes_on:
                raise LookupError(f"{owner.__name__}.{method}")
            return original(*args, **options)

        monkeypatch.setattr(owner, method, call)

    def go_on(self) -> None:
        self._goes_on = True


async def test_background_work_that_broke_off_begins_again(
    settings: GatewaySettings,
    redis: Redis,
    jobs: JobStore,
    worker: FakeWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken_off() -> list[str]:
        return [getattr(record, "work", "") for record in caplog.records]

    failing = [
        FailingAtFirst(monkeypatch, Reconciler, "resend_lost"),
        FailingAtFirst(monkeypatch, AuditDrain, "drain"),
    ]
    jobs.create(NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG))
    jobs.claim("1", worker="dead")
    redis.delete("tbscreen:lease:1")
    async with running_gateway(settings):
        for work in ("Reconciler.run", "AuditDrain.run"):
            await until(lambda work=work: work in broken_off())
        for one in failing:
            one.go_on()
        assert await asyncio.to_thread(worker.take) == "1", "a lost task is sent again"
        await until(lambda: redis.xlen(AUDIT) == 0)


async def test_deliveries_outlive_what_no_code_expects(
    settings: GatewaySettings,
    jobs: JobStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calling = settings.model_copy(
        update={
            "webhook_secret": SecretStr(SECRET),
            "callback_allow": "127.0.0.0/8",
            "callback_http": True,
        }
    )
    failing = FailingAtFirst(monkeypatch, CallbackOutbox, "due")
    with running_receiver() as receiver:
        async with running_gateway(calling):
            seal = CallbackSeals(parse_secrets(SECRET)).seal("1", receiver.url)
            job = NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG, callback_url=receiver.url)
            jobs.create(replace(job, callback_seal=seal))
            jobs.succeed("1", a_result())
            await until(lambda: "could not look for callbacks" in caplog.text)
            failing.go_on()
            await until(lambda: len(receiver.deliveries) == 1)
