import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from support.redis_server import running_redis_server
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
    CancelOutcome,
    ClaimOutcome,
    JobStore,
    NewJob,
    Requester,
    done_channel,
)
from tbscreen_shared.jobs.keys import AUDIT, DEAD
from tbscreen_shared.queue import connect_redis


def new_job(job_id: str) -> NewJob:
    return NewJob(id=job_id, blob="b" * 32, sha256="a" * 64, format=ImageFormat.PNG)


def result(prediction: str = "Normal") -> JobResult:
    return JobResult(
        prediction=prediction,
        probability=0.25,
        score=25,
        probabilities={"Normal": 0.75, "TB Positive": 0.25},
        threshold=0.5,
        operating_point="balanced",
        activation_map=[[0.0, 1.0], [0.5, 0.25]],
        model=ModelRef(version="1", sha256="c" * 64),
        preprocessing="1",
        input=InputInfo(sha256="a" * 64, width=10, height=20, format=ImageFormat.PNG),
        timings_ms=Timings(queue=1, decode=2, inference=3, total=6),
    )


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=3)


def test_a_job_goes_from_queued_to_succeeded_and_keeps_its_times_in_order(store: JobStore) -> None:
    store.create(new_job("1"))
    queued = store.get("1")
    assert queued is not None
    assert (queued.status, queued.queue_position, queued.attempts) == (JobStatus.QUEUED, 1, 0)
    claim = store.claim("1", worker="w")
    assert (claim.outcome, claim.attempt, claim.blob) == (ClaimOutcome.CLAIMED, 1, "b" * 32)
    started = store.get("1")
    assert started is not None
    assert (started.status, started.queue_position) == (JobStatus.STARTED, None)
    assert store.succeed("1", result())
    done = store.get("1")
    assert done is not None
    assert done.status is JobStatus.SUCCEEDED
    assert done.result == result()
    assert done.started_at is not None and done.finished_at is not None and done.expires_at
    assert done.created_at <= done.started_at <= done.finished_at < done.expires_at


def test_queue_positions_follow_the_order_of_acceptance(store: JobStore) -> None:
    for job_id in ("a", "b", "c"):
        store.create(new_job(job_id))
        time.sleep(0.002)
    positions = [job.queue_position for job in map(store.get, "abc") if job]
    assert positions == [1, 2, 3]
    store.claim("a", worker="w")
    positions = [job.queue_position for job in map(store.get, "bc") if job]
    assert positions == [1, 2]
    assert store.queue_length() == 2


def test_the_first_outcome_stands(store: JobStore) -> None:
    store.create(new_job("1"))
    store.claim("1", worker="w")
    store.claim("1", worker="w")
    assert store.succeed("1", result("Normal"))
    assert not store.succeed("1", result("TB Positive"))
    assert not store.fail("1", JobError(code=ErrorCode.INTERNAL_ERROR, message="late"))
    job = store.get("1")
    assert job is not None and job.result is not None
    assert (job.status, job.result.prediction, job.error) == (JobStatus.SUCCEEDED, "Normal", None)


