import asyncio
import os
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from support.blob_files import blob_files
from support.gateway_app import PNG
from support.sent_form import SentRequest, part
from tbscreen_gateway.batches import draft
from tbscreen_gateway.batches.draft import BatchLimits
from tbscreen_gateway.batches.form import receive_batch
from tbscreen_gateway.sweeping import Sweeper
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.contracts import ImageFormat, JobError
from tbscreen_shared.errors import BlobError, ErrorCode
from tbscreen_shared.jobs import (
    DeadJobs,
    JobStore,
    NewJob,
    RetainedUploads,
)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def make_sweeper(
    redis: Redis,
    jobs: JobStore,
    blobs: BlobStore,
    *,
    abandoned_after_s: float = 3600,
    result_ttl_s: int = 600,
) -> Sweeper:
    dead = DeadJobs(redis, result_ttl_s=result_ttl_s)
    retained = RetainedUploads(redis)
    return Sweeper(jobs, dead, retained, blobs, abandoned_after_s=abandoned_after_s)


def upload(blobs: BlobStore, *, age_s: float = 10) -> str:
    with blobs.open_writer() as writer:
        writer.write(b"a radiograph")
        blob = writer.commit()
    at = time.time() - age_s
    os.utime(blobs.path(blob), (at, at))
    return blob


def record(jobs: JobStore, job_id: str, blob: str) -> None:
    jobs.create(NewJob(job_id, blob, "a" * 64, ImageFormat.PNG))


def test_uploads_that_a_job_needs_stay_and_the_rest_goes(
    jobs: JobStore, redis: Redis, blobs: BlobStore, tmp_path: Path
) -> None:
    names = ("queued", "started", "dead", "ended", "erased")
    held = {name: upload(blobs) for name in names}
    for name, blob in held.items():
        record(jobs, name, blob)
    jobs.claim("started", worker="w")
    for _ in range(4):
        jobs.claim("dead", worker="w")
    error = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m")
    for name in ("ended", "erased"):
        jobs.fail(name, error)
    jobs.cancel("erased")
    upload(blobs)  # its gateway died before the record
    young = upload(blobs, age_s=0)

    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=8)
    assert sweeper.sweep() == 0, "an orphan must be seen as one for as long as that"
    for orphan in sweeper._orphan_since:
        sweeper._orphan_since[orphan] -= 8.0  # as that much later
    assert sweeper.sweep() == 3
    kept = {held["queued"], held["started"], held["dead"], young}
    assert {path.name for path in blob_files(tmp_path)} == kept


def test_a_job_that_comes_back_within_the_time_finds_its_upload(
    jobs: JobStore, redis: Redis, blobs: BlobStore, tmp_path: Path
) -> None:
    blob = upload(blobs)
    record(jobs, "1", blob)
    backup = redis.dump("tbscreen:job:1"), redis.zscore("tbscreen:queued", "1")
    redis.flushdb()
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=0.3)
    assert sweeper.sweep() == 0
    redis.restore("tbscreen:job:1", 0, backup[0])  # type: ignore[arg-type]
    redis.zadd("tbscreen:queued", {"1": float(backup[1])})  # type: ignore[arg-type]
    time.sleep(0.4)
    assert sweeper.sweep() == 0
    assert [path.name for path in blob_files(tmp_path)] == [blob]


def test_only_partial_uploads_that_nobody_writes_any_more_are_swept_whatever_the_clock_says(
    jobs: JobStore, redis: Redis, blobs: BlobStore, tmp_path: Path
) -> None:
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=0.3)
    abandoned = tmp_path / f"{'a' * 32}.partial"
    abandoned.write_bytes(b"x")
    with blobs.open_writer() as writing:
        for written in (1, 2):
            writing.write(b"y")
            writing.flush()
            for partial in tmp_path.glob("*.partial"):
                os.utime(partial, ns=(0, written if partial != abandoned else 1))
            # Long ago, as seen after the wall clock has jumped ahead.
            assert sweeper.sweep() == written - 1
            time.sleep(0.4)
        key = writing.commit()
    assert [path.name for path in blob_files(tmp_path)] == [key]


