import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from tbscreen_gateway.admission import Admission
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat, JobError
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.jobs.keys import DRAIN_BUCKET_S, drained_key
from tbscreen_shared.queue import connect_redis

ERROR = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m")


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def make(jobs: JobStore, blobs: BlobStore, **bounds: int) -> Admission:
    generous = {"max_queue_length": 100, "max_stored_bytes": 2**40, "reserve_bytes": 0}
    generous["max_concurrent_uploads"] = 100
    return Admission(jobs, blobs, **{**generous, **bounds})


def queue(jobs: JobStore, *names: str) -> None:
    for name in names:
        jobs.create(NewJob(name, "b" * 32, "a" * 64, ImageFormat.PNG))


def store_bytes(blobs: BlobStore, count: int) -> None:
    with blobs.open_writer() as writer:
        writer.write(bytes(count))
        writer.commit()


async def refusal(admission: Admission) -> tuple[ErrorCode, int]:
    with pytest.raises(Refusal) as caught:
        await admission.check_open()
    return caught.value.code, int(caught.value.headers["Retry-After"])


async def test_the_queue_is_full_at_its_limit(jobs: JobStore, blobs: BlobStore) -> None:
    admission = make(jobs, blobs, max_queue_length=2)
    queue(jobs, "1")
    await admission.check_open()
    queue(jobs, "2")
    assert (await refusal(admission))[0] is ErrorCode.QUEUE_FULL


async def test_a_redis_that_can_not_be_asked_ends_no_upload_of_many_files(
    blobs: BlobStore,
) -> None:
    nowhere = connect_redis("redis://127.0.0.1:1/0")
    unreachable = JobStore(nowhere, result_ttl_s=600, max_attempts=3)
    make(unreachable, blobs).check_on(jobs=5)
    store_bytes(blobs, 10)
    with pytest.raises(Refusal) as caught:
        make(unreachable, blobs, max_stored_bytes=10).check_on(jobs=5)
    assert caught.value.code is ErrorCode.STORAGE_FULL


