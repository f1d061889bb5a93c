import asyncio
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from support.fake_tasks import FakeTaskQueue
from support.fake_worker import FakeWorker
from support.gateway_app import running_gateway
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.task_queue import CeleryTaskQueue, TaskNotSentError
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.jobs.keys import QUEUED
from tbscreen_shared.queue import QUEUE_NAME, make_celery_app


@pytest.fixture
def tasks(settings: GatewaySettings) -> Iterator[CeleryTaskQueue]:
    queue = CeleryTaskQueue(settings)
    yield queue
    queue.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for the task of a job that is a second old, and misses it at once."""
    monkeypatch.setattr("tbscreen_gateway.reconciliation._TASKLESS_S", 1.0)
    monkeypatch.setattr("tbscreen_gateway.reconciliation._MISSING_S", 0.0)


@pytest.fixture
def reconciler(redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, hasty: None) -> Reconciler:
    return Reconciler(redis, jobs, tasks, visibility_timeout_s=1)


def record(jobs: JobStore, job_id: str) -> None:
    jobs.create(NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG))


def test_a_job_without_a_task_gets_one_within_seconds(
    redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, worker: FakeWorker
) -> None:
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=30)
    begun = time.monotonic()
    record(jobs, "1")
    while not reconciler.resend_lost():
        time.sleep(0.1)
        assert time.monotonic() - begun < 20
    # 4 s until it is looked for, and 2 s for which it must be missing.
    assert 5.5 < time.monotonic() - begun < 12
    assert worker.take() == "1"


def test_a_lost_task_is_sent_again_though_the_clock_was_set_back_since(
    redis: Redis, jobs: JobStore, reconciler: Reconciler, worker: FakeWorker
) -> None:
    record(jobs, "1")
    redis.zincrby(QUEUED, 3_600_000, "1")
    assert reconciler.resend_lost() == 1
    assert worker.take() == "1"


def test_a_task_that_is_on_its_way_into_a_hand_is_not_taken_for_lost(
    redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tbscreen_gateway.reconciliation._TASKLESS_S", 0.0)
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=30)
    record(jobs, "1")
    for _ in range(3):
        tasks.send("1")
        task = redis.rpop(QUEUE_NAME)  # and not yet noted down
        assert reconciler.resend_lost() == 0
        redis.hset("unacked", "tag", f"[{task}]")
        time.sleep(1.2)
        assert reconciler.resend_lost() == 0
        redis.delete("unacked")


def test_a_backlogs_tasks_are_found_wherever_they_stand(
    reconciler: Reconciler, redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue
) -> None:
    for number in range(3):
        record(jobs, f"{number}")
    time.sleep(1.1)
    # Behind younger ones, as what a worker without a model gives back.
    tasks.send("young")
    (young,) = redis.lrange(QUEUE_NAME, 0, -1)
    redis.lpush(QUEUE_NAME, *[young] * 500)
    tasks.send("0")
    redis.lpush(QUEUE_NAME, *[young] * 1200)
    tasks.send("1")
    assert reconciler.resend_lost() == 1
    assert reconciler.resend_lost() == 0


def test_a_job_without_a_task_gets_one_in_each_visibility_timeout(
    redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, worker: FakeWorker, hasty: None
) -> None:
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=3)
    record(jobs, "1")
    time.sleep(1.1)
    assert reconciler.resend_lost() == 1
    assert worker.take() == "1"
    # Lost again, as far as anyone can see.
    assert reconciler.resend_lost() == 0
    time.sleep(3.1)
    assert reconciler.resend_lost() == 1


def test_of_two_gateways_one_sends_the_task(
    redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, hasty: None
) -> None:
    one, other = (Reconciler(redis, jobs, tasks, visibility_timeout_s=30) for _ in range(2))
    record(jobs, "1")
    time.sleep(1.1)
    assert one.resend_lost() == 1
    redis.delete(QUEUE_NAME)
    assert other.resend_lost() == 0


def test_a_lost_task_goes_before_all_that_wait(
    reconciler: Reconciler, jobs: JobStore, tasks: CeleryTaskQueue, worker: FakeWorker
) -> None:
    record(jobs, "lost")
    time.sleep(1.1)
    for number in range(5):
        tasks.send(f"young-{number}")
    assert reconciler.resend_lost() == 1
    assert [worker.take() for _ in range(3)] == ["lost", "young-0", "young-1"]


def test_a_second_loss_does_not_wait_for_the_visibility_timeout(
    redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tbscreen_gateway.reconciliation._GRACE_S", 0)
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=30)
    record(jobs, "1")
    for _ in range(2):
        jobs.claim("1", worker="dead")
        redis.delete("tbscreen:lease:1")
        assert reconciler.resend_lost() == 1
        assert reconciler.resend_lost() == 0


def test_what_could_not_be_sent_again_is_tried_at_the_next_look(
    redis: Redis, jobs: JobStore, hasty: None
) -> None:
    tasks = FakeTaskQueue()
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=30)
    for job_id in ("1", "2", "3"):
        record(jobs, job_id)
    time.sleep(1.1)
    tasks.takes = 1
    with pytest.raises(TaskNotSentError):
        reconciler.resend_lost()
    tasks.takes = None
    assert reconciler.resend_lost() == 2
    assert sorted(tasks.sent) == ["1", "2", "3"]


def test_a_job_whose_task_waits_is_left_alone(
    reconciler: Reconciler, redis: Redis, jobs: JobStore, tasks: CeleryTaskQueue
) -> None:
    record(jobs, "1")
    tasks.send("1")
    redis.rpush(QUEUE_NAME, "no message", "[]")
    time.sleep(1.1)
    assert reconciler.resend_lost() == 0
    assert redis.llen(QUEUE_NAME) == 3


def test_a_job_whose_task_a_worker_has_in_hand_is_left_alone(
    reconciler: Reconciler,
    settings: GatewaySettings,
    redis: Redis,
    jobs: JobStore,
    tasks: CeleryTaskQueue,
) -> None:
    record(jobs, "1")
    tasks.send("1")
    with make_celery_app(settings) as app, app.connection_for_read() as connection:
        taken = connection.SimpleQueue(QUEUE_NAME)
        taken.get(timeout=5)
        assert redis.llen(QUEUE_NAME) == 0
        time.sleep(1.1)
        assert reconciler.resend_lost() == 0
        taken.close()


def test_a_job_whose_task_is_in_hand_and_never_claimed_gets_another(
    settings: GatewaySettings,
    redis: Redis,
    jobs: JobStore,
    tasks: CeleryTaskQueue,
    worker: FakeWorker,
) -> None:
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=1)
    for job_id in ("claimed", "lost"):
        record(jobs, job_id)
        tasks.send(job_id)
    jobs.claim("claimed", worker="alive")
    with make_celery_app(settings) as app, app.connection_for_read() as connection:
        taken = connection.SimpleQueue(QUEUE_NAME)  # by a worker that dies before its claim
        for _ in range(2):
            taken.get(timeout=5)
        begun = time.monotonic()
        while not (sent := reconciler.resend_lost()):
            assert jobs.renew("claimed", worker="alive")
            time.sleep(0.5)
            assert time.monotonic() - begun < 12
        assert sent == 1
        assert time.monotonic() - begun > 6
        assert worker.take() == "lost"
        # There is a second task now: in hand as well, as far as anyone can see.
        tasks.send("lost")
        time.sleep(1.1)
        assert reconciler.resend_lost() == 0
        taken.close()


async def test_a_running_gateway_sends_lost_tasks_again_and_says_so(
    settings: GatewaySettings,
    jobs: JobStore,
    worker: FakeWorker,
    hasty: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record(jobs, "1")
    await asyncio.sleep(1.1)
    async with running_gateway(settings.model_copy(update={"visibility_timeout_s": 1})):
        assert await asyncio.to_thread(worker.take) == "1"
        async with asyncio.timeout(20):
            while "sent lost tasks again" not in caplog.text:
                await asyncio.sleep(0.02)


def test_a_job_whose_worker_stopped_renewing_its_lease_gets_another_task(
    reconciler: Reconciler, redis: Redis, jobs: JobStore, worker: FakeWorker
) -> None:
    record(jobs, "1")
    begun = time.monotonic()
    jobs.claim("1", worker="dead")
    assert reconciler.resend_lost() == 0
    while not reconciler.resend_lost():
        time.sleep(0.1)
        assert time.monotonic() - begun < 20
    # A lease of 5 s, which nobody renews, and 2 s of grace.
    assert 6 < time.monotonic() - begun < 12
    assert worker.take() == "1"
    assert worker.finish("1")


def test_a_job_whose_lease_is_renewed_stays_where_it_is(
    reconciler: Reconciler, jobs: JobStore
) -> None:
    record(jobs, "1")
    jobs.claim("1", worker="alive")
    begun = time.monotonic()
    while time.monotonic() - begun < 8:
        assert jobs.renew("1", worker="alive")
        assert reconciler.resend_lost() == 0
        time.sleep(0.5)


def test_leases_that_lapsed_together_are_renewed_before_their_jobs_are_taken_for_lost(
    reconciler: Reconciler, redis: Redis, jobs: JobStore
) -> None:
    record(jobs, "1")
    jobs.claim("1", worker="alive")
    redis.delete("tbscreen:lease:1")  # as after a long pause of Redis
    assert reconciler.resend_lost() == 0
    time.sleep(1)
    assert jobs.renew("1", worker="alive")
    time.sleep(1.5)
    assert reconciler.resend_lost() == 0
