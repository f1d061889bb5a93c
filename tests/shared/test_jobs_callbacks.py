import time
from collections.abc import Callable
from typing import cast

import pytest
from redis import Redis

from tbscreen_shared.contracts import CallbackError, CallbackStatus, ImageFormat, JobError
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import (
    CallbackClaim,
    CallbackOutbox,
    CallbackOutcome,
    ClaimedAs,
    JobStore,
    NewJob,
)
from tbscreen_shared.jobs.keys import AUDIT, CALLBACKS, job_key

URL = "https://pacs.example/in"
UNREADABLE = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="cut short")


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_s=60, max_attempts=3)


@pytest.fixture
def outbox(redis: Redis) -> CallbackOutbox:
    return CallbackOutbox(redis, lease_s=30)


def finished(store: JobStore, job_id: str, url: str = URL) -> None:
    job = NewJob(
        id=job_id, blob="b" * 32, sha256="a" * 64, format=ImageFormat.PNG, callback_url=url
    )
    store.create(job)
    store.fail(job_id, UNREADABLE)


def claimed(outbox: CallbackOutbox, job_id: str) -> CallbackClaim:
    (claim,) = outbox.claim([job_id])
    assert claim.outcome is ClaimedAs.CLAIMED
    return claim


def due_ids(outbox: CallbackOutbox) -> list[str]:
    return [one.job_id for one in outbox.due(limit=10)]


def told(redis: Redis, event: str) -> list[dict[str, str]]:
    entries = cast("list[tuple[str, dict[str, str]]]", redis.xrange(AUDIT))
    return [fields for _, fields in entries if fields["event"] == event]


def test_a_first_attempt_is_due_whatever_a_clock_that_is_set_back_says(
    store: JobStore, outbox: CallbackOutbox, redis: Redis
) -> None:
    finished(store, "1")
    assert redis.zscore(CALLBACKS, "1") == 0
    job, callback = store.get("1"), outbox.get("1")
    assert job is not None and callback is not None
    assert callback.next_attempt_at == job.finished_at


def test_whatever_ends_a_job_that_asked_for_a_callback_makes_it_due(
    store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "failed")
    for job_id in ("open", "canceled", "lost"):
        store.create(NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG, callback_url=URL))
    store.create(NewJob("asked for none", "b" * 32, "a" * 64, ImageFormat.PNG))
    store.fail("asked for none", UNREADABLE)
    store.cancel("canceled")
    for _ in range(4):
        store.claim("lost", worker="w", lost_worker="w")
    assert sorted(due_ids(outbox)) == ["canceled", "failed", "lost"]
    assert outbox.pending() == 3
    assert outbox.due(limit=1)[0].url == URL