async def test_many_at_once_are_counted_before_they_come(jobs: JobStore, blobs: BlobStore) -> None:
    admission = make(jobs, blobs, max_queue_length=10, max_stored_bytes=1000)
    queue(jobs, *map(str, range(7)))
    await admission.check_open(jobs=3, size_bytes=1000)
    for asked, code in (
        ({"jobs": 4}, ErrorCode.QUEUE_FULL),
        ({"size_bytes": 1001}, ErrorCode.STORAGE_FULL),
    ):
        with pytest.raises(Refusal) as caught:
            await admission.check_open(**asked)
        assert caught.value.code is code
        assert int(caught.value.headers["Retry-After"]) > 0
    free = blobs.free_bytes()
    narrow = make(jobs, blobs, reserve_bytes=free // 2)
    with pytest.raises(Refusal):
        await narrow.check_open(size_bytes=free * 3 // 4)


def end(jobs: JobStore, redis: Redis, count: int) -> None:
    """Queues and ends so many jobs, within one of the stretches that are counted."""
    seconds, microseconds = redis.time()
    left_s = DRAIN_BUCKET_S - seconds % DRAIN_BUCKET_S - microseconds / 1e6
    if left_s < 2:
        time.sleep(left_s + 0.01)
    names = [f"ended {number}" for number in range(count)]
    queue(jobs, *names)
    for name in names:
        jobs.fail(name, ERROR)


async def test_retry_after_follows_from_how_fast_jobs_ended(
    jobs: JobStore, blobs: BlobStore, redis: Redis
) -> None:
    queue(jobs, *map(str, range(26)))
    assert jobs.drain_rate() == 0
    standstill = await refusal(make(jobs, blobs, max_queue_length=26))
    assert standstill == (ErrorCode.QUEUE_FULL, 30)
    end(jobs, redis, 14)
    assert jobs.drain_rate() == 1.4
    assert (await refusal(make(jobs, blobs, max_queue_length=26)))[1] == 1
    assert (await refusal(make(jobs, blobs, max_queue_length=17)))[1] == 8
    narrow = make(jobs, blobs, max_queue_length=1)
    assert (await refusal(narrow))[1] == 19
    with pytest.raises(Refusal) as caught:
        await narrow.check_open(jobs=450)
    assert caught.value.headers["Retry-After"] == "300"


async def test_workers_that_had_little_to_do_are_not_taken_for_slow_ones(
    jobs: JobStore, blobs: BlobStore, redis: Redis
) -> None:
    end(jobs, redis, 1)
    queue(jobs, *map(str, range(26)))
    assert (await refusal(make(jobs, blobs, max_queue_length=26)))[1] == 10
    # 26 places at one in ten seconds: no longer than where nothing is known at all.
    assert (await refusal(make(jobs, blobs, max_queue_length=1)))[1] == 30


async def test_the_busiest_stretch_of_the_last_minute_counts(
    jobs: JobStore, blobs: BlobStore, redis: Redis
) -> None:
    end(jobs, redis, 20)
    now = redis.time()[0] // DRAIN_BUCKET_S
    redis.rename(drained_key(now), drained_key(now - 5))
    for number in range(now - 4, now + 1):
        redis.set(drained_key(number), 1)
    assert jobs.drain_rate() == 2
    redis.rename(drained_key(now - 5), drained_key(now - 7))
    assert jobs.drain_rate() == 0.1


async def test_all_who_are_turned_away_are_told_the_same_time(
    jobs: JobStore, blobs: BlobStore, redis: Redis
) -> None:
    queue(jobs, *map(str, range(26)))
    end(jobs, redis, 14)
    admission = make(jobs, blobs, max_queue_length=17)
    assert {(await refusal(admission))[1] for _ in range(100)} == {8}


async def test_a_full_volumes_retry_after_follows_from_the_same_rate(
    jobs: JobStore, blobs: BlobStore, redis: Redis
) -> None:
    for _ in range(10):
        store_bytes(blobs, 100)
    end(jobs, redis, 14)
    # Three of the ten have to go: 201 bytes at 100 each.
    assert await refusal(make(jobs, blobs, max_stored_bytes=800)) == (ErrorCode.STORAGE_FULL, 3)
    narrow = make(jobs, blobs, reserve_bytes=blobs.free_bytes() * 2)
    assert await refusal(narrow) == (ErrorCode.STORAGE_FULL, 1)


async def test_stored_bytes_are_bounded(jobs: JobStore, blobs: BlobStore) -> None:
    store_bytes(blobs, 1000)
    await make(jobs, blobs, max_stored_bytes=1001).check_open()
    code, retry_after_s = await refusal(make(jobs, blobs, max_stored_bytes=1000))
    assert (code, retry_after_s) == (ErrorCode.STORAGE_FULL, 30)


async def test_what_must_stay_free_on_the_volume_stays_free(
    jobs: JobStore, blobs: BlobStore
) -> None:
    free = blobs.free_bytes()
    await make(jobs, blobs, reserve_bytes=free // 2).check_open()
    assert (await refusal(make(jobs, blobs, reserve_bytes=free * 2)))[0] is ErrorCode.STORAGE_FULL


async def test_a_pause_of_a_minute_forgets_the_rate(
    jobs: JobStore, redis: Redis, blobs: BlobStore
) -> None:
    queue(jobs, "1")
    jobs.fail("1", ERROR)
    (count,) = redis.scan_iter("tbscreen:drained:*")
    assert 0 < int(redis.ttl(count)) <= 80


def test_uploads_at_once_are_bounded_and_a_place_is_given_back(
    jobs: JobStore, blobs: BlobStore
) -> None:
    admission = make(jobs, blobs, max_concurrent_uploads=1)
    with admission.slot():
        with pytest.raises(Refusal) as caught, admission.slot():
            pass
        assert caught.value.code is ErrorCode.SERVER_BUSY
    with pytest.raises(OSError, match="broken"), admission.slot():
        raise OSError("broken")
    with admission.slot():
        pass


async def test_what_is_on_its_way_is_counted_against_the_free_space(
    jobs: JobStore, blobs: BlobStore
) -> None:
    free = blobs.free_bytes()
    admission = make(jobs, blobs, reserve_bytes=free // 2)
    size_bytes = free // 5
    with admission.slot(size_bytes):
        await admission.check_open(size_bytes=size_bytes)
        with admission.slot(size_bytes):
            await admission.check_open(size_bytes=size_bytes)
            with admission.slot(size_bytes):
                assert (await refusal(admission))[0] is ErrorCode.STORAGE_FULL
                admission.check()  # of one that is half here: what it has written it has
    await admission.check_open(size_bytes=size_bytes)


def test_one_key_leaves_places_for_others(jobs: JobStore, blobs: BlobStore) -> None:
    admission = make(jobs, blobs, max_concurrent_uploads=4)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(admission.slot(key_id="greedy"))
        with pytest.raises(Refusal) as caught, admission.slot(key_id="greedy"):
            pass
        assert caught.value.code is ErrorCode.SERVER_BUSY
        held.enter_context(admission.slot(key_id="other"))
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(admission.slot())  # without keys there is one sender alone
        with pytest.raises(Refusal), admission.slot(key_id="other"):
            pass