def test_nothing_is_erased_while_the_job_store_can_not_be_asked(
    jobs: JobStore, redis: Redis, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(blobs)
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=0)

    def lose() -> set[str]:
        raise ConnectionError("lost")

    monkeypatch.setattr(jobs, "needed_blobs", lose)
    with pytest.raises(ConnectionError):
        sweeper.sweep()
    assert len(blob_files(tmp_path)) == 1


def test_a_dead_job_leaves_the_list_with_its_record(redis: Redis, blobs: BlobStore) -> None:
    jobs = JobStore(redis, result_ttl_s=1, max_attempts=1)
    record(jobs, "1", upload(blobs))
    for _ in range(2):
        jobs.claim("1", worker="w")
    assert redis.zcard("tbscreen:dead") == 1
    time.sleep(2.1)
    make_sweeper(redis, jobs, blobs, result_ttl_s=1).sweep()
    assert redis.zcard("tbscreen:dead") == 0


def test_a_retained_upload_is_erased_when_its_time_is_over_and_not_before(
    redis: Redis, blobs: BlobStore, tmp_path: Path
) -> None:
    jobs = JobStore(redis, result_ttl_s=600, max_attempts=3, retain_uploads_s=3)
    blob = upload(blobs)
    record(jobs, "1", blob)
    jobs.fail("1", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=0)
    assert sweeper.sweep() == 0
    assert [path.name for path in blob_files(tmp_path)] == [blob]
    time.sleep(4.1)
    assert sweeper.sweep() == 1
    assert blob_files(tmp_path) == []
    assert sweeper.sweep() == 0


def test_names_of_no_upload_do_not_stop_the_sweep(
    jobs: JobStore, redis: Redis, blobs: BlobStore, tmp_path: Path
) -> None:
    # As a worker that was taken over may write them.
    redis.zadd("tbscreen:retained", {b"../\xff": 1, "../elsewhere": 2})
    redis.hset("tbscreen:job:odd", mapping={"status": "queued", "blob": b"\xff"})
    redis.zadd("tbscreen:queued", {"odd": 1})
    upload(blobs)
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=0)
    assert sweeper.sweep() == 1
    assert sweeper.sweep() == 0
    assert blob_files(tmp_path) == []
    assert redis.zcard("tbscreen:retained") == 0


LIMITS = BatchLimits(
    max_files=10,
    max_request_bytes=10**6,
    max_file_bytes=10**6,
    max_unpacked_bytes=10**6,
    max_ratio=100,
)


async def test_a_batch_that_comes_for_longer_than_that_keeps_its_files(
    jobs: JobStore, redis: Redis, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "_KEEP_EVERY_S", 0.2)
    sweeper = make_sweeper(redis, jobs, blobs, abandoned_after_s=2)
    pieces = iter([part(PNG), part(PNG)[:-9], *[b"x" * 2000] * 45, part(PNG)[-9:], b"--edge--\r\n"])
    sent = SentRequest([])

    async def trickle() -> dict[str, object]:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(sweeper.sweep)
        body = next(pieces, None)
        return {"type": "http.request", "body": body or b"", "more_body": body is not None}

    sent.request._receive = trickle  # type: ignore[assignment]
    monkeypatch.setattr("tbscreen_gateway.forms._BATCH_BYTES", 1)
    received = await receive_batch(sent.request, blobs, LIMITS, lambda _: None)
    assert len(received.uploads) == 2
    assert all(Path(blobs.path(upload.blob)).is_file() for upload in received.uploads)


async def test_a_batch_that_lost_a_file_is_refused(blobs: BlobStore, tmp_path: Path) -> None:
    sent = SentRequest([part(PNG), part(PNG), b"--edge--\r\n"])
    files = iter(range(9))

    def lose_the_first(_: int) -> None:
        if next(files) == 1:
            blob_files(tmp_path)[0].unlink()

    with pytest.raises(BlobError) as caught:
        await receive_batch(sent.request, blobs, LIMITS, lose_the_first)
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
    assert blob_files(tmp_path) == []
