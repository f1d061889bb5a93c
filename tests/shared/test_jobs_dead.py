import time
from dataclasses import replace
from typing import cast

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tbscreen_shared.contracts import ImageFormat, JobError, JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import (
    CancelOutcome,
    DeadJobs,
    JobStore,
    NewJob,
    Requester,
    RetainedUploads,
    RetryOutcome,
)
from tbscreen_shared.jobs.keys import AUDIT, DEAD


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=1)


@pytest.fixture
def dead(redis: Redis) -> DeadJobs:
    return DeadJobs(redis, result_ttl_s=60)


def new_job(job_id: str) -> NewJob:
    return NewJob(id=job_id, blob=f"blob-{job_id}", sha256="a" * 64, format=ImageFormat.PNG)


def give_up(store: JobStore, job_id: str, **changes: str) -> None:
    store.create(replace(new_job(job_id), **changes))  # type: ignore[arg-type]
    for _ in range(2):
        store.claim(job_id, worker="w")


def ids_by_page(dead: DeadJobs, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = dead.page(limit=limit, cursor=cursor)
        pages.append([job.id for job in page.jobs])
        cursor = page.next_cursor
        if cursor is None:
            return pages


def test_the_latest_given_up_come_first_and_pages_hold_each_job_once(
    store: JobStore, dead: DeadJobs, redis: Redis
) -> None:
    assert ids_by_page(dead, 2) == [[]]
    for job_id in "abcdefg":
        give_up(store, job_id)
    # Several in one millisecond, and a page that ends among them.
    redis.zadd(DEAD, {"a": 1, "b": 2, "c": 2, "d": 2, "e": 2, "f": 2, "g": 3})
    assert ids_by_page(dead, 2) == [["g", "f"], ["e", "d"], ["c", "b"], ["a"]]
    assert ids_by_page(dead, 7) == [["g", "f", "e", "d", "c", "b", "a"]]
    assert ids_by_page(dead, 100) == ids_by_page(dead, 7)
    first = dead.page(limit=3)
    assert first.total == 7
    store.cancel("e")
    assert [job.id for job in dead.page(limit=3, cursor=first.next_cursor).jobs] == ["d", "c", "b"]


@pytest.mark.parametrize("cursor", ["", "x", "1e3.a", "-1.a", "9" * 16 + ".a", "٣.a"])
def test_another_cursor_is_refused(dead: DeadJobs, cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        dead.page(limit=1, cursor=cursor)


def test_a_retry_is_a_new_job_with_an_upload_of_its_own_and_leaves_the_dead_one_as_it_is(
    store: JobStore, dead: DeadJobs, redis: Redis
) -> None:
    give_up(store, "old", callback_url="https://pacs.example/hook")
    before = store.get("old")
    by = Requester("operator", "r-9")
    retry = dead.retry("old", new_id="new", blob="blob-new", size_bytes=7, by=by)
    assert (retry.outcome, retry.job_id) == (RetryOutcome.RETRIED, "new")
    assert store.get("old") == before
    assert not dead.contains("old")
    assert store.needed_blobs() == {"blob-new"}
    job = store.get("new")
    assert job is not None
    assert (job.status, job.attempts, job.retry_of) == (JobStatus.QUEUED, 0, "old")
    claim = store.claim("new", worker="w")
    assert (claim.attempt, claim.blob, claim.sha256) == (1, "blob-new", "a" * 64)
    assert redis.hget("tbscreen:job:new", "callback") == "https://pacs.example/hook"
    (_, entry) = cast("list[tuple[str, dict[str, str]]]", redis.xrevrange(AUDIT, count=1))[0]
    assert (entry["event"], entry["job"], entry["retry_of"]) == ("accepted", "new", "old")
    assert (entry["key"], entry["request"], entry["bytes"]) == ("operator", "r-9", "7")


def test_a_second_retry_answers_with_the_first_ones_job(
    store: JobStore, dead: DeadJobs, redis: Redis
) -> None:
    give_up(store, "old")
    for new_id in ("1", "1", "2"):
        assert dead.retry("old", new_id=new_id, blob=new_id, size_bytes=7).job_id == "1"
    assert dead.retried_as("old") == "1"
    assert store.get("2") is None
    assert store.queue_length() == 1


def test_only_a_dead_job_is_retried(store: JobStore, dead: DeadJobs) -> None:
    def outcome(job_id: str) -> RetryOutcome:
        return dead.retry(job_id, new_id="new", blob="b", size_bytes=7).outcome

    assert outcome("unknown") is RetryOutcome.GONE
    store.create(new_job("1"))
    assert outcome("1") is RetryOutcome.NOT_DEAD
    store.fail("1", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
    assert outcome("1") is RetryOutcome.NOT_DEAD
    give_up(store, "2")
    store.cancel("2")
    assert outcome("2") is RetryOutcome.GONE
    assert store.get("new") is None


def test_a_retry_that_dies_too_can_be_retried(store: JobStore, dead: DeadJobs) -> None:
    give_up(store, "1")
    dead.retry("1", new_id="2", blob="2", size_bytes=7)
    for _ in range(2):
        store.claim("2", worker="w")
    assert dead.retry("2", new_id="3", blob="3", size_bytes=7).job_id == "3"
    job = store.get("3")
    assert job is not None and job.retry_of == "2"


def test_a_full_queue_has_no_room_for_a_retry(store: JobStore, redis: Redis) -> None:
    dead = DeadJobs(redis, result_ttl_s=60, max_queue_length=1)
    give_up(store, "1")
    store.create(new_job("2"))
    assert dead.retry("1", new_id="new", blob="b", size_bytes=1).outcome is RetryOutcome.FULL
    assert dead.contains("1")
    assert store.get("new") is None
    store.cancel("2")
    assert dead.retry("1", new_id="new", blob="b", size_bytes=1).outcome is RetryOutcome.RETRIED
    # What an earlier retry made is told in any case.
    assert dead.retry("1", new_id="newer", blob="b", size_bytes=1).job_id == "new"


def test_a_redis_without_memory_retries_nothing(
    store: JobStore, dead: DeadJobs, redis: Redis
) -> None:
    give_up(store, "1")
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="OOM"):
            dead.retry("1", new_id="2", blob="2", size_bytes=7)
    finally:
        redis.config_set("maxmemory", 0)
    assert dead.contains("1")
    assert dead.retried_as("1") is None


def test_a_retained_upload_is_needed_until_its_time_is_over(redis: Redis) -> None:
    store = JobStore(redis, result_ttl_s=60, max_attempts=1, retain_uploads_s=3)
    retained = RetainedUploads(redis)
    store.create(new_job("1"))
    store.fail("1", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
    assert store.needed_blobs() == {"blob-1"}
    assert retained.overdue()[0] == []
    time.sleep(4.1)
    overdue, until_ms = retained.overdue()
    assert overdue == ["blob-1"]
    retained.forget(until_ms)
    assert store.needed_blobs() == set()


def test_erasing_a_job_ends_the_retention_of_its_upload(redis: Redis) -> None:
    store = JobStore(redis, result_ttl_s=60, max_attempts=1, retain_uploads_s=1000)
    store.create(new_job("1"))
    store.fail("1", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
    assert store.cancel("1") is CancelOutcome.ERASED
    assert store.needed_blobs() == set()


def test_without_retention_no_upload_is_needed_after_the_end(store: JobStore) -> None:
    store.create(new_job("1"))
    store.fail("1", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
    assert store.needed_blobs() == set()
