"""For how long an Idempotency-Key counts: as long as what it has made is there, and no longer."""

import time

import pytest
from redis import Redis

from support.redis_server import as_user
from tbscreen_shared.contracts import ImageFormat, JobError
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import (
    BatchEntry,
    BatchStore,
    CreateOutcome,
    Creation,
    DeadJobs,
    IdempotencyKey,
    IdempotencyKeys,
    JobStore,
    NewBatch,
    NewJob,
)
from tbscreen_shared.jobs.keys import BOUND, batch_key, job_key
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_users import RedisUser

KEY = IdempotencyKey("digest", "fingerprint")
BINDING = "tbscreen:idempotency:digest"
DAMAGED = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="damaged")


def new_job(job_id: str, batch_id: str = "") -> NewJob:
    return NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG, batch_id=batch_id)


def a_batch(batch_id: str, *job_ids: str) -> NewBatch:
    jobs = [new_job(job_id, batch_id) for job_id in job_ids]
    entries = [BatchEntry(index=n, sha256=job.sha256, job_id=job.id) for n, job in enumerate(jobs)]
    return NewBatch(batch_id, jobs, entries)


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=3)


@pytest.fixture
def forgetful(redis: Redis) -> JobStore:
    """Keeps what has ended for a second."""
    return JobStore(redis, result_ttl_s=1, max_attempts=3)


@pytest.fixture
def batches(redis: Redis) -> BatchStore:
    return BatchStore(redis, result_ttl_s=1)


@pytest.fixture
def bound_keys(redis: Redis) -> IdempotencyKeys:
    return IdempotencyKeys(redis)


def wait_until_expired(redis: Redis, record: str) -> None:
    deadline = time.monotonic() + 5
    while redis.exists(record):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_binding_ends_with(redis: Redis, record: str) -> None:
    # In one script, in which the time stands still.
    script = "return {redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2])}"
    of_binding, of_record = redis.eval(script, 2, BINDING, record)
    assert of_binding == pytest.approx(of_record, abs=5)
    assert of_record != -1


def test_a_key_counts_for_as_long_as_its_job_waits(
    store: JobStore, forgetful: JobStore, bound_keys: IdempotencyKeys
) -> None:
    forgetful.create(new_job("1"), KEY)
    bound_keys.let_expire()
    time.sleep(1.2)  # longer than a result is kept
    assert store.create(new_job("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    store.claim("1", worker="w")
    bound_keys.let_expire()
    store.fail("1", DAMAGED)
    assert store.create(new_job("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")


def test_a_key_counts_for_as_long_as_any_job_of_its_batch_waits(
    store: JobStore,
    forgetful: JobStore,
    batches: BatchStore,
    bound_keys: IdempotencyKeys,
    redis: Redis,
) -> None:
    batches.create(a_batch("b", "1", "2"), KEY)
    forgetful.fail("1", DAMAGED)
    bound_keys.let_expire()
    wait_until_expired(redis, job_key("1"))
    assert batches.create(a_batch("c", "3"), KEY) == Creation(CreateOutcome.REPLAYED, "b")
    store.fail("2", DAMAGED)
    bound_keys.let_expire()
    assert_binding_ends_with(redis, batch_key("b"))


def test_a_key_expires_with_the_record_and_is_looked_at_no_more(
    forgetful: JobStore, bound_keys: IdempotencyKeys, redis: Redis
) -> None:
    forgetful.create(new_job("1"), KEY)
    forgetful.fail("1", DAMAGED)
    bound_keys.let_expire()
    assert_binding_ends_with(redis, job_key("1"))
    assert not redis.exists(BOUND)
    wait_until_expired(redis, job_key("1"))
    assert not bound_keys.has_made(KEY.digest)


def test_a_key_that_nobody_looked_at_in_time_is_free_and_then_erased(
    store: JobStore, forgetful: JobStore, bound_keys: IdempotencyKeys, redis: Redis
) -> None:
    store.create(new_job("1"), KEY)
    forgetful.fail("1", DAMAGED)
    wait_until_expired(redis, job_key("1"))
    other = IdempotencyKey(KEY.digest, "other")
    assert store.create(new_job("2"), other) == Creation(CreateOutcome.MADE, "2")
    bound_keys.let_expire()
    assert redis.pttl(BINDING) == -1, "it is the second job's now"
    for _ in range(2):
        store.cancel("2")
    bound_keys.let_expire()
    assert not redis.exists(BINDING, BOUND)


def test_a_dead_jobs_key_is_its_own_and_not_that_of_its_retry(
    store: JobStore, bound_keys: IdempotencyKeys, redis: Redis
) -> None:
    store.create(new_job("1"), KEY)
    for _ in range(4):
        store.claim("1", worker="w")
    dead = DeadJobs(redis, result_ttl_s=60)
    assert dead.retry("1", new_id="2", blob="c" * 32, size_bytes=1).job_id == "2"
    bound_keys.let_expire()
    assert store.create(new_job("3"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    assert_binding_ends_with(redis, job_key("1"))


def test_a_key_bound_with_a_time_to_live_keeps_it(
    store: JobStore, bound_keys: IdempotencyKeys, redis: Redis
) -> None:
    store.create(new_job("1"))
    redis.set(BINDING, f"1 {KEY.fingerprint}", ex=60)  # as before keys waited for what they made
    bound_keys.let_expire()
    assert store.create(new_job("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    assert 50 < int(redis.ttl(BINDING)) <= 60


def test_a_full_redis_lets_keys_expire_and_a_gateway_has_the_right_to(
    store: JobStore, redis: Redis, redis_url: str
) -> None:
    store.create(new_job("1"), KEY)
    store.create(new_job("2"), IdempotencyKey("other", "fingerprint"))
    store.fail("1", DAMAGED)
    redis.config_set("maxmemory", "1")
    try:
        with connect_redis(as_user(redis_url, RedisUser.GATEWAY)) as gateway:
            IdempotencyKeys(gateway).let_expire()
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.pttl(BINDING) > 0
    assert redis.smembers(BOUND) == {"other"}


def test_any_number_of_keys_is_looked_at(
    store: JobStore, bound_keys: IdempotencyKeys, redis: Redis
) -> None:
    count = 1200
    for number in range(count):
        store.create(new_job(f"{number}"), IdempotencyKey(f"{number}", "fingerprint"))
    for number in range(count - 1):
        store.fail(f"{number}", DAMAGED)
    bound_keys.let_expire()
    assert redis.smembers(BOUND) == {f"{count - 1}"}
