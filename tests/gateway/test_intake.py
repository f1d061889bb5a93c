import asyncio
from pathlib import Path
from typing import Literal

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from support.blob_files import blob_files
from support.fake_tasks import FakeTaskQueue
from tbscreen_gateway.incoming import Upload
from tbscreen_gateway.intake import Accepted, Intake, Origin
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.promises import Promises
from tbscreen_gateway.webhooks.seals import CallbackSeals
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import Creation, Forgoing, IdempotencyKey, JobStore, NewJob, Requester

KEYED = Origin(idempotency_key="key")


class UnreliableJobStore(JobStore):
    """Loses the connection on the next record: before Redis has it, or before it has answered."""

    loses: Literal["call", "answer"] | None = None

    def create(self, job: NewJob, key: IdempotencyKey | None = None) -> Creation:
        loses, self.loses = self.loses, None
        if loses == "call":
            raise ConnectionError("lost")
        creation = super().create(job, key)
        if loses == "answer":
            raise ConnectionError("lost")
        return creation


@pytest.fixture
def tasks() -> FakeTaskQueue:
    return FakeTaskQueue()


@pytest.fixture
def store(redis: Redis) -> UnreliableJobStore:
    return UnreliableJobStore(redis, result_ttl_s=600, max_attempts=3)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


@pytest.fixture
def promises(redis: Redis) -> Promises:
    return Promises(Forgoing(redis), lambda _: Refusal(ErrorCode.QUEUE_FULL, "no room"))


@pytest.fixture
def intake(
    store: UnreliableJobStore, promises: Promises, blobs: BlobStore, tasks: FakeTaskQueue
) -> Intake:
    return Intake(store, promises, blobs, tasks, Metrics(), CallbackSeals(()))


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


async def test_what_is_recorded_is_promised_though_its_task_can_not_be_sent(
    intake: Intake, store: JobStore, blobs: BlobStore, tasks: FakeTaskQueue
) -> None:
    tasks.takes = 0
    accepted = await intake.accept(an_upload(blobs), KEYED)
    tasks.takes = None
    assert store.queue_length() == 1
    assert await intake.accept(an_upload(blobs), KEYED) == Accepted(accepted.job_id, replayed=True)


async def test_what_was_not_recorded_leaves_nothing_behind(
    intake: Intake,
    store: UnreliableJobStore,
    redis: Redis,
    promises: Promises,
    blobs: BlobStore,
    tmp_path: Path,
) -> None:
    store.loses = "call"
    with pytest.raises(ConnectionError):
        await intake.accept(an_upload(blobs), KEYED)
    async with asyncio.timeout(5):
        while blob_files(tmp_path):
            await asyncio.sleep(0.02)
    (forgone,) = redis.scan_iter("tbscreen:*")
    assert forgone.startswith("tbscreen:forgone:")
    await promises.close()


async def test_what_was_recorded_without_an_answer_is_kept_whole_and_is_what_a_repeat_gets(
    intake: Intake,
    store: UnreliableJobStore,
    blobs: BlobStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.loses = "answer"
    upload = an_upload(blobs)
    with pytest.raises(ConnectionError):
        await intake.accept(upload, KEYED)
    async with asyncio.timeout(5):
        while "it is kept" not in caplog.text:
            await asyncio.sleep(0.02)
    assert blob_files(tmp_path) == [Path(blobs.path(upload.blob))]
    repeat = await intake.accept(an_upload(blobs), KEYED)
    assert repeat.replayed
    assert store.blob_of(repeat.job_id) == upload.blob
    assert store.queue_length() == 1
    assert blob_files(tmp_path) == [Path(blobs.path(upload.blob))]


async def test_twenty_simultaneous_requests_with_one_key_make_one_job(
    intake: Intake, blobs: BlobStore, tasks: FakeTaskQueue, tmp_path: Path
) -> None:
    answers = await asyncio.gather(*(intake.accept(an_upload(blobs), KEYED) for _ in range(20)))
    assert len({answer.job_id for answer in answers}) == 1
    assert sum(answer.replayed for answer in answers) == 19
    assert len(tasks.sent) == 1
    assert len(blob_files(tmp_path)) == 1


async def test_a_key_with_other_bytes_is_a_conflict_and_the_upload_is_erased(
    intake: Intake, blobs: BlobStore, tmp_path: Path
) -> None:
    await intake.accept(an_upload(blobs), KEYED)
    with pytest.raises(Refusal) as caught:
        await intake.accept(an_upload(blobs, "b" * 64), KEYED)
    assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert len(blob_files(tmp_path)) == 1


async def test_a_key_with_another_callback_is_a_conflict(intake: Intake, blobs: BlobStore) -> None:
    called = [Origin(idempotency_key="key", callback_url=url) for url in ("", "https://a", "")]
    first = await intake.accept(an_upload(blobs), called[0])
    with pytest.raises(Refusal) as caught:
        await intake.accept(an_upload(blobs), called[1])
    assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert (await intake.accept(an_upload(blobs), called[2])).job_id == first.job_id


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
