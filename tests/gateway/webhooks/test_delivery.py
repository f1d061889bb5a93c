"""Attempts: how often, when, how many at once, and which URLs a record may name."""

import asyncio
import io
from contextlib import ExitStack
from typing import cast

import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from support.delivering import SECRET, Delivering, eventually, finished
from support.fake_worker import a_result
from support.ports import free_port
from support.redis_server import as_user
from support.webhook_receiver import Answer, WebhookReceiver, running_receiver
from tbscreen_gateway.webhooks import delivery
from tbscreen_gateway.webhooks.delivery import MAX_IN_FLIGHT
from tbscreen_gateway.webhooks.sender import Attempt
from tbscreen_shared.contracts import CallbackError, CallbackStatus, ImageFormat, Job
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.jobs.keys import AUDIT, CALLBACKS, job_key
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_users import RedisUser


async def test_a_finished_job_is_sent_as_the_api_answers_it(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    finished(jobs, f"{receiver.url}/in", "1")
    async with Delivering(redis, jobs).running() as deliveries:
        callback = await deliveries.settled("1")
    assert (callback.status, callback.attempts, callback.last_status) == ("delivered", 1, 204)
    (delivered,) = receiver.deliveries
    Webhook(SECRET).verify(delivered.body, delivered.headers)
    assert Job.model_validate_json(delivered.body) == jobs.get("1")
    assert deliveries.counted("delivered") == 1


async def test_what_fails_is_tried_again_under_the_same_id_until_it_is_there(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.answers += [Answer(500), Answer(302, headers={"Location": "/"}), Answer(0)]
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs, retry_delays_s=(0.1, 0.1, 1.2)).running() as deliveries:
        callback = await deliveries.settled("1")
    assert (callback.status, callback.attempts) == (CallbackStatus.DELIVERED, 4)
    ids, bodies, times, signatures = (
        [one.headers["webhook-id"] for one in receiver.deliveries],
        {one.body for one in receiver.deliveries},
        {one.headers["webhook-timestamp"] for one in receiver.deliveries},
        {one.headers["webhook-signature"] for one in receiver.deliveries},
    )
    assert ids == ["1"] * 4
    assert len(bodies) == 1
    # Signed at each attempt, so that a late one is not too old for its receiver.
    assert len(times) == len(signatures) > 1
    assert (deliveries.counted("retry"), deliveries.counted("delivered")) == (3, 1)


async def test_after_the_last_attempt_it_is_given_up(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(500)
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs).running() as deliveries:
        callback = await deliveries.settled("1")
        await asyncio.sleep(0.7)
    assert (callback.status, callback.attempts, callback.last_status) == ("failed", 4, 500)
    assert len(receiver.deliveries) == 4
    entries = cast("list[tuple[str, dict[str, str]]]", redis.xrange(AUDIT))
    assert entries[-1][1]["event"] == "callback_given_up"
    assert deliveries.counted("given_up") == 1


async def test_a_receiver_that_is_gone_is_not_tried_again(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(410)
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs).running() as deliveries:
        callback = await deliveries.settled("1")
    assert (callback.status, callback.attempts) == (CallbackStatus.FAILED, 1)


async def test_a_busy_receiver_is_left_alone_for_as_long_as_it_asks(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.answers += [Answer(503, headers={"Retry-After": "40"})]
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs).running() as deliveries:
        await eventually(lambda: deliveries.callback("1").last_status == 503)
    callback = deliveries.callback("1")
    assert callback.last_attempt_at and callback.next_attempt_at
    assert 39 < (callback.next_attempt_at - callback.last_attempt_at).total_seconds() < 45


async def test_an_erased_job_is_sent_no_more(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(500)
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs, retry_delays_s=(3, 0.1)).running() as deliveries:
        await eventually(lambda: deliveries.callback("1").last_status == 500)
        jobs.cancel("1")
        await asyncio.sleep(4.5)
    assert len(receiver.deliveries) == 1
    assert deliveries.outbox.pending() == 0


async def test_a_dead_receiver_holds_up_nobody_else(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    with running_receiver(usual=Answer(hold_s=60)) as dead:
        # More than are looked at in one go, and all before the other's.
        finished(jobs, dead.url, *(f"dead-{number}" for number in range(delivery._LOOKED_AT + 50)))
        finished(jobs, receiver.url, "1")
        async with Delivering(redis, jobs, timeout_s=50, lease_s=60).running() as deliveries:
            assert (await deliveries.settled("1")).status is CallbackStatus.DELIVERED
            await eventually(lambda: dead.in_hand == delivery._MAX_PER_HOST)
            assert dead.most_in_hand == delivery._MAX_PER_HOST
            dead.release()


async def test_a_receiver_that_did_not_answer_in_time_gets_one_place_until_it_does(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(hold_s=60)
    finished(jobs, receiver.url, *map(str, range(100)))
    deliveries = Delivering(redis, jobs, timeout_s=0.5, retry_delays_s=(30,))
    async with deliveries.running():
        await eventually(lambda: len(receiver.deliveries) >= delivery._MAX_PER_HOST)
        await asyncio.sleep(2.5)
        # One each half second, not eight.
        assert len(receiver.deliveries) < 2 * delivery._MAX_PER_HOST
        receiver.usual = Answer()
        await eventually(lambda: deliveries.counted("delivered") > 20, timeout_s=30)
        receiver.release()


async def test_attempts_at_once_are_bounded(redis: Redis, jobs: JobStore) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(running_receiver(usual=Answer(hold_s=60)))
            for _ in range(MAX_IN_FLIGHT // delivery._MAX_PER_HOST + 2)
        ]
        for number, receiver in enumerate(slow):
            names = (f"{number}-{job}" for job in range(delivery._MAX_PER_HOST + 2))
            finished(jobs, receiver.url, *names)

        def in_hand() -> int:
            return sum(receiver.in_hand for receiver in slow)

        async with Delivering(redis, jobs).running() as deliveries:
            await eventually(lambda: in_hand() == MAX_IN_FLIGHT)
            await asyncio.sleep(0.7)
            assert in_hand() == MAX_IN_FLIGHT
            for receiver in slow:
                receiver.release()
            await eventually(lambda: deliveries.outbox.pending() == 0)
        assert sum(len(receiver.deliveries) for receiver in slow) == deliveries.counted("delivered")


async def test_a_worker_can_not_choose_where_the_gateway_sends(
    redis: Redis, redis_url: str, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    finished(jobs, f"{receiver.url}/in", "changed", "robbed", "accepted")
    seal = str(redis.hget(job_key("robbed"), "callback_seal"))
    with connect_redis(as_user(redis_url, RedisUser.WORKER)) as worker:
        leak = f"{receiver.url}/in?leak"
        worker.hset(job_key("changed"), "callback", leak)
        forged = {"status": "succeeded", "blob": "b", "created_at": 1, "callback": leak}
        for name, also in [("new", {}), ("sealed", {"callback_seal": seal})]:
            jobs.create(NewJob(name, "b" * 32, "a" * 64, ImageFormat.PNG))
            jobs.succeed(name, a_result())
            worker.hset(job_key(name), mapping={**forged, **also})
        # Another job's URL, with its seal.
        stolen = {"callback": f"{receiver.url}/in", "callback_seal": seal}
        worker.hset(job_key("new"), mapping=stolen)
        worker.zadd(CALLBACKS, {"new": 0, "sealed": 0})
    async with Delivering(redis, jobs).running() as deliveries:
        for name in ("changed", "new", "sealed"):
            callback = await deliveries.settled(name)
            assert (callback.status, callback.attempts) == (CallbackStatus.FAILED, 1)
            assert callback.last_error is CallbackError.NOT_ALLOWED
        await deliveries.settled("robbed")
        await deliveries.settled("accepted")
    assert sorted(one.headers["webhook-id"] for one in receiver.deliveries) == [
        "accepted",
        "robbed",
    ]
    assert deliveries.counted("given_up") == 3


async def test_what_the_operator_allows_no_more_is_given_up(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs, http_allowed=False).running() as deliveries:
        callback = await deliveries.settled("1")
    assert (callback.status, callback.last_error) == ("failed", CallbackError.NOT_ALLOWED)
    assert receiver.deliveries == []


async def test_a_url_accepted_under_either_secret_is_sent_to_while_one_is_replaced(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    newer = "whsec_" + "B" * 43 + "="
    finished(jobs, receiver.url, "1")
    async with Delivering(redis, jobs, secrets=f"{newer} {SECRET}").running() as deliveries:
        assert (await deliveries.settled("1")).status is CallbackStatus.DELIVERED
    finished(jobs, receiver.url, "2")
    async with Delivering(redis, jobs, secrets=newer).running() as deliveries:
        assert (await deliveries.settled("2")).last_error is CallbackError.NOT_ALLOWED


async def test_a_record_that_is_damaged_holds_up_nobody_else(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver
) -> None:
    finished(jobs, receiver.url, "1", "2")
    redis.hset(job_key("1"), "callback", "no URL at all")
    async with Delivering(redis, jobs).running() as deliveries:
        assert (await deliveries.settled("2")).status is CallbackStatus.DELIVERED
        assert (await deliveries.settled("1")).last_error is CallbackError.NOT_ALLOWED


async def test_an_attempt_that_nobody_foresaw_is_a_failed_one(
    redis: Redis,
    jobs: JobStore,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object, **__: object) -> Attempt:
        raise LookupError("unforeseen")

    finished(jobs, receiver.url, "1")
    deliveries = Delivering(redis, jobs, retry_delays_s=(30, 0.1))
    with monkeypatch.context() as patch:
        patch.setattr(deliveries.sender, "send", fail)
        async with deliveries.running():
            await eventually(lambda: deliveries.counted("retry"))
            callback = deliveries.callback("1")
    assert (callback.status, callback.attempts) == (CallbackStatus.PENDING, 1)
    assert callback.last_error is CallbackError.INTERNAL_ERROR
    assert callback.last_attempt_at and callback.next_attempt_at
    assert (callback.next_attempt_at - callback.last_attempt_at).total_seconds() > 20
    assert "LookupError: unforeseen" in caplog.text


async def test_the_log_names_the_host_and_not_the_rest_of_the_url(
    redis: Redis, jobs: JobStore, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers += [Answer(500)]
    finished(jobs, f"http://pacs.example:{receiver.port}/planted?token=planted", "1")
    finished(jobs, f"http://nobody.example:{free_port()}/planted", "2")
    with caplog.at_level("DEBUG"):
        async with Delivering(redis, jobs).running() as deliveries:
            await deliveries.settled("1")
            await eventually(lambda: deliveries.callback("2").last_error is not None)
    assert deliveries.callback("2").last_error is CallbackError.CONNECTION_FAILED
    records = [record for record in caplog.records if record.name == delivery.__name__]
    assert {record.__dict__["host"] for record in records} == {"pacs.example", "nobody.example"}
    told = io.StringIO()
    for record in caplog.records:
        print(record.__dict__, record.getMessage(), file=told)
    assert "planted" not in told.getvalue()
