from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tbscreen_shared.contracts import ImageFormat, JobStatus
from tbscreen_shared.jobs import (
    BatchEntry,
    BatchStore,
    CreateOutcome,
    Creation,
    Forgoing,
    IdempotencyKey,
    JobStore,
    NewBatch,
    NewJob,
)
from tbscreen_shared.jobs.keys import BOUND

KEY = IdempotencyKey("digest", "fingerprint")
BINDING = "tbscreen:idempotency:digest"


def new_job(job_id: str, batch_id: str = "") -> NewJob:
    return NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG, batch_id=batch_id)


def a_batch(batch_id: str) -> NewBatch:
    job = new_job(f"{batch_id}-job", batch_id)
    return NewBatch(batch_id, [job], [BatchEntry(index=0, sha256=job.sha256, job_id=job.id)])


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=3)


@pytest.fixture
def batches(redis: Redis) -> BatchStore:
    return BatchStore(redis, result_ttl_s=60)


def test_a_key_makes_one_job_which_is_what_every_repeat_gets(store: JobStore) -> None:
    assert store.create(new_job("1"), KEY) == Creation(CreateOutcome.MADE, "1")
    assert store.create(new_job("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    assert store.get("2") is None
    assert store.queue_length() == 1


def test_a_key_makes_one_batch_which_is_what_every_repeat_gets(
    batches: BatchStore, store: JobStore
) -> None:
    assert batches.create(a_batch("1"), KEY) == Creation(CreateOutcome.MADE, "1")
    assert batches.create(a_batch("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    assert batches.get("2") is None
    assert store.queue_length() == 1


def test_a_key_with_something_else_is_a_conflict_and_makes_nothing(
    store: JobStore, batches: BatchStore
) -> None:
    store.create(new_job("1"), KEY)
    other = IdempotencyKey(KEY.digest, "other")
    assert store.create(new_job("2"), other) == Creation(CreateOutcome.CONFLICT, "1")
    assert batches.create(a_batch("b"), other) == Creation(CreateOutcome.CONFLICT, "1")
    assert store.queue_length() == 1


def test_a_repeat_of_the_call_itself_finds_what_it_made(
    store: JobStore, batches: BatchStore
) -> None:
    for key in (None, KEY):
        for _ in range(2):
            assert store.create(new_job("1"), key).outcome is CreateOutcome.MADE
            assert batches.create(a_batch("b")).outcome is CreateOutcome.MADE
    assert store.queue_length() == 2


def test_a_key_is_free_again_once_what_it_made_is_erased(store: JobStore) -> None:
    store.create(new_job("1"), KEY)
    for _ in range(2):
        store.cancel("1")
    other = IdempotencyKey(KEY.digest, "other")
    assert store.create(new_job("2"), other) == Creation(CreateOutcome.MADE, "2")


def test_a_full_redis_binds_no_key(store: JobStore, redis: Redis) -> None:
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(ResponseError, match="OOM"):
            store.create(new_job("1"), KEY)
        assert Forgoing(redis).forgo("1")
    finally:
        redis.config_set("maxmemory", "0")
    assert not redis.exists(BINDING, BOUND, "tbscreen:job:1")


def test_no_more_jobs_wait_than_may_however_many_come_at_once(redis: Redis) -> None:
    store = JobStore(redis, result_ttl_s=60, max_attempts=3, max_queue_length=5)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: store.create(new_job(f"{n}")).outcome, range(40)))
    assert made.count(CreateOutcome.MADE) == store.queue_length() == 5
    assert made.count(CreateOutcome.FULL) == 35


def test_a_batch_fits_into_the_queue_as_a_whole_or_is_not_made(redis: Redis) -> None:
    batches = BatchStore(redis, result_ttl_s=60, max_queue_length=2)
    jobs = [new_job(f"{number}", "b") for number in range(3)]
    entries = [BatchEntry(index=n, sha256=job.sha256, job_id=job.id) for n, job in enumerate(jobs)]
    assert batches.create(NewBatch("b", jobs, entries)) == Creation(CreateOutcome.FULL, "b")
    assert redis.keys("tbscreen:*") == []
    fitting = NewBatch("b", jobs[:2], entries[:2])
    assert batches.create(fitting) == Creation(CreateOutcome.MADE, "b")


def test_a_full_queue_answers_a_repeat_and_binds_no_key(redis: Redis) -> None:
    store = JobStore(redis, result_ttl_s=60, max_attempts=3, max_queue_length=1)
    other = IdempotencyKey("other", "fingerprint")
    assert store.create(new_job("1"), KEY).outcome is CreateOutcome.MADE
    assert store.create(new_job("2"), KEY) == Creation(CreateOutcome.REPLAYED, "1")
    assert store.create(new_job("3"), other) == Creation(CreateOutcome.FULL, "3")
    store.cancel("1")
    assert store.create(new_job("4"), other) == Creation(CreateOutcome.MADE, "4")


def test_what_was_made_is_not_forgone_whatever_became_of_it(
    store: JobStore, batches: BatchStore, redis: Redis
) -> None:
    store.create(new_job("1"))
    store.claim("1", worker="w")
    batches.create(a_batch("b"))
    assert not Forgoing(redis).forgo("1")
    assert not Forgoing(redis).forgo("b")
    job = store.get("1")
    assert job is not None
    assert job.status is JobStatus.STARTED


def test_what_was_forgone_is_not_made_by_a_call_that_arrives_late(
    store: JobStore, batches: BatchStore, redis: Redis
) -> None:
    assert Forgoing(redis).forgo("1")
    assert Forgoing(redis).forgo("b")
    assert store.create(new_job("1"), KEY) == Creation(CreateOutcome.FORGONE, "1")
    assert batches.create(a_batch("b"), KEY) == Creation(CreateOutcome.FORGONE, "b")
    assert store.queue_length() == 0
    assert store.create(new_job("2"), KEY).outcome is CreateOutcome.MADE
