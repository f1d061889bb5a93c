from dataclasses import replace

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tbscreen_shared.contracts import (
    ImageFormat,
    InputInfo,
    JobError,
    JobResult,
    JobStatus,
    ModelRef,
    Timings,
)
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import (
    BatchEntry,
    BatchStore,
    CancelOutcome,
    JobStore,
    NewBatch,
    NewJob,
    Requester,
    done_channel,
)
from tbscreen_shared.jobs.keys import AUDIT, batch_key

DAMAGED = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="damaged")
NO_IMAGE = JobError(code=ErrorCode.UNSUPPORTED_MEDIA_TYPE, message="a note")
PACS = Requester(key_id="pacs", request_id="r1")


def a_batch(*job_ids: str, batch_id: str = "batch", callback_url: str = "") -> NewBatch:
    """A batch of these jobs, with one refused file after the first."""
    jobs = [
        NewJob(
            id=job_id,
            blob=f"{number:032x}",
            sha256=f"{number:064x}",
            format=ImageFormat.DICOM,
            size_bytes=10 + number,
            requester=PACS,
            callback_url=callback_url,
            batch_id=batch_id,
        )
        for number, job_id in enumerate(job_ids)
    ]
    first, *rest = (BatchEntry(index=0, sha256=job.sha256, job_id=job.id) for job in jobs)
    rest = [entry.model_copy(update={"index": 2 + n}) for n, entry in enumerate(rest)]
    return NewBatch(batch_id, jobs, [first, BatchEntry(index=1, error=NO_IMAGE), *rest], 4)


def result(version: str = "1") -> JobResult:
    return JobResult(
        prediction="Normal",
        probability=0.25,
        score=25,
        probabilities={"Normal": 0.75, "TB Positive": 0.25},
        threshold=0.5,
        operating_point="triage",
        activation_map=[[0.0, 1.0]],
        model=ModelRef(version=version, sha256="c" * 64),
        preprocessing="1",
        input=InputInfo(sha256="a" * 64, width=10, height=20, format=ImageFormat.PNG),
        timings_ms=Timings(queue=1, decode=2, inference=3, total=6),
    )


@pytest.fixture
def jobs(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=3)


@pytest.fixture
def batches(redis: Redis) -> BatchStore:
    return BatchStore(redis, result_ttl_s=60)


def audited(redis: Redis) -> list[dict[str, str]]:
    return [fields for _, fields in redis.xrange(AUDIT)]  # type: ignore[misc]


