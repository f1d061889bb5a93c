import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from support.fake_tasks import FakeTaskQueue
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.batches.intake import BatchIntake
from tbscreen_gateway.intake import Origin
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import BatchStore, Forgoing, JobStore, Requester

KEYED = Origin(idempotency_key="key")
PNG = b"\x89PNG\r\n\x1a\n"
FILES = (PNG + b"1", b"a note", PNG + b"2", PNG + b"3")
LIMITS = BatchLimits(10, 10**6, 10**6, 10**6, 100)


@pytest.fixture
def tasks() -> FakeTaskQueue:
    return FakeTaskQueue()


@pytest.fixture
def batches(redis: Redis) -> BatchStore:
    return BatchStore(redis, result_ttl_s=600)


@pytest.fixture
def promises(redis: Redis) -> Promises:
    return Promises(Forgoing(redis), lambda _: Refusal(ErrorCode.QUEUE_FULL, "no room"))


@pytest.fixture
def intake(
    batches: BatchStore, promises: Promises, blobs: BlobStore, tasks: FakeTaskQueue
) -> BatchIntake:
    return BatchIntake(batches, promises, blobs, tasks, Metrics(), CallbackSeals(()))


def a_draft(blobs: BlobStore, *files: bytes) -> BatchDraft:
    draft = BatchDraft(blobs, LIMITS, lambda _: None)
    for index, data in enumerate(files or FILES):
        draft.begin_file(index)
        draft.take(data)
        draft.end_file()
    return draft


async def test_all_files_become_jobs_whose_tasks_are_sent_in_their_order(
    intake: BatchIntake, batches: BatchStore, jobs: JobStore, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    draft = a_draft(blobs)
    accepted = await intake.accept(draft, Origin(requester=Requester("pacs"), callback_url="u"))
    record = batches.get(accepted.batch_id)
    assert record is not None
    assert [entry.job_id for entry in record.entries if entry.job_id] == tasks.sent
    refused = [(e.index, e.error.code) for e in record.entries if e.error is not None]
    assert refused == [(1, ErrorCode.UNSUPPORTED_MEDIA_TYPE)]
    for job_id, upload in zip(tasks.sent, draft.uploads, strict=True):
        job = jobs.get(job_id)
        assert job is not None
        assert (job.status, job.batch_id) == (JobStatus.QUEUED, accepted.batch_id)
        assert jobs.blob_of(job_id) == upload.blob


@pytest.mark.parametrize("takes", [0, 2])
async def test_a_batch_is_promised_whole_though_not_all_its_tasks_can_be_sent(
    intake: BatchIntake, redis: Redis, blobs: BlobStore, tasks: FakeTaskQueue, takes: int
) -> None:
    tasks.takes = takes
    accepted = await intake.accept(a_draft(blobs), KEYED)
    assert accepted.made is not None
    assert len(tasks.sent) == takes
    assert redis.zcard("tbscreen:queued") == 3
    repeat = await intake.accept(a_draft(blobs), KEYED)
    assert (repeat.batch_id, repeat.made) == (accepted.batch_id, None)


async def test_a_full_redis_leaves_nothing_of_a_batch(
    intake: BatchIntake, redis: Redis, blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(ResponseError, match="OOM"):
            await intake.accept(a_draft(blobs), KEYED)
        async with asyncio.timeout(5):
            while left_behind():
                await asyncio.sleep(0.02)
    finally:
        redis.config_set("maxmemory", "0")
    assert not redis.exists("tbscreen:queued")


async def test_twenty_simultaneous_requests_with_one_key_make_one_batch(
    intake: BatchIntake,
    redis: Redis,
    blobs: BlobStore,
    tasks: FakeTaskQueue,
    left_behind: Callable[[], list[Path]],
) -> None:
    answers = await asyncio.gather(*(intake.accept(a_draft(blobs), KEYED) for _ in range(20)))
    assert len({answer.batch_id for answer in answers}) == 1
    assert sum(answer.made is not None for answer in answers) == 1
    assert len(tasks.sent) == redis.zcard("tbscreen:queued") == len(left_behind()) == 3


async def test_a_key_with_other_files_is_a_conflict_and_theirs_are_erased(
    intake: BatchIntake, blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    await intake.accept(a_draft(blobs), KEYED)
    kept = left_behind()
    for other in (FILES[:3], FILES[::-1], (*FILES, PNG)):
        with pytest.raises(Refusal) as caught:
            await intake.accept(a_draft(blobs, *other), KEYED)
        assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
        assert sorted(left_behind()) == sorted(kept)


async def test_a_key_whose_batch_was_erased_makes_a_new_one(
    intake: BatchIntake, batches: BatchStore, blobs: BlobStore
) -> None:
    first = await intake.accept(a_draft(blobs), KEYED)
    batches.erase(first.batch_id)
    second = await intake.accept(a_draft(blobs), KEYED)
    assert second.made is not None
    assert second.batch_id != first.batch_id