def test_simultaneous_finishes_have_one_winner(store: JobStore) -> None:
    store.create(new_job("1"))
    store.claim("1", worker="w")
    won: list[bool] = []
    barrier = threading.Barrier(8)

    def finish() -> None:
        barrier.wait()
        won.append(store.succeed("1", result()))

    threads = [threading.Thread(target=finish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_job_delivered_too_often_fails_with_worker_lost_and_is_listed_as_dead(
    store: JobStore, redis: Redis
) -> None:
    store.create(new_job("1"))
    assert [store.claim("1", worker="w").attempt for _ in range(3)] == [1, 2, 3]
    assert store.claim("1", worker="w").outcome is ClaimOutcome.EXHAUSTED
    job = store.get("1")
    assert job is not None and job.error is not None
    assert (job.status, job.error.code) == (JobStatus.FAILED, ErrorCode.WORKER_LOST)
    assert redis.zrange(DEAD, 0, -1) == ["1"]


def test_a_canceled_job_ignores_the_run_in_hand(store: JobStore) -> None:
    store.create(new_job("1"))
    store.claim("1", worker="w")
    assert store.cancel("1") is CancelOutcome.CANCELED
    assert not store.succeed("1", result())
    job = store.get("1")
    assert job is not None
    assert (job.status, job.result) == (JobStatus.CANCELED, None)
    assert store.claim("1", worker="w").outcome is ClaimOutcome.FINISHED


def test_canceling_what_is_unfinished_alone_can_be_repeated_and_erases_nothing(
    store: JobStore,
) -> None:
    store.create(new_job("1"))
    store.create(new_job("2"))
    store.succeed("2", result())
    for _ in range(2):
        assert store.cancel("1", only_unfinished=True) is CancelOutcome.CANCELED
        assert store.cancel("2", only_unfinished=True) is CancelOutcome.FINISHED
    job = store.get("2")
    assert job is not None and job.status is JobStatus.SUCCEEDED
    assert store.cancel("3", only_unfinished=True) is CancelOutcome.GONE


def test_canceling_a_finished_job_erases_it(store: JobStore) -> None:
    store.create(new_job("1"))
    store.succeed("1", result())
    assert store.cancel("1") is CancelOutcome.ERASED
    assert store.get("1") is None
    assert store.cancel("1") is CancelOutcome.GONE
    assert store.claim("1", worker="w").outcome is ClaimOutcome.GONE


def test_an_unfinished_job_never_expires_and_a_finished_one_does(
    store: JobStore, redis: Redis
) -> None:
    store.create(new_job("1"))
    assert redis.ttl("tbscreen:job:1") == -1
    store.claim("1", worker="w")
    assert redis.ttl("tbscreen:job:1") == -1
    store.succeed("1", result())
    assert 0 < int(str(redis.ttl("tbscreen:job:1"))) <= 60


def test_each_final_state_is_announced_once(store: JobStore, redis: Redis) -> None:
    with redis.pubsub() as listener:
        listener.psubscribe("tbscreen:done:*")
        assert listener.get_message(timeout=5)
        for job_id in ("ok", "bad", "gone"):
            store.create(new_job(job_id))
        store.succeed("ok", result())
        store.succeed("ok", result())
        store.fail("bad", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
        store.cancel("gone")
        heard = []
        while message := listener.get_message(timeout=0.3):
            heard.append((message["channel"], message["data"]))
    assert heard == [
        (done_channel("ok"), "succeeded"),
        (done_channel("bad"), "failed"),
        (done_channel("gone"), "canceled"),
    ]


def test_records_survive_kill_9_of_redis(tmp_path: Path) -> None:
    with running_redis_server(tmp_path) as server:
        with connect_redis(server.url) as client:
            JobStore(client, result_ttl_s=60, max_attempts=3).create(new_job("1"))
        server.kill()
        server.start()
        with connect_redis(server.url) as client:
            job = JobStore(client, result_ttl_s=60, max_attempts=3).get("1")
    assert job is not None and job.status is JobStatus.QUEUED


def test_a_job_is_overdue_once_it_has_been_queued_for_so_long(store: JobStore) -> None:
    for job_id in ("1", "2", "3"):
        store.create(new_job(job_id))
        time.sleep(0.01)
    store.claim("1", worker="w")
    assert store.overdue(older_than_s=60, limit=10) == []
    assert store.overdue(older_than_s=0, limit=10) == ["2", "3"]
    assert store.overdue(older_than_s=0, limit=1) == ["2"]


def test_one_caller_may_send_a_task_again_in_each_interval(store: JobStore) -> None:
    assert [store.may_resend("1", every_s=3) for _ in range(2)] == [True, False]
    time.sleep(3.1)
    assert store.may_resend("1", every_s=3)


class RepeatingScripts:
    """Runs each script twice and answers with the second answer: the first one was lost."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def __getattr__(self, name: str) -> object:
        return getattr(self._redis, name)

    def register_script(self, script: str) -> Callable[..., object]:
        registered = self._redis.register_script(script)

        def run(**arguments: Any) -> object:
            registered(**arguments)
            return registered(**arguments)

        return run


def test_a_call_repeated_after_a_lost_answer_counts_once(store: JobStore, redis: Redis) -> None:
    repeating = JobStore(cast("Redis", RepeatingScripts(redis)), result_ttl_s=60, max_attempts=3)
    store.create(new_job("1"))
    claim = repeating.claim("1", worker="w")
    assert (claim.outcome, claim.attempt) == (ClaimOutcome.CLAIMED, 1)
    assert repeating.cancel("1") is CancelOutcome.CANCELED
    canceled = store.get("1")
    assert canceled is not None and canceled.status is JobStatus.CANCELED
    assert store.cancel("1") is CancelOutcome.ERASED


def test_a_leased_job_is_held_for_its_worker_and_counted_once(store: JobStore) -> None:
    store.create(new_job("1"))
    assert store.claim("1", worker="a").outcome is ClaimOutcome.CLAIMED
    held = store.claim("1", worker="b")
    assert (held.outcome, held.attempt, held.holder) == (ClaimOutcome.HELD, 1, "a")
    assert store.claim("1", worker="b", lost_worker="a").outcome is ClaimOutcome.CLAIMED
    assert not store.renew("1", worker="a"), "the lease is another's"
    store.release("1", worker="a")
    assert store.claim("1", worker="c").outcome is ClaimOutcome.HELD
    store.release("1", worker="b")
    assert store.claim("1", worker="c").attempt == 3


def test_a_started_job_without_a_lease_is_abandoned_until_it_is_renewed_or_ends(
    store: JobStore, redis: Redis
) -> None:
    for job_id in ("1", "2"):
        store.create(new_job(job_id))
        store.claim(job_id, worker=job_id)
    assert store.abandoned(limit=10) == []
    redis.delete("tbscreen:lease:1", "tbscreen:lease:2")
    assert store.abandoned(limit=10) == ["1", "2"]
    assert store.abandoned(limit=1) == ["1"]
    assert store.renew("1", worker="1")
    assert store.abandoned(limit=10) == ["2"]
    store.succeed("2", result())
    assert not store.renew("2", worker="2")
    assert store.abandoned(limit=10) == []
    assert not redis.exists("tbscreen:lease:2")


def test_a_dead_job_keeps_its_upload_from_later_deliveries(store: JobStore) -> None:
    store.create(new_job("1"))
    for _ in range(4):
        store.claim("1", worker="w")
    assert store.claim("1", worker="w").outcome is ClaimOutcome.EXHAUSTED
    assert store.needed_blobs() == {"b" * 32}


def test_a_redis_without_memory_takes_no_job_and_lets_the_taken_end(
    store: JobStore, redis: Redis
) -> None:
    for job_id in ("1", "2", "3"):
        store.create(new_job(job_id))
    store.claim("1", worker="w")
    redis.config_set("maxmemory", 1)
    try:
        # Redis 6.2 wraps a script's error in another one's text.
        with pytest.raises(ResponseError, match="OOM"):
            store.create(new_job("4"))
        assert store.get("4") is None
        redis.delete("tbscreen:lease:1")
        assert store.renew("1", worker="w")
        assert redis.get("tbscreen:lease:1") == "w"
        assert store.needed_blobs() == {"b" * 32}
        assert store.succeed("1", result())
        assert store.claim("2", worker="w").outcome is ClaimOutcome.CLAIMED
        assert store.fail("2", JobError(code=ErrorCode.UNREADABLE_IMAGE, message="m"))
        assert store.cancel("3") is CancelOutcome.CANCELED
    finally:
        redis.config_set("maxmemory", 0)


def test_what_happens_to_a_job_is_told_to_the_audit_stream_in_order(
    store: JobStore, redis: Redis
) -> None:
    by = Requester(key_id="clinic", request_id="r-1")
    store.create(replace(new_job("1"), requester=by, size_bytes=7))
    store.claim("1", worker="w")
    store.succeed("1", result())
    store.succeed("1", result())
    store.cancel("1", by)
    store.create(new_job("2"))
    store.cancel("2")
    entries = [fields for _, fields in cast("list[Any]", redis.xrange(AUDIT))]
    assert [entry["event"] for entry in entries] == [
        *("accepted", "succeeded", "erased"),
        *("accepted", "canceled"),
    ]
    assert [int(entry["seq"]) for entry in entries] == [1, 2, 3, 4, 5]
    assert (entries[0]["key"], entries[0]["request"], entries[0]["bytes"]) == ("clinic", "r-1", "7")
    assert (entries[1]["model"], entries[1]["sha256"]) == ("c" * 64, "a" * 64)
    assert entries[2]["key"] == "clinic"