def test_a_batch_is_recorded_with_its_jobs_its_refused_files_and_its_order(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    made = a_batch("a", "b", "c", callback_url="https://pacs/done")
    batches.create(made)
    record = batches.get("batch")
    assert record is not None
    assert (record.entries, record.skipped) == (made.entries, 4)
    for new in made.jobs:
        job = jobs.get(new.id)
        assert job is not None
        assert (job.status, job.batch_id) == (JobStatus.QUEUED, "batch")
        assert redis.hget(f"tbscreen:job:{new.id}", "callback") == "https://pacs/done"
    assert batches.blobs_of(["a", "b", "c"]) == [job.blob for job in made.jobs]
    positions = [job.queue_position for job in map(jobs.get, "abc") if job]
    assert positions == [1, 2, 3]


def test_the_audit_log_knows_each_job_of_a_batch_as_it_knows_a_single_one(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    batch = a_batch("a", "b")
    batches.create(batch)
    jobs.create(replace(batch.jobs[0], id="single"))
    of_the_batch, _, single = audited(redis)
    differing = {"seq", "at", "job"}
    assert {k: v for k, v in of_the_batch.items() if k not in differing} == {
        k: v for k, v in single.items() if k not in differing
    }
    assert (of_the_batch["key"], of_the_batch["batch"]) == ("pacs", "batch")


def test_a_batch_whose_id_is_taken_is_refused_and_changes_nothing(
    batches: BatchStore, redis: Redis
) -> None:
    batches.create(a_batch("a"))
    before = set(redis.scan_iter("tbscreen:*"))
    batches.create(a_batch("b"))
    assert set(redis.scan_iter("tbscreen:*")) == before


def test_a_full_redis_takes_a_batch_wholly_or_not_at_all(batches: BatchStore, redis: Redis) -> None:
    ids = [f"job-{number}" for number in range(300)]
    batches.create(a_batch(*ids, batch_id="first"))
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(ResponseError, match="OOM"):
            batches.create(a_batch("x", "y", batch_id="second"))
        assert set(batches.cancel(ids)) == {CancelOutcome.CANCELED}
        assert set(batches.cancel(ids)) == {CancelOutcome.ERASED}
    finally:
        redis.config_set("maxmemory", "0")
    assert not redis.exists(batch_key("second"), "tbscreen:job:x", "tbscreen:job:y")


def test_looking_at_many_jobs_tells_their_statuses_and_the_outcomes_of_some(
    batches: BatchStore, jobs: JobStore
) -> None:
    batches.create(a_batch("a", "b", "c", "d"))
    for job_id in ("a", "b", "c"):
        jobs.claim(job_id, worker="w")
    jobs.succeed("a", result())
    jobs.fail("b", DAMAGED)
    statuses, briefs = batches.look(["a", "b", "c", "d", "gone"], in_full=["b", "a", "gone"])
    assert statuses == ["succeeded", "failed", "started", "queued", None]
    failed, succeeded, gone = briefs
    assert gone is None
    assert failed is not None and (failed.status, failed.error) == (JobStatus.FAILED, DAMAGED)
    assert succeeded is not None and succeeded.result is not None
    assert succeeded.result.model_dump() == {
        "prediction": "Normal",
        "probability": 0.25,
        "score": 25.0,
        "threshold": 0.5,
        "operating_point": "triage",
        "warnings": [],
        "model": {"version": "1", "sha256": "c" * 64},
    }
    assert batches.look([]) == ([], [])


def test_a_batch_stays_until_its_last_job_has_ended_and_expires_with_it(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    batches.create(a_batch("a", "b", "c"))
    jobs.claim("a", worker="w")
    jobs.succeed("a", result())
    jobs.cancel("b")
    assert redis.ttl(batch_key("batch")) == -1
    jobs.fail("c", DAMAGED)
    assert 50 < int(redis.ttl(batch_key("batch"))) <= 60


def test_the_end_of_a_batch_is_announced_once_and_only_when_all_of_it_has_ended(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    batches.create(a_batch("a", "b"))
    with redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(done_channel("batch"))
        heard.get_message(timeout=1)
        jobs.claim("a", worker="w")
        jobs.succeed("a", result())
        assert heard.get_message(timeout=0.2) is None
        jobs.cancel("b")
        message = heard.get_message(timeout=2)
        assert message is not None and message["channel"] == done_channel("batch")
        jobs.cancel("b")
        assert heard.get_message(timeout=0.2) is None


def test_canceling_does_to_each_job_what_it_would_to_a_single_one(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    batches.create(a_batch("queued", "started", "succeeded"))
    for job_id in ("started", "succeeded"):
        jobs.claim(job_id, worker="w")
    jobs.succeed("succeeded", result())
    ids = ["queued", "started", "succeeded", "gone"]
    canceled, erased, gone = CancelOutcome.CANCELED, CancelOutcome.ERASED, CancelOutcome.GONE
    assert batches.cancel(ids, PACS) == [canceled, canceled, erased, gone]
    assert batches.look(ids)[0] == ["canceled", "canceled", None, None]
    assert batches.cancel(ids, PACS) == [erased, erased, gone, gone]
    assert {entry["key"] for entry in audited(redis) if entry["event"] == "erased"} == {"pacs"}


def test_an_erased_batch_is_not_made_again_by_a_job_of_it_that_ends_later(
    batches: BatchStore, jobs: JobStore, redis: Redis
) -> None:
    batches.create(a_batch("a", "b"))
    batches.erase("batch")
    jobs.fail("a", DAMAGED)
    assert not redis.exists(batch_key("batch"))
    assert batches.get("batch") is None
