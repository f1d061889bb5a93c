"""What a gateway does by itself: from its start on, and again after what no code expects."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from support.api_keys import add_key, bearer
from support.audit_entries import lines_of
from support.fake_worker import FakeWorker, a_result
from support.gateway_app import running_gateway
from support.webhook_receiver import running_receiver
from tbscreen_gateway import sweeping
from tbscreen_gateway.access import wrong_keys
from tbscreen_gateway.audit_drain import AuditDrain
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import CallbackOutbox, JobStore, NewJob
from tbscreen_shared.jobs.keys import AUDIT, RETAINED

SECRET = "whsec_" + "A" * 43 + "="
HOUR_S = 3600.0


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


class SweepersClock:
    """Stands still until a test moves it on; each sweep looks at it once, as it begins."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return self.now_s

    async def see_a_sweep(self) -> None:
        """Returns once a sweep has ended that began after this call."""
        looks = self._looks
        await until(lambda: self._looks >= looks + 2)


def upload(blobs: BlobStore, *, age_s: float) -> Path:
    with blobs.open_writer() as writer:
        writer.write(b"a radiograph")
        path = Path(blobs.path(writer.commit()))
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


async def test_a_running_gateway_erases_what_no_job_needs_and_what_was_to_be_kept_until_now(
    settings: GatewaySettings,
    redis: Redis,
    jobs: JobStore,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SweepersClock()
    monkeypatch.setattr(sweeping, "time", clock)
    monkeypatch.setattr(sweeping, "_INTERVAL_S", 0.05)
    orphan, needed, retained = (upload(blobs, age_s=age_s) for age_s in (2 * HOUR_S,) * 2 + (0,))
    jobs.create(NewJob("1", needed.name, "a" * 64, ImageFormat.PNG))
    redis.zadd(RETAINED, {retained.name: 1})
    async with running_gateway(settings):
        await clock.see_a_sweep()
        assert [path.exists() for path in (orphan, needed, retained)] == [True, True, False]
        clock.now_s = HOUR_S - 1
        await clock.see_a_sweep()
        assert orphan.exists(), "a Redis that is restored within the hour may know of it"
        clock.now_s = HOUR_S
        await clock.see_a_sweep()
        assert [path.exists() for path in (orphan, needed)] == [False, True]


async def test_a_running_gateway_tells_how_many_wrong_keys_there_were(
    settings: GatewaySettings, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts() -> list[Any]:
        # Whoever reads a log that is being written may see a part of a line.
        lines = [] if redis.xlen(AUDIT) else lines_of(settings.audit_dir)
        return [line.details["count"] for line in lines if line.event == "key_refused"]

    monkeypatch.setattr(wrong_keys, "_TOLD_EVERY_S", 1)
    keys_file = tmp_path / "keys" / "api-keys.json"
    add_key(keys_file)
    guarded = settings.model_copy(update={"api_keys_file": keys_file})
    async with running_gateway(guarded) as gate:
        for _ in range(5):
            await gate.get("/v1/models", headers=bearer("tbs_wrong_secret"))
        # The first of them was told at once.
        await until(lambda: sum(counts()) == 5)


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