def test_a_claimed_callback_is_one_gateways_until_its_lease_is_over(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    claim = claimed(outbox, "1")
    assert (claim.url, claim.attempt) == (URL, 1)
    assert due_ids(outbox) == []
    assert outbox.claim(["1"])[0].outcome is ClaimedAs.TAKEN
    assert outbox.pending() == 1
    hasty = CallbackOutbox(redis, lease_s=0.2)
    finished(store, "2")
    first = claimed(hasty, "2")
    time.sleep(0.25)
    second = claimed(outbox, "2")
    assert (second.attempt, second.token != first.token) == (2, True)


def test_a_claim_whose_answer_was_lost_is_not_counted_twice(
    store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    claim = claimed(outbox, "1")
    repeated = outbox._claim(args=["1", claim.token, 30_000])
    assert repeated == ["claimed", URL, 1, ""]


def test_a_delivered_callback_is_owed_no_more(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    before = store.get("1")
    assert outbox.settle_delivered(claimed(outbox, "1"), 202) is CallbackOutcome.DELIVERED
    assert outbox.pending() == 0
    callback = outbox.get("1")
    assert callback is not None
    assert (callback.status, callback.attempts) == (CallbackStatus.DELIVERED, 1)
    assert (callback.last_status, callback.last_error) == (202, None)
    assert callback.last_attempt_at is not None and callback.next_attempt_at is None
    assert store.get("1") == before
    (entry,) = told(redis, "callback_delivered")
    assert (entry["job"], entry["attempts"], entry["status"]) == ("1", "1", "202")


def test_a_failed_attempt_is_made_up_for_later(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    claim = claimed(outbox, "1")
    assert outbox.settle_failed(claim, 500, retry_after_s=30) is CallbackOutcome.RETRY
    callback = outbox.get("1")
    assert callback is not None and callback.last_attempt_at and callback.next_attempt_at
    assert (callback.status, callback.last_status) == (CallbackStatus.PENDING, 500)
    assert callback.last_attempt_at < callback.next_attempt_at
    assert due_ids(outbox) == []
    redis.zincrby(CALLBACKS, -30_000, "1")  # as 30 s later
    assert due_ids(outbox) == ["1"]
    claim = claimed(outbox, "1")
    assert claim.attempt == 2
    assert outbox.settle_failed(claim, CallbackError.TIMED_OUT, retry_after_s=9)
    callback = outbox.get("1")
    assert callback is not None
    assert (callback.last_status, callback.last_error) == (None, CallbackError.TIMED_OUT)
    assert told(redis, "callback_given_up") == told(redis, "callback_delivered") == []


def test_a_callback_is_given_up_when_told_so_and_when_its_job_would_be_gone(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    for job_id, retry_after_s in (("told", None), ("too late", 61.0)):
        finished(store, job_id)
        claim = claimed(outbox, job_id)
        outcome = outbox.settle_failed(claim, 503, retry_after_s=retry_after_s)
        assert outcome is CallbackOutcome.GIVEN_UP
        callback = outbox.get(job_id)
        assert callback is not None
        assert (callback.status, callback.next_attempt_at) == (CallbackStatus.FAILED, None)
    assert outbox.pending() == 0
    assert [entry["job"] for entry in told(redis, "callback_given_up")] == ["told", "too late"]


def test_a_late_failure_changes_nothing_and_a_late_delivery_counts(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    hasty = CallbackOutbox(redis, lease_s=0.05)
    for job_id in ("failing", "delivering"):
        finished(store, job_id)
        late = claimed(hasty, job_id)
        time.sleep(0.1)
        latest = claimed(outbox, job_id)
        if job_id == "failing":
            assert outbox.settle_failed(late, 500, retry_after_s=None) is CallbackOutcome.SETTLED
            assert outbox.pending() == 1
            assert outbox.settle_delivered(latest, 200) is CallbackOutcome.DELIVERED
        else:
            assert outbox.settle_delivered(late, 200) is CallbackOutcome.DELIVERED
            assert outbox.settle_failed(latest, 500, retry_after_s=5) is CallbackOutcome.SETTLED
            assert outbox.settle_delivered(latest, 200) is CallbackOutcome.SETTLED
        assert outbox.pending() == 0
    assert len(told(redis, "callback_delivered")) == 2


@pytest.mark.parametrize(
    "settle",
    [
        lambda outbox, claim: outbox.settle_delivered(claim, 200),
        lambda outbox, claim: outbox.settle_failed(claim, 500, retry_after_s=1),
        lambda outbox, claim: outbox.settle_failed(claim, 500, retry_after_s=None),
    ],
)
def test_an_erased_job_owes_nothing_and_does_not_come_back(
    redis: Redis,
    store: JobStore,
    outbox: CallbackOutbox,
    settle: Callable[[CallbackOutbox, CallbackClaim], CallbackOutcome],
) -> None:
    finished(store, "1")
    claim = claimed(outbox, "1")
    store.cancel("1")
    assert settle(outbox, claim) is CallbackOutcome.SETTLED
    assert outbox.pending() == 0
    assert outbox.get("1") is None
    assert not redis.exists(job_key("1"))


def test_what_its_jobs_expiry_overtook_is_given_up_once_and_told(
    redis: Redis, outbox: CallbackOutbox
) -> None:
    finished(JobStore(redis, result_ttl_s=1, max_attempts=3), "1")
    time.sleep(1.1)
    (due,) = outbox.due(limit=10)
    assert due.url == ""
    assert [outbox.claim(["1"])[0].outcome for _ in range(2)] == [
        ClaimedAs.EXPIRED,
        ClaimedAs.TAKEN,
    ]
    assert outbox.pending() == 0
    (entry,) = told(redis, "callback_given_up")
    assert (entry["job"], entry["error"]) == ("1", "expired")
    assert not redis.exists(job_key("1"))


def test_a_delivery_that_outlasts_its_jobs_record_is_told_and_leaves_nothing(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    claim = claimed(outbox, "1")
    redis.delete(job_key("1"))
    assert outbox.settle_delivered(claim, 200) is CallbackOutcome.DELIVERED
    assert len(told(redis, "callback_delivered")) == 1
    assert outbox.pending() == 0
    assert not redis.exists(job_key("1"))


def test_the_records_life_is_not_prolonged(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    finished(store, "1")
    redis.expire(job_key("1"), 40)
    outbox.settle_delivered(claimed(outbox, "1"), 200)
    assert 0 < cast("int", redis.ttl(job_key("1"))) <= 40


def test_what_is_put_off_makes_room_and_what_is_settled_stays_so(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    for job_id in ("1", "2", "3"):
        finished(store, job_id)
    outbox.settle_delivered(claimed(outbox, "2"), 200)
    leased_until = redis.zscore(CALLBACKS, claimed(outbox, "3").job_id)
    outbox.put_off({"1": 5, "2": 5, "3": 5})
    assert due_ids(outbox) == []
    assert outbox.pending() == 2
    assert redis.zscore(CALLBACKS, "3") == leased_until
    outbox.put_off({})


def test_an_unfinished_jobs_callback_is_pending_and_one_without_has_none(
    store: JobStore, outbox: CallbackOutbox
) -> None:
    store.create(NewJob("1", "b" * 32, "a" * 64, ImageFormat.PNG, callback_url=URL))
    store.create(NewJob("2", "b" * 32, "a" * 64, ImageFormat.PNG))
    callback = outbox.get("1")
    assert callback is not None
    assert (callback.status, callback.attempts, callback.next_attempt_at) == (
        CallbackStatus.PENDING,
        0,
        None,
    )
    assert outbox.get("2") is None and outbox.get("3") is None


def test_a_full_redis_lets_callbacks_be_delivered(
    redis: Redis, store: JobStore, outbox: CallbackOutbox
) -> None:
    for job_id in ("1", "2"):
        finished(store, job_id)
    redis.config_set("maxmemory", 1)
    try:
        assert outbox.settle_delivered(claimed(outbox, "1"), 200) is CallbackOutcome.DELIVERED
        failed = claimed(outbox, "2")
        assert outbox.settle_failed(failed, 500, retry_after_s=5) is CallbackOutcome.RETRY
    finally:
        redis.config_set("maxmemory", 0)
