import asyncio
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from support.blob_files import blob_files
from support.fake_tasks import FakeTaskQueue
from tbscreen_gateway.incoming import Upload
from tbscreen_gateway.intake import Intake, Origin
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import IdempotencyKeys, JobStore, Requester

KEYED = Origin(idempotency_key="key")


class UnreliableJobStore(JobStore):
    """Loses the connection on the next `failures` discards."""

    failures = 0

    def discard(self, job_id: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("lost")
        super().discard(job_id)


@pytest.fixture
def tasks() -> FakeTaskQueue:
    return FakeTaskQueue()


@pytest.fixture
def store(redis: Redis) -> UnreliableJobStore:
    return UnreliableJobStore(redis, result_ttl_s=600, max_attempts=3)


@pytest.fixture
def keys(redis: Redis) -> IdempotencyKeys:
    return IdempotencyKeys(redis, ttl_s=600)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


@pytest.fixture
def intake(
    store: UnreliableJobStore, keys: IdempotencyKeys, blobs: BlobStore, tasks: FakeTaskQueue
) -> Intake:
    return Intake(store, keys, blobs, tasks, Metrics(), CallbackSeals(()))


def an_upload(blobs: BlobStore, sha256: str = "a" * 64) -> Upload:
    with blobs.open_writer() as writer:
        writer.write(b"picture")
        return Upload(writer.commit(), sha256, ImageFormat.PNG, 7)


async def test_an_accepted_upload_is_recorded_and_sent(
    intake: Intake, store: JobStore, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    upload = an_upload(blobs)
    accepted = await intake.accept(upload, Origin())
    assert tasks.sent == [accepted.job_id]
    assert store.blob_of(accepted.job_id) == upload.blob


async def test_what_can_not_be_enqueued_leaves_nothing_behind(
    intake: Intake, redis: Redis, blobs: BlobStore, tasks: FakeTaskQueue, tmp_path: Path
) -> None:
    tasks.takes = 0
    with pytest.raises(Refusal) as caught:
        await intake.accept(an_upload(blobs), KEYED)
    assert caught.value.code is ErrorCode.BROKER_UNAVAILABLE
    told = {"tbscreen:audit", "tbscreen:audit:sequence"}
    assert set(redis.scan_iter("tbscreen:*")) == told
    assert blob_files(tmp_path) == []


async def test_a_key_whose_first_upload_was_refused_makes_a_job_the_next_time(
    intake: Intake, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    tasks.takes = 0
    with pytest.raises(Refusal):
        await intake.accept(an_upload(blobs), KEYED)
    tasks.takes = None
    accepted = await intake.accept(an_upload(blobs), KEYED)
    assert (tasks.sent, accepted.replayed) == ([accepted.job_id], False)


async def test_a_record_that_could_not_be_taken_back_at_once_is_taken_back_later(
    intake: Intake, store: UnreliableJobStore, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    tasks.takes = 0
    store.failures = 2
    with pytest.raises(Refusal):
        await intake.accept(an_upload(blobs), KEYED)
    assert store.queue_length() == 1
    async with asyncio.timeout(10):
        while store.queue_length():
            await asyncio.sleep(0.05)
    await intake.close()


async def test_twenty_simultaneous_requests_with_one_key_make_one_job(
    intake: Intake, blobs: BlobStore, tasks: FakeTaskQueue, tmp_path: Path
) -> None:
    answers = await asyncio.gather(*(intake.accept(an_upload(blobs), KEYED) for _ in range(20)))
    assert len({answer.job_id for answer in answers}) == 1
    assert sum(answer.replayed for answer in answers) == 19
    assert len(tasks.sent) == 1
    assert len(blob_files(tmp_path)) == 1


async def test_a_repeat_is_not_promised_a_job_that_is_refused_meanwhile(
    intake: Intake, keys: IdempotencyKeys, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    digest = KEYED.digest or ""
    keys.remember(digest, "in-the-making", "a" * 64)
    repeat = asyncio.create_task(intake.accept(an_upload(blobs), KEYED))
    await asyncio.sleep(0.2)
    assert not repeat.done()
    keys.forget(digest, "in-the-making")
    accepted = await repeat
    assert (accepted.replayed, tasks.sent) == (False, [accepted.job_id])


async def test_a_key_with_other_bytes_is_a_conflict_and_the_upload_is_erased(
    intake: Intake, blobs: BlobStore, tmp_path: Path
) -> None:
    await intake.accept(an_upload(blobs), KEYED)
    with pytest.raises(Refusal) as caught:
        await intake.accept(an_upload(blobs, "b" * 64), KEYED)
    assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert len(blob_files(tmp_path)) == 1


async def test_a_key_whose_job_was_erased_makes_a_new_one(
    intake: Intake, store: JobStore, blobs: BlobStore
) -> None:
    first = await intake.accept(an_upload(blobs), KEYED)
    store.cancel(first.job_id)
    store.cancel(first.job_id)
    second = await intake.accept(an_upload(blobs), KEYED)
    assert not second.replayed
    assert second.job_id != first.job_id


async def test_the_same_idempotency_key_of_another_api_key_is_another_key(
    intake: Intake, blobs: BlobStore
) -> None:
    accepted = [
        await intake.accept(
            an_upload(blobs), Origin(requester=Requester(key_id=key_id), idempotency_key="key")
        )
        for key_id in ("clinic", "pacs", "clinic")
    ]
    assert accepted[0].job_id == accepted[2].job_id != accepted[1].job_id
