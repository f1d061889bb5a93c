"""Gateways that share the work, stop in the middle of it, or lose their Redis."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from support.delivering import Delivering, eventually, finished
from support.redis_server import running_redis_server
from support.webhook_receiver import Answer, WebhookReceiver
from tbscreen_gateway.webhooks import delivery
from tbscreen_shared.contracts import CallbackStatus
from tbscreen_shared.jobs import CallbackClaim, JobStore
from tbscreen_shared.queue import connect_redis


async def test_two_gateways_send_each_callback_once(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    names = [str(number) for number in range(60)]
    finished(jobs, receiver.url, *names)
    async with (
        Delivering(redis, jobs).running() as one,
        Delivering(redis, jobs).running() as other,
    ):
        await eventually(lambda: one.outbox.pending() == 0)
    assert sorted(each.headers["webhook-id"] for each in receiver.deliveries) == sorted(names)
    assert one.counted("delivered") + other.counted("delivered") == len(names)
    assert one.counted("delivered") and other.counted("delivered")


async def test_at_the_end_what_is_in_hand_is_finished_and_nothing_begun(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(204, hold_s=0.7)
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs).running() as deliveries:
        await eventually(lambda: len(receiver.deliveries) == 1)
    assert deliveries.callback("1").status is CallbackStatus.DELIVERED


async def test_what_the_end_cut_off_is_sent_again_by_another_under_the_same_id(
    redis: Redis,
    jobs: JobStore,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "_FAREWELL_S", 0.1)
    receiver.answers += [Answer(hold_s=60)]
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs, lease_s=1).running():
        await eventually(lambda: len(receiver.deliveries) == 1)
    async with Delivering(redis, jobs).running() as deliveries:
        callback = await deliveries.settled("1")
    assert (callback.status, callback.attempts) == (CallbackStatus.DELIVERED, 2)
    assert [one.headers["webhook-id"] for one in receiver.deliveries] == ["1", "1"]


async def test_a_redis_that_restarts_meanwhile_makes_no_repeat(
    tmp_path: Path, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(204, hold_s=1)
    with running_redis_server(tmp_path) as server, connect_redis(server.url) as redis:
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        finished(jobs, receiver.url, "1")
        async with Delivering(redis, jobs).running() as deliveries:
            await eventually(lambda: len(receiver.deliveries) == 1)
            server.kill()
            await eventually(lambda: receiver.in_hand == 0)
            await asyncio.sleep(1)
            await asyncio.to_thread(server.start)
            callback = await deliveries.settled("1")
    assert (callback.status, callback.attempts) == (CallbackStatus.DELIVERED, 1)
    assert len(receiver.deliveries) == 1


async def test_what_was_claimed_when_redis_went_away_is_sent(
    tmp_path: Path, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_redis_server(tmp_path) as server, connect_redis(server.url) as redis:
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        finished(jobs, receiver.url, "1", "2")
        deliveries = Delivering(redis, jobs)
        claim = deliveries.outbox.claim

        def losing_redis(job_ids: Iterable[str]) -> Iterator[str]:
            first, *others = job_ids
            yield first
            server.kill()
            yield from others

        def claim_in_vain(job_ids: Iterable[str]) -> list[CallbackClaim]:
            monkeypatch.undo()
            try:
                return claim(losing_redis(job_ids))
            finally:
                server.start()

        monkeypatch.setattr(deliveries.outbox, "claim", claim_in_vain)
        async with deliveries.running():
            await eventually(lambda: deliveries.counted("delivered") == 2)
        assert [deliveries.callback(name).attempts for name in ("1", "2")] == [1, 1]
